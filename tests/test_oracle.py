"""The event-driven reference against central differences and closed forms.

Everything else is measured against `oracle`, so it is itself held to finite differences of its own forward solution,
and the forward solution to numbers worked out by hand (tau_mem = 20 ms, tau_syn = 5 ms, threshold 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
from oracle import LOSS_WEIGHTS, Array, InputEvents, Network, Trajectory

STEP = 1e-6
LABEL = 1
PARAMETERS = ("w_in", "w_rec", "w_out", "tau_mem", "tau_syn", "tau_mem_out", "tau_syn_out")
CASES = [(recurrent, v_reset) for recurrent in (False, True) for v_reset in (0.0, -0.3)]


def random_network(rng: np.random.Generator, recurrent: bool, v_reset: float) -> tuple[Network, InputEvents]:
    """5 inputs with 3 events each, 4 hidden, 3 outputs, heterogeneous time constants, T = 50 ms."""
    network = Network(
        w_in=rng.normal(1.5, 0.8, (5, 4)),
        w_rec=rng.normal(0.0, 0.5, (4, 4)) if recurrent else None,
        w_out=rng.normal(0.0, 1.5, (4, 3)),
        tau_mem=rng.uniform(12, 25, 4),
        tau_syn=rng.uniform(3, 7, 4),
        tau_mem_out=rng.uniform(12, 25, 3),
        tau_syn_out=rng.uniform(3, 7, 3),
        v_reset=v_reset,
        trial_ms=50.0,
    )
    return network, [(float(time), i) for i in range(5) for time in rng.uniform(0, 40, 3)]


def single(w: float = 10.0, trial_ms: float = 100.0, tau_syn: float = 5.0) -> Network:
    """One input, one hidden neuron, two outputs without weights."""
    return Network(
        w_in=np.array([[w]]),
        w_rec=None,
        w_out=np.zeros((1, 2)),
        tau_mem=np.array([20.0]),
        tau_syn=np.array([tau_syn]),
        tau_mem_out=np.full(2, 20.0),
        tau_syn_out=np.full(2, tau_syn),
        trial_ms=trial_ms,
    )


def perturbed(network: Network, events: InputEvents, name: str) -> Iterator[tuple[tuple[int, ...], list[Trajectory]]]:
    """Solutions at +STEP and -STEP for every element of one parameter."""
    values: Array = getattr(network, name)
    for index in np.ndindex(values.shape):
        pair = []
        for sign in (1, -1):
            shifted = values.copy()
            shifted[index] += sign * STEP
            change: dict[str, Any] = {name: shifted}
            pair.append(oracle.simulate(replace(network, **change), events))
        yield index, pair


def central_differences(network: Network, events: InputEvents) -> dict[str, dict[str, Array]] | None:
    """Per loss and parameter, (L(+STEP) - L(-STEP))/(2 STEP); None if any perturbation changes a spike count."""
    counts = oracle.simulate(network, events).spike_counts
    result: dict[str, dict[str, Array]] = {loss: {} for loss in LOSS_WEIGHTS}
    for name in PARAMETERS:
        if getattr(network, name) is None:
            continue
        for loss in LOSS_WEIGHTS:
            result[loss][name] = np.zeros_like(getattr(network, name))
        for index, pair in perturbed(network, events, name):
            if any(trajectory.spike_counts != counts for trajectory in pair):
                return None
            for loss in LOSS_WEIGHTS:
                up, down = (oracle.cross_entropy(oracle.scores(t, loss), LABEL) for t in pair)
                result[loss][name][index] = (up - down) / (2 * STEP)
    return result


def relative_error(value: Array, reference: Array) -> float:
    """|value - reference| / |reference|."""
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize(("recurrent", "v_reset"), CASES)
def test_gradients_match_central_differences(recurrent: bool, v_reset: float) -> None:
    """If this fails the adjoint (jump, transport, drive or tau integrals) is wrong and proves nothing about others."""
    checked = 0
    for seed in range(4):
        network, events = random_network(np.random.default_rng((seed, 7)), recurrent, v_reset)
        trajectory = oracle.simulate(network, events)
        assert sum(trajectory.spike_counts) >= 4
        if trajectory.min_denominator < 0.05 or trajectory.min_gap_ms < 1e-3:
            continue
        differences = central_differences(network, events)
        if differences is None:
            continue
        checked += 1
        for loss, reference in differences.items():
            value, gradient = oracle.gradients(network, events, LABEL, loss)
            assert value == pytest.approx(oracle.cross_entropy(oracle.scores(trajectory, loss), LABEL), rel=1e-14)
            assert gradient.keys() == reference.keys()
            for name in reference:
                assert relative_error(gradient[name], reference[name]) <= 1e-6, (seed, loss, name)
    assert checked >= 3


def test_spike_time_gradients_match_central_differences() -> None:
    """If this fails the dl_p/dt term of the jump is wrong: no oracle for losses of spike times."""
    network, events = random_network(np.random.default_rng((1, 7)), True, -0.3)
    times = oracle.simulate(network, events).spike_times
    neuron = int(np.argmax([len(own) for own in times]))
    spike = len(times[neuron]) - 1
    gradient = oracle.spike_time_gradients(network, events, neuron, spike)
    assert not gradient["w_out"].any()
    assert not gradient["tau_mem_out"].any()
    for name in ("w_in", "w_rec", "tau_mem", "tau_syn"):
        reference = np.zeros_like(gradient[name])
        for index, (up, down) in perturbed(network, events, name):
            reference[index] = (up.spike_times[neuron][spike] - down.spike_times[neuron][spike]) / (2 * STEP)
        assert relative_error(gradient[name], reference) <= 1e-6, name


def test_reset_enters_the_jump() -> None:
    """BUG-5: if theta in place of theta - v_reset went unnoticed, the tests with v_reset = -0.3 would prove nothing."""
    network, events = random_network(np.random.default_rng((1, 7)), True, -0.3)
    trajectory = oracle.simulate(network, events)
    drive = np.eye(3)[LABEL] - oracle.softmax(trajectory.scores)
    wrong = oracle._adjoint(replace(trajectory, network=replace(network, v_reset=0.0)), drive, "sum")
    right = oracle.gradients(network, events, LABEL)[1]
    assert relative_error(wrong["w_in"], right["w_in"]) > 0.02
    assert relative_error(wrong["w_rec"], right["w_rec"]) > 0.02


def test_one_input_spike_fires_at_the_closed_form_time() -> None:
    """If this fails the crossing or its derivative -tau_mem f(t1)/(I - theta) is wrong in the simplest case."""
    network = single()
    trajectory = oracle.simulate(network, [(0.0, 0)])
    (spikes,) = trajectory.spike_times
    assert spikes == pytest.approx([2.826252], abs=1e-6)  # one spike: the residual current does not fire again
    current = 10.0 * np.exp(-spikes[0] / 5.0)
    assert current == pytest.approx(5.682179, abs=1e-6)
    assert trajectory.min_denominator == pytest.approx(current - 1.0, rel=1e-12)
    by_hand = -20.0 * oracle.response(spikes[0], 20.0, 5.0) / (current - 1.0)
    assert by_hand == pytest.approx(-0.427152, abs=1e-6)
    gradient = oracle.spike_time_gradients(network, [(0.0, 0)], 0, 0)
    assert gradient["w_in"][0, 0] == pytest.approx(by_hand, rel=1e-12)
    lag = oracle.peak_time(np.array([current]), np.zeros(1), network.tau_mem, network.tau_syn)
    assert current * oracle.response(lag, 20.0, 5.0) == pytest.approx([0.894887], abs=1e-6)


def test_smallest_weight_that_fires() -> None:
    """If this fails a crossing close to the peak of V is missed, or one is invented."""
    lag = oracle.peak_time(np.ones(1), np.zeros(1), np.array([20.0]), np.array([5.0]))
    assert lag == pytest.approx([9.241962], abs=1e-6)
    peak = float(oracle.response(lag, 20.0, 5.0)[0])
    assert peak == pytest.approx(0.157490, abs=1e-6)
    assert 1.0 / peak == pytest.approx(6.349604, abs=1e-6)
    for factor, count in ((1 - 1e-9, 0), (1 + 1e-9, 1)):
        assert oracle.simulate(single(factor / peak), [(0.0, 0)]).spike_counts == (count,)


def test_readout_of_one_spike_is_the_closed_form() -> None:
    """If this fails the score or the drive of the read-out (scale 1/T, no extra 1/tau) is wrong."""
    latency = float(oracle.simulate(single(), [(0.0, 0)]).spike_times[0][0])
    gradient = oracle.gradients(single(), [(20.0 - latency, 0)], 0)[1]["w_out"]
    expected = float(oracle.response_integral(80.0, 20.0, 5.0)) / 100.0
    assert expected == pytest.approx(0.0487790, abs=1e-7)
    assert gradient == pytest.approx(np.array([[-0.5, 0.5]]) * expected, rel=1e-12)
    assert oracle.response_integral(1e4, 20.0, 5.0) == pytest.approx(5.0, rel=1e-14)


def test_quadrature_equals_the_closed_form() -> None:
    """If this fails the Gauss-Legendre rule is too coarse for the weighted losses and the tau integrals."""
    network, events = random_network(np.random.default_rng(3), True, 0.0)
    t = oracle.simulate(network, events)
    ones = LOSS_WEIGHTS["sum"]
    by_quadrature = oracle._scores_by_quadrature(network, t.start_ms, t.length_ms, t.i_out, t.v_out, ones)
    assert by_quadrature == pytest.approx(t.scores, rel=1e-13)
    closed = oracle._drive_response(network, t.start_ms, t.length_ms, "sum")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOSS_WEIGHTS, "by quadrature", ones)
        numerical = oracle._drive_response(network, t.start_ms, t.length_ms, "by quadrature")
    for value, reference in zip(numerical, closed, strict=True):
        assert value == pytest.approx(reference, rel=1e-12, abs=1e-18)


def test_peak_is_the_largest_value() -> None:
    """If this fails a crossing between two events can be missed (V is not monotone up to the assumed peak)."""
    rng = np.random.default_rng(11)
    size = 300
    tau_mem, tau_syn = rng.uniform(3, 25, size), rng.uniform(3, 25, size)
    tau_syn[:20] = tau_mem[:20]
    tau_syn[20:40] = tau_mem[20:40] * (1 + 1e-9)
    i, v = rng.normal(0, 2, size), rng.uniform(-1, 1, size)
    lag = oracle.peak_time(i, v, tau_mem, tau_syn)
    x = np.linspace(0.0, 60.0, 3001)[:, None]
    path = np.exp(-x / tau_mem) * v + oracle.response(x, tau_mem, tau_syn) * i  # (time, neuron)
    top = np.minimum(lag, 60.0)
    at_top = np.exp(-top / tau_mem) * v + oracle.response(top, tau_mem, tau_syn) * i
    rising = (i > v) & (i > 0)
    assert rising.sum() > 50
    assert (path[:, rising].max(axis=0) <= at_top[rising] + 1e-12).all()
    before = np.diff(path, axis=0) * (x[1:] <= lag)
    assert (before[:, rising] > 0).sum() == (x[1:] <= lag[rising]).sum()
    assert (path[:, ~rising].max(axis=0) <= np.maximum(v[~rising], 0.0)).all()  # others never reach a threshold


def test_equal_time_constants_are_no_special_case() -> None:
    """If this fails (a - c)/(tau_mem - tau_syn) loses its digits, or jumps, where both time constants agree."""
    gradient = {}
    for tau_syn in (20.0, 20.0 * (1 + 1e-12), 20.0 * (1 + 1e-7)):
        network = replace(single(4.0, tau_syn=tau_syn), w_out=np.array([[1.0, -0.5]]))
        gradient[tau_syn] = oracle.gradients(network, [(3.0, 0), (10.0, 0)], 0)[1]
    exact, near, close = gradient.values()
    for name, values in exact.items():
        assert near[name] == pytest.approx(values, rel=1e-10), name
        assert close[name] == pytest.approx(values, rel=1e-5), name


def test_silent_network_has_no_gradient() -> None:
    """If this fails weights of a network without any spike would be moved."""
    network = replace(single(6.0), w_out=np.array([[1.0, -1.0]]))
    loss, gradient = oracle.gradients(network, [(5.0, 0)], 0)
    assert loss == pytest.approx(np.log(2.0), rel=1e-15)
    assert all(not values.any() for values in gradient.values())


def test_identical_readouts_transport_no_error() -> None:
    """Sum rule, sum over classes of g_j = 0: if this fails the softmax drive is wrong."""
    network, events = random_network(np.random.default_rng(5), True, 0.0)
    shared = np.repeat(network.w_out[:, :1], 3, axis=1)
    network = replace(network, w_out=shared, tau_mem_out=np.full(3, 20.0), tau_syn_out=np.full(3, 5.0))
    gradient = oracle.gradients(network, events, LABEL)[1]
    assert abs(gradient["w_in"]).max() < 1e-15
    assert abs(gradient["w_out"]).max() > 1e-4


def test_conditioning_measures() -> None:
    """If this fails tests that select well conditioned networks select the wrong ones."""
    trajectory = oracle.simulate(single(), [(0.0, 0), (3.0, 0)])
    assert trajectory.spike_counts[0] >= 2
    assert trajectory.min_gap_ms == pytest.approx(3.0 - 2.826252, abs=1e-6)
    silent = oracle.simulate(single(1.0), [(0.0, 0), (0.0, 0)])
    assert silent.min_gap_ms == silent.min_denominator == np.inf


def test_bad_input_is_refused() -> None:
    """If this fails a wrongly shaped network or an event outside the trial gives numbers instead of an error."""
    with pytest.raises(ValueError, match="events must lie"):
        oracle.simulate(single(), [(100.0, 0)])
    with pytest.raises(ValueError, match="w_rec has shape"):
        replace(single(), w_rec=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="above the reset"):
        replace(single(), v_reset=1.0)
