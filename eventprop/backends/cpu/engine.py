"""The CPU backend: drives the compiled engine through ctypes and keeps its weights as NumPy arrays."""

from __future__ import annotations

import ctypes
import math
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from eventprop import models
from eventprop.backends import BatchResult, by_kind
from eventprop.backends.cpu.codegen import generate, kind_of, trained_in_any
from eventprop.backends.cpu.codegen_loss import losses_of
from eventprop.backends.cpu.compiler import load_library
from eventprop.backends.cpu.interface import (
    BACKWARD,
    FORWARD,
    WHOLE,
    Batch,
    Compared,
    address,
    aligned_zeros,
    check,
    declare,
    rows,
    steps_per_step,
    vector,
)
from eventprop.backends.cpu.panels import Panels
from eventprop.choice import meaning
from eventprop.data import presentation
from eventprop.data.spikes import SpikeSet
from eventprop.network import DELAY_SHARED, PRECISIONS, Delay, Network, Population, Projection, Randomness

__all__ = ["CpuEngine", "available_threads"]

_ROLES = ("w", "g", *models.ADAM.state)


def available_threads() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class CpuEngine:
    """A network on this machine's cores.

    Results do not depend on the number of threads: a sample is worked on by one thread, and a block of weight
    gradients is summed by one thread over the samples in the order that ``sums.hpp`` has.

    Args:
        network: what to build.
        num_threads: None for all cores that the process may use.
        real: "float" or "double", where it is not the network's precision.
    """

    name = "cpu"
    has_gradient = True

    def __init__(self, network: Network, num_threads: int | None = None, real: str | None = None) -> None:
        real = real or network.precision
        self.network, self._real = network, real
        self._dtype = np.dtype(meaning("real", real, PRECISIONS))
        self._wanted = num_threads
        wanted = num_threads or available_threads()
        self._lib = load_library(generate(network, real))
        declare(self._lib, bool(network.delays))
        self._panels = Panels(self._lib.engine_panel(), self._lib.engine_row_spare())
        self.block: int = self._lib.engine_block_samples()
        self._fine = steps_per_step(network)
        self._handle = self._lib.engine_create(
            network.num_steps * self._fine,
            self._fine,
            network.num_input,
            network.copies,
            network.delay_steps * self._fine,
            len(network.hidden),
            wanted,
        )
        if not self._handle:
            raise MemoryError("there is no memory for the CPU engine, or a limit on it (ulimit -v) is too low")
        self.num_threads = self._lib.engine_threads(self._handle)
        if self.num_threads < wanted:
            warnings.warn(
                f"{self.num_threads} of {wanted} threads (NUM_THREADS) work: a limit on memory or processes "
                "(ulimit -v, ulimit -u) allows no more; results are the same",
                stacklevel=2,
            )
        self._held = range(0)  # samples of the last batch whose spikes are there
        self._traced = (0, False, False)  # samples of the last batch, whether recorded, whether learned from
        self._layers = {population.name: number for number, population in enumerate(network.populations)}
        self._trained: dict[str, dict[str, np.ndarray]] = {}
        for population in network.populations:
            for name in trained_in_any(kind_of(network, population)[1]):
                if name in population.trained:
                    self._trained[f"{population.name}.{name}"] = self._place_trained(population, name)
                else:
                    none: tuple[Any, ...] = (None, None, None, None, 0.0, 0.0)
                    check(self._lib.engine_trained(self._handle, self._layers[population.name], *none))
        self.set_time_constants(network.initial_time_constants())
        self._arrays = {p.name: self._place(p) for p in network.projections}
        self._arrays |= {name: self._place_delays(p, delay) for name, (p, delay) in network.delays.items()}
        number, values = losses_of(network).index(network.loss), vector(network.loss_parameters, network.loss)
        window = (step * self._fine for step in network.counted)
        check(self._lib.engine_loss(self._handle, number, values.size, address(values), *window))
        number = list(models.REGULARISERS).index(network.regulariser.name)
        values = rows(network)
        check(self._lib.engine_regulariser(self._handle, number, values.shape[1], address(values)))

    def __reduce__(self) -> tuple[Any, ...]:
        """An engine that is copied or unpickled is a new one, with the same weights, time constants and moments."""
        state = self.weights(), self.time_constants(), self.optimiser_state()
        return _restored, (self.network, self._wanted, self._real, *state)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._lib.engine_destroy(self._handle)
            self._handle = None

    def _set_layer(self, population: Population) -> None:
        current: Mapping[str, Any] = {**population.parameters, **self._constants[population.name]}
        rows = [np.broadcast_to(current[n], population.size) for n in population.model.parameters]
        values = np.array(rows, dtype=np.float64)
        dt_ms = self.network.dt_ms / self._fine
        number, (kind, _) = self._layers[population.name], kind_of(self.network, population)
        check(self._lib.engine_layer(self._handle, number, kind, population.size, address(values), dt_ms))

    def _place_trained(self, population: Population, name: str) -> dict[str, np.ndarray]:
        """Arrays of a trained time constant, ``(size,)`` and what fills its last panel."""
        padded = -(-population.size // self._panels.lanes) * self._panels.lanes
        arrays = {role: aligned_zeros((padded,), self._dtype) for role in _ROLES}
        addresses = (address(arrays[role]) for role in _ROLES)
        bounds = self.network.bounds_of(name)
        check(self._lib.engine_trained(self._handle, self._layers[population.name], *addresses, *bounds))
        return arrays

    def _empty(self, projection: Projection) -> dict[str, np.ndarray]:
        """Arrays of a projection in the engine's layout."""
        return {role: self._panels.zeros(projection.shape, self._dtype) for role in _ROLES}

    def _where(self, projection: Projection) -> tuple[Any, ...]:
        """How the engine's functions know a projection."""
        return self._handle, self._layers[projection.target], int(projection.source == projection.target)

    def _place(self, projection: Projection) -> dict[str, np.ndarray]:
        arrays, n_pre = self._empty(projection), projection.shape[0]
        if (mask := self.network.masks.get(projection.name)) is not None:
            arrays["there"] = self._panels.zeros(projection.shape, np.dtype(np.uint8))
            self._panels.write(arrays["there"], mask)
        addresses = (address(arrays.get(role)) for role in ("there", *_ROLES))
        self._lib.engine_weights(*self._where(projection), n_pre, int(projection.trained), *addresses)
        return arrays

    def _place_delays(self, projection: Projection, delay: Delay) -> dict[str, np.ndarray]:
        arrays, shared = self._empty(projection), DELAY_SHARED.index(delay.per)
        addresses = (address(arrays[role]) for role in _ROLES)
        check(self._lib.engine_delays(*self._where(projection), int(delay.trained), shared, delay.most, *addresses))
        return arrays

    def _read(self, role: str) -> dict[str, np.ndarray]:
        shapes = self.network.synaptic_shapes()
        return {name: self._panels.read(self._arrays[name][role], shape) for name, shape in shapes.items()}

    def _write(self, role: str, values: Mapping[str, np.ndarray]) -> None:
        for name in self.network.synaptic_shapes():
            self._panels.write(self._arrays[name][role], values[name])

    def weights(self) -> dict[str, np.ndarray]:
        return self._read("w")

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._write("w", weights)

    def gradients(self) -> dict[str, np.ndarray]:
        return self._read("g")

    def time_constants(self) -> dict[str, dict[str, np.ndarray]]:
        for population in self.network.populations:
            for name in population.trained:
                current = self._trained[f"{population.name}.{name}"]["w"][: population.size]
                self._constants[population.name][name] = current.astype(self.network.dtype)
        return {p: {name: a.copy() for name, a in values.items()} for p, values in self._constants.items()}

    def set_time_constants(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        self._constants = self.network.check_time_constants(values)
        for population in self.network.populations:
            for name in population.trained:
                self._trained[f"{population.name}.{name}"]["w"][: population.size] = values[population.name][name]
            self._set_layer(population)
        check(self._lib.engine_take_trained(self._handle))

    def time_constant_gradients(self) -> dict[str, dict[str, np.ndarray]]:
        return {
            q.name: {n: self._trained[f"{q.name}.{n}"]["g"][: q.size].copy() for n in q.trained}
            for q in self.network.populations
            if q.trained
        }

    def optimiser_state(self) -> dict[str, dict[str, np.ndarray]]:
        sizes = self.network.trained_shapes()
        return {
            role: self._read(role) | {n: a[role][: sizes[n][0]].copy() for n, a in self._trained.items()}
            for role in models.ADAM.state
        }

    def set_optimiser_state(self, state: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        for role in models.ADAM.state:
            self._write(role, self.network.living(state[role]))
            for name, arrays in self._trained.items():
                arrays[role][: state[role][name].size] = state[role][name]

    def _chunk(self, n: int, learn: bool) -> int:
        """Samples to present at a time, all of them where the regulariser needs the counts of all first."""
        whole = learn and self.network.average_counts
        return n if whole else min(n, self.block * self.num_threads)

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
        following: presentation.Batch | None = None,
    ) -> BatchResult:
        if record and self.network.spike_timing == "exact":
            raise ValueError('variables are recorded at the ends of steps, with SPIKE_TIMING="grid" or "substep"')
        samples = np.ascontiguousarray(samples, dtype=np.int64)
        told = Compared.of(labels)
        n, self._held, self._traced = samples.size, range(0), (0, False, False)
        check(self._lib.engine_take_delays(self._handle))
        own = self._own(n, record is not None)
        chunk = max(1, self._chunk(own.stop - own.start, learn) if record is None else n)
        silent, result = np.zeros(n, np.int32), BatchResult.empty(self.network, n)
        view = self._view(spikes, learn, randomness or Randomness(), record)
        view.batch, parts = n, [slice(i, min(own.stop, i + chunk)) for i in range(own.start, own.stop, chunk)]
        if learn:
            check(self._lib.engine_begin_gradients(self._handle, own.start))
        apart = learn and self.network.average_counts
        problem = self._sweep(view, FORWARD if apart else WHOLE, parts, samples, told, result, silent, first)
        self._complete(result, silent, own, problem)
        if apart:
            mean_counts = result.spike_counts.sum(axis=0, dtype=np.float32) / np.float32(n)
            view.mean_counts = address(mean_counts)
            check(self._sweep(view, BACKWARD, parts, samples, told, result, silent, first))
        if learn:
            self._finish_gradients(n)
        result.predictions[:] = np.where(silent, -1, result.scores.argmax(axis=1))
        if told.classes is not None:
            result.measured[:] = result.predictions == told.classes
        self._held = range(parts[-1].start, own.stop) if parts else range(0)
        self._traced = (n, bool(record), learn)
        return result

    def _view(
        self,
        spikes: SpikeSet,
        learn: bool,
        random: Randomness,
        record: Collection[tuple[str, str]] | None,
    ) -> Batch:
        """What the engine is told of a batch, but for its samples."""
        self._random = np.array([random.of_layer(number) for number in range(len(self.network.hidden))]).T.copy()
        return Batch(
            offsets=address(spikes.offsets),
            steps=address(spikes.steps),
            channels=address(spikes.channels),
            at=address(spikes.at) if self.network.spike_timing == "exact" else None,
            learn=int(learn),
            record=int(bool(record)),
            input_seed=random.input_seed,
            hidden_seed=random.hidden_seed,
            noise_seed=random.noise_seed,
            input_dropout=random.input_dropout,
            hidden_dropout=address(self._random[0]),
            noise=address(self._random[1]),
            loss_scale=self.network.loss_scale,
            label_smoothing=self.network.label_smoothing if learn else 0.0,
        )

    def _sweep(
        self,
        view: Batch,
        stage: int,
        parts: Sequence[slice],
        samples: np.ndarray,
        told: Compared,
        result: BatchResult,
        silent: np.ndarray,
        first: int,
    ) -> int:
        """Present parts of a batch, one after the other; the status of the first that is not 0."""
        arrays = {"samples": samples, "scores": result.scores, "loss": result.loss}
        arrays |= {"counts": result.spike_counts, "silent": silent, **told.arrays(result.measured)}
        rows = [(name, array.ctypes.data, array.strides[0]) for name, array in arrays.items()]
        view.stage, view.target_steps = stage, told.steps
        for part in parts:
            view.n, view.first = part.stop - part.start, first + part.start
            for name, begin, stride in rows:  # an address of each slice would take longer than a small network
                setattr(view, name, begin + part.start * stride)
            if status := self._lib.engine_run(self._handle, ctypes.byref(view)):
                return int(status)
        return 0

    def _own(self, n: int, recorded: bool) -> slice:
        """Which of a batch's ``n`` samples are presented here: whole blocks, or all where they are to be recorded."""
        return slice(0, n)

    def _complete(self, result: BatchResult, silent: np.ndarray, own: slice, status: int) -> None:
        """See that the forward sweep went well, and that all samples' results are there."""
        check(status)

    def _finish_gradients(self, n: int) -> None:
        """Add up the gradients of all ``n`` samples."""
        check(self._lib.engine_finish_gradients(self._handle, None))

    def trace(self, population: str, variable: str) -> np.ndarray:
        n, recorded, learned = self._traced
        q = next(q for q in self.network.populations if q.name == population)
        state = list(q.model.state)
        if not recorded:
            raise RuntimeError("the last batch was not recorded")
        found = np.full((n, self.network.num_steps, q.size), np.nan, np.float32)
        backward = variable in q.model.adjoint
        row = q.model.adjoint.index(variable) if backward else state.index(variable)
        if learned or not backward:
            for i in range(n):
                where = self._handle, i, self._layers[population], int(backward), row
                self._lib.engine_trace(*where, address(found[i]))
        return found

    def gradient_norm(self, enough: float = 0.0) -> float:
        square = ctypes.c_double()
        check(self._lib.engine_gradient_norm2(self._handle, ctypes.byref(square)))
        return math.sqrt(square.value)

    def update(self, parameters: Mapping[str, float], factor: float = 1.0, delay_rate: float = 0.0) -> None:
        values = np.array([[of[n] for n in models.ADAM.parameters] for of in by_kind(parameters, delay_rate).values()])
        check(self._lib.engine_update(self._handle, address(values), factor))

    def flush(self) -> bool:
        return False

    def times(self) -> dict[str, float]:
        return {}

    def spikes(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        steps, ids, _ = self._spikes(index, population)
        return steps, ids

    def spike_times(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        steps, ids, at = self._spikes(index, population)
        return steps * self.network.dt_ms + at, ids

    def _spikes(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        held = self._held
        if index not in held:
            there = f"held: {held.start} to {held.stop - 1}" if held else "there is none"
            raise IndexError(f"sample {index} of the last batch is not held; {there}")
        layer = -1 if population == "input" else self._layers[population]
        if population == "output" and not self.network.loss.spiking:
            raise ValueError("the outputs of this network do not spike")
        arguments: tuple[Any, ...] = (self._handle, index - held.start, layer)
        count = self._lib.engine_spikes(*arguments, None, None, None)
        steps, ids, at = np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, np.float32)
        self._lib.engine_spikes(*arguments, address(steps), address(ids), address(at))
        at += steps % self._fine * (self.network.dt_ms / self._fine)
        return steps // self._fine, ids, at


def _restored(
    network: Network,
    num_threads: int | None,
    real: str,
    weights: Mapping[str, np.ndarray],
    time_constants: Mapping[str, Mapping[str, np.ndarray]],
    moments: Mapping[str, Mapping[str, np.ndarray]],
) -> CpuEngine:
    engine = CpuEngine(network, num_threads, real)
    engine.set_weights(weights)
    engine.set_time_constants(time_constants)
    engine.set_optimiser_state(moments)
    return engine
