"""Event cameras: DVS128 Gesture (Amir et al. 2017) and N-MNIST (Orchard et al. 2015), as spikes of their pixels.

Pixels are joined to square cells, of which each has two channels, one for each polarity p:
``channel = (cells * y + x) * 2 + p`` with x and y counted in cells, and ``cells`` in a row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.data import dvs_files
from eventprop.data.dataset import Dataset, Part
from eventprop.data.download import fetch, is_junk
from eventprop.data.dvs_files import Events, Recording
from eventprop.data.extent import PER_MS, Extent, likely_unit, percent
from eventprop.data.spikes import SpikeSet, bin_events, joined

__all__ = ["SETS", "Source", "Window", "counted", "load", "missing", "read_part"]

_LONGEST_MS = 60_000.0  # recordings take up to 18 s; longer ones are rather in another unit
_SHORTEST = 0.01  # of the window; where recordings end before that, too
_MOST = 0.9  # of the events are cut off: gestures repeat themselves, and much of them is by default


@dataclass(frozen=True)
class Source:
    """A data set: its folder in ``DATA_DIR``, its parts' folders and how many recordings they have in full.

    ``units`` are those in which times may be by mistake, where the format leaves that to whoever writes it.
    """

    folder: str
    parts: Mapping[str, tuple[str, int]]
    side: int
    class_names: tuple[str, ...]
    downsample: int
    units: Mapping[str, float]
    find: Callable[[Path], list[Recording]]
    read: Callable[[Path], Events]
    page: str


GESTURE_NAMES = (
    *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise"),
    *("left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures"),
)
SETS = {
    "DVSGesture": Source(
        "DVSGesture",
        {"train": ("ibmGestureTrain", 1077), "test": ("ibmGestureTest", 264)},
        dvs_files.GESTURE_SIDE,
        GESTURE_NAMES,
        4,
        PER_MS,
        dvs_files.find_gestures,
        dvs_files.read_npy,
        "figshare.com/ndownloader/files/38022171 (train) and 38020584 (test)",
    ),
    "NMNIST": Source(
        "NMNIST",
        {"train": ("Train", 60000), "test": ("Test", 10000)},
        dvs_files.NMNIST_SIDE,
        tuple(str(digit) for digit in range(dvs_files.DIGITS)),
        1,
        {},
        dvs_files.find_nmnist,
        dvs_files.read_bin,
        "www.garrickorchard.com/datasets/n-mnist",
    ),
}
"""The data sets by ``DATA_SET``."""


@dataclass(frozen=True)
class Window:
    """Which time of a recording is a trial, and how its events become spikes.

    Args:
        side: pixels in a row of the sensor, and rows.
        start_ms: what was before is cut off, and times count from here.
        rescale_t: factor on times then; what lies beyond ``trial_ms`` is cut off.
        downsample: pixels in a row of a cell, and rows.
        threshold: as many events in a cell and step make a spike.
        true_times: whether spikes have their true times.
    """

    side: int
    dt_ms: float
    trial_ms: float
    start_ms: float = 0.0
    rescale_t: float = 1.0
    downsample: int = 1
    threshold: int = 1
    true_times: bool = False

    @property
    def cells(self) -> int:
        """Cells in a row."""
        return -(-self.side // self.downsample)

    @property
    def num_channels(self) -> int:
        return 2 * self.cells**2

    @property
    def end_ms(self) -> float:
        """Time of the recording at which the trial ends."""
        return self.start_ms + self.trial_ms / self.rescale_t

    def spikes(self, events: Events) -> SpikeSet:
        """A recording as a set of one sample."""
        part = slice(*np.searchsorted(events.times_ms, (self.start_ms, self.end_ms)))
        x, y = events.x[part] // self.downsample, events.y[part] // self.downsample
        channels = (self.cells * y + x) * 2 + events.polarity[part]
        times = (events.times_ms[part] - self.start_ms) * self.rescale_t
        offsets = np.array([0, times.size])
        grid = self.num_channels, self.dt_ms, self.trial_ms, self.threshold
        return bin_events(times, channels, offsets, *grid, self.true_times)


def load(data_dir: str | Path, name: str, window: Window) -> Dataset:
    """``<data_dir>/DVSGesture`` or ``<data_dir>/NMNIST``; the test part is read when it is used.

    Of N-MNIST ``Train`` and ``Test`` may also lie in ``data_dir`` itself. Parts that are missing are downloaded by
    tonic where it is installed. Fewer recordings than the full set has are read as they are, and a line says so.

    Raises:
        FileNotFoundError: names the folder that is missing or empty and where to get it; nothing has been read then.
        ValueError: names file or folder and what is wrong in it; of the test part, when that is read.
    """
    source = SETS[name]
    found = {part: _complete(Path(data_dir), name, part) for part in source.parts}
    return dataset(name, source, found, lambda recording: source.read(recording.path), window)


def dataset(
    name: str,
    source: Source,
    recordings: Mapping[str, Sequence[Recording]],
    read: Callable[[Recording], Events],
    window: Window,
) -> Dataset:
    """The data set whose test part is read when it is used."""
    train, test = (
        partial(read_part, f"{name} {part}", recordings[part], read, window, source.units) for part in ("train", "test")
    )
    return Dataset(name, train(), test, window.num_channels, len(source.class_names), source.class_names)


def read_part(
    name: str,
    recordings: Sequence[Recording],
    read: Callable[[Recording], Events],
    window: Window,
    units: Mapping[str, float] = PER_MS,
) -> Part:
    """Recordings one by one, so that only binned spikes are in memory.

    Those without spikes in the window are kept, and counted; so are those that end in the first half of it. Times may
    be in another unit than milliseconds: that most events are cut off, or all at the beginning, is told.

    Args:
        units: those that times may be in.

    Raises:
        ValueError: no recording has a spike; or names the file and what is wrong in it.
    """
    from tqdm import tqdm

    bar = tqdm(recordings, desc=f"reading {name}", leave=False, disable=not sys.stderr.isatty())
    ends_ms, counts, within = np.full(len(recordings), np.nan), np.zeros(len(recordings), int), 0

    def sample(number: int, recording: Recording) -> SpikeSet:
        nonlocal within
        events = read(recording)
        counts[number] = events.times_ms.size
        if events.times_ms.size:
            ends_ms[number] = events.times_ms[-1]
            within += int(np.diff(np.searchsorted(events.times_ms, (window.start_ms, window.end_ms)))[0])
        return window.spikes(events)

    spikes = joined(sample(number, recording) for number, recording in enumerate(bar))
    silent = np.diff(spikes.offsets) == 0
    short = int((ends_ms[~silent] < (window.start_ms + window.end_ms) / 2).sum())
    when = f"from {window.start_ms:g} to {window.end_ms:g} ms"
    extent = Extent.of(counts.sum(), within, ends_ms[counts > 0])
    told = _cut_off(extent, window, when, units)
    if silent.all():
        keys = "T_START_MS, TRIAL_MS, RESCALE_T" + (", EVENT_THRESHOLD" if window.threshold > 1 else "")
        raise ValueError(
            f"{name}: none of the {silent.size} recordings has spikes {when} ({keys}); "
            + (told or f"they have {extent.events} events")
        )
    if silent.any():
        print(f"{name}: {silent.sum()} of {silent.size} recordings have no spikes {when}; they are kept, without input")
    if told:
        print(f"{name}: {told}")
    if short:
        print(f"{name}: {short} of {len(recordings)} recordings end in the first half of the window, {when}")
    users = [r.user for r in recordings if r.user is not None]
    labels = np.array([r.label for r in recordings], np.int32)
    return Part(spikes, labels, np.array(users, np.int32) if users else None)


def _cut_off(extent: Extent, window: Window, when: str, units: Mapping[str, float]) -> str:
    """That most events are not in the window, or all at its beginning, and the unit that would explain it; else ""."""
    far, near = extent.end > max(_LONGEST_MS, window.end_ms), extent.end < _SHORTEST * window.end_ms
    unit = likely_unit(extent.end, window.end_ms, units, "ms") if far or near else ""
    ends = f"recordings end at {extent.end:g} ms (median)"
    lost = extent.events - extent.within
    if lost > _MOST * extent.events or (far and unit):
        share = percent(lost, extent.events)
        return f"{lost} of {extent.events} events ({share}) are not {when} and are cut off: {ends}{unit}"
    return f"{ends}, of a window {when}{unit}" if near else ""


def counted(data_dir: Path, name: str) -> list[int]:
    """How many recordings of each part are there."""
    suffix = ".npy" if name == "DVSGesture" else ".bin"
    places = [_place(data_dir, name, folder) for folder, _ in SETS[name].parts.values()]
    return [sum(path.suffix.casefold() == suffix and not is_junk(path) for path in p.glob("*/*")) for p in places]


def missing(data_dir: Path, name: str) -> list[str]:
    """The parts that are not there or not complete, in words."""
    lacking = []
    for (folder, full), n in zip(SETS[name].parts.values(), counted(data_dir, name), strict=True):
        if n < full:
            lacking.append(f"{name}/{folder}" + (f" ({n} of {full} recordings are there)" if n else ""))
    return lacking


def _place(data_dir: Path, name: str, folder: str) -> Path:
    own = data_dir / SETS[name].folder / folder
    return data_dir / folder if name == "NMNIST" and not own.is_dir() and (data_dir / folder).is_dir() else own


def _complete(data_dir: Path, name: str, part: str) -> list[Recording]:
    """All recordings of a part, which is downloaded if its folder is missing."""
    source = SETS[name]
    folder, full = source.parts[part]
    place = _place(data_dir, name, folder)
    if not place.is_dir():
        get = partial(_download, name=name, part=part, data_dir=data_dir)
        why = fetch(data_dir, place, "tonic.datasets", get)
        if why is not None:
            raise FileNotFoundError(f"{folder} is missing in {place.parent}; {why}. {_hint(source, place)}")
    recordings = source.find(place)
    if not recordings:
        other = next((path for path in sorted(place.rglob("*")) if path.is_file() and not is_junk(path)), None)
        there = f" ({other} is there, and is none)" if other else ""
        raise FileNotFoundError(
            f"{place} holds no recordings{there}, so it may be half unpacked. {_hint(source, place)}"
        )
    if len(recordings) < full:
        print(f"{name} {part}: {len(recordings)} recordings in {place}; the full set has {full}")
    return recordings


def _hint(source: Source, place: Path) -> str:
    return f"Get {place.name} from {source.page}, unpack it there, or set DATA_DIR to where it is"


def _download(tonic: Any, name: str, part: str, data_dir: Path) -> None:
    getattr(tonic, name)(save_to=str(data_dir), train=part == "train")
