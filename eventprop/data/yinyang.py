"""The Yin-Yang data set (Kriener et al. 2022): points of a disc, in one of two interlocked halves or in a dot.

In the square [-1, 1]^2, with the distances d+ and d- from (0.5, 0) and (-0.5, 0): a point of the unit disc is in a dot
(class 2) where d+ < 0.2 or d- < 0.2; else it is of class 1 where d+ <= 0.2, or 0.2 < d- <= 0.5, or v > 0 and d+ > 0.5;
else of class 0. Classes are drawn first, so that they are equally frequent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventprop.data.dataset import Part
from eventprop.data.encoders import latency_ms, one_spike_each

__all__ = ["CLASSES", "classify", "encode", "points"]

CLASSES = ("yin", "yang", "dot")
DOT = 0.2


def classify(u: Any, v: Any) -> Any:
    """Class of a point of the unit disc, or of an array of them, by coordinates from -1 to 1."""
    right, left = ((u - 0.5) ** 2 + v * v) ** 0.5, ((u + 0.5) ** 2 + v * v) ** 0.5
    dot = (right < DOT) | (left < DOT)
    first = (right <= DOT) | ((left > DOT) & (left <= 0.5)) | ((v > 0) & (right > 0.5))
    return 2 * dot + (1 - dot) * first


def points(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``n`` points ``(n, 2)`` with coordinates from 0 to 1, and their classes ``(n,)`` int32.

    The generator and the order of its draws are those of the published data set, so a seed gives the same points.
    """
    words = 20 * n + 1000  # about 17 a point are needed
    while True:
        try:
            return _walk(n, np.random.RandomState(seed).randint(2**32, size=words, dtype=np.uint32))
        except IndexError:
            words *= 2


def _walk(n: int, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What comes of a generator's words: a class is two bits of one (3 is none), a point two numbers of two each.

    Each place is looked at as if a point began there, all at once, since only how one gets from place to place follows
    from what was drawn before.

    Raises:
        IndexError: there are too few.
    """
    uniform = ((words[:-1] >> 5) * 67108864.0 + (words[1:] >> 6)) / 9007199254740992.0  # as rand makes them
    u, v = 2.0 * uniform[:-2] - 1.0, 2.0 * uniform[2:] - 1.0
    goals, classes = (words & 3).tolist(), np.where(u * u + v * v <= 1.0, classify(u, v), 3).tolist()
    places, labels, at = np.empty(n, np.int64), np.empty(n, np.int32), 0
    for i in range(n):
        while (goal := goals[at]) == 3:
            at += 1
        at += 1
        while classes[at] != goal:
            at += 4
        places[i], labels[i] = at, goal
        at += 4
    return np.stack([0.5 * u[places] + 0.5, 0.5 * v[places] + 0.5], axis=1), labels


def encode(
    coordinates: np.ndarray, labels: np.ndarray, dt_ms: float, trial_ms: float, true_times: bool = False
) -> Part:
    """A spike of each of five channels: a bias, x, y, 1 - x and 1 - y, the later the larger it is."""
    x, y = coordinates.T
    values = np.stack([np.zeros_like(x), x, y, 1.0 - x, 1.0 - y], axis=1)
    times = latency_ms(values, dt_ms, trial_ms, true_times)
    return Part(one_spike_each(times, dt_ms, trial_ms, true_times), labels)
