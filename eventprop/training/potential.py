"""What reaches the neurons of a network that is there: potentials relative to the threshold, and who spikes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from eventprop.backends import Engine
from eventprop.data.spikes import SpikeSet
from eventprop.derivation.values import evaluate
from eventprop.description import named_neurons
from eventprop.network import Network, Population, Projection

__all__ = ["Activity", "Probe", "by_layer", "distance", "feeding", "key_of", "recurrent"]
__all__ += ["Weights"]

_BYTES = 64_000_000  # of recorded potentials at a time
_KEYS = {"in_to_hid": "INPUT_HIDDEN", "hid_to_hidfwd": "HIDDEN_HIDDENFWD", "hid_to_out": "HIDDEN_OUTPUT"}

Weights = Mapping[str, np.ndarray]


def key_of(projection: Projection) -> str:
    """What the keys of a projection's initial weights begin with."""
    return _KEYS.get(projection.name.rstrip("0123456789"), "HIDDEN_HIDDEN")


def feeding(network: Network, population: Population) -> Projection:
    """The synapses onto a population from the one below it."""
    return next(p for p in network.projections if p.target == population.name and p.source != population.name)


def recurrent(network: Network, population: Population) -> Projection | None:
    """The synapses of a population onto itself."""
    return next((p for p in network.projections if p.source == p.target == population.name), None)


def by_layer(network: Network, values: np.ndarray) -> list[np.ndarray]:
    """Arrays whose last axis is that of all hidden neurons, layer by layer."""
    return np.split(values, np.cumsum([layer.size for layer in network.hidden])[:-1], axis=-1)


def distance(population: Population) -> float:
    """How far V has to rise from its start to the threshold, the rest of the state as at the start; 1 for neurons that
    never spike. Of parameters that neurons have each of their own it is the mean."""
    neuron = named_neurons()[population.model.name]
    if not neuron.threshold:
        return 1.0
    values = {n: float(np.mean(v)) for n, v in population.parameters.items()}
    state = {x: float(evaluate(text, values)) for x, text in neuron.state.items()}

    def below(rise: float) -> bool:
        return float(evaluate(neuron.threshold, {**values, **state, "V": state["V"] + rise})) < 0.0

    low, high = 0.0, 1.0
    while below(high) and high < 1e9:
        low, high = high, 2.0 * high
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


class Activity(NamedTuple):
    """Spikes of hidden neurons ``(n, hidden neurons)``, and the share of samples with a class where outputs spike."""

    counts: np.ndarray
    answered: float


class Probe:
    """Some samples, presented without learning to an engine whose weights may be others each time.

    Args:
        samples: numbers into ``spikes``.
    """

    def __init__(self, engine: Engine, spikes: SpikeSet, samples: np.ndarray, batch: int) -> None:
        self.engine, self.network, self._spikes = engine, engine.network, spikes
        self._parts = [samples[first : first + batch] for first in range(0, samples.size, batch)]

    def activity(self, weights: Weights | None = None) -> Activity:
        """Who spikes, with these weights, or those that the engine has."""
        if weights is not None:
            self.engine.set_weights(weights)
        results = [self.engine.run(self._spikes, part, None) for part in self._parts]
        answered = np.concatenate([result.predictions for result in results]) >= 0
        return Activity(np.concatenate([result.spike_counts for result in results]), float(answered.mean()))

    def potentials(self, population: Population, weights: Weights | None = None) -> Iterator[np.ndarray]:
        """V of a population after each step, ``(some samples, steps, size)``, until there are all samples."""
        if weights is not None:
            self.engine.set_weights(weights)
        hidden = sum(q.size for q in self.network.populations)
        most = max(1, _BYTES // (4 * self.network.num_steps * hidden))
        for part in self._parts:
            for first in range(0, part.size, most):
                self.engine.run(self._spikes, part[first : first + most], None, record=[(population.name, "V")])
                yield self.engine.trace(population.name, "V")

    def at_rest(self, population: Population, weights: Weights) -> np.ndarray:
        """V of a population that nothing reaches, ``(steps, size)``."""
        silent = {n: w * 0 if n == feeding(self.network, population).name else w for n, w in weights.items()}
        self.engine.set_weights(silent)
        self.engine.run(self._spikes, self._parts[0][:1], None, record=[(population.name, "V")])
        return self.engine.trace(population.name, "V")[0]
