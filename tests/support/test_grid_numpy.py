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
from tests.support.grid_forward import VOLTAGE_LOSSES
from tests.support.grid_numpy import Regularisation
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
    monkeypatch.setattr(grid_numpy, "_cusp_errors", lambda *_: (0.0, 0.0))
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
