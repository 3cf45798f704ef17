"""One table over several runs of a kind, folds or seeds: a row for each, then their mean and standard deviation."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.reports.measures import SQUARE_ERROR, measure_of

__all__ = ["row", "write"]

_ACCURACIES = ("train_accuracy", "eval_accuracy", "best_eval_accuracy", "eval_accuracy_at_best_training")
_ERRORS = tuple(name.replace("accuracy", SQUARE_ERROR.name) for name in _ACCURACIES)


def row(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracies, or mean square errors, of a run by its history, not numbers where nothing was evaluated.

    The last epoch's; the best evaluation and its epoch, which is chosen by what it reports; and the evaluation in the
    epoch of the best training, which is not. Epochs are numbered from 0, the first of equal ones counts.
    """
    measure = measure_of(history[-1])
    evaluated, trained = ([measure.of(record, phase) for record in history] for phase in ("eval", "train"))
    best, by_training, name = measure.best(evaluated), measure.best(trained), measure.name
    return {
        "epochs": len(history),
        f"train_{name}": trained[-1],
        f"eval_{name}": evaluated[-1],
        f"best_eval_{name}": float("nan") if best is None else evaluated[best],
        "best_epoch": "" if best is None else best,
        f"eval_{name}_at_best_training": float("nan") if by_training is None else evaluated[by_training],
        "seconds": history[-1]["seconds"],
    }


def write(path: Path, what: str, rows: Mapping[Any, Mapping[str, Any]]) -> None:
    """Write the table, whole or not at all.

    Args:
        what: heading of the first column, which has the keys of ``rows``, then "mean" and "s.d.".
        rows: what was found for each.
    """
    columns = list(next(iter(rows.values())))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([what, *columns])
    for name, values in rows.items():
        writer.writerow([name, *(_short(values[column]) for column in columns)])
    for name, statistic in (("mean", np.mean), ("s.d.", lambda v: np.std(v, ddof=1) if len(v) > 1 else np.nan)):
        values = {c: statistic([r[c] for r in rows.values()]) for c in columns if c in (*_ACCURACIES, *_ERRORS)}
        writer.writerow([name, *(_short(values[column]) if column in values else "" for column in columns)])
    files.write_text(path, buffer.getvalue())


def _short(value: Any) -> str:
    """A field of the table; one that was not measured is empty."""
    if value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
