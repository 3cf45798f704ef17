"""What recipes reach: the table ``recipes/results.toml``, from which all accuracies on pages and of recipes come.

Each entry says what was run (benchmark, recipe, overrides, seeds), how it was measured (on which samples, in which
epoch) and what came out; ``python -m eventprop reproduce`` runs entries again and compares.
"""

from __future__ import annotations

import math
import re
import statistics
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from eventprop import files, texts

__all__ = ["EPOCHS", "FILE", "ON", "Entry", "Number", "Published", "Table", "expectation", "in_words", "read", "write"]

FILE = "results.toml"
"""What the table is called, in the folder of the recipes."""

ON = {
    "test": ("test",),
    "speakers": ("seen", "new"),
    "validation": ("validation",),
    "left out": ("left_out",),
}
"""What accuracy is measured on, and the names of the numbers: all test samples; those of speakers who train and those
of others; validation samples; all samples of a speaker (or user) who was left out of training."""
EPOCHS = {
    "last": "last epoch",
    "training": "epoch of the best training accuracy",
    "validation": "epoch of the best validation accuracy",
}
"""Which epoch's weights are measured."""
_MEANING = {
    "test": "of the test samples",
    "seen": "on the speakers of the training file",
    "new": "on a new one",
    "validation": "of validation samples",
    "left_out": "of people who were left out",
}
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEAD = """\
# What the recipes reach. All accuracies on the pages and of --list-recipes come from here.
# python -m eventprop reproduce runs entries again, compares, and with --update writes what came out;
# python docs/results.py puts it into the pages. Accuracies in %; seconds are of training alone, a run.
"""


@dataclass(frozen=True)
class Number:
    """Accuracies (%) of some runs on the same kind of samples.

    Attributes:
        values: of each run; empty where these are not known any more, and mean, s.d. and number stand for them.
        mean, sd, n: their mean, standard deviation (None: unknown, or of a single run) and number.
        samples: how many samples each is of; None where that is not known.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    n: int
    samples: int | None

    @classmethod
    def of(cls, values: Iterable[float], samples: int | None) -> Number:
        """From the accuracies of runs."""
        values = tuple(values)
        sd = statistics.stdev(values) if len(values) > 1 else None
        return cls(values, statistics.fmean(values), sd, len(values), samples)

    @property
    def digits(self) -> int:
        """How many behind the point are worth to be told."""
        return 2 if self.sd and self.sd < 0.095 else 1

    def __str__(self) -> str:
        """``98.4 ± 0.4 %``."""
        mean = f"{self.mean:.{self.digits}f}"
        return f"{mean} %" if self.sd is None else f"{mean} ± {self.sd:.{self.digits}f} %"


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        name: what it is called, for ``--only``.
        task: heading below which it stands.
        simulator, recipe: of the benchmark; no recipe where defaults are measured.
        overrides: of the recipe.
        seeds: each is that of the model and of the training data.
        folds: who is left out, where that is what is measured.
        on, epoch: of :data:`ON` and :data:`EPOCHS`.
        data: which data set it needs, see :mod:`eventprop.reproduce.data_sets`.
        what: the network, in a few words.
        numbers: by name; empty where nothing has been measured yet.
        parameters: how many numbers are trained.
        seconds, cores, machine: of training, a run.
        note: what else is to be said.
    """

    name: str
    task: str
    simulator: str
    recipe: str | None
    overrides: dict[str, Any]
    seeds: tuple[int, ...]
    on: str
    epoch: str = "last"
    folds: tuple[int, ...] = ()
    data: str = "none"
    what: str = ""
    numbers: dict[str, Number] = field(default_factory=dict)
    parameters: int | None = None
    seconds: float | None = None
    cores: int | None = None
    machine: str = ""
    note: str = ""

    @property
    def runs(self) -> int:
        """How many runs it takes."""
        return len(self.seeds) * max(1, len(self.folds))


@dataclass(frozen=True)
class Published:
    """A number that others have published.

    Attributes:
        task: as of entries.
        value: the accuracy, in words.
        what: the network.
        eventprop: whether it was trained by Eventprop.
        source: authors and year.
    """

    task: str
    value: str
    what: str
    eventprop: bool
    source: str


@dataclass(frozen=True)
class Table:
    """The whole of it, in its order."""

    entries: dict[str, Entry]
    published: tuple[Published, ...] = ()

    def tasks(self) -> list[str]:
        """In the order of their first entries."""
        return list(dict.fromkeys(entry.task for entry in self.entries.values()))


def read(path: Path) -> Table:
    """The table in a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: something is wrong with it; names the file, the entry and what would be right.
    """
    return _table(texts.read_toml(path), path)


def _table(found: dict[str, Any], path: Path) -> Table:
    """From what TOML says; errors name the file."""
    results, published = found.pop("result", {}), found.pop("published", [])
    if found or not isinstance(results, dict) or not isinstance(published, list):
        what = f"unknown: {', '.join(found)}" if found else "one of them is of another kind"
        raise ValueError(f"{path} must hold tables [result.NAME] and [[published]]; {what}")
    entries = {}
    for name, said in results.items():
        try:
            entries[name] = _entry(name, said)
        except ValueError as error:
            raise ValueError(f"{path}: [result.{name}]: {error}") from None
    for number, said in enumerate(published, 1):
        wanted = {f.name: bool if f.name == "eventprop" else str for f in fields(Published)}
        if not isinstance(said, dict) or {key: type(value) for key, value in said.items()} != wanted:
            raise ValueError(f"{path}: [[published]] {number} must hold {', '.join(wanted)}: texts, true or false")
    return Table(entries, tuple(Published(**said) for said in published))


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("task", "simulator", "recipe", "on", "epoch", "data", "what", "machine", "note"), (str,)),
    **dict.fromkeys(("parameters", "cores"), (int,)),
    **{"overrides": (dict,), "seeds": (list,), "folds": (list,), "seconds": (int, float)},
}


def _entry(name: str, said: Any) -> Entry:
    """Raises ValueError with what is wrong."""
    if not isinstance(said, dict):
        raise ValueError("must be a table")
    given = {"overrides": {}, "epoch": "last", **said}
    if lacking := [key for key in ("task", "simulator", "seeds", "on") if key not in given]:
        raise ValueError(f"{', '.join(lacking)} must be there")
    measures = ON.get(given["on"]) if isinstance(given["on"], str) else None
    if measures is None or given["epoch"] not in EPOCHS:
        key, known = ("on", ON) if measures is None else ("epoch", EPOCHS)
        raise ValueError(f"{key}={given[key]!r} is not one of {', '.join(known)}")
    for key, value in given.items():
        if key not in (*_KINDS, *measures):
            raise ValueError(f"{key} is unknown; there are {', '.join((*_KINDS, *measures))}")
        if key in _KINDS and (not isinstance(value, _KINDS[key]) or isinstance(value, bool)):
            raise ValueError(f"{key}={value!r} must be {' or '.join(kind.__name__ for kind in _KINDS[key])}")
    for key in ("seeds", "folds"):
        given[key] = tuple(given.get(key, ()))
        if not all(type(n) is int and n >= 0 for n in given[key]) or len(set(given[key])) < len(given[key]):
            raise ValueError(f"{key} must be different whole numbers from 0")
    if not given["seeds"] or bool(given["folds"]) != (given["on"] == "left out"):
        raise ValueError("seeds must not be empty, and folds are there where on is 'left out'")
    if given["epoch"] != "last" and given["on"] in ("validation", "left out"):
        raise ValueError(f"epoch={given['epoch']!r} chooses an epoch by what is measured; 'last' would be right")
    numbers = {key: _number(key, given.pop(key)) for key in measures if key in given}
    if numbers and len(numbers) < len(measures):
        raise ValueError(f"{' and '.join(measures)} go together")
    return Entry(name=name, numbers=numbers, recipe=given.pop("recipe", None), **given)


def _number(name: str, said: Any) -> Number:
    """From a list of accuracies, or from a table with ``values``, or with ``mean``, ``n`` and maybe ``sd``."""
    said = {"values": said} if isinstance(said, list) else said
    shape = {"values", "samples"} if isinstance(said, dict) and "values" in said else {"mean", "sd", "n", "samples"}
    right = isinstance(said, dict) and set(said) <= shape and ({"values"} <= set(said) or {"mean", "n"} <= set(said))
    flat = [x for value in said.values() for x in (value if isinstance(value, list) else [value])] if right else [None]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in flat):
        raise ValueError(f"{name} must be a list of accuracies (%), {{values, samples}} or {{mean, sd, n, samples}}")
    if "values" in said:
        if not said["values"]:
            raise ValueError(f"{name}: values must not be empty")
        return Number.of(map(float, said["values"]), said.get("samples"))
    return Number((), float(said["mean"]), said.get("sd"), said["n"], said.get("samples"))


def write(path: Path, table: Table) -> None:
    """The table as a file, in a form of its own: what was read from it comes out again.

    Raises:
        ValueError: it could not be read again, which is seen before anything is written; as of :func:`read`.
    """
    text = as_text(table)
    _table(tomllib.loads(text), path)
    files.write_text(path, text)


def as_text(table: Table) -> str:
    """The file's text."""
    parts = [_HEAD]
    for entry in table.entries.values():
        lines = [f"[result.{entry.name if _BARE.fullmatch(entry.name) else _plain(entry.name)}]"]
        for key in ("task", "simulator", "recipe", "overrides", "seeds", "folds", "on", "epoch", "data", "what"):
            value = getattr(entry, key)
            lines += [f"{key} = {_plain(value)}"] if value not in (None, "", (), {}) else []
        lines += [f"{key} = {_plain(_kept(number))}" for key, number in entry.numbers.items()]
        for key in ("parameters", "seconds", "cores", "machine", "note"):
            value = getattr(entry, key)
            lines += [f"{key} = {_plain(value)}"] if value not in (None, "") else []
        parts.append("\n".join(lines) + "\n")
    for other in table.published:
        lines = [f"{f.name} = {_plain(getattr(other, f.name))}" for f in fields(other)]
        parts.append("\n".join(["[[published]]", *lines]) + "\n")
    return "\n".join(parts)


def _kept(number: Number) -> dict[str, Any]:
    kept: dict[str, Any] = {"values": number.values} if number.values else {"mean": number.mean, "sd": number.sd}
    kept |= {} if number.values else {"n": number.n}
    return {key: value for key, value in {**kept, "samples": number.samples}.items() if value is not None}


def _plain(value: Any) -> str:
    """A value in TOML, on one line; None as recipes write it."""
    if isinstance(value, bool) or value is None:
        return '"None"' if value is None else str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04X}" for c in escaped) + '"'
    if isinstance(value, Mapping):
        keys = ((key if _BARE.fullmatch(key) else _plain(key), inner) for key, inner in value.items())
        return "{ " + ", ".join(f"{key} = {_plain(inner)}" for key, inner in keys) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return repr(value)


def in_words(entry: Entry, epochs: int | None = None) -> str:
    """What an entry reached, and how that was measured, as a sentence without its end."""
    parts = [f"{number} {_MEANING[name]}" for name, number in entry.numbers.items()]
    n = len(entry.seeds)
    how = f"{n} seed{'s' * (n > 1)}"
    if entry.folds:
        how = f"{len(entry.folds)} folds, {how}"
    epoch = f"last of {epochs} epochs" if epochs and entry.epoch == "last" else EPOCHS[entry.epoch]
    words = f"{', '.join(parts)} ({how}, {epoch})"
    return words if entry.seconds is None else f"{words}; a run takes {duration(entry)}"


def duration(entry: Entry) -> str:
    """How long a run trains, and on how many cores."""
    assert entry.seconds is not None
    seconds = entry.seconds
    minutes = f"{seconds / 60:.{0 if seconds >= 180 else 1}f}".removesuffix(".0")
    time = f"{seconds:.0f} s" if seconds < 99.5 else f"{minutes} min"
    cores = {None: "", 1: " on one core", 2: " on two cores"}.get(entry.cores, f" on {entry.cores} cores")
    return time + cores


def expectation(table: Table, simulator: str, recipe: str, epochs: int | None = None) -> str:
    """What to expect of a recipe, by the table: its entries without overrides, else what is published."""
    own = [e for e in table.entries.values() if (e.simulator, e.recipe) == (simulator, recipe) and not e.overrides]
    if measured := [in_words(entry, epochs) for entry in own if entry.numbers]:
        return "; ".join(measured) + "."
    others = [
        f"{other.value} ({other.what}; {other.source})"
        for other in table.published
        if other.eventprop and any(other.task == entry.task for entry in own)
    ]
    known = f" Published for Eventprop: {'; '.join(others)}." if others else ""
    how = f": eventprop reproduce --only {own[0].name} makes one." if own else "."
    return f"No number has been measured yet{how}{known}"
