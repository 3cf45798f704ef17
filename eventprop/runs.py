"""``eventprop runs DIR``: the runs whose files are in a folder, a line each, and the settings in which they differ."""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventprop import texts
from eventprop.reports import provenance, summary
from eventprop.reports.measures import measure_of
from eventprop.reports.results import TABLE
from eventprop.terminal import blame

__all__ = ["Run", "add_arguments", "found_in", "main"]

_COLUMNS = ["name", "run", *provenance.COLUMNS, "epochs", "training", "evaluation", "best", "at", "seconds", "started"]
_PLACES = {"NAME", "OUT_DIR", "METHOD", "VERBOSE"}  # settings of which it is no news that they differ
_LONGEST = 40  # characters of a value in a table


@dataclass(frozen=True)
class Run:
    """A run, by its lines in the results.

    Attributes:
        name: ``NAME``, with the folder below the one that is looked at.
        rows: its lines, by column.
        settings: as they are saved; empty for runs that another one of the same name came after.
        story: what the file of the run says, likewise.
    """

    name: str
    rows: Sequence[Mapping[str, str]]
    settings: Mapping[str, Any]
    story: Mapping[str, Any]

    def line(self) -> list[str]:
        """Its line in the table, by :data:`_COLUMNS`; empty where a file of an earlier version does not say it."""
        last = self.rows[-1]
        measure = measure_of(last)
        name = measure.name
        told = summary.row([{n: float(row[n]) for n in _numbers(row)} for row in self.rows])
        best = told[f"best_eval_{name}"]

        def text(value: float) -> str:
            return "" if math.isnan(value) else measure.text(value, 2)

        processes = self.story.get("processes") or [{}]
        return [
            self.name,
            last["run"],
            *(last.get(column) or "" for column in provenance.COLUMNS),
            str(told["epochs"]),
            text(told[f"train_{name}"]),
            text(told[f"eval_{name}"]),
            text(best),
            "" if math.isnan(best) else str(told["best_epoch"] + 1),
            f"{told['seconds']:.1f}",
            str(processes[0].get("started", "")).partition("+")[0],
        ]


def _numbers(row: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that hold numbers."""
    name = measure_of(row).name
    return f"train_{name}", f"eval_{name}", "seconds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="of results (default: this one)")
    parser.add_argument("--csv", action="store_true", help="the table as CSV, without the settings")


def main(options: argparse.Namespace) -> int:
    """Print the tables; the exit status: 1 where there is no run."""
    try:
        runs = list(found_in(options.folder))
    except OSError as error:
        blame(error)
        print(f"runs: error: {error}", file=sys.stderr)
        return 1
    if not runs:
        print(f"runs: error: no NAME{TABLE} is in {options.folder} or below it", file=sys.stderr)
        return 1
    lines = [_COLUMNS, *(run.line() for run in runs)]
    if options.csv:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(lines)
        print(buffer.getvalue(), end="")
        return 0
    print("\n".join(_table(lines)))
    if differing := _differing(runs):
        print("\nsettings that differ:\n" + "\n".join(_table(differing)))
    return 0


def found_in(folder: Path) -> Iterator[Run]:
    """The runs of all results in a folder and below it, by name, those of one name in their order.

    Raises:
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    for path in sorted(folder.rglob(f"*{TABLE}")):
        name = path.name.removesuffix(TABLE)
        try:
            groups = list(_runs_of(texts.read_text(path)))
        except (ValueError, KeyError, OSError) as error:
            print(f"runs: {path} is passed over: {error}", file=sys.stderr)
            continue
        last = {rows[-1]["run"]: number for number, rows in enumerate(groups)}
        for number, rows in enumerate(groups):
            run = rows[-1]["run"]
            files = name + (f"_{run}" if run not in ("train", "test") else "")
            newest = last[run] == number and run != "test"
            kept = [_read(path.with_name(file)) if newest else {} for file in (f"{files}.json", f"{files}_run.json")]
            yield Run(str(path.relative_to(folder).with_name(name)), rows, *kept)


def _runs_of(text: str) -> Iterator[list[dict[str, str]]]:
    """The lines of each run in a table: epochs go up, and what the lines say of their run stays.

    Raises:
        ValueError, KeyError: it is no table of results.
    """
    rows: list[dict[str, str]] = []
    for row in csv.DictReader(io.StringIO(text), restval=""):
        for name in _numbers(row):
            float(row[name])
        same = ("run", "method", "seed", "data_seed")
        if rows and (int(row["epoch"]) <= int(rows[-1]["epoch"]) or any(row.get(n) != rows[-1].get(n) for n in same)):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _read(path: Path) -> dict[str, Any]:
    """What a JSON file says; nothing where it is not there, or is no such file."""
    try:
        found = texts.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _differing(runs: Sequence[Run]) -> list[list[str]]:
    """The settings in which runs differ, one line each, and who has which; empty where none do."""
    saved = {run.name + _suffix(run): run.settings for run in runs if run.settings}
    keys = sorted({key for settings in saved.values() for key in settings} - _PLACES)
    rows = []
    for key in keys:
        values = [_value(settings[key]) if key in settings else "" for settings in saved.values()]
        if len(set(values)) > 1:
            rows.append([key, *values])
    return [["", *saved], *rows] if rows else []


def _suffix(run: Run) -> str:
    return "" if run.rows[-1]["run"] in ("train", "test") else f"_{run.rows[-1]['run']}"


def _value(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand below each other; columns in which nothing is said are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(f"{cell:<{n}}" for cell, n in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
