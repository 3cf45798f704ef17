"""The NumPy version of the grid against what is worked out by hand: spikes, cusps, delays, regularisation, edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import grid_numpy, oracle
from tests.support.grid_numpy import Regularisation
from tests.support.oracle import Layer, Network
from tests.support.test_grid_numpy import (
    LABEL,
    PARAMETERS,
    assert_equal,
    random_network,
    relay,
    response,
    to_stamps,
    with_layer,
)


@pytest.mark.parametrize("dt_ms", [1.0, 0.5, 0.25, 0.1])
def test_one_input_spike_fires_in_the_step_of_the_exact_crossing(dt_ms: float) -> None:
    """If this fails there is a spurious synaptic delay, or V is not integrated exactly between spikes."""
    first = 9
    result = grid_numpy.forward(relay(10.0, 5.0), [(first, 0)], dt_ms)
    assert result.spikes("hidden0") == [(first + int(np.ceil(2.826252 / dt_ms)), 0)]
    lag = dt_ms * (result.spikes("hidden0")[0][0] - first)
    current = 10 * np.exp(-(lag - dt_ms) / 5.0)
    assert result.min_denominator == pytest.approx(current - 10 * response(lag), rel=1e-12)


def test_second_layer_has_no_extra_lag() -> None:
    """If this fails a spike takes another number of steps from layer to layer than from the input."""
    network = relay()
    network = replace(network, hidden=network.hidden * 3)
    result = grid_numpy.run(network, [(4, 0)], 0, 1.0)
    assert [result.forward.spikes(f"hidden{number}") for number in range(3)] == [[(5, 0)], [(6, 0)], [(7, 0)]]
    assert result.forward.layers["output"].i[:, 0].nonzero()[0][0] == 8
    shorter = grid_numpy.run(relay(), [(6, 0)], 0, 1.0)
    assert result.gradients["output"]["w"] == pytest.approx(shorter.gradients["output"]["w"], rel=1e-12)


def adaptive(w_in: float = 25.0, b_incr: float = 0.4) -> Network:
    """`relay` with an adaptive hidden neuron: tau 20, 5 and 40 ms, B from 0.5, reset to -0.2; silent read-out."""
    network = with_layer(relay(w_in, 5.0), "output", w=np.zeros((1, 2)))
    return with_layer(network, "hidden0", tau_b=np.array([40.0]), b_incr=b_incr, b_init=0.5, v_reset=-0.2)


def test_adaptive_neuron_by_hand() -> None:
    """If this fails the adaptive threshold (decay, increment, record) or its jump differs from the closed form.

    Without read-out weights each spike's regularisation jump -s is all there is. That of the second spike, decayed,
    meets Q = (v_thresh + B - v_reset - B tau_mem/tau_b) lambda_v at the first.
    """
    h, s = 0.5, 2.0
    result = grid_numpy.run(adaptive(), [(9, 0)], 0, h, regularisation=Regularisation(s, s, 1.0))
    (k1, _), (k2, _) = result.forward.spikes("hidden0")
    lag1, lag2 = h * (k1 + 1 - 10), h * (k2 + 1 - 10)  # from the arrival (index 10) to the end of the spike's step
    trace = result.forward.layers["hidden0"]
    b1 = 0.5 * np.exp(-h * (k1 + 1) / 40)
    assert trace.b_spike[k2, 0] == pytest.approx((b1 + 0.4) * np.exp(-h * (k2 - k1) / 40), rel=1e-12)
    v1 = 25 * response(lag1) - 0.2 * np.exp(-h * (k1 + 1) / 20)
    assert v1 >= 1 + b1
    d1 = 25 * np.exp(-(lag1 - h) / 5) - v1 + b1 / 2
    assert trace.denominator[k1, 0] == pytest.approx(d1, rel=1e-12)
    late = -s * np.exp(-h * (k2 - k1) / 20)  # lambda_v from the second spike at the first
    jump = (1 + b1 + 0.2 - b1 / 2) * late / d1 - s
    dw = -20 * (response(lag2 - h) * -s + response(lag1 - h) * jump)  # jumps come at the index of the stamp
    assert result.gradients["hidden0"]["w"][0, 0] == pytest.approx(dw, rel=1e-12)


def test_without_increment_adaptive_is_plain() -> None:
    """If this fails the terms of the adaptive threshold do not vanish with it: ALIF would not extend LIF."""
    network, events = random_network(3, v_reset=-0.2)
    plain = grid_numpy.run(network, to_stamps(events, 0.5), LABEL, 0.5)
    adaptive = grid_numpy.run(
        with_layer(network, "hidden0", tau_b=np.full(4, 30.0)), to_stamps(events, 0.5), LABEL, 0.5
    )
    assert adaptive.forward.spikes("hidden0") == plain.forward.spikes("hidden0") != []
    assert not adaptive.gradients["hidden0"].pop("tau_b").any()
    assert_equal(adaptive.gradients, plain.gradients)


def spiking_relay(w: float, dt_ms: float, loss: str) -> grid_numpy.GridResult:
    """Two spiking outputs, that of the label driven with weight w from 5 ms on, the other one silent; T = 40 ms."""
    network = relay(1000 / dt_ms, dt_ms / 20, trial_ms=40.0, w=np.array([[0.0, w]]), v_thresh=1.0)
    return grid_numpy.run(network, [(round(5 / dt_ms) - 2, 0)], 1, dt_ms, loss, PARAMETERS, batch=4)


def test_first_spike_by_hand() -> None:
    """If this fails R of a first spike (softmax of -t/tau_0, penalty) or the derivative of its time is wrong."""
    for loss, value, slope in (
        ("first_spike", lambda t: 3 / (40.4 - t), lambda t: 3 / (40.4 - t) ** 2),
        ("first_spike_exp", lambda t: 3 * (np.exp(t / 25) - 1), lambda t: 3 / 25 * np.exp(t / 25)),
    ):
        result = spiking_relay(10.0, 0.01, loss)
        t = float(result.forward.first_ms[1])
        assert t == pytest.approx(5 + 2.826252, abs=0.01)
        assert t == pytest.approx((result.forward.spikes("output")[0][0] + 1) * 0.01, rel=1e-12)
        assert result.forward.scores == pytest.approx([-41 / 2, -t / 2], rel=1e-12)
        p = 1 / (1 + np.exp((t - 41) / 2))
        assert result.loss == pytest.approx(value(t) - np.log(p), rel=1e-12)
        expected = ((1 - p) / 2 + slope(t)) * -0.427152 / 4  # dL/dt dt/dw / batch
        assert result.gradients["output"]["w"][0, 1] == pytest.approx(expected, rel=0.01)
        assert not result.gradients["output"]["w"][0, 0]


def test_phantom_by_hand() -> None:
    """If this fails a silent output of the label is not pulled, or not with the slope of the penalty at T."""
    for loss, value, slope in (
        ("first_spike", 3 / 0.4, 3 / (1e-4 * 40**2)),
        ("first_spike_exp", 3 * (np.exp(40 / 25) - 1), 3 / 25 * np.exp(40 / 25)),
    ):
        result = spiking_relay(1.0, 0.5, loss)
        assert result.loss == pytest.approx(np.log(2) + value, rel=1e-12)
        expected = -20.0 * response(40.0 - 5.0) * slope / 4  # -tau_syn lambda_i at the arrival, 5 ms
        assert result.gradients["output"]["w"][0, 1] == pytest.approx(expected, rel=1e-12)
        assert not result.gradients["output"]["w"][0, 0]
        assert not spiking_relay(0.0, 0.5, loss).gradients["output"]["tau_mem"][0]


def cusp_network(dt_ms: float, *inhibition: float) -> Network:
    """One relay onto two outputs, and neurons of another input that inhibit the first of them; T = 40 ms."""
    others = len(inhibition)
    w = np.array([[1000.0 / dt_ms] + [0.0] * others, [0.0] + [10.0] * others])
    w_out = np.array([[3.0, 0.2]] + [[own, 0.0] for own in inhibition])
    hidden = Layer(w=w, tau_mem=20.0, tau_syn=np.array([dt_ms / 20] + [5.0] * others))
    return Network((hidden,), Layer(w_out, 20.0, 5.0, v_thresh=np.inf), trial_ms=40.0)


def test_cusp_by_hand() -> None:
    """If this fails the maximum of "max" does not move with the inhibitory spike that ends the rise of V."""
    h = 0.02
    network, stamps = cusp_network(h, -9.0), [(round(10 / h) - 2, 0), (round(11 / h) - 1, 1)]
    record = grid_numpy.forward(network, stamps, h, "max")
    ((k, _),) = [spike for spike in record.spikes("hidden0") if spike[1] == 1]
    assert record.layers["output"].v[:, 0].argmax() == k + 1
    lag = h * (k + 1) - 10.0  # from the excitatory arrival to the maximum
    rise = 3 * (np.exp(-lag / 5) - response(lag)) / 20
    g = 1 - oracle.softmax(record.scores)[0]
    expected = -g * rise * -0.427152  # dL/dt dt/dw
    found = grid_numpy.backward(network, record, 0, h, "max")["hidden0"]["w"][1, 1]
    assert found == pytest.approx(expected, rel=0.02)


def test_cusp_is_shared_by_weight() -> None:
    """If this fails spikes that arrive together at a cusp do not add up to the single spike of their joint weight."""
    h, stamps = 0.5, [(18, 0), (21, 1)]
    single = grid_numpy.run(cusp_network(h, -9.0), stamps, 0, h, "max").gradients["hidden0"]["w"]
    split = grid_numpy.run(cusp_network(h, -6.0, -3.0), stamps, 0, h, "max").gradients["hidden0"]["w"]
    assert split[1, 1:] == pytest.approx(single[1, 1] * np.array([2, 1]) / 3, rel=1e-12)


def test_dropped_neuron_is_one_without_targets() -> None:
    """If this fails a dropped spike is delivered, counted or regularised, collects a gradient, or does not reset."""
    network, events = random_network(6, adapts=True)
    reg = Regularisation(0.01, 0.01, nu_upper=2.0)
    lost = grid_numpy.run(
        network, to_stamps(events, 0.5), LABEL, 0.5, dropped=lambda layer, step, n: n == 2, regularisation=reg
    )
    keep = np.array([1.0, 1.0, 0.0, 1.0])[:, None]
    severed = with_layer(network, "hidden0", w_rec=network.hidden[0].w_rec * keep)
    severed = with_layer(severed, "output", w=network.output.w * keep)
    counts = grid_numpy.forward(severed, to_stamps(events, 0.5), 0.5).counts["hidden0"]
    assert list(lost.forward.counts["hidden0"]) == list(counts * keep[:, 0]) != [0] * 4
    counts[2] = 2.0  # on target: no regularisation jump of the neuron itself
    other = grid_numpy.run(severed, to_stamps(events, 0.5), LABEL, 0.5, regularisation=replace(reg, counts=[counts]))
    assert np.array_equal(lost.forward.layers["hidden0"].dropped[:, 2], other.forward.fired["hidden0"][:, 2])
    assert lost.forward.layers["hidden0"].dropped.sum() >= 2
    for layer, name in (("output", "w"), ("hidden0", "w_rec")):
        assert not lost.gradients[layer][name][2].any()
        other.gradients[layer][name][2] = 0.0  # its weights would matter if it had any
    assert not lost.gradients["hidden0"]["w"][:, 2].any()
    other.gradients["hidden0"] = {n: np.where(np.arange(4) == 2, 0, v) for n, v in other.gradients["hidden0"].items()}
    lost.gradients["hidden0"] = {n: np.where(np.arange(4) == 2, 0, v) for n, v in lost.gradients["hidden0"].items()}
    assert_equal(lost.gradients, other.gradients)


def test_noise_is_added_before_the_threshold() -> None:
    """If this fails membrane noise cannot make a neuron spike, is one step off, or is missing from the record."""
    noise = np.zeros((100, 1))
    noise[7] = 1.5
    record = grid_numpy.forward(relay(1.0, 5.0), [(3, 0)], 1.0, noise=[noise])
    assert record.spikes("hidden0") == [(7, 0)]
    assert record.min_denominator == pytest.approx(abs(np.exp(-3 / 5) - response(4.0) - 1.5), rel=1e-12)


def test_delay_line_is_the_expanded_input() -> None:
    """If this fails copies are delayed by another amount, land in other rows, or survive the end of the trial."""
    rng = np.random.default_rng(5)
    network, events = random_network(5)
    network = with_layer(network, "hidden0", w=rng.normal(0.6, 0.5, (18, 4)))
    stamps = [*to_stamps(events, 0.5), (119, 0), (118, 1), (104, 2), (105, 3)]
    late = [(step + 14 * i, 6 * i + channel) for step, channel in stamps for i in range(3)]
    late = [(step, row) for step, row in late if step < 119]
    line = grid_numpy.run(network, stamps, LABEL, 0.5, "sum_weigh_input", PARAMETERS, delay_steps=14, copies=3)
    plain = grid_numpy.run(network, late, LABEL, 0.5, "sum_weigh_input", PARAMETERS)
    assert line.forward.inputs.sum() == len(late)
    assert line.loss == plain.loss
    assert_equal(line.gradients, plain.gradients)


def test_traffic_by_hand() -> None:
    """If this fails the weight of "sum_weigh_input" jumps at another step or by another amount than documented."""
    weights = grid_numpy.forward(relay(), [(1, 0), (1, 0), (3, 0), (99, 0)], 1.0, "sum_weigh_input", PARAMETERS).weights
    decay = np.exp(-1 / 8)
    expected = np.array([0, 0, 2, 2 * decay, 2 * decay**2 + 1, (2 * decay**2 + 1) * decay]) * 0.01 / 8
    assert weights[:6] == pytest.approx(expected, rel=1e-12)
    assert weights[-1] == pytest.approx(expected[4] * decay**95, rel=1e-12)


def test_last_step_is_silent() -> None:
    """BUG-3, BUG-4: a spike in the last step must not exist, else it blocks the replay of earlier spikes or leaks."""
    network = relay(trial_ms=20.0)
    reference = grid_numpy.run(network, [(2, 0), (7, 0)], 0, 1.0)
    assert reference.forward.spikes("hidden0") == [(3, 0), (8, 0)]
    # stamp 18 would make the hidden neuron spike in step 19, stamp 19 is in the last step itself
    late = grid_numpy.run(network, [(2, 0), (7, 0), (18, 0), (19, 0)], 0, 1.0)
    assert late.forward.spikes("hidden0") == reference.forward.spikes("hidden0")
    assert late.forward.inputs[19].sum() == 0
    assert_equal(late.gradients, reference.gradients, rel=1e-14)
    last = grid_numpy.run(network, [(17, 0)], 0, 1.0)
    assert last.forward.spikes("hidden0") == [(18, 0)]
    assert not last.gradients["output"]["w"].any()  # reaches I in the last step and V only at T: not in the score


def test_coincident_spikes_are_all_replayed() -> None:
    """If this fails events of one stamp are merged: two inputs in one step, or one twice, must count separately."""
    network, events = random_network(8)
    w, stamps = network.hidden[0].w, to_stamps(events, 0.5)
    copies = stamps + [(step, index + 6) for step, index in stamps]
    result = grid_numpy.run(network, stamps, LABEL, 0.5)
    split = grid_numpy.run(with_layer(network, "hidden0", w=np.vstack([w, w]) / 2), copies, LABEL, 0.5)
    twice = grid_numpy.run(with_layer(network, "hidden0", w=w / 2), stamps * 2, LABEL, 0.5)
    spikes = [r.forward.spikes("hidden0") for r in (result, split, twice)]
    assert spikes[0] == spikes[1] == spikes[2]
    expected = result.gradients["hidden0"]["w"]
    assert split.gradients["hidden0"]["w"] == pytest.approx(np.vstack([expected, expected]), rel=1e-9, abs=1e-15)
    assert twice.gradients["hidden0"]["w"] == pytest.approx(2 * expected, rel=1e-9, abs=1e-15)


def test_regularisation_jump() -> None:
    """If this fails the strength, sign, side or target of the spike count regularisation is wrong.

    Without read-out weights lambda_v is minus the jump at the spike, hence dw = tau_mem f(lag) jump.
    """
    network = with_layer(relay(10.0, 5.0), "output", w=np.zeros((1, 2)))
    plain = Regularisation(lbd_upper=2.0, lbd_lower=0.5)
    for reg, jump in (
        (replace(plain, nu_upper=0.25), 2.0 * 0.75),
        (replace(plain, nu_upper=3.0), 0.5 * -2.0),
        (replace(plain, nu_upper=3.0, counts=[np.array([7.0])]), 2.0 * 4.0),
        (replace(plain, nu_upper=1.0, rho_upper=0.75, glb_upper=3.0), 3.0 * 0.25),
        (replace(plain, nu_upper=3.0, rho_upper=6.5, glb_upper=3.0, counts=[np.array([7.0])]), 3.0 * 0.5 + 2.0 * 4.0),
        (replace(plain, nu_upper=0.25, rho_upper=1.0, glb_upper=3.0), 2.0 * 0.75),
    ):
        result = grid_numpy.run(network, [(9, 0)], 0, 0.5, regularisation=reg, batch=5, drive_scale=0.1)
        ((stamp, _),) = result.forward.spikes("hidden0")
        lag = 0.5 * (stamp - 10)  # from the arrival (index 10) to the jump, which comes at the index of the stamp
        assert result.gradients["hidden0"]["w"][0, 0] == pytest.approx(20.0 * response(lag) * jump / 5, rel=1e-12)
        assert not result.gradients["output"]["w"][0].sum()
    assert list(Regularisation(rho_upper=2.0, glb_upper=6.0).jump(np.array([1.0, 2.0, 0.0]))) == [2.0] * 3
