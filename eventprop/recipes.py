"""Recipes: named sets of overrides, each a small TOML file that says why, from where, and what to expect."""

from __future__ import annotations

import copy
import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Recipe", "apply", "list_recipes", "load_recipe"]

_TEXTS = ("why", "expect", "source")


@dataclass(frozen=True)
class Recipe:
    """Overrides of ``p`` and the words that go with them."""

    name: str
    reason: str
    expect: str
    source: str
    overrides: dict[str, Any]


def _folder() -> Path:
    """In the installed package, else at the root of the repository.

    The package's own comes first: what lies beside an installed package belongs to others.
    """
    packaged = Path(__file__).parent / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "recipes"


def list_recipes() -> list[str]:
    """Names of the recipes that come with the program."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_recipe(name: str | os.PathLike[str]) -> Recipe:
    """The recipe called ``name``, or in the TOML file of that path.

    Raises:
        ValueError: there is none, or its file is broken; names the file and what is wrong.
    """
    name = os.fspath(name)
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, list_recipes(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(list_recipes())}{hint}")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    unknown = sorted(set(found) - {*_TEXTS, "p"})
    if unknown or not isinstance(found.get("p"), dict):
        what = f"unknown: {', '.join(unknown)}" if unknown else "a table [p] is missing"
        raise ValueError(f"{path} must hold {', '.join(_TEXTS)} and a table [p] of overrides; {what}")
    for key in _TEXTS:
        if not isinstance(found.get(key, ""), str):
            raise ValueError(f"{path}: {key} must be text, got {found[key]!r}")
    why, expect, source = (found.get(key, "") for key in _TEXTS)
    return Recipe(path.stem, why, expect, source, found["p"])


def apply(p: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A new dict: ``p`` with the recipe's overrides; it shares no list with either."""
    return copy.deepcopy({**p, **recipe.overrides})
