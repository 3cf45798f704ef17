"""The Spiking Heidelberg Digits and the Spiking Speech Commands (Cramer et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from eventprop.dataset import Dataset, Part
from eventprop.download import by_tonic
from eventprop.shd_files import NUM_CHANNELS, Contents, Grid, read_file, write_shd
from eventprop.spike_cache import SpikeCache

__all__ = ["BUFFER", "FILES", "NUM_CHANNELS", "Grid", "cache_prefix", "load_shd", "load_ssc", "write_shd"]

FILES = {
    "SHD": {"train": "shd_train.h5", "test": "shd_test.h5"},
    "SSC": {"train": "ssc_train.h5", "validation": "ssc_valid.h5", "test": "ssc_test.h5"},
}
"""Names of the files by data set and part."""
SSC_CLASSES = 35
BUFFER = "./data/SSC/mySSC"
_WORTH_KEEPING = 32_000_000  # bytes; a smaller file of SHD's layout is binned in less than a second
_PAGE = (
    "the Heidelberg spiking data sets page, zenkelab.org/resources/spiking-heidelberg-datasets-shd/ "
    "(files: zenkelab.org/datasets/)"
)

Read = Callable[[Path], Contents]


def load_shd(data_dir: str | Path, grid: Grid, cache: Path | None = None, folder: str = "SHD") -> Dataset:
    """``<data_dir>/<folder>/shd_train.h5`` and ``shd_test.h5``; the latter is read when it is used.

    Files of SHD that are missing are downloaded by tonic where it is installed. There are as many classes as the
    training file's ``extra/keys`` has names, or else as the highest label of both files says.

    Args:
        grid: how the spikes are binned.
        cache: prefix of the folders in which binned spikes are kept; None to keep none, and all in memory. Those of
            files below 32 MB are not kept.
        folder: folder in ``data_dir`` and name of the data set; only "SHD" is downloaded.

    Raises:
        FileNotFoundError: names the missing file and where to get it; nothing has been read then.
        ValueError: names file, sample and what is wrong in it; of the test file, when that is read.
    """
    paths = {part: Path(data_dir) / folder / name for part, name in FILES["SHD"].items()}
    _complete(paths, Path(data_dir), folder)
    read = _reader(grid, cache if paths["train"].stat().st_size >= _WORTH_KEEPING else None)
    first = read(paths["train"])
    classes = len(first.class_names)
    if not classes:
        classes = int(max(first.part.labels.max(), read(paths["test"]).part.labels.max())) + 1
    return _dataset(folder, paths, read, first, classes)


def load_ssc(data_dir: str | Path, grid: Grid, cache: Path | None = None) -> Dataset:
    """``<data_dir>/SSC/ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5``; the latter two are read when used.

    Files that are missing are downloaded by tonic where it is installed. There are as many classes as the training
    file's ``extra/keys`` has names, or else 35. Speakers are not read.

    Args:
        grid: how the spikes are binned.
        cache: prefix of the folders in which binned spikes are kept; None to keep none, and all in memory.

    Raises:
        FileNotFoundError: names the missing files and where to get them; nothing has been read then.
        ValueError: names file, sample and what is wrong in it; of validation and test file, when these are read.
    """
    paths = {part: Path(data_dir) / "SSC" / name for part, name in FILES["SSC"].items()}
    _complete(paths, Path(data_dir), "SSC")
    read = _reader(grid, cache, speakers=False)
    first = read(paths["train"])
    return _dataset("SSC", paths, read, first, len(first.class_names) or SSC_CLASSES)


def cache_prefix(p: Mapping[str, Any]) -> Path | None:
    """Prefix of the folders in which binned spikes are kept, by the parameters; None where nothing may be written.

    Of SSC it is ``DATA_BUFFER_NAME``, whose default follows ``DATA_DIR``; of SHD ``<DATA_DIR>/SHD/mySHD``.
    """
    if not p["WRITE_TO_DISK"]:
        return None
    name = p["DATA_SET"]
    if name == "SSC" and p["DATA_BUFFER_NAME"] != BUFFER:
        return Path(p["DATA_BUFFER_NAME"])
    return Path(p["DATA_DIR"]) / name / f"my{name}"


def _reader(grid: Grid, cache: Path | None, speakers: bool = True) -> Read:
    if cache is None:
        return partial(read_file, grid=grid, speakers=speakers)
    return partial(SpikeCache(cache).read, grid=grid, speakers=speakers)


def _dataset(name: str, paths: Mapping[str, Path], read: Read, first: Contents, classes: int) -> Dataset:
    """The data set whose training part has been read, and whose other parts are read when they are used."""

    def part(which: str, contents: Contents | None = None) -> Part:
        found = (contents or read(paths[which])).part
        if found.labels.max() >= classes:
            number = int(found.labels.argmax())
            label = found.labels[number]
            raise ValueError(f"{paths[which]}: label {label} of sample {number} is not one of 0 to {classes - 1}")
        return found

    validation = partial(part, "validation") if "validation" in paths else None
    train, test = part("train", first), partial(part, "test")
    return Dataset(name, train, test, NUM_CHANNELS, classes, first.class_names, validation)


def _complete(paths: Mapping[str, Path], data_dir: Path, name: str) -> None:
    """Have tonic download the files that are missing; else say which these are, before any is read."""
    for part, path in paths.items():
        if path.is_file():
            continue
        why: str | None = "only SHD and SSC can be downloaded"
        if name in FILES:
            why = by_tonic(path, "tonic.datasets", partial(_download, name=name, part=part, folder=str(data_dir)))
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
