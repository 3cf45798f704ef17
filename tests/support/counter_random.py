"""The engine's counter-based random numbers (random.hpp) in NumPy, for arrays of whole numbers below 2^32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri


def mix(x: Any) -> NDArray[np.uint64]:
    x = np.asarray(x, np.uint64)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ x >> np.uint64(shift)) * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    return x ^ x >> np.uint64(16)


def draw(seed: int, sample: int, layer: int, step: Any, neuron: Any) -> NDArray[np.uint64]:
    """Uniform 32-bit numbers."""
    key = mix(np.uint64(seed) ^ mix(sample) ^ np.uint64(layer * 0x9E3779B9 & 0xFFFFFFFF))
    return mix(key ^ mix(np.asarray(step, np.uint64) << np.uint64(16) | np.asarray(neuron, np.uint64)))


def is_dropped(probability: float, seed: int, sample: int, layer: int, step: int, neuron: int) -> bool:
    limit = int(min(2.0**32 - 1, probability * 2.0**32))
    return bool(draw(seed, sample, layer, step, neuron) < limit)


def normal(seed: int, sample: int, layer: int, step: Any, neuron: Any) -> NDArray[np.float64]:
    """Sum of two entries, scaled to unit variance, of a table of 2048 quantiles of the normal distribution."""
    table = ndtri((np.arange(2048) + 0.5) / 2048)
    u = draw(seed, sample, layer, step, neuron).astype(np.int64)
    return (table[u % 2048] + table[u // 2048 % 2048]) / np.sqrt(2.0 * np.mean(table**2))
