"""Weights as the engine has them, in panels of targets, and as everybody else does, ``(n_pre, n_post)``."""

from __future__ import annotations

import numpy as np

from eventprop.backends.cpu.interface import aligned_zeros

__all__ = ["Panels"]


class Panels:
    """The engine's layout, ``(panel, n_pre + spare, lane)``.

    Args:
        lanes: of a panel.
        spare: rows of a panel that hold nothing.
    """

    def __init__(self, lanes: int, spare: int) -> None:
        self.lanes, self.spare = lanes, spare

    def zeros(self, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
        """An array for synapses of that shape."""
        n_pre, n_post = shape
        return aligned_zeros((-(-n_post // self.lanes), n_pre + self.spare, self.lanes), dtype)

    def read(self, packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """A copy of what is in an array, ``(n_pre, n_post)``."""
        n_pre, n_post = shape
        return packed[:, :n_pre].transpose(1, 0, 2).reshape(n_pre, -1)[:, :n_post].copy()

    def write(self, packed: np.ndarray, values: np.ndarray) -> None:
        """Put values ``(n_pre, n_post)`` into an array."""
        n_pre, n_post = values.shape
        padded = np.zeros((n_pre, packed.shape[0] * self.lanes), dtype=packed.dtype)
        padded[:, :n_post] = values
        packed[:, :n_pre] = padded.reshape(n_pre, -1, self.lanes).transpose(1, 0, 2)
