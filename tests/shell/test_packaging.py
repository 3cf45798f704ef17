"""The wheel: what it holds and what it asks an index for."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.places import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the sources stay clean."""
    copy = tmp_path_factory.mktemp("source") / "project"
    shutil.copytree(ROOT, copy, ignore=unneeded)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out)]
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def unneeded(folder: str, names: list[str]) -> set[str]:
    """What has nothing to do in a copy of the project."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")(folder, names)
    return ignored | ({"build", "data", "runs", "docs", "tests"} if Path(folder) == ROOT else set())


def test_no_index_is_asked_for_pygenn(wheel: Path) -> None:
    """GeNN is not on PyPI and its name there is free for anybody: pip must never look it up by name."""
    with zipfile.ZipFile(wheel) as file:
        metadata = email.message_from_bytes(file.read(next(n for n in file.namelist() if n.endswith("METADATA"))))
    required = metadata.get_all("Requires-Dist") or []
    assert any(r.startswith("numpy") for r in required)
    genn = [r for r in required if "genn" in r.lower()]
    assert genn
    for requirement in genn:
        assert requirement.startswith("pygenn @ https://github.com/genn-team/genn/"), requirement
        assert 'extra == "genn"' in requirement


def test_everything_is_in_it(wheel: Path) -> None:
    """Fails if a package, header or recipe is not installed with the rest."""
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    expected = {
        str(path.relative_to(ROOT)) for path in (ROOT / "eventprop").rglob("*.[ph][yp]*") if "__py" not in str(path)
    }
    expected |= {f"eventprop/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.toml")}
    expected |= {"models.py", "simulator_SHD.py", "train_SHD.py", "eventprop/__main__.py"}
    assert expected - held == set()
