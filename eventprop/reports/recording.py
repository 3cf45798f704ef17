"""What ``REC_SPIKES``, ``REC_NEURONS``, ``REC_SYNAPSES`` and the intervals of weights ask for, in the trials they name.

A trial is one batch; training trials of an epoch are numbered from 0, evaluation trials after them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.backends import Engine
from eventprop.network import Network
from eventprop.training.checkpoint import flat_name

__all__ = ["Recorder"]

_SYNAPTIC = ("w", "gradient")


def _neurons(network: Network) -> dict[str, tuple[str, ...]]:
    """Variables by population: currents, potentials, adjoints."""
    return {q.name: ("Isyn", *q.model.state, *q.model.adjoint) for q in network.populations}


def _synapses(network: Network) -> dict[str, tuple[str, ...]]:
    """Variables by synapse population: weights and their gradients."""
    return {projection.name: _SYNAPTIC for projection in network.projections}


class Recorder:
    """Collects what ``p`` asks for during a run.

    Spikes lie one sample after the other on one axis of time: sample b of trial k from (k N_BATCH + b) TRIAL_MS on.
    Variables of neurons are taken after each step, at the time of its end; adjoints are at the same times, so that both
    can be plotted over each other, and not numbers in trials without learning. Synapses are taken after the trial's
    update.

    Args:
        given: ``p`` as the user gave it, with other names of populations.
        prefix: of the files; ``NAME`` by default.

    Raises:
        ValueError: a population or variable does not exist; lists those that do.
    """

    def __init__(self, p: Mapping[str, Any], network: Network, given: Mapping[str, Any], prefix: str = "") -> None:
        self.p, self.network, self.prefix = p, network, prefix or p["NAME"]
        self._names = _given_names(given)
        self._spiking = ["input", *(q.name for q in network.populations if q.model.threshold)]
        for key, wanted, there in (
            ("REC_NEURONS", p["REC_NEURONS"], _neurons(network)),
            ("REC_SYNAPSES", p["REC_SYNAPSES"], _synapses(network)),
        ):
            for population, variable in wanted:
                if variable not in there.get(population, ()):
                    words = "; ".join(f"{q}: {', '.join(v)}" for q, v in there.items())
                    raise ValueError(f"{key} has [{population}, {variable}], which is not there; there are {words}")
        for population in p["REC_SPIKES"]:
            if population not in self._spiking:
                raise ValueError(
                    f"REC_SPIKES has {population}, which does not spike; there are {', '.join(self._spiking)}"
                )
        if p["REC_NEURONS"] and p["SPIKE_TIMING"] != "grid":
            raise ValueError('REC_NEURONS takes values at the ends of steps and needs SPIKE_TIMING="grid"')
        self._rows: dict[str, list[np.ndarray]] = {}
        self._new: list[tuple[str, np.ndarray]] = []

    def restore(self, recorded: Sequence[tuple[str, np.ndarray]], saved: Mapping[str, Any]) -> None:
        """Take over what was recorded before a stop, so that this run's files are those of an unbroken one.

        Args:
            recorded: what :meth:`taken` gave then, in order.
            saved: the parameters of then.

        Raises:
            ValueError: it cannot be joined with what ``p`` would record; names the key.
        """
        for key in ("N_BATCH", "TRIAL_MS", "DT_MS"):
            if recorded and saved.get(key) != self.p[key]:
                raise ValueError(
                    f"the run so far recorded with {key}={saved.get(key)!r}, and recordings with {key}={self.p[key]!r} "
                    f"have another shape: go on with {key}={saved.get(key)!r}, or under another NAME (CHECKPOINT_NAME "
                    "names the run to go on from)"
                )
        for name, values in recorded:
            self._rows.setdefault(name, []).append(values)

    def taken(self) -> list[tuple[str, np.ndarray]]:
        """What was recorded since this was last asked for, by name, in order."""
        new, self._new = self._new, []
        return new

    def wanted(self, epoch: int, trial: int) -> Collection[tuple[str, str]] | None:
        """Populations and variables that the engine must record in this trial; empty for spikes alone, None for
        nothing."""
        if self._now("REC_NEURONS", epoch, trial):
            return [(q, v) for q, v in self.p["REC_NEURONS"]]
        return [] if self._now("REC_SPIKES", epoch, trial) else None

    def _now(self, key: str, epoch: int, trial: int) -> bool:
        at = self.p[f"{key}_EPOCH_TRIAL"]
        return bool(self.p[key]) and (at is None or [epoch, trial] in at)

    def take(self, engine: Engine, epoch: int, trial: int, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Collect from a trial that has just run, after its update, and write weights that are wanted."""
        if self.p["WRITE_TO_DISK"]:
            self._save(engine, epoch, trial)
        if self._now("REC_SPIKES", epoch, trial):
            self._take_spikes(engine, trial, len(labels))
            self._also("spk", labels, predictions)
        if self._now("REC_NEURONS", epoch, trial):
            for population, variable in self.p["REC_NEURONS"]:
                rows = engine.trace(population, variable).transpose(1, 0, 2)  # (step, sample, neuron)
                self._add(f"n {variable}{self._name(population)}", _padded(rows, self.p["N_BATCH"]))
            steps = np.arange(1, self.network.num_steps + 1)
            self._add("t n", trial * self.p["TRIAL_MS"] + steps * self.p["DT_MS"])
            self._also("n", labels, predictions)
        if self._now("REC_SYNAPSES", epoch, trial):
            values = {"w": engine.weights(), "gradient": engine.gradients()}
            for population, variable in self.p["REC_SYNAPSES"]:
                self._add(f"s {variable}{self._name(population)}", values[variable][population].reshape(1, -1))
            self._add("t s", np.array([(trial + 1) * self.p["TRIAL_MS"]]))
            self._also("s", labels, predictions)

    def _save(self, engine: Engine, epoch: int, trial: int) -> None:
        """Write the weights and time constants of this trial, where ``p`` asks for them."""
        folder, prefix = Path(self.p["OUT_DIR"]), self.prefix
        if self._saves_weights(epoch, trial):
            for name, w in engine.weights().items():
                files.write_array(folder / f"{prefix}_w_{flat_name(name)}_e{epoch}_t{trial}.npy", w.ravel())
        if [epoch, trial] in self.p["TAU_OUTPUT_EPOCH_TRIAL"]:
            for q, values in engine.time_constants().items():
                for name, tau in values.items():
                    short = name.replace("mem", "m")
                    files.write_array(folder / f"{prefix}_{short}_{q}_e{epoch}_t{trial}.npy", tau)

    def _saves_weights(self, epoch: int, trial: int) -> bool:
        if "W_REPORT_INTERVAL" in self.p:
            return not (epoch % self.p["W_EPOCH_INTERVAL"] or trial % self.p["W_REPORT_INTERVAL"])
        return [epoch, trial] in self.p["W_OUTPUT_EPOCH_TRIAL"]

    def _take_spikes(self, engine: Engine, trial: int, n: int) -> None:
        batch, length = self.p["N_BATCH"], self.p["TRIAL_MS"]
        for population in self.p["REC_SPIKES"]:
            for b in range(n):
                times, ids = engine.spike_times(b, population)
                self._add(f"spike_t {self._name(population)}", times + (trial * batch + b) * length)
                self._add(f"spike_ID {self._name(population)}", ids.astype(np.int64))

    def _also(self, what: str, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Labels and predictions of a recorded trial, -1 where its batch is not full."""
        for kind, values in (("lbl", labels), ("pred", predictions)):
            row = np.full((1, self.p["N_BATCH"]), -1, np.int32)
            row[0, : len(values)] = values
            self._add(f"{kind} {what}", row)

    def _add(self, name: str, values: np.ndarray) -> None:
        self._rows.setdefault(name, []).append(values)
        self._new.append((name, values))

    def _name(self, population: str) -> str:
        """The name that the user gave it."""
        return self._names.get(population, population)

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        """What was recorded of ``kind``: "spike_t", "spike_ID", "n" (neurons), "s" (synapses); one axis of trials."""
        found = {name.split(" ", 1)[1]: rows for name, rows in self._rows.items() if name.split(" ", 1)[0] == kind}
        joined = {name: np.concatenate(rows) for name, rows in found.items()}
        if kind == "n" and self.p["N_BATCH"] == 1:
            joined = {name: rows[:, 0] for name, rows in joined.items()}
        return joined

    def write(self) -> None:
        """Write everything: ``<prefix>_<population>_spike_t.npy``, ``<prefix>_<variable><population>.npy``, and for "n"
        (neurons), "s" (synapses) and "spk" (spikes) times, labels and predictions."""
        folder, prefix = Path(self.p["OUT_DIR"]), self.prefix
        for kind in ("spike_t", "spike_ID"):
            for population, values in self.arrays(kind).items():
                files.write_array(folder / f"{prefix}_{population}_{kind}.npy", values)
        for kind in ("n", "s"):
            for name, values in self.arrays(kind).items():
                files.write_array(folder / f"{prefix}_{name}.npy", values)
        for kind in ("t", "lbl", "pred"):
            for what, values in self.arrays(kind).items():
                files.write_array(folder / f"{prefix}_{what}_{kind}.npy", values)


def _given_names(given: Mapping[str, Any]) -> dict[str, str]:
    """How the user calls populations that have another name here."""
    used = {str(name) for name in given.get("REC_SPIKES") or ()}
    for key in ("REC_NEURONS", "REC_SYNAPSES"):
        used |= {str(pair[0]) for pair in given.get(key) or ()}
    return {own: name for name, own in (("hidden", "hidden0"), ("hid_to_hid", "hid_to_hid0")) if name in used}


def _padded(rows: np.ndarray, batch: int) -> np.ndarray:
    """``(step, sample, neuron)`` with as many samples as a full batch has, not numbers where there is none."""
    missing = batch - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan) if missing else rows
