"""What the program makes and reads again: damaged or changed anywhere, it is made anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.data import demo_digits as demo
from eventprop.data import demo_gestures as gestures
from eventprop.data import dvs, kept
from eventprop.data.dataset import Dataset
from eventprop.data.shd import Grid

RECORD = {"version": 1, "sizes": {"train": 3}, "names": ["ü", "b"], "end": float("nan")}


def test_records_come_back() -> None:
    kept.write_record(Path("about.json"), RECORD)
    found = kept.read_record(Path("about.json"))
    assert found is not None and json.dumps(found) == json.dumps(RECORD)
    assert kept.read_record(Path("none.json")) is None


def test_each_byte_of_a_record_counts() -> None:
    """A changed byte is found, or changes nothing that is read (white space, the case of an escape's digits)."""
    path = Path("about.json")
    kept.write_record(path, RECORD)
    data = path.read_bytes()
    found = 0
    for place in range(len(data)):
        for mask in (1, 4, 32, 128):
            path.write_bytes(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
            try:
                assert json.dumps(kept.read_record(path)) == json.dumps(RECORD)
            except ValueError as error:
                assert str(error) == "about.json is damaged"
                found += 1
    assert found > 2 * len(data)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"7", b"[" * 100_000, b"\xff", b'{"checksum": null}', None])
def test_what_is_no_record(content: bytes | None) -> None:
    path = Path("about.json")
    os.mkfifo(path) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"about\.json is damaged"):
        kept.read_record(path)


def same(a: Dataset, b: Dataset) -> bool:
    parts = ((a.train, b.train), (a.test, b.test))
    names = ("offsets", "steps", "channels")
    return a.class_names == b.class_names and all(
        np.array_equal(x.labels, y.labels)
        and np.array_equal(x.speakers, y.speakers)
        and all(np.array_equal(getattr(x.spikes, name), getattr(y.spikes, name)) for name in names)
        for x, y in parts
    )


def complete(data: Dataset) -> Dataset:
    """With the test part read, while its file is as it is."""
    assert len(data.test.labels)
    return data


def words(write: bool = True) -> Dataset:
    return complete(demo.load_demo("data", Grid(1.0, 1000.0), write=write))


def movements(write: bool = True) -> Dataset:
    return complete(gestures.load_demo("data", dvs.Window(128, 5.0, 1000.0, downsample=4), write=write))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SIZES", {"train": 40, "test": 20})
    monkeypatch.setattr(gestures, "USERS", {"train": range(1, 2), "test": range(24, 25)})
    monkeypatch.setattr(gestures, "_EVENTS", (200, 300))


def flip(path: Path) -> None:
    """The lowest bit of the middle byte."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HOW: list[Callable[[Path], Any]] = [
    flip,
    Path.unlink,
    fifo,
    lambda path: path.write_bytes(b""),
    lambda path: os.truncate(path, path.stat().st_size - 3),
]
WHAT = [
    (words, "DEMO/shd_train.h5"),
    (words, "DEMO/shd_test.h5"),
    (words, "DEMO/complete.json"),
    (movements, "DEMO_gestures/complete.json"),
    (movements, "DEMO_gestures/ibmGestureTrain/user01_led/3.npy"),
]


@pytest.mark.parametrize("how", range(len(HOW)))
@pytest.mark.parametrize(("load", "name"), WHAT, ids=[name for _, name in WHAT])
def test_damaged_demos_are_made_anew(
    load: Callable[..., Dataset], name: str, how: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label that has changed would be learned; where nothing may be written, what is in memory is right."""
    first = load()
    path = Path("data") / name
    before = path.read_bytes()
    HOW[how](path)
    capsys.readouterr()
    assert same(load(write=False), first)
    assert same(load(), first) and path.read_bytes() == before
    said = capsys.readouterr().out
    assert f"Making the DEMO {'gestures' if load is movements else 'data set'} in data/" in said
    assert said.count("is damaged") == 2 + (load is words) or path.name == "complete.json"
    assert same(load(), first) and capsys.readouterr().out == ""


def test_a_demo_of_ones_own_is_made_anew_of_its_own_seed() -> None:
    demo.make_demo("data", seed=5, n_train=30, n_test=10)
    mine = words()
    assert len(mine.train.labels) == 30
    flip(Path("data/DEMO/shd_train.h5"))
    assert same(words(write=False), mine) and same(words(), mine)


def test_files_of_an_older_version_are_made_anew() -> None:
    first = words()
    record = kept.read_record(Path("data/DEMO/complete.json"))
    assert record is not None
    kept.write_record(Path("data/DEMO/complete.json"), {**record, "version": 0})
    demo.write_shd(
        Path("data/DEMO/shd_test.h5"),
        [(np.array([0.1]), np.array([1]))],
        np.array([3]),
        np.zeros(1),
        demo.class_names(),
    )
    assert same(words(), first)


def test_junk_beside_recordings_does_not_matter() -> None:
    first = movements()
    shutil.copytree("data/DEMO_gestures/ibmGestureTrain", "data/DEMO_gestures/ibmGestureTrain/__MACOSX")
    Path("data/DEMO_gestures/ibmGestureTrain/user01_led/._3.npy").write_bytes(b"x")
    assert same(movements(), first)


@pytest.mark.parametrize(("load", "name"), [(words, "DEMO"), (movements, "DEMO_gestures")])
def test_where_nothing_can_be_written_it_is_in_memory(
    load: Callable[..., Dataset], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full, or the place is taken."""
    Path("data").mkdir()
    Path("data", name).write_text("")
    found = load()
    assert f"cannot be kept in data/{name} (" in capsys.readouterr().out
    assert same(found, load(write=False))
