"""What a network consists of: populations, projections, loss and regulariser, without saying who computes it.

Populations are named ``input``, ``hidden0``, ``hidden1``, ..., ``output``; synapse populations ``in_to_hid``,
``hid_to_hid0``, ... (recurrent, all-to-all, self connections included), ``hid_to_hidfwd0``, ... (from hidden layer 0
to 1, ...) and ``hid_to_out``. Weights are ``(n_pre, n_post)`` arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eventprop import models
from eventprop.choice import meaning
from eventprop.streams import stream

__all__ = [
    "HIDDEN_NEURONS",
    "LOSS_SCALES",
    "OUTPUT_NEURONS",
    "SPIKE_TIMINGS",
    "TIME_CONSTANTS",
    "Network",
    "Population",
    "Projection",
    "Randomness",
    "adam_parameters",
    "describe",
]

TIME_CONSTANTS = {"tau_mem": "MIN_TAU_M", "tau_syn": "MIN_TAU_SYN", "tau_b": "MIN_TAU_B"}
"""Time constants of neurons, with the key of the lower bound that holds where they are trained."""


HIDDEN_NEURONS = {"LIF": (models.LIF, False), "hetLIF": (models.LIF, True), "ALIF": (models.ALIF, False)}
"""By ``HIDDEN_NEURON_TYPE``, the model, and whether time constants are drawn for each neuron."""

OUTPUT_NEURONS = {
    "LI": {False: (models.LI, False), True: (models.LIF, False)},
    "hetLI": {False: (models.LI, True)},
    "LIF": {True: (models.LIF, False)},
}
"""As ``HIDDEN_NEURONS``, by ``OUTPUT_NEURON_TYPE`` and whether the loss is one of spikes."""

LOSS_SCALES: dict[str, Callable[[models.Loss, Mapping[str, Any]], float]] = {
    "reference": lambda loss, p: 1.0 / {"": 1.0, "tau_mem": p["TAU_MEM"], "trial": p["TRIAL_MS"]}[loss.reference_scale],
    "true": lambda loss, p: 1.0,
}
"""By ``LOSS_SCALE``, the factor on a loss's drive, given the loss and ``p``."""

SPIKE_TIMINGS = {"grid": "grid", "exact": "exact"}
"""By ``SPIKE_TIMING``, what engines call it."""


@dataclass(frozen=True)
class Population:
    """A group of neurons of one type.

    Attributes:
        parameters: value of each of the model's parameters: one for all neurons, or an array ``(size,)``.
        trained: parameters that are trained; these are arrays.
    """

    name: str
    size: int
    model: models.NeuronModel
    parameters: Mapping[str, float | np.ndarray]
    trained: tuple[str, ...] = ()

    @property
    def per_neuron(self) -> tuple[str, ...]:
        """Parameters that have a value for each neuron."""
        return tuple(n for n in self.model.parameters if np.ndim(self.parameters[n]))

    @property
    def time_constants(self) -> dict[str, np.ndarray]:
        """Value of every time constant for each neuron, float32 ``(size,)``."""
        return {
            n: np.full(self.size, self.parameters[n], dtype=np.float32)
            for n in self.model.parameters
            if n in TIME_CONSTANTS
        }


@dataclass(frozen=True)
class Projection:
    """All-to-all synapses; initial weights are normal with ``mean`` and ``sd``."""

    name: str
    source: str
    target: str
    shape: tuple[int, int]
    mean: float
    sd: float
    trained: bool


@dataclass(frozen=True)
class Randomness:
    """What is random in a training batch; the seeds name the streams of this epoch.

    Attributes:
        input_dropout: probability with which an input spike is deleted.
        hidden_dropout: probability with which a hidden neuron that reaches its threshold is reset without a spike.
        noise: standard deviation of the membrane noise of hidden neurons after 1 ms, in 1/sqrt(ms).
    """

    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    noise: float = 0.0
    input_seed: int = 0
    hidden_seed: int = 0
    noise_seed: int = 0


@dataclass(frozen=True)
class Network:
    """Description of a network that a backend can build.

    Attributes:
        num_input: input channels; the first projection has a row for each of them and each of their delayed copies.
        hidden: hidden populations, from the input to the output; of one type, in parameters and size free.
        output: the read-out.
        projections: feed-forward and recurrent synapse populations.
        loss, regulariser: declarations from :mod:`models`.
        loss_parameters, regulariser_parameters: value of each of their parameters.
        average_counts: whether the regulariser sees spike counts averaged over the batch.
        loss_scale: factor on the read-out's drive in training (1: the plain derivative of the loss).
        dt_ms, num_steps: the time step and the steps of a trial.
        copies, delay_steps: the input arrives ``copies`` times, each ``delay_steps`` after the one before.
        bounds: lower bounds of trained parameters, by name.
        spike_timing: "grid" (spikes at the ends of steps) or "exact" (at their times within steps).
    """

    num_input: int
    hidden: tuple[Population, ...]
    output: Population
    projections: tuple[Projection, ...]
    loss: models.Loss
    regulariser: models.Regulariser
    regulariser_parameters: Mapping[str, float]
    average_counts: bool
    loss_scale: float
    dt_ms: float
    num_steps: int
    loss_parameters: Mapping[str, float] = field(default_factory=dict)
    copies: int = 1
    delay_steps: int = 0
    bounds: Mapping[str, float] = field(default_factory=dict)
    spike_timing: str = "grid"

    def __post_init__(self) -> None:
        meaning("SPIKE_TIMING", self.spike_timing, SPIKE_TIMINGS)

    @property
    def populations(self) -> tuple[Population, ...]:
        """Hidden populations and the output."""
        return (*self.hidden, self.output)

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Weights drawn from each projection's normal distribution, float32, ``(n_pre, n_post)``.

        Each projection has its own random stream: adding one does not change the others.
        """
        return {
            p.name: stream(seed, "weights", p.name).normal(p.mean, p.sd, p.shape).astype(np.float32)
            for p in self.projections
        }

    def initial_time_constants(self) -> dict[str, dict[str, np.ndarray]]:
        """Time constants by population and name, float32 ``(size,)``."""
        return {q.name: q.time_constants for q in self.populations}

    def trained_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of everything that may have optimiser state: synapse populations by name, trained time constants as
        ``population.name``."""
        shapes: dict[str, tuple[int, ...]] = {p.name: p.shape for p in self.projections}
        return shapes | {f"{q.name}.{name}": (q.size,) for q in self.populations for name in q.trained}

    def check_weights(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``weights`` as contiguous float32 arrays, complete and of the right shapes.

        Raises:
            ValueError: names the synapse population that is missing, unknown, misshaped or not finite.
        """
        shapes = {p.name: p.shape for p in self.projections}
        _check_names("weights", weights, shapes)
        return {name: _checked(f"weights of {name}", weights[name], shape) for name, shape in shapes.items()}

    def check_time_constants(self, values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
        """``values`` complete, as float32 arrays ``(size,)``; a number stands for the same value in all neurons.

        Raises:
            ValueError: names the population and time constant that is missing, unknown, misshaped, not positive, below
                its bound, or different between neurons that share one value.
        """
        _check_names("time constants", values, {q.name: None for q in self.populations})
        checked: dict[str, dict[str, np.ndarray]] = {}
        for q in self.populations:
            _check_names(f"time constants of {q.name}", values[q.name], q.time_constants)
            checked[q.name] = {
                name: self._checked_time_constant(q, name, values[q.name][name]) for name in q.time_constants
            }
        return checked

    def _checked_time_constant(self, q: Population, name: str, value: Any) -> np.ndarray:
        what = f"{name} of {q.name}"
        array = np.asarray(value)
        array = _checked(what, np.broadcast_to(array, (q.size,)) if array.ndim == 0 else array, (q.size,))
        if array.min() <= 0:
            raise ValueError(f"{what} must be above 0, got {array.min():g}")
        if name in q.trained and array.min() < np.float32(self.bounds.get(name, 0.0)):
            raise ValueError(
                f"{what} must be at least {TIME_CONSTANTS[name]}={self.bounds[name]:g}, got {array.min():g}"
            )
        if name not in q.per_neuron and (array != array[0]).any():
            raise ValueError(
                f"{what} differs between neurons that share one value; they have one each with "
                + ('OUTPUT_NEURON_TYPE="hetLI"' if q.name == "output" else 'HIDDEN_NEURON_TYPE="hetLIF"')
                + ", or where it is trained"
            )
        return array


def _check_names(what: str, given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    unknown = sorted(set(given) - set(expected))
    missing = sorted(set(expected) - set(given))
    if unknown or missing:
        raise ValueError(
            f"{what} must be given for {', '.join(expected)}"
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            + (f"; missing: {', '.join(missing)}" if missing else "")
        )


def _checked(what: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != shape:
        verb = "have" if what.startswith("weights") else "has"
        raise ValueError(f"{what} {verb} shape {array.shape}; this network needs {shape}")
    with np.errstate(over="ignore"):
        array = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} {'hold' if what.startswith('weights') else 'holds'} values that are not finite")
    return array


def adam_parameters(p: Mapping[str, float], rate: float, step: int) -> dict[str, float]:
    """Values of :data:`models.ADAM`'s parameters for update number ``step`` (1, 2, ...), for any decay below 1."""
    values = {"rate": rate, "epsilon": p["ADAM_EPS"]}
    for number in (1, 2):
        beta = p[f"ADAM_BETA{number}"]
        rest = 1.0 - beta
        left = 1.0 if rest == 1.0 else -math.expm1(step * math.log1p(-rest))  # 1 - beta^step
        values |= {f"beta{number}": beta, f"rest{number}": rest, f"correction{number}": 1.0 / left}
    return values


def describe(p: Mapping[str, Any], num_input: int, num_output: int, *, plain: bool = False) -> Network:
    """The network that ``p`` asks for.

    Args:
        plain: without what training adds to the loss's own gradient: regularisation, the bound of the jump's
            denominator and the scale of the read-out's drive; every weight and time constant has its gradient.
    """
    loss = meaning("LOSS_TYPE", p["LOSS_TYPE"], models.LOSSES)
    regulariser = meaning("REG_TYPE", "none" if plain else p["REG_TYPE"], models.REGULARISERS)
    copies = p["N_INPUT_DELAY"] + 1
    hidden = tuple(_hidden(p, f"hidden{i}", plain) for i in range(p["N_HID_LAYER"]))
    return Network(
        num_input=num_input,
        hidden=hidden,
        output=_output(p, loss, num_output, plain),
        projections=_projections(p, num_input * copies, hidden, num_output, plain),
        loss=loss,
        regulariser=regulariser,
        regulariser_parameters={name: p[name.upper()] for name in regulariser.parameters},
        average_counts=bool(p["AVG_SNSUM"]) and regulariser.name != "none",
        loss_scale=meaning("LOSS_SCALE", "true" if plain else p["LOSS_SCALE"], LOSS_SCALES)(loss, p),
        dt_ms=p["DT_MS"],
        num_steps=round(p["TRIAL_MS"] / p["DT_MS"]),
        loss_parameters={name: p[name.upper()] for name in loss.parameters},
        copies=copies,
        delay_steps=round(p["INPUT_DELAY"] / p["DT_MS"]) if copies > 1 else 0,
        bounds={} if plain else {name: p[key] for name, key in TIME_CONSTANTS.items()},
        spike_timing=meaning("SPIKE_TIMING", p["SPIKE_TIMING"], SPIKE_TIMINGS),
    )


def _hidden(p: Mapping[str, Any], name: str, plain: bool) -> Population:
    model, drawn = meaning("HIDDEN_NEURON_TYPE", p["HIDDEN_NEURON_TYPE"], HIDDEN_NEURONS)
    trained = ["tau_mem", "tau_syn"] if plain or p["TRAIN_TAU"] else []
    trained += ["tau_b"] if "tau_b" in model.parameters and (plain or p["TRAIN_TAU_B"]) else []
    return _population(p, name, p["NUM_HIDDEN"], model, trained, drawn, plain)


def _output(p: Mapping[str, Any], loss: models.Loss, size: int, plain: bool) -> Population:
    trained = ["tau_mem", "tau_syn"] if plain or p["TRAIN_TAU_OUTPUT"] else []
    kind = meaning("OUTPUT_NEURON_TYPE", p["OUTPUT_NEURON_TYPE"], OUTPUT_NEURONS)
    goes_with = {name: own[loss.spiking] for name, own in OUTPUT_NEURONS.items() if loss.spiking in own}
    model, drawn = kind.get(loss.spiking) or meaning("OUTPUT_NEURON_TYPE", p["OUTPUT_NEURON_TYPE"], goes_with)
    return _population(p, "output", size, model, trained, drawn, plain)


def _population(
    p: Mapping[str, Any],
    name: str,
    size: int,
    model: models.NeuronModel,
    trained: list[str],
    heterogeneous: bool,
    plain: bool,
) -> Population:
    """A population with the parameters of ``p``; drawn, where ``heterogeneous``, from the model seed.

    Heterogeneous time constants follow a gamma distribution of shape 3 around the nominal value (Perez-Nieves et al.
    2021), clipped to between their lower bound and three times that value.
    """
    bound = p["MIN_DENOMINATOR"] if not plain and p["MIN_DENOMINATOR"] > 0 else -1e30
    values: dict[str, float | np.ndarray] = {
        n: bound if n == "min_denominator" else p[n.upper()] for n in model.parameters
    }
    if heterogeneous:
        for n in ("tau_mem", "tau_syn"):
            nominal, least = p[n.upper()], p[TIME_CONSTANTS[n]]
            drawn = stream(p["MODEL_SEED"], "time constants", name, n).gamma(3.0, nominal / 3.0, size)
            values[n] = np.clip(drawn, least, max(least, 3.0 * nominal)).astype(np.float32)
    for n in trained:
        values[n] = np.full(size, values[n], dtype=np.float32)
    return Population(name, size, model, values, tuple(n for n in model.parameters if n in trained))


def _projections(
    p: Mapping[str, Any], num_input: int, hidden: tuple[Population, ...], num_output: int, plain: bool
) -> tuple[Projection, ...]:
    made = []

    def add(name: str, source: str, target: str, shape: tuple[int, int], key: str, trained: str) -> None:
        mean, sd = p[f"{key}_MEAN"], p[f"{key}_STD"]
        made.append(Projection(name, source, target, shape, mean, sd, bool(plain or p[trained])))

    add("in_to_hid", "input", "hidden0", (num_input, hidden[0].size), "INPUT_HIDDEN", "TRAIN_W")
    for i, layer in enumerate(hidden):
        n = layer.size
        if i > 0:
            below = hidden[i - 1]
            add(f"hid_to_hidfwd{i - 1}", below.name, layer.name, (below.size, n), "HIDDEN_HIDDENFWD", "TRAIN_W")
        if p["RECURRENT"]:
            add(f"hid_to_hid{i}", layer.name, layer.name, (n, n), "HIDDEN_HIDDEN", "TRAIN_W")
    add("hid_to_out", hidden[-1].name, "output", (hidden[-1].size, num_output), "HIDDEN_OUTPUT", "TRAIN_W_OUTPUT")
    return tuple(made)
