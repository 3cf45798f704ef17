"""Results files that somebody changed while a run was stopped: its lines are there once, and no other is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from eventprop.reports.results import COLUMNS, Place, RunFiles

HISTORY: list[dict[str, Any]] = [{**dict.fromkeys(COLUMNS[1:], 0.5), "epoch": epoch} for epoch in range(3)]
NAMES = ("k_results.txt", "k_results.csv")


def files() -> RunFiles:
    return RunFiles(Path(), "k", "train", False)


def contents() -> list[bytes]:
    return [Path(name).read_bytes() for name in NAMES]


def another_run() -> list[bytes]:
    """What a run of an epoch left."""
    other = [{**HISTORY[0], "train_loss": 0.25}]
    files().write(files().begin(), other)
    return contents()


def goes_on(places: dict[str, Place], done: int = 2) -> dict[str, Place]:
    """What a run does that was stopped when so many epochs were done."""
    places = files().resume(places, HISTORY[:done])
    files().write(places, HISTORY[:done])
    for record in HISTORY[done:]:
        files().append(record)
    return places


def stopped() -> dict[str, Place]:
    """Another run's lines, then two of one that was stopped."""
    another_run()
    places = files().begin()
    for record in HISTORY[:2]:
        files().append(record)
    return places


def own_lines() -> list[bytes]:
    fresh = RunFiles(Path(), "fresh", "train", False)
    fresh.write(dict.fromkeys(("fresh_results.txt", "fresh_results.csv"), Place()), HISTORY)
    text, table = (Path(name.replace("k_", "fresh_")).read_bytes() for name in NAMES)
    return [text, table.split(b"\n", 1)[1]]


def test_lines_are_found_wherever_they_are_now() -> None:
    """Lines of other runs were taken out, added or edited: the run's own are not written a second time."""
    for change in (
        lambda d: d.split(b"\n", 1)[1],
        lambda d: b"# mine\n" + d,
        lambda d: d.replace(b"0.25", b"0.125", 1),
    ):
        for name in NAMES:
            Path(name).unlink(missing_ok=True)
        places = stopped()
        changed = [change(data) for data in contents()]
        for name, data in zip(NAMES, changed, strict=True):
            Path(name).write_bytes(data)
        goes_on(places)
        for data, before, own in zip(contents(), changed, own_lines(), strict=True):
            assert data.startswith(before) and data.count(own) == 1 and data.endswith(own)


@pytest.mark.parametrize("lost", [3, 60, 10_000])
def test_a_file_that_was_cut_off_gets_whole_lines(lost: int) -> None:
    """Where its end and some of another run's lines are lost; and a second stop does not write them twice."""
    places = stopped()
    kept = [data[: max(0, len(data) - lost)] for data in contents()]
    for name, data in zip(NAMES, kept, strict=True):
        Path(name).write_bytes(data)
    goes_on(goes_on(places), 3)
    for data, before, own in zip(contents(), kept, own_lines(), strict=True):
        assert data.startswith(before) and data.count(own) == 1 and data.endswith(own)
        assert all(line.count(b"0.5") >= 3 or b"0.25" in line or b"epoch" in line for line in data.splitlines())


def test_a_line_that_is_not_ended_stays_a_line_of_its_own() -> None:
    before = [data + b"# mine" for data in another_run()]
    for name, data in zip(NAMES, before, strict=True):
        Path(name).write_bytes(data)
    files().begin()
    files().append(HISTORY[0])
    for data, there in zip(contents(), before, strict=True):
        assert data.startswith(there + b"\n") and len(data.splitlines()) == len(there.splitlines()) + 1


def test_a_heading_that_was_lost_is_there_again() -> None:
    files().begin()
    for record in HISTORY[:2]:
        files().append(record)
    text, table = (Path(name) for name in NAMES)
    whole = table.read_bytes()
    table.write_bytes(whole.split(b"\n", 1)[1])
    goes_on({name: Place() for name in NAMES})
    assert table.read_bytes().startswith(whole) and text.read_bytes() == own_lines()[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_of_that_name_is_named() -> None:
    """Fails if it is opened, and waited for."""
    os.mkfifo("k_results.txt")
    with pytest.raises(ValueError, match=r"k_results\.txt is a pipe"):
        files().begin()
