"""Gradients of a circuit's losses by central differences of fourth order, with an estimate of their own error.

Steps are chosen so that no spike moves by more than a small part of the neuron's time scale, whatever is varied.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from eventprop.certificate.circuits import OUTPUT, WEIGHTS, Circuit, ReadOut, Values, hidden_layer, losses, output_layer
from eventprop.certificate.drawing import Scale, grazes
from eventprop.certificate.expressions import Array
from eventprop.certificate.simulation import Events, Simulation

__all__ = ["LARGEST_ERROR", "MOST_SENSITIVE", "Differences", "IllConditioned", "differentiate"]

LARGEST_ERROR = 1e-6
"""Of a gradient's own error, relative, as two sizes of steps show it."""

MOST_SENSITIVE = 2.0
"""How far a spike may move with the logarithm of a weight, in trials: a soft threshold grazes far from its peak."""

_MOVE = 1e-3  # of the time scale: how far a spike moves
_TRIAL_STEP = 1e-6
_POINTS = np.array([1.0, -1.0, 2.0, -2.0, 4.0, -4.0])
_Place = tuple[str, tuple[int, ...]]


class IllConditioned(Exception):
    """Differences are not the gradient: a spike comes or goes, or hangs on too little."""


@dataclass(frozen=True)
class Differences:
    """Gradients of a circuit.

    Attributes:
        hidden: what its hidden neurons did.
        gradients: by loss and group, in the shape of the group.
        errors: by loss, the largest relative error of a group's gradient.
        outputs: by loss, what outputs that spike did.
        refused: why there is none, by loss.
    """

    hidden: Simulation
    gradients: dict[str, dict[str, Array]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, Simulation] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def differentiate(circuit: Circuit, scale: Scale) -> Differences:
    """Gradients by all weights and by every parameter of every hidden neuron.

    Raises:
        IllConditioned: says why the circuit has no gradient that differences would find.
    """
    places = [(name, index) for name, values in circuit.groups.items() for index in np.ndindex(values.shape)]
    base, steps = _steps(circuit, places, scale)
    moved = hidden_layer(circuit, _varied(circuit, places, steps[:, None] * _POINTS), len(steps) * len(_POINTS))
    _same_order(base, moved)
    found = Differences(base)
    for read_out in circuit.read_outs:
        try:
            _add(found, circuit, read_out, scale, (places, steps, moved.spikes))
        except IllConditioned as error:
            found.refused.update(dict.fromkeys(read_out.losses, str(error)))
    return found


def _steps(circuit: Circuit, places: list[_Place], scale: Scale) -> tuple[Simulation, Array]:
    """The circuit itself, and steps ``(place,)`` that move spikes by a small part of the time scale."""
    values = np.array([abs(circuit.groups[name][index]) for name, index in places])
    largest = np.array([np.abs(circuit.groups[name]).max() for name, _ in places])
    size = np.where(values > 0, values, np.where(largest > 0, largest, 1.0))
    trial = _TRIAL_STEP * size
    both = hidden_layer(circuit, _varied(circuit, places, trial[:, None], whole=1), len(places) + 1)
    base, moved = both.some(slice(-1, None)), both.some(slice(-1))
    _same_order(base, moved)
    if grazes(base, scale):
        raise IllConditioned("a spike grazes its threshold")
    times = base.spikes.times
    shift = np.abs(np.where(np.isfinite(times), moved.spikes.times - times, 0.0)).max(axis=1, initial=0.0)
    speed = np.maximum(shift - 1e-11, 0.0) / trial
    of_weights = np.array([name in WEIGHTS for name, _ in places])
    if (speed * values)[of_weights].max() > MOST_SENSITIVE * circuit.trial_ms:
        raise IllConditioned("a spike hangs on its weights: near the point of no return they move it without limit")
    return base, np.minimum(_MOVE * scale.fast_ms / np.maximum(speed, 1e-300), 5e-3 * size)


def _varied(circuit: Circuit, places: list[_Place], changes: Array, whole: int = 0) -> Values:
    """Copies in each of which one number is changed, and at the end some as they are; changes are (place, point)."""
    found: dict[str, Array] = {}
    for number, (name, index) in enumerate(places):
        if name not in found:
            found[name] = np.repeat(circuit.groups[name][None], changes.size + whole, axis=0)
        first = number * changes.shape[1]
        for k, change in enumerate(changes[number]):
            found[name][(first + k, *index)] += change
    return found


def _same_order(base: Simulation, moved: Simulation) -> None:
    """The same neurons spike, in the same order."""
    if not (base.finished.all() and moved.finished.all()):
        raise IllConditioned("a trial has no end: values are not finite, or activity runs away")
    fewer = min(base.spikes.times.shape[1], moved.spikes.times.shape[1])
    same = (moved.spikes.sources[:, :fewer] == base.spikes.sources[:, :fewer]).all()
    if not same or (moved.counts != base.counts).any():
        raise IllConditioned("a spike comes, goes or changes places with another")


def _add(
    found: Differences,
    circuit: Circuit,
    read_out: ReadOut,
    scale: Scale,
    varied: tuple[list[_Place], Array, Events],
) -> None:
    """The gradients of a read-out's losses."""
    places, steps, spikes = varied
    trial, weights, base = circuit.trial_ms, read_out.weights, found.hidden.spikes
    outputs = None if read_out.neuron is None else output_layer(read_out, base, weights[None], trial)
    if outputs is not None and (grazes(outputs, scale) or not outputs.counts[0, read_out.label]):
        raise IllConditioned("an output's spike grazes its threshold, or the label's output has none")
    last = [(OUTPUT, index) for index in np.ndindex(weights.shape)]
    size = np.full(len(last), 2e-4 * np.abs(weights).max())
    copies = np.repeat(weights[None], len(last) * len(_POINTS), axis=0)
    for number, (_, index) in enumerate(last):
        first = number * len(_POINTS)
        for k, point in enumerate(_POINTS):
            copies[(first + k, *index)] += size[number] * point
    by_hidden = _values(read_out, spikes, weights[None], trial, outputs)
    by_output = _values(read_out, base, copies, trial, outputs)
    for loss in read_out.losses:
        gradients = {name: np.zeros(v.shape) for name, v in circuit.groups.items()} | {OUTPUT: np.zeros(weights.shape)}
        errors = {name: np.zeros(g.shape) for name, g in gradients.items()}
        for where, h, values in ((places, steps, by_hidden[loss]), (last, size, by_output[loss])):
            for (name, index), slope, error in zip(where, *_slopes(values, h), strict=True):
                gradients[name][index], errors[name][index] = slope, error
        worst = max(_ratio(errors[name], gradients[name]) for name in gradients)
        if not worst <= LARGEST_ERROR:
            raise IllConditioned(f"differences of {loss} are off by more than {LARGEST_ERROR:g}")
        found.gradients[loss], found.errors[loss] = gradients, worst
        if outputs is not None:
            found.outputs[loss] = outputs


def _ratio(errors: Array, gradient: Array) -> float:
    """Size of errors against that of their gradient; 0 where nothing depends on the group."""
    size = float(np.linalg.norm(gradient))
    return float(np.linalg.norm(errors)) / size if size else 0.0


def _values(
    read_out: ReadOut, spikes: Events, weights: Array, trial_ms: float, outputs: Simulation | None
) -> dict[str, Array]:
    if outputs is None:
        return losses(read_out, spikes, weights, trial_ms, None)
    moved = output_layer(read_out, spikes, weights, trial_ms)
    _same_order(outputs, moved)
    return losses(read_out, spikes, weights, trial_ms, moved)


def _slopes(values: Array, steps: Array) -> tuple[Array, Array]:
    """Derivatives and sizes of their errors, from values at h, -h, 2h, -2h, 4h and -4h."""
    v = values.reshape(-1, len(_POINTS))
    first, second, fourth = ((v[:, i] - v[:, i + 1]) / (s * steps) for i, s in ((0, 2.0), (2, 4.0), (4, 8.0)))
    fine, coarse = (4.0 * first - second) / 3.0, (4.0 * second - fourth) / 3.0
    return fine, np.abs(coarse - fine) / 15.0
