"""Data in the HDF5 layout of the Spiking Heidelberg Digits (Cramer et al. 2020).

A file has ``spikes/times`` (seconds) and ``spikes/units`` (channels), one entry of its own length per sample,
``labels``, ``extra/speaker`` and ``extra/keys`` (names of the classes).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.spikes import SpikeSet, bin_events

__all__ = ["NUM_CHANNELS", "Dataset", "Part", "load_shd", "write_shd"]

NUM_CHANNELS = 700
_SLICE = 256  # samples read at a time
_PAGE = "zenkelab.org/resources/spiking-heidelberg-datasets-shd"


@dataclass(frozen=True)
class Part:
    """Training or test file: spikes, ``labels`` ``(n,)`` int32 and ``speakers`` ``(n,)`` int32 or None."""

    spikes: SpikeSet
    labels: np.ndarray
    speakers: np.ndarray | None


@dataclass(frozen=True)
class Dataset:
    name: str
    train: Part
    test: Part
    num_channels: int
    num_classes: int
    class_names: tuple[str, ...]


def load_shd(data_dir: str | Path, dt_ms: float, trial_ms: float, folder: str = "SHD") -> Dataset:
    """Read ``<data_dir>/<folder>/shd_train.h5`` and ``shd_test.h5``, binned to ``dt_ms``.

    Files that are missing are downloaded by tonic where it is installed.

    Raises:
        FileNotFoundError: names the missing file and where to get it.
        ValueError: names file, sample and what is wrong in it.
    """
    paths = [Path(data_dir) / folder / f"shd_{part}.h5" for part in ("train", "test")]
    for path in paths:
        if not path.is_file():
            _download(path, Path(data_dir))
    (train, names), (test, more) = (_read_file(path, dt_ms, trial_ms) for path in paths)
    classes = max(len(names), len(more)) or int(max(train.labels.max(), test.labels.max())) + 1
    for path, part in zip(paths, (train, test), strict=True):
        if part.labels.max() >= classes:
            number = int(part.labels.argmax())
            raise ValueError(f"{path}: label {part.labels[number]} of sample {number} is not one of 0 to {classes - 1}")
    return Dataset(folder, train, test, NUM_CHANNELS, classes, names or more)


def _download(path: Path, data_dir: Path) -> None:
    """Have tonic fetch the file; else say what is missing."""
    why = "tonic, which would download it, is not installed (pip install tonic)"
    try:
        from tonic.datasets import SHD
    except ImportError:
        pass
    else:
        print(f"{path} is missing; downloading it")
        try:
            SHD(save_to=str(data_dir), train=path.stem == "shd_train")
            if path.is_file():
                return
            why = "the download by tonic did not bring it"
        except Exception as error:  # whatever the network or the server says
            why = f"the download by tonic failed: {type(error).__name__}: {error}"
    raise FileNotFoundError(
        f"{path.name} is missing in {path.parent}; {why}. Get it from {_PAGE}, unpack it and put it there, "
        'or set DATA_DIR to where it is; DATA_SET="DEMO" needs no download'
    )


def _read_file(path: Path, dt_ms: float, trial_ms: float) -> tuple[Part, tuple[str, ...]]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path} is not a readable HDF5 file ({error}); it may be a broken download: delete it and get it again"
        ) from None
    with file:
        for name in ("spikes/times", "spikes/units", "labels"):
            if name not in file:
                raise ValueError(f"{path} has no dataset {name!r}, so it is not in SHD's layout")
        n = len(file["labels"])
        if n == 0:
            raise ValueError(f"{path} holds no samples")
        for name in ("spikes/times", "spikes/units", "extra/speaker"):
            if name in file and len(file[name]) != n:
                raise ValueError(f"{path} has {n} labels but {len(file[name])} entries in {name!r}")
        try:
            labels = _whole(path, "labels", file["labels"][:])
            speakers = _whole(path, "extra/speaker", file["extra/speaker"][:]) if "extra/speaker" in file else None
            keys = file["extra/keys"][:] if "extra/keys" in file else []
            spikes = _read_spikes(path, file, n, dt_ms, trial_ms)
        except OSError as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and get it again") from None
    names = tuple(k.decode() if isinstance(k, bytes) else str(k) for k in keys)
    return Part(spikes, labels, speakers), names


def _whole(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iu" or values.ndim != 1 or (values.size and values.astype(np.int64).min() < 0):
        raise ValueError(f"{path}: {name!r} must be whole numbers from 0")
    return values.astype(np.int32)


def _read_spikes(path: Path, file: Any, n: int, dt_ms: float, trial_ms: float) -> SpikeSet:
    """Slice by slice, so that only the binned spikes of the file are in memory at once."""
    parts = []
    for first in range(0, n, _SLICE):
        last = min(n, first + _SLICE)
        times, units = file["spikes/times"][first:last], file["spikes/units"][first:last]
        lengths = np.array([len(t) for t in times])
        for number, (t, u) in enumerate(zip(times, units, strict=True), first):
            if len(t) != len(u):
                raise ValueError(f"{path}: sample {number} has {len(t)} times but {len(u)} units")
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat_times = np.concatenate(list(times)).astype(np.float64)
        flat_units = np.concatenate(list(units))
        _check_spikes(path, flat_times, flat_units, offsets, first)
        parts.append(bin_events(flat_times * 1e3, flat_units, offsets, NUM_CHANNELS, dt_ms, trial_ms))
    lengths = np.concatenate([np.diff(p.offsets) for p in parts])
    return SpikeSet(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        steps=np.concatenate([p.steps for p in parts]),
        channels=np.concatenate([p.channels for p in parts]),
        num_channels=NUM_CHANNELS,
        num_steps=parts[0].num_steps,
    )


def _check_spikes(path: Path, times: np.ndarray, units: np.ndarray, offsets: np.ndarray, first: int) -> None:
    """Times finite, not negative and ascending; units whole and in range."""
    descending = np.zeros(times.size, bool)
    descending[1:] = np.diff(times) < 0
    descending[offsets[:-1][offsets[:-1] < times.size]] = False
    with np.errstate(invalid="ignore"):
        checks = (
            (~np.isfinite(times), times, "time {} s is not finite"),
            (times < 0, times, "time {} s is negative"),
            (descending, times, "times run backwards at {} s"),
            ((units < 0) | (units >= NUM_CHANNELS), units, f"unit {{}} is not one of 0 to {NUM_CHANNELS - 1}"),
        )
    for wrong, values, what in checks:
        if wrong.any():
            at = int(np.argmax(wrong))
            sample = first + int(np.searchsorted(offsets, at, side="right")) - 1
            raise ValueError(f"{path}: sample {sample}: {what.format(values[at])}")


def write_shd(
    path: Path,
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    speakers: np.ndarray,
    class_names: Sequence[str],
) -> None:
    """Write a file of that layout, whole or not at all.

    Args:
        samples: times in seconds (ascending) and units of each sample.
    """
    import h5py

    temporary = path.with_name(f".{path.name}.part")
    try:
        with h5py.File(temporary, "w") as file:
            for name, dtype, column in (("times", np.float16, 0), ("units", np.uint16, 1)):
                data = file.create_dataset(f"spikes/{name}", (len(samples),), dtype=h5py.vlen_dtype(dtype))
                for i, sample in enumerate(samples):
                    data[i] = sample[column].astype(dtype)
            file["labels"] = np.asarray(labels, np.uint16)
            file["extra/speaker"] = np.asarray(speakers, np.uint16)
            file["extra/keys"] = [name.encode() for name in class_names]
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
