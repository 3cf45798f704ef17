"""Input channels that tell the time of the trial.

A neuron that sees the last tens of milliseconds cannot know when in a word they are; a few channels that spike at set
times tell it. It pays where recordings are aligned (:mod:`eventprop.data.alignment`), so that a time means something.
"""

from __future__ import annotations

import numpy as np

from eventprop.data.augmentation import in_order
from eventprop.data.spikes import SpikeSet

__all__ = ["spikes_of_clock", "with_clock"]

_EVERY_MS = 5.0


def spikes_of_clock(clock: int, num_channels: int, num_steps: int, dt_ms: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps and channels of a clock's spikes: the trial has a part for each channel, in which it spikes every 5 ms, or
    in every step if that is longer. The last step is too late to arrive."""
    every = max(1, round(_EVERY_MS / dt_ms))
    steps = np.arange(0, num_steps - 1, every)
    return steps, num_channels - clock + steps * clock // num_steps


def with_clock(spikes: SpikeSet, clock: int, dt_ms: float) -> SpikeSet:
    """Samples with a clock on the last ``clock`` channels; their own channels are squeezed into the others.

    Channel c becomes ``floor(c * (1 - clock / num_channels))``; of several spikes on one channel in one step one stays,
    unless they have true times. The clock's are in the middle of their steps.
    """
    n, own = len(spikes), np.repeat(np.arange(len(spikes), dtype=np.int32), np.diff(spikes.offsets))
    steps, channels = spikes_of_clock(clock, spikes.num_channels, spikes.num_steps, dt_ms)
    squeezed = spikes.channels.astype(np.int64) * (spikes.num_channels - clock) // spikes.num_channels
    at = None
    if spikes.at is not None:
        at = np.concatenate([spikes.at, np.full(n * steps.size, 0.5, np.float32)])
    return in_order(
        spikes,
        np.concatenate([own, np.repeat(np.arange(n, dtype=np.int32), steps.size)]),
        np.concatenate([spikes.steps.astype(np.int32), np.tile(steps.astype(np.int32), n)]),
        np.concatenate([squeezed, np.tile(channels, n)]).astype(np.int32),
        n,
        at,
    )
