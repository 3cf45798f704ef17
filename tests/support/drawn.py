"""Spike sets and layers with weights and time constants drawn at random, in values that float32 can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventprop.data.spikes import SpikeSet
from tests.support.oracle import Array, Layer

Stamps = list[tuple[int, int]]
Events = list[tuple[float, int]]


def timed_spike_set(samples: tuple[Events, ...], num_channels: int, num_steps: int, dt_ms: float) -> SpikeSet:
    """A spike set with true times, from (time in ms, channel) pairs."""
    ordered = [pair for sample in samples for pair in sorted(sample)]
    steps = np.array([int(t // dt_ms) for t, _ in ordered], dtype=np.uint16)
    return SpikeSet(
        offsets=np.cumsum([0, *(len(s) for s in samples)], dtype=np.int64),
        steps=steps,
        channels=np.array([c for _, c in ordered], dtype=np.uint16),
        num_channels=num_channels,
        num_steps=num_steps,
        at=(np.array([t for t, _ in ordered]) / dt_ms - steps).astype(np.float32),
    )


def spike_set(samples: tuple[Stamps, ...] | list[Stamps], num_channels: int, num_steps: int) -> SpikeSet:
    """A spike set from (step, channel) pairs."""
    ordered = [pair for sample in samples for pair in sorted(sample)]
    return SpikeSet(
        offsets=np.cumsum([0, *(len(s) for s in samples)], dtype=np.int64),
        steps=np.array([s for s, _ in ordered], dtype=np.uint16),
        channels=np.array([c for _, c in ordered], dtype=np.uint16),
        num_channels=num_channels,
        num_steps=num_steps,
    )


def rounded(values: Array) -> Array:
    """Values that float32 can hold."""
    return np.asarray(values).astype(np.float32).astype(np.float64)


def layers_of(rows: int, sizes: tuple[int, ...], *values: Any) -> list[tuple[Any, ...]]:
    """By layer, how many sources and neurons it has, and its entry of each value that is a tuple with one for each."""
    each = (own if isinstance(own, tuple) else (own,) * len(sizes) for own in values)
    return list(zip((rows, *sizes[:-1]), sizes, *each, strict=True))


def random_layer(
    rng: np.random.Generator,
    sources: int,
    size: int,
    mean: float,
    sd: float,
    own_taus: bool,
    special: bool = False,
    **kind: Any,
) -> Layer:
    """A layer with normal weights. ``special``: two of its neurons have equal or nearly equal time constants, and one a
    synapse slower than its membrane."""
    tau_mem, tau_syn = np.full(size, 20.0), np.full(size, 5.0)
    if own_taus:
        tau_mem, tau_syn = rng.uniform(12, 25, size), rng.uniform(3, 7, size)
    if special:
        tau_mem[:3], tau_syn[:3] = (8.0, 9.0, 6.0)[:size], (8.0, 9.0 + 1e-5, 9.0)[:size]
    return Layer(rounded(rng.normal(mean, sd, (sources, size))), rounded(tau_mem), rounded(tau_syn), **kind)
