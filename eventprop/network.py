"""What a network consists of: populations, projections, loss and regulariser, without saying who computes it.

Populations are named ``input``, ``hidden0``, ``hidden1``, ..., ``output``; synapse populations ``in_to_hid``,
``hid_to_hid0``, ... (recurrent, all-to-all, self connections included), ``hid_to_hidfwd0``, ... (from hidden layer 0
to 1, ...) and ``hid_to_out``. Weights are ``(n_pre, n_post)`` arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from eventprop import models
from eventprop.choice import meaning
from eventprop.derivation import NeuronModel
from eventprop.masks import Masks, check_silent, checked, silenced
from eventprop.streams import stream

__all__ = ["TIME_CONSTANTS", "DELAY", "DELAY_SHARED", "Delay", "Network", "Population", "Projection", "Randomness"]
__all__ += ["SPIKE_TIMINGS", "WEIGHT_INITS", "check_names", "flat_file", "flat_name", "of_layer", "synaptic"]

DELAY = ".delay"
"""What follows a projection's name where its delays are meant."""

DELAY_SHARED = ("synapse", "source", "target")
"""By ``DELAY_PER``, what has a delay: each synapse, all those of a source neuron, all those onto a target."""

TIME_CONSTANTS = {"tau_mem": "MIN_TAU_M", "tau_syn": "MIN_TAU_SYN", "tau_b": "MIN_TAU_B"}
"""Time constants of neurons, with the key of the lower bound that holds where they are trained."""


WEIGHT_INITS = ("normal", "fluctuation")
"""Values of ``WEIGHT_INIT``: initial weights as their keys have them, or scaled from the data."""

SPIKE_TIMINGS = {"grid": "grid", "exact": "exact", "substep": "substep"}
"""By ``SPIKE_TIMING``, what engines call it."""

PRECISIONS = {"float": np.float32, "double": np.float64}
"""By ``PRECISION``, the type of weights, trained parameters and moments."""

_Value = TypeVar("_Value", bool, int, float, str)

LARGEST_PARAMETER = 1e9
"""Bound of trained parameters that have none of their own, in size; single precision has it and its square."""


@dataclass(frozen=True)
class Population:
    """A group of neurons of one type.

    Attributes:
        model: what follows from its neurons' declaration.
        parameters: value of each of the model's parameters: one for all neurons, or an array ``(size,)``.
        trained: parameters that are trained; these are arrays.
    """

    name: str
    size: int
    model: NeuronModel
    parameters: Mapping[str, float | np.ndarray]
    trained: tuple[str, ...] = ()

    @property
    def per_neuron(self) -> tuple[str, ...]:
        """Parameters that have a value for each neuron."""
        return tuple(n for n in self.model.parameters if np.ndim(self.parameters[n]))

    @property
    def time_constants(self) -> dict[str, np.ndarray]:
        """Value for each neuron, float32 ``(size,)``, of time constants and of all else that neurons have each of their
        own."""
        return {
            n: np.full(self.size, self.parameters[n], dtype=np.float32)
            for n in self.model.parameters
            if n in TIME_CONSTANTS or np.ndim(self.parameters[n])
        }


@dataclass(frozen=True)
class Delay:
    """Delays of a projection's synapses (ms); times of spikes on the grid go by the nearest whole step.

    Attributes:
        mean, sd: initial delays are normal, cut at 0 and ``most``.
        uniform: between these they are uniform instead.
        most: their upper bound; the lower one is 0.
        trained: whether they are.
        per: which synapses have one delay, see ``DELAY_SHARED``.
    """

    mean: float
    sd: float
    uniform: tuple[float, float] | None
    most: float
    trained: bool
    per: str = "synapse"

    def drawn(self, random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Initial delays, float32 ``(n_pre, n_post)``."""
        different = {"synapse": shape, "source": (shape[0], 1), "target": (1, shape[1])}[self.per]
        if self.uniform is None:
            found = random.normal(self.mean, self.sd, different)
        else:
            found = random.uniform(*self.uniform, different)
        return np.array(np.broadcast_to(np.clip(found, 0.0, self.most), shape), np.float32)

    def problem(self, values: np.ndarray) -> str | None:
        """What is wrong with delays ``(n_pre, n_post)``; None where nothing is.

        In double precision, too, one at the bound may come from a file that has it in single precision.
        """
        most = max(self.most, float(np.float32(self.most)))
        if values.size and not 0.0 <= values.min() <= values.max() <= values.dtype.type(most):
            wrong = values.min() if values.min() < 0.0 else values.max()
            return f"must be from 0 to {self.most:g} ms, got {wrong:g}"
        axis = {"source": 1, "target": 0}.get(self.per)
        if axis is not None and (values != values.take([0], axis)).any():
            return f'differ between synapses of one {self.per}, which share theirs (DELAY_PER="{self.per}")'
        return None


@dataclass(frozen=True)
class Projection:
    """All-to-all synapses, unless the network has a mask of them; initial weights are normal with ``mean`` and ``sd``,
    delays as ``delay`` says, if any."""

    name: str
    source: str
    target: str
    shape: tuple[int, int]
    mean: float
    sd: float
    trained: bool
    delay: Delay | None = None


@dataclass(frozen=True)
class Randomness:
    """What is random in a training batch; the seeds name the streams of this epoch.

    Attributes:
        input_dropout: probability with which an input spike is deleted.
        hidden_dropout: probability with which a hidden neuron that reaches its threshold is reset without a spike;
            of all layers, or of each.
        noise: standard deviation of the membrane noise of hidden neurons after 1 ms, in 1/sqrt(ms), likewise.
    """

    input_dropout: float = 0.0
    hidden_dropout: float | Sequence[float] = 0.0
    noise: float | Sequence[float] = 0.0
    input_seed: int = 0
    hidden_seed: int = 0
    noise_seed: int = 0

    def of_layer(self, number: int) -> tuple[float, float]:
        """Dropout and noise of a hidden layer."""
        return of_layer(self.hidden_dropout, number), of_layer(self.noise, number)


@dataclass(frozen=True)
class Network:
    """Description of a network that a backend can build.

    Attributes:
        num_input: input channels; the first projection has a row for each of them and each of their delayed copies.
        hidden: hidden populations, from the input to the output.
        output: the read-out.
        projections: feed-forward and recurrent synapse populations.
        loss, regulariser: declarations from :mod:`models`.
        loss_parameters, regulariser_parameters: value of each of their parameters; of the regulariser's for all hidden
            layers, or a list with one for each.
        average_counts: whether the regulariser sees spike counts averaged over the batch.
        loss_scale: factor on the read-out's drive in training (1: the plain derivative of the loss).
        label_smoothing: share of the target that in training all classes have alike, and the label has not.
        dt_ms, num_steps: the time step and the steps of a trial.
        window: the first of the steps that count for the loss, and the one after the last; None for all.
        copies, delay_steps: the input arrives ``copies`` times, each ``delay_steps`` after the one before.
        bounds, upper_bounds: of trained parameters, by name.
        spike_timing: "grid" (spikes at the ends of steps), "substep" (neurons are reset where they cross within a step,
            their spikes leave at its end) or "exact" (spikes at their times within steps).
        precision: "float" or "double", of all that is computed.
        masks: which synapses are there, where not all are; see :mod:`eventprop.masks`.
    """

    num_input: int
    hidden: tuple[Population, ...]
    output: Population
    projections: tuple[Projection, ...]
    loss: models.Loss
    regulariser: models.Regulariser
    regulariser_parameters: Mapping[str, float | Sequence[float]]
    average_counts: bool
    loss_scale: float
    dt_ms: float
    num_steps: int
    loss_parameters: Mapping[str, float] = field(default_factory=dict)
    window: tuple[int, int] | None = None
    copies: int = 1
    delay_steps: int = 0
    bounds: Mapping[str, float] = field(default_factory=dict)
    upper_bounds: Mapping[str, float] = field(default_factory=dict)
    spike_timing: str = "grid"
    precision: str = "float"
    label_smoothing: float = 0.0
    masks: Masks = field(default_factory=dict)

    def __post_init__(self) -> None:
        meaning("SPIKE_TIMING", self.spike_timing, SPIKE_TIMINGS)
        meaning("PRECISION", self.precision, PRECISIONS)

    @property
    def dtype(self) -> np.dtype:
        """Of weights, trained parameters and moments."""
        return np.dtype(PRECISIONS[self.precision])

    @property
    def counted(self) -> tuple[int, int]:
        """The first of the steps that count for the loss, and the one after the last."""
        return self.window or (0, self.num_steps)

    def bounds_of(self, name: str) -> tuple[float, float]:
        """Least and largest value of a trained parameter."""
        least = self.bounds.get(name, 0.0 if name in TIME_CONSTANTS else -LARGEST_PARAMETER)
        return least, self.upper_bounds.get(name, LARGEST_PARAMETER)

    @property
    def populations(self) -> tuple[Population, ...]:
        """Hidden populations and the output."""
        return (*self.hidden, self.output)

    @property
    def regularisation(self) -> list[dict[str, float]]:
        """The regulariser's parameters by hidden layer."""
        given = self.regulariser_parameters
        return [{n: of_layer(value, i) for n, value in given.items()} for i in range(len(self.hidden))]

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Weights drawn from each projection's normal distribution, float32 in any precision, ``(n_pre, n_post)``, and
        the delays (ms) of those that have some.

        Each projection has its own random streams: adding one does not change the others.
        """
        drawn = {
            p.name: stream(seed, "weights", p.name).normal(p.mean, p.sd, p.shape).astype(np.float32)
            for p in self.projections
        }
        drawn = self.living(drawn)
        for name, (p, delay) in self.delays.items():
            drawn[name] = delay.drawn(stream(seed, "delays", p.name), p.shape)
        return {name: array.astype(self.dtype) for name, array in drawn.items()}

    def initial_time_constants(self) -> dict[str, dict[str, np.ndarray]]:
        """Time constants by population and name, ``(size,)``."""
        return {
            q.name: {name: array.astype(self.dtype) for name, array in q.time_constants.items()}
            for q in self.populations
        }

    @property
    def delays(self) -> dict[str, tuple[Projection, Delay]]:
        """Projections with delays, by what these are called among the weights."""
        return {p.name + DELAY: (p, p.delay) for p in self.projections if p.delay is not None}

    def synaptic_shapes(self) -> dict[str, tuple[int, int]]:
        """Shape of all that synapses have: weights by projection, delays as ``projection.delay``."""
        return self.weight_shapes() | {name: p.shape for name, (p, _) in self.delays.items()}

    def with_masks(self, masks: Any) -> Network:
        """The network with these synapses; raises what :func:`eventprop.masks.checked` does."""
        return replace(self, masks=checked(masks, self.weight_shapes()))

    def weight_shapes(self) -> dict[str, tuple[int, int]]:
        """Shape of the weights by synapse population."""
        return {p.name: p.shape for p in self.projections}

    def living(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays by synapse population with zeros for synapses that are not there; all others as they are."""
        return {name: silenced(array, self.masks.get(name)) for name, array in values.items()}

    def trained_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of everything that may have optimiser state: weights and delays by name, trained time constants as
        ``population.name``."""
        shapes: dict[str, tuple[int, ...]] = dict(self.synaptic_shapes())
        return shapes | {f"{q.name}.{name}": (q.size,) for q in self.populations for name in q.trained}

    def check_weights(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``weights``, and delays, as contiguous arrays of the network's precision, complete and of the right shapes.

        Raises:
            ValueError: names the synapse population that is missing, unknown, misshaped or not finite, or has a weight
                where no synapse is, or whose delays are out of bounds or differ where they are shared.
        """
        shapes = self.synaptic_shapes()
        check_names("weights", weights, shapes)
        found = {name: self._checked(synaptic(name), weights[name], shape) for name, shape in shapes.items()}
        for name, (_, delay) in self.delays.items():
            if problem := delay.problem(found[name]):
                raise ValueError(f"{synaptic(name)} {problem}")
        check_silent(found, self.masks)
        return found

    def check_time_constants(self, values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
        """``values`` complete, as arrays ``(size,)`` of the network's precision; a number stands for the same value in
        all neurons.

        Raises:
            ValueError: names the population and time constant that is missing, unknown, misshaped, not positive, below
                its bound, or different between neurons that share one value.
        """
        check_names("time constants", values, {q.name: None for q in self.populations})
        checked: dict[str, dict[str, np.ndarray]] = {}
        for q in self.populations:
            check_names(f"time constants of {q.name}", values[q.name], q.time_constants)
            checked[q.name] = {
                name: self._checked_time_constant(q, name, values[q.name][name]) for name in q.time_constants
            }
        return checked

    def _checked_time_constant(self, q: Population, name: str, value: Any) -> np.ndarray:
        what = f"{name} of {q.name}"
        array = np.asarray(value)
        array = self._checked(what, np.broadcast_to(array, (q.size,)) if array.ndim == 0 else array, (q.size,))
        if name in TIME_CONSTANTS and array.min() <= 0:
            raise ValueError(f"{what} must be above 0, got {array.min():g}")
        least, most = self.bounds_of(name)
        if name in q.trained and array.min() < self.dtype.type(least):
            key = f"{TIME_CONSTANTS[name]}=" if name in TIME_CONSTANTS else ""
            raise ValueError(f"{what} must be at least {key}{least:g}, got {array.min():g}")
        if name in q.trained and array.max() > self.dtype.type(most):
            raise ValueError(f"{what} must be at most {most:g}, got {array.max():g}")
        if name not in q.per_neuron and (array != array[0]).any():
            raise ValueError(
                f"{what} differs between neurons that share one value; they have one each with "
                + ('OUTPUT_NEURON_TYPE="hetLI"' if q.name == "output" else 'HIDDEN_NEURON_TYPE="hetLIF"')
                + ", or where it is trained"
            )
        return array

    def _checked(self, what: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        array = np.asarray(value)
        if array.shape != shape:
            verb = "have" if what.startswith(("weights", "delays")) else "has"
            raise ValueError(f"{what} {verb} shape {array.shape}; this network needs {shape}")
        with np.errstate(over="ignore"):
            array = np.array(array, dtype=self.dtype, order="C")
        if not np.isfinite(array).all():
            raise ValueError(
                f"{what} {'hold' if what.startswith(('weights', 'delays')) else 'holds'} values that are not finite"
            )
        return array


def of_layer(value: _Value | Sequence[_Value], number: int) -> _Value:
    """A hidden layer's entry of what is a list with one for each, or one value for all."""
    return value[number] if isinstance(value, list | tuple) else value  # type: ignore[return-value]


def check_names(what: str, given: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ValueError unless ``given`` are the names ``expected``."""
    unknown = sorted(set(given) - set(expected))
    missing = sorted(set(expected) - set(given))
    if unknown or missing:
        raise ValueError(
            f"{what} must be given for {', '.join(expected)}"
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            + (f"; missing: {', '.join(missing)}" if missing else "")
        )


def synaptic(name: str) -> str:
    """What weights, or delays, of that name are called in messages."""
    return f"delays of {name.removesuffix(DELAY)}" if name.endswith(DELAY) else f"weights of {name}"


def flat_file(name: str) -> str:
    """What files of weights, or of delays, are called."""
    return f"delay_{flat_name(name.removesuffix(DELAY))}" if name.endswith(DELAY) else f"w_{flat_name(name)}"


def flat_name(projection: str) -> str:
    """What the older program calls a synapse population in its files, e.g. ``hidden0_hidden1``."""
    for prefix, step in (("hid_to_hidfwd", 1), ("hid_to_hid", 0)):
        layer = projection.removeprefix(prefix)
        if layer.isdecimal():
            return f"hidden{layer}_hidden{int(layer) + step}"
    return {"in_to_hid": "input_hidden", "hid_to_out": "hidden_output"}[projection]
