"""From the settings of a network to its description: which neurons, how many, with which parameters and synapses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventprop import masks, models
from eventprop.choice import meaning
from eventprop.derivation import derived
from eventprop.derivation.losses import complete
from eventprop.heterogeneity import GAMMA, drawn, draws_of
from eventprop.network import (
    LARGEST_PARAMETER,
    SPIKE_TIMINGS,
    TIME_CONSTANTS,
    Delay,
    Network,
    Population,
    Projection,
    of_layer,
)
from eventprop.streams import stream

__all__ = [
    "LOSS_SCALES",
    "OUTPUT_NEURONS",
    "TIMES",
    "NetworkSettings",
    "bounds_of",
    "describe",
    "has_exact_times",
    "hidden_neurons",
    "named_neurons",
    "output_neuron",
    "steps_of",
]

TIMES = ("tau_mem", "tau_syn")

_PREFIXES = {"in_to_hid": "input_hidden", "hid_to_hidfwd": "hidden_hiddenfwd", "hid_to_out": "hidden_output"}

LEAST_POSITIVE = 1e-6
"""Least value of trained parameters that must be above 0 and have no other bound."""


def hidden_neurons() -> dict[str, tuple[models.Neuron, tuple[str, ...]]]:
    """By ``HIDDEN_NEURON_TYPE``, the declaration, and the parameters that are drawn for each neuron."""
    spiking = {name: (neuron, ()) for name, neuron in models.NEURONS.items() if neuron.threshold}
    first = {"LIF": spiking["LIF"], "hetLIF": (models.LIF, TIMES), "ALIF": spiking["ALIF"]}
    return {**first, **spiking}


def named_neurons() -> dict[str, models.Neuron]:
    """Declarations by every name that a neuron goes by in ``p``; "het" ones are drawn from those of the same kind."""
    return {**models.NEURONS, "hetLIF": models.LIF, "hetLI": models.LI}


OUTPUT_NEURONS: dict[str, dict[bool, tuple[models.Neuron, tuple[str, ...]]]] = {
    "LI": {False: (models.LI, ()), True: (models.LIF, ())},
    "hetLI": {False: (models.LI, TIMES)},
    "LIF": {True: (models.LIF, ())},
}
"""As ``hidden_neurons``, by ``OUTPUT_NEURON_TYPE`` and whether the loss is one of spikes."""

LOSS_SCALES: dict[str, Callable[[models.Loss, float, float], float]] = {
    "reference": lambda loss, tau_mem, trial: 1.0 / {"": 1.0, "tau_mem": tau_mem, "trial": trial}[loss.reference_scale],
    "true": lambda loss, tau_mem, trial: 1.0,
}
"""By ``LOSS_SCALE``, the factor on a loss's drive, given the loss, ``TAU_MEM`` and ``TRIAL_MS``."""


@dataclass(frozen=True)
class NetworkSettings:
    """What describes a network, under the names of its keys in small letters.

    Attributes:
        values: all that is a number and belongs to neurons, initial weights, regularisers or losses; of regularisers,
            as of the size, type and recurrence of hidden layers, it may be a list with one for each of these.
    """

    num_hidden: int | Sequence[int]
    n_hid_layer: int
    recurrent: bool | Sequence[bool]
    n_input_delay: int
    input_delay: float
    dt_ms: float
    trial_ms: float
    spike_timing: str
    precision: str
    hidden_neuron_type: str | Sequence[str]
    output_neuron_type: str
    loss_type: str
    loss_window: Sequence[float] | None
    loss_scale: str
    label_smoothing: float
    reg_type: str
    avg_snsum: bool
    model_seed: int
    min_denominator: float
    train_tau: bool
    train_tau_b: bool
    train_tau_output: bool
    train_w: bool
    train_w_output: bool
    train_parameters: Mapping[str, Any]
    heterogeneous: Mapping[str, Any]
    parameter_bounds: Mapping[str, Any]
    train_delays: Sequence[str]
    delay_per: str
    input_hidden_delay_uniform: Sequence[float] | None
    hidden_hidden_delay_uniform: Sequence[float] | None
    hidden_hiddenfwd_delay_uniform: Sequence[float] | None
    hidden_output_delay_uniform: Sequence[float] | None
    values: Mapping[str, Any]


def describe(s: NetworkSettings, num_input: int, num_output: int, *, plain: bool = False) -> Network:
    """The network that ``s`` asks for.

    Args:
        plain: without what training adds to the loss's own gradient: regularisation, smoothed labels, the bound of the
            jump's denominator and the scale of the read-out's drive; every weight and time constant has its gradient.
    """
    loss = complete(meaning("LOSS_TYPE", s.loss_type, models.LOSSES))
    regulariser = meaning("REG_TYPE", "none" if plain else s.reg_type, models.REGULARISERS)
    copies = s.n_input_delay + 1
    kinds = [
        meaning("HIDDEN_NEURON_TYPE", of_layer(s.hidden_neuron_type, i), hidden_neurons()) for i in range(s.n_hid_layer)
    ]
    hidden = tuple(
        population(s, f"hidden{i}", of_layer(s.num_hidden, i), neuron, _trained_times(s, neuron, plain), own, plain)
        for i, (neuron, own) in enumerate(kinds)
    )
    outputs, own = output_neuron(s.output_neuron_type, loss)
    trained = list(TIMES) if plain or s.train_tau_output else []
    output = population(s, "output", num_output, outputs, trained, own, plain)
    projections = _projections(s, num_input * copies, hidden, num_output, plain)
    bounds = _bounds(s, [*zip((neuron for neuron, _ in kinds), hidden, strict=True), (outputs, output)])
    least = {name: s.values[key.lower()] for name, key in TIME_CONSTANTS.items()}
    return Network(
        num_input=num_input,
        hidden=hidden,
        output=output,
        projections=projections,
        loss=loss,
        regulariser=regulariser,
        regulariser_parameters={name: s.values[name] for name in regulariser.parameters},
        average_counts=s.avg_snsum and regulariser.name != "none",
        loss_scale=meaning("LOSS_SCALE", "true" if plain else s.loss_scale, LOSS_SCALES)(
            loss, s.values["tau_mem"], s.trial_ms
        ),
        label_smoothing=0.0 if plain else s.label_smoothing,
        dt_ms=s.dt_ms,
        num_steps=round(s.trial_ms / s.dt_ms),
        window=None if s.loss_window is None else steps_of(s.loss_window, s.dt_ms, s.trial_ms),
        loss_parameters={name: s.values[name] for name in loss.parameters},
        copies=copies,
        delay_steps=round(s.input_delay / s.dt_ms) if copies > 1 else 0,
        bounds={} if plain else {**least, **{name: low for name, (low, _) in bounds.items()}},
        upper_bounds={} if plain else {name: high for name, (_, high) in bounds.items() if high < LARGEST_PARAMETER},
        spike_timing=meaning("SPIKE_TIMING", s.spike_timing, SPIKE_TIMINGS),
        precision=s.precision,
        masks=_masks(s, projections),
    )


def steps_of(window: Sequence[float], dt_ms: float, trial_ms: float) -> tuple[int, int]:
    """The first of the steps that begin in a window of a trial (ms), and the one after the last."""
    first, last = (int(np.ceil(end / dt_ms - 1e-6)) for end in window)
    return first, min(last, round(trial_ms / dt_ms))


def _trained_times(s: NetworkSettings, neuron: models.Neuron, plain: bool) -> list[str]:
    """Time constants of hidden neurons that are trained, besides those of ``TRAIN_PARAMETERS``."""
    trained = list(TIMES) if plain or s.train_tau else []
    trained += ["tau_b"] if plain or s.train_tau_b else []
    return [n for n in trained if n in neuron.parameters]


def output_neuron(kind: str, loss: models.Loss) -> tuple[models.Neuron, tuple[str, ...]]:
    """The declaration of output neurons, and the parameters that are drawn for each."""
    choices = meaning("OUTPUT_NEURON_TYPE", kind, OUTPUT_NEURONS)
    goes_with = {name: own[loss.spiking] for name, own in OUTPUT_NEURONS.items() if loss.spiking in own}
    return choices.get(loss.spiking) or meaning("OUTPUT_NEURON_TYPE", kind, goes_with)


def has_exact_times(neuron: models.Neuron) -> bool:
    """Whether spikes of such neurons may have their exact times."""
    return derived(neuron).exact


def of_population(given: Mapping[str, Any], name: str) -> Any:
    """What a dict by populations says for one: under its own name, or for all hidden layers under "hidden"."""
    return given.get(name, given.get("hidden", ()) if name.startswith("hidden") else ())


def population(
    s: NetworkSettings,
    name: str,
    size: int,
    neuron: models.Neuron,
    trained: Sequence[str],
    heterogeneous: Sequence[str],
    plain: bool,
) -> Population:
    """A population with the parameters of ``s``; those that are drawn for each neuron follow the model seed."""
    model = derived(neuron)
    bound = s.min_denominator if not plain and s.min_denominator > 0 else -1e30
    values: dict[str, float | np.ndarray] = {
        n: bound if n == "min_denominator" else s.values[n] for n in model.parameters
    }
    draws = dict.fromkeys(heterogeneous, GAMMA) | draws_of(of_population(s.heterogeneous, name))
    for n, how in draws.items():
        least, most = bounds_of(s, neuron, n)
        values[n] = drawn(how, s.values[n], least, most, stream(s.model_seed, "time constants", name, n), size)
    chosen = {*trained, *of_population(s.train_parameters, name)}
    for n in chosen:
        values[n] = np.full(size, values[n], dtype=np.float32)
    return Population(name, size, model, values, tuple(n for n in model.parameters if n in chosen))


def bounds_of(s: NetworkSettings, neuron: models.Neuron, name: str) -> tuple[float, float]:
    """Between which values a parameter is drawn and trained: of ``PARAMETER_BOUNDS``, or the key of a time constant's
    least value, or the declaration."""
    if name in s.parameter_bounds:
        least, most = s.parameter_bounds[name]
        return float(least), float(most)
    declared = neuron.parameters[name]
    if name in TIME_CONSTANTS:
        return s.values[TIME_CONSTANTS[name].lower()], LARGEST_PARAMETER
    if declared.above == 0.0:
        return s.dt_ms if declared.unit == "ms" else LEAST_POSITIVE, declared.most or LARGEST_PARAMETER
    least = declared.least if declared.least is not None else declared.above
    return (
        -LARGEST_PARAMETER if least is None else least,
        LARGEST_PARAMETER if declared.most is None else declared.most,
    )


def _bounds(
    s: NetworkSettings, populations: Sequence[tuple[models.Neuron, Population]]
) -> dict[str, tuple[float, float]]:
    """Between which values trained parameters stay, by name: all neurons that have one of a name allow them."""
    found: dict[str, tuple[float, float]] = {}
    for neuron, made in populations:
        for name in made.trained:
            own = bounds_of(s, neuron, name)
            least, most = found.get(name, own)
            found[name] = max(least, own[0]), min(most, own[1])
    return found


def _delay(s: NetworkSettings, key: str, plain: bool) -> Delay | None:
    """The delays of a projection whose keys begin with ``key``; None where it has none."""
    most = s.values[f"{key}_delay_max"]
    if most == 0.0:
        return None
    mean, sd, uniform = s.values[f"{key}_delay_mean"], s.values[f"{key}_delay_std"], getattr(s, f"{key}_delay_uniform")
    between = None if uniform is None else (float(uniform[0]), float(uniform[1]))
    return Delay(mean, sd, between, most, plain or key.upper() in s.train_delays, s.delay_per)


def _masks(s: NetworkSettings, projections: Sequence[Projection]) -> dict[str, np.ndarray]:
    """Which synapses are there, of projections that have each with a probability; they follow the model seed."""
    found = {}
    for p in projections:
        key = f"{_PREFIXES.get(p.name.rstrip('0123456789'), 'hidden_hidden')}_p"
        if key in s.values and (probability := s.values[key]) < 1.0:  # older settings have none
            found[p.name] = masks.drawn(probability, p.shape, stream(s.model_seed, "masks", p.name))
    return found


def _projections(
    s: NetworkSettings, num_input: int, hidden: tuple[Population, ...], num_output: int, plain: bool
) -> tuple[Projection, ...]:
    made = []

    def add(name: str, source: str, target: str, shape: tuple[int, int], key: str, trained: bool) -> None:
        mean, sd = s.values[f"{key}_mean"], s.values[f"{key}_std"]
        made.append(Projection(name, source, target, shape, mean, sd, plain or trained, _delay(s, key, plain)))

    add("in_to_hid", "input", "hidden0", (num_input, hidden[0].size), "input_hidden", s.train_w)
    for i, layer in enumerate(hidden):
        n = layer.size
        if i > 0:
            below = hidden[i - 1]
            add(f"hid_to_hidfwd{i - 1}", below.name, layer.name, (below.size, n), "hidden_hiddenfwd", s.train_w)
        if of_layer(s.recurrent, i):
            add(f"hid_to_hid{i}", layer.name, layer.name, (n, n), "hidden_hidden", s.train_w)
    add("hid_to_out", hidden[-1].name, "output", (hidden[-1].size, num_output), "hidden_output", s.train_w_output)
    return tuple(made)
