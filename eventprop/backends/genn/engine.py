"""The GeNN backend: the host's part of each batch, around a model that :mod:`eventprop.backends.genn.model` makes.

A batch runs forwards through a trial, then backwards through another one. With a pipeline, it runs backwards while the
next batch runs forwards: its gradient comes one batch late, and its error went back through weights that are one update
newer than those of its forward pass. ``flush`` gives the last one. Between two trials the host computes scores, losses
and errors, which are small, in the same way as the CPU backend.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from eventprop import models
from eventprop.backends import BatchResult
from eventprop.backends.genn.builder import Dynamic, Layout, constants_of
from eventprop.backends.genn.memory import Memory, pulled, pushed
from eventprop.backends.genn.model import GennModel
from eventprop.backends.genn.presenting import Presenter
from eventprop.backends.genn.scoring import Scorer, Shown
from eventprop.data.spikes import SpikeSet
from eventprop.network import Network, Population, Randomness

__all__ = ["GennEngine"]

_RESULTS = [f.name for f in fields(BatchResult)]


@functools.cache
def say_slow(batch: int) -> None:
    """Warn, once in a process, of GeNN's CPU backend."""
    warnings.warn(
        f"GeNN's CPU backend takes one sample at a time: each of the N_BATCH={batch} samples of a batch is a trial of "
        'its own, and PIPELINE has no effect. BACKEND="cpu" is many times faster',
        stacklevel=3,
    )


class GennEngine:
    """A network on GeNN.

    GeNN's CPU backend takes one sample at a time: there, a batch is presented sample by sample, which is slow, and
    gradients are added up.

    Args:
        network: what to build; spikes on the grid.
        backend: "cuda", "hip" or "single_threaded_cpu".
        batch: samples to present at once, where the backend can.
        max_spikes: length of each neuron's ring of spikes, over two trials. Later spikes have no gradient; they are
            counted and reported.
        pipeline: whether one batch runs backwards while the next one runs forwards; not on GeNN's CPU backend with
            batches of more than one sample.
        build: whether code may be built.
        timing: whether GeNN measures the time of its kernels.
        record_steps: size of GeNN's buffer of recorded spikes, in steps; it divides a trial. None for a trial.
        first_device: whether the first visible GPU is used, and not the one that GeNN finds best.
        real: "float" or "double", where it is not the network's precision.

    Raises:
        ValueError: spikes are not on the grid, or ``build`` is False where there is no code.
        CompilerError: GeNN or the compiler failed.
    """

    def __init__(
        self,
        network: Network,
        backend: str,
        *,
        batch: int = 1,
        max_spikes: int = 1500,
        pipeline: bool = False,
        build: bool = True,
        timing: bool = False,
        record_steps: int | None = None,
        first_device: bool = True,
        real: str | None = None,
    ) -> None:
        if network.spike_timing != "grid":
            raise ValueError(
                f'SPIKE_TIMING="{network.spike_timing}" runs on BACKEND="cpu" only; on GeNN spikes are on the grid'
            )
        self.name, self.network = backend, network
        alone = backend == "single_threaded_cpu"
        if alone and batch > 1:
            say_slow(batch)
        self.pipeline = pipeline and not (alone and batch > 1)
        self._layout = Layout(1 if alone else batch, 2 if self.pipeline else 1, max_spikes)
        real = real or network.precision
        self._real: Any = np.float32 if real == "float" else np.float64
        made = GennModel(
            network, backend, self._layout, real=real, build=build, timing=timing, first_device=first_device
        )
        self._made, self._genn = made, made.genn
        self._record = record_steps or network.num_steps
        self._genn.load(num_recording_timesteps=self._record)
        self._half = 0
        self._pending: Shown | None = None
        self.has_gradient = False
        self._recorded: list[Any] | None = None
        self._held = range(0)
        self._traces: dict[tuple[str, str], np.ndarray] = {}
        self._recorded_from = 0
        self._spikes_of: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
        self._memory = Memory(made)
        self._presenter, self._scorer = Presenter(self._memory, self._real), Scorer(self._memory)
        for name, constants in made.constants.items():
            for constant, value in constants.items():
                self._memory.set_dynamic(name, constant, value)
        for name, group in made.learning.items():
            if "." in name:  # a time constant
                least, most = network.bounds_of(name.split(".")[1])
                group.set_dynamic_param_value("least", least)
                group.set_dynamic_param_value("most", most)
        self.set_time_constants(network.initial_time_constants())

    # Weights, time constants, moments

    def weights(self) -> dict[str, np.ndarray]:
        return {p.name: self._memory.synaptic(p.name, "w").astype(self.network.dtype) for p in self.network.projections}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        for p in self.network.projections:
            pushed(self._made.synapses[p.name].vars["w"], np.ravel(weights[p.name]))
        self._copy_weights()

    def time_constants(self) -> dict[str, dict[str, np.ndarray]]:
        for population in self.network.populations:
            for name in population.trained:
                value = self._memory.pull(population.name, name)
                self._constants[population.name][name] = np.ravel(value).astype(self.network.dtype)
        return {q: {n: a.copy() for n, a in values.items()} for q, values in self._constants.items()}

    def set_time_constants(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        self._constants = self.network.check_time_constants(values)
        for population in self.network.populations:
            for name in population.trained:
                self._memory.set(population.name, name, values[population.name][name])
            self._set_constants(population, self._constants[population.name])

    def _set_constants(self, population: Population, values: Mapping[str, np.ndarray]) -> None:
        """Everything that follows from a population's time constants."""
        own = {n: v if n in population.per_neuron else float(v[0]) for n, v in values.items()}
        group = self._made.populations[population.name]
        for name, value in constants_of(population, own, self.network.dt_ms).items():
            if name in self._made.constants[population.name]:
                self._memory.set_dynamic(population.name, name, value)
            elif name in group.vars and name not in population.trained:
                self._memory.set(population.name, name, value)

    def gradients(self) -> dict[str, np.ndarray]:
        return {
            p.name: self._memory.reduced(p.name).reshape(p.shape).copy() if p.trained else np.zeros(p.shape, self._real)
            for p in self.network.projections
        }

    def time_constant_gradients(self) -> dict[str, dict[str, np.ndarray]]:
        return {
            q.name: {n: self._memory.reduced(f"{q.name}.{n}").copy() for n in q.trained}
            for q in self.network.populations
            if q.trained
        }

    def gradient_norm(self) -> float:
        squares = [np.sum(np.square(self._memory.reduced(name), dtype=np.float64)) for name in self._made.reduced]
        return float(np.sqrt(np.sum(squares)))

    def update(self, parameters: Mapping[str, float], factor: float = 1.0, delay_rate: float = 0.0) -> None:
        for group in self._made.learning.values():
            for parameter in models.ADAM.parameters:
                group.set_dynamic_param_value(parameter, float(parameters[parameter]))
            group.set_dynamic_param_value("factor", factor)
        self._genn.custom_update("Learn")
        self._copy_weights()
        for population in self.network.populations:
            if population.trained:
                learned = {n: np.ravel(self._memory.pull(population.name, n)) for n in population.trained}
                self._set_constants(population, {**self._constants[population.name], **learned})

    def optimiser_state(self) -> dict[str, dict[str, np.ndarray]]:
        learning = self._made.learning

        def moment(role: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
            if name not in learning:
                return np.zeros(shape, self.network.dtype)
            return pulled(learning[name].vars[role]).reshape(shape).astype(self.network.dtype)

        shapes = self.network.trained_shapes()
        return {role: {name: moment(role, name, s) for name, s in shapes.items()} for role in models.ADAM.state}

    def set_optimiser_state(self, state: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        for name, group in self._made.learning.items():
            for role in models.ADAM.state:
                pushed(group.vars[role], np.ravel(state[role][name]))

    # Batches

    def run(
        self,
        spikes: SpikeSet,
        samples: np.ndarray,
        labels: np.ndarray | None,
        *,
        learn: bool = False,
        randomness: Randomness | None = None,
        first: int = 0,
        record: Collection[tuple[str, str]] | None = None,
    ) -> BatchResult:
        if self._pending is not None and not learn:
            raise RuntimeError("a batch is still to be learned from; flush() comes before a run without learning")
        random, samples = randomness or Randomness(), np.asarray(samples, np.int64)
        if labels is not None:
            labels = np.asarray(labels, np.int32)
        parts = [
            slice(i, min(samples.size, i + self._layout.batch)) for i in range(0, samples.size, self._layout.batch)
        ]
        self._traces, self._spikes_of = {}, {}
        together = learn and self.network.average_counts
        means = self._mean_counts(spikes, samples, parts, random, first) if together and len(parts) > 1 else None
        late = learn and self.pipeline and len(parts) == 1
        results = []
        self._traces = self._empty_traces(samples.size, record or ())
        for part in parts:
            own = None if labels is None else labels[part]
            before, self._pending = self._pending, None
            self._recorded_from = part.start
            result, shown = self._forward(spikes, samples[part], own, random, first + part.start, samples.size, before)
            results.append(result)
            if record is not None:
                self._keep_spikes(part)
            if learn:
                if together:
                    shown = replace(shown, mean_counts=means or [c.mean(axis=0) for c in shown.counts])
                if late:
                    self._pending = shown
                else:
                    self._trial(None, shown)
        if learn:
            self.has_gradient = before is not None or not late
            if self.has_gradient:
                self._genn.custom_update("Reduce")
            if late and self._traces:
                # The batch's own backward pass comes with the next one: show it, and forget what it adds.
                self._trial(None, shown)
                self._clear_gradients()
        self._held = range(parts[-1].start, samples.size) if parts and not learn else range(0)
        return BatchResult(*(np.concatenate([getattr(r, n) for r in results]) for n in _RESULTS))

    def flush(self) -> bool:
        self._memory.report_lost()
        if self._pending is None:
            return False
        pending, self._pending = self._pending, None
        self._traces = {}
        self._trial(None, pending)
        self._genn.custom_update("Reduce")
        self.has_gradient = True
        return True

    def times(self) -> dict[str, float]:
        if not self._genn.timing_enabled:
            return {}
        groups = ["Reduce", "Learn"] if self._made.learning else []
        return {
            "neurons": self._genn.neuron_update_time,
            "synapses": self._genn.presynaptic_update_time,
            "updates": sum(self._genn.get_custom_update_time(g) for g in groups),
        }

    def spikes(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        if index in self._spikes_of:
            return self._spikes_of[index][population]
        if index not in self._held:
            raise IndexError(
                f"sample {index} of the last batch is not held; held, if it was not learned from: "
                f"{self._held.start} to {self._held.stop - 1}"
            )
        if population == "output" and not self.network.loss.spiking:
            raise ValueError("the outputs of this network do not spike")
        number = index - self._held.start
        if population == "input":
            slots, steps, channels = self._presenter.shown
            return steps[slots == number].astype(np.uint16), channels[slots == number].astype(np.uint16)
        pieces = self._recorded if self._recorded is not None else [self._recording()]
        times, ids = (np.concatenate(part) for part in zip(*(p[population][number] for p in pieces), strict=True))
        return np.round(times / self.network.dt_ms).astype(np.uint16), ids.astype(np.uint16)

    def spike_times(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        steps, ids = self.spikes(index, population)
        return (steps + 1.0) * self.network.dt_ms, ids

    def trace(self, population: str, variable: str) -> np.ndarray:
        if (population, variable) not in self._traces:
            raise RuntimeError(f"{variable} of {population} was not recorded in the last batch")
        return self._traces[population, variable]

    def _empty_traces(self, n: int, record: Collection[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
        sizes = {q.name: q.size for q in self.network.populations}
        return {(q, v): np.full((n, self.network.num_steps, sizes[q]), np.nan, np.float32) for q, v in record}

    def _adjoints_of(self, population: str) -> tuple[str, ...]:
        return next(q.model.adjoint for q in self.network.populations if q.name == population)

    def _trace_step(self, step: int, n: int, backward: bool) -> None:
        """Take the recorded variables after a step of a trial."""
        k = self.network.num_steps - 2 - step if backward else step
        for (population, variable), values in self._traces.items():
            if (variable in self._adjoints_of(population)) is not backward:
                continue
            rows = values[self._recorded_from : self._recorded_from + n]
            if backward and step == 0:
                rows[:, -1] = 0.0  # at the end of the trial all adjoints are 0
            if k >= 0:
                rows[:, k] = self._memory.of_samples(population, "I" if variable == "Isyn" else variable, n)

    def _keep_spikes(self, part: slice) -> None:
        """Hold the spikes of samples whose batch is presented part by part."""
        self._held = range(part.start, part.stop)
        spiking = ["input", *(q.name for q in self.network.populations if q.model.threshold)]
        for index in self._held:
            self._spikes_of[index] = {q: self.spikes(index, q) for q in spiking}

    def _clear_gradients(self) -> None:
        for name in self._made.reduced:
            population, dot, parameter = name.partition(".")
            group = self._made.populations[population] if dot else self._made.synapses[name]
            pushed(group.vars[f"d_{parameter}" if dot else "gradient"], 0)

    def _recording(self) -> Any:
        """By population and sample, what GeNN has recorded since the start of its buffer."""
        self._genn.pull_recording_buffers_from_device()
        spiking = [q.name for q in self.network.populations if q.model.threshold]
        return {q: self._made.populations[q].spike_recording_data for q in spiking}

    def _mean_counts(
        self, spikes: SpikeSet, samples: np.ndarray, parts: list[slice], random: Randomness, first: int
    ) -> list[np.ndarray]:
        """Spikes of each hidden neuron, averaged over a batch that is not presented at once."""
        counts = []
        for part in parts:
            _, shown = self._forward(spikes, samples[part], None, random, first + part.start, samples.size, None)
            counts.append(shown.counts)
        return [np.concatenate(layer).mean(axis=0) for layer in zip(*counts, strict=True)]

    def _forward(
        self,
        spikes: SpikeSet,
        samples: np.ndarray,
        labels: np.ndarray | None,
        random: Randomness,
        first: int,
        averaged: int,
        before: Shown | None,
    ) -> tuple[BatchResult, Shown]:
        """Present samples, while the batch ``before`` runs backwards."""
        if self.pipeline:
            self._half = 1 - self._half
        self._presenter.show(spikes, samples, random, first, self._half)
        shown = Shown(samples.size, self._half, labels, averaged)
        self._trial(shown, before)
        return self._scorer.read(shown)

    def _trial(self, forward: Shown | None, backward: Shown | None) -> None:
        """Run all steps of a trial, and take the variables that are recorded, of the trial that runs alone."""
        if backward is not None:
            self._scorer.prepare(backward)
        values = {
            "forward": int(forward is not None),
            "num_samples": forward.n if forward else 0,
            "backward": int(backward is not None),
            "num_back": backward.n if backward else 0,
            "half": forward.half if forward else 0,
            "half_back": backward.half if backward else 0,
        }
        for name in self._made.populations:
            for parameter in Dynamic:
                self._memory.set_dynamic(name, parameter, values[parameter])
        self._genn.timestep = 0
        self._recorded = [] if self._record < self.network.num_steps and backward is None else None
        for k in range(1, self.network.num_steps + 1):
            self._genn.step_time()
            if self._traces and forward is not None:
                self._trace_step(k - 1, forward.n, False)
            elif self._traces and backward is not None:
                self._trace_step(k - 1, backward.n, True)
            if self._recorded is not None and k % self._record == 0:
                self._recorded.append(self._recording())

    def _copy_weights(self) -> None:
        """Twins have the weights of the synapses whose they are."""
        for twin, name in self._made.twins.items():
            pushed(self._made.synapses[twin].vars["w"], self._memory.synaptic(name, "w").ravel())
