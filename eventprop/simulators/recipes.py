"""Recipes: named sets of overrides, each a small TOML file that says why and from where; what to expect is in a table.

That of the program's own recipes is made from ``results.toml`` (:mod:`eventprop.simulators.measured`).
"""

from __future__ import annotations

import copy
import difflib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventprop import texts
from eventprop.simulators import measured
from eventprop.simulators.registry import BENCHMARKS, find

__all__ = ["Recipe", "apply", "list_recipes", "load_recipe", "results_file"]

_TEXTS = ("why", "expect", "source", "method")
_PREFIXES = tuple(f"{name}_" for name in BENCHMARKS if name != "SHD")  # SHD's recipes are called as their files are


@dataclass(frozen=True)
class Recipe:
    """Overrides of ``p`` and the words that go with them; ``method`` is what it is for, as the command line has it.

    What to ``expect`` is what was measured; a recipe of a user's own may say it in its file.
    """

    name: str
    reason: str
    expect: str
    source: str
    overrides: dict[str, Any]
    method: str | None = None


def _prefix(simulator: str) -> str:
    """What the names of a simulator's files begin with."""
    return "" if simulator == "SHD" else f"{simulator}_"


def _folder() -> Path:
    """In the installed package, else at the root of the repository.

    The package's own comes first: what lies beside an installed package belongs to others.
    """
    package = Path(__file__).parents[1]
    return package / "recipes" if (package / "recipes").is_dir() else package.parent / "recipes"


def results_file() -> Path:
    """The table of what the program's recipes reach."""
    return _folder() / measured.FILE


def _results() -> measured.Table:
    path = results_file()
    return _read_results(path, path.stat().st_mtime_ns) if path.is_file() else measured.Table({})


@functools.lru_cache(maxsize=1)
def _read_results(path: Path, changed: int) -> measured.Table:
    """The table as it was at that time: one reading does for all recipes."""
    return measured.read(path)


def list_recipes(simulator: str = "SHD") -> list[str]:
    """Names of a simulator's recipes that come with the program; those of SHD's are the files' own."""
    stems = sorted(path.stem for path in _folder().glob("*.toml") if path.name != measured.FILE)
    if simulator == "SHD":
        return [stem for stem in stems if not stem.startswith(_PREFIXES)]
    return [stem.removeprefix(f"{simulator}_") for stem in stems if stem.startswith(f"{simulator}_")]


def load_recipe(name: str | os.PathLike[str], simulator: str = "SHD") -> Recipe:
    """A simulator's recipe called ``name``, or the recipe in the TOML file of that path.

    Raises:
        ValueError: there is none, or its file is broken; names the file and what is wrong.
    """
    name = os.fspath(name)
    there = list_recipes(simulator)
    path = Path(name) if name.endswith(".toml") else _folder() / f"{_prefix(simulator)}{name}.toml"
    if not path.is_file() or (not name.endswith(".toml") and name not in there):
        near = difflib.get_close_matches(name, there, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(there)}{hint}")
    found = texts.read_toml(path)
    unknown = sorted(set(found) - {*_TEXTS, "p"})
    if unknown or not isinstance(found.get("p"), dict):
        what = f"unknown: {', '.join(unknown)}" if unknown else "a table [p] is missing"
        raise ValueError(f"{path} must hold {', '.join(_TEXTS)} and a table [p] of overrides; {what}")
    for key in _TEXTS:
        if not isinstance(found.get(key, ""), str):
            raise ValueError(f"{path}: {key} must be text, got {found[key]!r}")
    benchmark = find(simulator)
    if found.get("method", "train") not in benchmark.methods:
        raise ValueError(f"{path}: method={found['method']!r} is not one of {', '.join(benchmark.methods)}")
    why, source = found.get("why", ""), found.get("source", "")
    none = {key.name for key in benchmark.keys if key.optional and found["p"].get(key.name) == "None"}  # TOML has none
    overrides = {key: None if key in none else value for key, value in found["p"].items()}
    own = path.stem.removeprefix(_prefix(simulator))
    expect = found.get("expect", "")
    if not name.endswith(".toml"):
        expect = measured.expectation(_results(), simulator, own, overrides.get("N_EPOCH"))
    return Recipe(own, why, expect, source, overrides, found.get("method"))


def apply(p: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A new dict: ``p`` with the recipe's overrides, and its method as ``METHOD``; it shares no list with either."""
    method = {} if recipe.method is None else {"METHOD": recipe.method}
    return copy.deepcopy({**p, **recipe.overrides, **method})
