"""The CPU backend's counter-based random numbers (``random.hpp``), in GeNNCode and on the host.

Each draw belongs to a seed, a sample, a step and a neuron: dropout and noise are the same on all backends.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

__all__ = ["draw", "drawn", "keys_of", "limit_of", "normal_table"]


def _mix(x: str) -> str:
    """GeNNCode: mixes the bits of ``x`` as ``random.hpp`` does; divisions, since GeNN 5.4 cannot read ``>>``."""
    return f"{x} ^= {x} / 65536U; {x} *= 2146121005U; {x} ^= {x} / 32768U; {x} *= 2221713035U; {x} ^= {x} / 65536U;"


def draw(x: str, keys: str) -> str:
    """GeNNCode: a uniform 32-bit number ``x`` for this sample, step and neuron."""
    return f"uint32_t {x} = ((uint32_t)k << 16) | id; {_mix(x)} {x} ^= {keys}[batch]; {_mix(x)}"


def normal_table(dtype: Any) -> np.ndarray:
    """``(2048,)`` quantiles of the normal distribution, of which two make a deviate of variance 1."""
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / 2048) for i in range(2048)])
    return (quantiles / np.sqrt(2.0 * np.mean(quantiles**2))).astype(dtype)


def _mixed(x: Any) -> np.ndarray:
    """The host's version of the bit mixing, for whole numbers below 2^32: uint32, in which products wrap round."""
    x = np.array(x, np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    return x


def keys_of(seed: int, samples: Sequence[int] | np.ndarray, layer: int = 0) -> np.ndarray:
    """Keys of the random streams of samples, by their position in the epoch: ``(n,)`` uint32."""
    salt = np.uint32(layer * 0x9E3779B9 & 0xFFFFFFFF)
    return _mixed(np.uint32(seed) ^ _mixed(samples) ^ salt)


def limit_of(probability: float) -> int:
    """A draw is below it with this probability."""
    return int(min(2.0**32 - 1, probability * 2.0**32))


def drawn(keys: np.ndarray, steps: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    """Uniform 32-bit numbers, one for each key, step and neuron."""
    places = steps.astype(np.uint32)
    places <<= np.uint32(16)
    places |= neurons.astype(np.uint32)
    return _mixed(_mixed(places) ^ keys)
