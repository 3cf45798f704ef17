"""Data that lie in another place, under another name or in another form: read, or named with what to do."""

from __future__ import annotations

import gzip
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import info
from eventprop.data import download, dvs, mnist, shd, smnist
from eventprop.data.shd import Grid
from tests.simulators import test_dvs_gesture, test_mnist

TRAIN, TEST = "data/SHD/shd_train.h5", "data/SHD/shd_test.h5"


def load_shd() -> Any:
    return shd.load_shd("data", Grid(1.0, 1000.0)).test


def load_mnist() -> Any:
    return mnist.load_mnist("data", 1.0, 20.0)


def load_smnist() -> Any:
    return smnist.load_smnist("data", smnist.Code("rows", 99, False, 1.0), 1.0, 800.0).test


def load_gestures() -> Any:
    return dvs.load("data", "DVSGesture", dvs.Window(128, 5.0, 100.0, downsample=4)).test


def load_nmnist() -> Any:
    return dvs.load("data", "NMNIST", dvs.Window(34, 5.0, 100.0)).test


@pytest.fixture(autouse=True)
def _without_tonic(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tonic", "tonic.datasets", "tonic.download_utils"):
        monkeypatch.setitem(__import__("sys").modules, name, None)


def put(path: str, data: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)


def moved(path: str, to: str) -> None:
    shutil.move(path, "elsewhere")
    Path(to).parent.mkdir(parents=True, exist_ok=True)
    shutil.move("elsewhere", to)


def zipped(path: str, to: str) -> None:
    with zipfile.ZipFile(to, "w") as archive:
        archive.write(path)
    os.unlink(path)


def packed(path: str, to: str) -> None:
    data = Path(path).read_bytes()
    os.unlink(path)
    put(to, gzip.compress(data, 1))


def linked(path: str, to: str) -> None:
    os.unlink(path)
    Path(path).symlink_to(to)


def pipe(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


@pytest.fixture
def _shd() -> None:
    Path("data/SHD").mkdir(parents=True)
    samples = [(np.array([0.1, 0.3]), np.array([1, 2]))] * 2
    for path in (TRAIN, TEST):
        shd.write_shd(Path(path), samples, np.array([0, 1]), np.zeros(2), ["a", "b"])


UNPACK = "is there: unpack it, or delete it if it is broken"
SHOULD = "is there, and should be"
SHD: list[tuple[str, Callable[[], Any], str]] = [
    (
        "hdspikes",
        lambda: moved("data/SHD", "data/hdspikes"),
        f"data/hdspikes/shd_train.h5 {SHOULD} {TRAIN}",
    ),
    ("case", lambda: moved("data/SHD", "data/shd"), "data/shd/shd_train.h5 is there, and should be " + TRAIN),
    ("flat", lambda: moved(TRAIN, "data/shd_train.h5"), "data/shd_train.h5 is there, and should be " + TRAIN),
    ("deeper", lambda: moved("data/SHD", "data/SHD/SHD"), "should be " + TRAIN + ", or set DATA_DIR to data/SHD"),
    ("upper", lambda: moved(TRAIN, "data/SHD/SHD_TRAIN.H5"), "data/SHD/SHD_TRAIN.H5 is there, and should be " + TRAIN),
    (
        "ending",
        lambda: moved(TRAIN, "data/SHD/shd_train.hdf5"),
        f"data/SHD/shd_train.hdf5 {SHOULD} {TRAIN}",
    ),
    ("copy", lambda: moved(TRAIN, "data/SHD/shd_train (1).h5"), "shd_train (1).h5 is there, and should be " + TRAIN),
    ("gz", lambda: packed(TRAIN, TRAIN + ".gz"), f"{TRAIN}.gz {UNPACK}"),
    ("test gz", lambda: packed(TEST, TEST + ".gz"), f"shd_test.h5 is missing in data/SHD; {TEST}.gz {UNPACK}"),
    ("zip", lambda: zipped(TRAIN, TRAIN + ".zip"), f"{TRAIN}.zip {UNPACK}"),
    ("other zip", lambda: zipped(TRAIN, "data/SHD/shd_train.zip"), f"data/SHD/shd_train.zip {UNPACK}"),
    ("all zipped", lambda: (zipped(TRAIN, "data/SHD.zip"), shutil.rmtree("data/SHD")), f"data/SHD.zip {UNPACK}"),
    (
        "not packed",
        lambda: moved(TRAIN, TRAIN + ".gz"),
        f"{TRAIN}.gz is there, and is not compressed, what",
    ),
    ("gz within", lambda: packed(TRAIN, TRAIN), f"{TRAIN} is compressed by gzip: unpack it"),
    ("zip within", lambda: zipped(TRAIN, "x") or moved("x", TRAIN), f"{TRAIN} is a zip archive: unpack it"),
    ("part", lambda: moved(TRAIN, TRAIN + ".part"), f"{TRAIN}.part is there, an unfinished download"),
    ("folder", lambda: moved(TRAIN, TRAIN + "/x.h5"), f"{TRAIN} is there, and is a folder and no file"),
    ("pipe", lambda: pipe(TRAIN), f"{TRAIN} is a pipe, and must be a file"),
    ("device", lambda: linked(TRAIN, "/dev/zero"), f"{TRAIN} is a device, and must be a file"),
    ("lost link", lambda: linked(TRAIN, "nothing"), f"{TRAIN} is a link to what is not there"),
    ("page", lambda: put(TRAIN, b"\n <!DOCTYPE html>"), f"{TRAIN} is a web page and not the file"),
    ("pointer", lambda: put(TRAIN, b"version https://git-lfs.github.com/spec/v1"), "is a pointer of Git LFS"),
    ("no folder", lambda: (shutil.rmtree("data"), put("data", b"")), "data is no folder"),
]


@pytest.mark.usefixtures("_shd")
@pytest.mark.parametrize(("do", "said"), [x[1:] for x in SHD], ids=[x[0] for x in SHD])
def test_shd_s_files(do: Callable[[], Any], said: str) -> None:
    load_shd()
    do()
    with pytest.raises((FileNotFoundError, ValueError)) as error:
        load_shd()
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.usefixtures("_shd")
def test_what_systems_leave_is_no_data() -> None:
    """Nor is it read, nor named."""
    for name in ("__MACOSX/SHD/._shd_train.h5", "SHD/._shd_train.h5", "SHD/.DS_Store", "SHD/Thumbs.db", "desktop.ini"):
        put(f"data/{name}", b"x")
    load_shd()
    os.unlink(TRAIN)
    with pytest.raises(FileNotFoundError) as error:
        load_shd()
    assert "is there" not in str(error.value)


@pytest.mark.usefixtures("_shd")
@pytest.mark.parametrize("name", ["[a-z]*", "100% #1?", "ü ж", "a b", "{x}", "~", "$HOME", "-x", "a\nb"])
def test_folders_of_any_name(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With a cache, which looks for others of its prefix; and as a link."""
    monkeypatch.setattr(shd, "_WORTH_KEEPING", 0)
    moved("data", name)
    Path("link").symlink_to(name)
    for folder in (name, "link"):
        for _ in range(2):
            prefix = Path(folder) / "SHD" / f"my{name}"
            assert len(shd.load_shd(folder, Grid(1.0, 1000.0), prefix).test.labels) == 2
    assert "made anew" not in capsys.readouterr().out and len(list(Path(name, "SHD").glob("my*"))) == 2


@pytest.mark.usefixtures("_shd")
def test_tonic_goes_on_with_its_own_download_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies elsewhere is named at once, and nothing is downloaded; an archive in its own folder may be tonic's."""
    asked = []
    monkeypatch.setattr(download, "_by_tonic", lambda place, *_: asked.append(place) or "no network")
    packed(TRAIN, TRAIN + ".gz")
    with pytest.raises(FileNotFoundError, match=r"shd_train\.h5\.gz is there: unpack it.*; no network\. Get it"):
        load_shd()
    assert asked == [Path(TRAIN)]
    moved("data/SHD", "data/hdspikes")
    with pytest.raises(FileNotFoundError, match=r"data/hdspikes/shd_train\.h5\.gz is there: unpack it"):
        load_shd()
    assert asked == [Path(TRAIN)]


IMAGES = "train-images-idx3-ubyte"
MNIST: list[tuple[str, Callable[[], Any], str]] = [
    (
        "case",
        lambda: moved("data/MNIST", "data/mnist"),
        f"data/mnist/{IMAGES}.gz {SHOULD} in data/MNIST",
    ),
    (
        "deep",
        lambda: moved("data/MNIST", "data/MNIST/MNIST/raw"),
        f"data/MNIST/MNIST/raw/{IMAGES}.gz {SHOULD}",
    ),
    ("all zipped", lambda: (shutil.rmtree("data/MNIST"), put("data/mnist.zip", b"PK\3\4")), f"data/mnist.zip {UNPACK}"),
    (
        "upper",
        lambda: moved(f"data/MNIST/{IMAGES}.gz", f"data/MNIST/{IMAGES.upper()}.GZ"),
        f"data/MNIST/{IMAGES.upper()}.GZ is there, and should be data/MNIST/{IMAGES}.gz",
    ),
    ("zip", lambda: zipped(f"data/MNIST/{IMAGES}.gz", f"data/MNIST/{IMAGES}.zip"), f"data/MNIST/{IMAGES}.zip {UNPACK}"),
    ("page", lambda: put(f"data/MNIST/{IMAGES}.gz", b"<html>"), f"data/MNIST/{IMAGES}.gz is a web page"),
    ("twice", lambda: packed(f"data/MNIST/{IMAGES}.gz", f"data/MNIST/{IMAGES}.gz"), "is compressed by gzip: unpack it"),
    ("pipe", lambda: pipe(f"data/MNIST/{IMAGES}.gz"), f"data/MNIST/{IMAGES}.gz is a pipe"),
]


@pytest.mark.parametrize("load", [load_mnist, load_smnist])
@pytest.mark.parametrize(("do", "said"), [x[1:] for x in MNIST], ids=[x[0] for x in MNIST])
def test_mnist_s_files(do: Callable[[], Any], said: str, load: Callable[[], Any]) -> None:
    test_mnist.write(Path("data/MNIST"), 20, 10)
    load()
    do()
    with pytest.raises((FileNotFoundError, ValueError)) as error:
        load()
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dots", [True, False])
def test_mnist_s_files_are_known_by_what_they_hold(compressed: bool, ending: str, dots: bool) -> None:
    """Compressed or not, whatever their names say."""
    test_mnist.write(Path("data/MNIST"), 20, 10, compressed)
    for path in list(Path("data/MNIST").iterdir()):
        name = path.name.removesuffix(".gz")
        path.rename(path.with_name((name.replace("-idx", ".idx") if dots else name) + ending))
    assert len(load_mnist().train.labels) == 20


PLACE = "data/DVSGesture/ibmGestureTrain"
GESTURES: list[tuple[str, Callable[[], Any], str]] = [
    ("case", lambda: moved(PLACE, PLACE.lower()), f"{PLACE.lower()} is there, and should be {PLACE}"),
    (
        "name",
        lambda: moved("data/DVSGesture", "data/DvsGesture"),
        f"data/DvsGesture/ibmGestureTrain {SHOULD}",
    ),
    ("deeper", lambda: moved("data/DVSGesture", "data/DVSGesture/DVSGesture"), "or set DATA_DIR to data/DVSGesture"),
    ("archive", lambda: (shutil.rmtree(PLACE), put(PLACE + ".tar.gz", b"")), f"{PLACE}.tar.gz {UNPACK}"),
    ("file", lambda: (shutil.rmtree(PLACE), put(PLACE, b"x")), f"{PLACE} is there, and is a file and no folder"),
    (
        "packed",
        lambda: (shutil.rmtree(PLACE), put(PLACE + "/user01_led/0.npy.gz", b"")),
        f"holds no recordings ({PLACE}/user01_led/0.npy.gz is there, and is none)",
    ),
]


@pytest.mark.parametrize(("do", "said"), [x[1:] for x in GESTURES], ids=[x[0] for x in GESTURES])
def test_gestures(do: Callable[[], Any], said: str) -> None:
    test_dvs_gesture.write(users=1)
    load_gestures()
    do()
    with pytest.raises((FileNotFoundError, ValueError)) as error:
        load_gestures()
    assert said in str(error.value) and "\n" not in str(error.value)


def digits(folder: str, *parts: str) -> None:
    for part in parts:
        for label in range(10):
            put(f"{folder}/{part}/{label}/1.bin", bytes([1, 2, 128, 0, 5, 3, 4, 129, 0, 0]))


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda: digits("data/NMNIST", "train", "test"), "data/NMNIST/train is there, and should be data/NMNIST/Train"),
        (
            lambda: digits("data/N-MNIST", "Train", "Test"),
            f"data/N-MNIST/Train {SHOULD} data/NMNIST/Train",
        ),
        (lambda: digits("data/NMNIST/NMNIST", "Train", "Test"), "or set DATA_DIR to data/NMNIST"),
        (lambda: put("data/NMNIST/Train.zip", b"PK\3\4"), f"data/NMNIST/Train.zip {UNPACK}"),
        (lambda: put("data/nmnist.tar", b"x"), f"data/nmnist.tar {UNPACK}"),
    ],
)
def test_nmnist(do: Callable[[], Any], said: str) -> None:
    do()
    with pytest.raises(FileNotFoundError) as error:
        load_nmnist()
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("inner", [False, True])
def test_junk_in_folders_of_recordings(inner: bool) -> None:
    """Files and folders of systems do not count, a folder in the folder of its name does."""
    test_dvs_gesture.write(users=1)
    digits("data/NMNIST", "Train", "Test")
    before = load_gestures(), load_nmnist()
    for place, name in ((PLACE, "user01_led/._0.npy"), ("data/NMNIST/Train", "3/._1.bin")):
        if inner:
            moved(place, f"{place}/{Path(place).name.lower()}")
        for junk in (".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir/x", "__MACOSX/" + name, "$RECYCLE.BIN/x", name):
            put(f"{place}/{Path(place).name.lower()}/{junk}" if inner else f"{place}/{junk}", b"x")
    shutil.copytree("data/NMNIST/Test/0", "data/NMNIST/Test/__MACOSX")
    for a, b in zip(before, (load_gestures(), load_nmnist()), strict=True):
        assert np.array_equal(a.labels, b.labels) and np.array_equal(a.spikes.channels, b.spikes.channels)


def test_endings_of_any_case() -> None:
    test_dvs_gesture.write(users=1)
    before = load_gestures()
    for path in list(Path("data").rglob("*.npy")):
        path.rename(path.with_suffix(".NPY"))
    assert np.array_equal(load_gestures().labels, before.labels)
    assert dvs.missing(Path("data"), "DVSGesture")[0].endswith("(22 of 1077 recordings are there)")


def test_information_about_folders_that_cannot_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there to be pasted into a report, whatever is wrong."""

    real = Path.is_file

    def refuse(path: Path) -> bool:
        if path.parts[0] == "data":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert "SHD: cannot be looked at: Permission denied" in info.report(Path("data"))
