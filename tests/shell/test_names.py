"""Modules and folders of a user's own, called as some of this project's are, break nothing."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import models
from eventprop import models as ours
from tests.support.places import ROOT

USERS = ("models", "recipes", "scans", "registry", "keys", "plots", "simulator_SHD", "simulator_yinyang")
SETTINGS = ["N_TRAIN=64", "N_TEST=20", "N_EPOCH=1", "NUM_HIDDEN=10", "DT_MS=1.0", "NUM_THREADS=1", "OUT_DIR=out"]


def test_there_is_one_instance_of_the_models() -> None:
    assert models is ours is sys.modules["eventprop.models"] is sys.modules["models"]
    assert (
        pickle.loads(pickle.dumps(ours.ADAM)) == models.ADAM
        and ours.ADAM.__class__.__module__ == "eventprop.declarations"
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installation puts into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "eventprop", folder / "eventprop", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "recipes", folder / "eventprop" / "recipes")
    for path in (*ROOT.glob("simulator_*.py"), *ROOT.glob("train_*.py"), ROOT / "models.py"):
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize("first", ["models", "eventprop.models"])
def test_whichever_name_is_imported_first(site: Path, first: str) -> None:
    code = f"import {first}, models, eventprop.models as own; assert models is own, (models, own); print(own.__file__)"
    assert python(site, "-c", code).strip() == str(site / "models.py")


@pytest.mark.parametrize("kind", ["module", "package", "folder"])
def test_names_of_a_users_own(site: Path, kind: str) -> None:
    """Each would fail when it is imported; the folder without ``__init__`` is a package to Python as well."""
    for name in USERS:
        if kind != "module":
            Path(name).mkdir()
        if kind != "folder":
            Path(f"{name}.py" if kind == "module" else f"{name}/__init__.py").write_text(
                "raise ImportError('imported')"
            )
    assert "epoch 1/1" in python(site, "-m", "train_yinyang", "train", *SETTINGS)
    assert "digits_tau" in python(site, "-c", "from eventprop import recipes; print(recipes.list_recipes())")
    Path("mine.toml").write_text('simulator = "SHD"\nrecipe = "demo"\n[grid]\nETA = [0.1, 0.2]\n')
    assert len(python(site, "-m", "eventprop", "scan", "mine.toml", "--list").splitlines()) == 2


def python(site: Path, *arguments: str) -> str:
    """What Python says in the current folder, which comes first on its path."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
