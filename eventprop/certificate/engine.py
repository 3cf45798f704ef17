"""What the CPU engine gives for a circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eventprop import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.certificate.circuits import INPUT, OUTPUT, RECURRENT, Circuit, ReadOut
from eventprop.certificate.drawing import INPUTS
from eventprop.certificate.expressions import Array
from eventprop.data.spikes import SpikeSet
from eventprop.declarations import Neuron
from eventprop.derivation import derived
from eventprop.description import has_exact_times
from eventprop.network import SPIKE_TIMINGS, Network, Population, Projection

__all__ = ["Found", "network_of", "population", "relative", "run", "spike_set", "timings"]

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


def timings(neuron: Neuron) -> list[str]:
    """Where in steps the engine can have this neuron's spikes."""
    able = {"exact": has_exact_times(neuron), "substep": not neuron.refractory}
    return [timing for timing in SPIKE_TIMINGS if able.get(timing, True)]


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
        dt_ms, timing: the step, and where in it spikes are, of :data:`eventprop.network.SPIKE_TIMINGS`.
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
    hidden = population("hidden0", circuit.neuron, circuit.hidden, tuple(circuit.neuron.parameters))
    output = population("output", read_out.neuron or models.LI, read_out.parameters, ())
    steps = round(circuit.trial_ms / dt_ms)
    return network_of(hidden, output, loss, dt_ms, steps, read_out.loss_parameters, timing)


def network_of(
    hidden: Population,
    output: Population,
    loss: str,
    dt_ms: float,
    num_steps: int,
    loss_parameters: Mapping[str, float] = MappingProxyType({}),
    timing: str = "grid",
) -> Network:
    """The engine's network of a recurrent hidden layer and outputs, with nothing beside the plain gradient."""
    sizes = {"input": INPUTS, "hidden0": hidden.size, "output": output.size}
    declared = models.LOSSES[loss]
    return Network(
        num_input=INPUTS,
        hidden=(hidden,),
        output=output,
        projections=tuple(
            Projection(_NAMES[group], source, target, (sizes[source], sizes[target]), 0.0, 0.0, trained=True)
            for group, (source, target) in _ENDS.items()
        ),
        loss=declared,
        regulariser=models.REGULARISERS["none"],
        regulariser_parameters={},
        average_counts=False,
        loss_scale=1.0,
        dt_ms=dt_ms,
        num_steps=num_steps,
        loss_parameters={name: loss_parameters[name] for name in declared.parameters},
        spike_timing=timing,
    )


def population(name: str, neuron: Neuron, values: Mapping[str, Array], trained: tuple[str, ...]) -> Population:
    """A population with a value of each parameter for every neuron, and no bound on the denominator of jumps."""
    size, model = len(next(iter(values.values()))), derived(neuron)
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
