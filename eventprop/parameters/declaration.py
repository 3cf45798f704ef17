"""Parameters: each declared once; validation, ``--help`` and the README's tables follow from the declaration."""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eventprop.parameters.typed import parse_settings, parse_value

__all__ = ["Defaults", "Key", "at_home", "defaults", "describe", "markdown", "parse_settings", "parse_value"]
__all__ += ["resolve"]


LARGEST = 1e9
"""Floats are at most this in size, and times at least its inverse, unless they are declared otherwise: engines compute
in single precision, whose numbers, and products and quotients of several, must not overflow or vanish."""

_TINY = 1e-30  # what else must be above 0 is at least this, a number of single precision


@dataclass(frozen=True)
class Key:
    """Declaration of one parameter.

    Attributes:
        name, group, unit, sentence: for people.
        kind: "bool", "int", "float", "str", "names" (list of text), "pairs" (list of [epoch, trial]),
            "variables" (list of [population, variable]), "ints" (list of whole numbers), "range" ([least, most]) or
            "dict".
        default: its value where the user gives none.
        optional: whether None is a value.
        choices: the values that exist, or what gives them where they grow.
        least, most: range, inclusive; ``above`` and ``below`` exclude their bound.
        renames: other names that entries of "names" and populations of "variables" may have, with what they stand
            for.
        elsewhere: values of other benchmarks, which are taken for the default, with a warning.
        record: which record its value goes to, see :mod:`eventprop.parameters.belonging`.
        changes: what another value changes: the "network" that given weights make, the "spikes" that samples become,
            which "samples" are taken, only the "training" of weights, or none of these, only "files".
        loaded: whether it is read when data are loaded, and stays as it is from then on.
        per_layer: whether a list with a value for each hidden layer is one, too.
    """

    name: str
    group: str
    kind: str
    default: Any
    sentence: str
    unit: str = ""
    optional: bool = False
    choices: tuple[Any, ...] | Callable[[], Iterable[Any]] | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    renames: tuple[tuple[str, str], ...] = ()
    elsewhere: tuple[Any, ...] = ()
    record: str = ""
    changes: str = ""
    loaded: bool = False
    per_layer: bool = False

    def check(self, value: Any) -> Any:
        """``value`` in its plain Python type.

        Raises:
            ValueError: names the key, what is wrong and what would be right.
        """
        if self.per_layer and (isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim)):
            return [replace(self, per_layer=False).check(own) for own in value]
        if value is None and self.kind != "dict":
            if self.optional:
                return None
            raise ValueError(f"{self.name} must not be None; its default is {self.default!r}")
        value = _CONVERT[self.kind](self.name, value)
        if self.elsewhere and value in self.elsewhere:
            what = f"{self.name}={json.dumps(value)} has no effect here; {json.dumps(self.default)} is taken"
            warnings.warn(what, stacklevel=5)
            return copy.deepcopy(self.default)
        choices = self.values()
        if choices is not None and value not in choices:
            near = difflib.get_close_matches(str(value), [str(c) for c in choices], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{self.name}={value!r} is not one of {', '.join(map(repr, choices))}{hint}")
        for number in value if self.kind == "range" else [value] if self.kind in ("int", "float") else []:
            self._check_range(number)
        return self._rename(value)

    def values(self) -> tuple[Any, ...] | None:
        """The values that exist; None where they are not counted."""
        return tuple(self.choices()) if callable(self.choices) else self.choices

    def _rename(self, value: Any) -> Any:
        names = dict(self.renames)
        if names and self.kind == "names":
            return [names.get(name, name) for name in value]
        if names and self.kind == "variables":
            return [[names.get(population, population), variable] for population, variable in value]
        return value

    def _check_range(self, value: float) -> None:
        for bound, broken, words in (
            (self.least, lambda b: value < b, "at least"),
            (self.most, lambda b: value > b, "at most"),
            (self.above, lambda b: value <= b, "above"),
            (self.below, lambda b: value >= b, "below"),
            *self._of_single_precision(value),
        ):
            if bound is not None and broken(bound):
                raise ValueError(f"{self.name} must be {words} {bound:g}, got {value!r}")

    def _of_single_precision(self, value: float) -> list[tuple[float | None, Callable[[float], bool], str]]:
        """Further bounds, as above, of floats."""
        if self.kind not in ("float", "range"):
            return []
        tiny = 1.0 / LARGEST if self.unit == "ms" else _TINY
        least = self.least if self.least is not None else tiny if self.above == 0.0 else -LARGEST
        most = self.most if self.most is not None else LARGEST
        return [(least, lambda b: value < b, "at least"), (most, lambda b: value > b, "at most")]

    def allowed(self) -> str:
        """The values that it takes, in words."""
        also = ", or a list, one for each hidden layer" if self.per_layer else ""
        choices = self.values()
        if choices is not None:
            return ", ".join(map(repr, choices)) + also
        bounds = [
            f"{sign} {bound:g}"
            for sign, bound in (("≥", self.least), (">", self.above), ("≤", self.most), ("<", self.below))
            if bound is not None
        ]
        return (" and ".join(bounds) or "one value" * self.per_layer) + also


def _bool(name: str, value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise ValueError(f"{name} must be True or False, got {value!r}")


def _int(name: str, value: Any) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole or (isinstance(value, float | np.floating) and math.isfinite(value) and float(value).is_integer()):
        return int(value)
    raise ValueError(f"{name} must be a whole number, got {value!r}")


def _float(name: str, value: Any) -> float:
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(f"{name} is too large for a floating-point number") from None
        if math.isfinite(number):
            return number
        raise ValueError(f"{name} must be finite, got {value!r}")
    raise ValueError(f"{name} must be a number, got {value!r}")


def _str(name: str, value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "__fspath__"):
        return str(value)
    raise ValueError(f"{name} must be text, got {value!r}")


def _items(name: str, value: Any, what: str) -> list[Any]:
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0):
        return list(value)
    raise ValueError(f"{name} must be a list of {what}, got {value!r}")


def _names(name: str, value: Any) -> list[str]:
    return [_str(f"each entry of {name}", v) for v in _items(name, value, "names")]


def _ints(name: str, value: Any) -> list[int]:
    values = [value] if isinstance(value, int | np.integer) and not isinstance(value, bool) else value
    return [_int(f"each entry of {name}", v) for v in _items(name, values, "whole numbers")]


def _pair(name: str, value: Any, what: str) -> list[Any]:
    pair = _items(f"each entry of {name}", value, what)
    if len(pair) != 2:
        raise ValueError(f"each entry of {name} must be a pair [{what}], got {value!r}")
    return pair


def _pairs(name: str, value: Any) -> list[list[int]]:
    pairs = _items(name, value, "[epoch, trial] pairs")
    return [[_int(f"each entry of {name}", v) for v in _pair(name, x, "epoch, trial")] for x in pairs]


def _range(name: str, value: Any) -> list[float]:
    pair = [_float(f"each entry of {name}", v) for v in _items(name, value, "two numbers, [least, most]")]
    if len(pair) != 2 or pair[0] > pair[1]:
        raise ValueError(f"{name} must be a list of two numbers, [least, most], got {value!r}")
    return pair


def _variables(name: str, value: Any) -> list[list[str]]:
    pairs = _items(name, value, "[population, variable] pairs")
    return [[_str(f"each entry of {name}", v) for v in _pair(name, x, "population, variable")] for x in pairs]


def _dict(name: str, value: Any) -> dict[str, Any]:
    if value is None or (isinstance(value, list | tuple) and not value):
        return {}  # of old settings
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {str(k): _plain(v) for k, v in value.items()}
    raise ValueError(f"{name} must be a dictionary with names as keys, got {value!r}")


def _plain(value: Any) -> Any:
    """A copy of ``value`` without NumPy types and tuples, as JSON has none."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value


_CONVERT = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _str,
    "names": _names,
    "ints": _ints,
    "pairs": _pairs,
    "variables": _variables,
    "range": _range,
    "dict": _dict,
}


class Defaults(dict[str, Any]):
    """``p`` of a simulator's module: a dict that knows whose it is, so that another's is not taken for it.

    ``{**p}``, ``p | {...}`` and ``p.copy()`` are ordinary dicts; deep copies and pickles know it still.

    Args:
        values: the parameters.
        owner: module and class.
    """

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), owner: tuple[str, str] = ("", "")):
        super().__init__(values)
        self.owner = owner

    def check(self, owner: tuple[str, str]) -> None:
        """See that it is the dict of ``owner``.

        Raises:
            ValueError: it is another's; says how to import both.
        """
        if self.owner != owner and all((*self.owner, *owner)):
            own = f"p_{owner[0].removeprefix('simulator_')}"
            raise ValueError(
                f"this p is that of {self.owner[0]}, and {owner[1]} has its own: from {owner[0]} import {owner[1]}, "
                f"p as {own}, or {own} = {owner[1]}.defaults()"
            )


def defaults(keys: Iterable[Key], owner: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """A new dict of all keys at their defaults, JSON-serialisable; ``owner`` as of :class:`Defaults`."""
    return Defaults({key.name: copy.deepcopy(key.default) for key in keys}, owner)


def resolve(
    p: Mapping[str, Any],
    keys: Sequence[Key],
    aliases: Mapping[str, str],
    dead: Mapping[str, str],
    elsewhere: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """``p`` complete and converted, as a new dict, and the list of everything that is wrong with it.

    The dict lacks the keys whose value is wrong.

    Args:
        aliases: other spellings of keys, with the key that each stands for.
        dead: keys of old scripts that never had an effect, with what to use instead ("" for nothing).
        elsewhere: keys of other benchmarks, which have no effect here, likewise.

    Raises:
        ValueError: ``p`` is no dictionary.
    """
    if not isinstance(p, Mapping):
        raise ValueError(f"p must be a dictionary of parameters, got {p!r}")
    declared = {key.name: key for key in keys}
    others = elsewhere or {}
    problems: list[str] = []
    given: dict[str, Any] = {}
    for name, value in p.items():
        if name in aliases:
            continue
        if name in declared:
            given[name] = value
        elif name in dead or name in others:
            other = dead.get(name) or others.get(name)
            instead = f"; use {other}" if other in declared else ""
            warnings.warn(f"{name} has no effect{'' if name in dead else ' here'}{instead}", stacklevel=4)
        else:
            near = difflib.get_close_matches(str(name).upper(), [*declared, *aliases], 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else "; --help of the training script lists all keys"
            problems.append(f"unknown key {name!r}{hint}")
    for other, name in aliases.items():
        if other in p:
            problems += _apply_alias(given, other, p[other], declared[name])
    resolved: dict[str, Any] = {}
    for name, key in declared.items():
        try:
            resolved[name] = key.check(given[name]) if name in given else copy.deepcopy(key.default)
        except ValueError as error:
            problems.append(str(error))
        except RecursionError:
            problems.append(f"{name} is nested too deeply, or holds itself")
    return resolved, problems


def _apply_alias(given: dict[str, Any], other: str, value: Any, key: Key) -> list[str]:
    """Take ``value`` for ``key`` unless the key itself was changed to something else."""
    changed = not _same(value, key.default)
    if changed and key.name in given and not any(_same(given[key.name], v) for v in (key.default, value)):
        return [f"{other}={value!r} and {key.name}={given[key.name]!r} mean the same key; give one of them"]
    if other == "TRAIL_MS":
        warnings.warn("TRAIL_MS is taken for TRIAL_MS", stacklevel=5)
    if changed or key.name not in given:
        given[key.name] = value
    return []


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal; arrays, which no aliased key takes, never are."""
    return not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray) and bool(a == b)


def describe(keys: Sequence[Key]) -> str:
    """All keys as plain text, for ``--help``."""
    lines: list[str] = []
    group = ""
    for key in keys:
        if key.group != group:
            group = key.group
            lines.append(f"\n{group}")
        unit = f" {key.unit}" if key.unit else ""
        lines.append(f"  {key.name} = {key.default!r}{unit}")
        allowed = f" ({key.allowed()})" if key.allowed() else ""
        lines.append(f"      {key.sentence}{allowed}")
    return "\n".join(lines)


def markdown(benchmarks: Mapping[str, Sequence[Key]]) -> str:
    """All keys as Markdown, a table for each group. A key that benchmarks declare in other words has a row for each;
    where defaults differ, or not all benchmarks have a key, the row says whose they are."""
    groups: dict[str, dict[tuple[str, ...], dict[str, list[str]]]] = {}  # rows of a group; benchmarks by default
    names = {key.name: key.group for own in benchmarks.values() for key in own}
    for name, group in names.items():
        rows = groups.setdefault(group, {})
        for benchmark, own in benchmarks.items():
            for key in (key for key in own if key.name == name):
                row = (f"`{name}`", key.sentence, " ".join(filter(None, [key.allowed(), key.unit])), key.changes)
                rows.setdefault(row, {}).setdefault(f"`{key.default!r}`", []).append(benchmark)
    lines: list[str] = []
    for group, rows in groups.items():
        lines += [f"\n## {group}\n", "| key | meaning | values | default | changes |", "|---|---|---|---|---|"]
        for (name, sentence, values, changes), defaults in rows.items():
            of_all = len(benchmarks) == len(next(iter(defaults.values())))
            whose = "; ".join(d if of_all else f"{d} {', '.join(owners)}" for d, owners in defaults.items())
            lines.append(f"| {name} | {sentence} | {values} | {whose} | {changes} |")
    return "\n".join(lines).strip() + "\n"


def at_home(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` with the user's own folder for the ``~`` at the start of a path."""
    names = ("DATA_DIR", "OUT_DIR", "DATA_BUFFER_NAME", "DATA_SET", "MASKS")
    return {**p, **{name: os.path.expanduser(p[name]) for name in names if isinstance(p.get(name), str)}}
