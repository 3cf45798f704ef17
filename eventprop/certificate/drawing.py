"""Random circuits of any declared neuron, with weights for which every hidden neuron spikes a few times.

Nothing is known of the neuron but its declaration: its time scale follows from its equations where a trial starts, and
the size of its weights from trials with weights of many sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from eventprop.certificate.circuits import INPUT, OUTPUT, RECURRENT, Circuit
from eventprop.certificate.equations import Equations
from eventprop.certificate.expressions import Array
from eventprop.certificate.simulation import Events, Simulation, simulate
from eventprop.declarations import Neuron, Parameter

__all__ = ["SPIKING_OUTPUT", "Scale", "circuits", "drawn", "is_linear", "scale_of"]

INPUTS, HIDDEN, OUTPUTS = 4, 3, 2
FEWEST, MOST = 1, 5
_SPIKES = 3  # of each input
_COARSE = np.geomspace(1e-5, 1e5, 41)
_FINE = np.geomspace(0.5, 8.0, 48)
_SPREAD = {"positive": 0.12, "free": 0.015}

SPIKING_OUTPUT = Neuron(
    name="LIF",
    parameters={
        "tau_mem": Parameter(20.0, above=0.0),
        "tau_syn": Parameter(5.0, above=0.0),
        "v_thresh": Parameter(1.0),
        "v_reset": Parameter(0.0),
    },
    state={"V": "v_reset", "Isyn": "0"},
    dynamics={"V": "(Isyn - V) / tau_mem", "Isyn": "-Isyn / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
)
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


def drawn(parameters: Mapping[str, Parameter], size: int, rng: np.random.Generator) -> dict[str, Array]:
    """(neuron,) values around the defaults, in numbers that float32 can hold; nearer where they may have any sign."""
    found = {}
    for name, p in parameters.items():
        kind = "positive" if p.above is not None or p.least is not None else "free"
        values = p.default * (1.0 + _SPREAD[kind] * rng.uniform(-1.0, 1.0, size))
        found[name] = _float32(np.maximum(values, p.least) if p.least is not None else values)
    return found


def _float32(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _away_from_zero(values: Array, least: float) -> Array:
    return np.where(np.abs(values) < least, np.where(values < 0, -least, least), values)


def circuits(neuron: Neuron, spiking: bool, input_ms: float, seed: int = 0) -> Iterator[Circuit | str]:
    """An endless stream of random circuits, or why one that was drawn is none.

    Args:
        neuron: type of the hidden neurons.
        spiking: whether the outputs spike.
        input_ms: input spikes lie on whole multiples of it, no two at the same time.
    """
    scale = scale_of(neuron)
    for number in range(10**9):
        yield _circuit(neuron, scale, spiking, input_ms, np.random.default_rng((seed, number, spiking)))


def _circuit(
    neuron: Neuron, scale: Scale, spiking: bool, input_ms: float, rng: np.random.Generator
) -> Circuit | str:
    trial = scale.trial_ms
    moments = np.arange(1, int(0.65 * trial / input_ms)) * input_ms
    times = np.sort(rng.choice(moments, INPUTS * _SPIKES, replace=False))
    sources = rng.permutation(np.repeat(np.arange(INPUTS), _SPIKES))
    events = Events(times[None], sources[None])
    hidden = drawn(neuron.parameters, HIDDEN, rng)
    pattern = _away_from_zero(rng.normal(1.0, 0.5, (INPUTS, HIDDEN)), 0.15)
    size = _fitting_size(neuron, hidden, pattern, events, trial, (2, 4), rng)
    if size is None:
        return "no size of its weights makes a neuron spike a few times"
    between = _away_from_zero(rng.normal(0.0, 0.35, (HIDDEN, HIDDEN)), 0.1)
    weights = {INPUT: _float32(pattern * size), RECURRENT: _float32(between * size)}
    parameters = {n: p[None] for n, p in hidden.items()}
    found = simulate(neuron, parameters, weights[INPUT][None], weights[RECURRENT][None], events, trial)
    counts = found.counts[0]
    if not found.finished[0] or counts.min() < FEWEST or counts.max() > MOST:
        return "with recurrent weights a neuron spikes too little or too much"
    output = SPIKING_OUTPUT if spiking else None
    read_out = drawn(SPIKING_OUTPUT.parameters, OUTPUTS, rng)
    if not spiking:
        del read_out["v_thresh"]
    weights[OUTPUT] = _float32(_away_from_zero(rng.normal(0.3, 1.5, (HIDDEN, OUTPUTS)), 0.2))
    if output is not None:
        pattern = rng.uniform(0.5, 1.5, (HIDDEN, OUTPUTS))
        size = _fitting_size(output, read_out, pattern, found.spikes, trial, (1, 2), rng)
        if size is None:
            return "no size of its weights makes an output spike"
        weights[OUTPUT] = _float32(pattern * size)
    label = int(rng.integers(OUTPUTS))
    return Circuit(neuron, hidden, weights, output, read_out, times, sources, label, trial)


def _fitting_size(
    neuron: Neuron,
    parameters: Mapping[str, Array],
    pattern: Array,
    events: Events,
    trial: float,
    wanted: tuple[int, int],
    rng: np.random.Generator,
) -> Array | None:
    """(neuron,) factors on a pattern of weights for which each neuron spikes that often, without its neighbours."""
    least = np.ones(pattern.shape[1])
    for factors in (_COARSE, _FINE):
        found = _with_factors(neuron, parameters, pattern * least, factors, events, trial)
        enough = found.counts >= (1 if factors is _COARSE else wanted[0])
        if not enough.any(axis=0).all():
            return None
        if factors is _COARSE:
            least = factors[enough.argmax(axis=0)]
    fits = enough & (found.counts <= wanted[1])
    if not fits.any(axis=0).all():
        return None
    chosen = [_FINE[rng.choice(np.flatnonzero(own))] for own in fits.T]
    return least * np.array(chosen)


def _with_factors(
    neuron: Neuron, parameters: Mapping[str, Array], pattern: Array, factors: Array, events: Events, trial: float
) -> Simulation:
    number = len(factors)
    own = {n: np.broadcast_to(p, (number, *p.shape)) for n, p in parameters.items()}
    weights = factors[:, None, None] * pattern
    return simulate(neuron, own, weights, None, events.broadcast(number), trial, most_spikes=8, tolerance=1e-7)
