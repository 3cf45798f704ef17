"""Spikes at their exact times (``spike_timing="exact"``), in double precision, against the event-driven oracle.

The step only spaces the input. Losses whose weight is linear within a step (sum, sum_weigh_linear) or that go by first
spikes have exact gradients, up to the float32 of the scores; the other weights are taken as linear within a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eventprop.network import Randomness
from tests.support import oracle
from tests.support.few_spikes import differences_to_oracle, exact_cases, few_spikes_case
from tests.support.small import KINDS, PARAMETERS, Case, flat, gradients_of, relative

BOUNDS = {
    "sum": 1e-6,
    "sum_weigh_linear": 1e-6,
    "sum_weigh_exp": 1e-4,
    "sum_weigh_sigmoid": 1e-3,
    "sum_weigh_input": 1e-3,
    "first_spike": 1e-9,
    "first_spike_exp": 1e-9,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "recurrent": {"v_reset": -0.2},
    "two layers": {"sizes": (4, 4), "v_reset": -0.1},
    "delayed copies": {"recurrent": False, "copies": 3, "delay_steps": 7},
    "step of 2 ms": {"grid_ms": 2, "sizes": (4, 4)},
    "step of 5 ms": {"grid_ms": 5, "v_reset": -0.2},
}


def check(make: Callable[[int], Case], bound: float, number: int = 2, grazing: float = 0.3) -> list[Case]:
    """Well-conditioned cases, after comparing the engine's spike times, loss and gradients with the oracle's."""
    cases = exact_cases(make, number, grazing)
    for case in cases:
        found = differences_to_oracle(case, case.engine())
        assert found.pop("spike times") < 1e-6
        assert max(found.values()) < bound, found
    return cases


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("loss", BOUNDS)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_oracle(kind: str, loss: str, variant: str) -> None:
    """Fails if a spike, an integral, a jump or the order of events within a step is wrong."""
    bound, options = BOUNDS[loss], VARIANTS[variant]
    if not loss.startswith("first") and bound > 1e-6:
        bound = max(bound, 2.5e-2 * (options.get("grid_ms", 1) / 5) ** 2)  # second order in the step
    check(lambda seed: few_spikes_case(seed, kind, loss, spike_timing="exact", **options), bound)


@pytest.mark.parametrize(("kind", "loss"), [("LIF", "first_spike"), ("hetLIF", "sum"), ("ALIF", "sum_weigh_linear")])
def test_many_neurons(kind: str, loss: str) -> None:
    """Fails if a crossing is missed, or taken out of order, where many neurons spike within a step."""
    sizes = (36, 12) if kind == "hetLIF" else (70,)
    check(lambda seed: few_spikes_case(seed, kind, loss, sizes=sizes, spike_timing="exact"), BOUNDS[loss], 1, 0.1)


def directional(case: Case, name: str, direction: np.ndarray, size: float, **options: Any) -> float:
    """Central difference of the engine's own loss along a direction of a weight or time constant, in float64."""
    engine = case.engine()
    counts, losses = [], []
    for sign in (1, -1):
        taus = {q: {n: a.astype(np.float64) for n, a in own.items()} for q, own in case.time_constants.items()}
        weights: dict[str, np.ndarray] = {n: w.astype(np.float64) for n, w in case.weights.items()}
        if name in weights:
            weights[name] += sign * size * direction
        else:
            layer, parameter = name.split(".")
            taus[layer][parameter] += sign * size * direction
        engine.set_weights(weights)
        engine.set_time_constants(taus)
        result = engine.run(case.spikes, case.numbers, case.labels, **options)
        counts.append(result.spike_counts)
        losses.append(result.loss.mean())
    assert np.array_equal(*counts)
    return float(losses[0] - losses[1]) / (2 * size)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_derivative_of_the_loss(kind: str) -> None:
    """Finite differences of the engine's own loss, also for weights and time constants of hidden neurons, which is
    possible only with exact times. Fails if the backward pass is not the adjoint of the forward one. The loss has the
    digits of float32 scores."""
    options = {"sizes": (8, 8), "v_reset": -0.2, "spike_timing": "exact"}
    (case,) = exact_cases(lambda seed: few_spikes_case(seed, kind, "sum", **options), 1)
    rng = np.random.default_rng(0)
    for name, g in case.gradients().items():
        direction = rng.normal(size=g.shape)
        slope = directional(case, name, direction, 5e-3 if "tau" in name else 1e-3)
        scale = np.linalg.norm(g) * np.linalg.norm(direction)
        assert abs(slope - np.sum(g * direction)) < 2e-5 + 1e-3 * scale, name


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_first_spikes_is_the_derivative_of_the_loss(kind: str, dropout: float) -> None:
    """As above, with all digits. Also fails if a dropped spike does more or less than to reset its neuron."""
    options = {"sizes": (8, 8), "v_reset": -0.2, "spike_timing": "exact"}
    (case,) = exact_cases(lambda seed: few_spikes_case(seed, kind, "first_spike", **options), 1)
    case = case.edited("output", w=3.0 * np.abs(case.net.output.w))
    engine = case.engine()
    plain = case.learn(engine)
    for seed in range(20):
        random = Randomness(hidden_dropout=dropout, hidden_seed=seed)
        result = case.learn(engine, randomness=random)
        if case.labels[0] in engine.spikes(0, "output")[1]:
            break
    assert case.labels[0] in engine.spikes(0, "output")[1]
    assert (result.spike_counts.sum() < plain.spike_counts.sum()) == (dropout > 0)
    rng = np.random.default_rng(0)
    for name, g in gradients_of(engine).items():
        direction = rng.normal(size=g.shape)
        slope = directional(case, name, direction, 1e-5, randomness=random)
        scale = np.linalg.norm(g) * np.linalg.norm(direction)
        assert abs(slope - np.sum(g * direction)) < 1e-9 + 1e-7 * scale, name


def test_regularisation_jumps_at_the_exact_spike() -> None:
    """Fails if the regularisation's jump has another size or time: with a silent read-out dw = tau_mem f(lag) jump,
    with f the response of V to a unit of current, lag the time from the input's spike to the neuron's."""
    hidden = oracle.Layer(np.array([[10.0]]), 20.0, 5.0)
    net = oracle.Network((hidden,), oracle.Layer(np.zeros((1, 2)), 20.0, 5.0, v_thresh=np.inf), 100.0)
    options = {"regulariser": "simple", "strengths": {"lbd_upper": 2.0, "lbd_lower": 0.5, "nu_upper": 0.25}}
    case = Case(net, ([(9, 0)],), np.array([0], np.int32), 1.0, "sum", spike_timing="exact", **options)
    engine = case.engine()
    found = case.gradients(engine)["in_to_hid"][0, 0]
    assert engine.spike_times(0, "hidden0")[0] == pytest.approx([10.0 + 2.826252], abs=1e-6)
    assert found == pytest.approx(20.0 * (1.0 / 10.0) * 2.0 * 0.75, rel=1e-12)  # V = 10 f(lag) is the threshold, 1


def test_batches() -> None:
    """Fails if samples of a batch are not averaged, or a sample's events are mixed with another's."""
    cases = exact_cases(lambda seed: few_spikes_case(seed, "LIF", "sum", spike_timing="exact"), 3)
    case = replace(cases[0], samples=tuple(c.samples[0] for c in cases), labels=np.array([0, 2, 1], np.int32))
    found = case.gradients(case.engine(2))
    expected: dict[str, list[np.ndarray]] = {}
    for i in case.numbers:
        exact = oracle.gradients(case.net, case.events(int(i)), int(case.labels[i]), "sum", PARAMETERS)[1]
        for name, g in flat(case.net, exact).items():
            expected.setdefault(name, []).append(g)
    assert max(relative(found[name], np.mean(g, axis=0)) for name, g in expected.items()) < 1e-6
