"""Synthetic spike trains, few spikes each: which way a sweep over the channels goes; for first runs without data."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventprop.streams import stream

__all__ = ["CHANNELS", "CLASSES", "SIZES", "demo"]

CHANNELS, CLASSES = 100, ("rising", "falling")
SIZES = {"train": 3000, "test": 600}
_SWEEP_MS = 100.0
_WAYS = (10.0, 60.0), (90.0, 40.0)  # channels at the start and at the end of a sweep, by class
_JITTER = 6.0  # channels


def demo(part: str, n: int | None = None) -> tuple[list[dict[str, Any]], list[str], np.ndarray]:
    """``n`` samples of a part: 5 to 30 spikes each, times in ms; labels; and whose they are, four in turn.

    Within 100 ms a rising sample sweeps over the lower channels upwards, a falling one over the upper ones downwards,
    and both end in the middle; one spike in ten is anywhere.
    """
    rng = stream(0, "demo spikes", part)
    X, Y = [], []
    for _ in range(n or SIZES[part]):
        label, count = int(rng.integers(2)), int(rng.integers(5, 31))
        t = rng.uniform(0.0, _SWEEP_MS, count)
        first, last = _WAYS[label]
        way = first + (last - first) * t / _SWEEP_MS
        x = np.where(rng.random(count) < 0.1, rng.uniform(0, CHANNELS, count), way)
        x = np.clip(np.rint(x + rng.normal(0.0, _JITTER, count)), 0, CHANNELS - 1)
        X.append({"x": x.astype(int), "t": t})
        Y.append(CLASSES[label])
    return X, Y, np.arange(len(X)) % 4
