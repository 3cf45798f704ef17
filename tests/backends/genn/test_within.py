"""Crossings solved within a step on GeNN, as on the CPU backend: same spikes, same gradients of weights and parameters.
Skipped where pygenn is not installed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import models
from eventprop.network import Network
from eventprop.training.optimiser import adam_parameters
from tests.backends.genn.test_neurons import ADAM, METHODS, RANDOM, check, engines
from tests.support.neuron_cases import BOUNDS, SIMPLE, batch_of, network_of
from tests.support.small import gradients_of, relative

ABLE = [name for name, neuron in models.NEURONS.items() if neuron.threshold and not neuron.refractory]


def within(network: Network) -> Network:
    return replace(network, spike_timing="substep")


@pytest.mark.parametrize("name", [*ABLE, *METHODS])
def test_all_gradients_in_double_precision(name: str) -> None:
    """Fails if any term of the two parts of a step, or of the jump between them, is another one on GeNN: all weights
    and parameters, with regularisation, noise and dropout, and after updates."""
    neuron = METHODS.get(name) or models.NEURONS[name]
    both = engines(neuron, within(network_of(neuron, bounds=BOUNDS, regulariser=SIMPLE)), "double")
    check(both, 2e-6)
    check(both, 2e-6, 1, RANDOM)
    for e in both:
        e.update(adam_parameters(ADAM, 0.003, 1))
    check(both, 2e-6)


@pytest.mark.parametrize("name", ABLE)
def test_spikes_and_gradients_in_single_precision(name: str) -> None:
    """Fails if spikes are not those of the CPU backend, or gradients not the same to 1e-4; the first layer trains no
    parameter and keeps no state for that."""
    check(engines(models.NEURONS[name], within(network_of(models.NEURONS[name], "some")), "float"), 1e-4)


@pytest.mark.parametrize("loss", ["first_spike", "max"])
def test_outputs_and_the_pipeline(loss: str) -> None:
    """Fails if what one batch keeps of its crossings is read by another one's, or an output's spikes are others'."""
    both = engines(models.ALIF, within(network_of(models.ALIF, loss=loss)), "double", pipeline=True)
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
