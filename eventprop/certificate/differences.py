"""Gradients of a circuit's loss by central differences of fourth order, with an estimate of their own error.

Steps are chosen so that no spike moves by more than a small part of the neuron's time scale, whatever is varied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eventprop.certificate.circuits import OUTPUT, Circuit, Values, first_spike_loss, hidden_layer, losses, output_layer
from eventprop.certificate.expressions import Array
from eventprop.certificate.simulation import Events, Simulation

__all__ = ["LARGEST_ERROR", "Differences", "IllConditioned", "differentiate"]

LARGEST_ERROR = 1e-6
"""Of a gradient's own error, relative, as two sizes of steps show it."""

_MOVE = 1e-3  # of the time scale: how far a spike moves
_TRIAL_STEP = 1e-6
_POINTS = np.array([1.0, -1.0, 2.0, -2.0, 4.0, -4.0])


class IllConditioned(Exception):
    """Differences are not the gradient: a spike comes or goes, or hangs on too little."""


@dataclass(frozen=True)
class Differences:
    """Gradients of a circuit.

    Attributes:
        gradients: by loss and group, in the shape of the group.
        errors: by loss and group, their own relative error.
        hidden, output: spikes of the hidden neurons and of outputs that spike.
    """

    gradients: dict[str, dict[str, Array]]
    errors: dict[str, dict[str, float]]
    hidden: Simulation
    output: Simulation | None


def differentiate(circuit: Circuit, scale_ms: float) -> Differences:
    """Gradients by all weights and by every parameter of every hidden neuron.

    Args:
        circuit: the circuit.
        scale_ms: its neurons' time scale.

    Raises:
        IllConditioned: says why the circuit has no gradient that differences would find.
    """
    base = hidden_layer(circuit, {})
    outputs = None if circuit.output is None else output_layer(circuit, base.spikes, circuit.weights[OUTPUT][None], 1)
    elements = [(name, index) for name, values in circuit.groups.items() if name != OUTPUT for index in np.ndindex(values.shape)]
    steps = _steps(circuit, elements, base, scale_ms)
    moved = hidden_layer(circuit, _varied(circuit, elements, steps[:, None] * _POINTS), len(steps) * len(_POINTS))
    _same_order(base, moved)
    by_hidden = _losses(circuit, moved.spikes, circuit.weights[OUTPUT][None], outputs)
    last = list(np.ndindex(circuit.weights[OUTPUT].shape))
    size = 1e-3 * np.abs(circuit.weights[OUTPUT]).max()
    varied = _varied(circuit, [(OUTPUT, index) for index in last], size * np.tile(_POINTS, (len(last), 1)))[OUTPUT]
    by_output = _losses(circuit, base.spikes, varied, outputs)
    gradients: dict[str, dict[str, Array]] = {}
    errors: dict[str, dict[str, float]] = {}
    for loss in circuit.losses:
        parts = list(zip(elements, _slopes(by_hidden[loss], steps), strict=True))
        parts += [((OUTPUT, i), pair) for i, pair in zip(last, _slopes(by_output[loss], np.full(len(last), size)), strict=True)]
        gradients[loss], errors[loss] = _collected(circuit, parts)
    worst = max((e, f"{loss} by {name}") for loss, own in errors.items() for name, e in own.items())
    if not worst[0] <= LARGEST_ERROR:
        raise IllConditioned(f"differences of {worst[1]} are off by {worst[0]:.1e}")
    return Differences(gradients, errors, base, outputs)


def _steps(circuit: Circuit, elements: list[tuple[str, tuple[int, ...]]], base: Simulation, scale_ms: float) -> Array:
    """(element,) steps that move spikes by a small part of the time scale."""
    values = np.array([abs(circuit.groups[name][index]) for name, index in elements])
    largest = np.array([np.abs(circuit.groups[name]).max() for name, _ in elements])
    size = np.where(values > 0, values, np.where(largest > 0, largest, 1.0))
    trial = _TRIAL_STEP * size
    moved = hidden_layer(circuit, _varied(circuit, elements, trial[:, None]), len(elements))
    _same_order(base, moved)
    times = base.spikes.times
    shift = np.abs(np.where(np.isfinite(times), moved.spikes.times - times, 0.0)).max(axis=1, initial=0.0)
    speed = np.maximum(shift - 1e-11, 0.0) / trial
    return np.minimum(_MOVE * scale_ms / np.maximum(speed, 1e-300), 5e-3 * size)


def _varied(circuit: Circuit, elements: list[tuple[str, tuple[int, ...]]], changes: Array) -> Values:
    """Copies in each of which one element is changed; changes are (element, point)."""
    points = changes.shape[1]
    found: dict[str, Array] = {}
    for number, (name, index) in enumerate(elements):
        if name not in found:
            own = circuit.groups[name]
            found[name] = np.repeat(own[None], changes.size, axis=0)
        place = slice(number * points, (number + 1) * points)
        found[name][(place, *index)] += changes[number]
    return found


def _same_order(base: Simulation, moved: Simulation) -> None:
    """The same neurons spike, in the same order."""
    same = moved.spikes.sources.shape == (len(moved.counts), base.spikes.sources.shape[1])
    if not (base.finished.all() and moved.finished.all()):
        raise IllConditioned("a trial has no end: values are not finite, or activity runs away")
    if not same or (moved.counts != base.counts).any() or (moved.spikes.sources != base.spikes.sources).any():
        raise IllConditioned("a spike comes, goes or changes places with another")


def _losses(circuit: Circuit, spikes: Events, weights: Array, outputs: Simulation | None) -> dict[str, Array]:
    number = max(len(spikes.times), len(weights))
    if outputs is None:
        return losses(circuit, spikes, weights)
    found = output_layer(circuit, spikes, np.broadcast_to(weights, (number, *weights.shape[1:])), number)
    _same_order(outputs, found)
    return {"first_spike": first_spike_loss(circuit, found)}


def _slopes(values: Array, steps: Array) -> Iterator[tuple[float, float]]:
    """Derivative and the size of its error, from values at h, -h, 2h, -2h, 4h and -4h."""
    v = values.reshape(-1, len(_POINTS))
    first, second, fourth = ((v[:, i] - v[:, i + 1]) / (s * steps) for i, s in ((0, 2.0), (2, 4.0), (4, 8.0)))
    fine, coarse = (4.0 * first - second) / 3.0, (4.0 * second - fourth) / 3.0
    return zip(fine, np.abs(coarse - fine) / 15.0, strict=True)


def _collected(
    circuit: Circuit, parts: list[tuple[tuple[str, tuple[int, ...]], tuple[float, float]]]
) -> tuple[dict[str, Array], dict[str, float]]:
    gradients = {name: np.zeros(values.shape) for name, values in circuit.groups.items()}
    errors = {name: np.zeros(values.shape) for name, values in circuit.groups.items()}
    for (name, index), (slope, error) in parts:
        gradients[name][index], errors[name][index] = slope, error
    norms = {name: float(np.linalg.norm(g)) for name, g in gradients.items()}
    return gradients, {n: float(np.linalg.norm(e)) / norms[n] if norms[n] else 0.0 for n, e in errors.items()}
