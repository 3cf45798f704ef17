"""Files and codes as tonic itself reads and makes them; skipped where it is not installed."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from eventprop.data import dvs_files, shd
from eventprop.data.smnist import Code
from tests.data.test_dvs_files import nmnist_bytes
from tests.data.test_smnist import images_of_all_kinds, spikes_of
from tests.simulators.test_dvs_gesture import write
from tests.simulators.test_mnist import idx

tonic = pytest.importorskip("tonic", reason="tonic is not installed: nothing is compared with it")


def test_gestures() -> None:
    """The same recordings, users, lightings, labels and events; tonic's times are microseconds."""
    write()
    Path("data/DVSGesture/ibmGestureTrain.tar.gz").touch()
    theirs = tonic.datasets.DVSGesture(save_to="data", train=True)
    names = zip(theirs.users, theirs.lighting, theirs.targets, strict=True)
    number = {(int(str(user).removeprefix("user")), *rest): i for i, (user, *rest) in enumerate(names)}
    ours = dvs_files.find_gestures(Path("data/DVSGesture/ibmGestureTrain"))
    assert len(ours) == len(number) == 110
    for recording in ours:
        expected, label = theirs[number[recording.user, recording.lighting, recording.label]]
        found = dvs_files.read_npy(recording.path)
        assert label == recording.label and np.allclose(expected["t"] / 1000, found.times_ms)
        for name, values in (("x", found.x), ("y", found.y), ("p", found.polarity)):
            assert np.array_equal(expected[name], values)


def test_nmnist_with_overflows() -> None:
    rows = [(33, 0, 1, 5), (0, 33, 0, 300_007), (0, 240, 0, 300_010), (7, 8, 1, 300_009), (0, 240, 0, 5)]
    rows.append((1, 2, 0, 300_020))
    path = Path("1.bin")
    path.write_bytes(nmnist_bytes(*rows))
    expected = tonic.io.read_mnist_file(str(path), dtype=np.dtype([(name, int) for name in "xytp"]))
    found = dvs_files.read_bin(path)
    assert np.allclose(expected["t"] / 1000, found.times_ms) and found.times_ms.size == 4
    for name, values in (("x", found.x), ("y", found.y), ("p", found.polarity)):
        assert np.array_equal(expected[name], values)


@pytest.mark.parametrize("duplicate", [False, True])
@pytest.mark.parametrize("num_neurons", [9, 79, 99])
def test_thresholds(num_neurons: int, duplicate: bool) -> None:
    images = images_of_all_kinds()
    folder = Path("smnist")
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images.reshape(-1, 28, 28)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(len(images))))
    theirs = tonic.datasets.SMNIST(".", train=True, duplicate=duplicate, num_neurons=num_neurons, dt=1000.0)
    code = Code("thresholds", num_neurons, duplicate, 2.0 if duplicate else 1.0)
    for number, image in enumerate(images):
        events = theirs[number][0]
        expected = sorted(set(zip((events["t"] // 1000).tolist(), events["x"].tolist(), strict=True)))
        assert sorted(spikes_of(image, code)) == expected


def test_a_missing_file_is_fetched_by_tonic(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tonic is asked for the part that is missing, with DATA_DIR; a failed download says so."""
    asked: list[tuple[str, bool]] = []

    def fetch(save_to: str, train: bool) -> None:
        asked.append((save_to, train))
        if not train:
            raise ConnectionError("no network")
        (Path(save_to) / "SHD").mkdir(parents=True)
        shutil.copy(small_data / "SHD" / "shd_train.h5", Path(save_to) / "SHD")

    datasets = types.ModuleType("tonic.datasets")
    datasets.SHD = fetch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    with pytest.raises(FileNotFoundError, match=r"shd_test.h5 is missing .*ConnectionError: no network"):
        shd.load_shd("here", shd.Grid(5.0, 700.0))
    assert asked == [("here", True), ("here", False)]


def test_a_data_set_of_tonic_for_own_spikes(small_data: Path) -> None:
    """Its spoken digits, in microseconds, are those of the files; frames that its transforms make are counts."""
    from simulator_SHD import SHD_model
    from simulator_spikes import spikes_model

    folder = Path("tonic")
    shutil.copytree(small_data / "SHD", folder / "SHD")
    for part in ("train", "test"):
        (folder / "SHD" / f"shd_{part}.h5.zip").touch()
    sets = [tonic.datasets.SHD(str(folder), train=train) for train in (True, False)]
    settings = {"WRITE_TO_DISK": False, "TRIAL_MS": 700.0, "N_TRAIN": 80, "N_VALIDATE": 20}
    ours = spikes_model(spikes_model.defaults() | settings | {"TIME_UNIT": "us", "DT_MS": 2.0, "NUM_INPUT": 700}, *sets)
    theirs = SHD_model({**SHD_model.defaults(), **settings, "DT_MS": 2.0, "DATA_DIR": str(small_data)})
    for found, expected in ((ours.data.train, theirs.data.train), (ours.data.test, theirs.data.test)):
        assert (found.labels == expected.labels).all() and (found.speakers == expected.speakers).all()
        assert np.array_equal(found.spikes.channels, expected.spikes.channels)
        assert (found.spikes.steps != expected.spikes.steps).mean() < 1e-3  # whole microseconds
    assert ours.data.class_names == theirs.data.class_names
    frames = tonic.transforms.ToFrame(sensor_size=sets[0].sensor_size, time_window=5000)
    binned = tonic.datasets.SHD(str(folder), train=False, transform=frames)
    counted = spikes_model(spikes_model.defaults() | {"WRITE_TO_DISK": False, "BIN_MS": 5.0, "NUM_INPUT": 700}, binned)
    assert counted.data.num_channels == 700 and counted.data.train.spikes.steps.size > 1000
