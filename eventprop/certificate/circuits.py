"""Small networks of declared neurons, their spikes and their losses in continuous time.

Of a circuit many copies are solved at once, which differ in one group of numbers:

    input weights, recurrent weights, output weights      arrays of weights
    any parameter of the hidden neurons                   by its name
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eventprop.certificate.expressions import Array
from eventprop.certificate.simulation import Events, Simulation, simulate
from eventprop.declarations import Neuron

__all__ = ["INPUT", "LOSSES", "OUTPUT", "RECURRENT", "Circuit", "Values", "first_spike_loss", "hidden_layer"]
__all__ += ["losses", "output_layer"]

INPUT, RECURRENT, OUTPUT = "input weights", "recurrent weights", "output weights"
LOSSES = {"sum": 0.0, "sum_weigh_exp": 1.0}
"""Losses of read-outs that do not spike: the mean over the trial (of duration T) of exp(-rate t / T) V is the score."""

Values = Mapping[str, Array]
"""Copies of groups: ``(copy, ...)``; groups that are not there are the circuit's."""


@dataclass(frozen=True)
class Circuit:
    """Inputs, one recurrent hidden layer and outputs, with an input and its class.

    Attributes:
        neuron: type of the hidden neurons.
        hidden: ``(neuron,)`` value of each of its parameters.
        weights: of the three projections: ``(source, neuron)``.
        output: type of outputs that spike; None for leaky integrators, which have tau_mem, tau_syn and v_reset.
        read_out: ``(output,)`` value of each parameter of the outputs.
        times, sources: of the input's spikes (ms), in order of time.
        label: the class.
        trial_ms: duration of a trial.
        loss_parameters: tau_0 and alpha of "first_spike".
    """

    neuron: Neuron
    hidden: Mapping[str, Array]
    weights: Mapping[str, Array]
    output: Neuron | None
    read_out: Mapping[str, Array]
    times: Array
    sources: NDArray[np.int64]
    label: int
    trial_ms: float
    loss_parameters: Mapping[str, float] = field(default_factory=lambda: {"tau_0": 2.0, "alpha": 0.01})

    @property
    def groups(self) -> dict[str, Array]:
        """Everything that a gradient is taken by."""
        return {**self.weights, **self.hidden}

    @property
    def losses(self) -> tuple[str, ...]:
        """Losses that fit the outputs."""
        return tuple(LOSSES) if self.output is None else ("first_spike",)

    def copies(self, name: str, values: Values, number: int) -> Array:
        """A group's copies."""
        own = self.groups[name]
        return values.get(name, np.broadcast_to(own, (number, *own.shape)))


def hidden_layer(circuit: Circuit, values: Values, number: int = 1, **options: bool | float | int) -> Simulation:
    """Solve copies of the hidden layer."""
    events = Events(circuit.times[None], circuit.sources[None]).broadcast(number)
    parameters = {n: circuit.copies(n, values, number) for n in circuit.hidden}
    weights = [circuit.copies(n, values, number) for n in (INPUT, RECURRENT)]
    return simulate(circuit.neuron, parameters, *weights, events, circuit.trial_ms, **options)  # type: ignore[arg-type]


def output_layer(
    circuit: Circuit, spikes: Events, weights: Array, number: int, **options: bool | float | int
) -> Simulation:
    """Solve copies of outputs that spike, driven by the hidden neurons' spikes."""
    assert circuit.output is not None
    parameters = {n: np.broadcast_to(p, (number, *p.shape)) for n, p in circuit.read_out.items()}
    events = spikes.broadcast(number)
    return simulate(circuit.output, parameters, weights, None, events, circuit.trial_ms, **options)  # type: ignore[arg-type]


def losses(circuit: Circuit, spikes: Events, weights: Array) -> dict[str, Array]:
    """By name, the losses ``(copy,)`` of a circuit whose outputs do not spike.

    Args:
        spikes: of the hidden neurons.
        weights: ``(copy, neuron, output)`` onto the outputs.
    """
    return {
        name: _cross_entropy(_scores(circuit, spikes, weights, rate), circuit.label) for name, rate in LOSSES.items()
    }


def first_spike_loss(circuit: Circuit, found: Simulation) -> Array:
    """Softmax over minus the outputs' first spike times, and what a late label costs; (copy,)."""
    times = np.full(found.counts.shape, np.inf)
    copies = np.arange(len(times))
    for event in range(found.spikes.times.shape[1] - 1, -1, -1):
        real = np.isfinite(found.spikes.times[:, event])
        times[copies[real], found.spikes.sources[real, event]] = found.spikes.times[real, event]
    trial, label = circuit.trial_ms, circuit.label
    tau_0, alpha = circuit.loss_parameters["tau_0"], circuit.loss_parameters["alpha"]
    score = -np.where(np.isfinite(times), times, trial + 1.0) / tau_0
    late = np.where(np.isfinite(times[:, label]), times[:, label], trial)
    return _cross_entropy(score, label) + alpha / (1.01 * trial - late)


def _cross_entropy(score: Array, label: int) -> Array:
    """-log softmax(score)[label]; scores are (copy, output)."""
    shifted = score - score.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[:, label]


def _scores(circuit: Circuit, spikes: Events, weights: Array, rate: float) -> Array:
    """(copy, output) mean of exp(-rate t / T) V over the trial, in closed form: a sum over the spikes that arrive."""
    trial, decay = circuit.trial_ms, rate / circuit.trial_ms
    tau_mem, tau_syn, start = (circuit.read_out[n] for n in ("tau_mem", "tau_syn", "v_reset"))

    def kept(tau: Array, left: Array) -> Array:
        """Integral of exp(-s / tau - decay s) over the time that is left."""
        speed = 1.0 / tau + decay
        return -np.expm1(-left * speed) / speed

    here = np.isfinite(spikes.times)
    times = np.where(here, spikes.times, trial)[:, :, None]  # (copy, event, 1)
    left = trial - times
    pulse = np.exp(-decay * times) * tau_syn / (tau_mem - tau_syn) * (kept(tau_mem, left) - kept(tau_syn, left))
    shape = (max(len(weights), len(times)), *weights.shape[1:])
    sources = np.broadcast_to(spikes.sources, (shape[0], spikes.sources.shape[1]))
    arriving = np.take_along_axis(np.broadcast_to(weights, shape), sources[:, :, None], axis=1)
    return ((pulse * here[:, :, None] * arriving).sum(axis=1) + start * kept(tau_mem, np.float64(trial))) / trial
