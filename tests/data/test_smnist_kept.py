"""What is kept of sequential MNIST: the same spikes, from nothing damaged, of another code or of other files."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SMNIST
from eventprop.data import kept_arrays, mnist, smnist
from eventprop.data.dataset import Part
from eventprop.data.smnist import Code
from simulator_SMNIST import SMNIST_model
from tests.simulators.test_mnist import idx, write
from tests.support.places import ROOT

THRESHOLDS, ROWS = Code("thresholds", 15, True, 2.0), Code("rows", 99, False, 2.0)
PREFIX = Path("data/SMNIST/mySMNIST")


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("data/MNIST"), 30, 8)
    monkeypatch.setattr(smnist, "_WORTH_KEEPING", 0)
    monkeypatch.setattr(smnist, "_BLOCK", 7)


def parts(
    code: Code = THRESHOLDS,
    dt_ms: float = 1.0,
    trial_ms: float = 1600.0,
    true: bool = False,
    cache: Path | None = PREFIX,
) -> tuple[Part, Part]:
    data = smnist.load_smnist("data", code, dt_ms, trial_ms, true, cache)
    return data.train, data.test


def same(a: tuple[Part, Part], b: tuple[Part, Part]) -> bool:
    """Arrays and their types."""

    def arrays(part: Part) -> list[np.ndarray]:
        return [part.labels, part.spikes.offsets, *part.spikes.arrays.values()]

    sizes = [[(p.spikes.num_channels, p.spikes.num_steps, list(p.spikes.arrays)) for p in each] for each in (a, b)]
    pairs = [pair for x, y in zip(a, b, strict=True) for pair in zip(arrays(x), arrays(y), strict=True)]
    return sizes[0] == sizes[1] and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)


def folders() -> list[Path]:
    return sorted(PREFIX.parent.glob(f"{PREFIX.name}_*/"))


def test_what_is_kept_is_the_same_and_no_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[tuple[Code, bool]] = [(THRESHOLDS, False), (ROWS, True), (replace(ROWS, permute=3), False)]
    plain = [parts(code, true=true, cache=None) for code, true in kinds]
    assert all(same(parts(code, true=true), found) for (code, true), found in zip(kinds, plain, strict=True))
    assert len(folders()) == 6
    monkeypatch.setattr(mnist, "read_idx", lambda *_: pytest.fail("the file was read"))
    for (code, true), found in zip(kinds, plain, strict=True):
        again = parts(code, true=true)
        assert same(again, found) and isinstance(again[0].spikes.steps.base, np.memmap)


def test_the_test_file_is_encoded_when_it_is_asked_for() -> None:
    data = smnist.load_smnist("data", THRESHOLDS, 1.0, 1600.0, cache=PREFIX)
    assert len(folders()) == 1
    assert len(data.test.labels) == 8 and len(folders()) == 2


CHANGES: list[dict[str, Any]] = [
    {"code": replace(THRESHOLDS, num_neurons=17)},
    {"code": replace(THRESHOLDS, duplicate=False)},
    {"code": replace(THRESHOLDS, pixel_ms=1.0)},
    {"code": replace(THRESHOLDS, permute=1)},
    {"code": ROWS},
    {"dt_ms": 4.0},
    {"trial_ms": 1000.0},
    {"true": True},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_setting_is_not_taken_from_what_is_kept(change: dict[str, Any]) -> None:
    parts()
    assert same(parts(**change), parts(**change, cache=None)) and len(folders()) == 4
    assert same(parts(), parts(cache=None)) and len(folders()) == 4


def test_what_a_code_does_not_use_is_no_other_setting() -> None:
    parts(ROWS)
    parts(replace(ROWS, num_neurons=15, duplicate=True, pixel_ms=2))  # a whole number is the same time
    assert len(folders()) == 2


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
def test_a_changed_file_is_not_taken_from_what_is_kept(name: str) -> None:
    """Labels of another file would be learned."""
    before = parts()
    path = Path("data/MNIST", name)
    array = mnist.read_idx(path, 3 if "images" in name else 1)
    path.unlink()
    path.with_suffix("").write_bytes(idx(np.roll(array, 1, axis=0)))
    found = parts()
    assert same(found, parts(cache=None)) and not same(found, before)


DAMAGE: list[Callable[[Path], Any]] = [
    lambda folder: os.truncate(folder / "steps.npy", (folder / "steps.npy").stat().st_size - 2),
    lambda folder: (folder / "channels.npy").write_bytes((folder / "channels.npy").read_bytes()[:-1] + b"\xff"),
    lambda folder: (folder / "labels.npy").write_bytes((folder / "labels.npy").read_bytes()[:-4] + b"\x09\0\0\0"),
    lambda folder: (folder / "offsets.npy").unlink(),
    lambda folder: (folder / "about.json").write_text("{}"),
    lambda folder: ((folder / "steps.npy").unlink(), os.mkfifo(folder / "steps.npy")),
]


@pytest.mark.parametrize("number", range(len(DAMAGE)))
def test_what_is_damaged_is_made_anew(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    first = parts(cache=None)
    parts()
    train = next(folder for folder in folders() if "_train_" in folder.name)
    DAMAGE[number](train)
    capsys.readouterr()
    assert same(parts(), first) and f"{train} is damaged and is made anew" in capsys.readouterr().out
    assert same(parts(), first) and capsys.readouterr().out == ""


def test_two_processes_at_once() -> None:
    """One makes it, the other takes it, and both have the same."""
    code = (
        "import zlib; from pathlib import Path; from eventprop.data import smnist; smnist._WORTH_KEEPING = 0\n"
        "data = smnist.load_smnist('data', smnist.Code('thresholds', 15, True, 2.0), 1.0, 1600.0, "
        f"cache=Path('{PREFIX}'))\n"
        "print('sum', *(zlib.crc32(p.spikes.steps) + zlib.crc32(p.spikes.channels) for p in (data.train, data.test)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len({text.splitlines()[-1] for text in said}) == 1 and "".join(said).count(" are kept in ") == 2
    assert len(folders()) == 2 and not list(PREFIX.parent.glob(".*.part"))
    assert same(parts(), parts(cache=None)) and len(folders()) == 2


def test_where_nothing_can_be_kept_it_is_in_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full, or turns out to be; one line for both parts."""
    plain = parts(cache=None)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for owner, name, value in (
        (kept_arrays.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10)),
        (kept_arrays.files, "write_array", full),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert same(parts(), plain)
        assert capsys.readouterr().out.count("cannot be kept at data/SMNIST/mySMNIST (No space left") == 1
        assert not list(PREFIX.parent.glob("*mySMNIST_*"))


def test_damaged_files_leave_nothing() -> None:
    path = Path("data/MNIST/t10k-labels-idx1-ubyte.gz")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte"):
        parts()
    assert not PREFIX.parent.exists()


def test_the_simulator_keeps_what_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing without WRITE_TO_DISK, nor of few images; in the user's cache where the data are others'."""
    p = {**simulator_SMNIST.p, "DATA_DIR": "data", "NUM_INPUT": 15, "N_TRAIN": 20, "N_VALIDATE": 5, "MODEL_SEED": 1}
    plain = SMNIST_model({**p, "WRITE_TO_DISK": False}).data.train
    monkeypatch.setattr(smnist, "_WORTH_KEEPING", 10**6)
    SMNIST_model(p)
    assert folders() == []
    monkeypatch.setattr(smnist, "_WORTH_KEEPING", 0)
    kept = SMNIST_model(p).data.train
    assert len(folders()) == 1 and same((plain, plain), (kept, kept))
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    Path("data/MNIST").rename("theirs")
    SMNIST_model({**p, "DATA_DIR": "theirs"})
    assert len(list(Path("cache/spikes").glob("*/mySMNIST_train_*"))) == 1
