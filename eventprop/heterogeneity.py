"""Parameters that differ from neuron to neuron: how they are drawn (``HETEROGENEOUS``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["DISTRIBUTIONS", "GAMMA", "draws_of", "drawn"]

GAMMA = ("gamma", 3.0)
"""Around the nominal value, as heterogeneous time constants were published (Perez-Nieves et al. 2021)."""

DISTRIBUTIONS: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
    "gamma": (1, lambda random, nominal, size, shape: random.gamma(shape, nominal / shape, size)),
    "normal": (1, lambda random, nominal, size, sd: random.normal(nominal, sd, size)),
    "uniform": (2, lambda random, nominal, size, low, high: random.uniform(low, high, size)),
}
"""By name, how many numbers a distribution takes, and how it is drawn."""


def draws_of(given: Any) -> dict[str, tuple[Any, ...]]:
    """What a population's entry of ``HETEROGENEOUS`` says: a list of parameters, or a dict with a distribution for
    each, such as ``["normal", 0.1]``."""
    if isinstance(given, Mapping):
        return {str(name): tuple(how) for name, how in given.items()}
    return dict.fromkeys(given, GAMMA)


def drawn(
    how: Sequence[Any], nominal: float, least: float, most: float, random: np.random.Generator, size: int
) -> np.ndarray:
    """Values for ``size`` neurons, float32; of a gamma distribution at most three times the nominal one."""
    kind, *numbers = how
    found = DISTRIBUTIONS[kind][1](random, nominal, size, *numbers)
    if kind == "gamma":
        most = min(most, max(least, 3.0 * nominal))
    return np.clip(found, least, most).astype(np.float32)
