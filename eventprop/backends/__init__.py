"""Backends: what computes a network. All follow the protocol :class:`Engine`; :func:`build` makes one.

A backend is told about batches, never about steps: present these samples, with or without learning; apply an
update; read and set weights and optimiser state; report gradients, spikes, scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eventprop.network import Network, Randomness
from eventprop.spikes import SpikeSet

__all__ = ["BatchResult", "Engine", "build"]


@dataclass(frozen=True)
class BatchResult:
    """What a batch of ``n`` samples gave.

    Attributes:
        scores: class scores, ``(n, classes)``.
        predictions: class with the largest score, ``(n,)``, the first of equal ones; -1 where the loss goes by first
            spikes and no output spiked.
        loss: loss of each sample, ``(n,)``; zeros where no labels were given.
        spike_counts: spikes of every hidden neuron in each sample, ``(n, hidden neurons)``, layer after layer.
    """

    scores: np.ndarray
    predictions: np.ndarray
    loss: np.ndarray
    spike_counts: np.ndarray


class Engine(Protocol):
    """A built network with its weights and optimiser state."""

    name: str
    network: Network

    def run(
        self,
        spikes: SpikeSet,
        samples: np.ndarray,
        labels: np.ndarray | None,
        *,
        learn: bool = False,
        randomness: Randomness | None = None,
        first: int = 0,
    ) -> BatchResult:
        """Present ``samples`` (numbers into ``spikes``) as one batch; with ``learn``, gradients are those of the
        mean loss over this batch. ``first`` is the batch's position in the epoch, for the random streams."""
        ...

    def gradient_norm(self) -> float:
        """Euclidean norm of all trained gradients; not finite if any of them is not."""
        ...

    def gradients(self) -> dict[str, np.ndarray]:
        """Gradients of the last batch by synapse population, ``(n_pre, n_post)``; 0 where not trained."""
        ...

    def time_constant_gradients(self) -> dict[str, dict[str, np.ndarray]]:
        """Gradients of the last batch by the trained time constants: population, name, ``(size,)``."""
        ...

    def update(self, parameters: Mapping[str, float], factor: float = 1.0) -> None:
        """One step of the optimiser with the gradients times ``factor``; trained time constants stay above their
        bounds."""
        ...

    def weights(self) -> dict[str, np.ndarray]:
        """Weights by synapse population, float32 ``(n_pre, n_post)``."""
        ...

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None: ...

    def time_constants(self) -> dict[str, dict[str, np.ndarray]]:
        """Time constants by population and name, float32 ``(size,)``."""
        ...

    def set_time_constants(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> None: ...

    def optimiser_state(self) -> dict[str, dict[str, np.ndarray]]:
        """Moments by name, then by what they belong to: names and shapes of ``network.trained_shapes()``."""
        ...

    def set_optimiser_state(self, state: Mapping[str, Mapping[str, np.ndarray]]) -> None: ...

    def spikes(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and neurons of the spikes of sample ``index`` of the last batch in "input", "hidden0", ..., and
        "output" where it spikes."""
        ...

    def spike_times(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        """As ``spikes``, with times since the start of the trial (ms): the ends of the steps, or the exact ones."""
        ...


def build(network: Network, backend: str = "auto", num_threads: int | None = None) -> Engine:
    """An engine for ``network``. ``backend`` is "cpu" or "auto", which picks the best one that is installed."""
    from eventprop.backends.cpu.engine import CpuEngine

    if backend not in ("auto", "cpu"):
        raise ValueError(f'BACKEND="{backend}" is not yet available; available: "auto", "cpu"')
    return CpuEngine(network, num_threads)
