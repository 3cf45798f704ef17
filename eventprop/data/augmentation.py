"""Changes to the spikes of training samples, each drawn anew in every epoch.

All work on whole batches at once and on the grid of the simulation. A spike that is moved off the channels, before the
start of the trial or into its last step, which is too late to arrive, is gone; of several spikes on one channel in one
step one stays. Of spikes with true times all stay, and the last step is as good as any. Kinds and their published use:
Nowotny, Turner & Knight 2025; after Cramer et al. 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np

from eventprop.data.spikes import SpikeSet

__all__ = ["AUGMENTATIONS", "angles", "blend", "cells", "dilate", "factors", "gain", "in_order", "jitter", "merged"]
__all__ += ["move_xy", "moves", "rotate", "shift", "shift_xy", "thin", "zoom"]


def _kept(spikes: SpikeSet, channels: np.ndarray, keep: np.ndarray) -> SpikeSet:
    """The spikes that ``keep`` says, whose order is still right."""
    there = np.flatnonzero(keep)
    kept = {name: array[there] for name, array in replace(spikes, channels=channels).arrays.items()}
    return spikes.remade(np.searchsorted(there, spikes.offsets), kept)


def _in_time_order(
    spikes: SpikeSet, sample: np.ndarray, steps: np.ndarray, channels: np.ndarray, at: np.ndarray, n: int
) -> SpikeSet:
    """As :func:`in_order`, of all spikes with their true times."""
    inside = (steps >= 0) & (steps < spikes.num_steps) & (channels >= 0) & (channels < spikes.num_channels)
    there = np.flatnonzero(inside)
    there = there[np.lexsort((channels[there], at[there], steps[there], sample[there]))]
    return replace(
        spikes,
        offsets=np.searchsorted(sample[there], np.arange(n + 1)),
        steps=steps[there].astype(np.uint16),
        channels=channels[there].astype(np.uint16),
        at=at[there],
    )


def in_order(
    spikes: SpikeSet,
    sample: np.ndarray,
    steps: np.ndarray,
    channels: np.ndarray,
    n: int,
    at: np.ndarray | None = None,
) -> SpikeSet:
    """A set of ``n`` samples of spikes in any order, of which some may be outside; one per channel and step.

    Args:
        sample, steps, channels: int32, one of each per spike.
        at: float32, where spikes have their true times; then all are kept.
    """
    if at is not None:
        return _in_time_order(spikes, sample, steps, channels, at, n)
    inside = (steps >= 0) & (steps < spikes.num_steps - 1) & (channels >= 0) & (channels < spikes.num_channels)
    there = np.flatnonzero(inside)
    for_channel, for_step = (int(m - 1).bit_length() for m in (spikes.num_channels, spikes.num_steps))
    kind: Any = np.uint32 if for_channel + for_step + n.bit_length() <= 32 else np.uint64
    keys = sample[there].astype(kind) << kind(for_step)
    keys |= steps[there].astype(kind)
    keys <<= kind(for_channel)
    keys |= channels[there].astype(kind)
    keys.sort()
    if keys.size:
        keys = np.concatenate([keys[:1], keys[1:][keys[1:] != keys[:-1]]])
    ends = np.arange(n + 1, dtype=kind) << kind(for_step + for_channel)
    return replace(
        spikes,
        offsets=np.searchsorted(keys, ends),
        steps=((keys >> kind(for_channel)) & kind(2**for_step - 1)).astype(np.uint16),
        channels=(keys & kind(2**for_channel - 1)).astype(np.uint16),
    )


def _sample_of_each(spikes: SpikeSet) -> np.ndarray:
    return np.repeat(np.arange(len(spikes), dtype=np.int32), np.diff(spikes.offsets))


def _slices(spikes: SpikeSet) -> list[slice]:
    """Where each sample's spikes are."""
    return [slice(a, b) for a, b in pairwise(spikes.offsets.tolist())]


def shift(spikes: SpikeSet, most: float, rng: np.random.Generator) -> SpikeSet:
    """Each sample moved by one number of channels, drawn uniformly within ``most`` and cut to a whole one."""
    by = np.trunc(rng.uniform(-most, most, len(spikes))).astype(np.int64) % 65536
    channels = np.empty_like(spikes.channels)
    for at, number in zip(_slices(spikes), by.astype(np.uint16), strict=True):
        np.add(spikes.channels[at], number, out=channels[at])  # below 0 it wraps around, far above all channels
    return _kept(spikes, channels, channels < spikes.num_channels)


def cells(num_channels: int) -> tuple[int, int]:
    """Side of the square whose cells the channels are, and how many each cell has: 1 for an image, 2 for a camera;
    side 0 where they are of none."""
    sides = ((isqrt(num_channels // each), each) for each in (1, 2))
    return next(((side, each) for side, each in sides if each * side**2 == num_channels), (0, 1))


def moves(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """By how much to move ``n`` samples in x and y: whole numbers, uniformly from ``-most`` to ``most``, ``(n, 2)``."""
    return rng.integers(-most, most + 1, (n, 2))


def shift_xy(spikes: SpikeSet, most: int, rng: np.random.Generator) -> SpikeSet:
    """Each sample of a camera, or each image, moved by whole numbers of cells; see :func:`moves`."""
    return move_xy(spikes, moves(len(spikes), most, rng))


def move_xy(spikes: SpikeSet, by: np.ndarray) -> SpikeSet:
    """Each sample moved by ``by`` cells in x and y, ``(samples, 2)``, each less than there are in a row.

    Channels are ``side * y + x``, of a camera ``(side * y + x) * 2 + polarity``.
    """
    (side, each), lengths = cells(spikes.num_channels), np.diff(spikes.offsets)
    channels = spikes.channels + np.repeat((each * (by @ (1, side))).astype(np.uint16), lengths)
    # Numbers below 0 wrap around, as sums do, to at least 2^16 - side, and a side is 256 at most.
    both = by.astype(np.uint16).view(np.uint32).ravel()
    places = _places(spikes.num_channels).take(spikes.channels, mode="clip").view(np.uint16)
    places += np.repeat(both, lengths).view(np.uint16)
    inside = places < side
    if inside.all():
        return replace(spikes, channels=channels)
    return _kept(spikes, channels, inside[::2] & inside[1::2])


def angles(n: int, most: float, rng: np.random.Generator) -> np.ndarray:
    """``n`` angles in radians, uniformly within ``most`` degrees."""
    return np.deg2rad(rng.uniform(-most, most, n))


def factors(n: int, bounds: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """``n`` factors whose logarithms are drawn uniformly between those of both given."""
    return np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]), n))


def rotate(spikes: SpikeSet, most: float, rng: np.random.Generator) -> SpikeSet:
    """Each sample of a camera turned about its middle, by an angle drawn uniformly within ``most`` degrees."""
    angle = angles(len(spikes), most, rng)
    return _turned(spikes, np.cos(angle), np.sin(angle))


def zoom(spikes: SpikeSet, bounds: Sequence[float], rng: np.random.Generator) -> SpikeSet:
    """Each sample of a camera made larger or smaller about its middle, by a factor whose logarithm is drawn uniformly
    between those of both given."""
    factor = factors(len(spikes), bounds, rng)
    return _turned(spikes, factor, np.zeros(len(spikes)))


def _turned(spikes: SpikeSet, a: np.ndarray, b: np.ndarray) -> SpikeSet:
    """Each sample's cells taken from ``(x, y)`` about the middle to ``(a x - b y, b x + a y)``, and to the nearest
    cell; ``a`` and ``b``: ``(samples,)``. Spikes of several cells that become one are one, as anywhere on the grid."""
    (side, each), sample = cells(spikes.num_channels), _sample_of_each(spikes)
    line = np.arange(side, dtype=np.float32) - np.float32(0.5 * (side - 1))
    a, b, middle = (np.asarray(c, np.float32).reshape(-1, 1, 1) for c in (a, b, 0.5 * side))
    x, y = (
        np.floor(new + middle).astype(np.int32) for new in (a * line - b * line[:, None], b * line + a * line[:, None])
    )
    inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    first = np.where(inside, (y * side + x) * each, -each).astype(np.int32)  # channel of each cell, (samples, y, x)
    places = (first[..., None] + np.arange(each, dtype=np.int32)).ravel()
    channels = places[sample * spikes.num_channels + spikes.channels]
    return in_order(spikes, sample, spikes.steps, channels, len(spikes), spikes.at)


@lru_cache(4)
def _places(num_channels: int) -> np.ndarray:
    """x and y of each channel's cell, 16 bits each, ``(channels,)`` uint32."""
    side, each = cells(num_channels)
    y, x = np.divmod(np.arange(num_channels) // each, max(side, 1))
    return np.stack([x, y], axis=1).astype(np.uint16).view(np.uint32).ravel()


def dilate(spikes: SpikeSet, bounds: Sequence[float], rng: np.random.Generator) -> SpikeSet:
    """All times of a sample multiplied by one factor, whose logarithm is drawn uniformly between those of both given.

    A step stands for its middle, so that a factor of 1 changes nothing and others do not pull spikes forward; where
    spikes have their true times, these are multiplied.
    """
    factor = factors(len(spikes), bounds, rng)
    steps = np.empty(spikes.steps.size, np.int32)
    if spikes.at is not None:
        times = (spikes.steps + spikes.at.astype(np.float64)) * np.repeat(factor, np.diff(spikes.offsets))
        steps[:] = np.minimum(times, spikes.num_steps)
        return in_order(
            spikes, _sample_of_each(spikes), steps, spikes.channels, len(spikes), (times - steps).astype(np.float32)
        )
    for at, number in zip(_slices(spikes), factor.astype(np.float32), strict=True):
        later = (spikes.steps[at] + np.float32(0.5)) * number
        steps[at] = np.minimum(later, spikes.num_steps)  # to whole numbers, downwards
    return in_order(spikes, _sample_of_each(spikes), steps, spikes.channels, len(spikes))


def jitter(spikes: SpikeSet, sigma: float, rng: np.random.Generator) -> SpikeSet:
    """Each spike moved by a number of channels of its own: normal, of standard deviation ``sigma``, and rounded."""
    by = np.rint(np.float32(sigma) * rng.standard_normal(spikes.channels.size, np.float32)).astype(np.int32)
    return in_order(spikes, _sample_of_each(spikes), spikes.steps, spikes.channels + by, len(spikes), spikes.at)


def gain(spikes: SpikeSet, value: Sequence[float], rng: np.random.Generator) -> SpikeSet:
    """Each sample louder on some channels and quieter on others, as other voices are: spikes are deleted or doubled.

    The logarithm of the gain is normal at some channels, evenly spaced from the first one to the last, and linear in
    between; the mean gain is 1. A spike becomes as many as the gain says, on average: one of them stays where it is,
    the others come on channels around it (normal, with a standard deviation of a seventieth of all channels) and a
    step around it (1 step).

    Args:
        value: at how many channels the gain is drawn, at least 2, and the standard deviation of its logarithm there.
    """
    knots, sigma = int(value[0]), float(value[1])
    sample = _sample_of_each(spikes)
    logs = rng.normal(-0.5 * sigma**2, sigma, (len(spikes), knots))
    place = spikes.channels * ((knots - 1) / max(spikes.num_channels - 1, 1))
    left = np.minimum(place.astype(np.int64), knots - 2)
    right = place - left
    number = np.floor(
        np.exp(logs[sample, left] * (1.0 - right) + logs[sample, left + 1] * right) + rng.random(sample.size)
    ).astype(np.int64)
    of = np.repeat(np.arange(sample.size), number)
    copies = np.flatnonzero(of[1:] == of[:-1]) + 1
    channels, steps = spikes.channels[of].astype(np.int32), spikes.steps[of].astype(np.int32)
    for values, spread in ((channels, spikes.num_channels / 70.0), (steps, 1.0)):
        values[copies] += np.rint(rng.normal(0.0, spread, copies.size)).astype(np.int32)
    return in_order(spikes, sample[of], steps, channels, len(spikes), None if spikes.at is None else spikes.at[of])


def thin(spikes: SpikeSet, number: int, rng: np.random.Generator) -> SpikeSet:
    """Spikes deleted at random so that ``number`` are expected to be left of each sample; shorter ones stay whole."""
    lengths = np.diff(spikes.offsets)
    probability = np.minimum(number / np.maximum(lengths, 1), 1.0)
    return _kept(spikes, spikes.channels, _chosen(spikes, probability, rng))


def _chosen(spikes: SpikeSet, probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each spike is kept, with its sample's probability ``(samples,)``: 1 keeps all, 0 none."""
    draws = rng.random(spikes.channels.size, np.float32)  # below 1
    keep = np.empty(draws.size, bool)
    for at, number in zip(_slices(spikes), probability.astype(np.float32), strict=True):
        np.less(draws[at], number, out=keep[at])
    return keep


def blend(spikes: SpikeSet, probabilities: Sequence[float], rng: np.random.Generator) -> SpikeSet:
    """Samples made of several: each moved so that the means of channels and times meet, then thinned and joined.

    Args:
        spikes: ``n * k`` samples; ``k`` after each other make one.
        probabilities: ``(k,)``, with which the spikes of each are kept. Moves are by whole channels and steps.

    Returns:
        Set of ``n`` samples.
    """
    k, n = len(probabilities), len(spikes) // len(probabilities)
    there = np.flatnonzero(_chosen(spikes, np.tile(probabilities, n), rng))
    sample = _sample_of_each(spikes)[there]
    moved = []
    for values in (spikes.steps, spikes.channels):
        means = np.array(
            [values[at].mean(dtype=np.float64) if at.stop > at.start else np.nan for at in _slices(spikes)]
        )
        of_each = means.reshape(n, k)
        known = np.isfinite(of_each)
        centre = np.where(known, of_each, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        by = np.trunc(np.where(known, centre[:, None] - of_each, 0.0)).astype(np.int32).ravel()
        moved.append(values[there] + by[sample])
    return in_order(spikes, sample // k, moved[0], moved[1], n, None if spikes.at is None else spikes.at[there])


def merged(sets: Sequence[SpikeSet], order: np.ndarray) -> SpikeSet:
    """The samples of several sets, one after the other, in another order."""
    lengths = np.concatenate([np.diff(s.offsets) for s in sets])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    arrays = {name: np.concatenate([s.arrays[name] for s in sets]) for name in sets[0].arrays}
    return sets[0].remade(offsets, arrays).select(order)


AUGMENTATIONS: Mapping[str, Callable[[SpikeSet, Any, np.random.Generator], SpikeSet]] = {
    "random_shift": shift,
    "random_shift_xy": shift_xy,
    "random_rotate": rotate,
    "random_zoom": zoom,
    "random_dilate": dilate,
    "random_gain": gain,
    "ID_jitter": jitter,
}
"""Those that change a sample by itself, by name."""
