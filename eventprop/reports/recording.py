"""What ``REC_SPIKES``, ``REC_NEURONS``, ``REC_SYNAPSES`` and the intervals of weights ask for, in the trials they name.

A trial is one batch; training trials of an epoch are numbered from 0, evaluation trials after them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.backends import Engine
from eventprop.network import DELAY, Network, flat_file

__all__ = ["Recorder", "RecordingSettings", "given_names"]

_SYNAPTIC = {"w": "", "gradient": "", "delay": DELAY, "delay_gradient": DELAY}
"""Variables of synapses, with what follows the population's name where their values are."""


def _neurons(network: Network) -> dict[str, tuple[str, ...]]:
    """Variables by population: currents, potentials, adjoints."""
    return {q.name: (*q.model.state, *q.model.adjoint) for q in network.populations}


def _synapses(network: Network) -> dict[str, tuple[str, ...]]:
    """Variables by synapse population: weights, delays where there are some, and their gradients."""
    there = network.synaptic_shapes()
    return {p.name: tuple(v for v, of in _SYNAPTIC.items() if p.name + of in there) for p in network.projections}


@dataclass(frozen=True)
class RecordingSettings:
    """What is recorded, and when, under the names of the keys in small letters.

    Attributes:
        prefix: of the files.
        names: by population, how the user calls it where that is another name.
    """

    prefix: str
    out_dir: str
    write_to_disk: bool
    n_batch: int
    trial_ms: float
    dt_ms: float
    rec_spikes: list[str]
    rec_spikes_epoch_trial: list[list[int]] | None
    rec_neurons: list[list[str]]
    rec_neurons_epoch_trial: list[list[int]] | None
    rec_synapses: list[list[str]]
    rec_synapses_epoch_trial: list[list[int]] | None
    tau_output_epoch_trial: list[list[int]]
    w_output_epoch_trial: list[list[int]] = field(default_factory=list)
    w_report_interval: int | None = None
    w_epoch_interval: int | None = None
    names: Mapping[str, str] = field(default_factory=dict)


class Recorder:
    """Collects what the settings ask for during a run.

    Spikes lie one sample after the other on one axis of time: sample b of trial k from (k N_BATCH + b) TRIAL_MS on.
    Variables of neurons are taken after each step, at the time of its end; adjoints are at the same times, so that both
    can be plotted over each other, and not numbers in trials without learning. Synapses are taken after the trial's
    update.

    Raises:
        ValueError: a population or variable does not exist; lists those that do.
    """

    def __init__(self, settings: RecordingSettings, network: Network) -> None:
        self.settings, self.network = settings, network
        self._spiking = ["input", *(q.name for q in network.populations if q.model.threshold)]
        for key, wanted, there in (
            ("REC_NEURONS", settings.rec_neurons, _neurons(network)),
            ("REC_SYNAPSES", settings.rec_synapses, _synapses(network)),
        ):
            for population, variable in wanted:
                if variable not in there.get(population, ()):
                    words = "; ".join(f"{q}: {', '.join(v)}" for q, v in there.items())
                    raise ValueError(f"{key} has [{population}, {variable}], which is not there; there are {words}")
        for population in settings.rec_spikes:
            if population not in self._spiking:
                raise ValueError(
                    f"REC_SPIKES has {population}, which does not spike; there are {', '.join(self._spiking)}"
                )
        if settings.rec_neurons and network.spike_timing == "exact":
            raise ValueError('REC_NEURONS takes values at the ends of steps and needs SPIKE_TIMING="grid" or "substep"')
        self._rows: dict[str, list[np.ndarray]] = {}
        self._new: list[tuple[str, np.ndarray]] = []

    def restore(self, recorded: Sequence[tuple[str, np.ndarray]], saved: Mapping[str, Any]) -> None:
        """Take over what was recorded before a stop, so that this run's files are those of an unbroken one.

        Args:
            recorded: what :meth:`taken` gave then, in order.
            saved: the parameters of then.

        Raises:
            ValueError: it cannot be joined with what would be recorded now; names the key.
        """
        for key in ("N_BATCH", "TRIAL_MS", "DT_MS"):
            now = getattr(self.settings, key.lower())
            if recorded and saved.get(key) != now:
                raise ValueError(
                    f"the run so far recorded with {key}={saved.get(key)!r}, and recordings with {key}={now!r} "
                    f"have another shape: go on with {key}={saved.get(key)!r}, or under another NAME (CHECKPOINT_NAME "
                    "names the run to go on from)"
                )
        for name, values in recorded:
            self._rows.setdefault(name, []).append(values)

    def everything(self) -> list[tuple[str, np.ndarray]]:
        """All that was recorded so far, as :meth:`restore` takes it."""
        return [(name, values) for name, rows in self._rows.items() for values in rows]

    def taken(self) -> list[tuple[str, np.ndarray]]:
        """What was recorded since this was last asked for, by name, in order."""
        new, self._new = self._new, []
        return new

    def wanted(self, epoch: int, trial: int) -> Collection[tuple[str, str]] | None:
        """Populations and variables that the engine must record in this trial; empty for spikes alone, None for
        nothing."""
        if self._now("rec_neurons", epoch, trial):
            return [(q, v) for q, v in self.settings.rec_neurons]
        return [] if self._now("rec_spikes", epoch, trial) else None

    def _now(self, key: str, epoch: int, trial: int) -> bool:
        at = getattr(self.settings, f"{key}_epoch_trial")
        return bool(getattr(self.settings, key)) and (at is None or [epoch, trial] in at)

    def take(self, engine: Engine, epoch: int, trial: int, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Collect from a trial that has just run, after its update, and write weights that are wanted."""
        if self.settings.write_to_disk:
            self._save(engine, epoch, trial)
        if self._now("rec_spikes", epoch, trial):
            self._take_spikes(engine, trial, len(labels))
            self._also("spk", labels, predictions)
        if self._now("rec_neurons", epoch, trial):
            for population, variable in self.settings.rec_neurons:
                rows = engine.trace(population, variable).transpose(1, 0, 2)  # (step, sample, neuron)
                self._add(f"n {variable}{self._name(population)}", _padded(rows, self.settings.n_batch))
            steps = np.arange(1, self.network.num_steps + 1)
            self._add("t n", trial * self.settings.trial_ms + steps * self.settings.dt_ms)
            self._also("n", labels, predictions)
        if self._now("rec_synapses", epoch, trial):
            weights, gradients = engine.weights(), engine.gradients()
            for population, variable in self.settings.rec_synapses:
                values = gradients if variable.endswith("gradient") else weights
                array = values[population + _SYNAPTIC[variable]]
                self._add(f"s {variable}{self._name(population)}", array.reshape(1, -1))
            self._add("t s", np.array([(trial + 1) * self.settings.trial_ms]))
            self._also("s", labels, predictions)

    def _save(self, engine: Engine, epoch: int, trial: int) -> None:
        """Write the weights and time constants of this trial, where the settings ask for them."""
        folder, prefix = Path(self.settings.out_dir), self.settings.prefix
        if self._saves_weights(epoch, trial):
            for name, w in engine.weights().items():
                files.write_array(folder / f"{prefix}_{flat_file(name)}_e{epoch}_t{trial}.npy", w.ravel())
        if [epoch, trial] in self.settings.tau_output_epoch_trial:
            for q, values in engine.time_constants().items():
                for name, tau in values.items():
                    short = name.replace("mem", "m")
                    files.write_array(folder / f"{prefix}_{short}_{q}_e{epoch}_t{trial}.npy", tau)

    def _saves_weights(self, epoch: int, trial: int) -> bool:
        every, each = self.settings.w_epoch_interval, self.settings.w_report_interval
        if every is not None and each is not None:
            return not (epoch % every or trial % each)
        return [epoch, trial] in self.settings.w_output_epoch_trial

    def _take_spikes(self, engine: Engine, trial: int, n: int) -> None:
        batch, length = self.settings.n_batch, self.settings.trial_ms
        for population in self.settings.rec_spikes:
            for b in range(n):
                times, ids = engine.spike_times(b, population)
                self._add(f"spike_t {self._name(population)}", times + (trial * batch + b) * length)
                self._add(f"spike_ID {self._name(population)}", ids.astype(np.int64))

    def _also(self, what: str, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Labels, or what else outputs are compared with, and predictions of a recorded trial; where its batch is not
        full -1, or not a number."""
        for kind, values in (("lbl", labels), ("pred", predictions)):
            empty = np.float32(np.nan) if values.dtype.kind == "f" else np.int32(-1)
            row = np.full((1, self.settings.n_batch, *values.shape[1:]), empty)
            row[0, : len(values)] = values
            self._add(f"{kind} {what}", row)

    def _add(self, name: str, values: np.ndarray) -> None:
        self._rows.setdefault(name, []).append(values)
        self._new.append((name, values))

    def _name(self, population: str) -> str:
        """The name that the user gave it."""
        return self.settings.names.get(population, population)

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        """What was recorded of ``kind``: "spike_t", "spike_ID", "n" (neurons), "s" (synapses); one axis of trials."""
        found = {name.split(" ", 1)[1]: rows for name, rows in self._rows.items() if name.split(" ", 1)[0] == kind}
        joined = {name: np.concatenate(rows) for name, rows in found.items()}
        if kind == "n" and self.settings.n_batch == 1:
            joined = {name: rows[:, 0] for name, rows in joined.items()}
        return joined

    def write(self) -> None:
        """Write everything: ``<prefix>_<population>_spike_t.npy``, ``<prefix>_<variable><population>.npy``, and for "n"
        (neurons), "s" (synapses) and "spk" (spikes) times, labels and predictions."""
        folder, prefix = Path(self.settings.out_dir), self.settings.prefix
        for kind in ("spike_t", "spike_ID"):
            for population, values in self.arrays(kind).items():
                files.write_array(folder / f"{prefix}_{population}_{kind}.npy", values)
        for kind in ("n", "s"):
            for name, values in self.arrays(kind).items():
                files.write_array(folder / f"{prefix}_{name}.npy", values)
        for kind in ("t", "lbl", "pred"):
            for what, values in self.arrays(kind).items():
                files.write_array(folder / f"{prefix}_{what}_{kind}.npy", values)


def given_names(given: Mapping[str, Any]) -> dict[str, str]:
    """How the user calls populations that have another name here."""
    used = {str(name) for name in given.get("REC_SPIKES") or ()}
    for key in ("REC_NEURONS", "REC_SYNAPSES"):
        used |= {str(pair[0]) for pair in given.get(key) or ()}
    return {own: name for name, own in (("hidden", "hidden0"), ("hid_to_hid", "hid_to_hid0")) if name in used}


def _padded(rows: np.ndarray, batch: int) -> np.ndarray:
    """``(step, sample, neuron)`` with as many samples as a full batch has, not numbers where there is none."""
    missing = batch - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan) if missing else rows
