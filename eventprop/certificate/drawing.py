"""Random circuits of any declared neuron, with weights for which every hidden neuron spikes a few times.

Nothing is known of the neuron but its declaration: its time scale follows from its equations where a trial starts, and
the size of its weights from trials with weights of many sizes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eventprop import models
from eventprop.certificate.circuits import INPUT, RECURRENT, Circuit, ReadOut
from eventprop.certificate.equations import Equations
from eventprop.certificate.expressions import Array
from eventprop.certificate.simulation import Events, Simulation, simulate
from eventprop.declarations import Neuron, Parameter

__all__ = [
    "SPIKING_OUTPUT",
    "Scale",
    "circuits",
    "drawn",
    "first_size",
    "fitting_size",
    "grazes",
    "is_linear",
    "scale_of",
]

INPUTS, HIDDEN, OUTPUTS = 4, 3, 2
FEWEST, MOST = 1, 5
_SPIKES = 3  # of each input
_COARSE = np.geomspace(1e-4, 1e4, 33)
_FINE = np.geomspace(0.5, 8.0, 48)
_BETWEEN = np.array([1.0, 0.5, 0.25])  # sizes of recurrent weights to try
_MOST_TRIED = 6
_ROUGH = 1e-6  # tolerance of an integration that only counts
_SPREAD_POSITIVE, _SPREAD_FREE, _SPREAD_ZERO = 0.12, 0.015, 0.03
_LEAST_SLOPE, _LEAST_GAP = 1.5, 0.04  # of the distance to the threshold, in a trial and as such

SPIKING_OUTPUT = models.LIF
"""Outputs that spike."""


@dataclass(frozen=True)
class Scale:
    """What a neuron's equations say where a trial starts.

    Attributes:
        fast_ms: its shortest time constant, of voltage and inputs.
        trial_ms: how long a trial should be.
        distance: from there to the threshold, in its own unit.
    """

    fast_ms: float
    trial_ms: float
    distance: float


def _defaults(neuron: Neuron) -> dict[str, Array]:
    return {name: np.full((1, 1), float(p.default)) for name, p in neuron.parameters.items()}


def scale_of(neuron: Neuron) -> Scale:
    """The neuron's scale.

    Raises:
        ValueError: it is above its threshold at the start, or its equations are not finite there.
    """
    equations = Equations(neuron, _defaults(neuron))
    x = equations.start()
    held = np.zeros((1, 1), bool)
    distance = -float(equations.excess(x)[0, 0])
    if not np.isfinite(equations.slope(x, held)).all():
        raise ValueError(f"{neuron.name}: dynamics are not finite at the start of a trial")
    if distance <= 0:
        raise ValueError(f"{neuron.name}: threshold {neuron.threshold!r} is reached at the start of a trial")
    times = []
    for variable in (equations.voltage, *equations.inputs):
        eps = 1e-5 * max(1.0, abs(x[variable, 0, 0]))
        up, down = x.copy(), x.copy()
        up[variable] += eps
        down[variable] -= eps
        rate = (equations.slope(up, held) - equations.slope(down, held))[variable, 0, 0] / (2 * eps)
        times.append(1.0 / max(abs(rate), 1e-2))
    trial = float(np.clip(20.0 * round(3.0 * (times[0] + max(times[1:], default=0.0)) / 20.0), 60.0, 100.0))
    return Scale(min(times), trial, distance)


def is_linear(neuron: Neuron) -> bool:
    """Whether dynamics and threshold are affine in the state, as far as random states show."""
    equations = Equations(neuron, _defaults(neuron))
    rng, start, held = np.random.default_rng(1), equations.start(), np.zeros((1, 1), bool)
    for _ in range(8):
        a, b = (start + rng.normal(0.0, 1.0, start.shape) * (0.2 + 0.2 * np.abs(start)) for _ in range(2))
        for f in (lambda x: equations.slope(x, held), equations.excess):
            middle, mean = f(0.5 * (a + b)), 0.5 * (f(a) + f(b))
            if not np.allclose(middle, mean, rtol=1e-9, atol=1e-9 * (1e-3 + np.abs(mean).max())):
                return False
    return True


def drawn(parameters: Mapping[str, Parameter], size: int, scale: Scale, rng: np.random.Generator) -> dict[str, Array]:
    """(neuron,) values around the defaults, in numbers that float32 can hold: nearer where they may have any sign, and
    off 0 by a part of the distance to the threshold."""
    found = {}
    for name, p in parameters.items():
        bounded = p.above is not None or p.least is not None
        part = _SPREAD_POSITIVE if bounded else _SPREAD_FREE
        width = abs(p.default) * part or (0.0 if bounded else _SPREAD_ZERO * scale.distance)
        found[name] = _float32(p.default + width * rng.uniform(-1.0, 1.0, size))
    return found


def _float32(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _away_from_zero(values: Array, least: float) -> Array:
    return np.where(np.abs(values) < least, np.where(values < 0, -least, least), values)


def grazes(found: Simulation, scale: Scale) -> bool:
    """Whether a spike hangs on too little: the threshold is crossed slowly, or nearly reached."""
    return bool((_margins(found, scale) <= 1.0).any())


def _margins(found: Simulation, scale: Scale) -> Array:
    """(copy, neuron) 1 where a spike is as near to grazing as it may be, more where it is further."""
    slope, gap = _LEAST_SLOPE * scale.distance / scale.trial_ms, _LEAST_GAP * scale.distance
    return np.minimum(found.slowest / slope, -found.nearest / gap)


def circuits(neuron: Neuron, input_ms: float, seed: int = 0) -> Iterator[Circuit | str]:
    """An endless stream of random circuits, or why one that was drawn is none.

    Args:
        neuron: type of the hidden neurons.
        input_ms: input spikes lie on whole multiples of it, no two at the same time.
        seed: what is drawn depends on it.
    """
    scale = scale_of(neuron)
    for number in itertools.count():
        yield _circuit(neuron, scale, input_ms, np.random.default_rng((seed, number)))


def _circuit(neuron: Neuron, scale: Scale, input_ms: float, rng: np.random.Generator) -> Circuit | str:
    trial = scale.trial_ms
    moments = np.arange(1, int(0.65 * trial / input_ms)) * input_ms
    times = np.sort(rng.choice(moments, INPUTS * _SPIKES, replace=False))
    sources = rng.permutation(np.repeat(np.arange(INPUTS), _SPIKES))
    events = Events(times[None], sources[None])
    hidden = drawn(neuron.parameters, HIDDEN, scale, rng)
    pattern = _away_from_zero(rng.normal(1.0, 0.5, (INPUTS, HIDDEN)), 0.15)
    size = fitting_size(neuron, hidden, pattern, events, scale, (2, 4), rng)
    if size is None:
        return "no size of its weights makes a neuron spike a few times without grazing"
    between = _away_from_zero(rng.normal(0.0, 0.3, (HIDDEN, HIDDEN)), 0.1)
    number = len(_BETWEEN)
    choices = _float32(_BETWEEN[:, None, None] * between * size)
    inputs = _float32(pattern * size)
    parameters = {n: np.broadcast_to(p, (number, HIDDEN)) for n, p in hidden.items()}
    matrices = np.broadcast_to(inputs, (number, *inputs.shape)), choices
    found = simulate(neuron, parameters, *matrices, events.broadcast(number), trial, tolerance=_ROUGH)
    fits = found.finished & (found.counts.min(axis=1) >= FEWEST) & (found.counts.max(axis=1) <= MOST)
    fits &= (_margins(found, scale) > 1.0).all(axis=1)
    if not fits.any():
        return "with recurrent weights a neuron grazes its threshold, or spikes too little or too much"
    k = int(fits.argmax())
    weights, spikes = {INPUT: inputs, RECURRENT: choices[k]}, found.some(slice(k, k + 1)).spikes
    read_outs = _integrators(scale, rng), _first_spikes(scale, spikes, rng)
    return Circuit(neuron, hidden, weights, tuple(r for r in read_outs if r), times, sources, trial)


def _integrators(scale: Scale, rng: np.random.Generator) -> ReadOut:
    """Leaky integrators."""
    parameters = drawn(SPIKING_OUTPUT.parameters, OUTPUTS, scale, rng)
    del parameters["v_thresh"]
    weights = _float32(_away_from_zero(rng.normal(0.3, 1.5, (HIDDEN, OUTPUTS)), 0.2))
    return ReadOut(None, parameters, weights, int(rng.integers(OUTPUTS)))


def _first_spikes(scale: Scale, spikes: Events, rng: np.random.Generator) -> ReadOut | None:
    """Outputs that spike once or twice, if they can be made to."""
    own = replace(scale_of(SPIKING_OUTPUT), trial_ms=scale.trial_ms)
    parameters = drawn(SPIKING_OUTPUT.parameters, OUTPUTS, own, rng)
    pattern = rng.uniform(0.5, 1.5, (HIDDEN, OUTPUTS))
    size = fitting_size(SPIKING_OUTPUT, parameters, pattern, spikes, own, (1, 2), rng)
    if size is None:
        return None
    return ReadOut(SPIKING_OUTPUT, parameters, _float32(pattern * size), int(rng.integers(OUTPUTS)))


def fitting_size(
    neuron: Neuron,
    parameters: Mapping[str, Array],
    pattern: Array,
    events: Events,
    scale: Scale,
    wanted: tuple[int, int],
    rng: np.random.Generator,
) -> Array | None:
    """(neuron,) factors on a pattern of weights for which each neuron, without its neighbours, spikes that often and
    hangs on nothing; None if there are none."""
    least = first_size(neuron, parameters, pattern, events, scale)
    if least is None:
        return None
    counts, margins = _with_factors(neuron, parameters, pattern * least, _FINE, events, scale)
    fits = (counts >= wanted[0]) & (counts <= wanted[1]) & (margins > 1.5)
    if not fits.any(axis=0).all():
        return None
    return least * np.array([_FINE[rng.choice(np.flatnonzero(own))] for own in fits.T])


def first_size(
    neuron: Neuron, parameters: Mapping[str, Array], pattern: Array, events: Events, scale: Scale
) -> Array | None:
    """(neuron,) about the smallest factors on a pattern of weights for which each neuron spikes; None if one never
    does."""
    counts = _with_factors(neuron, parameters, pattern, _COARSE, events, scale)[0]
    some = counts > 0
    return _COARSE[some.argmax(axis=0)] if some.any(axis=0).all() else None


def _with_factors(
    neuron: Neuron, parameters: Mapping[str, Array], pattern: Array, factors: Array, events: Events, scale: Scale
) -> tuple[NDArray[np.int64], Array]:
    """(factor, neuron) spikes and margins of neurons that are alone, each a copy of its own: one that spikes without
    end ends no other."""
    number, size = len(factors), pattern.shape[1]
    own = {n: np.tile(p, number)[:, None] for n, p in parameters.items()}
    weights = (factors[:, None, None] * pattern).transpose(0, 2, 1).reshape(number * size, -1, 1)
    few = {"most_spikes": _MOST_TRIED, "tolerance": _ROUGH}
    found = simulate(neuron, own, weights, None, events.broadcast(number * size), scale.trial_ms, **few)  # type: ignore[arg-type]
    return found.counts.reshape(number, size), _margins(found, scale).reshape(number, size)
