"""Sparse projections: a network with masks is the dense one whose silent weights are 0, and stays it as it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eventprop import masks
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import DELAY, Delay, Network
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.support.small import Case, gradients_of, random_case

ADAM = AdamSettings(0.9, 0.999, 1e-8)
UNLIKE: dict[str, Any] = {"kind": ("ALIF", "hetLIF"), "recurrent": (False, True), "n": 6}


def sparse_case(**options: Any) -> tuple[Case, Network]:
    """Layers of one panel and of two, and the network with a third of each projection's synapses."""
    case = random_case(3, sizes=(40, 70), **UNLIKE, **options)
    network, random = case.network(), np.random.default_rng(0)
    return case, network.with_masks({p.name: random.random(p.shape) < 0.35 for p in network.projections})


def engine_of(case: Case, network: Network, threads: int = 1, real: str = "double") -> CpuEngine:
    """With the living weights of the case."""
    engine = CpuEngine(network, threads, real)
    engine.set_weights(network.living({name: 2.0 * w for name, w in case.weights.items()}))
    engine.set_time_constants(case.time_constants)
    return engine


@pytest.mark.parametrize("timing", ["grid", "exact"])
def test_gradients_are_those_of_the_dense_network_on_living_synapses(timing: str) -> None:
    """Fails if a mask changes what is computed, or lets a silent synapse into the gradient, its norm or an update."""
    case, network = sparse_case(spike_timing=timing)
    network = replace(network, precision="double")
    sparse, dense = engine_of(case, network), engine_of(case, replace(network, masks={}))
    start = sparse.weights()
    dense.set_weights(start)
    for step in (1, 2, 3):
        results = [case.learn(e) for e in (sparse, dense)]
        assert results[0].loss.tobytes() == results[1].loss.tobytes() and results[0].spike_counts.sum() > 100
        found, expected = gradients_of(sparse), gradients_of(dense)
        for name, g in expected.items():
            mask = network.masks.get(name)
            assert mask is None or (g[~mask].any() and g[mask].any())
            assert found[name].tobytes() == masks.silenced(g, mask).tobytes()
        squares = sum(np.sum(np.square(g, dtype=np.float64)) for g in found.values())
        assert sparse.gradient_norm() == pytest.approx(np.sqrt(squares), rel=1e-9)
        sparse.update(adam_parameters(ADAM, 0.01, step))
        dense.set_weights(sparse.weights())
        dense.set_time_constants(sparse.time_constants())
    for name, mask in network.masks.items():
        w = sparse.weights()[name]
        assert not w[~mask].any() and (w[mask] != start[name][mask]).mean() > 0.3
        assert all(not state[name][~mask].any() and state[name].any() for state in sparse.optimiser_state().values())


def test_bits_do_not_depend_on_threads() -> None:
    """Fails if threads leave a part of the gradients unmasked."""
    case, network = sparse_case()
    engines = [engine_of(case, network, threads, "float") for threads in (1, 3)]
    for e in engines:
        case.learn(e)
        e.update(adam_parameters(ADAM, 0.01, 1))
    first, second = (e.weights() | gradients_of(e) for e in engines)
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_moments_of_synapses_that_are_silent_now_are_forgotten() -> None:
    """Fails if what a synapse has learned before its mask moves its weight."""
    case, network = sparse_case()
    dense, sparse = engine_of(case, replace(network, masks={})), engine_of(case, network)
    case.learn(dense)
    dense.update(adam_parameters(ADAM, 0.01, 1))
    sparse.set_optimiser_state(dense.optimiser_state())
    case.learn(sparse)
    sparse.update(adam_parameters(ADAM, 0.01, 2))
    assert not any(sparse.weights()[name][~mask].any() for name, mask in network.masks.items())


@pytest.mark.parametrize("per", ["synapse", "source"])
def test_delays_of_silent_synapses_do_nothing(per: str) -> None:
    """Fails if one has a gradient of its own, or if what shares a delay with others does not move with them."""
    case, network = sparse_case()
    late = Delay(3.0, 1.0, None, 8.0, True, per)
    projections = tuple(replace(p, delay=late if p.name == "hid_to_hidfwd0" else None) for p in network.projections)
    network = replace(network, projections=projections)
    name = "hid_to_hidfwd0"
    delays, mask = network.initial_weights(1)[name + DELAY], network.masks[name]
    sparse, dense = CpuEngine(network, 1, "double"), CpuEngine(replace(network, masks={}), 1, "double")
    for e in (sparse, dense):
        e.set_weights({**network.living(case.weights), name + DELAY: delays})
        e.set_time_constants(case.time_constants)
        case.learn(e)
    found, expected = (e.gradients()[name + DELAY] for e in (sparse, dense))
    np.testing.assert_array_equal(found, expected)
    assert found.any() and (per == "source" or not found[~mask].any())
    sparse.update(adam_parameters(ADAM, 0.01, 1), delay_rate=0.1)
    weights = network.check_weights(sparse.weights())
    assert (weights[name + DELAY] != delays).any() and not weights[name][~mask].any()


def test_wrong_masks_are_refused() -> None:
    case, network = sparse_case()
    shape = network.synaptic_shapes()["in_to_hid"]
    wrong: list[tuple[Any, str]] = [
        ([True], r"masks must be a dictionary of boolean arrays by synapse population, got \[True\]"),
        ({"in": np.ones(shape, bool)}, "masks has 'in'; there are in_to_hid, hid_to_hidfwd0, hid_to_hid1, hid_to_out"),
        ({"in_to_hid": np.ones(3, bool)}, r"in_to_hid has shape \(3,\); this network needs \(12, 40\)"),
        ({"in_to_hid": np.ones(shape)}, "in_to_hid must be boolean, True where a synapse is, got float64"),
        ({"in_to_hid": np.zeros(shape, bool)}, "in_to_hid is False everywhere"),
    ]
    for given, message in wrong:
        with pytest.raises(ValueError, match=message):
            network.with_masks(given)
    silent = np.count_nonzero(~network.masks["in_to_hid"])
    with pytest.raises(ValueError, match=f"weights of in_to_hid are not 0 at {silent} synapses that are not there"):
        network.check_weights(case.weights)
