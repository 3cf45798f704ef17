"""SSC: its three files, rescaled recordings, and the cache of binned spikes."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pytest

from eventprop.data import demo_digits as demo
from eventprop.data import shd
from eventprop.data.shd import Grid
from simulator_SHD import SHD_model
from tests.support.ssc import NAMES, SIZES, load, p_ssc, recordings, same, tree

pytestmark = pytest.mark.usefixtures("ssc_files")


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
