"""What the NumPy version of the grid algorithm finds for a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.support import grid_numpy
from tests.support.oracle import Array

__all__ = ["Expected"]


@dataclass(frozen=True)
class Expected:
    """What the NumPy version found for a batch.

    Attributes:
        records: forward pass of each sample.
        losses, scores, predictions: (sample,), (sample, output), (sample,).
        counts: (sample, hidden neuron) spikes.
        gradients: under the engine's names.
    """

    records: list[grid_numpy.GridForward]
    losses: Array
    scores: Array
    predictions: NDArray[np.int64]
    counts: Array
    gradients: dict[str, Array]
