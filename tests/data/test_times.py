"""Times that are not in the unit of their format: nothing is broken, and next to nothing of them is in the trial."""

from __future__ import annotations

import contextlib
import struct
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import simulator_DVS_gesture
import simulator_SHD
from eventprop.data import dvs, extent, shd
from eventprop.data.shd import Grid
from eventprop.data.spikes import from_samples
from simulator_DVS_gesture import DVSG_model
from simulator_SHD import SHD_model

GRID = Grid(1.0, 1000.0)


def write(
    path: Path, factor: float = 1.0, n: int = 12, end: float = 0.8, kind: str = "<f8", labels: str = "<i4"
) -> None:
    """Samples of 50 spikes that end at ``end`` times ``factor``, in one of four classes."""
    rng, n = np.random.default_rng(0), 12
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", (n,), dtype=h5py.vlen_dtype(np.dtype(kind)))
        units = file.create_dataset("spikes/units", (n,), dtype=h5py.vlen_dtype(np.dtype(labels)))
        for i in range(n):
            times[i] = (np.sort([*rng.uniform(0.002, end, 49), end]) * factor).astype(kind)
            units[i] = rng.integers(0, 700, 50).astype(labels)
        file["labels"] = (np.arange(n) % 4).astype(labels)
        file["extra/keys"] = [b"a", b"b", b"c", b"d"]


def load(cache: bool = False, grid: Grid = GRID) -> Any:
    found = shd.load_shd("data", grid, Path("data/SHD/mySHD") if cache else None)
    return found.train, found.test


@pytest.fixture(params=[False, True, "again"])
def cached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read from the file, on the way into the cache, and from the cache."""
    monkeypatch.setattr(shd, "_WORTH_KEEPING", 0 if request.param else 1 << 60)

    def read(grid: Grid = GRID) -> Any:
        if request.param == "again":
            with contextlib.suppress(ValueError):
                load(True, grid)
            monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("the file was opened"))
        return load(bool(request.param), grid)

    return read


def files(factor: float = 1.0, **change: Any) -> None:
    for part in ("train", "test"):
        write(Path(f"data/SHD/shd_{part}.h5"), factor, **change)


# SHD's layout


@pytest.mark.parametrize(
    ("factor", "unit"),
    [
        (1e6, "800000 microseconds are 0.8 s"),
        (1e9, "8e+08 nanoseconds are 0.8 s"),
        (48e3, "38400 samples at 44.1 kHz are 0.87"),
        (16e3, "12800 samples at 16 kHz are 0.8 s"),
    ],
)
def test_nothing_is_left(factor: float, unit: str, cached: Any) -> None:
    """An error with the unit that would explain it, from the cache too."""
    files(factor)
    with pytest.raises(ValueError) as error:
        cached()
    said = str(error.value)
    assert said.startswith(
        "data/SHD/shd_train.h5: none of its 600 spikes is before the end of the trial (TRIAL_MS=1000)"
    )
    assert "must be in seconds; the times look like" in said and unit in said


def test_most_is_cut_off(cached: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Some spikes in the first millisecond are left: a line, for each file that is read."""
    files(1e3)
    for part in ("train", "test"):
        with h5py.File(f"data/SHD/shd_{part}.h5", "r+") as file:
            file["spikes/times"][3] = np.append([0.25, 0.5], file["spikes/times"][3][2:])
    found = cached()
    assert all(part.spikes.steps.tolist() == [250, 500] for part in found)
    said = capsys.readouterr().out
    for part in ("train", "test"):
        line = (
            f"data/SHD/shd_{part}.h5: 598 of 600 spikes (99.7 %) come after the trial (TRIAL_MS=1000) and are cut off: "
        )
        assert (
            line + "samples end at 800 s (median); the times look like milliseconds: 800 milliseconds are 0.8 s" in said
        )
        assert f"shd_{part}.h5: 11 of 12 samples have no spikes before the end of the trial" in said


def test_a_short_trial_is_no_other_unit(cached: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What a trial of a quarter of a second cuts off is told; of one of half a recording, nothing."""
    files()
    cached(Grid(1.0, 250.0))
    said = capsys.readouterr().out
    assert "spikes (" in said and "samples end at 0.8 s (median)\n" in said and "look like" not in said


@pytest.mark.parametrize("grid", [GRID, Grid(1.0, 500.0), Grid(1.0, 250.0, 0.25), Grid(1.0, 5000.0)])
def test_right_times_are_read_without_a_word(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    files()
    load(grid=grid)
    assert capsys.readouterr().out == ""


def test_a_recording_that_is_longer_than_the_trial_by_its_scale(capsys: pytest.CaptureFixture[str]) -> None:
    """RESCALE_T is named where it is not 1, and it counts."""
    files()
    load(grid=Grid(1.0, 1000.0, 4.0))
    assert "come after the trial (TRIAL_MS=1000 and RESCALE_T=4) and are cut off" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"none of its .* spikes is before the end of the trial \(TRIAL_MS=2 and RESCALE_T"
    ):
        load(grid=Grid(1.0, 2.0, 1e4))


def test_all_at_the_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    files(1e-3)
    load()
    assert "spikes are all at the very beginning of the trial (TRIAL_MS=1000): samples end at 0.0008 s" in (
        capsys.readouterr().out
    )


def test_no_spikes_at_all(cached: Any) -> None:
    nothing = [(np.zeros(0), np.zeros(0, int))] * 3
    for part in ("train", "test"):
        Path("data/SHD").mkdir(parents=True, exist_ok=True)
        shd.write_shd(Path(f"data/SHD/shd_{part}.h5"), nothing, np.arange(3), np.zeros(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"shd_train\.h5: none of its 3 samples has a spike"):
        cached()


def test_the_test_file_is_checked_when_it_is_used() -> None:
    """Before anything is written."""
    files()
    write(Path("data/SHD/shd_test.h5"), 1e6)
    p = {**simulator_SHD.p, "DATA_DIR": "data", "TRIAL_MS": 1000.0, "NUM_HIDDEN": 4, "N_EPOCH": 1, "OUT_DIR": "out"}
    mn = SHD_model(p)
    with pytest.raises(ValueError, match=r"shd_test\.h5: none of its 600 spikes .* look like microseconds"):
        mn.train_test(p)
    assert not Path("out").exists()


@pytest.mark.parametrize("kind", ["<f2", ">f2", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("labels", ["<i2", ">i2", ">u4", "<i8", ">i8", "<u8", ">u8"])
def test_any_width_and_order_of_bytes(kind: str, labels: str) -> None:
    files(end=0.75)
    expected, _ = load()
    files(end=0.75, kind=kind, labels=labels)
    found, _ = load()
    assert found.labels.dtype == np.int32 and found.labels.dtype.isnative
    assert found.labels.tolist() == expected.labels.tolist() and found.spikes.steps.dtype == np.uint16
    if "f2" not in kind:  # which is coarser
        assert np.array_equal(found.spikes.steps, expected.spikes.steps)
        assert np.array_equal(found.spikes.channels, expected.spikes.channels)


# Event cameras


def camera(factor: float = 1.0, n: int = 40, end: float = 400.0, kind: type = np.float64) -> None:
    rng = np.random.default_rng(0)
    for part in ("ibmGestureTrain", "ibmGestureTest"):
        place = Path("data/DVSGesture") / part / "user01_led"
        place.mkdir(parents=True)
        for label in range(3):
            times = np.sort(np.append(rng.uniform(0, end, n - 1), end)) * factor
            rows = np.column_stack([*rng.integers(0, 128, (2, n)), rng.integers(0, 2, n), times])
            np.save(place / f"{label}.npy", rows.astype(kind))


def gestures(**change: Any) -> Any:
    p = {**simulator_DVS_gesture.p, "DATA_DIR": "data", "TRIAL_MS": 500.0, "DT_MS": 5.0, "TAU_SYN": 10.0, **change}
    return DVSG_model(p).data


def test_gestures_in_microseconds(capsys: pytest.CaptureFixture[str]) -> None:
    """At most 0.6 s long, and so below the ten minutes that no recording takes."""
    camera(1e3)
    unit = "recordings end at 400000 ms (median); the times look like microseconds: 400000 microseconds are 400 ms"
    with pytest.raises(ValueError) as error:
        gestures()
    assert unit in str(error.value) and "none of the 3 recordings has spikes from 0 to 500 ms" in str(error.value)
    for path in Path("data").rglob("*.npy"):
        np.save(path, np.vstack([[[0, 0, 0, 4.0]], np.load(path)]))
    gestures()
    line = "DVSGesture train: 120 of 123 events (97.6 %) are not from 0 to 500 ms and are cut off: "
    assert line + unit in capsys.readouterr().out


def test_gestures_in_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    camera(1e-3)
    gestures()
    said = capsys.readouterr().out
    assert "DVSGesture train: recordings end at 0.4 ms (median), of a window from 0 to 500 ms" in said
    assert "the times look like seconds: 0.4 seconds are 400 ms" in said


@pytest.mark.parametrize("change", [{}, {"TRIAL_MS": 100.0}, {"RESCALE_T": 0.5}, {"T_START_MS": 50.0}])
def test_gestures_in_milliseconds(change: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    camera()
    gestures(**change)
    assert "look like" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", [np.float16, np.float32, ">f4", ">i2", np.uint64, ">u8", np.int64, np.uint16])
def test_rows_of_any_width_and_order_of_bytes(kind: Any) -> None:
    camera(end=250.0, kind=np.uint16)
    expected = gestures().train
    for path in Path("data").rglob("*.npy"):
        np.save(path, np.load(path).astype(kind))
    found = gestures().train
    assert np.array_equal(found.spikes.steps, expected.spikes.steps)
    assert np.array_equal(found.spikes.channels, expected.spikes.channels)


def test_digits_in_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    """N-MNIST's format has microseconds."""
    for part in ("Train", "Test"):
        place = Path("data/NMNIST") / part / "0"
        place.mkdir(parents=True)
        events = [bytes([3, 4, t >> 16, t >> 8 & 255, t & 255]) for t in range(0, 300, 10)]
        (place / "1.bin").write_bytes(b"".join(events))
    gestures(DATA_SET="NMNIST")
    assert "NMNIST train: recordings end at 0.29 ms (median), of a window from 0 to 500 ms\n" in capsys.readouterr().out


def test_images_of_zeros_and_ones() -> None:
    """Grey levels divided by 255 are dark, all of them."""
    from eventprop.data import mnist

    Path("data/MNIST").mkdir(parents=True)
    for part in ("train", "t10k"):
        images = np.random.default_rng(0).integers(0, 2, (3, 28, 28)).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(3, dtype=np.uint8))):
            head = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
            Path(f"data/MNIST/{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte: no pixel is above 1.*must be 0 to 255"):
        mnist.load_mnist("data", 1.0, 20.0)


# Samples given by a user


def sample(factor: float, n: int = 30) -> dict[str, Any]:
    return {"x": np.arange(n), "t": np.linspace(0.01, 0.9, n) * 1000.0 * factor}


def test_samples_beyond_the_trial() -> None:
    with pytest.warns(UserWarning) as found:
        assert from_samples([sample(1e3)], 700, 1.0, 1000.0).steps.size == 0
    [warning] = found
    said = "30 of 30 spikes (100 %) come after the trial (TRIAL_MS=1000) and are cut off: samples end at 900000 ms"
    assert str(warning.message) == f"{said} (median); the times look like microseconds: 900000 microseconds are 900 ms"


def test_samples_in_seconds() -> None:
    """All of them are in the first step."""
    with pytest.warns(UserWarning, match=r"at the very beginning .* look like seconds: 0\.9 seconds are 900 ms"):
        assert from_samples([sample(1e-3)], 700, 1.0, 1000.0).steps.tolist() == [0] * 30


def test_a_prediction_warns_where_it_is_asked_for() -> None:
    files()
    p = {**simulator_SHD.p, "DATA_DIR": "data", "TRIAL_MS": 1000.0, "NUM_HIDDEN": 4, "WRITE_TO_DISK": False}
    mn = SHD_model({**p, "DT_MS": 5.0, "TAU_SYN": 10.0})
    with pytest.warns(UserWarning, match="look like seconds") as found:
        mn.predict(mn.p, [sample(1e-3)])
    assert found[0].filename == __file__


@pytest.mark.parametrize(
    "samples",
    [
        [sample(1.0)],
        [{"x": [], "t": []}],
        [{"x": [1], "t": [0.5]}],
        [{"x": [1, 2, 3, 4, 5, 6], "t": [1, 1, 1, 2, 2, 2]}],
        [sample(1.0), sample(1.2), {"x": [1], "t": [5000.0]}],
    ],
)
def test_right_samples_do_not_warn(samples: list[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_samples(samples, 700, 1.0, 1000.0)


def test_shares() -> None:
    """Never "0 %" where something is, nor "100 %" where something is missing."""
    assert [extent.percent(a, 3000) for a in (0, 1, 1500, 2999, 3000)] == ["0 %", "0.1 %", "50 %", "99.9 %", "100 %"]


def test_the_window_of_a_camera_counts_events() -> None:
    """Which those of silent cells are, too."""
    events = dvs.Events(*np.array([[1, 2, 3], [1, 1, 1], [0, 1, 0]]), np.array([1.0, 2.0, 9000.0]))
    recordings = [dvs.Recording(Path("a"), 0), dvs.Recording(Path("b"), 1)]
    part = dvs.read_part("X", recordings, lambda _: events, dvs.Window(128, 1.0, 100.0, threshold=1))
    assert np.diff(part.spikes.offsets).tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"T_START_MS, TRIAL_MS, RESCALE_T, EVENT_THRESHOLD\); they have 6 events"):
        dvs.read_part("X", recordings, lambda _: events, dvs.Window(128, 1.0, 100.0, threshold=2))
