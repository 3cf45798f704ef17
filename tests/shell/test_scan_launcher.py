"""Runs of a scan that several processes do together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.launched import WHY_NOT, launcher
from tests.support.processes import environment
from tests.support.scanning import rows, scan, without_seconds, write


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_a_run_may_be_of_several_processes(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the launcher is not in front of a run, if its processes get into each other's way, or if their number
    changes the table."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    assert scan(str(write(small_data))) == 0
    top = f'launcher = "{launcher()} -n 2"\nworkers = 1'
    again = write(small_data, top=top, name="again.toml")
    again.write_text(again.read_text().replace('out = "out"', 'out = "again"'))
    assert scan(str(again)) == 0
    assert [row["status"] for row in rows("again")] == ["finished"]
    assert without_seconds("again") == without_seconds("out")
    (log,) = Path("again").glob("*/log.txt")
    assert "exchange" in log.read_text()


def test_a_scan_itself_is_one_process(
    small_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails if each of several processes does the whole scan, with runs that wait for processes which are not there."""
    monkeypatch.setenv("PMI_SIZE", "2")
    assert scan(str(write(small_data))) == 1
    assert "has started 2 processes, but a scan is one" in capsys.readouterr().err


def test_a_launcher_must_be_there(small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if a misspelt launcher is found out in each run only."""
    assert scan(str(write(small_data, top='launcher = "mpiru -n 2"'))) == 1
    assert "launcher='mpiru -n 2' begins with no program that is here" in capsys.readouterr().err
