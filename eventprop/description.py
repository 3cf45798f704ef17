"""From the settings of a network to its description: which neurons, how many, with which parameters and synapses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from eventprop import models
from eventprop.choice import meaning
from eventprop.network import SPIKE_TIMINGS, TIME_CONSTANTS, Network, Population, Projection
from eventprop.streams import stream

__all__ = ["HIDDEN_NEURONS", "LOSS_SCALES", "OUTPUT_NEURONS", "NetworkSettings", "describe"]

HIDDEN_NEURONS = {"LIF": (models.LIF, False), "hetLIF": (models.LIF, True), "ALIF": (models.ALIF, False)}
"""By ``HIDDEN_NEURON_TYPE``, the model, and whether time constants are drawn for each neuron."""

OUTPUT_NEURONS = {
    "LI": {False: (models.LI, False), True: (models.LIF, False)},
    "hetLI": {False: (models.LI, True)},
    "LIF": {True: (models.LIF, False)},
}
"""As ``HIDDEN_NEURONS``, by ``OUTPUT_NEURON_TYPE`` and whether the loss is one of spikes."""

LOSS_SCALES: dict[str, Callable[[models.Loss, float, float], float]] = {
    "reference": lambda loss, tau_mem, trial: 1.0 / {"": 1.0, "tau_mem": tau_mem, "trial": trial}[loss.reference_scale],
    "true": lambda loss, tau_mem, trial: 1.0,
}
"""By ``LOSS_SCALE``, the factor on a loss's drive, given the loss, ``TAU_MEM`` and ``TRIAL_MS``."""


@dataclass(frozen=True)
class NetworkSettings:
    """What describes a network, under the names of its keys in small letters.

    Attributes:
        values: all that is a number and belongs to neurons, initial weights, regularisers or losses.
    """

    num_hidden: int
    n_hid_layer: int
    recurrent: bool
    n_input_delay: int
    input_delay: float
    dt_ms: float
    trial_ms: float
    spike_timing: str
    hidden_neuron_type: str
    output_neuron_type: str
    loss_type: str
    loss_scale: str
    reg_type: str
    avg_snsum: bool
    model_seed: int
    min_denominator: float
    train_tau: bool
    train_tau_b: bool
    train_tau_output: bool
    train_w: bool
    train_w_output: bool
    values: Mapping[str, float]


def describe(s: NetworkSettings, num_input: int, num_output: int, *, plain: bool = False) -> Network:
    """The network that ``s`` asks for.

    Args:
        plain: without what training adds to the loss's own gradient: regularisation, the bound of the jump's
            denominator and the scale of the read-out's drive; every weight and time constant has its gradient.
    """
    loss = meaning("LOSS_TYPE", s.loss_type, models.LOSSES)
    regulariser = meaning("REG_TYPE", "none" if plain else s.reg_type, models.REGULARISERS)
    copies = s.n_input_delay + 1
    hidden = tuple(_hidden(s, f"hidden{i}", plain) for i in range(s.n_hid_layer))
    return Network(
        num_input=num_input,
        hidden=hidden,
        output=_output(s, loss, num_output, plain),
        projections=_projections(s, num_input * copies, hidden, num_output, plain),
        loss=loss,
        regulariser=regulariser,
        regulariser_parameters={name: s.values[name] for name in regulariser.parameters},
        average_counts=s.avg_snsum and regulariser.name != "none",
        loss_scale=meaning("LOSS_SCALE", "true" if plain else s.loss_scale, LOSS_SCALES)(
            loss, s.values["tau_mem"], s.trial_ms
        ),
        dt_ms=s.dt_ms,
        num_steps=round(s.trial_ms / s.dt_ms),
        loss_parameters={name: s.values[name] for name in loss.parameters},
        copies=copies,
        delay_steps=round(s.input_delay / s.dt_ms) if copies > 1 else 0,
        bounds={} if plain else {name: s.values[key.lower()] for name, key in TIME_CONSTANTS.items()},
        spike_timing=meaning("SPIKE_TIMING", s.spike_timing, SPIKE_TIMINGS),
    )


def _hidden(s: NetworkSettings, name: str, plain: bool) -> Population:
    model, drawn = meaning("HIDDEN_NEURON_TYPE", s.hidden_neuron_type, HIDDEN_NEURONS)
    trained = ["tau_mem", "tau_syn"] if plain or s.train_tau else []
    trained += ["tau_b"] if "tau_b" in model.parameters and (plain or s.train_tau_b) else []
    return _population(s, name, s.num_hidden, model, trained, drawn, plain)


def _output(s: NetworkSettings, loss: models.Loss, size: int, plain: bool) -> Population:
    trained = ["tau_mem", "tau_syn"] if plain or s.train_tau_output else []
    kind = meaning("OUTPUT_NEURON_TYPE", s.output_neuron_type, OUTPUT_NEURONS)
    goes_with = {name: own[loss.spiking] for name, own in OUTPUT_NEURONS.items() if loss.spiking in own}
    model, drawn = kind.get(loss.spiking) or meaning("OUTPUT_NEURON_TYPE", s.output_neuron_type, goes_with)
    return _population(s, "output", size, model, trained, drawn, plain)


def _population(
    s: NetworkSettings,
    name: str,
    size: int,
    model: models.NeuronModel,
    trained: list[str],
    heterogeneous: bool,
    plain: bool,
) -> Population:
    """A population with the parameters of ``s``; drawn, where ``heterogeneous``, from the model seed.

    Heterogeneous time constants follow a gamma distribution of shape 3 around the nominal value (Perez-Nieves et al.
    2021), clipped to between their lower bound and three times that value.
    """
    bound = s.min_denominator if not plain and s.min_denominator > 0 else -1e30
    values: dict[str, float | np.ndarray] = {
        n: bound if n == "min_denominator" else s.values[n] for n in model.parameters
    }
    if heterogeneous:
        for n in ("tau_mem", "tau_syn"):
            nominal, least = s.values[n], s.values[TIME_CONSTANTS[n].lower()]
            drawn = stream(s.model_seed, "time constants", name, n).gamma(3.0, nominal / 3.0, size)
            values[n] = np.clip(drawn, least, max(least, 3.0 * nominal)).astype(np.float32)
    for n in trained:
        values[n] = np.full(size, values[n], dtype=np.float32)
    return Population(name, size, model, values, tuple(n for n in model.parameters if n in trained))


def _projections(
    s: NetworkSettings, num_input: int, hidden: tuple[Population, ...], num_output: int, plain: bool
) -> tuple[Projection, ...]:
    made = []

    def add(name: str, source: str, target: str, shape: tuple[int, int], key: str, trained: bool) -> None:
        mean, sd = s.values[f"{key}_mean"], s.values[f"{key}_std"]
        made.append(Projection(name, source, target, shape, mean, sd, plain or trained))

    add("in_to_hid", "input", "hidden0", (num_input, hidden[0].size), "input_hidden", s.train_w)
    for i, layer in enumerate(hidden):
        n = layer.size
        if i > 0:
            below = hidden[i - 1]
            add(f"hid_to_hidfwd{i - 1}", below.name, layer.name, (below.size, n), "hidden_hiddenfwd", s.train_w)
        if s.recurrent:
            add(f"hid_to_hid{i}", layer.name, layer.name, (n, n), "hidden_hidden", s.train_w)
    add("hid_to_out", hidden[-1].name, "output", (hidden[-1].size, num_output), "hidden_output", s.train_w_output)
    return tuple(made)
