"""What came out: a tidy table with a row for each run, and a summary by point."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventprop import texts
from eventprop.reports import results
from eventprop.scans import run as one
from eventprop.scans.points import NAME, Run, folder_of, plain, short
from eventprop.scans.spec import Scan

__all__ = ["Point", "Row", "history", "rows", "summary", "summary_text", "to_csv"]

_METRICS = ("train_accuracy", "train_loss", "eval_accuracy", "eval_loss")


@dataclass(frozen=True)
class Row:
    """A run and what came out.

    Attributes:
        name: of its folder.
        status: "waiting", "running", "finished" or "failed".
        epochs: done so far.
        last: train_accuracy, train_loss, eval_accuracy, eval_loss of the last epoch; those that are not, or of a run
            that is not finished, are absent.
        best: number (from 0) of the best epoch by ``CHECKPOINT_BEST``, or None.
        best_accuracy: the accuracy that makes it the best.
        seconds: of its epochs.
    """

    run: Run
    name: str
    status: str
    epochs: int
    last: dict[str, float]
    best: int | None
    best_accuracy: float | None
    seconds: float | None


@dataclass(frozen=True)
class Point:
    """Accuracy of a point over seeds and folds: mean, standard deviation (None of one run), finished runs of all."""

    values: dict[str, Any]
    mean: float | None
    sd: float | None
    n: int
    of: int


def history(folder: Path, fold: int | None = None, epochs: int | None = None) -> list[dict[str, float]]:
    """One record of numbers for each epoch that the run has done; empty before the first.

    Args:
        epochs: how many there must be, of a run that is finished.

    Raises:
        ValueError: the file of them is damaged, or has other epochs; names it.
    """
    path = folder / f"{NAME}_results.csv"
    if not path.exists() and not epochs:
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(texts.read_text(path))))
        found = [row for row in rows if row["run"] == ("train" if fold is None else f"f{fold}")]
        records = [{column: float(row[column]) for column in results.NUMBERS} for row in found]
        first = max((i for i, record in enumerate(records) if record["epoch"] == 0), default=0)
        done = [record["epoch"] for record in records[first:]]
        shares = [record[name] for record in records for name in ("train_accuracy", "eval_accuracy")]
        if done != list(range(len(done) if epochs is None else epochs)):
            raise ValueError("lines are missing")
        if not all(0.0 <= share <= 1.0 for share in shares if share == share):
            raise ValueError("an accuracy is none")
    except (KeyError, TypeError, ValueError, csv.Error, FileNotFoundError):
        raise ValueError(f"{path} is damaged; delete the run's folder, and it is done again") from None
    return records[first:]


def rows(scan: Scan, runs: Sequence[Run]) -> list[Row]:
    """The table of these runs, in their order."""
    return [_row(scan, run) for run in runs]


def _row(scan: Scan, run: Run) -> Row:
    folder = folder_of(scan.out, run)
    state = one.status(folder)["state"] if folder.is_dir() else one.WAITING
    records = history(folder, run.fold, run.p["N_EPOCH"] if state == one.FINISHED else None)
    last, best, accuracy, seconds = {}, None, None, None
    if state == one.FINISHED and records:
        last = {name: records[-1][name] for name in _METRICS if records[-1][name] == records[-1][name]}
        for phase in ("train", "eval"):  # without an evaluation its accuracy is no 0
            if f"{phase}_loss" not in last:
                last.pop(f"{phase}_accuracy", None)
        seconds = records[-1]["seconds"]
        by = {"training": "train_accuracy", "validation": "eval_accuracy"}.get(run.p["CHECKPOINT_BEST"], "")
        if by in last and not (by == "eval_accuracy" and scan.evaluated == "test"):
            accuracies = [record[by] for record in records]
            accuracy = max(value for value in accuracies if value == value)
            best = accuracies.index(accuracy)
    return Row(run, folder.name, state, len(records), last, best, accuracy, seconds)


def to_csv(scan: Scan, table: Sequence[Row]) -> str:
    """The table as CSV; what is not there is an empty field. Only the last column, seconds, differs when repeated."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    heading = ["run", *scan.scanned, "seed", "fold", "status", "epochs", *_METRICS]
    writer.writerow([*heading, "evaluation", "best_epoch", "best_accuracy", "seconds"])
    for row in table:
        values = [plain(row.run.point[key]) for key in scan.scanned]
        fold = "" if row.run.fold is None else row.run.fold
        metrics = [_number(row.last.get(name)) for name in _METRICS]
        evaluation = scan.evaluated if "eval_loss" in row.last else ""
        best = ["" if row.best is None else row.best, _number(row.best_accuracy), _number(row.seconds)]
        writer.writerow(
            [row.name, *values, row.run.seed, fold, row.status, row.epochs, *metrics, evaluation, *best],
        )
    return buffer.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def measured(table: Sequence[Row]) -> str:
    """The column that the summary is of: evaluation where there was any, else training."""
    return "eval_accuracy" if any("eval_accuracy" in row.last for row in table) else "train_accuracy"


def summary(scan: Scan, table: Sequence[Row]) -> list[Point]:
    """Mean over seeds and folds of the last epoch's accuracy by point; the best first only where it is validation.

    Runs that are not finished do not count, and are no zeros.
    """
    column = measured(table)
    groups: dict[str, list[Row]] = {}
    for row in table:
        groups.setdefault(plain(list(row.run.point.values())), []).append(row)
    points = []
    for group in groups.values():
        values = [row.last[column] for row in group if column in row.last]
        mean = statistics.fmean(values) if values else None
        sd = statistics.stdev(values) if len(values) > 1 else None
        points.append(Point(group[0].run.point, mean, sd, len(values), len(group)))
    if column == "eval_accuracy" and scan.evaluated == "validation":
        points.sort(key=lambda point: -1.0 if point.mean is None else point.mean, reverse=True)
    return points


def summary_text(scan: Scan, table: Sequence[Row]) -> str:
    """The summary as aligned text."""
    column = measured(table)
    what = scan.evaluated if column == "eval_accuracy" else "training"
    lines = [[*scan.scanned, f"{what} accuracy", "s.d.", "runs"]]
    for point in summary(scan, table):
        of = f"{point.n}" if point.n == point.of else f"{point.n} of {point.of}"
        values = [short(value) for value in point.values.values()]
        lines.append([*values, _percent(point.mean), _percent(point.sd), of])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    aligned = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines]
    counts = _counts(table)
    return "\n".join([*aligned, "", ", ".join(f"{n} {state}" for state, n in counts.items())])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.2f} %"


def _counts(table: Sequence[Row]) -> Mapping[str, int]:
    states = [row.status for row in table]
    return {
        state: states.count(state) for state in (one.FINISHED, one.FAILED, one.RUNNING, one.WAITING) if state in states
    }
