"""How far recordings reach, and in which unit their times must be where that is not the trial.

Times in another unit are not broken: they are read, and next to nothing of them is left in the trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PER_MS", "PER_SECOND", "Extent", "likely_unit", "percent"]

PER_SECOND = {
    "milliseconds": 1e3,
    "microseconds": 1e6,
    "nanoseconds": 1e9,
    **{f"samples at {khz:g} kHz": 1e3 * khz for khz in (16.0, 44.1, 48.0)},
}
"""Units in which times may be that must be seconds: as many make a second."""
PER_MS = {"seconds": 1e-3, "microseconds": 1e3, "nanoseconds": 1e6}
"""Units in which times may be that must be milliseconds."""
_WIDEST = (
    100.0  # a recording in its right unit is not longer than that many trials, nor shorter than such a part of one
)


@dataclass(frozen=True)
class Extent:
    """How far the events of some samples reach.

    Attributes:
        events: how many there are.
        within: how many of them come before the end of the trial.
        end: time of a sample's last event, the median of the samples that have any, in the unit of the file; nan where
            none has.
    """

    events: int
    within: int
    end: float

    @classmethod
    def of(cls, events: int, within: int, ends: Sequence[float] | np.ndarray) -> Extent:
        """Args: ends: time of the last event of each sample that has any."""
        return cls(int(events), int(within), float(np.median(ends)) if len(ends) else math.nan)


def likely_unit(end: float, trial: float, units: Mapping[str, float], unit: str) -> str:
    """What to add to a line about times that do not fit: the unit that would explain them, if one would.

    Args:
        end: time of the last event.
        trial: length of the trial, in the same ``unit``.
        units: how many of each make one ``unit``.
    """

    def misfit(name: str) -> float:
        return abs(math.log(end / units.get(name, 1.0) / trial))

    if not 0 < end < math.inf:
        return ""
    name = min([unit, *units], key=misfit)
    if name == unit or misfit(name) > math.log(_WIDEST):
        return ""
    return f"; the times look like {name}: {end:g} {name} are {end / units[name]:g} {unit}"


def percent(part: int, whole: int) -> str:
    """A share, which is "0 %" and "100 %" only where it is nothing and all."""
    share = 100.0 * part / whole
    if 0 < part < whole:
        share = min(max(share, 0.1), 99.9)
    return f"{share:.3g} %"
