"""The event-driven reference against central differences and closed forms.

Everything else is measured against `oracle`, so it is itself held to finite differences of its own forward solution,
and the forward solution to numbers worked out by hand (tau_mem = 20 ms, tau_syn = 5 ms, threshold 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
from pytest import MonkeyPatch

from tests.support import oracle
from tests.support.oracle import (
    SPIKE_LOSSES,
    VOLTAGE_LOSSES,
    Array,
    InputEvents,
    Layer,
    Network,
    Trajectory,
)

LABEL = 1
STEPS = {"w": 1e-5, "w_rec": 1e-5, "tau_mem": 1e-4, "tau_syn": 2e-5, "tau_b": 5e-4}
LOSS_PARAMETERS = {"tau_accumulator": 20.0, "tau_0": 2.0, "tau_1": 20.0, "alpha": 0.5}
CASES = list(product((False, True), (1, 2), (False, True), (0.0, -0.3)))
Jump = Callable[[Any, oracle.SegmentEnd, float, float, float], tuple[float, float]]


def random_network(
    seed: int, adaptive: bool, layers: int, recurrent: bool, v_reset: float, spiking: bool = False
) -> tuple[Network, InputEvents]:
    """4 inputs with 3 events each, 3 neurons a layer, 3 outputs, heterogeneous time constants, T = 50 ms."""
    rng = np.random.default_rng((seed, adaptive, layers, recurrent, spiking))
    adaptation = {"b_incr": 0.3, "b_init": 0.1} if adaptive else {}

    def layer(sources: int, mean: float, sd: float, **other: Any) -> Layer:
        taus = {"tau_mem": rng.uniform(12, 25, 3), "tau_syn": rng.uniform(3, 7, 3)}
        return Layer(w=rng.normal(mean, sd, (sources, 3)), **taus, **other)

    hidden = []
    for k in range(layers):
        options: dict[str, Any] = {"v_reset": v_reset, **adaptation}
        options["w_rec"] = rng.normal(0.0, 0.5, (3, 3)) if recurrent else None
        options["tau_b"] = rng.uniform(10, 30, 3) if adaptive else None
        hidden.append(layer(3 if k else 4, 3.0 if k else 2.0, 0.8, **options))
    reading = (3, 3.0, 0.8) if spiking else (3, 0.0, 3.0)
    output = layer(*reading, v_reset=v_reset, v_thresh=1.0 if spiking else math.inf)
    network = Network(tuple(hidden), output, trial_ms=50.0)
    return network, [(float(time), i) for i in range(4) for time in rng.uniform(0, 40, 3)]


def well_conditioned(*case: Any, **options: Any) -> Iterator[tuple[Network, InputEvents]]:
    """Networks of one case in which every population spikes and no crossing grazes or meets another event.

    Two outputs at least rise above their start: no gradient of a population is zero.
    """
    for seed in range(60):
        network, events = random_network(seed, *case, **options)
        trajectory = oracle.simulate(network, events)
        active = min(sum(counts) for counts in trajectory.spike_counts.values()) >= 6
        if active and not network.spiking_outputs:
            active = (oracle.scores(trajectory, "max") > network.output.v_reset).sum() >= 2
        if active and trajectory.min_denominator > 0.3 and trajectory.min_gap_ms > 1e-2:
            yield network, events


def change(network: Network, population: str, **values: Any) -> Network:
    """The network with other fields in one of its layers."""
    layer = replace(network.populations[population], **values)
    if population == "output":
        return replace(network, output=layer)
    hidden = list(network.hidden)
    hidden[int(population.removeprefix("hidden"))] = layer
    return replace(network, hidden=tuple(hidden))


def perturbed(
    network: Network, events: InputEvents, population: str, name: str
) -> Iterator[tuple[tuple[int, ...], float, list[Trajectory]]]:
    """Index, step and solutions at plus and minus one step for every element of one parameter."""
    values: Array = getattr(network.populations[population], name)
    step = STEPS[name]
    for index in np.ndindex(values.shape):
        pair = []
        for sign in (1, -1):
            shifted = values.copy()
            shifted[index] += sign * step
            pair.append(oracle.simulate(change(network, population, **{name: shifted}), events))
        yield index, step, pair


def worst_error(network: Network, events: InputEvents, losses: tuple[str, ...]) -> dict[str, tuple[float, str, str]]:
    """Per loss, the largest relative error of a parameter's gradient against central differences, and where."""
    trajectory = oracle.simulate(network, events)
    exact = {}
    for loss in losses:
        value, exact[loss] = oracle.gradients(network, events, LABEL, loss, LOSS_PARAMETERS)
        assert value == oracle.loss_value(trajectory, events, LABEL, loss, LOSS_PARAMETERS)
    worst = dict.fromkeys(losses, (0.0, "", ""))
    for population, layer in network.populations.items():
        assert all(tuple(exact[loss][population]) == layer.parameters for loss in losses)
        for name in layer.parameters:
            reference = {loss: np.zeros_like(getattr(layer, name)) for loss in losses}
            for index, step, pair in perturbed(network, events, population, name):
                assert all(t.spike_counts == trajectory.spike_counts for t in pair)
                for loss in losses:
                    up, down = (oracle.loss_value(t, events, LABEL, loss, LOSS_PARAMETERS) for t in pair)
                    reference[loss][index] = (up - down) / (2 * step)
            for loss in losses:
                error = relative_error(exact[loss][population][name], reference[loss])
                assert np.isfinite(error), (loss, population, name)
                worst[loss] = max(worst[loss], (error, population, name))
    return worst


def relative_error(value: Array, reference: Array) -> float:
    """|value - reference| / |reference|."""
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize(("adaptive", "layers", "recurrent", "v_reset"), CASES)
def test_gradients_match_central_differences(adaptive: bool, layers: int, recurrent: bool, v_reset: float) -> None:
    """If this fails the adjoint (jump, transport, drive or tau integrals) is wrong and proves nothing about others."""
    network, events = next(well_conditioned(adaptive, layers, recurrent, v_reset))
    for loss, (error, *where) in worst_error(network, events, VOLTAGE_LOSSES).items():
        assert error <= 1e-6, (loss, where)


@pytest.mark.parametrize(("adaptive", "layers", "recurrent", "v_reset"), CASES[::3])
def test_spiking_outputs_match_central_differences(
    adaptive: bool, layers: int, recurrent: bool, v_reset: float
) -> None:
    """If this fails the derivative of the first spike times or the jumps of output spikes are wrong."""
    networks = well_conditioned(adaptive, layers, recurrent, v_reset, spiking=True)
    everyone = ((n, e) for n, e in networks if min(oracle.simulate(n, e).spike_counts["output"]) > 0)
    network, events = next(everyone)
    for loss, (error, *where) in worst_error(network, events, SPIKE_LOSSES).items():
        assert error <= 1e-6, (loss, where)


def test_adaptive_spiking_outputs_match_central_differences() -> None:
    """If this fails outputs whose threshold adapts have no reference."""
    network, events = next(well_conditioned(False, 1, False, 0.0, spiking=True))
    network = change(network, "output", tau_b=np.array([15.0, 20.0, 40.0]), b_incr=0.2, b_init=0.3)
    for loss, (error, *where) in worst_error(network, events, SPIKE_LOSSES).items():
        assert error <= 1e-6, (loss, where)


@pytest.mark.parametrize("silent", [0, LABEL])
def test_silent_output_counts_with_the_end_of_the_trial(silent: int) -> None:
    """If this fails an output without spikes does not enter softmax (T + 1) and penalty (T), or has a gradient."""
    network, events = next(well_conditioned(False, 1, True, -0.3, spiking=True))
    w = network.output.w.copy()
    w[:, silent] = 0.1
    network = change(network, "output", w=w)
    trajectory = oracle.simulate(network, events)
    assert [n == 0 for n in trajectory.spike_counts["output"]] == [j == silent for j in range(3)]
    times = np.array([own[0] if len(own) else 51.0 for own in trajectory.spike_times["output"]])
    late = min(times[LABEL], 50.0)
    penalties = {"first_spike": 0.5 / (50.5 - late), "first_spike_exp": 0.5 * (np.exp(late / 20.0) - 1.0)}
    for loss, penalty in penalties.items():
        value, gradient = oracle.gradients(network, events, LABEL, loss, LOSS_PARAMETERS)
        by_hand = -np.log(np.exp(-times / 2.0)[LABEL] / np.exp(-times / 2.0).sum())
        assert value == pytest.approx(by_hand + penalty, rel=1e-12)
        assert not gradient["output"]["w"][:, silent].any()
        assert gradient["output"]["w"].any()
    if silent != LABEL:
        errors = worst_error(network, events, SPIKE_LOSSES)
        assert max(error for error, *_ in errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("adaptive", [False, True])
def test_spike_time_gradients_match_central_differences(adaptive: bool) -> None:
    """If this fails the dl_p/dt term of the jump is wrong: no oracle for losses of spike times."""
    network, events = next(well_conditioned(adaptive, 1, True, -0.3))
    times = oracle.simulate(network, events).spike_times["hidden0"]
    neuron = int(np.argmax([len(own) for own in times]))
    gradient = oracle.spike_time_gradients(network, events, neuron, -1)
    assert not any(values.any() for values in gradient["output"].values())
    for name, value in gradient["hidden0"].items():
        reference = np.zeros_like(value)
        for index, step, pair in perturbed(network, events, "hidden0", name):
            up, down = (t.spike_times["hidden0"][neuron][-1] for t in pair)
            reference[index] = (up - down) / (2 * step)
        assert relative_error(value, reference) <= 1e-6, name


def error_of(wrong: Jump, *case: Any) -> dict[str, float]:
    """Largest relative error of hidden gradients with a wrong jump, in the first three networks of a case."""
    errors: dict[str, float] = {}
    for network, events in islice(well_conditioned(*case), 3):
        right = oracle.gradients(network, events, LABEL)[1]["hidden0"]
        with MonkeyPatch.context() as patch:
            patch.setattr(oracle, "_jump", wrong)
            found = oracle.gradients(network, events, LABEL)[1]["hidden0"]
        for name, values in right.items():
            errors[name] = max(errors.get(name, 0.0), relative_error(found[name], values))
    return errors


right_jump: Jump = oracle._jump


@pytest.mark.parametrize("adaptive", [False, True])
def test_reset_enters_the_jump(adaptive: bool) -> None:
    """BUG-5: if theta in place of theta - v_reset went unnoticed, the tests with v_reset = -0.3 would prove nothing."""

    def wrong(n: Any, *rest: Any) -> tuple[float, float]:
        return right_jump(n._replace(v_reset=0.0 * n.v_reset), *rest)

    errors = error_of(wrong, adaptive, 1, True, -0.3)
    assert min(errors.values()) > 0.01, errors


def wrong_rate(n: Any, end: oracle.SegmentEnd, lambda_v: float, lambda_b: float, error: float) -> tuple[float, float]:
    """Crossing rate with minus B/tau_b."""
    shift = end.adaptation * n.tau_mem[end.source] / n.tau_b[end.source]
    return right_jump(n, end._replace(denominator=end.denominator - 2 * shift), lambda_v, lambda_b, error)


def wrong_bracket(
    n: Any, end: oracle.SegmentEnd, lambda_v: float, lambda_b: float, error: float
) -> tuple[float, float]:
    """v_thresh - v_reset in place of v_thresh + B - v_reset - B tau_mem/tau_b in the increment of lambda_v."""
    k = end.source
    bracket = (n.v_thresh[k] - n.v_reset[k]) * lambda_v - n.b_incr[k] * lambda_b + error
    lambda_v += bracket / end.denominator
    return lambda_v, lambda_b - n.tau_mem[k] / n.tau_b[k] * lambda_v


def wrong_sign(n: Any, end: oracle.SegmentEnd, lambda_v: float, lambda_b: float, error: float) -> tuple[float, float]:
    """lambda_b grows where it should shrink."""
    after, right = right_jump(n, end, lambda_v, lambda_b, error)
    return after, 2 * lambda_b - right


def wrong_order(n: Any, end: oracle.SegmentEnd, lambda_v: float, lambda_b: float, error: float) -> tuple[float, float]:
    """The bracket of lambda_b is evaluated with the lambda_v that has jumped already."""
    after, _ = right_jump(n, end, lambda_v, lambda_b, error)
    return after, right_jump(n, end, after, lambda_b, error)[1]


@pytest.mark.parametrize("wrong_jump", [wrong_rate, wrong_bracket, wrong_sign, wrong_order])
@pytest.mark.parametrize("layers", [1, 2])
def test_adaptation_enters_the_jump(layers: int, wrong_jump: Jump) -> None:
    """BUG-8: if one of the four errors went unnoticed, the tests of adaptive neurons would prove nothing."""
    errors = error_of(wrong_jump, True, layers, True, 0.0)
    assert min(errors.values()) > 0.01, errors


def test_cusp_maxima_move_with_the_spike(monkeypatch: MonkeyPatch) -> None:
    """BUG-12: if this fails the max loss ignores that a maximum at an arriving spike moves with that spike."""
    seen = []
    monkeypatch.setattr(oracle, "_cusp", lambda error, rise: seen.append(rise) or -error * rise)
    for network, events in well_conditioned(False, 1, True, 0.0):
        seen.clear()
        right = oracle.gradients(network, events, LABEL, "max")[1]
        if sum(seen) > 0.15:
            break
    assert sum(seen) > 0.15
    assert worst_error(network, events, ("max",))["max"][0] <= 1e-6
    monkeypatch.setattr(oracle, "_cusp", lambda error, rise: 0.0)
    wrong = oracle.gradients(network, events, LABEL, "max")[1]
    for name, values in right["hidden0"].items():
        assert relative_error(wrong["hidden0"][name], values) > 0.1, name
    for name, values in right["output"].items():
        assert wrong["output"][name] == pytest.approx(values, rel=1e-12)


def test_maximum_at_the_start_or_end_does_not_move() -> None:
    """If this fails max invents a gradient where V only falls from v_reset, or rises until the trial ends."""
    network = single(w_out=[[-1.0, 1.0]], trial_ms=8.0)
    trajectory = oracle.simulate(network, [(0.0, 0)])
    (spike,) = trajectory.spike_times["hidden0"][0]
    peak = oracle.response(8.0 - spike, 20.0, 5.0)
    assert oracle.scores(trajectory, "max") == pytest.approx([0.0, peak], rel=1e-12)
    gradient = oracle.gradients(network, [(0.0, 0)], LABEL, "max")[1]["output"]["w"]
    error = 1.0 - oracle.softmax(np.array([0.0, peak]))[1]
    assert gradient == pytest.approx(np.array([[0.0, -error * peak]]), rel=1e-12)


def single(
    w: float = 10.0, trial_ms: float = 100.0, tau_syn: float = 5.0, w_out: Any = ((0.0, 0.0),), **options: Any
) -> Network:
    """One input, one hidden neuron, two outputs."""
    hidden = Layer(np.array([[w]]), 20.0, tau_syn, **options)
    return Network((hidden,), Layer(np.array(w_out), 20.0, tau_syn, v_thresh=math.inf), trial_ms)
