"""DEMO: synthetic spoken-digit-like spikes in SHD's file layout, made from a seed in seconds.

Each of 20 words is a sequence of three sounds; in a sound, two or three formants (bands of channels) move on
straight lines, and a broad burst marks its beginning. Word ``c + 10`` is word ``c`` played backwards: both have the
same spike counts in each channel, so only a classifier that uses time tells them apart. Ten speakers differ in
channel shift and tempo; samples vary in both, in loudness, in missing formants and in noise.

``complete.json`` beside the files holds the version of this module's recipe, seed and sizes, and checksums of the
files; those of another version, and damaged ones, are made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.data import kept
from eventprop.data.dataset import Dataset, Part
from eventprop.data.shd import load_shd
from eventprop.data.shd_files import NUM_CHANNELS, Grid, write_shd
from eventprop.streams import stream

__all__ = ["FOLDER", "class_names", "load_demo", "make_demo", "make_part"]

FOLDER = "DEMO"
CLASSES, SPEAKERS = 20, 10
SIZES = {"train": 2000, "test": 500}
_SEED = 20210
_VERSION = 1  # of the samples; another number for other samples
_DONE = "complete.json"
_SOUNDS, _FORMANTS = 3, 3
_BLOCK = 250  # samples made at a time

Samples = list[tuple[np.ndarray, np.ndarray]]


def load_demo(data_dir: str | Path, grid: Grid, write: bool = True) -> Dataset:
    """The data set, made on first use and kept in ``<data_dir>/DEMO`` unless ``write`` is False.

    Files that are damaged or of another version are made anew; several processes may do this at once. Where they cannot
    be kept, a line says so, and the data set is in memory.

    Args:
        grid: how the spikes are binned.
    """
    folder = Path(data_dir) / FOLDER
    recipe, whole = _there(folder)
    if not whole and write:
        try:
            with _alone(folder):
                recipe, whole = _there(folder)  # another process may have made it meanwhile
                if not whole:
                    _make(folder, **recipe)
            whole = True
        except OSError as error:
            print(f"{FOLDER} cannot be kept in {folder} ({files.why(error)}): it stays in memory")
    if whole:
        return load_shd(data_dir, grid, folder=FOLDER)
    seed, sizes = recipe["seed"], recipe["sizes"]
    train, test = (_binned(*make_part(part, sizes[part], seed), grid) for part in SIZES)
    return Dataset(FOLDER, train, test, NUM_CHANNELS, CLASSES, class_names())


def make_demo(data_dir: str | Path, seed: int = _SEED, n_train: int | None = None, n_test: int | None = None) -> None:
    """Make ``<data_dir>/DEMO/shd_train.h5`` and ``shd_test.h5``, in place of any that are there.

    ``load_demo`` then reads these, whatever their seed and size.

    Args:
        seed: of all samples, words and speakers.
        n_train, n_test: samples of the parts, 2000 and 500 where None; half of the words need 10.

    Raises:
        ValueError: a part without samples.
        OSError: the folder cannot be written.
    """
    sizes = {
        "train": SIZES["train"] if n_train is None else n_train,
        "test": SIZES["test"] if n_test is None else n_test,
    }
    if min(sizes.values()) < 1:
        raise ValueError(f"n_train and n_test must be at least 1, got {sizes['train']} and {sizes['test']}")
    folder = Path(data_dir) / FOLDER
    with _alone(folder):
        _make(folder, seed, sizes)


def class_names() -> tuple[str, ...]:
    """Names of the 20 words; word c + 10 is word c backwards."""
    return tuple([f"word {c}" for c in range(10)] + [f"word {c} backwards" for c in range(10)])


def _alone(folder: Path) -> AbstractContextManager[None]:
    """One process at a time writes in the folder, which is made."""
    return kept.one_at_a_time(folder / ".lock", f"making {folder}")


def _make(folder: Path, seed: int, sizes: Mapping[str, int]) -> None:
    """Write both files, and then what tells that they are whole; whoever calls is alone."""
    print(f"Making the DEMO data set in {folder}")
    (folder / _DONE).unlink(missing_ok=True)
    for part, n in sizes.items():
        samples, labels, speakers = make_part(part, n, seed)
        write_shd(folder / _file(part), samples, labels, speakers, class_names())
    sums = {_file(part): kept.checksum(folder / _file(part)) for part in sizes}
    recipe = {"version": _VERSION, "seed": seed, "sizes": dict(sizes)}
    kept.write_record(folder / _DONE, {**recipe, "checksums": sums})


def _there(folder: Path) -> tuple[dict[str, Any], bool]:
    """Seed and sizes of what is in the folder, else those of the data set; and whether it is whole."""
    recipe: dict[str, Any] = {"seed": _SEED, "sizes": SIZES}
    try:
        found = kept.read_record(folder / _DONE)
        if found is None or found["version"] != _VERSION:
            return recipe, False
        recipe = {"seed": found["seed"], "sizes": found["sizes"]}
        if kept.intact(folder, found["checksums"]):
            return recipe, True
        print(f"{folder} is damaged")
    except ValueError as error:
        print(error)
    return recipe, False


def _file(part: str) -> str:
    return f"shd_{part}.h5"


def _binned(samples: Samples, labels: np.ndarray, speakers: np.ndarray, grid: Grid) -> Part:
    times = np.concatenate([t for t, _ in samples])
    units = np.concatenate([u for _, u in samples])
    offsets = np.concatenate([[0], np.cumsum([t.size for t, _ in samples])])
    return Part(grid.spikes(times, units, offsets), labels.astype(np.int32), speakers.astype(np.int32))


def make_part(part: str, n: int, seed: int = _SEED) -> tuple[Samples, np.ndarray, np.ndarray]:
    """Samples of a part, "train" or "test".

    A block of samples has its own stream of randomness, ``[seed, part, first sample]``.

    Returns:
        Times (seconds, float16, ascending) and units (uint16) of each sample; labels and speakers, ``(n,)``.
    """
    rng = stream(seed, part)
    labels = rng.permutation(np.arange(n) % CLASSES)
    speakers = rng.permutation(np.arange(n) % SPEAKERS)
    samples: Samples = []
    for first in range(0, n, _BLOCK):
        block = slice(first, min(n, first + _BLOCK))
        samples += _make_block(stream(seed, part, first), words(seed), labels[block], speakers[block], seed)
    return samples, labels, speakers


def words(seed: int) -> np.ndarray:
    """Formants of the words, ``(class, sound, formant, 2)``: channel at the sound's start and end."""
    rng = stream(seed, "words")
    base = np.array([120.0, 320.0, 540.0])
    starts = base + rng.uniform(-95, 95, (CLASSES // 2, _SOUNDS, _FORMANTS))
    ends = np.clip(starts + rng.uniform(-110, 110, starts.shape), 30, 670)
    forwards = np.stack([starts, ends], axis=-1)
    return np.concatenate([forwards, forwards[:, ::-1, :, ::-1]])


def _make_block(
    rng: np.random.Generator, formants: np.ndarray, labels: np.ndarray, speakers: np.ndarray, seed: int
) -> Samples:
    """Spikes of some samples, drawn all at once: each spike has a sound, a formant and a place in both."""
    voice = stream(seed, "speakers")
    shift, tempo = voice.uniform(-28, 28, SPEAKERS), voice.uniform(0.85, 1.15, SPEAKERS)
    n = len(labels)
    counts = np.clip(rng.normal(4300, 700, n), 2500, 6500).astype(int)
    sample = np.repeat(np.arange(n), counts)
    total = sample.size
    loudness = rng.uniform(0.35, 1.0, (n, _SOUNDS, _FORMANTS)) * (rng.random((n, _SOUNDS, _FORMANTS)) > 0.08)
    loudness += 1e-3
    share = (loudness / loudness.sum(axis=(1, 2), keepdims=True)).reshape(n, -1).cumsum(axis=1)
    choice = np.minimum((rng.random(total)[:, None] > share[sample]).sum(axis=1), _SOUNDS * _FORMANTS - 1)
    sound, formant = choice // _FORMANTS, choice % _FORMANTS
    place = rng.random(total)
    burst = rng.random(total) < 0.08
    place[burst] = rng.beta(1.0, 25.0, int(burst.sum()))
    ends = formants[labels[sample], sound, formant]
    width = np.where(burst, 60.0, 16.0) * rng.standard_normal(total)
    channel = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * place + width
    channel += (shift[speakers] + rng.normal(0, 8, n))[sample]
    length = rng.uniform(0.85, 1.15, (n, _SOUNDS)) * 0.19
    begin = 0.02 + np.cumsum(length + 0.02, axis=1) - length - 0.02
    time = (begin[sample, sound] + length[sample, sound] * place) * (tempo[speakers] * rng.normal(1, 0.04, n))[sample]
    noise = rng.random(total) < 0.12
    time[noise] = rng.uniform(0, 0.65, int(noise.sum()))
    channel[noise] = rng.uniform(0, NUM_CHANNELS, int(noise.sum()))
    units = np.floor(channel)
    keep = (units >= 0) & (units < NUM_CHANNELS) & (time >= 0)
    time, units, sample = time[keep].astype(np.float16), units[keep].astype(np.uint16), sample[keep]
    order = np.lexsort((time, sample))
    edges = np.searchsorted(sample, np.arange(1, n))
    return list(zip(np.split(time[order], edges), np.split(units[order], edges), strict=True))
