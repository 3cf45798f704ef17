"""Files of data sets, those of others and those that this project makes."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
from eventprop.dataset import Dataset, Part
from eventprop.shd_files import Grid

from eventprop import demo, dvs, gestures, mnist, shd, smnist

from .kinds import Kind, quiet
from .mutants import edited

__all__ = ["KINDS"]

GRID = Grid(1.0, 1000.0)
HERE = Path()
_SIZES = {"train": 40, "test": 20}
_FEW = mock.patch.dict(demo.SIZES, _SIZES)


def _arrays(data: Dataset) -> list[Any]:
    """All of a data set that can differ."""
    return [list(map(_part, (data.train, data.test))), list(data.class_names), data.num_classes]


def _part(part: Part) -> list[Any]:
    spikes = part.spikes
    arrays = [spikes.offsets, np.array(spikes.steps), np.array(spikes.channels), part.labels]
    return arrays if part.speakers is None else [*arrays, part.speakers]


def _write_shd(parts: dict[str, int], data_set: str = "SHD") -> Path:
    Path(data_set).mkdir()
    for name, n in parts.items():
        samples, labels, speakers = demo.make_part("test" if "test" in name else "train", n)
        few = [(times[:150], units[:150]) for times, units in samples]
        shd.write_shd(Path(data_set, name), few, labels, speakers, demo.class_names())
    return Path(data_set, next(iter(parts)))


def _shd() -> Path:
    return _write_shd({"shd_train.h5": 40, "shd_test.h5": 20})


def _shd_in_blocks() -> Path:
    """As other programs write it: a later format, blocks that are compressed and have checksums."""
    path = _shd()
    with h5py.File(path) as file:
        lists = {name: list(file[f"spikes/{name}"]) for name in ("times", "units")}
        labels, speakers, keys = (file[name][:] for name in ("labels", "extra/speaker", "extra/keys"))
    with h5py.File(path, "w", libver="latest") as file:
        for name, kind in (("times", np.float32), ("units", np.int64)):
            written = file.create_dataset(
                f"spikes/{name}", (len(labels),), dtype=h5py.vlen_dtype(kind), chunks=(8,), compression="gzip"
            )
            for i, values in enumerate(lists[name]):
                written[i] = values.astype(kind)
        file.create_dataset("labels", data=labels, chunks=(8,), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("extra/speaker", data=speakers, chunks=(8,))
        file.create_dataset("extra/keys", data=[key.decode() for key in keys], dtype=h5py.string_dtype())
    return path


def _ssc() -> Path:
    return _write_shd({"ssc_valid.h5": 20, "ssc_train.h5": 40, "ssc_test.h5": 20}, "SSC")


def _read_ssc(_: Path) -> list[Any]:
    data = shd.load_ssc(HERE, GRID)
    assert data.validation is not None
    return [*_arrays(data), _part(data.validation)]


def _kept(name: str) -> Path:
    """A file of the folder in which binned spikes of the training file are kept."""
    _shd()
    with quiet():
        _read_kept(HERE)
    return next(path for path in Path("SHD").glob("kept_shd_train_*") if path.is_dir()) / name


def _read_kept(_: Path) -> list[Any]:
    with mock.patch.object(shd, "_WORTH_KEEPING", 0):
        return _arrays(shd.load_shd(HERE, GRID, Path("SHD/kept")))


def _demo(name: str) -> Path:
    with quiet():
        _read_demo(HERE)
    return Path(demo.FOLDER, name)


def _read_demo(_: Path) -> list[Any]:
    with _FEW:
        return _arrays(demo.load_demo(HERE, GRID))


def _gestures(name: str) -> Path:
    with quiet():
        _read_gestures(HERE)
    return Path(gestures.FOLDER, name)


def _read_gestures(_: Path) -> list[Any]:
    few = {"USERS": {"train": range(1, 2), "test": range(24, 25)}, "_EVENTS": (200, 300)}
    with mock.patch.multiple(gestures, **few):
        return _arrays(gestures.load_demo(HERE, dvs.Window(128, 5.0, 1000.0, downsample=4)))


def _recordings() -> Path:
    """Three recordings of gestures for training, and three for the test."""
    for part, user in (("train", 1), ("test", 24)):
        for recording in gestures.recordings(Path("DVSGesture"), part, [user])[:3]:
            recording.path.parent.mkdir(parents=True, exist_ok=True)
            np.save(recording.path, gestures.rows(recording)[:300])
    return recording.path


def _nmnist() -> Path:
    rng = np.random.default_rng(0)
    for part in ("Train", "Test"):
        for digit in range(3):
            path = Path("NMNIST", part, str(digit), "1.bin")
            path.parent.mkdir(parents=True)
            times = np.sort(rng.integers(0, 300_000, 200))
            pixels = rng.integers(0, 34, (200, 2))
            events = zip(pixels.tolist(), times.tolist(), strict=True)
            path.write_bytes(b"".join(bytes([x, y, t >> 16, t >> 8 & 255, t & 255]) for (x, y), t in events))
    return path


def _read_events(data_set: str, window: dvs.Window, _: Path) -> list[Any]:
    return _arrays(dvs.load(HERE, data_set, window))


def _idx(name: str, packed: bool) -> Path:
    rng = np.random.default_rng(0)
    Path("MNIST").mkdir()
    for part in ("train", "t10k"):
        for rest, array in (("images-idx3", rng.integers(0, 255, (12, 28, 28))), ("labels-idx1", np.arange(12) % 10)):
            data = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
            path = Path("MNIST", f"{part}-{rest}-ubyte{'.gz' if packed else ''}")
            path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return Path("MNIST", name)


def _read_mnist(_: Path) -> list[Any]:
    return _arrays(mnist.load_mnist(HERE, 1.0, 20.0))


def _read_smnist(_: Path) -> list[Any]:
    return _arrays(smnist.load_smnist(HERE, smnist.Code("rows", 99, False, 1.0), 1.0, 800.0))


def _made(make: Callable[[str], Path], name: str, read: Callable[[Path], list[Any]]) -> Kind:
    """A file that this project writes for itself, and makes anew where it is damaged."""
    return Kind(partial(make, name), read, checked=True, mutate=edited if name.endswith(".json") else Kind.mutate)


_TEN = "t10k-labels-idx1-ubyte"
KINDS = {
    "SHD, HDF5": Kind(_shd, lambda _: _arrays(shd.load_shd(HERE, GRID))),
    "SHD, HDF5 in compressed blocks": Kind(_shd_in_blocks, lambda _: _arrays(shd.load_shd(HERE, GRID))),
    "SSC, validation file": Kind(_ssc, _read_ssc),
    "MNIST images, idx": Kind(partial(_idx, "train-images-idx3-ubyte", False), _read_mnist),
    "MNIST images, idx.gz": Kind(partial(_idx, "train-images-idx3-ubyte.gz", True), _read_mnist, checked=True),
    "MNIST labels, idx": Kind(partial(_idx, _TEN, False), _read_smnist),
    "MNIST labels, idx.gz": Kind(partial(_idx, f"{_TEN}.gz", True), _read_smnist, checked=True),
    "DVS128 Gesture, .npy": Kind(
        _recordings, partial(_read_events, "DVSGesture", dvs.Window(128, 5.0, 1000.0, downsample=4))
    ),
    "N-MNIST, .bin": Kind(_nmnist, partial(_read_events, "NMNIST", dvs.Window(34, 5.0, 1000.0))),
    **{
        f"binned spikes, {name}": _made(_kept, name, _read_kept)
        for name in ("about.json", "steps.npy", "channels.npy", "offsets.npy", "labels.npy", "speakers.npy")
    },
    **{f"DEMO, {name}": _made(_demo, name, _read_demo) for name in ("shd_train.h5", "shd_test.h5", "complete.json")},
    **{
        f"DEMO gestures, {name.rpartition('/')[2]}": _made(_gestures, name, _read_gestures)
        for name in ("complete.json", "ibmGestureTrain/user01_led/3.npy")
    },
}
"""The kinds by name."""
