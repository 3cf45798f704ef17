"""What the CPU engine gives for a circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventprop import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.certificate.circuits import INPUT, OUTPUT, RECURRENT, Circuit
from eventprop.certificate.drawing import INPUTS
from eventprop.certificate.expressions import Array
from eventprop.data.spikes import SpikeSet
from eventprop.declarations import Neuron
from eventprop.network import TIME_CONSTANTS, Network, Population, Projection

__all__ = ["Found", "model_of", "run", "trainable"]

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


def model_of(neuron: Neuron) -> models.NeuronModel:
    """The engine's model of a declared neuron."""
    known = {model.name: model for model in (models.LIF, models.ALIF, models.LI)}
    return known[neuron.name]


def trainable(neuron: Neuron) -> tuple[str, ...]:
    """Parameters by which the engine has a gradient."""
    return tuple(name for name in neuron.parameters if name in TIME_CONSTANTS)


def run(
    circuit: Circuit, loss: str, dt_ms: float, timing: str, real: str = "float", recorded: bool = False
) -> Found:
    """The gradient of a circuit's loss.

    Args:
        circuit: the circuit.
        loss: its name.
        dt_ms, timing: the step, and where in it spikes are ("grid", "exact").
        real: "float" or "double".
        recorded: whether voltages are kept.
    """
    engine = CpuEngine(_network(circuit, loss, dt_ms, timing), 1, real)
    engine.set_weights({_NAMES[name]: w for name, w in circuit.weights.items()})
    options = {"record": [("hidden0", circuit.neuron.voltage)]} if recorded else {}
    spikes = _spikes(circuit, dt_ms, engine.network.num_steps)
    label = np.array([circuit.label], np.int32)
    counts = engine.run(spikes, np.array([0]), label, learn=True, **options).spike_counts[0]  # type: ignore[arg-type]
    weights = engine.gradients()
    times, sources = engine.spike_times(0, "hidden0")
    heard = np.unique(engine.spikes(0, "output")[1]) if circuit.output else np.zeros(0)
    return Found(
        gradients={name: weights[key].astype(float) for name, key in _NAMES.items()}
        | {n: g.astype(float) for n, g in engine.time_constant_gradients()["hidden0"].items()},
        counts=counts.astype(np.int64),
        heard=heard.astype(np.int64),
        times=times.astype(float),
        sources=sources.astype(np.int64),
        voltages=engine.trace("hidden0", circuit.neuron.voltage)[0] if recorded else np.zeros((0, counts.size)),
    )


def _network(circuit: Circuit, loss: str, dt_ms: float, timing: str) -> Network:
    declared = models.LOSSES[loss]
    read_out = models.LI if circuit.output is None else model_of(circuit.output)
    sizes = {name: w.shape for name, w in circuit.weights.items()}
    return Network(
        num_input=INPUTS,
        hidden=(population("hidden0", model_of(circuit.neuron), circuit.hidden, trainable(circuit.neuron)),),
        output=population("output", read_out, circuit.read_out, ()),
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
        loss_parameters={name: circuit.loss_parameters[name] for name in declared.parameters},
        spike_timing=timing,
    )


def population(
    name: str, model: models.NeuronModel, values: Mapping[str, Array], trained: tuple[str, ...]
) -> Population:
    """A population with a value of each parameter for every neuron, and no bound on the denominator of jumps."""
    size = len(next(iter(values.values())))
    parameters = {n: values[n] if n in values else _NO_BOUND for n in model.parameters}
    return Population(name, size, model, parameters, trained)


def _spikes(circuit: Circuit, dt_ms: float, num_steps: int) -> SpikeSet:
    """An event at time t is in step t / dt - 1: it arrives one step later."""
    steps = np.rint(circuit.times / dt_ms).astype(np.int64) - 1
    order = np.lexsort((circuit.sources, steps))
    return SpikeSet(
        np.array([0, steps.size], np.int64),
        steps[order].astype(np.uint16),
        circuit.sources[order].astype(np.uint16),
        INPUTS,
        num_steps,
    )
