"""The scan file read, and everything in it that needs no run checked."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eventprop import models, own_losses, own_neurons, texts
from eventprop.parameters import declaration as parameters
from eventprop.parameters.declaration import Key
from eventprop.scans.spec import CLUSTER_OPTIONS, Condition, Dimension, Scan, Study, assign
from eventprop.simulators import recipes, registry

__all__ = ["read"]

_TOP = (
    "simulator",
    "mode",
    "models",
    "recipe",
    "out",
    "workers",
    "launcher",
    "seeds",
    "folds",
    "p",
    "grid",
    "runs",
    "when",
    "cluster",
    "study",
)
_OWN = {
    **dict.fromkeys(("NAME", "OUT_DIR"), "each run has its own folder (out)"),
    **dict.fromkeys(
        ("LOAD_LAST", "LOAD_BEST", "CHECKPOINT", "CHECKPOINT_NAME", "WRITE_TO_DISK"), "so that it can go on"
    ),
    **dict.fromkeys(("MODEL_SEED", "TRAIN_DATA_SEED"), "use seeds"),
    "NUM_THREADS": "use workers, which share the cores",
    "METHOD": "use mode",
}


def read(path: str | os.PathLike[str]) -> Scan:
    """The scan in the file.

    Raises:
        ValueError: lists everything that is wrong with it, a line each that begins with the file's name.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    reader = _Reader(path, texts.read_toml(path))
    scan = reader.scan()
    reader.fail()
    assert scan is not None
    return scan


class _Reader:
    """Takes a scan file apart; ``problems`` is what is wrong with it."""

    def __init__(self, path: Path, found: dict[str, Any]) -> None:
        self.path, self.found = path, found
        self.problems: list[str] = []
        self.keys: dict[str, Key] = {}
        self.mode = "train"

    def wrong(self, text: str) -> None:
        self.problems.append(f"{self.path}: {text}")

    def fail(self) -> None:
        if self.problems:
            raise ValueError("\n".join(dict.fromkeys(self.problems)))

    def scan(self) -> Scan | None:
        self._known("", self.found, _TOP)
        benchmark, base = self._benchmark()
        if benchmark is None:
            return None
        self.keys = {key.name: key for key in benchmark.keys}
        self.mode = self.found.get("mode") or base["METHOD"] or "train"
        modes = [name for name in benchmark.methods if name != "test"]
        if self.mode not in modes:
            self.wrong(f"mode={self.mode!r} is not one of {', '.join(modes)}{_near(self.mode, modes)}")
        folds = self._folds(benchmark)
        fixed = self._settings("[p]", self._table("p"))
        for key, value in fixed.items():
            assign(base, key, value)
        axes = self._axes()
        entries = self._entries()
        study = self._study()
        conditions = self._conditions()
        self._apart(fixed, axes, entries, study, conditions)
        return Scan(
            path=self.path,
            benchmark=benchmark,
            mode=self.mode,
            base=base,
            axes=axes,
            entries=entries,
            conditions=conditions,
            seeds=tuple(self._whole("seeds", [1])),
            folds=folds,
            out=Path(self._of_type("out", str, f"runs/scans/{self.path.stem}")),
            workers=self._number("workers", self.found, 1),
            launcher=self._launcher(),
            cluster=self._cluster(),
            study=study,
        )

    def _benchmark(self) -> tuple[registry.Benchmark | None, dict[str, Any]]:
        try:
            file = self._of_type("models", str, "")
            if file:
                own_neurons.load_file(self.path.parent / file)
            benchmark = registry.find(self.found.get("simulator", ""))
            base = parameters.defaults(benchmark.keys)
            if file:
                own = {n: own_neurons.plain(of) for n, of in models.NEURONS.items() if n not in models.ON_BOARD}
                losses = {n: own_losses.plain(of) for n, of in models.LOSSES.items() if n not in models.LOSSES_ON_BOARD}
                base |= {"NEURONS": own, "LOSSES": losses}
            recipe = self._of_type("recipe", str, "")
            if recipe:
                base = recipes.apply(base, recipes.load_recipe(recipe, benchmark.name))
        except ValueError as error:
            self.wrong(str(error))
            return None, {}
        return benchmark, base

    def _launcher(self) -> tuple[str, ...]:
        """The words of ``launcher``, the first of which is a program that is there."""
        text = self._of_type("launcher", str, "")
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            self.wrong(f"launcher={text!r} cannot be taken apart: {error}")
            return ()
        if words and shutil.which(words[0]) is None:
            self.wrong(f"launcher={text!r} begins with no program that is here")
        return words

    def _known(self, where: str, table: Mapping[str, Any], names: Sequence[str]) -> None:
        for name in table:
            if name not in names:
                there = f"; there are: {', '.join(names)}"
                self.wrong(f"{where}unknown key {name!r}{_near(name, names) or there}")

    def _of_type(self, name: str, kind: type, default: Any) -> Any:
        value = self.found.get(name, default)
        if not isinstance(value, kind):
            self.wrong(f"{name} must be {'text' if kind is str else 'a table'}, got {value!r}")
            return default
        return value

    def _table(self, name: str) -> dict[str, Any]:
        return dict(self._of_type(name, dict, {}))

    def _number(self, name: str, table: Mapping[str, Any], default: int, where: str = "", least: int = 1) -> int:
        value = table.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.wrong(f"{where}{name} must be a whole number from {least} on, got {value!r}")
            return default
        return value

    def _whole(self, name: str, default: list[int]) -> list[int]:
        values = self.found.get(name, default)
        if not isinstance(values, list) or not values or not all(type(v) is int and v >= 0 for v in values):
            self.wrong(f"{name} must be a list of whole numbers from 0 on, got {values!r}")
            return default
        if len(set(values)) < len(values):
            self.wrong(f"{name} holds a number twice: {values}")
        return values

    def _folds(self, benchmark: registry.Benchmark) -> tuple[int, ...]:
        if self.mode != "cross_validate":
            if "folds" in self.found:
                also = 'mode = "cross_validate"' if benchmark.fold_key else f"another simulator than {benchmark.name}"
                self.wrong(f"folds need {also}")
            return ()
        if "folds" not in self.found:
            self.wrong(
                f'mode = "cross_validate" needs folds: which of {benchmark.fold_key} to leave out, one at a time'
            )
            return ()
        return tuple(self._whole("folds", [0]))

    def _settings(self, where: str, table: Mapping[str, Any]) -> dict[str, Any]:
        """Overrides, each known, not the scan's own, and of a value that its key takes."""
        taken = {}
        for name, value in table.items():
            key = self._key(where, name)
            if key is not None:
                taken[name] = self._value(where, key, name, value)
        return taken

    def _key(self, where: str, name: str) -> Key | None:
        outer, dot, _ = name.partition(".")
        reason = _OWN.get(outer)
        if self.mode == "cross_validate" and outer == registry.find(self.found["simulator"]).fold_key:
            reason = "use folds"
        if reason:
            self.wrong(f"{where} {name} is set by the scan itself: {reason}")
            return None
        key = self.keys.get(outer)
        if key is None or (dot and key.kind != "dict"):
            self.wrong(f"{where} unknown key {name!r}{_near(outer, self.keys)}")
            return None
        return key

    def _value(self, where: str, key: Key, name: str, value: Any) -> Any:
        """``value`` as its key takes it; the word "None" is None where that is a value, for TOML has none."""
        if value == "None" and key.optional:
            return None
        if "." in name:
            return value
        try:
            return key.check(value)
        except ValueError as error:
            self.wrong(f"{where} {error}")
            return value

    def _axes(self) -> dict[str, list[Any]]:
        table = self._table("grid")
        if "grid" in self.found and not table:
            self.wrong("[grid] is empty; give it keys with lists of values, or leave it out")
        axes: dict[str, list[Any]] = {}
        for name, values in self._flat("[grid]", table):
            key = self._key("[grid]", name)
            if key is None:
                continue
            if not isinstance(values, list) or not values:
                self.wrong(f"[grid] {name} must be a list of at least one value, got {values!r}")
                continue
            axes[name] = [self._value("[grid]", key, name, value) for value in values]
            if any(value in axes[name][:i] for i, value in enumerate(axes[name])):
                self.wrong(f"[grid] {name} holds a value twice: {axes[name]}")
        return axes

    def _flat(self, where: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Entries of ``table``; those of ``OUTER.inner`` for what stands in a table ``OUTER``."""
        for name, value in table.items():
            key = self.keys.get(name)
            if isinstance(value, dict) and key is not None and key.kind == "dict":
                yield from ((f"{name}.{inner}", own) for inner, own in value.items())
            else:
                yield name, value

    def _tables(self, name: str) -> list[dict[str, Any]]:
        found = self.found.get(name, [])
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            self.wrong(f"{name} must be tables [[{name}]], got {found!r}")
            return []
        if name in self.found and not found:
            self.wrong(f"[[{name}]] is empty; leave it out")
        return found

    def _entries(self) -> tuple[dict[str, Any], ...]:
        entries = [self._settings(f"[[runs]] {i}:", entry) for i, entry in enumerate(self._tables("runs"), 1)]
        for i, entry in enumerate(entries):
            if entry in entries[:i]:
                self.wrong(f"[[runs]] {i + 1} is the same as {entries.index(entry) + 1}")
        return tuple(entries) or ({},)

    def _conditions(self) -> tuple[Condition, ...]:
        conditions = []
        for i, entry in enumerate(self._tables("when"), 1):
            where = f"[[when]] {i}:"
            self._known(f"{where} ", entry, ("if", "then"))
            when, then = entry.get("if"), entry.get("then")
            if not (isinstance(when, dict) and when and isinstance(then, dict) and then):
                self.wrong(f"{where} needs two tables, if = {{KEY = value}} and then = {{KEY = value}}")
                continue
            conditions.append(Condition(self._settings(f"{where} if:", when), self._settings(f"{where} then:", then)))
        return tuple(conditions)

    def _study(self) -> Study | None:
        if "study" not in self.found:
            return None
        table = self._table("study")
        self._known("[study] ", table, ("trials", "sampler_seed", "space"))
        if "trials" not in table:
            self.wrong("[study] needs trials, their number")
        space = table.get("space")
        if not isinstance(space, dict) or not space:
            self.wrong("[study.space] needs keys, each with {low, high} or {choices}")
            space = {}
        if "grid" in self.found or "runs" in self.found:
            self.wrong("[study] chooses the points itself: it goes without [grid] and [[runs]]")
        dimensions = {}
        for name, given in space.items():
            key = self._key("[study.space]", name)
            if key is not None:
                dimensions[name] = self._dimension(key, name, given)
        trials = self._number("trials", table, 1, "[study] ")
        return Study(trials, self._number("sampler_seed", table, 1, "[study] ", 0), dimensions)

    def _dimension(self, key: Key, name: str, given: Any) -> Dimension:
        where = "[study.space]"
        given = given if isinstance(given, dict) else {}
        self._known(f"{where} {name}: ", given, ("low", "high", "log", "choices"))
        if set(given) == {"choices"} and isinstance(given["choices"], list) and given["choices"]:
            choices = [self._value(where, key, name, value) for value in given["choices"]]
            return Dimension(key.kind, choices=tuple(choices))
        if {"low", "high"} <= set(given) <= {"low", "high", "log"} and key.kind in ("int", "float"):
            low, high = (self._value(where, key, name, given[end]) for end in ("low", "high"))
            log = given.get("log", False)
            numbers = all(isinstance(end, int | float) for end in (low, high))
            if numbers and low < high and isinstance(log, bool) and (low > 0 or not log):
                return Dimension(key.kind, low, high, log)
        self.wrong(
            f"{where} {name} must be {{low, high}} with low < high (above 0 with log = true) or {{choices = [...]}}"
        )
        return Dimension(key.kind)

    def _cluster(self) -> dict[str, Any]:
        table = self._table("cluster")
        names = [name for name in table if not name.startswith("slurm_")]
        self._known("[cluster] ", dict.fromkeys(names), list(CLUSTER_OPTIONS))
        for name in names:
            kind = CLUSTER_OPTIONS.get(name, (name, type(table[name])))[1]
            if type(table[name]) is not kind:
                what = "text" if kind is str else "a whole number (time: of minutes)"
                self.wrong(f"[cluster] {name} must be {what}, got {table[name]!r}")
        return table

    def _apart(
        self,
        fixed: Mapping[str, Any],
        axes: Mapping[str, Any],
        entries: Iterable[Mapping[str, Any]],
        study: Study | None,
        conditions: Sequence[Condition],
    ) -> None:
        """No key has two sources between which only an unwritten rule would choose."""
        sources = {"[grid]": set(axes), "[[runs]]": {key for entry in entries for key in entry}}
        sources["[study.space]"] = set(study.space) if study else set()
        inner = {f"{key}.{name}" for key, value in fixed.items() if isinstance(value, dict) for name in value}
        scanned: dict[str, str] = {}
        for source, names in sources.items():
            for key in sorted(names):
                if key in fixed or key in inner:
                    self.wrong(f"{key} is both fixed in [p] and scanned in {source}")
                if key in scanned:
                    self.wrong(f"{key} is scanned in both {scanned[key]} and {source}")
                scanned[key] = source
        for key in scanned:
            if "." in key and key.partition(".")[0] in scanned:
                self.wrong(f"{key} and {key.partition('.')[0]} are both scanned")
        for i, condition in enumerate(conditions, 1):
            for key in condition.then:
                if key in scanned:
                    self.wrong(f"{key} is both scanned in {scanned[key]} and set by [[when]] {i}")


def _near(name: Any, names: Iterable[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(str(name).lower(), by_lower, 1, 0.5)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""
