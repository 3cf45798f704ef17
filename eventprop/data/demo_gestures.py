"""DEMO of the gesture benchmark: moving discs before an event camera, in DVS128 Gesture's own layout.

A disc that moves makes events of polarity 1 on its leading edge and of 0 on its trailing one. The hands of a class
follow its paths; users have a place, size and speed of their own, lightings their noise. Everything is drawn from one
seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from eventprop import files
from eventprop.data import dvs, kept
from eventprop.data.dataset import Dataset
from eventprop.data.dvs_files import GESTURE_SIDE, GESTURES, Events, Recording
from eventprop.streams import stream

__all__ = ["FOLDER", "load_demo", "make_demo", "rows"]

FOLDER = "DEMO_gestures"
LIGHTINGS = {"fluorescent": 0.15, "led": 0.08, "natural": 0.03}
"""Share of events that are noise, by lighting."""
_SEED = 2017
USERS = {"train": range(1, 13), "test": range(24, 29)}
_PARTS = {part: folder for part, (folder, _) in dvs.SETS["DVSGesture"].parts.items()}
_DONE = "complete.json"
_EVENTS = (2500, 4000)
_DURATION_MS = 1000
_EDGE = 1.2  # s.d. (pixels) of events around an edge

Movement = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _circle(x: float, y: float, way: int, ahead: float = 0.0, radius: float = 18.0) -> Movement:
    return lambda a: (x + radius * np.cos(way * a + ahead), y + radius * np.sin(way * a + ahead))


def _line(x: float, y: float, dx: float, dy: float, ahead: float = 0.0) -> Movement:
    return lambda a: (x + dx * np.sin(a + ahead), y + dy * np.sin(a + ahead))


_LEFT, _MIDDLE, _RIGHT = 92.0, 64.0, 36.0  # of the person, who faces the camera
_HANDS: tuple[tuple[Movement, ...], ...] = (
    (_line(48, 60, 12, 0), _line(80, 60, -12, 0)),
    (_line(_RIGHT, 44, 16, 4),),
    (_line(_LEFT, 44, 16, 4),),
    (_circle(_RIGHT, 60, 1),),
    (_circle(_RIGHT, 60, -1),),
    (_circle(_LEFT, 60, 1),),
    (_circle(_LEFT, 60, -1),),
    (_circle(_MIDDLE, 72, 1, radius=12), _circle(_MIDDLE, 72, 1, np.pi, 12)),
    (_line(46, 80, 0, 14), _line(82, 80, 0, 14, np.pi)),
    (_line(54, 86, 4, 14), _line(96, 56, 4, -2)),
    (_line(_MIDDLE, 30, 26, 10),),
)
"""Paths of the hands of each class, at the phase of the movement."""


def load_demo(data_dir: str | Path, window: dvs.Window, write: bool = True) -> Dataset:
    """``<data_dir>/DEMO_gestures``, made if it is not there, or damaged; without ``write`` it is made in memory.

    So it is, with a line, where it cannot be kept.
    396 training and 165 test recordings of one second, of users 1 to 12 and 24 to 28.
    """
    source = dvs.SETS["DVSGesture"]
    folder = Path(data_dir) / FOLDER
    found = {part: recordings(folder, part) for part in USERS}
    whole = _whole(folder)
    if not whole and write:
        try:
            make_demo(folder)
            whole = True
        except OSError as error:
            print(f"DEMO cannot be kept in {folder} ({files.why(error)}): it stays in memory")
    if whole:
        return dvs.dataset("DEMO", source, found, lambda recording: source.read(recording.path), window)
    return dvs.dataset("DEMO", source, found, _events, window)


def make_demo(folder: Path) -> None:
    """Write all recordings into a folder, unless they are there; one process at a time does.

    Raises:
        OSError: the folder cannot be written.
    """
    with kept.one_at_a_time(folder / ".lock", f"making {folder}"):
        if _whole(folder, told=False):
            return
        print(f"Making the DEMO gestures in {folder}")
        (folder / _DONE).unlink(missing_ok=True)
        made = [recording for part in USERS for recording in recordings(folder, part)]
        for recording in made:
            recording.path.parent.mkdir(parents=True, exist_ok=True)
            recording.path.unlink(missing_ok=True)  # which may be no file any more
            np.save(recording.path, rows(recording))  # whole once complete.json is there
        sums = {r.path.relative_to(folder).as_posix(): kept.checksum(r.path) for r in made}
        kept.write_record(folder / _DONE, {"seed": _SEED, "checksums": sums})


def _whole(folder: Path, told: bool = True) -> bool:
    """Whether all recordings are in the folder as they were made; a line says so where they were and are not now."""
    try:
        found = kept.read_record(folder / _DONE)
        if found is None or kept.intact(folder, found["checksums"]):
            return found is not None
        damage = f"{folder} is damaged"
    except ValueError as error:
        damage = str(error)
    if told:
        print(damage)
    return False


def recordings(folder: Path, part: str, users: Sequence[int] | None = None) -> list[Recording]:
    """The recordings of a part, "train" or "test", by user, lighting and label."""
    return [
        Recording(folder / _PARTS[part] / f"user{user:02}_{lighting}" / f"{label}.npy", label, user, lighting)
        for user in users or USERS[part]
        for lighting in LIGHTINGS
        for label in range(GESTURES)
    ]


def rows(recording: Recording, seed: int = _SEED) -> np.ndarray:
    """Events of a recording, ``(events, 4)`` int16: x, y, polarity, time in ms."""
    assert recording.user is not None
    user = stream(seed, "user", recording.user)
    shift, size = user.uniform(-7, 7, 2), user.uniform(6, 9)
    tempo = user.uniform(0.8, 1.25)
    rng = stream(seed, recording.lighting, recording.user, recording.label)
    n = int(rng.integers(*_EVENTS))
    times = np.sort(rng.uniform(0, _DURATION_MS, n))
    phase = 2 * np.pi * (times / 500 * tempo * rng.uniform(0.9, 1.1) + rng.random())
    shift = shift + rng.normal(0, 2, 2)
    hands = _HANDS[recording.label]
    hand = rng.integers(0, len(hands), n)
    centres = np.stack([np.stack(path(phase)) for path in hands])  # (hand, 2, event)
    later = np.stack([np.stack(path(phase + 1e-3)) for path in hands])
    at = (hand, slice(None), np.arange(n))
    centre, velocity = centres[at], (later - centres)[at]
    polarity = rng.integers(0, 2, n)
    angle = np.arctan2(velocity[:, 1], velocity[:, 0]) + rng.uniform(-0.5, 0.5, n) * np.pi + np.pi * (1 - polarity)
    place = centre + shift + size * np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(0, _EDGE, (n, 2))
    noise = rng.random(n) < LIGHTINGS[recording.lighting]
    place[noise] = rng.uniform(0, GESTURE_SIDE, (int(noise.sum()), 2))
    pixels = np.clip(np.floor(place), 0, GESTURE_SIDE - 1)
    return np.column_stack([pixels, polarity, np.floor(times)]).astype(np.int16)


def _events(recording: Recording) -> Events:
    x, y, polarity, times = rows(recording).T
    return Events(x.astype(np.int64), y.astype(np.int64), polarity.astype(np.int64), times.astype(np.float64))
