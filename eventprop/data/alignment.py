"""Times of recordings made comparable: where each sample begins and how fast it goes is taken out of it.

Speakers begin early or late and speak fast or slowly, which says nothing of what they say. Each sample's times are
moved and stretched so that the same shares of its spikes come before two times; or stretched by less, so that some of
its own speed is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Alignment", "alignment_of"]

_AROUND_MS = 20.0  # to each side of a spike


@dataclass(frozen=True)
class Alignment:
    """Where each sample's early and late spikes are put.

    Attributes:
        first_ms, last_ms: times at which its early and its late spikes come, ascending.
        share: of its spikes that come before the first time and after the last one, below 0.5.
        stretch: power of the factor that takes its late spikes to the last time: with 1 they come there, with 0 each
            sample keeps its speed and is only moved.
        rate_power: how much a spike counts for the share: so many spikes of the sample as come within 20 ms of it, to
            this power. With 0 all count alike.
    """

    first_ms: float
    last_ms: float
    share: float
    stretch: float = 1.0
    rate_power: float = 0.0

    @property
    def needs_unit(self) -> bool:
        """Whether it matters in which unit times are."""
        return self.stretch < 1.0 or self.rate_power > 0.0

    def applied(
        self, times: np.ndarray, channels: np.ndarray, offsets: np.ndarray, unit_ms: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times in ms, channels and offsets of the spikes that do not come before the trial; arguments as of
        :meth:`times`."""
        moved = self.times(times, offsets, unit_ms)
        there = np.flatnonzero(moved >= 0.0)
        return moved[there], channels[there], np.searchsorted(there, offsets)

    def times(self, times: np.ndarray, offsets: np.ndarray, unit_ms: float = 1.0) -> np.ndarray:
        """New times of spikes in ms; some may be negative, and those are to be left out.

        A sample whose spikes all come at one time is only moved, to the first one.

        Args:
            times: ``(events,)``, ascending in each sample.
            offsets: ``(n + 1,)``; sample i has the events ``offsets[i]`` to ``offsets[i + 1]``.
            unit_ms: of the times, where it matters (:attr:`needs_unit`).
        """
        lengths = np.diff(offsets)
        early, late = self._bounds(times, offsets, unit_ms)
        wide = late > early
        width, aim = np.where(wide, late - early, 1.0), self.last_ms - self.first_ms
        factor = np.where(wide, aim / width * (width * unit_ms / aim) ** (1.0 - self.stretch), 0.0)
        moved: np.ndarray = self.first_ms + (times - np.repeat(early, lengths)) * np.repeat(factor, lengths)
        return moved

    def _bounds(self, times: np.ndarray, offsets: np.ndarray, unit_ms: float) -> tuple[np.ndarray, np.ndarray]:
        """Times of each sample's early and late spikes; 0 for samples without any."""
        lengths = np.diff(offsets)
        has = np.flatnonzero(lengths)
        early, late = np.zeros(len(lengths)), np.zeros(len(lengths))
        if self.rate_power == 0.0:
            last = (lengths - 1)[has]
            early[has] = times[offsets[has] + np.floor(self.share * last).astype(np.int64)]
            late[has] = times[offsets[has] + np.ceil((1.0 - self.share) * last).astype(np.int64)]
            return early, late
        around = _AROUND_MS / unit_ms
        for i in has.tolist():
            t = times[offsets[i] : offsets[i + 1]]
            near = np.searchsorted(t, t + around, "right") - np.searchsorted(t, t - around, "left")
            before = np.concatenate([[0.0], np.cumsum(near[:-1].astype(np.float64) ** self.rate_power)])
            share = before / max(before[-1], 1.0)  # a spike counts 1 at least, so this is 0 of a single one
            early[i] = t[int(np.searchsorted(share, self.share, "right")) - 1]
            late[i] = t[min(int(np.searchsorted(share, 1.0 - self.share)), t.size - 1)]
        return early, late


def alignment_of(p: Mapping[str, Any]) -> Alignment | None:
    """What ``ALIGN_MS`` and the other keys of alignment ask for."""
    if p.get("ALIGN_MS") is None:
        return None
    first, last = p["ALIGN_MS"]
    return Alignment(float(first), float(last), p["ALIGN_SHARE"], p["ALIGN_STRETCH"], p["ALIGN_RATE_POWER"])
