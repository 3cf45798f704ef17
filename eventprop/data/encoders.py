"""Values as spike times: the latency code of MNIST and Yin-Yang."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventprop.data.spikes import SpikeSet, bin_events

__all__ = ["latency_ms", "one_spike_each"]

_BLOCK = 4096  # samples worked on at a time


def latency_ms(values: np.ndarray, dt_ms: float, trial_ms: float, true_times: bool = False) -> np.ndarray:
    """Times of spikes (ms) for values from 0 (early) to 1 (late): two steps from the start to two before the end; true
    times go from the start to the end, whatever the step."""
    margin = 0.0 if true_times else 2.0 * dt_ms
    return np.asarray(values) * (trial_ms - 2.0 * margin) + margin


def one_spike_each(
    times_ms: np.ndarray, dt_ms: float, trial_ms: float, true_times: bool = False, levels: np.ndarray | None = None
) -> SpikeSet:
    """One spike, at most, of each channel.

    On the grid a time that lies between two steps belongs to the later one, the first in which it has passed.

    Args:
        times_ms: ``(samples, channels)``, not a number where a channel is silent; with ``levels`` the time of each of
            them, ``(number of levels,)``.
        true_times: whether spikes have their true times.
        levels: ``(samples, channels)`` whole numbers from 0, where times follow from few values.

    Returns:
        Set of as many samples.
    """
    if true_times:
        times_ms = times_ms if levels is None else times_ms[levels]
        there = np.isfinite(times_ms)
        offsets, channels = np.concatenate([[0], np.cumsum(there.sum(axis=1))]), times_ms.shape[1]
        return bin_events(times_ms[there], np.nonzero(there)[1], offsets, channels, dt_ms, trial_ms, true_times=True)
    n, channels = (times_ms if levels is None else levels).shape
    num_steps = round(trial_ms / dt_ms)
    kind: type[Any] = np.int32 if _BLOCK * num_steps * channels < 2**31 else np.int64  # the narrower the faster

    def steps_of(times: np.ndarray) -> np.ndarray:
        """The step of each time, ``num_steps`` for none."""
        step = np.ceil(times / dt_ms - 1e-6)
        return np.where(step < num_steps - 1, step, num_steps).astype(kind)

    steps, ids, counts = [np.zeros(0, np.uint16)], [np.zeros(0, np.uint16)], np.zeros(n, np.int64)
    by_level = None if levels is None else steps_of(times_ms)
    for first in range(0, n, _BLOCK):
        part = slice(first, first + _BLOCK)
        at = steps_of(times_ms[part]) if by_level is None or levels is None else by_level[levels[part]]
        there = at < num_steps
        counts[part] = np.count_nonzero(there, axis=1)
        place = np.flatnonzero(there).astype(kind)
        sample = place // kind(channels)
        cells = (sample * kind(num_steps) + at.ravel()[place]) * kind(channels) + (place - sample * kind(channels))
        cells.sort()
        rows = cells // kind(channels)
        steps.append((rows % kind(num_steps)).astype(np.uint16))
        ids.append((cells - rows * kind(channels)).astype(np.uint16))
    return SpikeSet(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        steps=np.concatenate(steps),
        channels=np.concatenate(ids),
        num_channels=channels,
        num_steps=num_steps,
    )
