"""Which data a number needs, and in which folder they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eventprop.data import dvs, mnist, shd

__all__ = ["DATA_SETS", "DataSet", "find"]


@dataclass(frozen=True)
class DataSet:
    """A data set that numbers are measured on.

    Attributes:
        about: what it is.
        lacks: what is missing in a DATA_DIR, in words; empty where nothing is.
    """

    about: str
    lacks: Callable[[Path], str]


def _recordings(folder: Path, files: Iterable[str], counts: Sequence[int]) -> str:
    """Files in SHD's layout, told apart by their numbers of samples."""
    import h5py

    for file, count in zip(files, counts, strict=True):
        path = folder / file
        if not path.is_file():
            return f"{file} is not in {folder}"
        try:
            with h5py.File(path) as held:
                n = len(held["labels"])
        except (OSError, KeyError) as error:
            return f"{path} cannot be read: {error}"
        if n != count:
            return f"{path} has {n} samples, not {count}: another data set"
    return ""


def _of_shd(name: str, *counts: int) -> Callable[[Path], str]:
    files = [f"{name}/{file}" for file in shd.FILES[name].values()]
    return lambda folder: _recordings(folder, files, counts)


def _mnist(folder: Path) -> str:
    missing = [name for name in mnist.FILES if mnist.find(folder, name) is None]
    return f"{', '.join(missing)} not in {folder / 'MNIST'}" if missing else ""


def _cameras(name: str, *counts: int) -> Callable[[Path], str]:
    def lacks(folder: Path) -> str:
        found = dvs.counted(folder, name)
        if found == list(counts):
            return ""
        there, wanted = (" and ".join(map(str, numbers)) for numbers in (found, counts))
        return f"{there} recordings of {name} in {folder}, not {wanted}"

    return lacks


DATA_SETS = {
    "none": DataSet("is made by the program", lambda folder: ""),
    "MNIST": DataSet("MNIST's four files", _mnist),
    "FSDD": DataSet("FSDD digits as spikes in SHD's layout, 1,800 and 700", _of_shd("SHD", 1800, 700)),
    "SHD": DataSet("SHD: 8,156 and 2,264 recordings", _of_shd("SHD", 8156, 2264)),
    "SSC": DataSet("SSC: 75,466, 9,981 and 20,382 recordings", _of_shd("SSC", 75466, 9981, 20382)),
    "N-MNIST 1000": DataSet("1,000 and 100 recordings of N-MNIST", _cameras("NMNIST", 1000, 100)),
    "N-MNIST": DataSet("N-MNIST, whole", _cameras("NMNIST", 60000, 10000)),
    "DVS128 Gesture": DataSet("DVS128 Gesture, whole", _cameras("DVSGesture", 1077, 264)),
}
"""By the name that the table has for them."""


def find(name: str, folders: Sequence[Path]) -> tuple[Path | None, str]:
    """The first folder with a data set; or None, and what is missing in the folders."""
    lacking = []
    for folder in folders:
        if not (lack := DATA_SETS[name].lacks(folder)):
            return folder, ""
        lacking.append(lack)
    return None, "; ".join(lacking)
