"""Recordings of event cameras as they lie in folders: DVS128 Gesture (``.npy``) and N-MNIST (``.bin``).

``ibmGestureTrain/user<number>_<lighting>/<label>.npy`` holds an array ``(events, 4)``: x, y, polarity, and time in
**milliseconds**. ``Train/<label>/<number>.bin`` holds 40 bits per event: 8 of x, 8 of y, 1 of polarity and 23 of time
in microseconds, most significant first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eventprop import files
from eventprop.data.download import BROKEN, is_junk

__all__ = ["Events", "Recording", "find_gestures", "find_nmnist", "read_bin", "read_npy"]

GESTURE_SIDE, GESTURES = 128, 11
NMNIST_SIDE, DIGITS = 34, 10
_LONGEST_MS = 600_000.0  # of gestures; they take up to 18 s
_OVERFLOW_Y, _OVERFLOW_US = 240, 1 << 13  # a marker in the place of an event: all later times are larger by this


@dataclass(frozen=True)
class Events:
    """Events of a recording, in the order of their times.

    ``x``, ``y`` and ``polarity`` (0 or 1) are ``(events,)`` int64, ``times_ms`` ``(events,)`` float64.
    """

    x: np.ndarray
    y: np.ndarray
    polarity: np.ndarray
    times_ms: np.ndarray


@dataclass(frozen=True)
class Recording:
    """Where a recording lies, what is in it, and of whom (None where that is not known)."""

    path: Path
    label: int
    user: int | None = None
    lighting: str = ""


def find_gestures(folder: Path) -> list[Recording]:
    """Recordings in DVS128 Gesture's layout, by user, lighting and label, in whatever order the disk has them.

    Raises:
        ValueError: names a folder that is not called ``user<number>_<lighting>``, or a file whose name is no label.
    """
    found = []
    for place in _folders(folder):
        named = re.fullmatch(r"user(\d+)_(.+)", place.name)
        if named is None:
            raise ValueError(f"{place} is not called user<number>_<lighting>, as folders of DVS128 Gesture are")
        for path in _files(place, ".npy"):
            label = _label(path.stem, GESTURES, path)
            found.append(Recording(path, label, int(named[1]), named[2]))
    return sorted(found, key=lambda r: (r.user, r.lighting, r.label, r.path))


def find_nmnist(folder: Path) -> list[Recording]:
    """Recordings in N-MNIST's layout, by label and name.

    Raises:
        ValueError: names a folder that is not called by a digit.
    """
    return [
        Recording(path, _label(place.name, DIGITS, place))
        for place in sorted(_folders(folder), key=lambda place: (len(place.name), place.name))
        for path in sorted(_files(place, ".bin"), key=lambda path: (len(path.name), path.name))
    ]


def read_npy(path: Path) -> Events:
    """A recording of DVS128 Gesture.

    Raises:
        ValueError: names the file and what is wrong in it.
    """
    try:
        rows = files.read_array(path)
    except ValueError as error:
        raise ValueError(f"{error}; {BROKEN}") from None
    if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
        raise ValueError(
            f"{path} holds {rows.dtype} of shape {rows.shape}, not numbers of shape (events, 4): x, y, polarity and "
            "time in ms"
        )
    if not np.isfinite(rows).all() or (rows[:, :3] != np.floor(rows[:, :3])).any():
        raise ValueError(f"{path}: x, y and polarity must be whole numbers, and times finite")
    x, y, polarity = (rows[:, column].astype(np.int64) for column in range(3))
    times = rows[:, 3].astype(np.float64)
    if times.max(initial=0) > _LONGEST_MS:
        raise ValueError(
            f"{path}: the last event is at {times.max():g} ms, and no recording is as long as ten minutes; times "
            "must be milliseconds, and these look like microseconds"
        )
    return _checked(path, Events(x, y, polarity, times), GESTURE_SIDE)


def read_bin(path: Path) -> Events:
    """A recording of N-MNIST.

    Raises:
        ValueError: names the file and what is wrong in it.
    """
    data = np.frombuffer(files.read_bytes(path), np.uint8)
    if data.size == 0:
        raise ValueError(f"{path} is empty; {BROKEN}")
    if data.size % 5:
        raise ValueError(f"{path} has {data.size} bytes, which is no multiple of the 5 of an event; {BROKEN}")
    x, y, high, middle, low = data.reshape(-1, 5).T.astype(np.int64)
    marker = y == _OVERFLOW_Y
    times_us = ((high & 127) << 16) + (middle << 8) + low + _OVERFLOW_US * np.cumsum(marker)
    event = ~marker
    return _checked(path, Events(x[event], y[event], high[event] >> 7, times_us[event] / 1000.0), NMNIST_SIDE)


def _checked(path: Path, events: Events, side: int) -> Events:
    """The events, which are all on the sensor and in the order of their times."""
    for name, values, most in (("x", events.x, side - 1), ("y", events.y, side - 1), ("polarity", events.polarity, 1)):
        wrong = (values < 0) | (values > most)
        if wrong.any():
            number = int(wrong.argmax())
            raise ValueError(f"{path}: {name} of event {number} is {values[number]}, not one of 0 to {most}")
    times = events.times_ms
    if times.size and times[0] < 0:
        raise ValueError(f"{path}: the first event is at {times[0]:g} ms, before the recording")
    backwards = np.diff(times) < 0
    if backwards.any():
        number = int(backwards.argmax()) + 1
        raise ValueError(
            f"{path}: time runs backwards at event {number}, from {times[number - 1]:g} to {times[number]:g} ms"
        )
    return events


def _label(text: str, classes: int, path: Path) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) >= classes:
        raise ValueError(f"{path} must be called by its label, 0 to {classes - 1}")
    return int(text)


def _folders(folder: Path) -> Iterator[Path]:
    """Folders in a folder, or in the one of the same name in it, but what systems leave there; in any order."""
    found = [path for path in folder.iterdir() if path.is_dir() and not is_junk(path)]
    if len(found) == 1 and found[0].name.casefold() == folder.name.casefold():
        return _folders(found[0])
    return iter(found)


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.casefold() == suffix and not is_junk(path))
