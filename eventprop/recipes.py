"""Recipes: named sets of overrides, each a small TOML file that says why, from where, and what to expect."""

from __future__ import annotations

import difflib
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
    beside = Path(__file__).parent.parent / "recipes"
    return beside if beside.is_dir() else Path(__file__).parent / "recipes"


def list_recipes() -> list[str]:
    """Names of the recipes that come with the program."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """The recipe called ``name``, or in the TOML file of that path.

    Raises:
        ValueError: there is none, or its file is broken; names the file and what is wrong.
    """
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, list_recipes(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no recipe {name!r}; there are: {', '.join(list_recipes())}{hint}")
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    unknown = sorted(set(found) - {*_TEXTS, "p"})
    if unknown or not isinstance(found.get("p"), dict):
        what = f"unknown: {', '.join(unknown)}" if unknown else "a table [p] is missing"
        raise ValueError(f"{path} must hold {', '.join(_TEXTS)} and a table [p] of overrides; {what}")
    why, expect, source = (str(found.get(k, "")) for k in _TEXTS)
    return Recipe(path.stem, why, expect, source, found["p"])


def apply(p: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A new dict: ``p`` with the recipe's overrides."""
    return {**p, **recipe.overrides}
