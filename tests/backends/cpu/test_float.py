"""The engine on the grid, in single precision as users run it, against the NumPy version in double precision.

Taken are networks in which no spike hangs on rounding (no V comes closer than 1e-5 to its threshold at the end of a
step) and in which the NumPy version loses no more than 3e-6 in single precision. ``test_double.py`` has more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from eventprop.network import Randomness
from tests.support.small import KINDS, THOMAS1, Case, clear, differences, random_case, relative

BOUND = 1e-5


def check(make: Callable[[int], Case], random: Randomness | None = None) -> None:
    for first in (0, 100, 200, 300):
        case, expected = clear(lambda seed, first=first: make(first + seed), 1e-5, random=random)
        single = case.expected(random, dtype=np.float32)
        if max(relative(single.gradients[name], g) for name, g in expected.gradients.items()) < 3e-6:
            break
    engine = case.engine(2, "float")
    found = differences(expected, engine, case.learn(engine, randomness=random))
    assert max(found.values()) < BOUND, found


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("loss", models.LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_neuron_type_and_loss(kind: str, loss: str, layers: int) -> None:
    """Fails if something is computed with fewer digits than float32 has: cancellation, a loss of small terms in a sum,
    a constant that is not rounded from double precision."""
    sizes = ((40,), (20, 40))[layers - 1]
    check(lambda seed: random_case(seed, kind, loss, sizes=sizes, n=2, v_reset=-0.2))


@pytest.mark.parametrize("loss", ["sum_weigh_exp", "first_spike_exp"])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_on(kind: str, loss: str) -> None:
    """Fails if one of noise, dropout, regularisation or delays is less precise together with the others."""
    options = {"regulariser": "Thomas1", "strengths": THOMAS1, "average_counts": True, "loss_scale": 0.05}
    options |= {"copies": 3, "delay_steps": 17, "v_reset": -0.1, "n": 2, "sizes": (40, 20)}
    random = Randomness(0.2, 0.1, 0.05, input_seed=1, hidden_seed=2, noise_seed=3)
    check(lambda seed: random_case(seed, kind, loss, **options), random)


def test_result_is_in_single_precision() -> None:
    """Fails if the engine returns other types than its protocol says."""
    case = random_case(0, "LIF", n=2, sizes=(10,))
    engine = case.engine(1, "float")
    result = case.learn(engine)
    assert {a.dtype for a in engine.weights().values()} == {np.dtype(np.float32)}
    assert {a.dtype for a in engine.gradients().values()} == {np.dtype(np.float32)}
    assert result.scores.dtype == result.spike_counts.dtype == np.float32
    assert result.loss.dtype == np.float64
