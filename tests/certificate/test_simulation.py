"""The integrator against the event-driven oracle, against solutions known by hand, and against itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import models
from eventprop.certificate.expressions import Array
from eventprop.certificate.simulation import Events, Simulation, simulate
from eventprop.declarations import Neuron, Parameter
from tests.support import oracle


def solved(
    neuron: Neuron,
    weights: Any,
    times: list[float],
    sources: list[int] | None = None,
    values: Mapping[str, Any] | None = None,
    recurrent: Any = None,
    trial_ms: float = 60.0,
    **options: Any,
) -> Simulation:
    """One copy; weights are (source, neuron), values differ from the defaults."""
    weights = np.array(weights, float)
    given = {**{n: p.default for n, p in neuron.parameters.items()}, **(values or {})}
    parameters = {n: np.broadcast_to(np.asarray(v, float), (1, weights.shape[1])) for n, v in given.items()}
    events = Events(np.array([times], float), np.array([sources or [0] * len(times)], np.int64))
    back = None if recurrent is None else np.array(recurrent, float)[None]
    return simulate(neuron, parameters, weights[None], back, events, trial_ms, **options)


def spikes(found: Simulation, neuron: int = 0) -> Array:
    own = found.spikes.times[0]
    return own[np.isfinite(own) & (found.spikes.sources[0] == neuron)]


def end(found: Simulation, neuron: Neuron, variable: str) -> float:
    """A variable of the first neuron at the end of the trial."""
    return float(found.traces[-1][1][list(neuron.state).index(variable), 0, 0])


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_spike_times_are_the_oracles(adaptive: bool, seed: int) -> None:
    """Fails if a crossing is missed or misplaced, or events come in another order."""
    rng = np.random.default_rng(seed)
    w, w_rec = rng.normal(2.0, 0.8, (4, 3)), rng.normal(0.0, 0.5, (3, 3))
    values: dict[str, Any] = {"tau_mem": rng.uniform(12, 25, 3), "tau_syn": rng.uniform(3, 7, 3), "v_reset": -0.2}
    extra = {"tau_b": rng.uniform(10, 30, 3), "b_incr": 0.3, "b_init": 0.1} if adaptive else {}
    events = sorted((float(t), i) for i in range(4) for t in rng.uniform(0, 40, 3))
    layer = oracle.Layer(w, w_rec=w_rec, **values, **extra)
    output = oracle.Layer(np.ones((3, 2)), 20.0, 5.0, v_thresh=np.inf)
    exact = oracle.simulate(oracle.Network((layer,), output), events)
    neuron = models.ALIF if adaptive else models.LIF
    found = solved(neuron, w, *map(list, zip(*events, strict=True)), {**values, **extra}, w_rec)
    assert found.finished.all() and found.counts.sum() > 5
    for n in range(3):
        np.testing.assert_allclose(spikes(found, n), exact.spike_times["hidden0"][n], atol=1e-10)
    np.testing.assert_allclose((found.slowest[0] * layer.tau_mem).min(), exact.min_denominator, rtol=1e-6)


def test_quadratic_upstroke_has_its_closed_form() -> None:
    """tau V' = V^2 - c from V0 above sqrt(c): coth gives the time of the peak. Fails if a blow-up is not followed."""
    start, c, peak, tau = 0.6, 0.25, 50.0, 20.0
    neuron = replace(
        models.QIF,
        state={"V": "v_init", "Isyn": "0"},
        parameters=models.QIF.parameters | {"v_init": Parameter(start)},
    )
    values = {"v_c": c, "v_thresh": peak, "v_reset": -0.9, "tau_mem": tau}
    root = np.sqrt(c)
    time = tau / (2 * root) * np.log((peak - root) * (start + root) / ((peak + root) * (start - root)))
    found = solved(neuron, [[1.0]], [99.0], values=values, trial_ms=80.0)
    np.testing.assert_allclose(spikes(found), [time], rtol=1e-11)


def test_alpha_synapse_has_its_closed_form() -> None:
    """V = t^2 / 2 / tau^2 exp(-t / tau) w where all three time constants are tau. Fails if they may not meet."""
    tau, w, t = 7.0, 0.8, 30.0
    values = {"tau_mem": tau, "tau_syn": tau, "tau_rise": tau}
    found = solved(models.ALPHA, [[w]], [10.0], values=values, trial_ms=10.0 + t, traced=True)
    np.testing.assert_allclose(end(found, models.ALPHA, "V"), w * (t / tau) ** 2 / 2 * np.exp(-t / tau), rtol=1e-10)
    assert not found.counts.any()
    np.testing.assert_allclose(found.nearest[0, 0], w * 2 * np.exp(-2.0) - 1.0, rtol=0.02)  # its peak is at 2 tau


def test_refractory_neuron_waits_and_goes_on() -> None:
    """A constant current I: from reset, V reaches 1 after tau log(I / (I - 1)). Fails if the voltage moves while held,
    or is held too long or too short."""
    neuron = replace(models.REFRACTORY, dynamics={"V": "(4 - V) / tau_mem", "Isyn": "0"})
    found = solved(neuron, [[0.0]], [1.0], values={"t_ref": 3.0}, trial_ms=40.0)
    rise = 20.0 * np.log(4.0 / 3.0)
    np.testing.assert_allclose(spikes(found), rise + (rise + 3.0) * np.arange(4), rtol=1e-11)


def test_negative_weights_go_to_the_second_input() -> None:
    """Fails if a conductance is negative, or of the wrong kind."""
    found = solved(models.COBA, [[0.4], [-0.3]], [0.0, 0.0], [0, 1], trial_ms=5.0, traced=True)
    np.testing.assert_allclose(end(found, models.COBA, "g_exc"), 0.4 * np.exp(-1.0), rtol=1e-10)
    np.testing.assert_allclose(end(found, models.COBA, "g_inh"), 0.3 * np.exp(-0.5), rtol=1e-10)


DELTA = Neuron(
    "delta",
    parameters={"tau_mem": Parameter(20.0, above=0.0), "v_thresh": Parameter(1.0), "v_reset": Parameter(0.0)},
    state={"V": "v_reset"},
    dynamics={"V": "-V / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
)


def test_an_arrival_can_make_a_spike_at_once() -> None:
    """0.7, and 0.7 exp(-1/4) + 0.7 > 1 after 5 ms; the spike makes the second neuron spike at the same moment."""
    found = solved(DELTA, [[0.7, 0.0]], [10.0, 15.0], recurrent=[[0.0, 1.5], [0.0, 0.0]])
    np.testing.assert_array_equal(spikes(found, 0), [15.0])
    np.testing.assert_array_equal(spikes(found, 1), [15.0])


def test_neuron_that_is_not_reset_spikes_at_each_rise() -> None:
    """Fails if it spikes again where it stands, or never again."""
    neuron = replace(models.LIF, reset={})
    found = solved(neuron, [[12.0]], [5.0, 55.0], trial_ms=100.0)
    assert found.counts[0, 0] == 2 and spikes(found)[0] < 15.0 and spikes(found)[1] > 55.0


def test_runaway_activity_ends() -> None:
    """Fails if a network that excites itself without limit is solved for ever, or passes as solved."""
    found = solved(models.LIF, [[40.0]], [5.0], recurrent=[[60.0]], most_spikes=10)
    assert not found.finished.any() and found.counts[0, 0] == 11


@pytest.mark.parametrize("name", [n for n, neuron in models.NEURONS.items() if neuron.threshold])
def test_spike_times_converge_as_the_tolerance_shrinks(name: str) -> None:
    """Fails if steps are longer than their error allows, for some neuron: 1e-12 and 1e-9 agree far better than 1e-6."""
    neuron = models.NEURONS[name]
    weights = np.array({"Izhikevich": [[35.0]], "COBA": [[1.5]], "RF": [[14.0]], "QIF": [[9.0]]}.get(name, [[12.0]]))
    times = [[] for _ in range(3)]
    for k, tolerance in enumerate((1e-6, 1e-9, 1e-12)):
        found = solved(neuron, weights, [5.0, 15.0, 30.0], tolerance=tolerance)
        assert found.finished.all() and found.counts[0, 0] > 0
        times[k] = spikes(found)
    rough, fine = (np.abs(times[k] - times[2]).max() for k in (0, 1))
    assert fine < 1e-7 and rough < 1e-3
