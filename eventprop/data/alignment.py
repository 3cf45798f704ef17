"""Times of recordings made comparable: where each sample begins and how fast it goes is taken out of it.

Speakers begin early or late and speak fast or slowly, which says nothing of what they say. Each sample's times are
moved and stretched so that the same shares of its spikes come before two times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Alignment", "alignment_of"]


@dataclass(frozen=True)
class Alignment:
    """Where each sample's early and late spikes are put.

    Attributes:
        first_ms, last_ms: times at which its early and its late spikes come, ascending.
        share: of its spikes that come before the first time and after the last one, below 0.5.
    """

    first_ms: float
    last_ms: float
    share: float

    def applied(
        self, times: np.ndarray, channels: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times in ms, channels and offsets of the spikes that do not come before the trial; arguments as of
        :meth:`times`."""
        moved = self.times(times, offsets)
        there = np.flatnonzero(moved >= 0.0)
        return moved[there], channels[there], np.searchsorted(there, offsets)

    def times(self, times: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """New times of spikes in ms; some may be negative, and those are to be left out.

        A sample whose spikes all come at one time is only moved, to the first one.

        Args:
            times: ``(events,)`` in any unit, ascending in each sample.
            offsets: ``(n + 1,)``; sample i has the events ``offsets[i]`` to ``offsets[i + 1]``.
        """
        lengths = np.diff(offsets)
        has = lengths > 0
        last = np.maximum(lengths - 1, 0)
        early, late = np.zeros(len(lengths)), np.zeros(len(lengths))
        early[has] = times[(offsets[:-1] + np.floor(self.share * last).astype(np.int64))[has]]
        late[has] = times[(offsets[:-1] + np.ceil((1.0 - self.share) * last).astype(np.int64))[has]]
        wide = late > early
        factor = np.where(wide, (self.last_ms - self.first_ms) / np.where(wide, late - early, 1.0), 0.0)
        moved: np.ndarray = self.first_ms + (times - np.repeat(early, lengths)) * np.repeat(factor, lengths)
        return moved


def alignment_of(p: Mapping[str, Any]) -> Alignment | None:
    """What ``ALIGN_MS`` and ``ALIGN_SHARE`` ask for."""
    if p.get("ALIGN_MS") is None:
        return None
    first, last = p["ALIGN_MS"]
    return Alignment(float(first), float(last), p["ALIGN_SHARE"])
