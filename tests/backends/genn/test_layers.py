"""Hidden layers of unlike neurons, and projections without some of their synapses, on GeNN as on the CPU backend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Randomness
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.backends.genn.test_engine import AT_ONCE, BACKEND  # skips this file, too, where there is no pygenn
from tests.backends.genn.test_neurons import check
from tests.support.neuron_cases import DRIVES, SIMPLE, Drive, network_of, weights_of
from tests.support.small import THOMAS1, gradients_of, random_case, relative

from eventprop.backends.genn.engine import GennEngine  # isort: skip

ADAM = AdamSettings(0.9, 0.999, 1e-8)
RANDOM = Randomness(0.1, [0.0, 0.3], [0.05, 0.0], input_seed=1, hidden_seed=2, noise_seed=3)


def test_unlike_and_sparse_layers() -> None:
    """ALIF before LIF, one of them recurrent, with dropout, noise and regularisation of their own and a third of the
    synapses: fails if a layer has another one's values, or a silent synapse a gradient, a moment or a weight."""
    options: dict[str, Any] = {"kind": ("ALIF", "hetLIF"), "recurrent": (False, True), "sizes": (20, 12)}
    strengths = {name: (value, 3.0 * value) for name, value in THOMAS1.items()}
    case = random_case(2, **options, regulariser="Thomas1", strengths=strengths)
    random = np.random.default_rng(0)
    dense = case.network()
    network = dense.with_masks(
        {p.name: random.random(p.shape) < 0.4 for p in dense.projections if p.name != "hid_to_out"}
    )
    genn = GennEngine(network, BACKEND, batch=AT_ONCE, max_spikes=300, real="double")
    both = (genn, CpuEngine(network, 1, "double"))
    for e in both:
        e.set_weights(network.living({name: 2.0 * w for name, w in case.weights.items()}))
        e.set_time_constants(case.time_constants)
    for step in (1, 2, 3):
        results = [e.run(case.spikes, case.numbers, case.labels, learn=True, randomness=RANDOM, first=5) for e in both]
        assert np.array_equal(results[0].spike_counts, results[1].spike_counts)
        assert results[0].spike_counts[:, :20].mean() > 2 and results[0].spike_counts[:, 20:].mean() > 2
        found, expected = (gradients_of(e) for e in both)
        assert all(relative(found[name], g) < 1e-9 and g.any() for name, g in expected.items())
        assert "hidden0.tau_b" in found and "hid_to_hid0" not in found
        if step == 2:  # as if synapses had learned before they were taken out
            state = {role: {n: np.ones_like(m) for n, m in own.items()} for role, own in genn.optimiser_state().items()}
            for e in both:
                e.set_optimiser_state(state)
        for e in both:
            e.update(adam_parameters(ADAM, 0.003, step))
    for name, mask in network.masks.items():
        assert not found[name][~mask].any() and not genn.weights()[name][~mask].any()
        assert relative(genn.weights()[name], both[1].weights()[name]) < 1e-6


@pytest.mark.parametrize(("below", "above", "timing"), [("LIF", "COBA", "grid"), ("QIF", "LIF", "substep")])
def test_pairs_of_neurons(below: str, above: str, timing: str) -> None:
    """Two inputs behind one, linear neurons behind others: fails if a layer is taken for the other."""
    first, second = (network_of(models.NEURONS[name], regulariser=SIMPLE) for name in (below, above))
    network = replace(first, hidden=(first.hidden[0], second.hidden[1]), spike_timing=timing)
    onto_first, onto_second = (weights_of(DRIVES.get(name, Drive())) for name in (below, above))
    weights = onto_first | {name: onto_second[name] for name in ("hid_to_hidfwd0", "hid_to_hid1")}
    both = (
        GennEngine(network, BACKEND, batch=AT_ONCE, max_spikes=300, real="double"),
        CpuEngine(network, 1, "double"),
    )
    for e in both:
        e.set_weights(weights)
    check(list(both), 1e-9)
