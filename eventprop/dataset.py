"""A data set: spikes, labels, and whose voice or hand they are from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventprop.spikes import SpikeSet

__all__ = ["Dataset", "Part"]


@dataclass(frozen=True)
class Part:
    """Training or test samples: spikes, ``labels`` ``(n,)`` int32 and ``speakers`` ``(n,)`` int32 or None."""

    spikes: SpikeSet
    labels: np.ndarray
    speakers: np.ndarray | None = None


@dataclass(frozen=True)
class Dataset:
    """Training and test samples; ``class_names`` is empty where the classes have no names."""

    name: str
    train: Part
    test: Part
    num_channels: int
    num_classes: int
    class_names: tuple[str, ...] = ()
