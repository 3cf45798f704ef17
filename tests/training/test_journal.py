"""The journal: what checkpoints do not repeat is there for each of them, whatever was written or lost since."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.training.journal import Entry, Journal, Mark, read


def fill(journal: Journal, *epochs: int) -> Mark:
    for epoch in epochs:
        journal.add("history", "", {"epoch": epoch, "loss": float("nan")})
        journal.add("collected", "confusion", np.full((2, 3), epoch, np.int16))
        journal.add("recorded", "spike_t hidden", np.zeros(0))
        mark = journal.commit()
    return mark


def epochs_of(folder: Path, mark: Mark) -> list[int]:
    return [entry.record["epoch"] for entry in read(folder, mark) if entry.kind == "history"]


def test_entries_come_back(tmp_path: Path) -> None:
    mark = fill(Journal(tmp_path, Mark("x_journal.bin")), 0, 1)
    found = list(read(tmp_path, mark))
    assert [(e.kind, e.name) for e in found[:3]] == [
        ("history", ""),
        ("collected", "confusion"),
        ("recorded", "spike_t hidden"),
    ]
    assert np.isnan(found[0].record["loss"]) and isinstance(found[0], Entry)
    assert found[4].array is not None and found[4].array.dtype == np.int16 and (found[4].array == 1).all()
    assert found[4].array.shape == (2, 3) and found[5].array is not None and found[5].array.shape == (0,)
    assert list(read(tmp_path, Mark("nothing.bin"))) == []


def test_every_mark_stays_valid(tmp_path: Path) -> None:
    """Fails if going on from an older mark cuts off or writes over what a newer or another one speaks of."""
    journal = Journal(tmp_path, Mark("x_journal.bin"))
    early = fill(journal, 0)
    late = fill(journal, 1, 2)
    assert late.ranges == ((0, (tmp_path / "x_journal.bin").stat().st_size),)
    other = fill(Journal(tmp_path, early), 10)  # a run that was stopped goes on from an older checkpoint
    with (tmp_path / "x_journal.bin").open("ab") as file:
        file.write(b'{"kind": "his')  # and one is killed while it writes
    last = fill(Journal(tmp_path, Mark.of(asdict(other))), 11, 12)
    assert [epochs_of(tmp_path, m) for m in (early, late, other, last)] == [[0], [0, 1, 2], [0, 10], [0, 10, 11, 12]]
    assert len(last.ranges) == 3


@pytest.mark.parametrize("at", [0, 30, -1])
def test_a_changed_byte_is_found(tmp_path: Path, at: int) -> None:
    mark = fill(Journal(tmp_path, Mark("x_journal.bin")), 0, 1)
    path = tmp_path / "x_journal.bin"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x_journal\.bin is damaged \(its bytes are not those"):
        list(read(tmp_path, mark))


def test_a_short_or_missing_journal_is_named(tmp_path: Path) -> None:
    mark = fill(Journal(tmp_path, Mark("x_journal.bin")), 0, 1)
    path = tmp_path / "x_journal.bin"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"x_journal\.bin is damaged \(it ends before byte"):
        list(read(tmp_path, mark))
    path.unlink()
    with pytest.raises(ValueError, match=r"x_journal\.bin is missing; .*Put it back"):
        list(read(tmp_path, mark))


@pytest.mark.parametrize(
    "value",
    [
        {"file": "../x", "ranges": [], "checksum": 0},
        {"file": "x", "ranges": [[5, 3]], "checksum": 0},
        {"file": "x", "ranges": [[-1, 3]], "checksum": 0},
        {"file": "x", "ranges": [3], "checksum": 0},
        {"file": 3, "ranges": [], "checksum": 0},
        {"file": "x", "ranges": [], "checksum": None},
        {"ranges": []},
        None,
    ],
)
def test_a_mark_of_another_form_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Mark.of(value)


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file, and nothing half is left at its end."""
    import os

    journal = Journal(tmp_path, Mark("x_journal.bin"))
    mark = fill(journal, 0)
    before = journal.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        journal.add("history", "", {"epoch": 1})
        with pytest.raises(OSError, match=r"No space left.*x_journal\.bin"):
            journal.commit()
    assert journal.path.read_bytes() == before and epochs_of(tmp_path, mark) == [0]
