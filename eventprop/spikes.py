"""Spikes of many samples as flat arrays of steps and channels, on the grid of the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["SpikeSet", "bin_events", "from_samples"]

_MOST_STEPS = 65535
_BLOCK = 4_000_000  # events binned at a time


@dataclass(frozen=True)
class SpikeSet:
    """Spikes of ``n`` samples.

    Attributes:
        offsets: ``(n + 1,)`` int64; sample i has the spikes ``offsets[i]`` to ``offsets[i + 1]``.
        steps: ``(spikes,)`` uint16, ascending within a sample.
        channels: ``(spikes,)`` uint16, ascending within a step.
        num_channels: input channels.
        num_steps: steps of a trial.
    """

    offsets: np.ndarray
    steps: np.ndarray
    channels: np.ndarray
    num_channels: int
    num_steps: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps and channels of one sample's spikes."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.steps[part], self.channels[part]


def bin_events(
    times_ms: np.ndarray, channels: np.ndarray, offsets: np.ndarray, num_channels: int, dt_ms: float, trial_ms: float
) -> SpikeSet:
    """Events on the grid: step ``floor(t / dt)``, one spike at most per channel and step.

    Events from ``trial_ms`` on are cut off, and so are those in the last step: a spike takes one step to arrive.

    Args:
        times_ms: ``(events,)``, not negative, in any order within a sample.
        channels: ``(events,)`` whole numbers below ``num_channels``.
        offsets: ``(n + 1,)``; sample i has the events ``offsets[i]`` to ``offsets[i + 1]``.
    """
    num_steps = round(trial_ms / dt_ms)
    if num_steps > _MOST_STEPS:
        raise ValueError(
            f"TRIAL_MS={trial_ms:g} and DT_MS={dt_ms:g} make {num_steps} steps; {_MOST_STEPS} are possible"
        )
    steps_parts, channel_parts, counts = [], [], []
    n = len(offsets) - 1
    first = 0
    while first < n:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1)
        part = slice(offsets[first], offsets[last])
        floor = np.floor(np.asarray(times_ms[part], np.float64) / dt_ms + 1e-6)
        sample = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        keep = floor < num_steps - 1
        cells = (sample[keep] * num_steps + floor[keep].astype(np.int64)) * num_channels + channels[part][keep].astype(
            np.int64
        )
        cells.sort()
        cells = cells[np.diff(cells, prepend=-1) != 0]
        steps_parts.append((cells // num_channels % num_steps).astype(np.uint16))
        channel_parts.append((cells % num_channels).astype(np.uint16))
        counts.append(np.bincount(cells // (num_channels * num_steps), minlength=last - first))
        first = last
    empty = np.zeros(0, np.uint16)
    return SpikeSet(
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
        if counts
        else np.zeros(1, np.int64),
        steps=np.concatenate(steps_parts) if steps_parts else empty,
        channels=np.concatenate(channel_parts) if channel_parts else empty,
        num_channels=num_channels,
        num_steps=num_steps,
    )


def from_samples(X: Sequence[Mapping[str, Any]], num_channels: int, dt_ms: float, trial_ms: float) -> SpikeSet:
    """Spike set of samples ``{"x": channel numbers, "t": times in ms}``.

    Raises:
        ValueError: names the sample and what is wrong with it.
    """
    times, channels = [], []
    for number, sample in enumerate(X):
        t, x = _checked(sample, number, num_channels)
        times.append(t)
        channels.append(x)
    offsets = np.cumsum([0, *(t.size for t in times)])
    empty = [np.zeros(0)]
    return bin_events(
        np.concatenate(times or empty), np.concatenate(channels or empty), offsets, num_channels, dt_ms, trial_ms
    )


def _checked(sample: Mapping[str, Any], number: int, num_channels: int) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(sample, Mapping) or not {"x", "t"} <= set(sample):
        raise ValueError(f'sample {number} must be a dictionary with "x" (channels) and "t" (times in ms)')
    t, x = np.asarray(sample["t"]), np.asarray(sample["x"])
    if t.ndim != 1 or t.shape != x.shape:
        raise ValueError(f"sample {number}: x and t must be lists of one length, got shapes {x.shape} and {t.shape}")
    if t.size == 0:
        return np.zeros(0), np.zeros(0, np.int64)
    if t.dtype.kind not in "iuf" or not np.isfinite(t).all():
        raise ValueError(f"sample {number}: times must be finite numbers")
    if t.min() < 0:
        raise ValueError(f"sample {number}: times must not be negative, got {t.min():g} ms")
    if x.dtype.kind not in "iuf" or not np.isfinite(x).all() or (x != np.floor(x)).any():
        raise ValueError(f"sample {number}: channels must be whole numbers")
    if x.min() < 0 or x.max() >= num_channels:
        wrong = x.min() if x.min() < 0 else x.max()
        raise ValueError(f"sample {number}: channel {wrong:g} is not one of 0 to {num_channels - 1}")
    return t.astype(np.float64), x.astype(np.int64)
