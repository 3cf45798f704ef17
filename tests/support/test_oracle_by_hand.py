"""The event-driven oracle against closed forms and definitions, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support import event_driven, oracle
from tests.support.oracle import (
    LOSS_WEIGHTS,
    VOLTAGE_LOSSES,
    Array,
)
from tests.support.test_oracle import LABEL, LOSS_PARAMETERS, change, random_network, single, well_conditioned


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
        lag = event_driven._first_rise((tau_mem, tau_syn, tau_b, v_thresh), i, v, b, 40.0)
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
        values = np.mean([0.5**2, 0.2**2])  # of what stands for the label
        assert loss == pytest.approx(values if name in oracle.VALUE_LOSSES else np.log(2.0), rel=1e-15)
        assert not any(values.any() for layer in gradient.values() for values in layer.values())


def test_identical_readouts_transport_no_error() -> None:
    """Sum rule, sum over classes of g_j = 0: if this fails the softmax drive is wrong."""
    network, events = random_network(5, True, 2, True, 0.0)
    shared = {"w": np.repeat(network.output.w[:, :1], 3, axis=1), "tau_mem": 20.0, "tau_syn": 5.0}
    network = change(network, "output", **shared)
    for loss in sorted({*VOLTAGE_LOSSES} - {*oracle.VALUE_LOSSES}):
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
