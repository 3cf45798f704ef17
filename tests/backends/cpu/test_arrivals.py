"""Spikes that arrive at times of their own: delays that are not rounded to steps, and input spikes within steps.

Against the event-driven oracle; the step is a mere window, so that its length must not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eventprop.network import Randomness
from tests.backends.cpu.test_exact import directional
from tests.support import oracle
from tests.support.few_spikes import delayed_case, differences_to_oracle, exact_cases, few_spikes_case, with_true_times
from tests.support.small import Case, gradients_of, relative
from tests.support.test_oracle_delays import two_neurons

VARIANTS: dict[str, dict[str, Any]] = {
    "recurrent": {"v_reset": -0.2},
    "two layers": {"sizes": (4, 4), "v_reset": -0.1},
    "shorter than a step": {"most_ms": 0.4, "sizes": (8,)},
    "not recurrent": {"recurrent": False, "most_ms": 20.0},
}


def check(
    make: Callable[[int], Case], bound: float, number: int = 2, real: str = "double", grazing: float = 0.3
) -> None:
    """Compares spike times (to a nanosecond, in single precision 100), loss and gradients with the oracle's."""
    cases = exact_cases(make, number, grazing)
    assert len(cases) == number
    for case in cases:
        found = differences_to_oracle(case, case.engine(real=real))
        assert any(name.endswith(".delay") for name in found) == ("delay" in case.net.output.parameters)
        assert found.pop("spike times") < (1e-6 if real == "double" else 1e-4)
        assert max(found.values()) < bound, found


FIRST = pytest.param("first_spike", marks=pytest.mark.long)  # an engine of its own
BOTH = ["sum", FIRST]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("loss", ["sum", "sum_weigh_linear", FIRST])
def test_equals_the_oracle(loss: str, variant: str) -> None:
    """Fails if an arrival is at another time, or what it brings or gives by weight, delay or time constant is wrong."""
    check(lambda seed: delayed_case(seed, "hetLIF", loss, **VARIANTS[variant]), 1e-6)


@pytest.mark.parametrize("loss", ["sum_weigh_input", "sum_weigh_exp"])
def test_weights_that_are_not_linear_are_second_order(loss: str) -> None:
    """Fails if a weight within a step is taken at one of its ends, or input spikes of a step as if they were at its
    start: errors would be of first order."""
    ratios = []
    for case in exact_cases(lambda seed: delayed_case(seed, "hetLIF", loss), 5):
        long, short = (differences_to_oracle(c, c.engine())["in_to_hid"] for c in (case, replace(case, dt_ms=0.1)))
        assert long < 4e-3
        ratios.append(short / long)
    assert np.median(ratios) < 0.03, ratios


@pytest.mark.parametrize("variant", VARIANTS)
def test_adaptive_thresholds(variant: str) -> None:
    """Fails if what does not reach a synapse (the threshold's adjoint) is lost where a neuron spikes."""
    check(lambda seed: delayed_case(seed, "ALIF", **VARIANTS[variant]), 1e-6)


@pytest.mark.parametrize("taus", ["shared", pytest.param("trained", marks=pytest.mark.long)])
def test_single_precision(taus: str) -> None:
    """As users run it, at 1 ms: fails if single precision loses more than its rounding, or one of the ways is wrong."""
    kind = "LIF" if taus == "shared" else "hetLIF"
    check(lambda seed: delayed_case(seed, kind, "sum_weigh_linear", taus=taus), 1e-4, 3, "float")


@pytest.mark.parametrize("delays", [True, False])
@pytest.mark.parametrize("loss", BOTH)
def test_the_step_does_not_matter(loss: str, delays: bool) -> None:
    """Fails if anything depends on where steps begin: 0.1, 1 and 5 ms are one network."""

    def make(seed: int) -> Case:
        case = delayed_case(seed, "hetLIF", loss)
        return (
            case if delays else replace(few_spikes_case(seed, "hetLIF", loss, spike_timing="exact"), times=case.times)
        )

    (case,) = exact_cases(make, 1)
    expected = case.gradients()
    assert max(np.abs(g).max() for g in expected.values()) > 1e-4
    for dt_ms in (0.1, 5.0):
        engine = replace(case, dt_ms=dt_ms).engine()
        found = case_gradients(replace(case, dt_ms=dt_ms), engine)
        assert max(relative(found[name], g) for name, g in expected.items()) < 2e-6, dt_ms


def case_gradients(case: Case, engine: Any) -> dict[str, np.ndarray]:
    case.learn(engine)
    return gradients_of(engine)


def test_delays_of_nothing_are_no_delays() -> None:
    """Fails if the two ways of computing exact spike times are not the same network, dropout of none included."""
    (case,) = exact_cases(lambda seed: few_spikes_case(seed, sizes=(6, 4), spike_timing="exact"), 1)
    zeros = case
    for name, layer in case.net.populations.items():
        rec = {} if layer.w_rec is None else {"delay_rec": np.zeros_like(layer.w_rec)}
        zeros = zeros.edited(name, delay=np.zeros_like(layer.w), **rec)
    expected, found = case.gradients(), zeros.gradients()
    assert max(relative(found[name], g) for name, g in expected.items()) < 1e-9
    assert np.abs(found["in_to_hid.delay"]).max() > 1e-4


def test_one_delay_of_an_input_moves_its_spikes() -> None:
    """Fails if delays and true times of the input differ in anything: dL/dd is the sum of dL/dt over its spikes."""
    (case,) = exact_cases(lambda seed: few_spikes_case(seed, sizes=(6,), spike_timing="exact"), 1)
    rng = np.random.default_rng(1)
    late = np.round(rng.uniform(0, 8, case.num_input), 3)
    events = case.events()
    moved = with_true_times(case, ([(t + late[i], i) for t, i in events],), 1.0)
    delayed = case.edited("hidden0", delay=np.repeat(late[:, None], 6, axis=1))
    expected, found = moved.gradients(), delayed.gradients()
    assert max(relative(found[name], g) for name, g in expected.items()) < 1e-5  # times of spikes are single precision


def test_copies_of_an_input_with_true_times() -> None:
    """Fails if delayed copies of the input lose the times within steps, or their order."""
    options: dict[str, Any] = {"recurrent": False, "copies": 3, "delay_steps": 7}
    check(lambda seed: delayed_case(seed, "hetLIF", **options), 1e-6)

    def plain(seed: int) -> Case:
        return replace(
            few_spikes_case(seed, spike_timing="exact", **options), times=delayed_case(seed, **options).times
        )

    check(plain, 1e-6)


def several(case: Case, number: int) -> Case:
    """The case with more samples of other input."""
    rng = np.random.default_rng(3)
    events = [[(float(t), i) for i in range(case.num_input) for t in rng.uniform(0, 45, 3)] for _ in range(number)]
    return replace(with_true_times(case, tuple(events), 1.0), labels=(np.arange(number) % 3).astype(np.int32))


@pytest.mark.parametrize("loss", BOTH)
def test_threads_change_no_bit(loss: str) -> None:
    """Fails if a sum depends on which thread works on what, or samples of a batch are not averaged."""
    case = several(delayed_case(0, "hetLIF", loss, sizes=(8, 8)), 11)
    random = Randomness(input_dropout=0.2, hidden_dropout=0.2, input_seed=1, hidden_seed=2)
    first, *others = (case.gradients(case.engine(n, "float"), randomness=random) for n in (1, 2, 3))
    assert all(np.abs(g).max() > 0 for name, g in first.items() if name.endswith("delay"))
    for found in others:
        assert all(np.array_equal(found[name], g) for name, g in first.items())


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.long), 0.3])
def test_gradient_is_the_derivative_of_the_loss(dropout: float) -> None:
    """Finite differences of the engine's own loss: fails if a dropped spike does more or less than to reset its
    neuron."""
    (case,) = exact_cases(lambda seed: delayed_case(seed, "hetLIF", "first_spike", sizes=(8, 8), v_reset=-0.2), 1)
    case = case.edited("output", w=3.0 * np.abs(case.net.output.w))
    engine = case.engine()
    plain = case.learn(engine)
    for seed in range(20):
        random = Randomness(hidden_dropout=dropout, hidden_seed=seed)
        result = case.learn(engine, randomness=random)
        if case.labels[0] in engine.spikes(0, "output")[1]:
            break
    assert (result.spike_counts.sum() < plain.spike_counts.sum()) == (dropout > 0)
    rng = np.random.default_rng(0)
    for name, g in gradients_of(engine).items():
        direction = rng.normal(size=g.shape)
        slope = directional(case, name, direction, 1e-5, randomness=random)
        scale = np.linalg.norm(g) * np.linalg.norm(direction)
        assert abs(slope - np.sum(g * direction)) < 1e-9 + 1e-6 * scale, name


def test_one_delay_by_hand() -> None:
    """As of the oracle, whose test works it out: fails if a gradient has the sign of memory."""
    net = two_neurons(3.0)
    case = Case(net, ([],), np.array([1], np.int32), 1.0, "sum", spike_timing="exact", min_denominator=None)
    case = with_true_times(case, ([(0.0, 0)],), 1.0)
    found = case.gradients()["hid_to_hid0.delay"]
    lag = float(oracle.simulate(net, case.events()).spike_times["hidden0"][1][0])
    f = float(oracle.response(60.0 - lag, 20.0, 5.0))
    score = 2.0 * (5.0 * (1.0 - np.exp(-(60.0 - lag) / 5.0)) - 20.0 * f) / 60.0
    by_hand = 2.0 * f / 60.0 / (1.0 + np.exp(score))
    assert by_hand > 4e-4
    assert found == pytest.approx(np.array([[0.0, by_hand], [0.0, 0.0]]), rel=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("loss", ["sum", "first_spike"])
@pytest.mark.parametrize("sizes", [(24,), (16, 8)])
def test_many_neurons(sizes: tuple[int, ...], loss: str) -> None:
    """Fails if a crossing is missed, or taken out of order, where many neurons spike within a step."""
    check(lambda seed: delayed_case(seed, "hetLIF", loss, sizes=sizes, dt_ms=5.0), 1e-6, 1, grazing=0.05)
