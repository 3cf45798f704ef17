"""Crossings solved within a step on GeNN, as on the CPU backend: same spikes, same gradients of weights and parameters.
Skipped where pygenn is not installed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import models
from eventprop.backends import Engine
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Network
from eventprop.training.optimiser import adam_parameters
from tests.backends.genn.test_neurons import ADAM, DRIVES, METHODS, RANDOM, check, engines
from tests.support.neuron_cases import BOUNDS, SIMPLE, batch_of, network_of, weights_of
from tests.support.small import gradients_of, relative

ABLE = [name for name, neuron in models.NEURONS.items() if neuron.threshold and not neuron.refractory]


def within(network: Network) -> Network:
    return replace(network, spike_timing="substep")


def pair(name: str, network: Network, real: str, **options: bool) -> list[Engine]:
    """The network on GeNN and on the CPU backend, with weights to which a steep upstroke is not too sensitive."""
    both = engines(METHODS.get(name) or models.NEURONS[name], within(network), real, **options)
    if name == "Izhikevich":
        for e in both:
            e.set_weights(weights_of(replace(DRIVES[name], seed=32)))
    return both


@pytest.mark.parametrize("name", [*ABLE, *METHODS])
def test_all_gradients_in_double_precision(name: str) -> None:
    """Fails if any term of the two parts of a step, or of the jump between them, is another one on GeNN: all weights
    and parameters, with regularisation, noise and dropout, and after an update."""
    neuron = METHODS.get(name) or models.NEURONS[name]
    both = pair(name, network_of(neuron, bounds=BOUNDS, regulariser=SIMPLE), "double")
    check(both, 1e-8)
    check(both, 1e-8, 1, RANDOM)
    for e in both:
        e.update(adam_parameters(ADAM, 0.003, 1))
    check(both, 1e-8)


@pytest.mark.parametrize("name", ABLE)
def test_spikes_and_gradients_in_single_precision(name: str) -> None:
    """Fails if spikes are not those of the CPU backend, or gradients not right to 1e-4, for which crossings of a steep
    upstroke must be found to rounding. The first layer trains no parameter and keeps no state for that."""
    both = pair(name, network_of(models.NEURONS[name], "some"), "float")
    exact = CpuEngine(both[0].network, 1, "double")
    exact.set_weights(both[1].weights())
    check([both[0], exact], 1e-4)
    spikes, numbers, labels = batch_of(0)
    counts = [e.run(spikes, numbers, labels).spike_counts for e in both]
    assert np.array_equal(*counts)


@pytest.mark.parametrize("loss", ["first_spike", "max"])
def test_outputs_and_the_pipeline(loss: str) -> None:
    """Fails if what one batch keeps of its crossings is read by another one's, or an output's spikes are others'."""
    both = pair("ALIF", network_of(models.ALIF, loss=loss), "double", pipeline=True)
    genn, ours = both
    spikes, numbers, labels = batch_of(0)
    before: dict[str, np.ndarray] = {}
    for part in (numbers[:1], numbers[1:], numbers[:1]):
        found, expected = (e.run(spikes, part, labels[part], learn=True) for e in both)
        assert np.array_equal(found.spike_counts, expected.spike_counts)
        assert relative(found.loss, expected.loss) < 1e-9
        assert all(relative(gradients_of(genn)[n], g) < 1e-9 for n, g in before.items())
        before = {n: g.copy() for n, g in gradients_of(ours).items()}
    assert genn.flush()
    assert all(relative(gradients_of(genn)[n], g) < 1e-9 for n, g in before.items())


def test_it_is_not_the_grid() -> None:
    """Fails if SPIKE_TIMING is not seen by GeNN's code: gradients of both differ much at this step."""
    network = network_of(models.LIF)
    both = [engines(models.LIF, n, "double")[0] for n in (network, within(network))]
    spikes, numbers, labels = batch_of(0)
    for e in both:
        e.run(spikes, numbers, labels, learn=True)
    grid, inside = (gradients_of(e) for e in both)
    assert all(relative(inside[n], g) > 0.05 for n, g in grid.items())
