"""Files in the HDF5 layout of the Heidelberg spiking data sets (Cramer et al. 2020).

A file has ``spikes/times`` (seconds) and ``spikes/units`` (channels), one entry of its own length per sample,
``labels``, and where known ``extra/speaker`` and ``extra/keys`` (names of the classes).
"""

from __future__ import annotations

import io
import math
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from eventprop.data import hdf5
from eventprop.data.alignment import Alignment
from eventprop.data.clock import spikes_of_clock, with_clock
from eventprop.data.dataset import Part
from eventprop.data.extent import Extent
from eventprop.data.hdf5 import Shape
from eventprop.data.spikes import SpikeSet, bin_events

__all__ = ["NUM_CHANNELS", "Contents", "Grid", "Recordings", "read_file", "write_shd"]

NUM_CHANNELS = 700
_SLICE = 256  # samples read at a time
_MOST = np.iinfo(np.uint16).max  # of labels and speakers that are written
_TOLERANCE = 1e-6
_PER_SAMPLE = ("labels", "spikes/times", "spikes/units")
_KINDS = {"f": "floating-point numbers, in seconds,", "iu": "whole numbers"}


@dataclass(frozen=True)
class Grid:
    """How recordings become spikes of steps and channels.

    Times are multiplied by ``rescale_t`` first and cut off at ``trial_ms`` then, so that as much of a recording is
    used as fits the trial. Channel c becomes ``floor(c * rescale_x)``; there are ``num_channels`` all the same.

    Attributes:
        dt_ms, trial_ms: step and length of a trial, see :func:`eventprop.data.spikes.bin_events`.
        rescale_t: above 0.
        rescale_x: above 0, at most 1.
        true_times: whether spikes have their true times.
        alignment: what is done to times instead of ``rescale_t``; what it puts before the trial is cut off, too.
        num_channels: input channels.
        clock: how many of them tell the time, see :func:`eventprop.data.clock.with_clock`.
    """

    dt_ms: float
    trial_ms: float
    rescale_t: float = 1.0
    rescale_x: float = 1.0
    true_times: bool = False
    alignment: Alignment | None = None
    num_channels: int = NUM_CHANNELS
    clock: int = 0

    def spikes(self, times: np.ndarray, units: np.ndarray, offsets: np.ndarray) -> SpikeSet:
        """Binned spikes of recordings.

        Args:
            times: ``(events,)`` seconds.
            units: ``(events,)`` channels.
            offsets: ``(n + 1,)``; sample i has the events ``offsets[i]`` to ``offsets[i + 1]``.
        """
        if self.alignment is None:
            with np.errstate(over="ignore"):
                times_ms = times.astype(np.float64) * (1e3 * self.rescale_t)
        else:
            times_ms, units, offsets = self.alignment.applied(times.astype(np.float64), units, offsets, 1e3)
        if self.rescale_x != 1.0:
            units = np.floor(units * (self.rescale_x * (1 + _TOLERANCE))).astype(np.uint16)
        grid = self.num_channels, self.dt_ms, self.trial_ms
        binned = bin_events(times_ms, units, offsets, *grid, true_times=self.true_times)
        return with_clock(binned, self.clock, self.dt_ms) if self.clock else binned

    def own_spikes(self, spikes: SpikeSet) -> np.ndarray:
        """How many spikes of each sample are not the clock's."""
        steps, _ = spikes_of_clock(self.clock, self.num_channels, spikes.num_steps, self.dt_ms)
        return np.diff(spikes.offsets) - (steps.size if self.clock else 0)

    @property
    def end_s(self) -> float:
        """Time of a recording at which the trial ends; infinite where each recording has its own."""
        if self.alignment is not None:
            return math.inf
        return self.trial_ms / (1e3 * self.rescale_t)

    @property
    def arrays(self) -> dict[str, Any]:
        """What there is of each spike, with its type."""
        return {"steps": np.uint16, "channels": np.uint16, **({"at": np.float32} if self.true_times else {})}

    def set_of(self, offsets: np.ndarray, arrays: Mapping[str, np.ndarray]) -> SpikeSet:
        """Arrays of binned spikes as a set, see :class:`eventprop.data.spikes.SpikeSet`."""
        num_steps = round(self.trial_ms / self.dt_ms)
        spikes = SpikeSet(offsets, arrays["steps"], arrays["channels"], self.num_channels, num_steps)
        return spikes.remade(offsets, arrays)


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        part: its samples, binned.
        class_names: empty where it has none.
        extent: how far its recordings reach, in seconds.
    """

    part: Part
    class_names: tuple[str, ...]
    extent: Extent


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
        self.path = path
        self._file = hdf5.Source(path)
        try:
            self._read_all_but_spikes(speakers)
        except BaseException:
            self._file.close()
            raise

    def _read_all_but_spikes(self, speakers: bool) -> None:
        path, file = self.path, self._file
        layout = {name: file.shape(name) for name in (*_PER_SAMPLE, "extra/keys")}
        layout |= {"extra/speaker": file.shape("extra/speaker")} if speakers else {}
        _check_layout(path, layout)
        self.labels = _whole(path, "labels", file.read("labels"))
        spoken = "extra/speaker" if layout.get("extra/speaker") else None
        self.speakers = _whole(path, spoken, file.read(spoken)) if spoken else None
        self.class_names = tuple(_name(key) for key in file.read("extra/keys").tolist()) if layout["extra/keys"] else ()

    def __enter__(self) -> Recordings:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write_spikes(self, grid: Grid, to: Mapping[str, IO[bytes]]) -> tuple[np.ndarray, Extent]:
        """Bin all samples, slice by slice; append what ``grid.arrays`` names to binary files.

        Returns:
            Offsets of the samples in these, ``(n + 1,)`` int64; how far they reach in the file.
        """
        from tqdm import tqdm

        n, lengths = len(self.labels), [np.zeros(1, np.int64)]
        ends: list[float] = []
        events = within = 0
        bar = tqdm(total=n, desc=f"reading {self.path.name}", leave=False, disable=not sys.stderr.isatty())
        with bar:
            for times, units in self._slices():
                offsets = np.concatenate([[0], np.cumsum([len(t) for t in times])]).astype(np.int64)
                flat_times, flat_units = np.concatenate(times), np.concatenate(units)
                _check_spikes(self.path, flat_times, flat_units, offsets, len(ends), grid.num_channels)
                part = grid.spikes(flat_times, flat_units, offsets)
                for name, array in part.arrays.items():
                    to[name].write(array.data)
                lengths.append(np.diff(part.offsets))
                ends += [float(t[-1]) if len(t) else np.nan for t in times]
                events += len(flat_times)
                within += sum(
                    int(np.searchsorted(t, grid.end_s)) if end >= grid.end_s else len(t)
                    for t, end in zip(times, ends[-len(times) :], strict=True)
                )
                bar.update(len(part))
        reached = np.array(ends)
        return np.cumsum(np.concatenate(lengths)), Extent.of(events, within, reached[~np.isnan(reached)])

    def reach(self) -> tuple[int, float]:
        """One more than the largest unit, and the time of the last spike in seconds; both 0 where there is none."""
        channels, end = 0, 0.0
        for times, units in self._slices():
            flat = np.concatenate(units)
            if flat.size:
                channels = max(channels, int(flat.max()) + 1)
                end = max(end, float(np.max(np.concatenate(times).astype(np.float64))))
        return channels, end

    def _slices(self) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
        """Times and units of some samples at a time."""
        path, n = self.path, len(self.labels)
        for first in range(0, n, _SLICE):
            last = min(n, first + _SLICE)
            times, units = (list(self._file.read(f"spikes/{name}", first, last)) for name in ("times", "units"))
            for number, (t, u) in enumerate(zip(times, units, strict=True), first):
                if len(t) != len(u):
                    raise ValueError(f"{path}: sample {number} has {len(t)} times but {len(u)} units")
            yield times, units


def read_file(path: Path, grid: Grid, speakers: bool = True) -> Contents:
    """All samples of a file, in memory.

    Raises:
        ValueError: names file, sample and what is wrong in it.
    """
    memory = {name: io.BytesIO() for name in grid.arrays}  # they grow in place, unlike lists of arrays that are joined
    with Recordings(path, speakers) as file:
        offsets, extent = file.write_spikes(grid, memory)
    arrays = {name: np.frombuffer(memory[name].getbuffer(), kind) for name, kind in grid.arrays.items()}
    part = Part(grid.set_of(offsets, arrays), file.labels, file.speakers)
    return Contents(part, file.class_names, extent)


def _check_layout(path: Path, layout: Mapping[str, Shape | None]) -> None:
    """The datasets are all there, of one length and of the right kind."""
    found = {}
    for name, shape in layout.items():
        if name in _PER_SAMPLE and shape is None:
            raise ValueError(f"{path} has no dataset {name!r}, so it is not in SHD's layout")
        if shape is not None and name != "extra/keys":
            found[name] = shape
            if shape.dimensions != 1:
                raise ValueError(f"{path}: {name!r} must be a dataset with one entry per sample")
    n = found["labels"].entries
    if n == 0:
        raise ValueError(f"{path} holds no samples")
    for name, shape in found.items():
        if shape.entries != n:
            raise ValueError(f"{path} has {n} labels but {shape.entries} entries in {name!r}")
    for name, kinds in (("spikes/times", "f"), ("spikes/units", "iu")):
        if not found[name].lists or found[name].kind.kind not in kinds:
            raise ValueError(f"{path}: {name!r} must hold a list of {_KINDS[kinds]} per sample")
    keys = layout["extra/keys"]
    if keys is not None and (keys.dimensions != 1 or keys.lists):
        raise ValueError(f"{path}: 'extra/keys' must be a dataset with the name of each class")


def _name(key: Any) -> str:
    """Name of a class: UTF-8, else Latin-1, which any bytes are; letters with accents as one character."""
    if isinstance(key, bytes):
        try:
            key = key.decode()
        except UnicodeDecodeError:
            key = key.decode("latin-1")
    return unicodedata.normalize("NFC", str(key)).rstrip("\0 ")


def _whole(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Labels or speakers as int32."""
    if values.dtype.kind not in "iu":
        raise ValueError(f"{path}: {name!r} must be whole numbers from 0")
    wrong = (values < 0) | (values > np.iinfo(np.int32).max)
    if wrong.any():
        number = int(np.argmax(wrong))
        raise ValueError(f"{path}: {name!r} must be whole numbers from 0; sample {number} has {values[number]}")
    return values.astype(np.int32)


def _check_spikes(
    path: Path, times: np.ndarray, units: np.ndarray, offsets: np.ndarray, first: int, num_channels: int
) -> None:
    """Times finite, not negative and ascending; units whole and in range."""
    times = times.astype(np.float32) if times.dtype == np.float16 else times  # exact, and many times as fast
    descending = np.zeros(times.size, bool)
    descending[1:] = times[1:] < times[:-1]
    descending[offsets[:-1][offsets[:-1] < times.size]] = False
    checks = (
        (~np.isfinite(times), times, "time {} s is not finite"),
        (times < 0, times, "time {} s is negative"),
        (descending, times, "times run backwards at {} s"),
        ((units < 0) | (units >= num_channels), units, f"unit {{}} is not one of 0 to {num_channels - 1}"),
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
    num_channels: int = NUM_CHANNELS,
) -> None:
    """Write a file of that layout, whole or not at all.

    Args:
        samples: times in seconds (ascending, written as float16) and units (uint16) of each of ``n`` samples.
        labels: ``(n,)`` numbers of classes from 0.
        speakers: ``(n,)`` numbers of speakers from 0.
        num_channels: units are below it.

    Raises:
        ValueError: lengths that do not fit each other, or a sample that could not be read back.
    """
    import h5py

    if not len(samples) == len(labels) == len(speakers):
        raise ValueError(f"{len(samples)} samples, {len(labels)} labels and {len(speakers)} speakers: not the same")
    for number, (times, units) in enumerate(samples):
        if len(times) != len(units):
            raise ValueError(f"sample {number} has {len(times)} times but {len(units)} units")
        with np.errstate(over="ignore"):
            written = np.asarray(times, np.float16)
        _check_spikes(path, written, np.asarray(units), np.array([0, len(times)]), number, num_channels)
    for what, values in (("labels", labels), ("speakers", speakers)):
        if len(values) and not 0 <= np.min(values) <= np.max(values) <= _MOST:
            raise ValueError(f"{what} must be numbers from 0 to {_MOST}")
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
        with temporary.open("rb+") as whole:
            os.fsync(whole.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
