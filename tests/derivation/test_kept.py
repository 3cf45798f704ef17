"""Derivations are kept: the same when they are read back, made anew where the file is damaged or the neuron another."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import models
from eventprop.derivation import derive, derived, kept

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where derivations are kept, empty, and none is held in memory."""
    monkeypatch.setenv("EVENTPROP_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "_HELD", {})
    return tmp_path / "derived"


@pytest.mark.parametrize("neuron", [models.LIF, models.ADAPTIVE, models.COBA, models.REFRACTORY], ids=lambda n: n.name)
def test_what_is_read_is_what_was_derived(neuron: models.Neuron, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = derived(neuron)
    monkeypatch.setattr(kept, "_HELD", {})
    monkeypatch.setattr(derive, "derive", lambda _: pytest.fail("it is derived again"))
    assert derived(neuron) == first


@pytest.mark.parametrize("damage", [b"", b"{}", b"null", b"[1, 2]", b"\xff\xfe"])
def test_a_damaged_file_is_made_anew(damage: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = derived(models.LIF)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for bytes_ in (damage, whole.replace(b"v_reset", b"v_resat")):
        path.write_bytes(bytes_)
        monkeypatch.setattr(kept, "_HELD", {})
        assert derived(models.LIF) == first
        assert path.read_bytes() == whole


def test_another_declaration_is_another_derivation(folder: Path) -> None:
    """What people are told about it is no other one."""
    soft = replace(models.LIF, reset={"V": "V - v_thresh"})
    assert derived(soft).reset != derived(models.LIF).reset
    derived(replace(models.LIF, sentence="Another sentence."))
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVENTPROP_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(kept, "_HELD", {})
    assert derived(models.LIF).name == "LIF"


def test_sympy_is_imported_only_to_derive(tmp_path: Path) -> None:
    """Starting a script costs no second where everything was derived before."""
    code = (
        "import sys, simulator_SHD; from eventprop.simulators.records import network_of;"
        "network_of(simulator_SHD.SHD_model.resolve(None, simulator_SHD.p), 700, 20); print('sympy' in sys.modules)"
    )
    environment = {**os.environ, "EVENTPROP_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run = [subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True) for _ in "12"]
    assert [r.stdout.split()[-1] for r in run] == ["True", "False"], run[1].stderr
