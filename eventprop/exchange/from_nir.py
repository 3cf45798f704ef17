"""Networks of NIR graphs, run by this program's engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventprop import models
from eventprop.choice import meaning
from eventprop.data.spikes import SpikeSet, from_samples
from eventprop.derivation import derived
from eventprop.exchange import graphs, neurons
from eventprop.exchange.units import SPIKES
from eventprop.network import DELAY, Delay, Network, Population, Projection

__all__ = ["Imported", "Run", "from_nir"]

METHODS = ("exact", "euler")
RESETS = ("value", "subtract")


class Run(NamedTuple):
    """What a sample gave.

    Attributes:
        spikes: times (ms) and neurons of the spikes of each layer that spikes, by the names of the graph's nodes.
        voltages: of every layer, ``(steps, size)``, at the ends of steps.
    """

    spikes: dict[str, tuple[np.ndarray, np.ndarray]]
    voltages: dict[str, np.ndarray]


@dataclass(frozen=True)
class Imported:
    """A network of a NIR graph.

    Attributes:
        network: as the program's engines take it.
        weights: by projection, ``(n_pre, n_post)``, and delays (ms) as ``<projection>.delay``; of a network that this
            program has made, what ``set_weights`` takes.
        time_constants: of neurons, by population and name, ``(size,)``.
        layers: the graph's nodes by population.
        branches: delays (ms) of the input's channels, ``(channels,)`` for each way from it; its channels come so often.
        pulsed: whether the input is a current that is on for whole steps.
    """

    network: Network
    weights: Mapping[str, np.ndarray]
    time_constants: Mapping[str, Mapping[str, np.ndarray]]
    layers: Mapping[str, str]
    branches: tuple[np.ndarray, ...]
    pulsed: bool = False

    @property
    def num_channels(self) -> int:
        """Channels of the input."""
        return self.branches[0].size

    def run(self, X: Sequence[Mapping[str, Any]], num_threads: int | None = None) -> list[Run]:
        """Present samples ``{"x": channel numbers, "t": times in ms}``.

        On the grid a spike takes one step to arrive: one at the time t acts from ``floor(t / dt) + 1`` steps on. An
        input that is on for whole steps is on in step ``floor(t / dt)``.
        """
        from eventprop.backends.cpu.engine import CpuEngine

        spikes = self._input(X)
        engine = CpuEngine(self.network, num_threads)
        engine.set_weights(self.weights)
        engine.set_time_constants(self.time_constants)
        first, dt = int(self.pulsed), self.network.dt_ms
        made = []
        for index in range(len(spikes)):
            engine.run(spikes, np.array([index]), None, record={(q, "V") for q in self.layers})
            found, voltages = {}, {}
            for q in self.network.populations:
                if q.name in self.layers:
                    voltages[self.layers[q.name]] = engine.trace(q.name, "V")[0][first:].copy()
                    if q.model.threshold:
                        t, who = engine.spike_times(0, q.name)
                        found[self.layers[q.name]] = (t - first * dt, who)
            made.append(Run(found, voltages))
        return made

    def _input(self, X: Sequence[Mapping[str, Any]]) -> SpikeSet:
        """Spikes of all copies of the channels, each later by its delay."""
        n, dt = self.num_channels, self.network.dt_ms
        copies = []
        for sample in X:
            x, t = np.asarray(sample["x"]), np.asarray(sample["t"], np.float64)
            if x.size and not 0 <= x.min() <= x.max() < n:
                raise ValueError(f"channels must be from 0 to {n - 1}, got {x.min()} to {x.max()}")
            times = [t + delays[x] for delays in self.branches]
            channels = [x + n * i for i in range(len(self.branches))]
            if self.pulsed:
                channels += [x + n * len(self.branches)]
                times += [t + dt]
            copies.append({"x": np.concatenate(channels), "t": np.concatenate(times) + 1e-6 * dt})
        return from_samples(copies, self.network.num_input, dt, self.network.num_steps * dt)


def from_nir(
    source: str | Path | Any,
    dt_ms: float,
    trial_ms: float,
    spikes: str = "delta",
    method: str = "exact",
    reset: str = "value",
) -> Imported:
    """The network of a NIR graph: a chain of layers of LIF neurons with a current (CubaLIF), each recurrent or not,
    with or without a read-out (CubaLI); or one layer of LIF neurons without a current.

    Args:
        source: a file, or a ``nir.NIRGraph``.
        dt_ms, trial_ms: the step and the duration of a trial.
        spikes: "delta" (Dirac pulses) or "steps" (1 for a step), see :mod:`eventprop.exchange.units`.
        method: "exact" solves the equations that the graph states; "euler" gives what programs compute that take
            Euler's steps, whose spikes are 1 for a step.
        reset: "value" (to v_reset) or "subtract" (by v_threshold - v_reset): on a grid, these differ.

    Raises:
        ValueError: names the node that does not run here and why; or there is no such method; or ``nir`` is missing.
        OSError: as of any file.
    """
    meaning("spikes", spikes, dict.fromkeys(SPIKES))
    meaning("method", method, dict.fromkeys(METHODS))
    meaning("reset", reset, dict.fromkeys(RESETS))
    num_input, layers = graphs.layers(graphs.read(source))
    pulsed = _check(layers)
    made = _Maker(dt_ms, "steps" if method == "euler" else spikes, method == "euler", reset == "subtract", pulsed)
    return made.imported(num_input, layers, round(trial_ms / dt_ms) + int(pulsed))


def _check(layers: Sequence[graphs.Layer]) -> bool:
    """See that layers are of kinds that run together; whether their input is a current."""
    kinds = [layer.kind for layer in layers]
    if "CubaLI" in kinds[:-1]:
        raise ValueError(f"{layers[kinds.index('CubaLI')].name} never spikes, and feeds neurons; here it is the last")
    if kinds == ["CubaLI"]:
        raise ValueError("a graph without neurons that spike does not run here")
    if "LIF" in kinds and (len(layers) > 1 or any(way.source != "input" for way in layers[0].ways)):
        named = layers[kinds.index("LIF")].name
        raise ValueError(
            f"{named} is LIF without a current, and fed by spikes of neurons, each of which would move its potential "
            "at once; such neurons run here where the input alone drives them. With a current (CubaLIF) all of it runs"
        )
    return "LIF" in kinds


class _Maker:
    """How a graph becomes a network."""

    def __init__(self, dt_ms: float, spikes: str, euler: bool, subtract: bool, pulsed: bool) -> None:
        self.dt_ms, self.spikes, self.euler, self.subtract, self.pulsed = dt_ms, spikes, euler, subtract, pulsed

    def imported(self, num_input: int, layers: Sequence[graphs.Layer], num_steps: int) -> Imported:
        read = {layer.name: self._values(layer) for layer in layers}
        spiking = [layer for layer in layers if layer.kind != "CubaLI"]
        own = not self.pulsed and not self.subtract
        own = own and all(neurons.plain(read[layer.name][0], layer in spiking) for layer in layers)
        kind = neurons.PULSED if self.pulsed else models.LIF if own else neurons.GENERAL
        kind = neurons.subtracting(kind) if self.subtract else kind
        hidden = tuple(_population(f"hidden{i}", x, kind, read[x.name][0]) for i, x in enumerate(spiking))
        names = {layer.name: f"hidden{i}" for i, layer in enumerate(spiking)}
        if len(spiking) < len(layers):
            last = layers[-1]
            names[last.name] = "output"
            output = _population("output", last, models.LI if own else neurons.READ_OUT, read[last.name][0])
        else:  # an engine has one; nothing reaches it
            output = Population("output", 1, derived(models.LI), {"tau_mem": 20.0, "tau_syn": 5.0, "v_reset": 0.0})
        projections, arrays, branches = self._projections(layers, names, {n: jump for n, (_, jump) in read.items()})
        if len(spiking) == len(layers):
            arrays["hid_to_out"] = np.zeros((hidden[-1].size, 1))
            projections.append(_projection("hid_to_out", hidden[-1].name, "output", arrays["hid_to_out"], None))
        network = Network(
            num_input=len(branches) * num_input * (2 if self.pulsed else 1),
            hidden=hidden,
            output=output,
            projections=tuple(projections),
            loss=models.LOSSES["sum"],
            regulariser=models.REGULARISERS["none"],
            regulariser_parameters={},
            average_counts=False,
            loss_scale=1.0,
            dt_ms=self.dt_ms,
            num_steps=num_steps,
            spike_timing="substep" if self.pulsed else "grid",
        )
        constants = {q.name: {n: np.asarray(q.parameters[n]) for n in q.time_constants} for q in network.populations}
        return Imported(
            network, network.check_weights(arrays), constants, {v: k for k, v in names.items()}, branches, self.pulsed
        )

    def _values(self, layer: graphs.Layer) -> tuple[neurons.Values, np.ndarray]:
        bias = np.sum([way.bias for way in layer.ways], axis=0)
        values, jump = neurons.values_of(layer.node, bias, self.spikes, self.dt_ms)
        return (
            neurons.by_steps(values, jump, self.dt_ms, layer.name) if self.euler and not self.pulsed else (values, jump)
        )

    def _projections(
        self, layers: Sequence[graphs.Layer], names: Mapping[str, str], jumps: Mapping[str, np.ndarray]
    ) -> tuple[list[Projection], dict[str, np.ndarray], tuple[np.ndarray, ...]]:
        """Projections, their weights and delays, and the delays of the input's ways."""
        made, arrays = [], {}
        branches: tuple[np.ndarray, ...] = ()
        recurrent = any(way.source == layer.name for layer in layers for way in layer.ways)
        for i, layer in enumerate(layers):
            for source in (layers[i - 1].name if i else "input", layer.name):
                if source == layer.name and (layer.kind == "CubaLI" or not recurrent):
                    continue
                name = _name(i, source == layer.name, names[layer.name])
                ways = [way for way in layer.ways if way.source == source]
                scaled = [way.weights * jumps[layer.name] for way in ways]
                if source == "input":
                    branches = tuple(_one_side(way, layer.name) for way in ways)
                    arrays[name] = np.concatenate(scaled + ([-w for w in scaled] if self.pulsed else []))
                    made.append(_projection(name, source, names[layer.name], arrays[name], None))
                    continue
                arrays[name] = np.sum(scaled, axis=0) if ways else np.zeros((layer.size, layer.size))
                delays = _delays(ways, layer.name)
                if delays is not None:
                    arrays[name + DELAY] = delays
                made.append(_projection(name, names[source], names[layer.name], arrays[name], delays))
        return made, arrays, branches


def _name(i: int, recurrent: bool, target: str) -> str:
    """What the program calls a projection to layer ``i``."""
    if recurrent:
        return f"hid_to_hid{i}"
    return "hid_to_out" if target == "output" else f"hid_to_hidfwd{i - 1}" if i else "in_to_hid"


def _projection(name: str, source: str, target: str, weights: np.ndarray, delays: np.ndarray | None) -> Projection:
    most = 0.0 if delays is None else float(delays.max())
    delay = None if delays is None else Delay(0.0, 0.0, None, most, False)
    return Projection(name, source, target, (weights.shape[0], weights.shape[1]), 0.0, 0.0, False, delay)


def _one_side(way: graphs.Way, target: str) -> np.ndarray:
    """Delays of the input's channels on a way."""
    if np.any(way.behind != way.behind[0]):
        raise ValueError(
            f"the input reaches neurons of {target} after delays of their own; delays of channels run here"
        )
    return way.before + way.behind[0]


def _delays(ways: Sequence[graphs.Way], target: str) -> np.ndarray | None:
    """Delays ``(n_pre, n_post)`` of a projection; None where there are none."""
    every = [way.before[:, None] + way.behind for way in ways]
    if not every or not any(np.any(d) for d in every):
        return None
    if len(every) > 1:
        raise ValueError(f"{ways[0].source} reaches {target} on {len(every)} ways with delays; one runs here")
    return every[0]


def _population(name: str, layer: graphs.Layer, neuron: models.Neuron, values: neurons.Values) -> Population:
    model = derived(neuron)
    own: dict[str, float | np.ndarray] = {"min_denominator": -1e30, "v_reset": 0.0, **values}
    one = {
        n: float(v[0]) if np.all(v == np.ravel(v)[0]) else np.asarray(v, np.float32)
        for n, v in ((n, np.ravel(own[n])) for n in model.parameters)
    }
    return Population(name, layer.size, model, one)
