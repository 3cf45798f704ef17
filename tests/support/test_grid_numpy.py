"""The plain NumPy grid algorithm against its own finite differences, closed forms and the event-driven reference.

Finite differences of the grid are valid for read-outs that do not spike only (spike times are quantised to the
step); the rest is checked by convergence to the exact gradient. An input stamped j occurs at physical time (j + 1) h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tests.support import grid_numpy, oracle
from tests.support.grid_numpy import VOLTAGE_LOSSES, Regularisation
from tests.support.oracle import Array, Layer, Network

LABEL = 1
STEPS_MS = (0.1, 0.02)
PARAMETERS = {"tau_0": 2.0, "tau_1": 25.0, "alpha": 3.0, "tau_accumulator": 8.0}
Events = list[tuple[int, int]]


def random_layer(
    rng: np.random.Generator, sources: int, neurons: int, mean: float, spread: float, **kind: Any
) -> Layer:
    """A layer with normal weights and heterogeneous time constants."""
    w = rng.normal(mean, spread, (sources, neurons))
    return Layer(w=w, tau_mem=rng.uniform(12, 25, neurons), tau_syn=rng.uniform(3, 7, neurons), **kind)


def random_network(
    seed: int,
    v_reset: float = 0.0,
    recurrent: bool = True,
    adapts: bool = False,
    layers: int = 1,
    spiking: bool = False,
) -> tuple[Network, Events]:
    """6 inputs with 3 events each at whole ms, layers of 4 hidden, 3 outputs, T = 60 ms."""
    rng = np.random.default_rng(seed)
    kind: dict[str, Any] = {"v_reset": v_reset}
    if adapts:
        kind |= {"tau_b": rng.uniform(25, 50, 4), "b_incr": 0.15, "b_init": 0.1}
    hidden = []
    for number in range(layers):
        w_rec = rng.normal(0.0, 0.3, (4, 4)) if recurrent else None
        mean, spread = (1.1, 0.5) if number == 0 else (2.0, 1.0)
        hidden.append(random_layer(rng, 6 if number == 0 else 4, 4, mean, spread, w_rec=w_rec, **kind))
    mean, spread = (2.5, 1.0) if spiking else (0.0, 1.0)
    output = random_layer(rng, 4, 3, mean, spread, v_thresh=1.0 if spiking else np.inf)
    return Network(tuple(hidden), output), [(int(time), i) for i in range(6) for time in rng.integers(1, 45, 3)]


def to_stamps(events: Events, dt_ms: float) -> Events:
    """Stamps of events given at whole ms of physical time."""
    return [(round(time / dt_ms) - 1, index) for time, index in events]


def relay(w_in: float = 1000.0, tau_syn: float = 0.05, trial_ms: float = 100.0, **output: Any) -> Network:
    """One input whose spike makes the hidden neuron spike once, one step later; two outputs with tau 20 and 5 ms."""
    hidden = Layer(w=np.array([[w_in]]), tau_mem=np.array([20.0]), tau_syn=np.array([tau_syn]))
    kind = {"w": np.array([[0.3, -0.2]]), "tau_mem": 20.0, "tau_syn": 5.0, "v_thresh": np.inf, **output}
    return Network((hidden,), Layer(**kind), trial_ms=trial_ms)


def with_layer(network: Network, name: str, **values: Any) -> Network:
    """The network with other values in its layer of that name."""
    if name == "output":
        return replace(network, output=replace(network.output, **values))
    hidden = list(network.hidden)
    hidden[int(name[6:])] = replace(hidden[int(name[6:])], **values)
    return replace(network, hidden=tuple(hidden))


def response(lag: float) -> float:
    """Potential at lag ms after a unit current jump, for tau 20 and 5 ms."""
    return float(oracle.response(lag, 20.0, 5.0))


def relative_error(value: Array, reference: Array) -> float:
    """|value - reference| / |reference|."""
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def flat(gradients: grid_numpy.Gradients) -> Iterator[tuple[str, Array]]:
    """Names and values of all gradients."""
    return ((f"{layer} {name}", values) for layer, own in gradients.items() for name, values in own.items())


def assert_equal(value: grid_numpy.Gradients, expected: grid_numpy.Gradients, rel: float = 1e-12) -> None:
    """Assert that two gradients agree; entries that cancel may differ by the same part of the largest."""
    reference = dict(flat(expected))
    assert dict(flat(value)).keys() == reference.keys()
    for name, values in flat(value):
        assert values == pytest.approx(reference[name], rel=rel, abs=rel * abs(reference[name]).max() + 1e-18), name


def errors_to_oracle(network: Network, events: Events, loss: str) -> list[dict[str, float]] | None:
    """By step, and by gradient of a hidden layer or spiking output, error of the grid.

    None unless well conditioned with the exact spike counts at all steps, and with a spike of the label's output.
    """
    trajectory = oracle.simulate(network, events)
    counts = trajectory.spike_counts
    if trajectory.min_denominator < 0.3 or sum(map(sum, counts.values())) > 30:
        return None
    if not counts.get("output", (1, 1, 1))[LABEL]:
        return None
    exact = dict(flat(oracle.gradients(network, events, LABEL, loss, PARAMETERS)[1]))
    errors = []
    for dt_ms in STEPS_MS:
        grid = grid_numpy.run(network, to_stamps(events, dt_ms), LABEL, dt_ms, loss, PARAMETERS)
        if any(tuple(grid.forward.counts[name]) != own for name, own in counts.items()):
            return None
        if grid.forward.min_denominator < 0.2:
            return None
        values = {name: own for name, own in flat(grid.gradients) if name.split()[0] in counts}
        errors.append({name: relative_error(own, exact[name]) for name, own in values.items()})
    return errors


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("sum", {"v_reset": -0.3}),
        ("sum_weigh_exp", {"adapts": True, "v_reset": -0.3}),
        ("sum_weigh_input", {"layers": 2, "adapts": True}),
        ("avg_xentropy", {"recurrent": False, "layers": 2}),
        ("first_spike", {"spiking": True}),
        ("first_spike_exp", {"spiking": True, "layers": 2}),
    ],
    ids=["LIF", "ALIF", "two layers ALIF", "two layers LIF", "first_spike", "first_spike_exp two layers"],
)
def test_converges_to_the_exact_gradient(loss: str, kind: dict[str, Any]) -> None:
    """If this fails the grid adjoint (jump, timing of the samples, transport, slopes) is not first-order accurate."""
    found = (errors_to_oracle(*random_network(seed, **kind), loss) for seed in range(60))
    usable = list(islice((errors for errors in found if errors is not None), 3))
    assert len(usable) == 3
    for name in usable[0][0]:
        assert np.median([fine[name] for _, fine in usable]) < 0.06, name
    coarse, fine = ([error for errors in usable for error in errors[step].values()] for step in (0, 1))
    assert np.median(coarse) < 0.3
    assert np.median(np.divide(coarse, fine)) > 2.0  # 5 for steps in the ratio 5, with much scatter


@pytest.mark.parametrize(("seed", "cusp"), [(7, False), (23, False), (8, True), (17, True), (19, True)])
def test_max_before_smooth_and_cusp_maxima(seed: int, cusp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the maximum's own motion, or what spikes at a cusp get of the impulse there, is mistaken."""
    network, events = random_network(seed)
    exact = oracle.gradients(network, events, LABEL, "max")[1]
    record = grid_numpy.forward(network, to_stamps(events, 0.05), 0.05, "max")
    found = grid_numpy.backward(network, record, LABEL, 0.05, "max")["hidden0"]
    for name, values in exact["hidden0"].items():
        assert relative_error(found[name], values) < 0.08, name
    monkeypatch.setattr(grid_numpy, "_cusp_errors", lambda *_: 0.0)
    plain = grid_numpy.backward(network, record, LABEL, 0.05, "max")["hidden0"]["w"]
    assert cusp == (relative_error(plain, exact["hidden0"]["w"]) > 0.1)


def test_reset_enters_the_jump() -> None:
    """BUG-5: theta in place of theta - v_reset leaves an error that does not vanish with h; must be caught here."""
    dt_ms = 0.02
    right, wrong = [], []
    for seed in range(4):
        network, events = random_network(seed, v_reset=-0.3)
        exact = oracle.gradients(network, events, LABEL)[1]["hidden0"]["w"]
        grid = grid_numpy.run(network, to_stamps(events, dt_ms), LABEL, dt_ms)
        if tuple(grid.forward.counts["hidden0"]) != oracle.simulate(network, events).spike_counts["hidden0"]:
            continue
        right.append(relative_error(grid.gradients["hidden0"]["w"], exact))
        moved = with_layer(network, "hidden0", v_reset=0.0)
        wrong.append(relative_error(grid_numpy.backward(moved, grid.forward, LABEL, dt_ms)["hidden0"]["w"], exact))
    assert len(right) >= 3
    assert np.median(right) < 0.03
    assert np.median(wrong) > 0.05


@pytest.mark.parametrize("loss", VOLTAGE_LOSSES)
@pytest.mark.parametrize("name", ["w", "tau_mem", "tau_syn"])
def test_readout_gradient_is_the_derivative_of_the_forward_pass(loss: str, name: str) -> None:
    """If this fails the read-out drive or a slope is not the discrete transpose of the score (index, weight, scale).

    With membrane noise and hidden dropout, which must not matter.
    """
    for seed, recurrent, dt_ms in ((1, True, 1.0), (2, False, 0.5)):
        network, events = random_network(seed, recurrent=recurrent)
        rng = np.random.default_rng(seed)
        stamps, values = to_stamps(events, dt_ms), getattr(network.output, name)
        options: dict[str, Any] = {
            "noise": [rng.normal(0.0, 0.05, (round(60 / dt_ms), 4))],
            "dropped": lambda layer, step, neuron: (step + neuron) % 5 == 0,
        }
        result = grid_numpy.run(network, stamps, LABEL, dt_ms, loss, PARAMETERS, **options)
        assert result.forward.counts["hidden0"].sum() >= 4
        assert result.forward.layers["hidden0"].dropped.any()
        slopes = []
        for direction in rng.normal(size=(3, *values.shape)):
            losses, size = [], 1e-4 if name == "w" else 1e-3
            for moved in (values + size * direction, values - size * direction):
                other = with_layer(network, "output", **{name: moved})
                record = grid_numpy.forward(other, stamps, dt_ms, loss, PARAMETERS, **options)
                losses.append(grid_numpy.sample_loss(record, LABEL, 60.0, loss))
                peaks = [r.layers["output"].v.argmax(axis=0) for r in (result.forward, record)]
                assert loss != "max" or np.array_equal(*peaks)
            slopes.append([(result.gradients["output"][name] * direction).sum(), (losses[0] - losses[1]) / (2 * size)])
        assert relative_error(*np.transpose(slopes)) <= 1e-6


@pytest.mark.parametrize("loss", [*VOLTAGE_LOSSES, "first_spike", "first_spike_exp"])
def test_loss_is_near_the_exact_one(loss: str) -> None:
    """If this fails the loss or score is another one than in continuous time, so its gradient is that of another."""
    network, events = random_network(4, recurrent=False, spiking=loss.startswith("first"))
    trajectory = oracle.simulate(network, events)
    exact = oracle.loss_value(trajectory, events, LABEL, loss, PARAMETERS)
    scores = oracle.scores(trajectory, loss, events, PARAMETERS)
    record = grid_numpy.forward(network, to_stamps(events, 0.02), 0.02, loss, PARAMETERS)
    assert relative_error(record.scores, scores) < 0.005
    assert grid_numpy.sample_loss(record, LABEL, 60.0, loss, PARAMETERS) == pytest.approx(exact, rel=0.005)


def test_discrete_transpose_closed_form() -> None:
    """If this fails arrivals are one step off, or the weight exp(-k/K) is taken at the wrong end of the step."""
    stamps = [(arrival - 2, 0) for arrival in (7, 20, 21, 60)]  # arrival = stamp + 2: one hidden spike in between
    result = grid_numpy.run(relay(), stamps, 0, 1.0, "sum_weigh_exp")
    assert result.forward.spikes("hidden0") == [(6, 0), (19, 0), (20, 0), (59, 0)]
    assert result.forward.scores / np.array([0.3, -0.2]) == pytest.approx([0.119463836] * 2, abs=1e-9)
    g = np.array([1.0, 0.0]) - oracle.softmax(result.forward.scores)
    assert result.gradients["output"]["w"][0] / -g == pytest.approx([0.119463836] * 2, abs=1e-9)


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


def test_denominator_is_bounded_from_below() -> None:
    """If this fails a grazing crossing produces an unbounded jump in spite of the guard."""
    network = relay(10.0, 5.0, w=np.array([[1.0, 0.0]]))
    plain = grid_numpy.run(network, [(9, 0)], 0, 0.5)
    bound = 4.0 * plain.forward.min_denominator
    guarded = grid_numpy.run(network, [(9, 0)], 0, 0.5, min_denominator=bound)
    loose = grid_numpy.run(network, [(9, 0)], 0, 0.5, min_denominator=0.1)
    assert guarded.gradients["hidden0"]["w"] == pytest.approx(plain.gradients["hidden0"]["w"] / 4.0, rel=1e-12)
    assert np.array_equal(loose.gradients["hidden0"]["w"], plain.gradients["hidden0"]["w"])
    assert np.array_equal(guarded.gradients["output"]["w"], plain.gradients["output"]["w"])


@pytest.mark.parametrize("loss", ["sum", "max"])
def test_gradients_are_linear_in_the_drive(loss: str) -> None:
    """If this fails the adjoint equations are not linear: something other than the drive enters the task gradient."""
    network, events = random_network(3, layers=2, adapts=True)
    plain = grid_numpy.run(network, to_stamps(events, 0.5), LABEL, 0.5, loss)
    scaled = grid_numpy.run(network, to_stamps(events, 0.5), LABEL, 0.5, loss, drive_scale=0.2, batch=4)
    assert scaled.loss == plain.loss
    expected = {layer: {name: v / 20 for name, v in own.items()} for layer, own in plain.gradients.items()}
    assert_equal(scaled.gradients, expected, rel=1e-10)


def test_single_precision_agrees() -> None:
    """If this fails the float32 variant computes something else than the float64 one, beyond rounding."""
    compared = 0
    for seed in range(4):
        network, events = random_network(seed, v_reset=-0.3, adapts=True)
        stamps = to_stamps(events, 0.5)
        double = grid_numpy.run(network, stamps, LABEL, 0.5)
        single = grid_numpy.run(network, stamps, LABEL, 0.5, dtype=np.float32)
        if not np.array_equal(*(r.forward.fired["hidden0"] for r in (single, double))):
            continue
        if double.forward.min_denominator < 0.1:
            continue
        compared += 1
        for (name, values), (_, reference) in zip(flat(single.gradients), flat(double.gradients), strict=True):
            assert values.dtype == np.float64
            assert 0 < relative_error(values, reference) < 1e-3, name
    assert compared >= 2


def test_equal_time_constants_are_no_special_case() -> None:
    """If this fails kappa or a slope of it loses its digits, or jumps, where both time constants agree."""
    gradients = []
    for factor in (1.0, 1 + 1e-12, 1 + 1e-7):
        network = with_layer(relay(4.0, 20.0 * factor), "output", tau_syn=20.0 * factor)
        gradients.append(dict(flat(grid_numpy.run(network, [(5, 0), (12, 0)], 0, 1.0).gradients)))
    for name, values in gradients[0].items():
        assert abs(values).max() > 0
        assert gradients[1][name] == pytest.approx(values, rel=1e-10), name
        assert gradients[2][name] == pytest.approx(values, rel=1e-5), name


def test_slopes_of_kappa() -> None:
    """If this fails the gradients of the time constants rest on a wrong derivative of the response of V."""
    tau = np.array([0.5, 20.0])
    x = 0.7 / tau
    by_mem, by_syn = grid_numpy.kappa_slopes(0.7, tau, tau)  # kappa = x exp(-x) there
    assert by_mem == pytest.approx(np.exp(-x) * (x**2 / 2 - x) / tau, rel=1e-13)
    assert by_syn == pytest.approx(np.exp(-x) * x**2 / 2 / tau, rel=1e-13)
    mem, syn, d = np.array([20.0, 3.0, 5.0]), np.array([5.0, 8.0, 5.1]), 1e-4
    by_mem, by_syn = grid_numpy.kappa_slopes(0.7, mem, syn)
    steps = [oracle.response(0.7, mem + s * d, syn) for s in (1, -1)]
    assert by_mem == pytest.approx((steps[0] - steps[1]) / (2 * d), rel=1e-7)
    steps = [oracle.response(0.7, mem, syn + s * d) for s in (1, -1)]
    assert by_syn == pytest.approx((steps[0] - steps[1]) / (2 * d), rel=1e-7)


def test_silent_network_has_no_gradient() -> None:
    """If this fails weights of a network without any spike would be moved, regularised or not."""
    reg = Regularisation(lbd_upper=1.0, lbd_lower=1.0, nu_upper=5.0)
    result = grid_numpy.run(relay(1.0), [(3, 0)], 0, 1.0, regularisation=reg)
    assert result.forward.min_denominator == np.inf
    assert all(not values.any() for _, values in flat(result.gradients))


def test_unusable_arguments_are_refused() -> None:
    """If this fails a negative stamp would silently index the end of the trial, or a loss read what is not there."""
    with pytest.raises(ValueError, match="input stamp -1"):
        grid_numpy.forward(relay(), [(-1, 0)], 1.0)
    with pytest.raises(ValueError, match="input channel 1"):
        grid_numpy.forward(relay(), [(1, 1)], 1.0)
    with pytest.raises(ValueError, match="first_spike"):
        grid_numpy.forward(relay(), [(1, 0)], 1.0, "first_spike", PARAMETERS)
