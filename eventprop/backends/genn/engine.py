"""The GeNN backend: the host's part of each batch, around a model that :mod:`eventprop.backends.genn.model` makes.

A batch runs forwards through a trial, then backwards through another one. With a pipeline, it runs backwards while the
next batch runs forwards: its gradient comes one batch late, and its error went back through weights that are one update
newer than those of its forward pass. ``flush`` gives the last one. Between two trials the host computes scores, losses
and errors, which are small, in the same way as the CPU backend.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np

from eventprop import models
from eventprop.backends import BatchResult, by_kind
from eventprop.backends.devices import say_slow
from eventprop.backends.genn.builder import Dynamic, Layout, constants_of
from eventprop.backends.genn.built import load
from eventprop.backends.genn.delays import in_steps, one_of_each, shared
from eventprop.backends.genn.memory import Memory, pulled, pushed
from eventprop.backends.genn.model import GennModel, preferences
from eventprop.backends.genn.presenting import Presenter
from eventprop.backends.genn.recorder import Recorder
from eventprop.backends.genn.scoring import Scorer, Shown
from eventprop.data import targets
from eventprop.data.presentation import Batch
from eventprop.data.spikes import SpikeSet
from eventprop.network import DELAY, Network, Population, Randomness

__all__ = ["GennEngine"]

_RESULTS = [f.name for f in fields(BatchResult)]


class GennEngine:
    """A network on GeNN.

    GeNN's CPU backend takes one sample at a time: there, a batch is presented sample by sample, which is slow, and
    gradients are added up.

    Args:
        network: what to build; spikes leave at the ends of steps.
        backend: "cuda", "hip" or "single_threaded_cpu".
        batch: samples to present at once, where the backend can.
        max_spikes: length of each neuron's ring of spikes, over two trials. Later spikes have no gradient; they are
            counted and reported.
        pipeline: whether one batch runs backwards while the next one runs forwards; not on GeNN's CPU backend with
            batches of more than one sample.
        build: whether code may be built.
        timing: whether times are taken. On a GPU the host takes them, by batch: GeNN would wait in every step.
        record_steps: size of GeNN's buffer of recorded spikes, in steps; it divides a trial. None for a trial.
        first_device: whether the first visible GPU is used, and not the one that GeNN finds best.
        real: "float" or "double", where it is not the network's precision.

    Raises:
        ValueError: spikes have exact times, or ``build`` is False where there is no code.
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
        if network.spike_timing == "exact":
            raise ValueError(
                'SPIKE_TIMING="exact" runs on BACKEND="cpu" only; on GeNN spikes leave at the ends of steps'
            )
        self.name, self.network = backend, network
        alone = backend == "single_threaded_cpu"
        if alone and batch > 1:
            say_slow(batch)
        self.pipeline = pipeline and not (alone and batch > 1)
        real = real or network.precision
        self._layout = Layout(1 if alone else batch, 2 if self.pipeline else 1, max_spikes, real)
        self._real: Any = np.float32 if real == "float" else np.float64
        options = preferences(backend, first_device)
        made = GennModel(network, backend, self._layout, real=real, timing=timing and alone, options=options)
        load(made, build, record_steps or network.num_steps)
        self._made, self._genn = made, made.genn
        self._half = 0
        self._pending: Shown | None = None
        self.has_gradient = False
        self._busy = False
        self._memory = Memory(made)
        self._presenter, self._scorer = Presenter(self._memory, self._real), Scorer(self._memory)
        self._recorder = Recorder(self._memory, self._presenter, record_steps or network.num_steps)
        for name, constants in made.constants.items():
            for constant, value in constants.items():
                self._memory.set_dynamic(name, constant, value)
        for name, group in made.learning.items():
            if "." in name:  # a time constant, or delays
                own = network.delays.get(name)
                least, most = (0.0, own[1].most) if own else network.bounds_of(name.split(".")[1])
                group.set_dynamic_param_value("least", least)
                group.set_dynamic_param_value("most", most)
        self._seconds = dict.fromkeys(("input", "trials", "updates"), 0.0) if timing and not alone else {}
        self.set_time_constants(network.initial_time_constants())
        for name, mask in network.masks.items():
            pushed(made.synapses[name].vars["there"], np.ravel(mask).astype(np.uint8))

    # Weights, time constants, moments

    def weights(self) -> dict[str, np.ndarray]:
        found = {p.name: self._memory.synaptic(p.name, "w") for p in self.network.projections}
        found |= {n: self._memory.synaptic(p.name, "delay") for n, (p, _) in self.network.delays.items()}
        return {name: values.astype(self.network.dtype) for name, values in found.items()}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        for p in self.network.projections:
            pushed(self._made.synapses[p.name].vars["w"], np.ravel(weights[p.name]))
        for name, (p, _) in self.network.delays.items():
            values = np.ravel(weights[name]).astype(self._real)
            pushed(self._made.synapses[p.name].vars["delay"], values)
            pushed(self._made.synapses[p.name].vars["late"], in_steps(values, self.network))
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
        reduced = self._made.reduced
        return {
            name: self._memory.reduced(name).reshape(shape).copy() if name in reduced else np.zeros(shape, self._real)
            for name, shape in self.network.synaptic_shapes().items()
        }

    def time_constant_gradients(self) -> dict[str, dict[str, np.ndarray]]:
        return {
            q.name: {n: self._memory.reduced(f"{q.name}.{n}").copy() for n in q.trained}
            for q in self.network.populations
            if q.trained
        }

    def gradient_norm(self, enough: float = 0.0) -> float:
        if enough > 0 and self._memory.all_reduced_below(enough):
            return 0.0
        found = {name: self._memory.reduced(name) for name in self._made.reduced}
        for name, (p, delay) in self.network.delays.items():
            if name in found:
                found[name] = one_of_each(found[name].reshape(p.shape), delay)
        squares = [np.sum(np.square(values, dtype=np.float64)) for values in found.values()]
        return float(np.sqrt(np.sum(squares)))

    def _reduce(self) -> None:
        """Sum gradients over the batch, and over synapses that share a delay."""
        if self._made.learning:  # GeNN has no group of updates where nothing is in it
            self._genn.custom_update("Reduce")
        for name, (p, delay) in self.network.delays.items():
            if delay.trained and delay.per != "synapse":
                values = shared(self._memory.reduced(name).reshape(p.shape), delay)
                pushed(self._made.reduced[name].vars["reduced"], np.ravel(values))

    def update(self, parameters: Mapping[str, float], factor: float = 1.0, delay_rate: float = 0.0) -> None:
        with self._counted("updates"):
            self._update(parameters, factor, delay_rate)

    def _update(self, parameters: Mapping[str, float], factor: float, delay_rate: float) -> None:
        kinds = by_kind(parameters, delay_rate)
        for name, group in self._made.learning.items():
            own = kinds["delays" if name.endswith(DELAY) else "neurons" if "." in name else "weights"]
            for parameter in models.ADAM.parameters:
                group.set_dynamic_param_value(parameter, float(own[parameter]))
            group.set_dynamic_param_value("factor", factor)
        if self._made.learning:
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
        for role in models.ADAM.state:
            for name, values in self.network.living({n: state[role][n] for n in self._made.learning}).items():
                pushed(self._made.learning[name].vars[role], np.ravel(values))

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
        following: Batch | None = None,
    ) -> BatchResult:
        if self._pending is not None and not learn:
            raise RuntimeError("a batch is still to be learned from; flush() comes before a run without learning")
        self._settle()
        random, samples = randomness or Randomness(), np.asarray(samples, np.int64)
        if labels is not None:
            labels = np.asarray(labels, np.float64 if targets.are_values(labels) else np.int32)
        parts = [
            slice(i, min(samples.size, i + self._layout.batch)) for i in range(0, samples.size, self._layout.batch)
        ]
        self._recorder.clear()
        together = learn and self.network.average_counts
        means = self._mean_counts(spikes, samples, parts, random, first) if together and len(parts) > 1 else None
        late = learn and self.pipeline and len(parts) == 1
        results = []
        self._recorder.begin(samples.size, record or ())
        for part in parts:
            own = None if labels is None else labels[part]
            before, self._pending = self._pending, None
            self._recorder.part = part
            ahead = following if part is parts[-1] else None
            result, shown = self._forward(
                spikes, samples[part], own, random, first + part.start, samples.size, before, ahead, learn
            )
            results.append(result)
            if record is not None:
                self._recorder.keep_spikes()
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
                self._reduce()
            if late and self._recorder.traces:
                # The batch's own backward pass comes with the next one: show it, and forget what it adds.
                self._trial(None, shown)
                self._clear_gradients()
        self._recorder.held = range(parts[-1].start, samples.size) if parts and not learn else range(0)
        self._busy = False
        return BatchResult(*(np.concatenate([getattr(r, n) for r in results]) for n in _RESULTS))

    def flush(self) -> bool:
        self._memory.report_lost()
        if self._pending is None:
            return False
        self._settle()
        pending, self._pending = self._pending, None
        self._recorder.traces = {}
        self._trial(None, pending)
        self._reduce()
        self.has_gradient, self._busy = True, False
        return True

    def _settle(self) -> None:
        """Where the last batch was interrupted, take its trial to the end, so that no spike of it arrives later, and
        forget its gradients."""
        if self._busy:
            while 0 < self._genn.timestep < self.network.num_steps:
                self._genn.step_time()
            self._clear_gradients()
        self._busy = True

    def times(self) -> dict[str, float]:
        if not self._genn.timing_enabled:
            return dict(self._seconds)
        groups = ["Reduce", "Check", "Learn"] if self._made.learning else []
        return {
            "neurons": self._genn.neuron_update_time,
            "synapses": self._genn.presynaptic_update_time,
            "updates": sum(self._genn.get_custom_update_time(g) for g in groups),
        }

    @contextmanager
    def _counted(self, part: str) -> Iterator[None]:
        """Adds to the seconds of a part; what the host has started on a device is in the part that waits for it."""
        start = time.perf_counter()
        yield
        if self._seconds:
            self._seconds[part] += time.perf_counter() - start

    def spikes(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        return self._recorder.spikes(index, population)

    def spike_times(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        steps, ids = self.spikes(index, population)
        return (steps + 1.0) * self.network.dt_ms, ids

    def trace(self, population: str, variable: str) -> np.ndarray:
        return self._recorder.trace(population, variable)

    def _clear_gradients(self) -> None:
        for group, variable in self._made.collected.values():
            pushed(group.vars[variable], 0)

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
        ahead: Batch | None = None,
        learn: bool = False,
    ) -> tuple[BatchResult, Shown]:
        """Present samples, while the batch ``before`` runs backwards, and make the input of the batch ``ahead``."""
        if self.pipeline:
            self._half = 1 - self._half
        with self._counted("input"):
            self._presenter.show(spikes, samples, random, first, self._half)
        shown = Shown(samples.size, self._half, labels, averaged, learn)
        with self._counted("trials"):
            self._trial(shown, before)
            if ahead is not None:  # the device has been told of all steps and is at work on them
                self._presenter.prepare(ahead.spikes, ahead.samples[: self._layout.batch], random, ahead.first)
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
        self._recorder.start_trial(backward is not None)
        n = forward.n if forward is not None else backward.n if backward is not None else 0
        for k in range(self.network.num_steps):
            self._genn.step_time()
            self._recorder.after_step(k, n, forward is None)

    def _copy_weights(self) -> None:
        """Twins have the weights and delays of the synapses whose they are."""
        for twin, name in self._made.twins.items():
            variables = self._made.synapses[twin].vars
            for variable in ("w", "late"):
                if variable in variables:
                    pushed(variables[variable], self._memory.synaptic(name, variable).ravel())
