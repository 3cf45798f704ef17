"""The engine on the grid, in double precision, against the NumPy version, which was written apart from it.

Both compute the same numbers in another order. Jumps have a bounded denominator (0.2), without which rounding is
amplified without limit at grazing spikes. Single precision is in ``test_float.py``; whether the algorithm is
right, in ``test_oracle.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import models
from eventprop.network import Randomness
from tests.support import grid_numpy
from tests.support.small import KINDS, SIMPLE, THOMAS1, Case, Expected, clear, differences, random_case

pytestmark = pytest.mark.long


BOUND = 2e-7
RANDOM = {
    "noise": Randomness(noise=0.08, noise_seed=5),
    "hidden dropout": Randomness(hidden_dropout=0.2, hidden_seed=6),
    "input dropout": Randomness(input_dropout=0.3, input_seed=7),
    "all": Randomness(0.2, 0.1, 0.05, input_seed=2**32 - 1, hidden_seed=2**31, noise_seed=3),
}


def with_silence(case: Case) -> Case:
    """The case with two more samples: one without input, and one whose label is an output that never spikes."""
    w = case.net.output.w.copy()
    w[:, 0] = -np.abs(w[:, 0])
    samples, labels = (*case.samples, [], case.samples[0]), np.array([*case.labels, 1, 0], np.int32)
    return replace(case, samples=samples, labels=labels).edited("output", w=w)


def check(make: Any, random: Randomness | None = None, first: int = 0) -> tuple[Case, Expected]:
    case, expected = clear(make, 1e-9, random=random, first=first)
    engine = case.engine(2)
    result = case.learn(engine, randomness=random, first=first)
    found = differences(expected, engine, result)
    assert max(found.values(), default=0.0) < BOUND, found
    assert expected.counts.sum() > 3 * expected.counts.size
    return case, expected


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("loss", models.LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_neuron_type_and_loss(kind: str, loss: str, layers: int) -> None:
    """Fails if any term of the forward or backward sweep is wrong: dynamics, read-out, jump, transport, gradients of
    weights and time constants, loss, scores, prediction."""
    sizes = ((70,), (40, 70))[layers - 1]
    _, expected = check(lambda seed: with_silence(random_case(seed, kind, loss, sizes=sizes, v_reset=-0.2)))
    if loss in grid_numpy.SPIKING_LOSSES:
        assert expected.predictions[-2] == -1 and np.isinf(expected.records[-1].first_ms[0])
        assert sum(r.fired["output"].sum() for r in expected.records) > 10


@pytest.mark.parametrize("loss", ["sum_weigh_input", "max", "first_spike"])
@pytest.mark.parametrize("kind", KINDS)
def test_delayed_copies_of_the_input(kind: str, loss: str) -> None:
    """Fails if copies have another delay or other rows of weights forwards than backwards, or outlive the trial."""

    def make(seed: int) -> Case:
        case = random_case(seed, kind, loss, sizes=(40, 20), recurrent=False, copies=3, delay_steps=17, rate=0.06)
        ends = [*case.samples[0], *[(k, i) for k in (84, 85, 101, 102, 118, 119) for i in range(4)]]
        return replace(case, samples=(sorted(set(ends)), *case.samples[1:])).edited("hidden0", v_thresh=0.8)

    check(make)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("regulariser", ["simple", "Thomas1"])
@pytest.mark.parametrize("kind", KINDS)
def test_regularisation(kind: str, regulariser: str, average: bool) -> None:
    """Fails if the regularisation's jump, its side, its counts or their average over the batch (AVG_SNSUM) is wrong,
    or if the scale of the loss reaches it."""
    strengths = SIMPLE if regulariser == "simple" else THOMAS1
    options = {"regulariser": regulariser, "strengths": strengths, "average_counts": average, "loss_scale": 0.05}
    case, expected = check(lambda seed: random_case(seed, kind, "sum", sizes=(30, 20), rate=0.03, **options))
    layers = [expected.counts[:, :30], expected.counts[:, 30:]]
    assert all((n > SIMPLE["nu_upper"]).any() and (n < SIMPLE["nu_upper"]).any() for n in layers)
    assert all(n.sum(axis=1).max() > THOMAS1["rho_upper"] for n in layers[:1])
    plain = replace(case, regulariser="none", strengths={}).expected()
    assert np.linalg.norm(plain.gradients["in_to_hid"] - expected.gradients["in_to_hid"]) > 0.01


@pytest.mark.parametrize("what", RANDOM)
@pytest.mark.parametrize("loss", ["sum_weigh_input", "first_spike"])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_and_dropout(kind: str, loss: str, what: str) -> None:
    """Fails if a random number is drawn for another sample, layer, step or neuron than forwards or than documented, or
    if noise or a lost spike enters the gradient in another way: the generator is written again in NumPy."""
    case, expected = check(lambda seed: random_case(seed, kind, loss, sizes=(30, 20)), RANDOM[what], first=5)
    plain = case.expected()
    assert not np.array_equal(plain.counts, expected.counts)
    dropped = [r.layers[name].dropped.sum() for r in expected.records for name in ("hidden0", "hidden1")]
    assert min(dropped) > 0 if RANDOM[what].hidden_dropout else not any(dropped)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bound", [None, 1.5])
def test_bound_of_the_denominator(kind: str, bound: float | None) -> None:
    """Fails if the bound acts where there is none, or does not act where D is smaller."""
    case, expected = check(lambda seed: random_case(seed, kind, sizes=(20,), n=1, min_denominator=bound))
    other = replace(case, min_denominator=None if bound else 1.5).expected()
    assert expected.records[0].min_denominator < 1.5
    assert np.linalg.norm(other.gradients["in_to_hid"] - expected.gradients["in_to_hid"]) > 1e-3


@pytest.mark.parametrize("classes", [1, 3, 33, 35, 70])
def test_any_number_of_classes(classes: int) -> None:
    """BUG-13: the reference's softmax is wired to 20 or fewer lanes. 35 (SSC) and more must be right."""
    for loss in ("sum", "avg_xentropy"):
        check(lambda seed, loss=loss: random_case(seed, "LIF", loss, sizes=(20,), n_out=classes, n=2))
