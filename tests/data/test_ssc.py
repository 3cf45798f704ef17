"""SSC: its three files, rescaled recordings, and the cache of binned spikes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import simulator_SHD
from eventprop.data import demo_digits as demo
from eventprop.data import shd, spike_cache
from eventprop.data.dataset import Dataset, Part
from eventprop.data.shd import Grid
from simulator_SHD import SHD_model
from tests.support.places import ROOT

SIZES = {"train": 70, "valid": 35, "test": 36}
NAMES = [f"word {c}" for c in range(35)]
Samples = list[tuple[np.ndarray, np.ndarray]]


def recordings(n: int, seed: int) -> Samples:
    """Random recordings of 0 to 59 spikes; the first one is empty."""
    rng = np.random.default_rng(seed)
    counts = [0, *rng.integers(1, 60, n - 1)]
    return [(np.sort(rng.uniform(0, 0.4, k)).astype(np.float16), rng.integers(0, 700, k)) for k in counts]


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SSC's files, with all 35 classes in each."""
    folder = tmp_path_factory.mktemp("SSC")
    for seed, (part, n) in enumerate(SIZES.items()):
        shd.write_shd(folder / f"ssc_{part}.h5", recordings(n, seed), np.arange(n) % 35, np.zeros(n), NAMES)
    return folder


@pytest.fixture(autouse=True)
def _files(_made: Path) -> None:
    shutil.copytree(_made, "data/SSC")


def p_ssc(**change: Any) -> dict[str, Any]:
    p = {**simulator_SHD.p, "DATA_SET": "SSC", "NUM_HIDDEN": 4, "DT_MS": 10.0, "TRIAL_MS": 300.0, "TAU_SYN": 10.0}
    p |= {"N_TRAIN": 40, "N_VALIDATE": 10, "N_EPOCH": 1, "MODEL_SEED": 1, "OUT_DIR": "out", "INPUT_HIDDEN_MEAN": 1.0}
    return p | {"EVALUATION": "validation_set", "WRITE_TO_DISK": False, **change}


def tree() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def caches(prefix: str = "data/SSC/mySSC") -> list[Path]:
    return sorted(Path().glob(f"{prefix}_*"))


def same(a: Part | None, b: Part | None) -> bool:
    assert a is not None and b is not None
    names = ("offsets", "steps", "channels")
    return np.array_equal(a.labels, b.labels) and all(
        np.array_equal(getattr(a.spikes, name), getattr(b.spikes, name)) for name in names
    )


def load(grid: Grid = Grid(10.0, 300.0), cache: str | None = "data/SSC/mySSC") -> Dataset:  # noqa: B008
    return shd.load_ssc("data", grid, None if cache is None else Path(cache))


def spikes_of(times: list[float], units: list[int], grid: Grid, kind: type = np.float64) -> list[tuple[int, int]]:
    """(step, channel) pairs of one recording, times in seconds."""
    found = grid.spikes(np.array(times, kind), np.array(units, np.uint16), np.array([0, len(times)]))
    assert found.num_channels == 700
    return list(zip(found.steps.tolist(), found.channels.tolist(), strict=True))


# Splits


def test_the_validation_set_is_ssc_s_own_file() -> None:
    """All of the training file trains, all of the validation file validates, whatever N_TRAIN and N_VALIDATE say; with
    N_VALIDATE 0 nothing validates; train_test goes by the test file."""
    p = p_ssc(REC_PREDICTIONS=True)
    mn = SHD_model(p)
    mn.train(p)
    assert mn.evaluated is not None and mn.evaluated[0].part is mn.data.validation
    assert mn.collected["labels_eval"][0].tolist() == list(range(35))
    assert mn.collected["predictions_train"].shape == (1, 70)
    assert (mn.data.num_classes, mn.data.class_names) == (35, tuple(NAMES)) and mn.data.train.speakers is None
    mn.train(p | {"N_VALIDATE": 0})
    assert mn.evaluated is None and mn.collected["predictions_train"].shape == (1, 70)
    mn.train_test(p)
    assert mn.evaluated is not None and len(mn.evaluated[0]) == 36


def test_ssc_can_be_split_at_random_but_not_by_speakers() -> None:
    p = p_ssc(EVALUATION="random", REC_PREDICTIONS=True)
    mn = SHD_model(p)
    mn.train(p)
    assert mn.collected["predictions_train"].shape == (1, 40) and mn.collected["predictions_eval"].shape == (1, 10)
    with pytest.raises(ValueError, match="N_TRAIN=61 and N_VALIDATE=10 need 71 samples, but the training data has 70"):
        mn.train(p | {"N_TRAIN": 61})
    with pytest.raises(ValueError, match="this data set names no speakers"):
        mn.cross_validate_SHD(p)
    assert tree() == sorted(["data", "data/SSC", *(f"data/SSC/ssc_{part}.h5" for part in SIZES)])


@pytest.mark.filterwarnings("ignore:no(ne of the .* neurons of hidden0| output neuron) spiked")
def test_reduced_classes_hold_for_all_of_ssc_s_files() -> None:
    """The reference crashed with SSC, and did not reduce the validation set."""
    p = p_ssc(REDUCED_CLASSES=[0, 7], REC_PREDICTIONS=True)
    mn = SHD_model(p)
    mn.train(p)
    assert mn.collected["labels_eval"][0].tolist() == [0, 7]
    assert sorted(mn.collected["labels_train"][0]) == [0, 0, 7, 7]
    mn.test(p)
    assert mn.collected["labels_eval"][0].tolist() == [0, 7, 0]


# Files


def test_validation_and_test_files_are_read_only_where_they_are_used() -> None:
    """Nothing is written before the error."""
    for part in ("valid", "test"):
        Path(f"data/SSC/ssc_{part}.h5").write_bytes(b"no HDF5")
    p = p_ssc(EVALUATION="random")
    mn = SHD_model(p)
    mn.train(p)
    p |= {"WRITE_TO_DISK": True}
    for run, part in ((mn.test, "test"), (mn.train_test, "test"), (mn.train, "valid")):
        with pytest.raises(ValueError, match=rf"ssc_{part}.h5 is not a readable HDF5 file"):
            run(p | {"EVALUATION": "validation_set"})
    assert not Path("out").exists()


@pytest.mark.parametrize("part", SIZES)
def test_a_missing_file_of_three_is_named_before_any_is_read(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline; with SSC as with SHD."""
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("a file was opened"))
    Path(f"data/SSC/ssc_{part}.h5").unlink()
    before = tree()
    with pytest.raises(FileNotFoundError, match=rf"ssc_{part}.h5 is missing in data/SSC; tonic, which.*zenkelab.org"):
        SHD_model(p_ssc(WRITE_TO_DISK=True))
    assert tree() == before


def test_all_missing_files_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    with pytest.raises(
        FileNotFoundError, match=r"ssc_train.h5 is missing in no/SSC, and so are ssc_valid.h5 and ssc_test.h5; tonic"
    ):
        SHD_model(p_ssc(DATA_DIR="no"))


def test_ssc_s_missing_files_are_fetched_by_tonic(monkeypatch: pytest.MonkeyPatch) -> None:
    """tonic is asked for the split that is missing, with DATA_DIR."""
    asked = []

    def fetch(save_to: str, split: str) -> None:
        asked.append((save_to, split))
        Path("kept").replace(f"{save_to}/SSC/ssc_{split}.h5")

    datasets = types.ModuleType("tonic.datasets")
    datasets.SSC = fetch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    for split in SIZES:
        Path(f"data/SSC/ssc_{split}.h5").rename("kept")
        load(cache=None)
    assert asked == [("data", split) for split in SIZES]


def test_labels_beyond_the_classes_name_file_and_sample() -> None:
    """Beyond extra/keys, or where there are none, beyond SSC's 35 words."""
    for part in ("train", "valid"):
        with h5py.File(f"data/SSC/ssc_{part}.h5", "r+") as file:
            file["labels"][3] = 35
        for keys in (True, False):
            with h5py.File("data/SSC/ssc_train.h5", "r+") as file:
                if not keys:
                    del file["extra"]
            with pytest.raises(ValueError, match=rf"ssc_{part}.h5: label 35 of sample 3 is not one of 0 to 34"):
                _ = load(cache=None).validation
        with h5py.File(f"data/SSC/ssc_{part}.h5", "r+") as file:
            file["labels"][3] = 3
        shd.write_shd(Path("data/SSC/ssc_train.h5"), recordings(70, 0), np.arange(70) % 35, np.zeros(70), NAMES)


def test_ssc_without_speakers_and_names_has_35_classes() -> None:
    """As its files may come; what is there as speakers does not matter."""
    with_extra = load(cache=None)
    with h5py.File("data/SSC/ssc_train.h5", "r+") as file:
        del file["extra/speaker"]
        file["extra/speaker"] = [0.5, np.nan]
    assert same(load(cache=None).train, with_extra.train)
    with h5py.File("data/SSC/ssc_train.h5", "r+") as file:
        del file["extra"]
    found = load(cache=None)
    assert same(found.train, with_extra.train) and (found.num_classes, found.class_names) == (35, ())


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_times_of_any_precision(kind: type) -> None:
    before = load(cache=None).train
    with h5py.File("data/SSC/ssc_train.h5", "r+") as file:
        times = file["spikes/times"][:]
        del file["spikes/times"]
        wide = file.create_dataset("spikes/times", (70,), dtype=h5py.vlen_dtype(kind))
        for i, t in enumerate(times):
            wide[i] = t.astype(kind)
    assert same(load(cache=None).train, before)


def test_an_empty_recording_is_a_sample_without_spikes() -> None:
    """The reference took the maximum of an empty list; the cache must hold even a file of little else."""
    assert load(cache=None).train.spikes.sample(0)[0].size == 0
    little = [(np.zeros(0), np.zeros(0, int))] * 2 + [(np.array([0.125]), np.array([3]))]
    shd.write_shd(Path("data/SSC/ssc_test.h5"), little, np.arange(3), np.zeros(3), NAMES)
    for cache in (None, "data/SSC/mySSC", "data/SSC/mySSC"):
        spikes = load(cache=cache).test.spikes
        assert spikes.offsets.tolist() == [0, 0, 0, 1] and spikes.steps.tolist() == [12]


# Rescaled recordings


def test_recordings_are_cut_after_their_times_are_scaled() -> None:
    """The reference cut first: with RESCALE_T 0.5 and a trial of 100 ms all after 100 ms was lost."""
    times, units = [0.02, 0.15, 0.19, 0.25], [1, 2, 3, 4]
    assert spikes_of(times, units, Grid(1.0, 100.0, 0.5)) == [(10, 1), (75, 2), (95, 3)]
    assert spikes_of(times, units, Grid(1.0, 100.0, 2.0)) == [(40, 1)]


def test_scaled_channels_that_meet_are_one_spike() -> None:
    """floor(c * RESCALE_X), where the product is a rounding below a whole number too; 700 channels remain."""
    assert spikes_of([0.01] * 4, [100, 101, 200, 699], Grid(1.0, 100.0, 1.0, 0.5)) == [(10, 50), (10, 100), (10, 349)]
    assert 100 * 0.29 < 29
    assert spikes_of([0.01] * 2, [100, 699], Grid(1.0, 100.0, 1.0, 0.29)) == [(10, 29), (10, 202)]
    assert spikes_of([0.01], [699], Grid(1.0, 100.0, 1.0, 1.0)) == [(10, 699)]


def test_scaled_times_land_in_their_own_steps() -> None:
    """The reference's floor of a quotient was one step low for some steps."""
    k = np.arange(300)
    for dt, factor in ((0.1, 1.0), (0.3, 0.1), (0.7, 3.0), (1.0, 0.9)):
        times = list(k * dt / factor * 1e-3)
        assert spikes_of(times, [5] * 300, Grid(dt, 301 * dt, factor)) == [(i, 5) for i in k]


@pytest.mark.parametrize(("key", "value"), [("RESCALE_T", 0.5), ("RESCALE_X", 0.5)])
@pytest.mark.parametrize("name", ["SHD", "SSC", "DEMO", "DEMO on disk"])
def test_each_data_set_is_rescaled(name: str, key: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a key is not read; it cannot change after the data is loaded."""
    monkeypatch.setattr(demo, "SIZES", {"train": 20, "test": 20})
    Path("data/SHD").mkdir()
    for part in ("train", "test"):
        shd.write_shd(Path(f"data/SHD/shd_{part}.h5"), recordings(20, 0), np.arange(20), np.zeros(20), NAMES[:20])
    p = p_ssc(DATA_SET=name.split()[0], EVALUATION="random", TRIAL_MS=1400.0, WRITE_TO_DISK=name == "DEMO on disk")
    mn, scaled = SHD_model(p), SHD_model(p | {key: value})
    changed = "steps" if key == "RESCALE_T" else "channels"
    for part in ("train", "test"):
        a, b = (getattr(getattr(model.data, part).spikes, changed) for model in (mn, scaled))
        assert a.max() // 2 - 1 <= b.max() <= a.max() // 2 + 1 and b.max() > 0
    with pytest.raises(ValueError, match=f"{key} was 1.0 when the data was loaded and is 0.5 now"):
        mn.train(p | {key: value})


# The cache


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


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


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
        "import os; from pathlib import Path; from eventprop.data import shd, spike_cache\n"
        "spike_cache.kept.write_record = lambda *_: os._exit(9)\n"
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
        patch.setattr(spike_cache.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10))
        check("data/SSC/mySSC", "No space left")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spike_cache.files, "write_array", full)
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
