"""What of a batch on GeNN is kept to be looked at: spikes, and variables after each step."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from eventprop.backends.genn.memory import Memory
from eventprop.backends.genn.presenting import Presenter

__all__ = ["Recorder"]


class Recorder:
    """Takes spikes and variables while a batch is presented, part by part where it does not fit at once.

    Attributes:
        traces: by population and variable, ``(n, steps, size)`` of all samples of the batch.
        part: samples that are presented.
        held: samples whose spikes can be asked for.
    """

    def __init__(self, memory: Memory, presenter: Presenter, record_steps: int) -> None:
        self._memory, self._presenter, self._record = memory, presenter, record_steps
        self._genn, self._populations, self.network = memory.made.genn, memory.made.populations, memory.network
        self._recorded: list[Any] | None = None
        self.part, self.held = slice(0, 0), range(0)
        self.clear()

    def clear(self) -> None:
        """Forget what the last batch has left."""
        self.traces: dict[tuple[str, str], np.ndarray] = {}
        self._spikes_of: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}

    def begin(self, n: int, record: Collection[tuple[str, str]]) -> None:
        """Record these variables of the ``n`` samples to come."""
        sizes = {q.name: q.size for q in self.network.populations}
        shape = (n, self.network.num_steps)
        self.traces = {(q, v): np.full((*shape, sizes[q]), np.nan, np.float32) for q, v in record}

    def start_trial(self, backward: bool) -> None:
        self._recorded = [] if self._record < self.network.num_steps and not backward else None

    def after_step(self, step: int, n: int, backward: bool) -> None:
        """Take what is recorded after a step of a trial of ``n`` samples that runs forwards, or backwards alone."""
        if self.traces:
            self._take(step, n, backward)
        if self._recorded is not None and (step + 1) % self._record == 0:
            self._recorded.append(self._recording())

    def _take(self, step: int, n: int, backward: bool) -> None:
        k = self.network.num_steps - 2 - step if backward else step
        for (population, variable), values in self.traces.items():
            if (variable in self._adjoints_of(population)) is not backward:
                continue
            rows = values[self.part.start : self.part.start + n]
            if backward and step == 0:
                rows[:, -1] = 0.0  # at the end of the trial all adjoints are 0
            if k >= 0:
                rows[:, k] = self._memory.of_samples(population, "I" if variable == "Isyn" else variable, n)

    def _adjoints_of(self, population: str) -> tuple[str, ...]:
        return next(q.model.adjoint for q in self.network.populations if q.name == population)

    def keep_spikes(self) -> None:
        """Hold the spikes of samples whose batch is presented part by part."""
        self.held = range(self.part.start, self.part.stop)
        spiking = ["input", *(q.name for q in self.network.populations if q.model.threshold)]
        for index in self.held:
            self._spikes_of[index] = {q: self.spikes(index, q) for q in spiking}

    def _recording(self) -> Any:
        """By population and sample, what GeNN has recorded since the start of its buffer."""
        self._genn.pull_recording_buffers_from_device()
        spiking = [q.name for q in self.network.populations if q.model.threshold]
        return {q: self._populations[q].spike_recording_data for q in spiking}

    def spikes(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and neurons of the spikes of a sample."""
        if index in self._spikes_of:
            return self._spikes_of[index][population]
        if index not in self.held:
            raise IndexError(
                f"sample {index} of the last batch is not held; held, if it was not learned from: "
                f"{self.held.start} to {self.held.stop - 1}"
            )
        if population == "output" and not self.network.loss.spiking:
            raise ValueError("the outputs of this network do not spike")
        number = index - self.held.start
        if population == "input":
            slots, steps, channels = self._presenter.shown
            return steps[slots == number].astype(np.uint16), channels[slots == number].astype(np.uint16)
        pieces = self._recorded if self._recorded is not None else [self._recording()]
        times, ids = (np.concatenate(part) for part in zip(*(p[population][number] for p in pieces), strict=True))
        return np.round(times / self.network.dt_ms).astype(np.uint16), ids.astype(np.uint16)

    def trace(self, population: str, variable: str) -> np.ndarray:
        if (population, variable) not in self.traces:
            raise RuntimeError(f"{variable} of {population} was not recorded in the last batch")
        return self.traces[population, variable]
