"""Initial weights such that potentials fluctuate as wanted (after Rossbroich, Gygax & Zenke 2022).

A neuron whose n inputs have weights of mean m and standard deviation s, and whose potential is e(t) after a spike,
has without spikes of its own, for Poisson input of rate r, the mean potential n m r int(e) and the variance
n (s^2 + m^2) r int(e^2) over time, they say. Input is no Poisson process, and its channels have rates of their own, so
both are taken from the data here: with x_j(t) the potential that the spikes of input j make with a weight of 1,

    mean     m <sum_j x_j>                               is to be FLUCTUATION_MEAN times,
    variance m^2 var(sum_j x_j) + s^2 <sum_j x_j^2>      the square of FLUCTUATION_STD times

the distance of the threshold from rest. The variance is that over time and over neurons: of Poisson trains <x_j^2> is
r int(e^2), as published, plus (r int(e))^2, by which neurons differ in their means; it is small where spikes are few.
<> is over training samples and times, each with the weight sum_j x_j(t)^2 of what arrives, so that silence before,
between and after spikes does not count. The engine itself measures the sums, with weights so small that nothing spikes:
with delays, copies of the input and any neuron, of which it is the linear response, and of synapses that are there
alone. Layers follow each other from below, so that each is measured with the spikes that it will see; where a layer is
silent all the same, or never is, its weights are scaled until it is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from eventprop.backends import Engine
from eventprop.data.spikes import SpikeSet
from eventprop.masks import silenced
from eventprop.network import Network, Population, Projection
from eventprop.streams import stream
from eventprop.training.potential import Probe, by_layer, distance, feeding, key_of, recurrent

__all__ = ["StartSettings", "described", "fluctuating"]

_SAMPLES = 128
_SMALL = 1e-3  # of the distance of the threshold: weights with which nothing spikes
_SILENT, _BUSY = 0.5, 0.2  # at most that share of neurons never spikes, at most that share of steps has a spike
_FIRST_SPIKES = 1.0  # mean of potentials of outputs that spike: all have to, in each trial
_ANSWERED = 0.9  # of samples of which something arrives there, at least
_LEAST = 0.25  # of the wanted standard deviation is that of weights, whatever their mean makes
_STEP, _TRIES = 1.25, 24  # of the search for weights that keep to that

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class StartSettings:
    """What initial weights go by, under the names of the keys in small letters.

    Attributes:
        fluctuation_mean, fluctuation_std: of potentials, in units of the distance of the threshold from rest.
        fluctuation_recurrent: which share of the variance is from the layer itself.
    """

    weight_init: str = "normal"
    fluctuation_mean: float = 0.0
    fluctuation_std: float = 1.0
    fluctuation_recurrent: float = 0.1


@dataclass(frozen=True)
class _Response:
    """Of a population to input through weights of 1: <sum x>, var(sum x) and <sum x^2>."""

    mean: float
    variance: float
    squares: float


def fluctuating(
    network: Network, engine: Engine, spikes: SpikeSet, samples: np.ndarray, s: StartSettings, seed: int, batch: int
) -> Network:
    """``network`` with the means and standard deviations of initial weights that ``s`` asks for.

    Args:
        engine: of this network, or of one that differs in timing alone; its weights are others afterwards.
        samples: numbers of training samples, of which some are drawn.
        seed: ``MODEL_SEED``.
        batch: samples presented at once.
    """
    chosen = stream(seed, "weight init").permutation(samples)[:_SAMPLES]
    probe = Probe(engine, spikes, np.sort(chosen), batch)
    weights = network.initial_weights(seed)
    unit = {p.name: stream(seed, "weights", p.name).normal(0.0, 1.0, p.shape) for p in network.projections}
    unit = network.living(unit)
    itself = [p for layer in network.hidden if (p := recurrent(network, layer)) is not None]
    weights |= {p.name: weights[p.name] * 0 for p in itself}
    found: dict[str, tuple[float, float]] = {}
    for number, population in enumerate(network.populations):
        below = feeding(network, population)
        response = _response(probe, population, below, weights, unit)
        if response.squares > 0.0:
            mean, sd = _wanted(response, population, s)
            found[below.name] = _awake(probe, population, below, weights, unit, mean, sd)
        own = recurrent(network, population)
        if own is not None and below.name in found:
            above = network.populations[number + 1]
            outgoing = feeding(network, above)
            squares = _response(probe, above, outgoing, weights, unit).squares
            squares *= _density(network, own) / _density(network, outgoing)
            share, (mean, sd) = s.fluctuation_recurrent, found[below.name]
            sd_own = s.fluctuation_std * distance(population) * np.sqrt(share / squares) if squares > 0.0 else 0.0
            found |= {below.name: _rounded(mean, sd * np.sqrt(1.0 - share)), own.name: _rounded(0.0, sd_own)}
            weights |= {p.name: _drawn(network, weights, unit, p, *found[p.name]) for p in (below, own)}
    projections = tuple(
        replace(p, mean=found[p.name][0], sd=found[p.name][1]) if p.name in found else p for p in network.projections
    )
    return replace(network, projections=projections)


def _density(network: Network, p: Projection) -> float:
    """Which share of a projection's synapses is there."""
    return float(network.masks[p.name].mean()) if p.name in network.masks else 1.0


def _rounded(mean: float, sd: float) -> tuple[float, float]:
    """To four digits, as they are told: whoever sets them as keys has the same weights."""
    return float(f"{mean:.4g}"), float(f"{sd:.4g}")


def _drawn(network: Network, weights: Weights, unit: Weights, p: Projection, mean: float, sd: float) -> np.ndarray:
    """Initial weights of that mean and standard deviation, as :meth:`Network.initial_weights` draws them."""
    return silenced((mean + sd * unit[p.name]).astype(weights[p.name].dtype), network.masks.get(p.name))


def _response(probe: Probe, population: Population, p: Projection, weights: Weights, unit: Weights) -> _Response:
    """What arrives at a population through ``p``, all below it as in ``weights``."""
    small = _SMALL * distance(population)
    rest = probe.at_rest(population, weights)

    def potentials(w: np.ndarray) -> list[np.ndarray]:
        other = {**weights, p.name: (small * w).astype(weights[p.name].dtype)}
        return [(v - rest) / small for v in probe.potentials(population, other)]

    there = silenced(np.ones(p.shape), probe.network.masks.get(p.name))
    # Over neurons, whose weights are independent, the mean of the squared potential is sum_j x_j^2 at each time.
    squares = np.concatenate([np.square(v, dtype=np.float64).mean(axis=2) for v in potentials(unit[p.name])])
    total = squares.sum()
    if not total > 0.0:
        return _Response(0.0, 0.0, 0.0)
    sums = np.concatenate([v.mean(axis=2, dtype=np.float64) for v in potentials(there)])
    mean = float((squares * sums).sum() / total)
    return _Response(mean, float((squares * (sums - mean) ** 2).sum() / total), float((squares**2).sum() / total))


def _wanted(response: _Response, population: Population, s: StartSettings) -> tuple[float, float]:
    """Mean and standard deviation of weights; what the mean alone makes fluctuate is part of the wanted variance."""
    wanted, threshold = s.fluctuation_mean, distance(population)
    if population.name == "output":
        wanted = _FIRST_SPIKES if population.model.threshold else 0.0
    mean = wanted * threshold / response.mean if response.mean > 0.0 else 0.0
    square = (s.fluctuation_std * threshold) ** 2
    left = max(square - mean**2 * response.variance, _LEAST**2 * square)
    return mean, float(np.sqrt(left / response.squares))


def _awake(
    probe: Probe, population: Population, p: Projection, weights: Weights, unit: Weights, mean: float, sd: float
) -> tuple[float, float]:
    """``mean`` and ``sd``, scaled until few neurons are silent or spike all the time; ``weights`` have them then."""
    way = 0
    for _ in range(_TRIES):
        mean, sd = _rounded(mean, sd)
        weights[p.name] = _drawn(probe.network, weights, unit, p, mean, sd)
        found = 0 if not population.model.threshold else _misfit(probe, population, weights)
        if found == 0 or way == -found:
            break
        way = found
        mean, sd = mean * _STEP**way, sd * _STEP**way
    return mean, sd


def _misfit(probe: Probe, population: Population, weights: Mapping[str, np.ndarray]) -> int:
    """1 where weights are too small for a population to spike, -1 where it spikes too often."""
    network, activity = probe.network, probe.activity(weights)
    if population.name == "output":
        there = by_layer(network, activity.counts)[-1].any(axis=1)  # samples of which something arrives
        return int(activity.answered < _ANSWERED * there.mean())
    counts = by_layer(network, activity.counts)[[q.name for q in network.hidden].index(population.name)]
    if (counts.sum(axis=0) == 0).mean() > _SILENT:
        return 1
    return -int(counts.mean() > _BUSY * network.num_steps)


def described(network: Network) -> str:
    """Means and standard deviations of initial weights, by the names of their keys."""
    parts = [f"{p.name} {key_of(p)}_MEAN={p.mean:g}, _STD={p.sd:g}" for p in network.projections]
    return "; ".join(parts)
