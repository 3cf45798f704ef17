"""Studies: two processes share one, of which one is killed; a study's file is closed, and damage is named."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.scanning import rows, scan, start, under_way, write

pytestmark = pytest.mark.long


pytestmark = pytest.mark.usefixtures("these_sources")


def test_two_processes_share_a_study_of_which_one_was_killed(small_data: Path, capsys: Any) -> None:
    """As many trials as asked for, none twice, that of the killed process taken over; then nothing is left to do."""
    optuna = pytest.importorskip("optuna")
    space = "[study.space]\nETA = {low = 0.001, high = 0.1, log = true}\nAUGMENTATION = {choices = [{}]}"
    path = write(small_data, top="seeds = [1, 2]", p="N_EPOCH = 3", tables=f"[study]\ntrials = 2\n{space}")
    killed = start(str(path))
    while killed.poll() is None and not under_way("out"):
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    both = [start(str(path)), start(str(path))]
    outputs = [process.communicate(timeout=90)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    study = optuna.load_study(storage="sqlite:///out/study.db", study_name="scan")
    assert [(trial.number, trial.state.name) for trial in study.trials] == [(i, "COMPLETE") for i in range(2)]
    assert len({trial.params["ETA"] for trial in study.trials}) == 2
    assert len(rows()) == 4 and {row["status"] for row in rows()} == {"finished"}
    for trial in study.trials:
        own = [float(row["eval_accuracy"]) for row in rows() if float(row["ETA"]) == trial.params["ETA"]]
        assert trial.value == pytest.approx(np.mean(own)) and len(own) == 2
    assert scan(str(path)) == 0
    assert len(optuna.load_study(storage="sqlite:///out/study.db", study_name="scan").trials) == 2
    path.write_text(path.read_text().replace("N_EPOCH = 3", "N_EPOCH = 4"))
    assert scan(str(path)) == 1
    assert "is of other settings or space" in capsys.readouterr().err


STUDY = "[study]\ntrials = 1\n[study.space]\nETA = {low = 0.001, high = 0.1, log = true}"


def test_a_study_closes_its_file(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 warns of each connection that is left open. The folder's name is no part of an address."""
    pytest.importorskip("optuna")
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remember(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        made.append(connect(*args, **{**kwargs, "check_same_thread": False}))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", remember)
    path = write(small_data, p="N_EPOCH = 1", tables=STUDY)
    path.write_text(path.read_text().replace('out = "out"', 'out = "{o}u t#?%41"'))
    assert scan(str(path)) == 0
    assert scan(str(path), "--table") == 0
    assert Path("{o}u t#?%41/study.db").is_file() and len(rows("{o}u t#?%41")) == 1
    assert len(made) > 3
    for connection in made:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


@pytest.mark.parametrize(
    "how", ["damaged", *(pytest.param(how, marks=pytest.mark.long) for how in ("no database", "a folder"))]
)
def test_a_study_that_is_damaged(how: str, small_data: Path, capsys: Any) -> None:
    """One line that names the file; nothing is written over it."""
    pytest.importorskip("optuna")
    path = write(small_data, p="N_EPOCH = 1", tables=STUDY)
    assert scan(str(path)) == 0
    capsys.readouterr()
    file = Path("out/study.db")
    content = file.read_bytes()
    file.unlink()
    if how == "a folder":
        file.mkdir()
    else:
        file.write_bytes(
            b"nothing of the kind" if how == "no database" else content[:4096] + bytes(len(content) - 4096)
        )
    for words in ((), ("--table",)):
        assert scan(str(path), *words) == 1
        error = capsys.readouterr().err
        assert error.startswith("scan: error: out/study.db cannot be used (") and error.count("\n") == 1, error


CHANGES = {
    "UPDATE trial_params SET param_value = 7.0 WHERE param_name = 'ETA'": "ETA of trial 0 is none of its space",
    "UPDATE trial_params SET param_value = X'00ff' WHERE param_name = 'ETA'": "ETA of trial 0 is none of its space",
    "UPDATE trial_params SET param_name = 'eta' WHERE param_name = 'ETA'": "trial 0 does not say what it tried",
    "DELETE FROM trial_params": "trial 0 does not say what it tried",
    "UPDATE trial_params SET param_value = 9e999 WHERE param_name = 'AUGMENTATION'": "cannot convert float infinity",
    "UPDATE alembic_version SET version_num = 'x'": "The runtime optuna version",
}


@pytest.mark.parametrize(
    "change", [c if n in (0, 3) else pytest.param(c, marks=pytest.mark.long) for n, c in enumerate(CHANGES)]
)
def test_a_study_that_is_changed_inside(change: str, small_data: Path, capsys: Any) -> None:
    """A line that names the file and what is wrong in it, where Optuna itself says nothing."""
    pytest.importorskip("optuna")
    path = write(small_data, p="N_EPOCH = 1", tables=STUDY + "\nAUGMENTATION = {choices = [{}]}")
    assert scan(str(path)) == 0
    changed(change)
    capsys.readouterr()
    for words in ((), ("--table",)):
        assert scan(str(path), *words) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"scan: error: out/study.db cannot be used ({CHANGES[change]}"), error
        assert error.count("\n") == 1


def changed(*statements: str) -> None:
    """Change the study's tables."""
    with closing(sqlite3.connect("out/study.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def test_a_study_of_other_settings_is_named(small_data: Path, capsys: Any) -> None:
    pytest.importorskip("optuna")
    path = write(small_data, p="N_EPOCH = 1", tables=STUDY)
    assert scan(str(path)) == 0
    changed("UPDATE study_user_attributes SET value_json = '\"x\"'")
    capsys.readouterr()
    assert scan(str(path)) == 1
    assert "the study in out/study.db is of other settings or space" in capsys.readouterr().err


def test_a_study_that_was_killed_while_it_asked(small_data: Path, capsys: Any) -> None:
    """A trial without all that it is to try is given up, and another one takes its place."""
    optuna = pytest.importorskip("optuna")
    path = write(small_data, p="N_EPOCH = 1", tables=STUDY)
    assert scan(str(path)) == 0
    changed("UPDATE trials SET state = 'RUNNING'", "DELETE FROM trial_params", "DELETE FROM trial_values")
    assert scan(str(path), "--table") == 0
    assert scan(str(path)) == 0, capsys.readouterr().err
    trials = optuna.load_study(storage="sqlite:///out/study.db", study_name="scan").trials
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE"]
    assert trials[1].params["ETA"] > 0
