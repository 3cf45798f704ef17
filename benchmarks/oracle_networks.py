"""Random recurrent networks, once for the tests' event-driven oracle and once for the engine, and both's gradients.

Weights and time constants are float32 numbers, so that both work on the same network. Input spikes lie on whole
multiples of ``input_ms``; an event at time t is in the engine's step t / dt - 1, for it arrives one step later.

Gradients are dictionaries of flat arrays by what they belong to, the same names for both: ``PARAMETERS``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.spikes import SpikeSet
from eventprop.derivation import derived
from eventprop.network import TIME_CONSTANTS, Network, Population, Projection
from eventprop.streams import stream

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support import oracle

Array = NDArray[np.float64]
Gradients = dict[str, Array]

NEURONS = ("LIF", "hetLIF", "ALIF")
INPUTS, HIDDEN, OUTPUTS, TRIAL_MS, DELAY_MS = 6, 8, 3, 60.0, 10.0
V_RESET, B_INCR, B_INIT = -0.25, 0.125, 0.0625
LOSS_PARAMETERS = {"tau_0": 2.0, "tau_1": 20.0, "alpha": 0.01, "tau_accumulator": 20.0}
LEAST_DENOMINATOR, LEAST_GAP_MS = 0.2, 1e-3

_PARTS = {
    "hidden weights": ("input weights", "recurrent weights", "feed-forward weights"),
    "hidden time constants": ("hidden tau_mem", "hidden tau_syn", "hidden tau_b"),
    "output time constants": ("output tau_mem", "output tau_syn"),
}
PARAMETERS = (*(name for whole, parts in _PARTS.items() for name in (whole, *parts)), "read-out weights")
"""What gradients are compared for: kinds of weights and time constants, of all layers together, and groups of these."""


@dataclass(frozen=True)
class Family:
    """What random networks have in common.

    Attributes:
        neuron: one of `NEURONS`; only in hetLIF and ALIF do time constants differ between neurons.
        layers: hidden layers, each recurrent.
        copies: delayed copies of the input, each `DELAY_MS` after the one before.
        spiking: whether the outputs spike.
    """

    neuron: str
    layers: int = 1
    copies: int = 0
    spiking: bool = False

    @property
    def losses(self) -> tuple[str, ...]:
        """Losses that fit the outputs."""
        return (
            oracle.SPIKE_LOSSES
            if self.spiking
            else tuple(n for n in oracle.VOLTAGE_LOSSES if n not in oracle.VALUE_LOSSES)
        )


@dataclass(frozen=True)
class Sample:
    """A network with one input, without and with delayed copies, its label and the exact solution."""

    network: oracle.Network
    input_events: oracle.InputEvents
    events: oracle.InputEvents
    label: int
    trajectory: oracle.Trajectory

    @property
    def well_conditioned(self) -> bool:
        """Whether no spike grazes its threshold (`LEAST_DENOMINATOR`, of tau_mem d(V - B)/dt at each spike; the
        threshold is 1) or coincides with another event (`LEAST_GAP_MS`), and the label's output spikes, if outputs do.
        """
        t = self.trajectory
        heard = not self.network.spiking_outputs or len(t.spike_times["output"][self.label]) > 0
        return heard and t.min_denominator >= LEAST_DENOMINATOR and t.min_gap_ms >= LEAST_GAP_MS

    def exact_gradients(self, loss: str) -> Gradients:
        """The oracle's gradient."""
        found = oracle.gradients(self.network, self.events, self.label, loss, LOSS_PARAMETERS)[1]
        return _grouped(
            (_parameter(population, name), value)
            for population, values in found.items()
            for name, value in values.items()
        )


def _parameter(population: str, name: str) -> str:
    """Name in `PARAMETERS` of an oracle layer's parameter."""
    if name == "w":
        return {"hidden0": "input weights", "output": "read-out weights"}.get(population, "feed-forward weights")
    return "recurrent weights" if name == "w_rec" else f"{population.rstrip('0123456789')} {name}"


def _grouped(named: Iterable[tuple[str, NDArray]]) -> Gradients:
    """Flat arrays of the same name one after the other, and the groups of `_PARTS`."""
    pieces: dict[str, list[Array]] = defaultdict(list)
    for name, values in named:
        pieces[name].append(np.ravel(values).astype(np.float64))
    single = {name: np.concatenate(own) for name, own in pieces.items()}
    whole = {g: np.concatenate([single[part] for part in parts if part in single]) for g, parts in _PARTS.items()}
    return single | whole


def _float32(values: Array) -> Array:
    """Rounded to float32, as float64."""
    return values.astype(np.float32).astype(np.float64)


def _time_constants(family: Family, size: int, rng: np.random.Generator) -> dict[str, Any]:
    """20 ms and 5 ms, or (size,) values around them."""
    if family.neuron == "LIF":
        return {"tau_mem": np.full(size, 20.0), "tau_syn": np.full(size, 5.0)}
    return {"tau_mem": _float32(rng.uniform(12, 25, size)), "tau_syn": _float32(rng.uniform(3, 7, size))}


def _hidden_layer(family: Family, number: int, rng: np.random.Generator) -> oracle.Layer:
    sources = HIDDEN if number else INPUTS * (family.copies + 1)
    mean, sd = (1.0, 0.6) if number else (0.4, 0.5) if family.copies else (1.0, 0.8)
    adaptation: dict[str, Any] = {}
    if family.neuron == "ALIF":
        adaptation = {"tau_b": _float32(rng.uniform(30, 50, HIDDEN)), "b_incr": B_INCR, "b_init": B_INIT}
    return oracle.Layer(
        w=_float32(rng.normal(mean, sd, (sources, HIDDEN))),
        w_rec=_float32(rng.normal(0.0, 0.3, (HIDDEN, HIDDEN))),
        v_reset=V_RESET,
        **_time_constants(family, HIDDEN, rng),
        **adaptation,
    )


def _sample(family: Family, input_ms: int, rng: np.random.Generator) -> Sample:
    """A random network; each input fires three times in the first two thirds of the trial."""
    hidden = tuple(_hidden_layer(family, number, rng) for number in range(family.layers))
    output = oracle.Layer(
        w=_float32(rng.normal(0.7 if family.spiking else 0.0, 1.0, (HIDDEN, OUTPUTS))),
        v_thresh=1.0 if family.spiking else np.inf,
        v_reset=V_RESET,
        **_time_constants(family, OUTPUTS, rng),
    )
    network = oracle.Network(hidden, output, TRIAL_MS)
    moments = np.arange(input_ms, 40, input_ms)
    inputs = [(float(t), i) for i in range(INPUTS) for t in rng.choice(moments, 3, replace=False)]
    events = oracle.delayed(inputs, INPUTS, family.copies, DELAY_MS, TRIAL_MS)
    return Sample(network, inputs, events, int(rng.integers(OUTPUTS)), oracle.simulate(network, events))


def samples(family: Family, input_ms: int, seed: int = 0) -> Iterator[Sample]:
    """An endless stream of well-conditioned random networks."""
    rng = stream(seed, repr(family), input_ms)
    while True:
        sample = _sample(family, input_ms, rng)
        if sample.well_conditioned:
            yield sample


class EngineTwin:
    """An engine, in float32 as users run it, that becomes one sample's network after the other.

    Args:
        like: any network of the family.
    """

    def __init__(self, family: Family, like: oracle.Network, loss: str, dt_ms: float, timing: str) -> None:
        self.dt_ms, self.num_steps = dt_ms, round(TRIAL_MS / dt_ms)
        declared = models.LOSSES[loss]
        populations = [_population(name, layer) for name, layer in like.populations.items()]
        network = Network(
            num_input=INPUTS,
            hidden=tuple(populations[:-1]),
            output=populations[-1],
            projections=tuple(_projection(*ends) for ends in _synapses(like)),
            loss=declared,
            regulariser=models.REGULARISERS["none"],
            regulariser_parameters={},
            average_counts=False,
            loss_scale=1.0,
            dt_ms=dt_ms,
            num_steps=self.num_steps,
            loss_parameters={name: LOSS_PARAMETERS[name] for name in declared.parameters},
            copies=family.copies + 1,
            delay_steps=round(DELAY_MS / dt_ms) if family.copies else 0,
            spike_timing=timing,
        )
        self.engine = CpuEngine(network, num_threads=1)

    def gradients(self, sample: Sample) -> tuple[Gradients, bool]:
        """The engine's gradient, and whether it has the exact number of spikes: of every hidden neuron, and of spiking
        outputs whether there are any."""
        engine = self.engine
        engine.set_weights({name: w.astype(np.float32) for name, _, _, w in _synapses(sample.network)})
        engine.set_time_constants(_engine_time_constants(sample.network))
        label = np.array([sample.label], np.int32)
        counts = engine.run(self._spikes(sample), np.array([0]), label, learn=True).spike_counts[0]
        weights = ((_WEIGHT_NAMES[name.rstrip("0123456789")], g) for name, g in engine.gradients().items())
        taus = (
            (_parameter(population, name), g)
            for population, own in engine.time_constant_gradients().items()
            for name, g in own.items()
        )
        return _grouped((*weights, *taus)), self._same_spikes(sample, counts)

    def _spikes(self, sample: Sample) -> SpikeSet:
        stamps = sorted((round(t / self.dt_ms) - 1, channel) for t, channel in sample.input_events)
        steps, channels = np.array(stamps, np.uint16).T.copy()
        return SpikeSet(np.array([0, len(stamps)], np.int64), steps, channels, INPUTS, self.num_steps)

    def _same_spikes(self, sample: Sample, counts: NDArray) -> bool:
        exact = sample.trajectory.spike_counts
        hidden = [n for name, own in exact.items() if name != "output" for n in own]
        if "output" not in exact:
            return np.array_equal(counts, hidden)
        spiking = np.unique(self.engine.spikes(0, "output")[1])
        return np.array_equal(counts, hidden) and np.array_equal(spiking, np.flatnonzero(exact["output"]))


_WEIGHT_NAMES = {
    "in_to_hid": "input weights",
    "hid_to_hid": "recurrent weights",
    "hid_to_hidfwd": "feed-forward weights",
    "hid_to_out": "read-out weights",
}


def _synapses(network: oracle.Network) -> Iterator[tuple[str, str, str, Array]]:
    """Name, source, target and weights of the engine's synapse populations."""
    for i, layer in enumerate(network.hidden):
        name = f"hidden{i}"
        yield (f"hid_to_hidfwd{i - 1}", f"hidden{i - 1}", name, layer.w) if i else ("in_to_hid", "input", name, layer.w)
        if layer.w_rec is not None:
            yield f"hid_to_hid{i}", name, name, layer.w_rec
    yield "hid_to_out", name, "output", network.output.w


def _projection(name: str, source: str, target: str, w: Array) -> Projection:
    return Projection(name, source, target, w.shape, 0.0, 0.0, trained=True)


def _population(name: str, layer: oracle.Layer) -> Population:
    """The population with all time constants trained and no bound on the jump's denominator."""
    spiking = np.isfinite(layer.v_thresh)
    neuron = (models.ALIF if layer.tau_b is not None else models.LIF) if spiking else models.LI
    model = derived(neuron)
    values = {n: getattr(layer, n, -1e30) for n in model.parameters}  # a layer has no min_denominator
    return Population(name, layer.size, model, values, tuple(n for n in model.parameters if n in TIME_CONSTANTS))


def _engine_time_constants(network: oracle.Network) -> dict[str, dict[str, NDArray]]:
    return {
        population: {n: getattr(layer, n) for n in layer.parameters if n in TIME_CONSTANTS}
        for population, layer in network.populations.items()
    }
