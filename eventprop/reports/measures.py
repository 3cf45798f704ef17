"""What is told of how well a network does: accuracy or, where outputs are compared with values, a mean square error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventprop.losses import Loss

__all__ = ["ACCURACY", "MEASURES", "SQUARE_ERROR", "Measure", "measure_of", "of_loss"]


@dataclass(frozen=True)
class Measure:
    """A number for each sample, whose mean is told.

    Attributes:
        name: what columns end in: ``train_<name>``, ``eval_<name>``.
        words: what people are told that it is.
        falls: whether less is better.
    """

    name: str
    words: str
    falls: bool

    def text(self, value: float, digits: int = 1) -> str:
        """A value, as people read it: a share in per cent with so many digits, or a number with as many more."""
        return f"{value:.{digits + 3}g}" if self.falls else f"{value:.{digits}%}"

    def gain(self, value: float) -> float:
        """A number that is larger where the value is better."""
        return -value if self.falls else value

    def best(self, values: Sequence[float] | np.ndarray) -> int | None:
        """Number of the best, the first of equal ones; None where nothing was measured."""
        found = np.asarray(values, float)
        if np.isnan(found).all():
            return None
        return int(np.nanargmin(found) if self.falls else np.nanargmax(found))

    def of(self, record: Mapping[str, Any], phase: str) -> float:
        """Its value in a record of an epoch, of the phase "train" or "eval"."""
        return float(record[f"{phase}_{self.name}"])


ACCURACY = Measure("accuracy", "accuracy", falls=False)
SQUARE_ERROR = Measure("mse", "mean square error", falls=True)
MEASURES = (ACCURACY, SQUARE_ERROR)


def of_loss(loss: Loss) -> Measure:
    """What is told where this loss trains."""
    return SQUARE_ERROR if loss.of_values else ACCURACY


def measure_of(record: Mapping[str, Any]) -> Measure:
    """What a record of an epoch, or a line of a results file, tells."""
    return SQUARE_ERROR if "train_mse" in record else ACCURACY
