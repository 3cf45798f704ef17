"""The neuron without threshold and reset, as a read-out of the engine in double precision: its loss is a smooth map of
every parameter and weight, and gradients must be its differences to many digits, whatever the step.

What it reads are spikes of LIF neurons, which depend on nothing that is varied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from eventprop import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.certificate.circuits import OUTPUT
from eventprop.certificate.drawing import HIDDEN, INPUTS, OUTPUTS, Scale, drawn, first_size
from eventprop.certificate.engine import network_of, population, relative, spike_set
from eventprop.certificate.expressions import Array, names
from eventprop.certificate.simulation import Events
from eventprop.declarations import Neuron

__all__ = ["smooth_errors"]

_POINTS = (1.0, -1.0, 2.0, -2.0)
_DRIVE = 14.0  # weights that make a LIF neuron spike once or twice at each input


def smooth_errors(neuron: Neuron, scale: Scale, dt_ms: float, number: int, seed: int = 0) -> dict[str, list[float]]:
    """Relative errors of the gradient, by group, for a number of random networks."""
    found: dict[str, list[float]] = {}
    for k in range(number):
        for name, error in _errors(neuron, scale, dt_ms, np.random.default_rng((seed, 7, k))).items():
            found.setdefault(name, []).append(error)
    return found


def without_threshold(neuron: Neuron) -> Neuron:
    """The neuron as a read-out."""
    return replace(neuron, name=f"{neuron.name}_read_out", threshold="", reset={}, refractory="")


def _errors(neuron: Neuron, scale: Scale, dt_ms: float, rng: np.random.Generator) -> dict[str, float]:
    still = without_threshold(neuron)
    used = set().union(*(names(text) for text in (*still.dynamics.values(), *still.state.values())))
    own = drawn(neuron.parameters, OUTPUTS, scale, rng)
    times = np.sort(rng.choice(np.arange(1, int(0.6 * scale.trial_ms)), 3 * INPUTS, replace=False)).astype(float)
    spikes = spike_set(times, rng.permutation(np.repeat(np.arange(INPUTS), 3)), dt_ms, INPUTS, scale.trial_ms)
    trained = tuple(n for n in own if n in used)
    relay = {n: np.full(HIDDEN, p.default) for n, p in models.LIF.parameters.items()}
    populations = population("hidden0", models.LIF, relay, ()), population("output", still, own, trained)
    network = network_of(*populations, "sum_weigh_exp", dt_ms, round(scale.trial_ms / dt_ms))
    engine = CpuEngine(network, 1, "double")
    drive = {"in_to_hid": _DRIVE * np.eye(INPUTS, HIDDEN) + 1.0, "hid_to_hid0": np.zeros((HIDDEN, HIDDEN))}
    pattern = rng.normal(1.0, 0.5, (HIDDEN, OUTPUTS))
    label = np.array([int(rng.integers(OUTPUTS))], np.int32)

    def run(values: dict[str, Array], learn: bool = False) -> float:
        engine.set_weights({**drive, "hid_to_out": values[OUTPUT]})
        taus = engine.time_constants()
        engine.set_time_constants({**taus, "output": {**taus["output"], **{n: values[n] for n in trained}}})
        return float(engine.run(spikes, np.array([0]), label, learn=learn).loss[0])

    values = {OUTPUT: 0.0 * pattern, **{n: own[n] for n in trained}}
    run(values)
    values[OUTPUT] = pattern * _subthreshold_size(neuron, own, pattern, engine, scale)
    run(values, learn=True)
    gradients = {OUTPUT: engine.gradients()["hid_to_out"], **engine.time_constant_gradients()["output"]}
    expected = {name: _differences(run, values, name) for name in values}
    return {name: relative(gradients[name], expected[name]) for name in values}


def _subthreshold_size(neuron: Neuron, own: dict[str, Array], pattern: Array, engine: CpuEngine, scale: Scale) -> Array:
    """(output,) factors on a pattern of weights that leave the neuron below its threshold."""
    times, sources = engine.spike_times(0, "hidden0")
    order = np.argsort(times, kind="stable")
    events = Events(times[order][None].astype(float), sources[order][None].astype(np.int64))
    least = first_size(neuron, own, pattern, events, scale)
    return 0.4 * least if least is not None else np.ones(pattern.shape[1])


def _differences(run: Callable[[dict[str, Array]], float], values: dict[str, Array], name: str) -> Array:
    found = np.zeros(values[name].shape)
    for index in np.ndindex(found.shape):
        size = abs(values[name][index]) or float(np.abs(values[name]).max()) or 1.0
        step = 1e-3 * size
        changed = []
        for point in _POINTS:
            moved = values[name].copy()
            moved[index] += point * step
            changed.append(run({**values, name: moved}))
        found[index] = (8.0 * (changed[0] - changed[1]) - (changed[2] - changed[3])) / (12.0 * step)
    return found
