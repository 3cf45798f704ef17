"""Hidden layers that differ in what their neurons have each of their own and in what is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Network, Population, Randomness
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.support.few_spikes import delayed_case, differences_to_oracle, exact_cases, few_spikes_case
from tests.support.neuron_cases import Drive, batch_of, network_of, weights_of
from tests.support.small import THOMAS1, clear, differences, gradients_of, random_case, relative

LAYERS = {"hidden0": ((), ("tau_syn",)), "hidden1": (("tau_mem", "tau_syn"), ("v_reset",))}
"""By layer, trained parameters, and others that each neuron has of its own."""


def partly(q: Population) -> Population:
    """The population with what ``LAYERS`` says; all other parameters have the first neuron's value."""
    trained, own = LAYERS.get(q.name, ((), ()))
    values = {n: v if n in (*trained, *own) or not np.ndim(v) else float(v[0]) for n, v in q.parameters.items()}
    return replace(q, parameters=values, trained=tuple(n for n in q.model.parameters if n in trained))


@pytest.mark.parametrize("timing", ["grid", "exact", pytest.param("substep", marks=pytest.mark.long)])
def test_layers_may_differ(timing: str) -> None:
    """Fails if code that is made for one layer runs another one: spikes, gradients and updates must be those of a
    network whose layers are alike, of the same values."""
    network = replace(network_of(models.LIF), spike_timing=timing)
    mixed = replace(network, hidden=tuple(partly(q) for q in network.hidden), output=partly(network.output))
    engines = [CpuEngine(n, 1, "double") for n in (mixed, _spread(mixed))]
    spikes, numbers, labels = batch_of(0)
    for e in engines:
        e.set_weights(weights_of(Drive()))
    results = [e.run(spikes, numbers, labels, learn=True) for e in engines]
    assert np.array_equal(results[0].spike_counts, results[1].spike_counts) and results[0].spike_counts.mean() > 3
    found, expected = map(gradients_of, engines)
    assert {n for n in found if "." in n} == {"hidden1.tau_mem", "hidden1.tau_syn"}
    assert all(relative(g, expected[n]) < 1e-9 and g.any() for n, g in found.items())
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in found.values()))
    assert relative(np.array(engines[0].gradient_norm()), norm) < 1e-9
    for e in engines:
        e.update(adam_parameters(AdamSettings(0.9, 0.999, 1e-8), 0.01, 1))
    before, after = mixed.initial_time_constants(), engines[0].time_constants()
    assert np.array_equal(after["hidden0"]["tau_syn"], before["hidden0"]["tau_syn"])
    assert relative(after["hidden1"]["tau_mem"], engines[1].time_constants()["hidden1"]["tau_mem"]) < 1e-6
    assert (after["hidden1"]["tau_mem"] != before["hidden1"]["tau_mem"]).any()


def _spread(network: Network) -> Network:
    """The network with a value for each neuron of all parameters, and every time constant trained."""

    def whole(q: Population) -> Population:
        values = {n: v if n == "min_denominator" else np.full(q.size, v, np.float32) for n, v in q.parameters.items()}
        return replace(q, parameters=values, trained=tuple(n for n in values if n.startswith("tau")))

    return replace(network, hidden=tuple(whole(q) for q in network.hidden), output=whole(network.output))


UNLIKE = {
    "ALIF first": (("ALIF", "hetLIF"), (False, True)),
    "ALIF between": (("hetLIF", "ALIF", "hetLIF"), (True, False, False)),
}
"""Kinds of the layers of a network, and which of them are recurrent."""


@pytest.mark.parametrize("unlike", UNLIKE)
def test_layers_of_unlike_neurons_are_exact(unlike: str) -> None:
    """Spikes at their exact times, each layer of a size of its own: fails if a layer is run, or taken back, by the
    equations of another one's neurons, or if what goes from one to the other is lost."""
    kinds, recurrent = UNLIKE[unlike]
    options: dict[str, Any] = {"sizes": (4, 6, 5)[: len(kinds)], "recurrent": recurrent, "v_reset": -0.1}
    cases = exact_cases(lambda seed: few_spikes_case(seed, kinds, spike_timing="exact", **options), 2)
    for case in cases:
        found = differences_to_oracle(case, case.engine())
        assert f"hidden{kinds.index('ALIF')}.tau_b" in found and f"hid_to_hid{recurrent.index(True)}" in found
        assert found.pop("spike times") < 1e-6 and max(found.values()) < 1e-6, found


@pytest.mark.parametrize("unlike", UNLIKE)
def test_layers_of_unlike_neurons_on_the_grid(unlike: str) -> None:
    """As above, step by step, of two panels in the first layer, with dropout in the second one alone and
    regularisation of another strength in each."""
    kinds, recurrent = UNLIKE[unlike]
    random = Randomness(hidden_dropout=[0.0, 0.3, 0.0][: len(kinds)], hidden_seed=3)
    options: dict[str, Any] = {"sizes": (70, 20, 9)[: len(kinds)], "recurrent": recurrent, "n": 2}
    options |= {
        "regulariser": "Thomas1",
        "strengths": {n: (v, 0.5 * v, 2.0 * v)[: len(kinds)] for n, v in THOMAS1.items()},
    }
    case, expected = clear(lambda seed: random_case(seed, kinds, **options), random=random)
    engine = case.engine()
    result = case.learn(engine, randomness=random)
    assert max(differences(expected, engine, result).values()) < 1e-6
    assert (result.spike_counts != case.learn(engine).spike_counts).any()


@pytest.mark.long
def test_delays_between_unlike_layers_are_exact() -> None:
    """As above, with spikes that arrive at times of their own."""
    kinds, recurrent = UNLIKE["ALIF first"]
    options: dict[str, Any] = {"sizes": (4, 6), "recurrent": recurrent, "v_reset": -0.1}
    for case in exact_cases(lambda seed: delayed_case(seed, kinds, **options), 2):
        found = differences_to_oracle(case, case.engine())
        assert "hid_to_hidfwd0.delay" in found and found.pop("spike times") < 1e-6
        assert max(found.values()) < 1e-6, found
