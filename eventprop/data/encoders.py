"""Values as spike times: the latency code of MNIST and Yin-Yang."""

from __future__ import annotations

import numpy as np

from eventprop.data.spikes import SpikeSet, bin_events

__all__ = ["latency_ms", "one_spike_each"]

_BLOCK = 4096  # samples worked on at a time


def latency_ms(values: np.ndarray, dt_ms: float, trial_ms: float, true_times: bool = False) -> np.ndarray:
    """Times of spikes (ms) for values from 0 (early) to 1 (late): two steps from the start to two before the end; true
    times go from the start to the end, whatever the step."""
    margin = 0.0 if true_times else 2.0 * dt_ms
    return np.asarray(values) * (trial_ms - 2.0 * margin) + margin


def one_spike_each(times_ms: np.ndarray, dt_ms: float, trial_ms: float, true_times: bool = False) -> SpikeSet:
    """One spike, at most, of each channel.

    On the grid a time that lies between two steps belongs to the later one, the first in which it has passed.

    Args:
        times_ms: ``(samples, channels)``, not a number where a channel is silent.
        true_times: whether spikes have their true times.

    Returns:
        Set of as many samples.
    """
    n, channels = times_ms.shape
    if true_times:
        there = np.isfinite(times_ms)
        offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        return bin_events(times_ms[there], np.nonzero(there)[1], offsets, channels, dt_ms, trial_ms, true_times=True)
    num_steps = round(trial_ms / dt_ms)
    steps, ids, counts = [np.zeros(0, np.uint16)], [np.zeros(0, np.uint16)], np.zeros(n, np.int64)
    for first in range(0, n, _BLOCK):
        block = np.ceil(times_ms[first : first + _BLOCK] / dt_ms - 1e-6)
        sample, channel = np.nonzero(block < num_steps - 1)
        at = block[sample, channel].astype(np.int64)
        order = np.argsort((sample * num_steps + at) * channels + channel)
        steps.append(at[order].astype(np.uint16))
        ids.append(channel[order].astype(np.uint16))
        counts[first : first + len(block)] = np.bincount(sample, minlength=len(block))
    return SpikeSet(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        steps=np.concatenate(steps),
        channels=np.concatenate(ids),
        num_channels=channels,
        num_steps=num_steps,
    )
