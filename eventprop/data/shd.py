"""The Spiking Heidelberg Digits and the Spiking Speech Commands (Cramer et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.data import kept_arrays
from eventprop.data.dataset import Dataset, Part
from eventprop.data.download import fetch
from eventprop.data.extent import PER_SECOND, likely_unit, percent
from eventprop.data.shd_files import NUM_CHANNELS, Contents, Grid, read_file, write_shd
from eventprop.data.spike_cache import SpikeCache

__all__ = ["BUFFER", "FILES", "NUM_CHANNELS", "Grid", "cache_prefix", "load_files", "load_shd", "load_ssc"]
__all__ += ["write_shd"]

FILES = {
    "SHD": {"train": "shd_train.h5", "test": "shd_test.h5"},
    "SSC": {"train": "ssc_train.h5", "validation": "ssc_valid.h5", "test": "ssc_test.h5"},
}
"""Names of the files by data set and part."""
SSC_CLASSES = 35
BUFFER = "./data/SSC/mySSC"
_LONGEST_S = 10.0  # recordings are of words; longer ones are rather in another unit
_SHORTEST = 0.003  # of a trial; where all spikes come before that, too
_WORTH_KEEPING = 32_000_000  # bytes; a smaller file of SHD's layout is binned in less than a second
_PAGE = (
    "the Heidelberg spiking data sets page, zenkelab.org/resources/spiking-heidelberg-datasets-shd/ "
    "(files: zenkelab.org/datasets/)"
)

Read = Callable[[Path], Contents]


def load_shd(data_dir: str | Path, grid: Grid, cache: Path | None = None, folder: str = "SHD") -> Dataset:
    """``<data_dir>/<folder>/shd_train.h5`` and ``shd_test.h5``; the latter is read when it is used.

    Files of SHD that are missing are downloaded by tonic where it is installed. There are as many classes as the
    training file's ``extra/keys`` has names (or else the test file's), or else as the highest label of both files says.
    Labels of the test file go by the names of the training file where both have names.

    Args:
        grid: how the spikes are binned.
        cache: prefix of the folders in which binned spikes are kept; None to keep none, and all in memory. Those of
            files below 32 MB are not kept.
        folder: folder in ``data_dir`` and name of the data set; only "SHD" is downloaded.

    Raises:
        FileNotFoundError: names the missing file and where to get it; nothing has been read then.
        ValueError: names file, sample and what is wrong in it, or that nothing of it is in the trial; of the test file,
            when that is read.
    """
    paths = {part: Path(data_dir) / folder / name for part, name in FILES["SHD"].items()}
    _complete(paths, Path(data_dir), folder)
    return load_files(paths, grid, cache, folder)


def load_files(
    paths: Mapping[str, Path], grid: Grid, cache: Path | None, name: str, num_classes: int | None = None
) -> Dataset:
    """Files of SHD's layout that are there, as :func:`load_shd`.

    Args:
        paths: by part, "train" and "test"; a test file that is also the training file is read once.
        name: of the data set.
        num_classes: None for as many as files have names or labels.
    """
    read = _reader(grid, cache if paths["train"].stat().st_size >= _WORTH_KEEPING else None)
    first = read(paths["train"])
    classes = num_classes or len(first.class_names)
    if not classes:
        test = first if paths["test"] == paths["train"] else read(paths["test"])
        first = replace(first, class_names=test.class_names)
        classes = len(test.class_names) or int(max(first.part.labels.max(), test.part.labels.max())) + 1
    return _dataset(name, paths, read, first, classes, grid.num_channels)


def load_ssc(data_dir: str | Path, grid: Grid, cache: Path | None = None) -> Dataset:
    """``<data_dir>/SSC/ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5``; the latter two are read when used.

    Files that are missing are downloaded by tonic where it is installed. There are as many classes as the training
    file's ``extra/keys`` has names, or else 35. Labels of the other files go by the training file's names where they
    have names, too. Speakers are not read.

    Args:
        grid: how the spikes are binned.
        cache: prefix of the folders in which binned spikes are kept; None to keep none, and all in memory.

    Raises:
        FileNotFoundError: names the missing files and where to get them; nothing has been read then.
        ValueError: names file, sample and what is wrong in it, or that nothing of it is in the trial; of validation and
            test file, when these are read.
    """
    paths = {part: Path(data_dir) / "SSC" / name for part, name in FILES["SSC"].items()}
    _complete(paths, Path(data_dir), "SSC")
    read = _reader(grid, cache, speakers=False)
    first = read(paths["train"])
    return _dataset("SSC", paths, read, first, len(first.class_names) or SSC_CLASSES)


def cache_prefix(data_dir: str, name: str, buffer: str) -> Path:
    """Prefix of the folders in which binned spikes are kept: of SSC ``buffer`` (``DATA_BUFFER_NAME``) where that is not
    left as it is, else as :func:`eventprop.data.kept_arrays.cache_prefix`."""
    return Path(buffer) if name == "SSC" and buffer != BUFFER else kept_arrays.cache_prefix(data_dir, name)


def _reader(grid: Grid, cache: Path | None, speakers: bool = True) -> Read:
    keep = read_file if cache is None else SpikeCache(cache).read

    def read(path: Path) -> Contents:
        contents = keep(path, grid, speakers)
        _check_times(path, contents, grid)
        return contents

    return read


def _check_times(path: Path, contents: Contents, grid: Grid) -> None:
    """Times may be in another unit than seconds, or beyond the trial: what is cut off is told.

    Raises:
        ValueError: nothing is left.
    """
    extent, n = contents.extent, len(contents.part.labels)
    if extent.events == 0:
        raise ValueError(f"{path}: none of its {n} samples has a spike")
    if grid.alignment is not None:
        return _check_aligned(path, contents, grid)
    scaled = "" if grid.rescale_t == 1 else f" and RESCALE_T={grid.rescale_t:g}"
    trial = f"the trial (TRIAL_MS={grid.trial_ms:g}{scaled})"
    ends = f"samples end at {extent.end:g} s (median)"
    far = extent.end > max(_LONGEST_S, grid.end_s)
    unit = likely_unit(extent.end, grid.end_s, PER_SECOND, "s") if far else ""
    own = grid.own_spikes(contents.part.spikes)
    if own.sum() == 0:
        right = f"'spikes/times' must be in seconds{unit}"
        raise ValueError(f"{path}: none of its {extent.events} spikes is before the end of {trial}: {ends}; {right}")
    lost = extent.events - extent.within
    if 2 * lost > extent.events:
        share = percent(lost, extent.events)
        print(f"{path}: {lost} of {extent.events} spikes ({share}) come after {trial} and are cut off: {ends}{unit}")
    elif extent.end < _SHORTEST * grid.end_s:
        print(f"{path}: spikes are all at the very beginning of {trial}: {ends}; 'spikes/times' must be in seconds")
    empty = int((own == 0).sum())
    if 2 * empty > n:
        print(f"{path}: {empty} of {n} samples have no spikes before the end of {trial}; they are kept, without input")


def _check_aligned(path: Path, contents: Contents, grid: Grid) -> None:
    """Aligned times may fit whatever unit they had; then only what is left of them tells anything."""
    end, trial_s = contents.extent.end, 1e-3 * grid.trial_ms
    known = grid.alignment is not None and grid.alignment.needs_unit
    if known and not _SHORTEST * trial_s <= end <= max(_LONGEST_S, trial_s):
        unit = likely_unit(end, trial_s, PER_SECOND, "s")
        print(f"{path}: samples end at {end:g} s (median); 'spikes/times' must be in seconds{unit}")
    left, events = int(grid.own_spikes(contents.part.spikes).sum()), contents.extent.events
    if 2 * left < events:
        lost = f"{events - left} of {events} spikes ({percent(events - left, events)})"
        print(f"{path}: {lost} are before or after the trial by ALIGN_MS and TRIAL_MS, or share a step and a channel")


def _dataset(
    name: str, paths: Mapping[str, Path], read: Read, first: Contents, classes: int, channels: int = NUM_CHANNELS
) -> Dataset:
    """The data set whose training part has been read, and whose other parts are read when they are used."""

    def part(which: str, contents: Contents | None = None) -> Part:
        found = contents or read(paths[which])
        labels, known = found.part.labels, len(found.class_names) or classes
        if labels.max() >= known:
            number = int(labels.argmax())
            raise ValueError(
                f"{paths[which]}: label {labels[number]} of sample {number} is not one of 0 to {known - 1}"
            )
        if first.class_names and found.class_names:
            order = _order(paths[which], found.class_names, paths["train"], first.class_names)
            labels = labels if order is None else order[labels]
        return replace(found.part, labels=labels)

    validation = partial(part, "validation") if "validation" in paths else None
    train, test = part("train", first), partial(part, "test")
    return Dataset(name, train, test, channels, classes, first.class_names, validation)


def _order(path: Path, names: Sequence[str], train: Path, wanted: Sequence[str]) -> np.ndarray | None:
    """Number of each of a file's classes among the training file's, by their names; None where they are the same.

    Raises:
        ValueError: they have other names, or several the same.
    """
    if tuple(names) == tuple(wanted):
        return None
    if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
        other = next(f"{a!r} and {b!r}" for a, b in zip_longest(names, wanted) if a != b)
        raise ValueError(
            f"{path} and {train} must have the same classes in 'extra/keys'; they have {len(names)} and "
            f"{len(wanted)}, and the first that differ are {other}"
        )
    print(f"{path} names its classes in another order than {train}: its labels are taken by name")
    return np.array([list(wanted).index(name) for name in names], np.int32)


def _complete(paths: Mapping[str, Path], data_dir: Path, name: str) -> None:
    """Have tonic download the files that are missing; else say which these are, before any is read."""
    for part, path in paths.items():
        if path.is_file():
            continue
        get = partial(_download, name=name, part=part, folder=str(data_dir)) if name in FILES else None
        why = fetch(data_dir, path, "tonic.datasets", get)
        if why is not None:
            raise FileNotFoundError(_missing(path, paths, why))


def _missing(path: Path, paths: Mapping[str, Path], why: str) -> str:
    others = [other.name for other in paths.values() if other != path and not other.is_file()]
    also = f", and so {'is' if len(others) == 1 else 'are'} {' and '.join(others)}" if others else ""
    return (
        f"{path.name} is missing in {path.parent}{also}; {why}. Get it from {_PAGE}, unpack it and put it there, "
        'or set DATA_DIR to where it is; DATA_SET="DEMO" needs no download'
    )


def _download(tonic: Any, name: str, part: str, folder: str) -> None:
    if name == "SHD":
        tonic.SHD(save_to=folder, train=part == "train")
    else:
        tonic.SSC(save_to=folder, split="valid" if part == "validation" else part)
