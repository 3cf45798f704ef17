"""Recipes: found by name or path, refused by name where they are broken."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import simulator_SHD
from eventprop.simulators import recipes
from eventprop.simulators.recipes import Recipe
from tests.support.places import ROOT

GOOD = 'why = "because"\nexpect = "90 %"\nsource = "here"\n[p]\nETA = 0.1\nSPEAKER_LEFT = [1]\n'


def test_the_programs_own_recipes_are_listed() -> None:
    assert {"demo", "digits"} <= set(recipes.list_recipes())
    assert recipes.list_recipes() == sorted(recipes.list_recipes())


def test_recipes_choose_the_data_they_are_named_for() -> None:
    assert recipes.load_recipe("demo").overrides["DATA_SET"] == "DEMO"
    assert recipes.load_recipe("digits").overrides["DATA_SET"] == "SHD"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_recipe_of_ones_own_by_path(kind: Any) -> None:
    Path("mine.toml").write_text(GOOD)
    recipe = recipes.load_recipe(kind("mine.toml"))
    assert recipe == Recipe("mine", "because", "90 %", "here", {"ETA": 0.1, "SPEAKER_LEFT": [1]})


def test_recipes_are_read_as_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """TOML is UTF-8 whatever the locale."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    Path("mine.toml").write_bytes('why = "für später"\n[p]\n'.encode())
    assert recipes.load_recipe("mine.toml").reason == "für später"


BAD: list[tuple[str, bytes, str]] = [
    ("syntax", b'why = "x"\n[p\n', "line 2"),
    ("twice", b"[p]\nETA = 1\nETA = 2\n", "line 3"),
    ("not utf-8", b'why = "\xe9"\n[p]\n', "can't decode byte 0xe9"),
    ("unknown", b'note = "x"\n[p]\n', "unknown: note"),
    ("override outside [p]", b"ETA = 0.1\n[p]\n", "unknown: ETA"),
    ("no p", b'why = "x"\n', "a table [p] is missing"),
    ("p no table", b"p = 5\n", "a table [p] is missing"),
    ("why no text", b"why = 3\n[p]\n", "why must be text, got 3"),
    ("empty", b"", "a table [p] is missing"),
]


@pytest.mark.parametrize(("content", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_broken_recipes(content: bytes, message: str) -> None:
    """Each message names the file and what is wrong in it."""
    Path("mine.toml").write_bytes(content)
    with pytest.raises(ValueError) as error:
        recipes.load_recipe("mine.toml")
    assert "mine.toml" in str(error.value) and message in str(error.value)


@pytest.mark.parametrize("name", ["dmeo", "nowhere.toml", "", "folder.toml"])
def test_unknown_recipes(name: str) -> None:
    """The message lists what there is, and the nearest name."""
    Path("folder.toml").mkdir()
    with pytest.raises(ValueError) as error:
        recipes.load_recipe(name)
    assert f"there is no recipe {name!r}; there are: {', '.join(recipes.list_recipes())}" in str(error.value)
    assert ("did you mean demo?" in str(error.value)) == (name == "dmeo")


def test_applying_shares_nothing() -> None:
    """Changing the result must change neither the recipe nor p."""
    recipe = Recipe("r", "", "", "", {"SPEAKER_LEFT": [1]})
    p = {"SPEAKER_LEFT": [0], "REC_SPIKES": ["input"], "ETA": 1.0}
    applied = recipes.apply(p, recipe)
    assert applied == {"SPEAKER_LEFT": [1], "REC_SPIKES": ["input"], "ETA": 1.0}
    applied["SPEAKER_LEFT"].append(2)
    applied["REC_SPIKES"].append("output")
    assert recipe.overrides == {"SPEAKER_LEFT": [1]}
    assert p == {"SPEAKER_LEFT": [0], "REC_SPIKES": ["input"], "ETA": 1.0}


def test_an_installed_package_uses_its_own_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder "recipes" of somebody else's beside the installed package is not taken for ours."""
    for place, name in (("site/eventprop/recipes", "ours"), ("site/recipes", "theirs")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / f"{name}.toml").write_text(GOOD)
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "site" / "eventprop" / "simulators" / "recipes.py"))
    assert recipes.list_recipes() == ["ours"]


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_overrides_are_known_keys(name: str) -> None:
    """A recipe that misspells a key would fail only when somebody runs it."""
    folder = ROOT / "recipes"
    assert set(tomllib.loads((folder / f"{name}.toml").read_text())["p"]) <= set(simulator_SHD.p)
