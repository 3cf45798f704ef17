"""Results files: the classic blank-separated one, a CSV with named columns, confusion matrices, predictions.

``<NAME>_results.txt`` has one line per epoch: epoch, training accuracy, training loss, evaluation accuracy,
evaluation loss, with ``DEBUG_HIDDEN_N`` nine columns of hidden activity, and seconds since the run began. Runs of
one name follow each other in both files. They are rewritten whole from the run's history after each epoch, so
that a run that was killed and resumed leaves what an unbroken one leaves.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files

__all__ = ["ACTIVITY_COLUMNS", "COLUMNS", "RunFiles"]

ACTIVITY_COLUMNS = [
    *(f"hidden_spikes_{s}" for s in ("mean", "sd", "min", "max")),
    *(f"neuron_spikes_{s}" for s in ("mean", "sd", "min", "max")),
    "silent_neurons",
]
COLUMNS = ["run", "epoch", "train_accuracy", "train_loss", "eval_accuracy", "eval_loss", "learning_rate"]
COLUMNS += [*ACTIVITY_COLUMNS, "seconds"]


class RunFiles:
    """The results files of one run.

    Args:
        folder: where they are.
        name: ``NAME``; both files are called after it.
        run: what the column "run" of the CSV says, e.g. "train" or "fold 3".
        activity: whether the classic file has the columns of ``DEBUG_HIDDEN_N``.
    """

    def __init__(self, folder: Path, name: str, run: str, activity: bool) -> None:
        self.text = folder / f"{name}_results.txt"
        self.table = folder / f"{name}_results.csv"
        self.run = run
        self.activity = activity

    def begin(self) -> dict[str, int]:
        """Where this run begins in the files, for :meth:`write`."""
        return {p.name: p.stat().st_size if p.exists() else 0 for p in (self.text, self.table)}

    def write(self, start: Mapping[str, int], history: Sequence[Mapping[str, Any]]) -> None:
        """Make the files end with the lines of ``history``, behind what they held when the run began."""
        rows = [self._text_row(record) for record in history]
        self._rewrite(self.text, start, "".join(rows))
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if not start.get(self.table.name, 0):
            writer.writerow(COLUMNS)
        for record in history:
            writer.writerow([self.run, *(_short(record[c]) for c in COLUMNS[1:])])
        self._rewrite(self.table, start, buffer.getvalue())

    @staticmethod
    def _rewrite(path: Path, start: Mapping[str, int], text: str) -> None:
        before = path.read_bytes()[: start.get(path.name, 0)] if path.exists() else b""
        files.write_bytes(path, before + text.encode())

    def _text_row(self, record: Mapping[str, Any]) -> str:
        names = ["epoch", "train_accuracy", "train_loss", "eval_accuracy", "eval_loss"]
        if self.activity:
            names += ACTIVITY_COLUMNS
        return " ".join([*(_short(record[n]) for n in names), f"{record['seconds']:.3f}"]) + "\n"


def _short(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.8g}"


def activity_columns(counts: np.ndarray, batch: int, silent: int) -> dict[str, float | int]:
    """``DEBUG_HIDDEN_N``'s columns from spike counts ``(samples, neurons)`` in order of presentation.

    Total hidden spikes of a sample, and spikes of a neuron averaged over each batch: mean, s.d., least, most.
    """
    totals = counts.sum(axis=1)
    starts = np.arange(0, len(counts), batch)
    sizes = np.diff(np.append(starts, len(counts)))
    per_neuron = np.add.reduceat(counts, starts, axis=0) / sizes[:, None]
    values = [f(a) for a in (totals, per_neuron) for f in (np.mean, np.std, np.min, np.max)]
    return dict(zip(ACTIVITY_COLUMNS, [*map(float, values), silent], strict=True))


def write_collected(folder: Path, name: str, collected: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Confusion matrices and predictions, one file each: ``<name>_<what>.npy``, epochs along the first axis."""
    for what, rows in collected.items():
        if rows:
            files.write_array(folder / f"{name}_{what}.npy", np.stack(rows))
