"""Recordings of event cameras: their order, whole, broken and missing ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.data import dvs, dvs_files
from simulator_DVS_gesture import DVSG_model
from tests.simulators.test_dvs_gesture import FIRST, params, recording, write


def test_recordings_and_their_order() -> None:
    """The same samples by user, lighting and label, in whatever order files were written: the reference's splits
    differ from disk to disk."""
    write()
    write(Path("other"), backwards=True)
    one, other = DVSG_model(params()).data, DVSG_model(params(DATA_DIR="other")).data
    assert len(one.train.labels) == len(one.test.labels) == 110
    assert one.num_channels == 2048 and one.num_classes == len(one.class_names) == 11
    assert one.train.labels.tolist() == list(range(11)) * 10
    assert one.train.speakers is not None and one.train.speakers.tolist() == np.repeat(range(1, 6), 22).tolist()
    for part, twin in ((one.train, other.train), (one.test, other.test)):
        assert np.array_equal(part.spikes.steps, twin.spikes.steps)
        assert np.array_equal(part.spikes.channels, twin.spikes.channels)
        assert part.spikes.channels.max() < 2048


def test_lightings_are_told_apart() -> None:
    write()
    found = dvs_files.find_gestures(Path("data/DVSGesture/ibmGestureTrain"))
    assert [(r.user, r.lighting, r.label) for r in found[9:13]] == [
        *((1, "fluorescent", label) for label in (9, 10)),
        *((1, "led", label) for label in (0, 1)),
    ]


def nmnist_bytes(*rows: tuple[int, int, int, int]) -> bytes:
    return b"".join(bytes([x, y, polarity << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, polarity, t in rows)


def test_nmnist_events() -> None:
    """40 bits: x, y, polarity, 23 bits of microseconds; y = 240 marks an overflow, after which times are larger."""
    path = Path("1.bin")
    path.write_bytes(nmnist_bytes((33, 0, 1, 5), (0, 33, 0, 300_007), (0, 240, 0, 300_010), (7, 8, 1, 300_009)))
    found = dvs_files.read_bin(path)
    assert found.x.tolist() == [33, 0, 7] and found.y.tolist() == [0, 33, 8] and found.polarity.tolist() == [1, 0, 1]
    assert np.allclose(found.times_ms, [0.005, 300.007, 308.201])


@pytest.mark.parametrize("folder", ["data/NMNIST", "data"])
def test_nmnist_folders(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder of its own or in DATA_DIR; by label, then number; a line says how many there are."""
    for part in ("Train", "Test"):
        for label in range(10):
            place = Path(folder) / part / str(label)
            place.mkdir(parents=True)
            for name in ("10", "9"):
                (place / f"{name}.bin").write_bytes(nmnist_bytes((label, int(name), 1, 9000)))
    data = DVSG_model(params(DATA_SET="NMNIST")).data
    assert data.train.labels.tolist() == np.repeat(range(10), 2).tolist() and data.train.speakers is None
    assert data.num_channels == 2312 and data.train.spikes.channels[:2].tolist() == [34 * 9 * 2 + 1, 34 * 10 * 2 + 1]
    assert data.train.spikes.steps.tolist() == [1] * 20
    assert f"NMNIST train: 20 recordings in {folder}/Train; the full set has 60000" in capsys.readouterr().out


# Bad input


def array_file(how: str) -> Any:
    rows = recording(np.random.default_rng(0), 0)
    changed = {
        "x": (0, 3, 128),
        "y": (1, 3, -1),
        "polarity": (2, 3, 2),
        "negative": (3, 0, -5),
        "backwards": (3, 20, 0),
        "microseconds": (3, 49, 6_000_000),
    }
    if how in changed:
        column, number, value = changed[how]
        rows[number, column] = value
        return rows
    return {
        "shape": rows[:, :3],
        "text": rows.astype(str),
        "fraction": rows + 0.5,
        "not a number": np.where(rows == rows[5, 3], np.nan, rows),
        "structured": np.zeros(4, [("x", "i2")]),
    }[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("x", "x of event 3 is 128, not one of 0 to 127"),
        ("y", "y of event 3 is -1, not one of 0 to 127"),
        ("polarity", "polarity of event 3 is 2, not one of 0 to 1"),
        ("negative", "the first event is at -5 ms"),
        ("backwards", "time runs backwards at event 20, from .* to 0 ms"),
        ("microseconds", "the last event is at 6e[+]06 ms.*times must be milliseconds, and these look like micros"),
        ("shape", r"int64 of shape \(50, 3\), not numbers of shape \(events, 4\)"),
        ("text", r"not numbers of shape \(events, 4\)"),
        ("fraction", "must be whole numbers"),
        ("not a number", "must be whole numbers, and times finite"),
        ("structured", r"not numbers of shape \(events, 4\)"),
    ],
)
def test_wrong_recordings(how: str, message: str) -> None:
    """Each is named, with what is wrong; nothing is written."""
    write(users=1)
    np.save(FIRST, array_file(how))
    with pytest.raises(ValueError, match=rf"user01_fluorescent/0\.npy.*{message}"):
        DVSG_model(params())
    assert [path.name for path in Path().iterdir()] == ["data"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_broken_npy(content: bytes) -> None:
    write(users=1)
    FIRST.write_bytes(content)
    with pytest.raises(ValueError, match=r"0\.npy is no readable .npy file .*delete it and get it again"):
        DVSG_model(params())
    np.save(FIRST, recording(np.random.default_rng(0), 0))
    FIRST.write_bytes(FIRST.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"0\.npy is no readable .npy file"):
        DVSG_model(params())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is empty; .*delete it and get it again"),
        (nmnist_bytes((1, 2, 1, 5))[:-1], "has 4 bytes, which is no multiple of the 5 of an event"),
        (nmnist_bytes((34, 2, 1, 5)), "x of event 0 is 34, not one of 0 to 33"),
        (nmnist_bytes((1, 2, 1, 9000), (1, 2, 1, 5)), "time runs backwards at event 1, from 9 to 0.005 ms"),
    ],
)
def test_broken_bin(data: bytes, message: str) -> None:
    path = Path("1.bin")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"1\.bin.*{message}"):
        dvs_files.read_bin(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("user02_led", "user02", r"user02 is not called user<number>_<lighting>"),
        ("user02_led", "peter_led", r"peter_led is not called user<number>_<lighting>"),
        ("user01_led/3.npy", "user01_led/11.npy", r"11\.npy must be called by its label, 0 to 10"),
        ("user01_led/3.npy", "user01_led/three.npy", r"three\.npy must be called by its label, 0 to 10"),
    ],
)
def test_wrong_names(old: str, new: str, message: str) -> None:
    write(users=2)
    folder = Path("data/DVSGesture/ibmGestureTrain")
    (folder / old).rename(folder / new)
    (folder / ".hidden").mkdir()
    (folder / "user01_led" / "notes.txt").touch()
    with pytest.raises(ValueError, match=message):
        DVSG_model(params())


def test_wrong_nmnist_class() -> None:
    for part in ("Train", "Test"):
        (Path("data") / part / "10").mkdir(parents=True)
        (Path("data") / part / "10" / "1.bin").touch()
    with pytest.raises(ValueError, match=r"Train/10 must be called by its label, 0 to 9"):
        DVSG_model(params(DATA_SET="NMNIST"))


def test_empty_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    """They are kept, without input, and counted; where all are empty in the window, it is an error."""
    write(users=1)
    np.save(FIRST, np.zeros((0, 4), np.int64))
    data = DVSG_model(params()).data
    assert len(data.train.labels) == 22 and data.train.spikes.sample(0)[0].size == 0
    said = capsys.readouterr().out
    assert "DVSGesture train: 1 of 22 recordings have no spikes from 0 to 100 ms; they are kept" in said
    assert "DVSGesture train: 22 recordings in" in said and "the full set has 1077" in said
    with pytest.raises(ValueError, match="none of the 22 recordings has spikes from 500 to 600 ms"):
        DVSG_model(params(T_START_MS=500.0))


def test_short_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    """They are kept as they are, and counted; those without spikes count as such only."""
    write(users=1)
    rows = recording(np.random.default_rng(0), 0)
    np.save(FIRST, rows[rows[:, 3] < 40])
    np.save(FIRST.with_name("1.npy"), rows[:0])
    data = DVSG_model(params()).data
    said = capsys.readouterr().out
    assert "DVSGesture train: 1 of 22 recordings end in the first half of the window, from 0 to 100 ms" in said
    assert data.train.spikes.sample(0)[0].size > 0 and len(data.train.labels) == 22
    assert len(DVSG_model(params(TRIAL_MS=75.0)).data.train.labels) == 22
    assert "end in the first half" not in capsys.readouterr().out


def test_missing_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is named, and what to do: get it, or unpack what is there."""
    monkeypatch.setitem(sys.modules, "tonic", None)
    with pytest.raises(FileNotFoundError, match=r"ibmGestureTrain is missing in data/DVSGesture; tonic.*figshare"):
        DVSG_model(params())
    write(users=1)
    archive = Path("data/DVSGesture/ibmGestureTest.tar.gz")
    archive.touch()
    for path in sorted(Path("data/DVSGesture/ibmGestureTest").rglob("*"))[::-1]:
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(FileNotFoundError, match="ibmGestureTest holds no recordings, so it may be half unpacked"):
        DVSG_model(params())
    Path("data/DVSGesture/ibmGestureTest").rmdir()
    with pytest.raises(FileNotFoundError, match=r"ibmGestureTest.tar.gz is there: unpack it, or delete it"):
        DVSG_model(params())
    with pytest.raises(FileNotFoundError, match=r"Train is missing in data/NMNIST; tonic.*garrickorchard"):
        DVSG_model(params(DATA_SET="NMNIST"))


def test_download_by_tonic(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for the part that is missing, in its own terms; the files are read from where it leaves them."""
    asked: list[tuple[str, bool]] = []

    def get(save_to: str, train: bool) -> None:
        asked.append((save_to, train))
        write(Path(save_to), users=1)

    monkeypatch.setitem(sys.modules, "tonic", type(sys)("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", type("datasets", (), {"DVSGesture": staticmethod(get)}))
    assert len(DVSG_model(params()).data.train.labels) == 22
    assert asked == [("data", True)]


def test_info_lists_the_sets() -> None:
    write(users=1)
    assert dvs.missing(Path("data"), "DVSGesture")[0] == "DVSGesture/ibmGestureTrain (22 of 1077 recordings are there)"
    assert dvs.missing(Path("data"), "NMNIST") == ["NMNIST/Train", "NMNIST/Test"]
