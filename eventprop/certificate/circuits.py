"""Small networks of declared neurons, their spikes and their losses in continuous time.

Gradients are taken by groups of numbers: input weights, recurrent weights, output weights, and every parameter of the
hidden neurons by its name. Many copies of a circuit, with other values of a group, are solved at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eventprop.certificate.expressions import Array
from eventprop.certificate.simulation import Events, Simulation, simulate
from eventprop.declarations import Neuron

__all__ = ["INPUT", "OUTPUT", "RECURRENT", "WEIGHTS", "Circuit", "ReadOut", "Values", "hidden_layer", "losses"]
__all__ += ["output_layer"]

INPUT, RECURRENT, OUTPUT = WEIGHTS = ("input weights", "recurrent weights", "output weights")
_RATES = {"sum": 0.0, "sum_weigh_exp": 1.0}
"""Of losses whose score is the mean of exp(-rate t / T) V over a trial of duration T."""

Values = Mapping[str, Array]
"""Copies of groups: ``(copy, ...)``; groups that are not there are the circuit's."""


@dataclass(frozen=True)
class ReadOut:
    """Outputs.

    Attributes:
        neuron: their type; None for leaky integrators, which have tau_mem, tau_syn and v_reset.
        parameters: ``(output,)`` value of each parameter.
        weights: ``(hidden neuron, output)``.
        label: the class.
        loss_parameters: tau_0 and alpha of "first_spike".
    """

    neuron: Neuron | None
    parameters: Mapping[str, Array]
    weights: Array
    label: int
    loss_parameters: Mapping[str, float] = field(default_factory=lambda: {"tau_0": 2.0, "alpha": 0.01})

    @property
    def losses(self) -> tuple[str, ...]:
        """Losses that fit."""
        return tuple(_RATES) if self.neuron is None else ("first_spike",)


@dataclass(frozen=True)
class Circuit:
    """Inputs, one recurrent hidden layer and what may read it, with an input.

    Attributes:
        neuron: type of the hidden neurons.
        hidden: ``(neuron,)`` value of each of its parameters.
        weights: of inputs and between hidden neurons: ``(source, neuron)``.
        read_outs: one after the other, not together.
        times, sources: of the input's spikes (ms), in order of time.
        trial_ms: duration of a trial.
    """

    neuron: Neuron
    hidden: Mapping[str, Array]
    weights: Mapping[str, Array]
    read_outs: tuple[ReadOut, ...]
    times: Array
    sources: NDArray[np.int64]
    trial_ms: float

    @property
    def groups(self) -> dict[str, Array]:
        """What the spikes of hidden neurons depend on."""
        return {**self.weights, **self.hidden}


def hidden_layer(circuit: Circuit, values: Values, number: int = 1, *, traced: bool = False) -> Simulation:
    """Solve copies of the hidden layer."""

    def copies(name: str) -> Array:
        own = circuit.groups[name]
        return values.get(name, np.broadcast_to(own, (number, *own.shape)))

    events = Events(circuit.times[None], circuit.sources[None]).broadcast(number)
    parameters = {name: copies(name) for name in circuit.hidden}
    weights = copies(INPUT), copies(RECURRENT)
    return simulate(circuit.neuron, parameters, *weights, events, circuit.trial_ms, traced=traced)


def output_layer(read_out: ReadOut, spikes: Events, weights: Array, trial_ms: float) -> Simulation:
    """Solve copies of outputs that spike, driven by hidden neurons."""
    assert read_out.neuron is not None
    number = max(len(weights), len(spikes.times))
    parameters = {n: np.broadcast_to(p, (number, *p.shape)) for n, p in read_out.parameters.items()}
    weights = np.broadcast_to(weights, (number, *weights.shape[1:]))
    return simulate(read_out.neuron, parameters, weights, None, spikes.broadcast(number), trial_ms)


def losses(
    read_out: ReadOut, spikes: Events, weights: Array, trial_ms: float, outputs: Simulation | None
) -> dict[str, Array]:
    """By name, the losses of copies, ``(copy,)``.

    Args:
        read_out: the outputs.
        spikes: of the hidden neurons.
        weights: ``(copy, hidden neuron, output)``.
        trial_ms: duration of a trial.
        outputs: what outputs that spike did.
    """
    if outputs is not None:
        return {"first_spike": _first_spike_loss(read_out, outputs, trial_ms)}
    return {
        name: _cross_entropy(_scores(read_out, spikes, weights, trial_ms, rate), read_out.label)
        for name, rate in _RATES.items()
    }


def _first_spike_loss(read_out: ReadOut, outputs: Simulation, trial_ms: float) -> Array:
    """Softmax over minus the first spike times, and what a late label costs."""
    times = np.full(outputs.counts.shape, np.inf)
    spikes = outputs.spikes
    for event in range(spikes.times.shape[1] - 1, -1, -1):
        real = np.flatnonzero(np.isfinite(spikes.times[:, event]))
        times[real, spikes.sources[real, event]] = spikes.times[real, event]
    label, own = read_out.label, read_out.loss_parameters
    score = -np.where(np.isfinite(times), times, trial_ms + 1.0) / own["tau_0"]
    late = np.where(np.isfinite(times[:, label]), times[:, label], trial_ms)
    return _cross_entropy(score, label) + own["alpha"] / (1.01 * trial_ms - late)


def _cross_entropy(score: Array, label: int) -> Array:
    """-log softmax(score)[label]; scores are (copy, output)."""
    shifted = score - score.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[:, label]


def _scores(read_out: ReadOut, spikes: Events, weights: Array, trial_ms: float, rate: float) -> Array:
    """(copy, output) mean of exp(-rate t / T) V over the trial, in closed form: a sum over the spikes that arrive."""
    decay = rate / trial_ms
    tau_mem, tau_syn, start = (read_out.parameters[n] for n in ("tau_mem", "tau_syn", "v_reset"))

    def kept(tau: Array, left: Array | float) -> Array:
        """Integral of exp(-s / tau - decay s) over the time that is left."""
        speed = 1.0 / tau + decay
        return np.asarray(-np.expm1(-left * speed) / speed)

    here = np.isfinite(spikes.times)
    times = np.where(here, spikes.times, trial_ms)[:, :, None]  # (copy, event, 1)
    left = trial_ms - times
    pulse = np.exp(-decay * times) * tau_syn / (tau_mem - tau_syn) * (kept(tau_mem, left) - kept(tau_syn, left))
    number = max(len(weights), len(times))
    weights = np.broadcast_to(weights, (number, *weights.shape[1:]))
    sources = np.broadcast_to(spikes.sources, (number, spikes.sources.shape[1]))
    arriving = np.take_along_axis(weights, sources[:, :, None], axis=1)
    total = (pulse * here[:, :, None] * arriving).sum(axis=1)
    found: Array = (total + start * kept(tau_mem, trial_ms)) / trial_ms
    return found
