"""What the CPU engine gives for a circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventprop import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.certificate.circuits import INPUT, OUTPUT, RECURRENT, Circuit, ReadOut
from eventprop.certificate.drawing import INPUTS
from eventprop.certificate.expressions import Array
from eventprop.data.spikes import SpikeSet
from eventprop.declarations import Neuron
from eventprop.derivation import NeuronModel, derived
from eventprop.description import has_exact_times
from eventprop.network import SPIKE_TIMINGS, Network, Population, Projection

__all__ = ["Found", "model_of", "population", "relative", "run", "spike_set", "timings", "trainable"]

_NAMES = {INPUT: "in_to_hid", RECURRENT: "hid_to_hid0", OUTPUT: "hid_to_out"}
_ENDS = {INPUT: ("input", "hidden0"), RECURRENT: ("hidden0", "hidden0"), OUTPUT: ("hidden0", "output")}
_NO_BOUND = -1e30


@dataclass(frozen=True)
class Found:
    """What an engine found for a circuit.

    Attributes:
        gradients: by group, in its shape.
        counts: ``(neuron,)`` spikes of the hidden neurons.
        heard: outputs that spiked at least once, where outputs spike.
        times, sources: of the hidden neurons' spikes (ms).
        voltages: ``(step, neuron)`` of the hidden neurons at the steps' ends, if they were recorded.
    """

    gradients: dict[str, Array]
    counts: NDArray[np.int64]
    heard: NDArray[np.int64]
    times: Array
    sources: NDArray[np.int64]
    voltages: Array


def model_of(neuron: Neuron) -> NeuronModel:
    """The engine's model of a declared neuron."""
    return derived(neuron)


def timings(neuron: Neuron) -> list[str]:
    """Where in steps the engine can have this neuron's spikes."""
    able = {"exact": has_exact_times(neuron), "substep": not neuron.refractory}
    return [timing for timing in SPIKE_TIMINGS if able.get(timing, True)]


def trainable(neuron: Neuron, timing: str) -> tuple[str, ...]:
    """Parameters by which the engine has a gradient."""
    return tuple(neuron.parameters)


def run(
    circuit: Circuit,
    read_out: ReadOut,
    loss: str,
    dt_ms: float,
    timing: str,
    real: str = "float",
    recorded: bool = False,
) -> Found:
    """The gradient of a circuit's loss.

    Args:
        circuit, read_out: the circuit, and the outputs that it has here.
        loss: its name.
        dt_ms, timing: the step, and where in it spikes are ("grid", "exact").
        real: "float" or "double".
        recorded: whether voltages are kept.
    """
    engine = CpuEngine(_network(circuit, read_out, loss, dt_ms, timing), 1, real)
    engine.set_weights({_NAMES[name]: w for name, w in _weights(circuit, read_out).items()})
    options = {"record": [("hidden0", "V")]} if recorded else {}
    spikes = spike_set(circuit.times, circuit.sources, dt_ms, INPUTS, circuit.trial_ms)
    label = np.array([read_out.label], np.int32)
    counts = engine.run(spikes, np.array([0]), label, learn=True, **options).spike_counts[0]  # type: ignore[arg-type]
    weights = engine.gradients()
    times, sources = engine.spike_times(0, "hidden0")
    heard = np.unique(engine.spikes(0, "output")[1]) if read_out.neuron else np.zeros(0)
    return Found(
        gradients={name: weights[key].astype(float) for name, key in _NAMES.items()}
        | {n: g.astype(float) for n, g in engine.time_constant_gradients()["hidden0"].items()},
        counts=counts.astype(np.int64),
        heard=heard.astype(np.int64),
        times=times.astype(float),
        sources=sources.astype(np.int64),
        voltages=engine.trace("hidden0", "V")[0] if recorded else np.zeros((0, counts.size)),
    )


def _weights(circuit: Circuit, read_out: ReadOut) -> dict[str, Array]:
    return {**circuit.weights, OUTPUT: read_out.weights}


def _network(circuit: Circuit, read_out: ReadOut, loss: str, dt_ms: float, timing: str) -> Network:
    declared = models.LOSSES[loss]
    outputs = model_of(read_out.neuron or models.LI)
    sizes = {name: w.shape for name, w in _weights(circuit, read_out).items()}
    return Network(
        num_input=INPUTS,
        hidden=(population("hidden0", model_of(circuit.neuron), circuit.hidden, trainable(circuit.neuron, timing)),),
        output=population("output", outputs, read_out.parameters, ()),
        projections=tuple(
            Projection(_NAMES[name], *_ENDS[name], (int(shape[0]), int(shape[1])), 0.0, 0.0, trained=True)
            for name, shape in sizes.items()
        ),
        loss=declared,
        regulariser=models.REGULARISERS["none"],
        regulariser_parameters={},
        average_counts=False,
        loss_scale=1.0,
        dt_ms=dt_ms,
        num_steps=round(circuit.trial_ms / dt_ms),
        loss_parameters={name: read_out.loss_parameters[name] for name in declared.parameters},
        spike_timing=timing,
    )


def population(name: str, model: NeuronModel, values: Mapping[str, Array], trained: tuple[str, ...]) -> Population:
    """A population with a value of each parameter for every neuron, and no bound on the denominator of jumps."""
    size = len(next(iter(values.values())))
    parameters = {n: values.get(n, _NO_BOUND) for n in model.parameters}
    return Population(name, size, model, parameters, trained)


def spike_set(times: Array, sources: NDArray[np.int64], dt_ms: float, channels: int, trial_ms: float) -> SpikeSet:
    """The engine's input: an event at time t is in step t / dt - 1, for it arrives one step later."""
    steps = np.rint(times / dt_ms).astype(np.int64) - 1
    order = np.lexsort((sources, steps))
    offsets = np.array([0, steps.size], np.int64)
    columns = steps[order].astype(np.uint16), sources[order].astype(np.uint16)
    return SpikeSet(offsets, *columns, channels, round(trial_ms / dt_ms))


def relative(found: Array, expected: Array) -> float:
    """|found - expected| / |expected|; 0 where both are 0."""
    difference, size = float(np.linalg.norm(found - expected)), float(np.linalg.norm(expected))
    return difference / size if size else (0.0 if difference == 0 else np.inf)
