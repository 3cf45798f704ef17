"""What one pass over some samples gives: predictions, losses, spike counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventprop.backends import BatchResult
from eventprop.data.presentation import Presentation
from eventprop.data.splits import Subset
from eventprop.data.targets import are_values

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """One pass over some samples, in order of presentation: ``(n,)`` arrays, counts ``(n, hidden neurons)``.

    A prediction is -1, and never correct, where the loss goes by first spikes and no output spiked; ``measured`` is
    what is told of each sample, and ``labels`` what it was compared with. ``subset`` are the samples of the data set
    that took part, in that order where nothing was shuffled.
    """

    subset: Subset
    labels: np.ndarray
    predictions: np.ndarray
    loss: np.ndarray
    measured: np.ndarray
    spike_counts: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of samples, or of their steps, whose class is right; not a number where there are none."""
        return float("nan") if are_values(self.labels) else self.mean

    @property
    def mean(self) -> float:
        """Accuracy (with labels of steps, of these), or the mean square error."""
        return float(np.mean(self.measured)) if self.measured.size else float("nan")

    def confusion(self, classes: int) -> np.ndarray:
        """How often each class was taken for each, ``[predicted, true]``; samples without a prediction are left out."""
        matrix = np.zeros((classes, classes))
        made = self.predictions >= 0
        np.add.at(matrix, (self.predictions[made], self.labels[made]), 1)
        return matrix

    @property
    def mean_loss(self) -> float:
        return float(np.mean(self.loss)) if self.loss.size else float("nan")

    @classmethod
    def of(cls, presented: Presentation, results: Sequence[BatchResult]) -> Outcome:
        """What all batches of a presentation gave."""
        return cls(
            subset=presented.subset,
            labels=presented.labels,
            predictions=np.concatenate([r.predictions for r in results]).astype(np.int32),
            loss=np.concatenate([r.loss for r in results]),
            measured=np.concatenate([r.measured for r in results]),
            spike_counts=np.concatenate([r.spike_counts for r in results]),
        )
