"""Missing files, downloaded by tonic where it is installed; what lies there instead; what is said of broken ones."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eventprop.files import start_of

__all__ = ["BROKEN", "fetch", "is_junk", "kind_of"]

BROKEN = "it may be a broken download: delete it and get it again"
_PACKED = ("gz", "tgz", "zip", "bz2", "xz", "7z", "tar", "rar")
_UNFINISHED = ("part", "partial", "download", "crdownload", "tmp")
_DEEPEST, _MOST = 3, 5000  # folders below the first, and entries that are looked at
_KINDS = (
    (b"\x1f\x8b", "is compressed by gzip: unpack it, so that the file itself lies there"),
    (b"PK\x03\x04", "is a zip archive: unpack it, so that the file itself lies there"),
    (b"BZh", "is compressed by bzip2: unpack it, so that the file itself lies there"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it, so that the file itself lies there"),
    (b"<", f"is a web page and not the file: {BROKEN}"),
    (b"version https://git-lfs", "is a pointer of Git LFS and not the file: git lfs pull brings it"),
)


def fetch(data_dir: Path, place: Path, module: str = "", get: Callable[[Any], object] | None = None) -> str | None:
    """Have tonic download a missing file or folder, unless something like it lies in ``data_dir``.

    What is packed or unfinished in its very folder may be of an earlier download, which tonic goes on with.

    Args:
        place: where the file or folder should be.
        module: the part of tonic that can do it.
        get: downloads, given that module; None where nothing can.

    Returns:
        Why it is not there, and what lies there instead; None where it is there now.
    """
    there = _lookalikes(data_dir, place)
    if data_dir.exists() and not data_dir.is_dir():
        return f"{data_dir} is no folder"
    said = [_advice(path, place) for path in there]
    if get is not None and all(path.parent == place.parent and _is_leftover(path, place) for path in there):
        why = _by_tonic(place, module, get)
        if why is None:
            return None
        said.append(why)
    return "; ".join(said) or f"{place.parent.name} cannot be downloaded"


def _by_tonic(path: Path, module: str, get: Callable[[Any], object]) -> str | None:
    """Download ``path``; returns why that did not work."""
    try:
        tonic = importlib.import_module(module)
    except ImportError:
        return "tonic, which would download it, is not installed (pip install tonic)"
    except Exception as error:  # whatever is wrong with tonic's own installation
        return f"tonic, which would download it, cannot be imported: {type(error).__name__}: {error}"
    print(f"{path} is missing; downloading it")
    try:
        get(tonic)
    except Exception as error:  # whatever the network or the server says
        return f"the download by tonic failed: {type(error).__name__}: {error}"
    return None if path.exists() else "the download by tonic did not bring it"


def kind_of(data: bytes) -> str | None:
    """What a file is by its first bytes, where it is none of data, and what to do with it; None elsewhere."""
    if not data:
        return f"is empty; {BROKEN}"
    start = data[:64].lstrip()
    return next((what for mark, what in _KINDS if start.startswith(mark)), None)


def is_junk(path: Path) -> bool:
    """Whether a file or folder is what systems leave everywhere: hidden, or of one of these names."""
    names = ("__MACOSX", "Thumbs.db", "desktop.ini", "lost+found", "System Volume Information", "Icon\r")
    return path.name.startswith((".", "$", "@ea")) or path.name.casefold() in {name.casefold() for name in names}


def _lookalikes(data_dir: Path, place: Path) -> list[Path]:
    """Files and folders with a name like that of ``place`` but for letters' case and endings, the nearest first; and
    packed ones like the folder in which it should be."""
    near = list(_near(data_dir))
    found = [path for path in near if _core(path.name) == _core(place.name)]
    found = found or [path for path in near if _is_packed(path) and _core(path.name) == _core(place.parent.name)]
    return sorted(found, key=lambda path: (path != place, len(path.parts), path))[:3]


def _near(folder: Path) -> Iterator[Path]:
    """What lies in a folder and in those in it, nearest first, but for those that cannot be read."""
    level, left = [folder], _MOST
    for _ in range(_DEEPEST + 1):
        deeper: list[Path] = []
        for place in level:
            try:
                entries = [path for path in sorted(place.iterdir())[:left] if not is_junk(path)]
                deeper += [path for path in entries if path.is_dir()]
            except OSError:
                continue
            left -= len(entries)
            yield from entries
        level = deeper


def _core(name: str) -> str:
    """A name without letters' case, endings of packed and unfinished files, and the variants of MNIST's and HDF5's."""
    core = name.casefold()
    endings = "|".join((*_PACKED, *_UNFINISHED, "h5", "hdf5"))
    while (shorter := re.sub(rf"(\.({endings})| ?\(\d+\))$", "", core)) != core:
        core = shorter
    return core.replace(".idx", "-idx")


def _is_packed(path: Path) -> bool:
    return path.suffix[1:].casefold() in _PACKED and not path.is_dir()


def _is_leftover(path: Path, place: Path) -> bool:
    """Whether a name is that of a packed file, as ``place`` is not, or of an unfinished one."""
    return path.suffix[1:].casefold() in _PACKED + _UNFINISHED and path.suffix.casefold() != place.suffix


def _advice(path: Path, place: Path) -> str:
    """What lies there instead, and what to do with it."""
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to what is not there"
    kind = None
    if path == place and not place.suffix:
        return f"{path} is there, and is a file and no folder"
    if not path.is_dir():
        try:
            kind = kind_of(start_of(path))
        except (OSError, ValueError) as error:
            return str(error)
    elif place.suffix:
        return f"{path} is there, and is a folder and no file"
    if _is_leftover(path, place):
        if path.suffix[1:].casefold() in _UNFINISHED:
            return f"{path} is there, an unfinished download"
        if kind or not place.suffix or path.suffix.casefold() not in (".gz", ".bz2", ".xz"):
            return f"{path} is there: unpack it, or delete it if it is broken"
        return f"{path} is there, and is not compressed, whatever its name says: call it {place}"
    if kind and place.suffix != ".gz":
        return f"{path} {kind}"
    moved = path.name == place.name and path.parent.name == place.parent.name
    away = f", or set DATA_DIR to {path.parent.parent}" if moved else ""
    anywhere = place.suffix == ".gz" and path.parent != place.parent  # compressed or not
    return f"{path} is there, and should be {f'in {place.parent}' if anywhere else place}{away}"
