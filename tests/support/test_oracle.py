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
    LOSS_WEIGHTS,
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


def response_integral(x: Any, tau_mem: Any, tau_syn: Any) -> Array:
    """F(x) = integral_0^x f = tau_syn (1 - c) - tau_mem f(x), from tau_mem f' = c - f; F(inf) = tau_syn."""
    return -tau_syn * np.expm1(-x / tau_syn) - tau_mem * oracle.response(x, tau_mem, tau_syn)


def test_one_input_spike_fires_at_the_closed_form_time() -> None:
    """If this fails the crossing or its derivative -tau_mem f(t1)/(I - theta) is wrong in the simplest case."""
    network = single()
    trajectory = oracle.simulate(network, [(0.0, 0)])
    (spikes,) = trajectory.spike_times["hidden0"]
    assert spikes == pytest.approx([2.826252], abs=1e-6)  # one spike: the residual current does not fire again
    current = 10.0 * np.exp(-spikes[0] / 5.0)
    assert current == pytest.approx(5.682179, abs=1e-6)
    assert trajectory.min_denominator == pytest.approx(current - 1.0, rel=1e-12)
    by_hand = -20.0 * oracle.response(spikes[0], 20.0, 5.0) / (current - 1.0)
    assert by_hand == pytest.approx(-0.427152, abs=1e-6)
    gradient = oracle.spike_time_gradients(network, [(0.0, 0)], 0, 0)
    assert gradient["hidden0"]["w"][0, 0] == pytest.approx(by_hand, rel=1e-12)
    lag = oracle.meeting_time(current, 0.0, 20.0, 5.0)
    assert current * oracle.response(lag, 20.0, 5.0) == pytest.approx(0.894887, abs=1e-6)


def test_smallest_weight_that_fires() -> None:
    """If this fails a crossing close to the peak of V is missed, or one is invented."""
    lag = oracle.meeting_time(1.0, 0.0, 20.0, 5.0)
    assert lag == pytest.approx(9.241962, abs=1e-6)
    peak = float(oracle.response(lag, 20.0, 5.0))
    assert peak == pytest.approx(0.157490, abs=1e-6)
    assert 1.0 / peak == pytest.approx(6.349604, abs=1e-6)
    for factor, count in ((1 - 1e-9, 0), (1 + 1e-9, 1)):
        assert oracle.simulate(single(factor / peak), [(0.0, 0)]).spike_counts["hidden0"] == (count,)


def test_readout_of_one_spike_is_the_closed_form() -> None:
    """If this fails the score or the drive of the read-out (scale 1/T, no extra 1/tau) is wrong."""
    latency = float(oracle.simulate(single(), [(0.0, 0)]).spike_times["hidden0"][0][0])
    gradient = oracle.gradients(single(), [(20.0 - latency, 0)], 0)[1]["output"]["w"]
    expected = float(response_integral(80.0, 20.0, 5.0)) / 100.0
    assert expected == pytest.approx(0.0487790, abs=1e-7)
    assert gradient == pytest.approx(np.array([[-0.5, 0.5]]) * expected, rel=1e-12)
    assert response_integral(1e4, 20.0, 5.0) == pytest.approx(5.0, rel=1e-14)


def test_quadrature_equals_the_closed_form() -> None:
    """If this fails the Gauss-Legendre rule is too coarse for the losses and the tau integrals."""
    network, events = random_network(3, False, 1, True, 0.0)
    t, output = oracle.simulate(network, events), network.output
    x, i, v = t.length_ms[:, None], t.i[:, -output.size :], t.v[:, -output.size :]
    integral = (
        -output.tau_mem * np.expm1(-x / output.tau_mem) * v + response_integral(x, output.tau_mem, output.tau_syn) * i
    )
    assert oracle.scores(t, "sum") == pytest.approx(integral.sum(axis=0) / 50.0, rel=1e-13)
    numerical = oracle._drive_response(
        output, lambda lag: np.full((*lag.shape, 3), 0.02), np.zeros_like(t.length_ms), t.length_ms
    )
    assert numerical[0] == pytest.approx(-0.02 * np.expm1(-x / output.tau_mem), rel=1e-12)
    closed = 0.02 * response_integral(x, output.tau_mem, output.tau_syn) / output.tau_syn
    assert numerical[1] == pytest.approx(closed, rel=1e-12)


def test_losses_equal_their_definitions() -> None:
    """If this fails a loss is not the one in its formula: V on a fine grid of times, integrals as sums."""
    network, events = next(well_conditioned(False, 1, True, 0.0))
    trajectory, output, width = oracle.simulate(network, events), network.output, 1e-3
    t = np.arange(0.5 * width, 50.0, width)
    spikes = [(s, n) for n, own in enumerate(trajectory.spike_times["hidden0"]) for s in own]
    v = sum(
        np.where((t > s)[:, None], oracle.response(np.maximum(t - s, 0)[:, None], output.tau_mem, output.tau_syn), 0.0)
        * output.w[n]
        for s, n in spikes
    )  # (time, output)
    traffic = sum(np.where(t >= s, 0.01 / 20.0 * np.exp(-np.maximum(t - s, 0.0) / 20.0), 0.0) for s, _ in events)
    weights = {loss: weight(t / 50.0) for loss, weight in LOSS_WEIGHTS.items()} | {"sum_weigh_input": traffic}
    for loss, weight in weights.items():
        score = (weight[:, None] * v).mean(axis=0)
        found = oracle.scores(trajectory, loss, events, LOSS_PARAMETERS)
        assert found == pytest.approx(score, rel=1e-3), loss
        value = oracle.loss_value(trajectory, events, LABEL, loss, LOSS_PARAMETERS)
        assert value == pytest.approx(-np.log(oracle.softmax(score)[LABEL]), rel=1e-4), loss
    top = v.max(axis=0)
    assert oracle.scores(trajectory, "max") == pytest.approx(top, abs=1e-3)
    assert oracle.loss_value(trajectory, events, LABEL, "max") == pytest.approx(
        -np.log(oracle.softmax(top)[LABEL]), rel=1e-3
    )
    mean = -np.log(oracle.softmax(v)[:, LABEL]).mean()
    assert oracle.loss_value(trajectory, events, LABEL, "avg_xentropy") == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("adaptive", [False, True])
def test_first_rise_is_the_first(adaptive: bool) -> None:
    """If this fails a crossing between two events is missed or invented: compared with a scan of fine steps."""
    rng = np.random.default_rng(11)
    x = np.linspace(0.0, 40.0, 20_001)
    found = turned = 0
    for trial in range(600):
        tau_mem, tau_syn, tau_b = rng.uniform(3, 25, 3)
        tau_syn = {0: tau_mem, 1: tau_mem * (1 + 1e-9)}.get(trial % 8, tau_syn)
        tau_b = tau_mem if trial % 8 == 2 else tau_b
        i, v = rng.normal(2, 3), rng.uniform(-1, 1)
        b = rng.uniform(-0.9, 3) if adaptive else 0.0
        v_thresh = max(0.5, v - b + 0.1)
        path = np.exp(-x / tau_mem) * v + oracle.response(x, tau_mem, tau_syn) * i - b * np.exp(-x / tau_b)
        lag = oracle._first_rise((tau_mem, tau_syn, tau_b, v_thresh), i, v, b, 40.0)
        turned += (np.diff(np.sign(np.diff(path))) != 0).sum() > 1
        above = np.flatnonzero(path > v_thresh)
        if abs(path.max() - v_thresh) < 1e-5:
            continue
        assert (lag is None) == (len(above) == 0)
        if lag is not None:
            found += 1
            assert x[above[0] - 1] <= lag <= x[above[0]]
    assert found > 50
    assert turned > 10 or not adaptive  # V - B with two extrema


def test_two_extrema_within_one_segment() -> None:
    """If this fails V - B that first falls and then rises through the threshold is lost."""
    network = single(4.0, tau_b=np.array([3.0]), b_incr=0.0, b_init=3.0)
    trajectory = oracle.simulate(network, [(0.0, 0), (0.5, 0)])
    plain = oracle.simulate(single(4.0), [(0.0, 0), (0.5, 0)])
    assert trajectory.spike_counts["hidden0"] == plain.spike_counts["hidden0"] == (1,)
    (spike,) = trajectory.spike_times["hidden0"][0]
    v = sum(4.0 * oracle.response(spike - t, 20.0, 5.0) for t in (0.0, 0.5))
    assert v - 3.0 * np.exp(-spike / 3.0) == pytest.approx(1.0, rel=1e-12)
    assert spike > plain.spike_times["hidden0"][0][0]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("loss", VOLTAGE_LOSSES)
def test_equal_time_constants_are_no_special_case(loss: str, adaptive: bool) -> None:
    """If this fails (a - c)/(tau_mem - tau_syn) loses its digits, or jumps, where both time constants agree."""
    options = {"tau_b": np.array([20.0]), "b_incr": 0.2} if adaptive else {}
    gradient = {}
    events = [(3.0, 0), (10.0, 0)]
    for tau_syn in (20.0, 20.0 * (1 + 1e-12), 20.0 * (1 + 1e-7)):
        network = single(4.0, tau_syn=tau_syn, w_out=[[1.0, -0.5]], **options)
        gradient[tau_syn] = oracle.gradients(network, events, 0, loss, LOSS_PARAMETERS)[1]
    exact, near, close = gradient.values()
    for population, values in exact.items():
        for name, value in values.items():
            assert near[population][name] == pytest.approx(value, rel=1e-9), name
            assert close[population][name] == pytest.approx(value, rel=1e-4), name


def test_adaptation_without_increment_is_none() -> None:
    """If this fails the adaptive neuron does not contain the plain one (b_incr = b_init = 0)."""
    network, events = next(well_conditioned(False, 2, True, -0.3))
    adaptive = change(change(network, "hidden0", tau_b=30.0), "hidden1", tau_b=30.0)
    for loss in ("sum_weigh_exp", "max"):
        value, plain = oracle.gradients(network, events, LABEL, loss)
        same, gradient = oracle.gradients(adaptive, events, LABEL, loss)
        assert same == pytest.approx(value, rel=1e-14)
        for population, values in plain.items():
            for name in values:
                assert gradient[population][name] == pytest.approx(values[name], rel=1e-12, abs=1e-15)
        assert not gradient["hidden0"]["tau_b"].any()


def test_silent_network_has_no_gradient() -> None:
    """If this fails weights of a network without any spike would be moved."""
    network = single(6.0, w_out=[[1.0, -1.0]])
    for name in VOLTAGE_LOSSES:
        loss, gradient = oracle.gradients(network, [(5.0, 0)], 0, name, LOSS_PARAMETERS)
        assert loss == pytest.approx(np.log(2.0), rel=1e-15)
        assert not any(values.any() for layer in gradient.values() for values in layer.values())


def test_identical_readouts_transport_no_error() -> None:
    """Sum rule, sum over classes of g_j = 0: if this fails the softmax drive is wrong."""
    network, events = random_network(5, True, 2, True, 0.0)
    shared = {"w": np.repeat(network.output.w[:, :1], 3, axis=1), "tau_mem": 20.0, "tau_syn": 5.0}
    network = change(network, "output", **shared)
    for loss in VOLTAGE_LOSSES:
        gradient = oracle.gradients(network, events, LABEL, loss, LOSS_PARAMETERS)[1]
        assert abs(gradient["hidden0"]["w"]).max() < 1e-14, loss
        assert abs(gradient["output"]["w"]).max() > 1e-6, loss


def test_conditioning_measures() -> None:
    """If this fails tests that select well conditioned networks select the wrong ones."""
    trajectory = oracle.simulate(single(), [(0.0, 0), (3.0, 0)])
    assert trajectory.spike_counts["hidden0"][0] >= 2
    assert trajectory.min_gap_ms == pytest.approx(3.0 - 2.826252, abs=1e-6)
    silent = oracle.simulate(single(1.0), [(0.0, 0), (0.0, 0)])
    assert silent.min_gap_ms == silent.min_denominator == np.inf


def test_delayed_copies() -> None:
    """If this fails networks with delay lines are compared with inputs that they do not get."""
    events = [(1.0, 0), (15.0, 2)]
    assert oracle.delayed(events, 3, 2, 10.0, 30.0) == [(1.0, 0), (15.0, 2), (11.0, 3), (25.0, 5), (21.0, 6)]
    assert oracle.delayed(events, 3, 0, 10.0, 30.0) == events


def test_bad_input_is_refused() -> None:
    """If this fails a wrongly shaped network or an event outside the trial gives numbers instead of an error."""
    for event in ((100.0, 0), (-1.0, 0), (1.0, 1), (1.0, -1)):
        with pytest.raises(ValueError, match="events must lie"):
            oracle.simulate(single(), [event])
    layer = single().hidden[0]
    for name, wrong in (
        ("w_rec", np.zeros((2, 2))),
        ("w", np.zeros(3)),
        ("tau_mem", np.ones(3)),
        ("tau_b", np.ones(2)),
    ):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            replace(layer, **{name: wrong})
    with pytest.raises(ValueError, match="above the reset"):
        replace(layer, v_reset=1.0)
    with pytest.raises(ValueError, match="need tau_b"):
        replace(layer, b_incr=0.1)
    with pytest.raises(ValueError, match="expected 1 sources"):
        change(single(), "output", w=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="cannot be recurrent"):
        change(single(), "output", w_rec=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="does not fit"):
        oracle.gradients(single(), [], 0, "first_spike", LOSS_PARAMETERS)
    with pytest.raises(ValueError, match="right after its reset"):
        oracle.simulate(single(v_reset=0.9, tau_b=np.array([20.0]), b_incr=-0.2), [(0.0, 0)])
