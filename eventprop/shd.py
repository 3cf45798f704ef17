"""Data in the HDF5 layout of the Spiking Heidelberg Digits (Cramer et al. 2020).

A file has ``spikes/times`` (seconds) and ``spikes/units`` (channels), one entry of its own length per sample,
``labels``, and where known ``extra/speaker`` and ``extra/keys`` (names of the classes).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.dataset import Dataset, Part
from eventprop.download import BROKEN, by_tonic
from eventprop.spikes import SpikeSet, bin_events

__all__ = ["NUM_CHANNELS", "load_shd", "write_shd"]

NUM_CHANNELS = 700
_SLICE = 256  # samples read at a time
_PAGE = (
    "the Heidelberg spiking data sets page, zenkelab.org/resources/spiking-heidelberg-datasets-shd/ "
    "(files: zenkelab.org/datasets/)"
)
_KINDS = {"f": "floating-point numbers", "iu": "whole numbers"}


def load_shd(data_dir: str | Path, dt_ms: float, trial_ms: float, folder: str = "SHD") -> Dataset:
    """Read ``<data_dir>/<folder>/shd_train.h5`` and ``shd_test.h5``, binned to ``dt_ms``.

    Files of SHD that are missing are downloaded by tonic where it is installed. There are as many classes as
    ``extra/keys`` has names, or else as the highest label of both files says.

    Args:
        trial_ms: length of a trial; later spikes are cut off (see :func:`eventprop.spikes.bin_events`).
        folder: folder in ``data_dir`` and name of the data set; only "SHD" is downloaded.

    Raises:
        FileNotFoundError: names the missing file and where to get it.
        ValueError: names file, sample and what is wrong in it.
    """
    paths = [Path(data_dir) / folder / f"shd_{part}.h5" for part in ("train", "test")]
    for path in paths:
        if not path.is_file():
            _fetch(path, Path(data_dir), folder)
    (train, names), (test, more) = (_read_file(path, dt_ms, trial_ms) for path in paths)
    classes = max(len(names), len(more)) or int(max(train.labels.max(), test.labels.max())) + 1
    for path, part in zip(paths, (train, test), strict=True):
        if part.labels.max() >= classes:
            number = int(part.labels.argmax())
            raise ValueError(f"{path}: label {part.labels[number]} of sample {number} is not one of 0 to {classes - 1}")
    return Dataset(folder, train, test, NUM_CHANNELS, classes, names or more)


def _fetch(path: Path, data_dir: Path, folder: str) -> None:
    """Have tonic download the file; else say what is missing."""
    why: str | None = "only SHD can be downloaded"
    if folder == "SHD":
        training = path.stem == "shd_train"
        why = by_tonic(path, "tonic.datasets", lambda tonic: tonic.SHD(save_to=str(data_dir), train=training))
    if why is not None:
        raise FileNotFoundError(
            f"{path.name} is missing in {path.parent}; {why}. Get it from {_PAGE}, unpack it and put it there, "
            'or set DATA_DIR to where it is; DATA_SET="DEMO" needs no download'
        )


def _read_file(path: Path, dt_ms: float, trial_ms: float) -> tuple[Part, tuple[str, ...]]:
    """Spikes, labels, speakers and names of the classes of one file."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except (PermissionError, BlockingIOError):  # nothing is wrong with the file
        raise
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file ({error}); {BROKEN}") from None
    with file:
        n = _check_layout(path, file)
        try:
            labels = _whole(path, "labels", file["labels"][:])
            speakers = _whole(path, "extra/speaker", file["extra/speaker"][:]) if "extra/speaker" in file else None
            keys = file["extra/keys"][:] if "extra/keys" in file else []
            spikes = _read_spikes(path, file, n, dt_ms, trial_ms)
        except (OSError, RuntimeError, KeyError) as error:  # what h5py raises for damaged blocks
            raise ValueError(f"{path} is damaged ({error}); delete it and get it again") from None
    names = tuple(k.decode() if isinstance(k, bytes) else str(k) for k in keys)
    return Part(spikes, labels, speakers), names


def _check_layout(path: Path, file: Any) -> int:
    """Number of samples of a file whose datasets are all there, of one length and of the right kind."""
    import h5py

    for name in ("spikes/times", "spikes/units", "labels"):
        if name not in file:
            raise ValueError(f"{path} has no dataset {name!r}, so it is not in SHD's layout")
    per_sample = [name for name in ("labels", "spikes/times", "spikes/units", "extra/speaker") if name in file]
    for name in per_sample:
        if not isinstance(file[name], h5py.Dataset) or file[name].ndim != 1:
            raise ValueError(f"{path}: {name!r} must be a dataset with one entry per sample")
    n = len(file["labels"])
    if n == 0:
        raise ValueError(f"{path} holds no samples")
    for name in per_sample:
        if len(file[name]) != n:
            raise ValueError(f"{path} has {n} labels but {len(file[name])} entries in {name!r}")
    for name, kinds in (("spikes/times", "f"), ("spikes/units", "iu")):
        kind = h5py.check_vlen_dtype(file[name].dtype)
        if kind is None or np.dtype(kind).kind not in kinds:
            raise ValueError(f"{path}: {name!r} must hold a list of {_KINDS[kinds]} per sample")
    return n


def _whole(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Labels or speakers as int32."""
    if values.dtype.kind not in "iu":
        raise ValueError(f"{path}: {name!r} must be whole numbers from 0")
    wrong = (values < 0) | (values > np.iinfo(np.int32).max)
    if wrong.any():
        number = int(np.argmax(wrong))
        raise ValueError(f"{path}: {name!r} must be whole numbers from 0; sample {number} has {values[number]}")
    return values.astype(np.int32)


def _read_spikes(path: Path, file: Any, n: int, dt_ms: float, trial_ms: float) -> SpikeSet:
    """Slice by slice, so that only the binned spikes of the file are in memory at once."""
    steps, channels, lengths = [], [], []
    for first in range(0, n, _SLICE):
        last = min(n, first + _SLICE)
        times, units = file["spikes/times"][first:last], file["spikes/units"][first:last]
        for number, (t, u) in enumerate(zip(times, units, strict=True), first):
            if len(t) != len(u):
                raise ValueError(f"{path}: sample {number} has {len(t)} times but {len(u)} units")
        offsets = np.concatenate([[0], np.cumsum([len(t) for t in times])]).astype(np.int64)
        flat_times = np.concatenate(list(times)).astype(np.float64)
        flat_units = np.concatenate(list(units))
        _check_spikes(path, flat_times, flat_units, offsets, first)
        part = bin_events(flat_times * 1e3, flat_units, offsets, NUM_CHANNELS, dt_ms, trial_ms)
        steps.append(part.steps)
        channels.append(part.channels)
        lengths.append(np.diff(part.offsets))
    all_steps = np.concatenate(steps)
    steps.clear()  # else all steps and channels would be held twice
    return SpikeSet(
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64),
        steps=all_steps,
        channels=np.concatenate(channels),
        num_channels=NUM_CHANNELS,
        num_steps=part.num_steps,
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
    attributes: Mapping[str, int] | None = None,
) -> None:
    """Write a file of that layout, whole or not at all.

    Args:
        samples: times in seconds (ascending, written as float16) and units (uint16) of each of ``n`` samples.
        labels: ``(n,)`` numbers of classes from 0.
        speakers: ``(n,)`` numbers of speakers from 0.
        attributes: attributes of the file, which SHD's own files do not have.

    Raises:
        ValueError: lengths that do not fit each other.
    """
    import h5py

    if not len(samples) == len(labels) == len(speakers):
        raise ValueError(f"{len(samples)} samples, {len(labels)} labels and {len(speakers)} speakers: not the same")
    for number, (times, units) in enumerate(samples):
        if len(times) != len(units):
            raise ValueError(f"sample {number} has {len(times)} times but {len(units)} units")
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
            file.attrs.update(attributes or {})
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
