"""What is wrong with a network that does not learn, measured: layers that are silent or never still, runs at chance."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from eventprop.backends import Engine
from eventprop.data.spikes import SpikeSet
from eventprop.network import Network, Population, Projection
from eventprop.training.potential import Activity, Probe, Weights, by_layer, distance, feeding, key_of, recurrent

if TYPE_CHECKING:
    from eventprop.training.trainer import Outcome

__all__ = ["diagnose", "is_off", "silent_neurons", "warn_of_chance", "warn_of_silence"]

_MOSTLY = 0.75  # share of a layer's neurons that never spike, from which on it is told
_BUSY, _HALF = 0.25, 0.5  # share of a trial's steps in which so many neurons of a layer spike, likewise
_SAMPLES = 32
_STEP, _TRIES = 1.1, 80  # of the search for a factor
_ENOUGH = 30  # samples of which chance can be told


def silent_neurons(counts: np.ndarray) -> np.ndarray:
    """Neurons without a spike, ``(neurons,)``, of spike counts ``(n, neurons)``."""
    return np.asarray(counts.sum(axis=0) == 0)


def _is_silent(counts: np.ndarray) -> bool:
    return bool(silent_neurons(counts).mean() >= _MOSTLY)


def _is_busy(counts: np.ndarray, steps: int) -> bool:
    return bool((counts.mean(axis=0) > _BUSY * steps).mean() >= _HALF)


def is_off(network: Network, activity: Activity) -> bool:
    """Whether a layer is silent, or spikes all the time; outputs that spike are one."""
    layers = by_layer(network, activity.counts)
    return activity.counts.size > 0 and (
        any(_is_silent(counts) or _is_busy(counts, network.num_steps) for counts in layers)
        or _is_mute(network, activity)
    )


def _is_mute(network: Network, activity: Activity) -> bool:
    return network.loss.spiking and activity.answered <= 1.0 - _MOSTLY


def diagnose(engine: Engine, spikes: SpikeSet, samples: np.ndarray) -> str:
    """The first layer from below that is silent or spikes all the time, and the factor on its weights that helps.

    Both are measured with some samples, without dropout and noise; the engine keeps its weights.

    Args:
        samples: numbers into ``spikes``, the first 32 of which are presented.

    Returns:
        A line for people; "" where nothing is wrong.
    """
    samples = samples[:_SAMPLES]
    if not samples.size:
        return ""
    probe, network = Probe(engine, spikes, samples, samples.size), engine.network
    try:
        activity = probe.activity()
    except ArithmeticError:  # spikes without end, which training says itself, with the batch
        return ""
    if not is_off(network, activity):
        return ""
    weights = engine.weights()
    try:
        for number, layer in enumerate(network.hidden):
            of_layer = by_layer(network, activity.counts)[number]
            if _is_silent(of_layer):
                return _of_silent(probe, layer, number, of_layer, weights)
            if _is_busy(of_layer, network.num_steps):
                return _of_busy(probe, layer, number, of_layer, weights)
        return _of_mute(probe, activity, weights)
    finally:
        engine.set_weights(weights)


def _of_mute(probe: Probe, activity: Activity, weights: Weights) -> str:
    output, n = probe.network.output, len(activity.counts)
    line = f"output: none of its neurons spiked in {round(n * (1.0 - activity.answered))} of {n} samples"

    def wakes(activity: Activity) -> bool:
        return activity.answered >= _HALF

    return line + _woken_by(probe, output, np.ones(output.size, bool), weights, wakes)


def _of_silent(probe: Probe, layer: Population, number: int, counts: np.ndarray, weights: Weights) -> str:
    silent = silent_neurons(counts)
    line = f"{layer.name}: {silent.sum()} of {layer.size} neurons never spiked in {len(counts)} samples"

    def wakes(activity: Activity) -> bool:
        return bool(silent_neurons(by_layer(probe.network, activity.counts)[number]).mean() <= _HALF)

    return line + _woken_by(probe, layer, silent, weights, wakes)


def _woken_by(
    probe: Probe, layer: Population, silent: np.ndarray, weights: Weights, wakes: Callable[[Activity], bool]
) -> str:
    """How far silent neurons are from their threshold, and which factor wakes half of them."""
    below = feeding(probe.network, layer)
    reached = _reached(probe, layer, silent, weights) if probe.network.spike_timing != "exact" else None
    if reached is not None and reached <= 0.0:
        return f"; nothing excites them: a larger {key_of(below)}_MEAN, or input, is missing"
    told = "" if reached is None else f"; their potential reached {reached:.2g} of the threshold"
    factor = _factor(probe, (below,), weights, _STEP, wakes, 1.0 / reached if reached and reached < 1.0 else 1.0)
    if factor is None:
        return f"{told}; no factor on {_both(below)} wakes half of them"
    return f"{told}; multiply {_both(below)} by about {factor:.2g}"


def _of_busy(probe: Probe, layer: Population, number: int, counts: np.ndarray, weights: Weights) -> str:
    network = probe.network
    busy = counts.mean(axis=0) > _BUSY * network.num_steps
    line = (
        f"{layer.name}: {busy.sum()} of {layer.size} neurons spiked in more than a quarter of all steps "
        f"({counts.mean():.3g} spikes in a trial of {network.num_steps} steps)"
    )
    onto = [p for p in (feeding(network, layer), recurrent(network, layer)) if p is not None]

    def calms(activity: Activity) -> bool:
        return not _is_busy(by_layer(network, activity.counts)[number], network.num_steps)

    factor, keys = _factor(probe, tuple(onto), weights, 1.0 / _STEP, calms), " and ".join(map(_both, onto))
    return f"{line}; divide {keys} by about {1.0 / factor:.2g}" if factor else f"{line}; no factor on {keys} calms them"


def _both(p: Projection) -> str:
    return f"{key_of(p)}_MEAN and _STD"


def _reached(probe: Probe, layer: Population, silent: np.ndarray, weights: Weights) -> float:
    """The highest potential of silent neurons, in units of the distance of the threshold from rest."""
    rest = probe.at_rest(layer, weights)[0].mean()
    highest = max(float(v[:, :, silent].max()) for v in probe.potentials(layer, weights))
    return (highest - float(rest)) / distance(layer)


def _factor(
    probe: Probe,
    onto: tuple[Projection, ...],
    weights: Weights,
    step: float,
    helps: Callable[[Activity], bool],
    factor: float = 1.0,
) -> float | None:
    """The first of ``factor`` times powers of ``step`` on some weights that helps; None where none does."""
    for _ in range(_TRIES):
        scaled = {p.name: (weights[p.name] * factor).astype(weights[p.name].dtype) for p in onto}
        with suppress(ArithmeticError):  # spikes without end
            if helps(probe.activity({**weights, **scaled})):
                return factor
        factor *= step
    return None


def warn_of_silence(network: Network, outcome: Outcome, what: str, why: str = "") -> None:
    """Say where a whole layer never spiked, or no output where first spikes decide: nothing reaches what comes then.

    Args:
        what: what the samples were for.
        why: what :func:`diagnose` found.
    """
    n = len(outcome.labels)
    for layer, silent in zip(network.hidden, by_layer(network, silent_neurons(outcome.spike_counts)), strict=True):
        if silent.all() and n:
            advice = (
                f"larger {_both(feeding(network, layer))}, a lower V_THRESH, or REG_TYPE with LBD_LOWER may wake them"
            )
            measured = why.partition("; ")[2] if why.startswith(f"{layer.name}: ") else ""
            warnings.warn(
                f"none of the {layer.size} neurons of {layer.name} spiked in {what} ({n} samples), so nothing but "
                f'chance is left: {measured or advice}; WEIGHT_INIT="fluctuation" scales weights from the data',
                stacklevel=2,
            )
    if network.loss.spiking and n and (outcome.predictions < 0).all():
        warnings.warn(
            f"no output neuron spiked in {what} ({n} samples), so no sample has a class: "
            + (why.partition("; ")[2] if why.startswith("output: ") else "larger HIDDEN_OUTPUT_MEAN or _STD may help"),
            stacklevel=2,
        )


def warn_of_chance(outcome: Outcome | None, trained: float, labels: np.ndarray, evaluated: str) -> None:
    """Say that a run ended where it would be without having learned: at the share of the most frequent class, within
    two standard deviations.

    Args:
        outcome: the last evaluation; None where there was none.
        trained: accuracy in training, and ``labels`` of its samples, which count then.
        evaluated: what the evaluation is called.
    """
    accuracy, what = (trained, "training") if outcome is None else (outcome.mean, evaluated)
    labels = labels if outcome is None else outcome.labels
    if labels.ndim > 1 or labels.size < _ENOUGH or np.unique(labels).size < 2 or not np.isfinite(accuracy):
        return
    chance = float(np.unique(labels, return_counts=True)[1].max() / labels.size)
    if accuracy <= chance + 2.0 * np.sqrt(chance * (1.0 - chance) / labels.size):
        warnings.warn(
            f"{what} accuracy is {accuracy:.1%} of {labels.size} samples, no better than chance ({chance:.1%}, the "
            "share of the most frequent class): silent_neurons in the results file, WEIGHT_INIT, ETA and N_EPOCH are "
            "where to look first",
            stacklevel=2,
        )
