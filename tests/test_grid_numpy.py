"""The plain NumPy grid algorithm against its own finite differences, closed forms and the event-driven reference.

Finite differences of the grid are valid for read-out weights only (spike times are quantised to the step); gradients of
hidden weights are checked by convergence to the exact ones. An input stamped j occurs at physical time (j + 1) h.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import grid_numpy
import numpy as np
import oracle
import pytest
from grid_numpy import Regularisation
from oracle import LOSS_WEIGHTS, Array, Network

LABEL = 1
STEPS_MS = (0.1, 0.05)
HIDDEN_WEIGHTS = ("w_in", "w_rec")


def random_network(seed: int, v_reset: float = 0.0, recurrent: bool = True) -> tuple[Network, list[tuple[int, int]]]:
    """6 inputs with 3 events each at whole ms, 4 hidden, 3 outputs, heterogeneous time constants, T = 60 ms."""
    rng = np.random.default_rng(seed)
    network = Network(
        w_in=rng.normal(1.1, 0.5, (6, 4)),
        w_rec=rng.normal(0.0, 0.3, (4, 4)) if recurrent else None,
        w_out=rng.normal(0.0, 1.0, (4, 3)),
        tau_mem=rng.uniform(12, 25, 4),
        tau_syn=rng.uniform(3, 7, 4),
        tau_mem_out=rng.uniform(12, 25, 3),
        tau_syn_out=rng.uniform(3, 7, 3),
        v_reset=v_reset,
    )
    return network, [(int(time), i) for i in range(6) for time in rng.integers(1, 45, 3)]


def to_stamps(events: list[tuple[int, int]], dt_ms: float) -> list[tuple[int, int]]:
    """Stamps of events given at whole ms of physical time."""
    return [(round(time / dt_ms) - 1, index) for time, index in events]


def relay(w_in: float = 1000.0, trial_ms: float = 100.0) -> Network:
    """One input whose spike makes the hidden neuron spike once, one step later; two outputs with tau 20 and 5 ms."""
    return Network(
        w_in=np.array([[w_in]]),
        w_rec=None,
        w_out=np.array([[0.3, -0.2]]),
        tau_mem=np.array([20.0]),
        tau_syn=np.array([0.05]),
        tau_mem_out=np.full(2, 20.0),
        tau_syn_out=np.full(2, 5.0),
        trial_ms=trial_ms,
    )


def relative_error(value: Array, reference: Array) -> float:
    """|value - reference| / |reference|."""
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def cosine(value: Array, reference: Array) -> float:
    """Cosine of the angle between two gradients."""
    return float((value * reference).sum() / np.linalg.norm(value) / np.linalg.norm(reference))


class Comparison(NamedTuple):
    """Grid against exact gradient of one network, by step and weight."""

    error: dict[tuple[float, str], float]
    cosine: dict[tuple[float, str], float]


def compare(seed: int, v_reset: float) -> Comparison | None:
    """Compare one network at all steps; None unless well conditioned with the exact spike counts at all of them."""
    network, events = random_network(seed, v_reset)
    trajectory = oracle.simulate(network, events)
    exact = oracle.gradients(network, events, LABEL)[1]
    if trajectory.min_denominator < 0.2 or sum(trajectory.spike_counts) > 14:
        return None
    result = Comparison({}, {})
    for dt_ms in STEPS_MS:
        grid = grid_numpy.run(network, to_stamps(events, dt_ms), LABEL, dt_ms)
        counts = tuple(int(count) for count in grid.forward.counts)
        if counts != trajectory.spike_counts or grid.forward.min_denominator < 0.2:
            return None
        for name in HIDDEN_WEIGHTS:
            result.error[dt_ms, name] = relative_error(grid.gradients[name], exact[name])
            result.cosine[dt_ms, name] = cosine(grid.gradients[name], exact[name])
    return result


@pytest.fixture(scope="module", params=[0.0, -0.3], ids=["reset 0", "reset -0.3"])
def comparisons(request: pytest.FixtureRequest) -> list[Comparison]:
    """The usable ones of 36 random recurrent networks."""
    results = (compare(seed, request.param) for seed in range(36))
    return [result for result in results if result is not None]


@pytest.mark.parametrize("name", HIDDEN_WEIGHTS)
def test_converges_to_the_exact_gradient(comparisons: list[Comparison], name: str) -> None:
    """If this fails the grid adjoint (jump, timing of the samples, transport) is not first-order accurate."""
    assert len(comparisons) >= 8
    coarse, fine = ([result.error[dt_ms, name] for result in comparisons] for dt_ms in STEPS_MS)
    assert np.median([result.cosine[0.1, name] for result in comparisons]) > 0.995
    assert np.median(coarse) < 0.1
    assert 1.4 < np.median(np.divide(coarse, fine)) < 3.0


def test_reset_enters_the_jump() -> None:
    """BUG-5: theta in place of theta - v_reset leaves an error that does not vanish with h; must be caught here."""
    dt_ms = 0.01
    right, wrong = [], []
    for seed in range(8):
        network, events = random_network(seed, v_reset=-0.3)
        trajectory = oracle.simulate(network, events)
        exact = oracle.gradients(network, events, LABEL)[1]["w_in"]
        grid = grid_numpy.run(network, to_stamps(events, dt_ms), LABEL, dt_ms)
        if tuple(int(count) for count in grid.forward.counts) != trajectory.spike_counts:
            continue
        right.append(relative_error(grid.gradients["w_in"], exact))
        without = grid_numpy.backward(replace(network, v_reset=0.0), grid.forward, LABEL, dt_ms)
        wrong.append(relative_error(without["w_in"], exact))
    assert len(right) >= 4
    assert np.median(right) < 0.02
    assert np.median(wrong) > 0.05


@pytest.mark.parametrize("loss", LOSS_WEIGHTS)
@pytest.mark.parametrize("dt_ms", [1.0, 0.25])
def test_readout_gradient_is_the_derivative_of_the_forward_pass(loss: str, dt_ms: float) -> None:
    """If this fails the read-out drive is not the discrete transpose of the score (index, weight or scale)."""
    for seed, recurrent in ((1, True), (2, False)):
        network, events = random_network(seed, recurrent=recurrent)
        stamps = to_stamps(events, dt_ms)
        result = grid_numpy.run(network, stamps, LABEL, dt_ms, loss)
        assert result.forward.counts.sum() >= 4
        differences = np.zeros_like(network.w_out)
        for index in np.ndindex(differences.shape):
            losses = []
            for sign in (1, -1):
                w_out = network.w_out.copy()
                w_out[index] += sign * 1e-5
                shifted = grid_numpy.forward(replace(network, w_out=w_out), stamps, dt_ms, loss)
                losses.append(oracle.cross_entropy(shifted.scores, LABEL))
            differences[index] = (losses[0] - losses[1]) / 2e-5
        assert relative_error(result.gradients["w_out"], differences) <= 1e-7


@pytest.mark.parametrize("loss", LOSS_WEIGHTS)
def test_scores_converge_to_the_exact_ones(loss: str) -> None:
    """If this fails the score is not 1/T * integral w V dt, so its gradient would be that of another loss."""
    errors = []
    for dt_ms in (0.1, 0.05):
        network, events = random_network(4, recurrent=False)
        exact = oracle.scores(oracle.simulate(network, events), loss)
        grid = grid_numpy.forward(network, to_stamps(events, dt_ms), dt_ms, loss).scores
        errors.append(np.linalg.norm(grid - exact) / np.linalg.norm(exact))
    assert errors[0] < 0.02
    assert errors[1] < errors[0]


def test_discrete_transpose_closed_form() -> None:
    """If this fails arrivals are one step off, or the weight exp(-k/K) is taken at the wrong end of the step."""
    stamps = [(arrival - 2, 0) for arrival in (7, 20, 21, 60)]  # arrival = stamp + 2: one hidden spike in between
    result = grid_numpy.run(relay(), stamps, 0, 1.0, "sum_weigh_exp")
    assert result.forward.spikes == [(6, 0), (19, 0), (20, 0), (59, 0)]
    assert result.forward.scores / np.array([0.3, -0.2]) == pytest.approx([0.119463836] * 2, abs=1e-9)
    g = np.array([1.0, 0.0]) - oracle.softmax(result.forward.scores)
    assert result.gradients["w_out"][0] / -g == pytest.approx([0.119463836] * 2, abs=1e-9)


@pytest.mark.parametrize("dt_ms", [1.0, 0.5, 0.25, 0.1])
def test_one_input_spike_fires_in_the_step_of_the_exact_crossing(dt_ms: float) -> None:
    """If this fails there is a spurious synaptic delay, or V is not integrated exactly between spikes."""
    network = replace(relay(10.0), tau_syn=np.array([5.0]))
    first = 9
    result = grid_numpy.run(network, [(first, 0)], 0, dt_ms)
    assert result.forward.spikes == [(first + int(np.ceil(2.826252 / dt_ms)), 0)]
    lag = dt_ms * (result.forward.spikes[0][0] - first)
    v = 10 * oracle.response(lag, 20.0, 5.0)
    current = 10 * np.exp(-(lag - dt_ms) / 5.0)
    assert result.forward.min_denominator == pytest.approx(current - v, rel=1e-12)


def test_last_step_is_silent() -> None:
    """BUG-3, BUG-4: a spike in the last step must not exist, else it blocks the replay of earlier spikes or leaks."""
    network = relay(trial_ms=20.0)
    reference = grid_numpy.run(network, [(2, 0), (7, 0)], 0, 1.0)
    assert reference.forward.spikes == [(3, 0), (8, 0)]
    # stamp 18 would make the hidden neuron spike in step 19, stamp 19 is in the last step itself
    late = grid_numpy.run(network, [(2, 0), (7, 0), (18, 0), (19, 0)], 0, 1.0)
    assert late.forward.spikes == reference.forward.spikes
    assert late.forward.inputs[19].sum() == 0
    for name, values in reference.gradients.items():
        assert late.gradients[name] == pytest.approx(values, rel=1e-14), name
    last = grid_numpy.run(network, [(17, 0)], 0, 1.0)
    assert last.forward.spikes == [(18, 0)]
    assert abs(last.gradients["w_out"]).max() == 0  # reaches I in the last step and V only at T: not in the score


def test_coincident_spikes_are_all_replayed() -> None:
    """If this fails events of one stamp are merged: two inputs in one step, or one twice, must count separately."""
    network, events = random_network(8)
    stamps = to_stamps(events, 0.5)
    doubled = replace(network, w_in=np.vstack([network.w_in, network.w_in]) / 2)
    copies = stamps + [(step, index + 6) for step, index in stamps]
    result = grid_numpy.run(network, stamps, LABEL, 0.5)
    split = grid_numpy.run(doubled, copies, LABEL, 0.5)
    twice = grid_numpy.run(replace(network, w_in=network.w_in / 2), stamps * 2, LABEL, 0.5)
    assert split.forward.spikes == twice.forward.spikes == result.forward.spikes
    expected = result.gradients["w_in"]
    assert split.gradients["w_in"] == pytest.approx(np.vstack([expected, expected]), rel=1e-9, abs=1e-15)
    assert twice.gradients["w_in"] == pytest.approx(2 * expected, rel=1e-9, abs=1e-15)


def test_regularisation_jump() -> None:
    """If this fails the strength, sign, side or target of the spike count regularisation is wrong.

    Without read-out weights lambda_v is -lbd (n - nu) at the spike, hence dw = tau_mem f(lag) lbd (n - nu).
    """
    network = replace(relay(10.0), tau_syn=np.array([5.0]), w_out=np.zeros((1, 2)))
    for nu, counts, scale in ((0.25, None, 2.0 * 0.75), (3.0, None, 0.5 * -2.0), (3.0, np.array([7.0]), 2.0 * 4.0)):
        reg = Regularisation(lbd_upper=2.0, lbd_lower=0.5, nu=nu, counts=counts)
        result = grid_numpy.run(network, [(9, 0)], 0, 0.5, regularisation=reg)
        ((stamp, _),) = result.forward.spikes
        lag = 0.5 * (stamp - 10)  # from the arrival (index 10) to the jump, which comes at the index of the stamp
        expected = 20.0 * oracle.response(lag, 20.0, 5.0) * scale
        assert result.gradients["w_in"][0, 0] == pytest.approx(expected, rel=1e-12)
        assert not result.gradients["w_out"][0].sum()


def test_denominator_is_bounded_from_below() -> None:
    """If this fails a grazing crossing produces an unbounded jump in spite of the guard."""
    network = replace(relay(10.0), tau_syn=np.array([5.0]), w_out=np.array([[1.0, 0.0]]))
    plain = grid_numpy.run(network, [(9, 0)], 0, 0.5)
    bound = 4.0 * plain.forward.min_denominator
    guarded = grid_numpy.run(network, [(9, 0)], 0, 0.5, min_denominator=bound)
    loose = grid_numpy.run(network, [(9, 0)], 0, 0.5, min_denominator=0.1)
    assert guarded.gradients["w_in"] == pytest.approx(plain.gradients["w_in"] / 4.0, rel=1e-12)
    assert np.array_equal(loose.gradients["w_in"], plain.gradients["w_in"])
    assert np.array_equal(guarded.gradients["w_out"], plain.gradients["w_out"])


def test_gradients_are_linear_in_the_drive() -> None:
    """If this fails the adjoint equations are not linear: something other than the drive enters the task gradient."""
    network, events = random_network(3)
    plain = grid_numpy.run(network, to_stamps(events, 0.5), LABEL, 0.5)
    scaled = grid_numpy.run(network, to_stamps(events, 0.5), LABEL, 0.5, drive_scale=1 / 20)
    assert scaled.loss == plain.loss
    for name, values in plain.gradients.items():
        assert scaled.gradients[name] == pytest.approx(values / 20, rel=1e-10, abs=1e-18), name


def test_single_precision_agrees() -> None:
    """If this fails the float32 variant computes something else than the float64 one, beyond rounding."""
    compared = 0
    for seed in range(4):
        network, events = random_network(seed, v_reset=-0.3)
        stamps = to_stamps(events, 0.5)
        double = grid_numpy.run(network, stamps, LABEL, 0.5)
        single = grid_numpy.run(network, stamps, LABEL, 0.5, dtype=np.float32)
        if single.forward.spikes != double.forward.spikes or double.forward.min_denominator < 0.1:
            continue
        compared += 1
        for name, values in double.gradients.items():
            assert single.gradients[name].dtype == np.float64
            assert 0 < relative_error(single.gradients[name], values) < 1e-3, name
    assert compared >= 2


def test_equal_time_constants_are_no_special_case() -> None:
    """If this fails kappa loses its digits, or jumps, where both time constants agree."""
    gradients = []
    for factor in (1.0, 1 + 1e-12, 1 + 1e-7):
        network = replace(relay(4.0), tau_syn=np.array([20.0 * factor]), tau_syn_out=np.full(2, 20.0 * factor))
        gradients.append(grid_numpy.run(network, [(5, 0), (12, 0)], 0, 1.0).gradients)
    for name, values in gradients[0].items():
        assert abs(values).max() > 0
        assert gradients[1][name] == pytest.approx(values, rel=1e-10), name
        assert gradients[2][name] == pytest.approx(values, rel=1e-5), name


def test_silent_network_has_no_gradient() -> None:
    """If this fails weights of a network without any spike would be moved, regularised or not."""
    reg = Regularisation(lbd_upper=1.0, lbd_lower=1.0, nu=5.0)
    result = grid_numpy.run(relay(1.0), [(3, 0)], 0, 1.0, regularisation=reg)
    assert result.forward.min_denominator == np.inf
    assert all(not values.any() for values in result.gradients.values())


def test_stamp_outside_the_trial_is_refused() -> None:
    """If this fails a negative stamp would silently index the end of the trial."""
    with pytest.raises(ValueError, match="input stamp -1"):
        grid_numpy.forward(relay(), [(-1, 0)], 1.0)
