"""Files in the HDF5 layout of the Heidelberg spiking data sets (Cramer et al. 2020).

A file has ``spikes/times`` (seconds) and ``spikes/units`` (channels), one entry of its own length per sample,
``labels``, and where known ``extra/speaker`` and ``extra/keys`` (names of the classes).
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from eventprop.dataset import Part
from eventprop.download import BROKEN
from eventprop.spikes import SpikeSet, bin_events

__all__ = ["NUM_CHANNELS", "Contents", "Grid", "Recordings", "read_file", "write_shd"]

NUM_CHANNELS = 700
_SLICE = 256  # samples read at a time
_TOLERANCE = 1e-6
_KINDS = {"f": "floating-point numbers", "iu": "whole numbers"}


@dataclass(frozen=True)
class Grid:
    """How recordings become spikes of steps and channels.

    Times are multiplied by ``rescale_t`` first and cut off at ``trial_ms`` then, so that as much of a recording is
    used as fits the trial. Channel c becomes ``floor(c * rescale_x)``; there are 700 input channels all the same.

    Attributes:
        dt_ms, trial_ms: step and length of a trial, see :func:`eventprop.spikes.bin_events`.
        rescale_t: above 0.
        rescale_x: above 0, at most 1.
    """

    dt_ms: float
    trial_ms: float
    rescale_t: float = 1.0
    rescale_x: float = 1.0

    def spikes(self, times: np.ndarray, units: np.ndarray, offsets: np.ndarray) -> SpikeSet:
        """Binned spikes of recordings.

        Args:
            times: ``(events,)`` seconds.
            units: ``(events,)`` channels.
            offsets: ``(n + 1,)``; sample i has the events ``offsets[i]`` to ``offsets[i + 1]``.
        """
        with np.errstate(over="ignore"):
            times_ms = times.astype(np.float64) * (1e3 * self.rescale_t)
        if self.rescale_x != 1.0:
            units = np.floor(units * (self.rescale_x * (1 + _TOLERANCE))).astype(np.uint16)
        return bin_events(times_ms, units, offsets, NUM_CHANNELS, self.dt_ms, self.trial_ms)

    def set_of(self, offsets: np.ndarray, steps: np.ndarray, channels: np.ndarray) -> SpikeSet:
        """Arrays of binned spikes as a set, see :class:`eventprop.spikes.SpikeSet`."""
        return SpikeSet(offsets, steps, channels, NUM_CHANNELS, round(self.trial_ms / self.dt_ms))


@dataclass(frozen=True)
class Contents:
    """What a file holds: its samples, binned, and the names of the classes (empty where it has none)."""

    part: Part
    class_names: tuple[str, ...]


class Recordings:
    """An open file: a context manager.

    Args:
        speakers: whether speakers are read, where the file names them.

    Attributes:
        labels, speakers: ``(n,)`` int32; speakers may be None.
        class_names: empty where the file has none.

    Raises:
        ValueError: names file, sample and what is wrong in it.
    """

    def __init__(self, path: Path, speakers: bool = True) -> None:
        import h5py

        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except (FileNotFoundError, PermissionError, BlockingIOError):  # nothing is wrong with the file
            raise
        except OSError as error:
            raise ValueError(f"{path} is not a readable HDF5 file ({error}); {BROKEN}") from None
        try:
            self._read_all_but_spikes(speakers)
        except BaseException:
            self._file.close()
            raise

    def _read_all_but_spikes(self, speakers: bool) -> None:
        path, file = self.path, self._file
        named = ["extra/speaker"] if speakers and "extra/speaker" in file else []
        _check_layout(path, file, named)
        with _reading(path):
            self.labels = _whole(path, "labels", file["labels"][:])
            self.speakers = _whole(path, "extra/speaker", file["extra/speaker"][:]) if named else None
            keys = file["extra/keys"][:] if "extra/keys" in file else []
        self.class_names = tuple(k.decode() if isinstance(k, bytes) else str(k) for k in keys)

    def __enter__(self) -> Recordings:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write_spikes(self, grid: Grid, steps: IO[bytes], channels: IO[bytes]) -> np.ndarray:
        """Bin all samples, slice by slice; append steps and channels, uint16, to two binary files.

        Returns:
            Offsets of the samples in these, ``(n + 1,)`` int64.
        """
        from tqdm import tqdm

        n, lengths = len(self.labels), [np.zeros(1, np.int64)]
        bar = tqdm(total=n, desc=f"reading {self.path.name}", leave=False, disable=not sys.stderr.isatty())
        with bar:
            for part in self._slices(grid):
                steps.write(part.steps.data)
                channels.write(part.channels.data)
                lengths.append(np.diff(part.offsets))
                bar.update(len(part))
        return np.cumsum(np.concatenate(lengths))

    def _slices(self, grid: Grid) -> Iterator[SpikeSet]:
        path, n = self.path, len(self.labels)
        for first in range(0, n, _SLICE):
            last = min(n, first + _SLICE)
            with _reading(path):
                times, units = (self._file[f"spikes/{name}"][first:last] for name in ("times", "units"))
            for number, (t, u) in enumerate(zip(times, units, strict=True), first):
                if len(t) != len(u):
                    raise ValueError(f"{path}: sample {number} has {len(t)} times but {len(u)} units")
            offsets = np.concatenate([[0], np.cumsum([len(t) for t in times])]).astype(np.int64)
            flat_times, flat_units = np.concatenate(list(times)), np.concatenate(list(units))
            _check_spikes(path, flat_times, flat_units, offsets, first)
            yield grid.spikes(flat_times, flat_units, offsets)


def read_file(path: Path, grid: Grid, speakers: bool = True) -> Contents:
    """All samples of a file, in memory.

    Raises:
        ValueError: names file, sample and what is wrong in it.
    """
    steps, channels = io.BytesIO(), io.BytesIO()  # they grow in place, unlike lists of arrays that are joined
    with Recordings(path, speakers) as file:
        offsets = file.write_spikes(grid, steps, channels)
    stepped, channelled = (np.frombuffer(memory.getbuffer(), np.uint16) for memory in (steps, channels))
    return Contents(Part(grid.set_of(offsets, stepped, channelled), file.labels, file.speakers), file.class_names)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What h5py raises for damaged blocks becomes an error that names the file."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and get it again") from None


def _check_layout(path: Path, file: Any, also: Sequence[str]) -> None:
    """The datasets are all there, of one length and of the right kind.

    Args:
        also: further datasets with an entry per sample.
    """
    import h5py

    per_sample = ["labels", "spikes/times", "spikes/units"]
    for name in per_sample:
        if name not in file:
            raise ValueError(f"{path} has no dataset {name!r}, so it is not in SHD's layout")
    per_sample += also
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


def _whole(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Labels or speakers as int32."""
    if values.dtype.kind not in "iu":
        raise ValueError(f"{path}: {name!r} must be whole numbers from 0")
    wrong = (values < 0) | (values > np.iinfo(np.int32).max)
    if wrong.any():
        number = int(np.argmax(wrong))
        raise ValueError(f"{path}: {name!r} must be whole numbers from 0; sample {number} has {values[number]}")
    return values.astype(np.int32)


def _check_spikes(path: Path, times: np.ndarray, units: np.ndarray, offsets: np.ndarray, first: int) -> None:
    """Times finite, not negative and ascending; units whole and in range."""
    times = times.astype(np.float32) if times.dtype == np.float16 else times  # exact, and many times as fast
    descending = np.zeros(times.size, bool)
    descending[1:] = times[1:] < times[:-1]
    descending[offsets[:-1][offsets[:-1] < times.size]] = False
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
