"""Delays of synapses in the event-driven oracle, against central differences and numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support import oracle
from tests.support.oracle import SPIKE_LOSSES, InputEvents, Layer, Network
from tests.support.test_oracle import STEPS, change, random_network, worst_error

CASES: dict[str, tuple[bool, int, bool, float]] = {
    "LIF": (False, 1, False, 0.0),
    "recurrent": (False, 1, True, -0.3),
    "ALIF, two layers": (True, 2, True, -0.3),
}


@pytest.fixture(autouse=True)
def step_of_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("delay", "delay_rec"):
        monkeypatch.setitem(STEPS, name, 3e-5)


def with_delays(network: Network, seed: int) -> Network:
    """Every synapse has a delay of its own, of up to 6 ms; one of each projection has none."""
    rng = np.random.default_rng(seed)
    for name, layer in network.populations.items():
        drawn = {"delay": rng.uniform(0.0, 6.0, layer.w.shape)}
        if layer.w_rec is not None:
            drawn["delay_rec"] = rng.uniform(0.0, 6.0, layer.w_rec.shape)
        for values in drawn.values():
            values[0, 0] = 0.0
        network = change(network, name, **drawn)
    return network


def well_conditioned(*case: Any, **options: Any) -> Iterator[tuple[Network, InputEvents]]:
    """Networks of one case in which every population spikes, twice on average, and no crossing grazes."""
    for seed in range(200):
        network, events = random_network(seed, *case, **options)
        network = with_delays(network, seed)
        trajectory = oracle.simulate(network, events)
        active = min(sum(counts) for counts in trajectory.spike_counts.values()) >= 6
        if network.spiking_outputs:
            active = active and min(trajectory.spike_counts["output"]) > 0
        if active and trajectory.min_denominator > 0.3 and trajectory.min_gap_ms > 1e-3:
            yield network, events


def without_zeros(network: Network) -> Network:
    """Delays that can be shortened, as central differences need."""
    for name, layer in network.populations.items():
        drawn = {n: np.maximum(getattr(layer, n), 1e-3) for n in layer.parameters if n.startswith("delay")}
        network = change(network, name, **drawn)
    return network


@pytest.mark.parametrize("case", CASES)
def test_gradients_match_central_differences(case: str) -> None:
    """Fails if an arrival is at another time, or what it gives by weight, delay or source is wrong."""
    network, events = next(well_conditioned(*CASES[case]))
    errors = worst_error(without_zeros(network), events, ("sum", "sum_weigh_exp", "max"))
    assert max(error for error, *_ in errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("case", ["recurrent", "ALIF, two layers"])
def test_spiking_outputs_match_central_differences(case: str) -> None:
    """Fails if the derivative of first spikes does not reach delays."""
    network, events = next(well_conditioned(*CASES[case], spiking=True))
    errors = worst_error(without_zeros(network), events, SPIKE_LOSSES)
    assert max(error for error, *_ in errors.values()) <= 1e-6, errors


def test_delays_of_an_input_move_its_events() -> None:
    """Fails if one delay for all synapses of an input is anything but later events of that input."""
    network, events = random_network(3, False, 1, True, 0.0)
    delay = np.array([0.0, 1.25, 2.0, 7.5])
    later = [(time + delay[i], i) for time, i in events]
    delayed = change(network, "hidden0", delay=np.repeat(delay[:, None], 3, axis=1))
    value, found = oracle.gradients(delayed, events, 1)
    expected_value, expected = oracle.gradients(network, later, 1)
    assert value == pytest.approx(expected_value, rel=1e-12)
    for population, own in expected.items():
        for name, g in own.items():
            assert found[population][name] == pytest.approx(g, rel=1e-9, abs=1e-12), (population, name)


def two_neurons(delay: float) -> Network:
    """An input drives the first neuron; its spike drives the second after ``delay``; one output reads the second."""
    hidden = Layer(
        np.array([[10.0, 0.0]]),
        20.0,
        5.0,
        w_rec=np.array([[0.0, 8.0], [0.0, 0.0]]),
        delay_rec=np.array([[0.0, delay], [0.0, 0.0]]),
    )
    return Network((hidden,), Layer(np.array([[0.0, 0.0], [0.0, 2.0]]), 20.0, 5.0, v_thresh=math.inf), 60.0)


def test_one_delay_by_hand() -> None:
    """Sign and size of dL/dd where everything is in closed form: fails if a gradient has the sign of memory.

    The first neuron spikes at t_1 (8 f(lag) = 1 gives the second one's lag after the arrival): the second spikes at
    t_1 + d + lag, one to one later with d. Output 1 reads S = w F(T - t_2) / T, F the integral of f, so
    dL/dd = -(1 - p_1) dS/dd = +(1 - p_1) w f(T - t_2) / T, above 0: a later spike leaves less time to be read.
    """
    network, events = two_neurons(3.0), [(0.0, 0)]
    times = oracle.simulate(network, events).spike_times["hidden0"]
    assert times[0] == pytest.approx([2.826252], abs=1e-6)
    lag = float(times[1][0] - times[0][0] - 3.0)
    assert 8.0 * float(oracle.response(lag, 20.0, 5.0)) == pytest.approx(1.0, rel=1e-12)
    left = 60.0 - float(times[1][0])
    f = float(oracle.response(left, 20.0, 5.0))
    score = 2.0 * (5.0 * (1.0 - math.exp(-left / 5.0)) - 20.0 * f) / 60.0
    p = math.exp(score) / (1.0 + math.exp(score))
    by_hand = (1.0 - p) * 2.0 * f / 60.0
    assert by_hand == pytest.approx(4.2e-4, rel=0.01)
    value, found = oracle.gradients(network, events, 1)
    assert value == pytest.approx(-math.log(p), rel=1e-12)
    assert found["hidden0"]["delay_rec"] == pytest.approx(np.array([[0.0, by_hand], [0.0, 0.0]]), rel=1e-9)
    later = replace(network.hidden[0], delay_rec=np.array([[0.0, 3.001], [0.0, 0.0]]))
    change_of_loss = oracle.gradients(replace(network, hidden=(later,)), events, 1)[0] - value
    assert change_of_loss == pytest.approx(1e-3 * by_hand, rel=1e-3)
