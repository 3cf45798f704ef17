"""What is kept of SSC's files: the same spikes, from nothing that is damaged, of other settings or of another file."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eventprop.data import kept_arrays, shd
from eventprop.data.shd import Grid
from simulator_SHD import SHD_model
from tests.support.places import ROOT
from tests.support.ssc import NAMES, caches, changed, load, p_ssc, recordings, same, tree

pytestmark = pytest.mark.usefixtures("ssc_files")


def test_what_is_kept_is_the_same_and_the_file_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts, mapped into memory; a subset of them too."""
    plain, built = load(cache=None), load()
    assert same(built.test, plain.test) and same(built.validation, plain.validation)
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("the file was opened"))
    kept = load()
    for a, b in ((plain.train, kept.train), (plain.test, kept.test), (plain.validation, kept.validation)):
        assert same(a, b) and a is not None and b is not None
        assert type(b.spikes.steps) is np.ndarray and isinstance(b.spikes.steps.base, np.memmap)
        assert [x.dtype for x in (b.spikes.offsets, b.spikes.channels, b.labels)] == [np.int64, np.uint16, np.int32]
        assert np.array_equal(a.spikes.select([5, 3]).channels, b.spikes.select([5, 3]).channels)
    assert (kept.num_classes, kept.class_names) == (35, tuple(NAMES))


def test_drives_that_cannot_be_mapped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept there is read instead, and not made anew each time."""
    plain = load(cache=None)
    load()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(np, "load", refuse)
    capsys.readouterr()
    assert same(load().train, plain.train) and capsys.readouterr().out == ""


def test_training_from_what_is_kept_is_the_same() -> None:
    """To the bit; and DATA_BUFFER_NAME may differ from that of the run that is gone on with."""
    p = p_ssc()
    weights = []
    for change in ({}, {"WRITE_TO_DISK": True}, {"WRITE_TO_DISK": True, "NAME": "again"}):
        mn = SHD_model(p | change)
        mn.train(p | change)
        weights.append(mn.weights())
    for name, w in weights[0].items():
        assert np.array_equal(w, weights[1][name]) and np.array_equal(w, weights[2][name])
    more = p | {"WRITE_TO_DISK": True, "N_EPOCH": 2, "LOAD_LAST": True, "DATA_BUFFER_NAME": "elsewhere/x"}
    SHD_model(more).train(more)
    assert len(caches("elsewhere/x")) == 2


CHANGES: list[Grid] = [
    Grid(10.0, 200.0),
    Grid(5.0, 300.0),
    Grid(10.0, 300.0, 0.5),
    Grid(10.0, 300.0, 1.0, 0.5),
]


@pytest.mark.parametrize("grid", CHANGES, ids=str)
def test_other_settings_are_not_taken_from_the_cache(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference's name of the cache lacked TRIAL_MS: what was binned for another trial was used without a word.
    The old one stays, and a line says how much all take."""
    load()
    assert len(caches()) == 1 and "kept in data/SSC/mySSC_ssc_train_" in capsys.readouterr().out
    assert same(load(grid).train, load(grid, None).train) and len(caches()) == 2
    size = sum(path.stat().st_size for folder in caches() for path in folder.iterdir())
    assert f"all folders data/SSC/mySSC_*: {size / 1e6:.1f} MB" in capsys.readouterr().out
    load(Grid(10, 300))
    assert len(caches()) == 2  # whole numbers are the same settings


def test_a_changed_file_is_not_taken_from_the_cache() -> None:
    """Even where its size is the same."""
    size = os.stat("data/SSC/ssc_train.h5").st_size
    load()
    with h5py.File("data/SSC/ssc_train.h5", "r+") as file:
        file["labels"][0] = 30
    assert os.stat("data/SSC/ssc_train.h5").st_size == size
    assert load().train.labels[0] == 30


def test_a_copy_of_the_data_keeps_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """DATA_DIR may move with its files; SSC's default prefix follows it."""
    SHD_model(p_ssc(WRITE_TO_DISK=True))
    assert len(caches()) == 1
    Path("data").rename("moved")
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("the file was opened"))
    SHD_model(p_ssc(WRITE_TO_DISK=True, DATA_DIR="moved"))


DAMAGE: list[Callable[[Path], Any]] = [
    lambda folder: os.truncate(folder / "steps.npy", (folder / "steps.npy").stat().st_size - 2),
    lambda folder: os.truncate(folder / "channels.npy", 0),
    lambda folder: (folder / "channels.npy").write_bytes((folder / "channels.npy").read_bytes()[:-1] + b"\xff"),
    lambda folder: (folder / "labels.npy").unlink(),
    lambda folder: (folder / "about.json").unlink(),
    lambda folder: (folder / "about.json").write_text("[1"),
    lambda folder: (folder / "about.json").write_text("[]"),
    lambda folder: (folder / "about.json").write_text("[" * 100_000),
    lambda folder: (folder / "about.json").write_bytes(b"\xff\xfe"),
    lambda folder: changed(folder / "about.json", '"word 7"', '"word 8"'),
    lambda folder: changed(folder / "about.json", '"events": ', '"events": 1'),
    lambda folder: changed(folder / "about.json", '"steps.npy"', '"stepz.npy"'),
    lambda folder: (folder / "offsets.npy").write_bytes((folder / "offsets.npy").read_bytes().replace(b"i8", b"u8")),
    lambda folder: ((folder / "labels.npy").unlink(), os.mkfifo(folder / "labels.npy")),
]


@pytest.mark.parametrize("number", range(len(DAMAGE)))
def test_a_damaged_cache_is_made_anew(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A channel of 65,000, say, would be written outside of the engine's arrays; another class name would be shown."""
    load()
    [folder] = caches()
    DAMAGE[number](folder)
    capsys.readouterr()
    found = load()
    assert same(found.train, load(cache=None).train) and found.class_names == tuple(NAMES)
    assert f"{folder} is damaged and is made anew" in capsys.readouterr().out
    load()
    assert capsys.readouterr().out == "" and caches() == [folder]


def test_a_process_that_is_killed_leaves_no_false_cache() -> None:
    """What it left is no cache, and goes when the next one is made."""
    code = (
        "import os; from pathlib import Path; from eventprop.data import kept, shd\n"
        "kept.write_record = lambda *_: os._exit(9)\n"
        "shd.load_ssc('data', shd.Grid(5.0, 300.0), Path('data/SSC/mySSC'))"
    )
    root = str(ROOT)
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}).returncode == 9
    left = list(Path("data/SSC").glob(".*.part"))
    assert len(left) == 1 and (left[0] / "steps.npy").exists() and caches() == []
    assert same(load().train, load(cache=None).train)
    assert list(Path("data/SSC").glob(".*.part")) == [] and len(caches()) == 1


def test_a_damaged_file_leaves_no_cache() -> None:
    with h5py.File("data/SSC/ssc_train.h5", "r+") as file:
        file["spikes/units"][60] = np.full(len(file["spikes/units"][60]), 700, np.uint16)
    with pytest.raises(ValueError, match="sample 60: unit 700 is not one of 0 to 699"):
        load()
    assert list(Path("data/SSC").glob("*mySSC_*")) == []


def test_without_room_for_a_cache_everything_works_in_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for all parts; where the disk turns out to be full, too."""
    plain = load(cache=None)
    Path("file").write_text("")

    def check(prefix: str, why: str) -> None:
        found = load(cache=prefix)
        assert same(found.train, plain.train) and same(found.test, plain.test)
        printed = capsys.readouterr().out
        assert printed.count("\n") == 1 and f"cannot be kept at {prefix} ({why}" in printed

    check("file/x", "")
    check("x" * 250, "File name too long")
    with monkeypatch.context() as patch:
        patch.setattr(kept_arrays.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10))
        check("data/SSC/mySSC", "No space left")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_arrays.files, "write_array", full)
    check("data/SSC/mySSC", "No space left")
    assert list(Path("data/SSC").glob("*mySSC_*")) == []


def test_write_to_disk_false_keeps_nothing() -> None:
    before = tree()
    mn = SHD_model(p_ssc())
    mn.train(p_ssc())
    mn.test(p_ssc())
    assert tree() == before


def test_shd_s_spikes_are_kept_where_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speakers and class names with them; of small files they are not kept."""
    Path("data/SHD").mkdir()
    for part in ("train", "test"):
        speakers = np.arange(20) % 3
        shd.write_shd(Path(f"data/SHD/shd_{part}.h5"), recordings(20, 0), np.arange(20), speakers, NAMES[:20])
    p = p_ssc(DATA_SET="SHD", EVALUATION="speaker", WRITE_TO_DISK=True)
    small = SHD_model(p).data
    assert caches("data/SHD/mySHD") == []
    monkeypatch.setattr(shd, "_WORTH_KEEPING", 0)
    SHD_model(p)
    assert len(caches("data/SHD/mySHD")) == 1
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("the file was opened"))
    kept = SHD_model(p).data
    assert same(kept.train, small.train) and np.array_equal(kept.train.speakers, small.train.speakers)
    assert kept.class_names == small.class_names


def test_spikes_of_data_of_others_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a folder that is not the project's own is written to, two of them share what is kept, or what is
    there beside the data already is made once more."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    for own in ("data", "./data", str(Path("data").absolute())):
        assert shd.cache_prefix(own, "SSC", shd.BUFFER) == Path(own) / "SSC/mySSC"
    assert shd.cache_prefix("theirs", "SSC", "mine/x") == Path("mine/x")
    Path("data").rename("theirs")
    p = p_ssc(DATA_DIR="theirs", WRITE_TO_DISK=True)
    before = sorted(Path("theirs").rglob("*"))
    SHD_model(p)
    (kept,) = Path("cache/spikes").glob("*/mySSC_ssc_train_*")
    assert sorted(Path("theirs").rglob("*")) == before
    prefix = shd.cache_prefix("theirs", "SSC", shd.BUFFER)
    assert prefix == kept.with_name("mySSC").absolute() and prefix != shd.cache_prefix("others", "SSC", shd.BUFFER)
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("the file was opened"))
    SHD_model(p)
    kept.rename(Path("theirs/SSC", kept.name))
    assert shd.cache_prefix("theirs", "SSC", shd.BUFFER) == Path("theirs/SSC/mySSC")
    SHD_model(p)
