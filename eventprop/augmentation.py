"""Changes to the spikes of training samples, each drawn anew in every epoch.

All work on whole batches at once and on the grid of the simulation. A spike that is moved off the channels, before the
start of the trial or into its last step, which is too late to arrive, is gone; of several spikes on one channel in one
step one stays. Kinds and their published use: Nowotny, Turner & Knight 2025; after Cramer et al. 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eventprop.spikes import SpikeSet

__all__ = ["AUGMENTATIONS", "blend", "dilate", "jitter", "merged", "shift", "thin"]


def _kept(spikes: SpikeSet, channels: np.ndarray, keep: np.ndarray, steps: np.ndarray | None = None) -> SpikeSet:
    """The spikes that ``keep`` says, whose order is still right."""
    ends = np.concatenate([[0], np.cumsum(keep)])[spikes.offsets].astype(np.int64)
    return SpikeSet(
        offsets=ends,
        steps=(spikes.steps if steps is None else steps)[keep],
        channels=channels[keep],
        num_channels=spikes.num_channels,
        num_steps=spikes.num_steps,
    )


def _sorted(spikes: SpikeSet, sample: np.ndarray, steps: np.ndarray, channels: np.ndarray, n: int) -> SpikeSet:
    """A set of ``n`` samples of spikes in any order, of which some may be outside; one per channel and step."""
    inside = (steps >= 0) & (steps < spikes.num_steps - 1) & (channels >= 0) & (channels < spikes.num_channels)
    cells = n * spikes.num_steps * spikes.num_channels
    kind: type[np.unsignedinteger[Any]] = np.uint32 if cells < 2**32 else np.uint64
    keys = sample[inside].astype(kind) * kind(spikes.num_steps) + steps[inside].astype(kind)
    keys = keys * kind(spikes.num_channels) + channels[inside].astype(kind)
    keys.sort()
    first = np.ones(keys.size, bool)
    first[1:] = keys[1:] != keys[:-1]
    rows, columns = np.divmod(keys[first], kind(spikes.num_channels))
    which, at = np.divmod(rows, kind(spikes.num_steps))
    counts = np.bincount(which.astype(np.int64), minlength=n)
    return SpikeSet(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        steps=at.astype(np.uint16),
        channels=columns.astype(np.uint16),
        num_channels=spikes.num_channels,
        num_steps=spikes.num_steps,
    )


def _sample_of_each(spikes: SpikeSet) -> np.ndarray:
    return np.repeat(np.arange(len(spikes)), np.diff(spikes.offsets))


def shift(spikes: SpikeSet, most: float, rng: np.random.Generator) -> SpikeSet:
    """Each sample moved by one number of channels, drawn uniformly within ``most`` and cut to a whole one."""
    by = np.trunc(rng.uniform(-most, most, len(spikes))).astype(np.int64)
    channels = spikes.channels.copy()
    for start, end, channels_up in zip(spikes.offsets[:-1], spikes.offsets[1:], by, strict=True):
        channels[start:end] += np.uint16(channels_up % 65536)  # below 0 it wraps around, far above all channels
    return _kept(spikes, channels, channels < spikes.num_channels)


def dilate(spikes: SpikeSet, factors: Sequence[float], rng: np.random.Generator) -> SpikeSet:
    """All times of a sample multiplied by one factor, whose logarithm is drawn uniformly between those of both given.

    A step stands for its middle, so that a factor of 1 changes nothing and others do not pull spikes forward.
    """
    factor = np.exp(rng.uniform(np.log(factors[0]), np.log(factors[1]), len(spikes)))
    sample = _sample_of_each(spikes)
    steps = np.floor((spikes.steps + 0.5) * factor[sample]).astype(np.int64)
    return _sorted(spikes, sample, steps, spikes.channels, len(spikes))


def jitter(spikes: SpikeSet, sigma: float, rng: np.random.Generator) -> SpikeSet:
    """Each spike moved by a number of channels of its own: normal, of standard deviation ``sigma``, and rounded."""
    by = np.rint(sigma * rng.standard_normal(spikes.channels.size)).astype(np.int64)
    return _sorted(spikes, _sample_of_each(spikes), spikes.steps, spikes.channels + by, len(spikes))


def thin(spikes: SpikeSet, number: int, rng: np.random.Generator) -> SpikeSet:
    """Spikes deleted at random so that ``number`` are expected to be left of each sample; shorter ones stay whole."""
    lengths = np.diff(spikes.offsets)
    probability = number / np.maximum(lengths, 1)
    return _kept(spikes, spikes.channels, rng.random(spikes.channels.size) < np.repeat(probability, lengths))


def blend(spikes: SpikeSet, probabilities: Sequence[float], rng: np.random.Generator) -> SpikeSet:
    """Samples made of several: each moved so that the means of channels and times meet, then thinned and joined.

    Args:
        spikes: ``n * k`` samples; ``k`` after each other make one.
        probabilities: ``(k,)``, with which the spikes of each are kept. Moves are by whole channels and steps.

    Returns:
        Set of ``n`` samples.
    """
    k = len(probabilities)
    lengths = np.diff(spikes.offsets)
    sample = _sample_of_each(spikes)
    moved = []
    for values in (spikes.steps, spikes.channels):
        sums = np.bincount(sample, weights=values, minlength=len(spikes))
        means = np.where(lengths > 0, sums / np.maximum(lengths, 1), np.nan).reshape(-1, k)
        there = np.isfinite(means)
        centre = np.where(there, means, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        by = np.trunc(np.where(there, centre[:, None] - means, 0.0)).astype(np.int64).ravel()
        moved.append(values + by[sample])
    keep = rng.random(sample.size) < np.tile(probabilities, len(spikes) // k)[sample]
    return _sorted(spikes, sample[keep] // k, moved[0][keep], moved[1][keep], len(spikes) // k)


def merged(sets: Sequence[SpikeSet], order: np.ndarray) -> SpikeSet:
    """The samples of several sets, one after the other, in another order."""
    joined = SpikeSet(
        offsets=np.concatenate([[0], np.cumsum(np.concatenate([np.diff(s.offsets) for s in sets]))]).astype(np.int64),
        steps=np.concatenate([s.steps for s in sets]),
        channels=np.concatenate([s.channels for s in sets]),
        num_channels=sets[0].num_channels,
        num_steps=sets[0].num_steps,
    )
    return joined.select(order)


AUGMENTATIONS: Mapping[str, Callable[[SpikeSet, Any, np.random.Generator], SpikeSet]] = {
    "random_shift": shift,
    "random_dilate": dilate,
    "ID_jitter": jitter,
}
"""Those that change a sample by itself, by name."""
