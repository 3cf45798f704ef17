"""What a simulator object tells of its network: weights, time constants, predictions, spikes, gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eventprop import backends
from eventprop.data import targets
from eventprop.data.alignment import alignment_of
from eventprop.data.clock import with_clock
from eventprop.data.dataset import Dataset
from eventprop.data.spikes import SpikeSet, from_samples
from eventprop.data.splits import Subset
from eventprop.masks import Masks
from eventprop.network import DELAY, Network, check_names
from eventprop.parameters.loss_checks import check_targets
from eventprop.ranks import Ranks
from eventprop.simulators.records import network_of, with_masks_of
from eventprop.training.checkpoint import Live

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Gradients", "Inspection", "Prediction", "TimeConstants", "engine_with", "with_own"]

TimeConstants = dict[str, dict[str, np.ndarray]]


class Prediction(NamedTuple):
    """Predicted class ``(n,)`` and read-out scores ``(n, classes)`` of each sample.

    The class is -1 where the loss goes by first spikes and no output spiked. Where outputs are compared with values
    there are no classes (-1), and the scores are what is predicted: of losses of steps their averages, and
    ``voltages`` has each.
    """

    classes: np.ndarray
    scores: np.ndarray


class _Three(NamedTuple):
    loss: float
    grads: dict[str, np.ndarray]
    time_constants: TimeConstants


class Gradients(_Three):
    """Mean loss over the samples and its derivatives; as a tuple it is ``(loss, grads, time_constants)``.

    Attributes:
        loss: the mean loss.
        grads: by every weight, ``(n_pre, n_post)`` for each synapse population.
        time_constants: by every neuron's time constants, ``(size,)`` for each population and name.
        delays: by every delay (1 / ms), as ``grads``, of synapse populations that have some.
    """

    delays: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, loss: float, synaptic: Mapping[str, np.ndarray], time_constants: TimeConstants) -> Gradients:
        """From what an engine gives: weights and delays under the names that they have there."""
        made = cls(loss, {name: g for name, g in synaptic.items() if not name.endswith(DELAY)}, time_constants)
        made.delays = {name.removesuffix(DELAY): g for name, g in synaptic.items() if name.endswith(DELAY)}
        return made


class Inspection(ABC):
    """The part of a simulator that shows and predicts, and never trains."""

    p: dict[str, Any]
    data: Dataset
    _network: Network
    _given: dict[str, np.ndarray] | None = None
    _current: dict[str, np.ndarray] | None = None
    _given_time_constants: TimeConstants | None = None
    _current_time_constants: TimeConstants | None = None
    _given_masks: Masks = MappingProxyType({})
    _live: Live | None = None

    @abstractmethod
    def _for_run(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """``p`` of a method call, resolved."""

    @abstractmethod
    def _ready(self, p: Mapping[str, Any], *, plain: bool = False) -> backends.Engine:
        """An engine for a run without training."""

    @abstractmethod
    def _start(self, p: Mapping[str, Any]) -> Network:
        """The network of resolved parameters, with initial weights as ``WEIGHT_INIT`` has them."""

    def network(self, p: Mapping[str, Any], *, plain: bool = False) -> Network:
        network = network_of(p, self.data.num_channels, self.data.num_classes, plain=plain)
        return with_masks_of(p, network, self._given_masks)

    def weights(self, live: bool = False) -> dict[str, np.ndarray]:
        """Weights by synapse population, float32 ``(n_pre, n_post)``: of the last training, else as set, else
        as drawn from ``MODEL_SEED``.

        Args:
            live: with ``AVERAGE_WEIGHTS``, whether those that training would go on with, and not their average.
        """
        return {name: w.copy() for name, w in self._synaptic(live).items() if not name.endswith(DELAY)}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Use these weights from now on; training starts from them. Delays stay.

        Raises:
            ValueError: a synapse population is missing, unknown, misshaped or holds values that are not finite.
        """
        self._set_synaptic("weights", weights, self.weights(), self.delays())

    def delays(self, live: bool = False) -> dict[str, np.ndarray]:
        """Delays in ms by synapse population, float32 ``(n_pre, n_post)``, of those that have some: as
        :meth:`weights`. With spikes on the grid what arrives goes by the nearest whole step."""
        return {n.removesuffix(DELAY): d.copy() for n, d in self._synaptic(live).items() if n.endswith(DELAY)}

    def set_delays(self, delays: Mapping[str, np.ndarray]) -> None:
        """Use these delays (ms) from now on; training starts from them. Weights stay.

        Raises:
            ValueError: a synapse population is missing, has no delays or other shapes, or values are not finite,
                negative, above the bound (``..._DELAY_MAX``) or differ where they are shared (``DELAY_PER``).
        """
        if not self._network.delays:
            raise ValueError("this network has no delays; it has some where one of the keys ..._DELAY_MAX is above 0")
        self._set_synaptic("delays", delays, self.weights(), self.delays())

    def _synaptic(self, live: bool = False) -> dict[str, np.ndarray]:
        """Weights and, as ``<synapse population>.delay``, delays."""
        if live and self._current and self._live:
            return self._live.weights
        return self._current or self._given or self._start(self.p).initial_weights(self.p["MODEL_SEED"])

    def _set_synaptic(
        self,
        what: str,
        given: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray],
        delays: Mapping[str, np.ndarray],
    ) -> None:
        """Take ``given`` weights or delays, as ``what`` says, in place of those that there are; the others stay."""
        check_names(what, given, delays if what == "delays" else weights)
        weights, delays = (weights, given) if what == "delays" else (given, delays)
        self._given = self._network.check_weights({**weights, **{name + DELAY: d for name, d in delays.items()}})
        self._given_masks = self._given_masks if self._current is None else self._network.masks
        self._current = None

    def time_constants(self, live: bool = False) -> TimeConstants:
        """Time constants in ms by population and name, float32 ``(size,)``: of the last training, else as set, else
        as ``p`` has them or as drawn from ``MODEL_SEED``; ``live`` as of :meth:`weights`."""
        own = self._current_time_constants or self._given_time_constants
        if live and self._current_time_constants and self._live:
            own = self._live.time_constants
        values = with_own(self._network, own)
        return {q: {name: array.copy() for name, array in arrays.items()} for q, arrays in values.items()}

    def set_time_constants(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Use these time constants (ms) from now on, whatever ``p`` says; training starts from them.

        Args:
            values: by population and name, ``(size,)`` each or one number for all neurons; all of them, as
                :meth:`time_constants` gives them. Neurons may differ where the type is heterogeneous (hetLIF, hetLI)
                or the time constant is trained.

        Raises:
            ValueError: one is missing, unknown, misshaped, not positive, below its bound, or differs between neurons
                that share it.
        """
        self._given_time_constants = self._network.check_time_constants(values)
        self._current_time_constants = None

    def to_nir(self, path: str | Path, spikes: str = "delta") -> None:
        """Write the network, with the weights, delays and time constants that it has now, as a NIR graph.

        Args:
            path: the file.
            spikes: what a spike is to who reads it: "delta", a Dirac pulse as NIR has it, or "steps", 1 for a step of
                ``DT_MS`` as in programs that know steps alone.

        Raises:
            ValueError: lists what of this network NIR cannot say; or the package ``nir`` is not installed.
        """
        from eventprop.exchange import to_nir

        to_nir.write(path, to_nir.graph_of(self._network, self._synaptic(), self.time_constants(), spikes))

    def predict(self, p: Mapping[str, Any], X: Sequence[Mapping[str, Any]]) -> Prediction:
        """Classes and scores of samples ``{"x": channel numbers, "t": times in ms}``."""
        p = self._for_run(p)
        spikes = self._sample_spikes(X, p)
        engine = self._ready(p)
        result = engine.run(spikes, np.arange(len(spikes)), None)
        result.check()
        classes = np.full_like(result.predictions, -1) if engine.network.loss.of_values else result.predictions
        return Prediction(classes, result.scores)

    def gradients(self, p: Mapping[str, Any], X: Sequence[Mapping[str, Any]], Y: Sequence[Any]) -> Gradients:
        """Mean loss of samples with labels ``Y``, or what else the loss compares with, and its derivative by every
        weight, delay and time constant.

        Nothing that training adds takes part: no regularisation, dropout, noise, bound of the denominator
        (``MIN_DENOMINATOR``), clip, or scale of the read-out's drive (``LOSS_SCALE``). Nothing is learned.
        """
        p = self._for_run(p)
        spikes = self._sample_spikes(X, p)
        engine = self._ready(p, plain=True)
        labels = self._checked_labels(Y, len(spikes), engine.network)
        result = engine.run(spikes, np.arange(len(spikes)), labels, learn=True)
        result.check()
        return Gradients.of(float(result.loss.mean()), engine.gradients(), engine.time_constant_gradients())

    def spikes(
        self, p: Mapping[str, Any], samples: Subset | Sequence[Mapping[str, Any]], population: str = "hidden0"
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Times (ms since trial start) and neurons of the spikes of each sample in "input", a hidden layer
        ("hidden0", "hidden1", ...) or, for the first-spike losses, "output". Spikes on the grid, the input's among
        them, are at the ends of their steps.

        Args:
            samples: some of the data set, or some of one's own as :meth:`predict` takes them.

        Raises:
            ValueError: there is no such population, or it does not spike.
        """
        p = self._for_run(p)
        spiking = ["input", *(q.name for q in self.network(p).populations if q.model.threshold)]
        if population not in spiking:
            what = "does not spike" if population == "output" else "is not there"
            raise ValueError(f"population {population!r} {what}; there are spikes of {', '.join(spiking)}")
        spikes, indices = self._presented(samples, p)
        engine = self._ready(p)
        found = []
        for index in indices:
            engine.run(spikes, np.array([index]), None)
            found.append(engine.spike_times(0, population))
        return found

    def voltages(
        self,
        p: Mapping[str, Any],
        samples: Subset | Sequence[Mapping[str, Any]],
        population: str = "hidden0",
        variable: str = "V",
    ) -> np.ndarray:
        """A variable of a hidden layer or "output" at the end of each step, ``(n, steps, size)`` float32.

        Args:
            samples: as of :meth:`spikes`.
            variable: of the neuron's equations: "V", "Isyn", of ALIF also "B".

        Raises:
            ValueError: there is no such population or variable; or ``SPIKE_TIMING="exact"``, which has no steps.
        """
        p = self._for_run(p)
        there = {q.name: tuple(q.model.state) for q in self.network(p).populations}
        if variable not in there.get(population, ()):
            words = "; ".join(f"{q}: {', '.join(v)}" for q, v in there.items())
            raise ValueError(f"{variable!r} of {population!r} is not there; there are {words}")
        if p["SPIKE_TIMING"] == "exact":
            raise ValueError('values at the ends of steps need SPIKE_TIMING="grid" or "substep"')
        spikes, indices = self._presented(samples, p)
        engine = self._ready(p)
        found = []
        for index in indices:
            engine.run(spikes, np.array([index]), None, record=[(population, variable)])
            found.append(engine.trace(population, variable)[0])
        return np.stack(found)

    def scores(self, p: Mapping[str, Any], subset: Subset) -> np.ndarray:
        """Read-out scores of the samples of ``subset``, ``(n, classes)``."""
        return self._present(p, subset).scores

    def predictions(self, p: Mapping[str, Any], subset: Subset) -> np.ndarray:
        """Predicted classes of the samples of ``subset``, ``(n,)``; -1 as in :class:`Prediction`."""
        return self._present(p, subset).predictions

    def plot_examples(self, label: int, n: int = 9, phase: str = "train") -> Figure:
        """Input spikes of the first ``n`` samples of a class (or of as many as there are), a raster each.

        The figure is shown in a notebook, or in a window where there is a display; ``figure.savefig`` keeps it.

        Args:
            label: number of the class.
            phase: "train", "validation" (where the data has such a file) or "test".

        Raises:
            ValueError: there is no such phase, or no sample of that class in it, or ``n`` is not positive.
        """
        from eventprop.reports import plots

        parts = {"train": lambda: self.data.train, "validation": lambda: self.data.validation}
        parts["test"] = lambda: self.data.test
        part = parts[phase]() if phase in parts else None
        if part is None:
            names = [f'"{name}"' for name in parts if name != "validation" or self.data.validation is not None]
            raise ValueError(f"phase={phase!r} is not there; {', '.join(names)} would be right")
        if n < 1:
            raise ValueError(f"n={n} must be at least 1")
        if not targets.are_classes(part.labels):
            raise ValueError("these samples have no classes to choose by, but targets of another form")
        found = np.flatnonzero(part.labels == label)[:n]
        if found.size == 0:
            there = ", ".join(map(str, np.unique(part.labels)))
            raise ValueError(f"no {phase} sample is of class {label!r}; there are samples of {there}")
        samples = [(part.spikes.times(index, self.p["DT_MS"]), part.spikes.sample(index)[1]) for index in found]
        name = dict(enumerate(self.data.class_names)).get(label, "")
        title = f"{self.data.name} {phase}, class {label}" + (f" ({name})" if name not in ("", str(label)) else "")
        figure = plots.examples(
            samples,
            self.p["TRIAL_MS"],
            self.data.num_channels,
            title,
        )
        plots.show(figure)
        return figure

    def _present(self, p: Mapping[str, Any], subset: Subset) -> backends.BatchResult:
        result = self._ready(self._for_run(p)).run(subset.part.spikes, subset.indices, None)
        result.check()
        return result

    def _presented(
        self, samples: Subset | Sequence[Mapping[str, Any]], p: Mapping[str, Any]
    ) -> tuple[SpikeSet, np.ndarray]:
        """Spikes, and which of them are those of ``samples``."""
        if isinstance(samples, Subset):
            return samples.part.spikes, samples.indices
        spikes = self._sample_spikes(samples, p)
        return spikes, np.arange(len(spikes))

    def _sample_spikes(self, X: Sequence[Mapping[str, Any]], p: Mapping[str, Any]) -> SpikeSet:
        if len(X) == 0:
            raise ValueError("X holds no samples")
        true_times, alignment = p["INPUT_TIMES"] == "true", alignment_of(p)
        spikes = from_samples(X, self.data.num_channels, p["DT_MS"], p["TRIAL_MS"], true_times, alignment)
        clock = p.get("CLOCK_CHANNELS", 0)
        return with_clock(spikes, clock, p["DT_MS"]) if clock else spikes

    def _checked_labels(self, Y: Sequence[Any], n: int, network: Network) -> np.ndarray:
        found = targets.read(Y, n, "Y")
        labels = np.asarray(Y) if found is None else found
        if found is None and labels.shape != (n,):
            raise ValueError(f"Y must hold one label for each of the {n} samples; its shape is {labels.shape}")
        if not targets.are_values(labels) or found is None:
            if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= self.data.num_classes:
                raise ValueError(f"labels must be whole numbers from 0 to {self.data.num_classes - 1}")
            labels = labels.astype(np.int32)
        if problem := check_targets(network.loss, labels, network.output.size, network.num_steps):
            raise ValueError(f"Y: {problem}")
        return labels


def with_own(network: Network, own: Mapping[str, Mapping[str, np.ndarray]] | None) -> TimeConstants:
    """The network's time constants, as ``p`` has them or as drawn, with ``own`` in the place of some."""
    values = network.initial_time_constants()
    for population, arrays in (own or {}).items():
        values[population] = {**values.get(population, {}), **arrays}
    return values


def engine_with(
    settings: backends.Settings,
    network: Network,
    weights: Mapping[str, np.ndarray],
    time_constants: TimeConstants,
    ranks: Ranks | None = None,
) -> backends.Engine:
    """An engine of a network, with these weights and time constants."""
    engine = backends.build(network, settings, ranks)
    engine.set_weights(weights)
    engine.set_time_constants(time_constants)
    return engine
