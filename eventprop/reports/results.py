"""Results files: the classic blank-separated one, a CSV with named columns, confusion matrices, predictions.

``<NAME>_results.txt`` has one line per epoch: epoch, training accuracy, training loss, evaluation accuracy, evaluation
loss (of runs that compare values mean square errors in the place of accuracies), with ``DEBUG_HIDDEN_N`` nine columns
of activity for each hidden layer, and seconds since the run began. The CSV always has nine such columns, of all hidden
neurons together, and says of each row which method, seeds, version and settings it is from; a file that began without
these columns goes on without. Runs of one name follow each other in both files. After each epoch a line is appended;
where a run goes on, its lines are first made what its history says, so that a run that was killed and resumed leaves
what an unbroken one leaves. Lines of other runs are never touched. What was not measured is ``nan``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.reports import measures, provenance

__all__ = ["ACTIVITY_COLUMNS", "COLUMNS", "NUMBERS", "TABLE", "Place", "RunFiles"]

Record = Mapping[str, Any]
Render = Callable[[Sequence[Record], bool], bytes]

TABLE = "_results.csv"
"""What the name of the table with named columns ends in."""

ACTIVITY_COLUMNS = [
    *(f"hidden_spikes_{s}" for s in ("mean", "sd", "min", "max")),
    *(f"neuron_spikes_{s}" for s in ("mean", "sd", "min", "max")),
    "silent_neurons",
]
COLUMNS = ["run", "epoch", "train_accuracy", "train_loss", "eval_accuracy", "eval_loss", "learning_rate"]
NUMBERS = [*COLUMNS[1:], *ACTIVITY_COLUMNS, "seconds"]
COLUMNS = [COLUMNS[0], *NUMBERS, *provenance.COLUMNS]
_OF_OLD = COLUMNS[: 1 + len(NUMBERS)]  # all that there were before rows told where they are from


@dataclass
class Place:
    """Where a run's lines begin in a results file (bytes), and from which record of its history they are there."""

    start: int = 0
    first: int = 0


class RunFiles:
    """The results files of one run.

    Args:
        folder: where they are.
        name: ``NAME``; both files are called after it.
        run: what the column "run" of the CSV says, e.g. "train" or "f3".
        activity: whether the classic file has the columns of ``DEBUG_HIDDEN_N``.
        measure: what is told of each epoch.

    Raises:
        ValueError: the files have lines of runs of which something else is told.
    """

    def __init__(
        self, folder: Path, name: str, run: str, activity: bool, measure: measures.Measure = measures.ACCURACY
    ) -> None:
        self.text = folder / f"{name}_results.txt"
        self.table = folder / f"{name}{TABLE}"
        self.run = run
        self.activity = activity
        self.measure = measure
        others = [other for other in measures.MEASURES if f"train_{other.name}" in self._heading()]
        if others and measure not in others:
            raise ValueError(
                f"{self.table} has lines of runs that tell the {others[0].words}, and this one tells the "
                f"{measure.words}; another NAME would be right"
            )

    def begin(self, first: int = 0) -> dict[str, Place]:
        """A place behind all that is there, for a run whose records before ``first`` belong to another."""
        return {p.name: Place(_end(p), first) for p in (self.text, self.table)}

    def resume(self, places: Mapping[str, Place], history: Sequence[Record]) -> dict[str, Place]:
        """Where a run with this history goes on: where it was, or behind lines that others added or changed since."""
        return {
            path.name: self._resume(path, render, places.get(path.name, Place()), history)
            for path, render in self._files()
        }

    @staticmethod
    def _resume(path: Path, render: Render, place: Place, history: Sequence[Record]) -> Place:
        everything = _content(path)
        own = render(history[place.first :], False)
        for start in _starts(everything, own.partition(b"\n")[0] + b"\n"):
            if own.startswith(everything[start:]):  # wherever it is now, with the lines before it as somebody left them
                return Place(start, place.first)
        before, there = everything[: place.start], everything[place.start :]
        if before and not before.endswith(b"\n"):
            return Place(_end(path), place.first)
        lines = [render([record], not before and i == 0) for i, record in enumerate(history[place.first :])]
        known = 0  # lines of this run that are there
        while known < len(lines) and lines[known] and there.startswith(lines[known]):
            there = there[len(lines[known]) :]
            known += 1
        if not there or (known < len(lines) and lines[known].startswith(there)):  # whole, or cut short within a line
            return Place(len(before), place.first)
        return Place(_end(path), place.first + known)

    def write(self, places: Mapping[str, Place], history: Sequence[Record]) -> None:
        """Make each file end with the run's lines, behind what it held when the run began."""
        for path, render in self._files():
            place = places[path.name]
            there = _content(path)
            before = there[: place.start]
            right = before + render(history[place.first :], not before)
            if right != there:
                files.write_bytes(path, right)

    def append(self, record: Record) -> None:
        """Add an epoch's line to each file."""
        for path, render in self._files():
            files.append_bytes(path, render([record], not _size(path)))

    def line(self, record: Record) -> str:
        """An epoch's line of the classic file."""
        return self._text_rows([record], False).decode()

    def _files(self) -> tuple[tuple[Path, Render], ...]:
        return (self.text, self._text_rows), (self.table, self._table_rows)

    def _text_rows(self, history: Sequence[Record], heading: bool) -> bytes:
        name = self.measure.name
        names = ["epoch", f"train_{name}", "train_loss", f"eval_{name}", "eval_loss"]
        layers = ACTIVITY_COLUMNS if self.activity else []
        rows = [
            [
                *(_short(r[n]) for n in names),
                *(_short(layer[n]) for layer in r.get("layers", [r]) for n in layers),
                f"{r['seconds']:.3f}",
            ]
            for r in history
        ]
        return "".join(" ".join(row) + "\n" for row in rows).encode()

    def _table_rows(self, history: Sequence[Record], heading: bool) -> bytes:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        columns = _OF_OLD if self._is_of_old() else COLUMNS
        columns = [c.replace(measures.ACCURACY.name, self.measure.name) for c in columns]
        if heading and history:
            writer.writerow(columns)
        for record in history:
            writer.writerow([self.run, *(_short(record.get(c, "")) for c in columns[1:])])
        return buffer.getvalue().encode()

    def _is_of_old(self) -> bool:
        """Whether the CSV has the columns of a file of an earlier version; it keeps them."""
        return len(self._heading()) == len(_OF_OLD)

    def _heading(self) -> list[str]:
        """The columns of the CSV that is there; empty where there is none."""
        start = files.start_of(self.table, 4096) if self.table.exists() else b""
        line = start.partition(b"\n")[0].rstrip(b"\r").decode(errors="replace")
        return line.split(",") if line else []


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _content(path: Path) -> bytes:
    return files.read_bytes(path) if path.exists() else b""


def _starts(content: bytes, line: bytes) -> Iterator[int]:
    """Where this line begins, each time that it is there."""
    at = content.find(line)
    while at >= 0:
        if at == 0 or content[at - 1 : at] == b"\n":
            yield at
        at = content.find(line, at + 1)


def _end(path: Path) -> int:
    """Where the next line begins: at the end of the file, whose last line is ended where somebody left it open."""
    there = _content(path)
    if not there or there.endswith(b"\n"):
        return len(there)
    files.append_bytes(path, b"\n")
    return len(there) + 1


def _short(value: float | int | str) -> str:
    return str(value) if isinstance(value, int | str) else f"{value:.8g}"


def activity_columns(counts: np.ndarray, batch: int, silent: int) -> dict[str, float | int]:
    """``DEBUG_HIDDEN_N``'s columns of some neurons, by spike counts ``(samples, neurons)`` in order of presentation.

    Total hidden spikes of a sample, and spikes of a neuron averaged over each batch: mean, s.d., least, most.
    """
    totals = counts.sum(axis=1)
    starts = np.arange(0, len(counts), batch)
    sizes, whole = np.diff(np.append(starts, len(counts))), len(counts) - len(counts) % batch
    sums = [counts[:whole].reshape(-1, batch, counts.shape[1]).sum(axis=1)]
    if whole < len(counts):
        sums.append(counts[whole:].sum(axis=0, keepdims=True))
    per_neuron = np.concatenate(sums) / sizes[:, None]
    values = [f(a) for a in (totals, per_neuron) for f in (np.mean, np.std, np.min, np.max)]
    return dict(zip(ACTIVITY_COLUMNS, [*map(float, values), silent], strict=True))


def write_collected(folder: Path, name: str, collected: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Confusion matrices and predictions, one file each: ``<name>_<what>.npy``, epochs along the first axis."""
    for what, rows in collected.items():
        if rows:
            files.write_array(folder / f"{name}_{what}.npy", np.stack(rows))
