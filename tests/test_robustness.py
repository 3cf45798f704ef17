"""A small share of ``benchmarks/robustness.py``: files that are damaged, and a run that is killed while it writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.robust import files, kills, left, worker
from benchmarks.robust.kinds import Kind
from eventprop.training.trainer import TrainingDiverged

pytestmark = pytest.mark.long


MUTANTS = 5
CRASHING = "compiled engine, .so"  # what is wrong with it would end the tests, too


@pytest.mark.parametrize("kind", [kind for kind in worker.KINDS if kind != CRASHING])
def test_a_damaged_file_gives_what_the_whole_one_gives_or_a_clear_line(kind: str) -> None:
    """Fails if a reader ends in a traceback, does not name the file, takes other files with it, or returns what the
    file never held though there is a checksum."""
    found = [outcome for outcome in worker.outcomes(kind, 0, MUTANTS) if outcome.result]
    assert len(found) == MUTANTS
    assert files.faults(found) == []


def test_a_damaged_library_is_built_anew() -> None:
    """In a process that others watch: code of a library that is not whole may do anything."""
    found = files.try_all(MUTANTS, [CRASHING], 1, lambda _: None)
    assert [outcome.result for outcome in found] == ["same"] * MUTANTS
    assert f"| {CRASHING} | {MUTANTS} | {MUTANTS} | 0 | 0 | 0 |" in files.table(found)


def _careless(path: Path) -> list[Any]:
    """A reader as they should not be, of a text ``number of values, values``."""
    size, *values = map(int, path.read_text().split())
    if size > len(values):
        raise ValueError("too few values")
    mean = sum(values) / size
    if size == 3:
        path.with_name("begun").write_text("anew")
        raise TrainingDiverged(f"{path.name} makes no sense")
    if size < 2:
        path.with_name("other").unlink()
        raise ValueError(f"{path.name} is too short")
    return [np.array(values), mean]


def _written() -> Path:
    Path("begun").write_text("before")
    Path("other").write_text("of somebody else")
    Path("numbers").write_text("4 1 2 3 4")
    return Path("numbers")


FAULTS = {
    b"4 1 2 x 4": "UNCLEAR ValueError",
    b"9 1 2 3 4": "UNCLEAR ValueError",
    b"1 1 2 3 4": "LOST",
    b"3 1 2 3 4": "clear error",
    b"4 1 2 3 5": "DIFFERENT",
    b"4 1 2 3 4\n": "same",
    b"": "UNCLEAR ValueError",
    b"0": "TRACEBACK ZeroDivisionError",
}


@pytest.mark.parametrize("changed", FAULTS)
def test_what_is_wrong_is_called_by_its_name(changed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the benchmark would count a fault as right: all else here rests on it."""
    kind = Kind(_written, _careless, checked=True, begins=("begun",), mutate=lambda *_: (changed, "changed"))
    monkeypatch.setitem(worker.KINDS, "careless", kind)
    (outcome,) = (outcome for outcome in worker.outcomes("careless", 0, 1) if outcome.result)
    assert outcome.result == FAULTS[changed]
    assert files.faults([outcome]) == ([] if outcome.result in worker.GOOD else [outcome])


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> kills.Scenario:
    """A run of Yin-Yang, done once."""
    (scenario,) = kills.scenarios(tmp_path_factory.mktemp("robustness"), {}, ["Yin-Yang"])
    return scenario


def test_a_run_that_is_killed_while_it_writes_ends_as_if_it_had_not_been(points: kills.Scenario) -> None:
    """Fails if a kill at a file operation loses a checkpoint, or the run that goes on leaves one other byte."""
    series = kills.Series(points, kills.THIRDS[1], 0, 1, points.folder / "killed").do()
    assert (series.kills, series.faults) == (1, [])


def test_what_a_run_leaves_is_compared_to_the_byte(points: kills.Scenario, tmp_path: Path) -> None:
    """Fails if a file could be another one after a kill, and the benchmark would not see it."""
    folder = shutil.copytree(points.folder / "whole", tmp_path / "whole")
    assert left.everything(folder) == points.whole
    assert left.own_epochs(folder / "out", 0.004) == 6
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert {".npz", ".npy", ".bin", ".png", ".csv", ".txt", ".json"} <= {path.suffix for path in paths}
    for path in paths:
        content = path.read_bytes()
        at = 0 if path.suffix in (".txt", ".csv") else len(content) // 2  # seconds, the last column, may differ
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"x")
        try:
            assert left.everything(folder) != points.whole, path.name
        except ValueError as error:
            assert path.name in str(error)
        path.write_bytes(content)
