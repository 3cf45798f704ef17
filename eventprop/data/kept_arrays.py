"""Arrays that take long to make, kept on disk and mapped into memory, so that they are made once.

What they are made of has a folder ``<prefix>_<name>_<hash>`` of plain ``.npy`` arrays and ``about.json``, which holds
all that the hash is of, what else is to be known, and a checksum of each array and of itself. The folder appears whole
or not at all; one whose contents are not those of the checksums is made anew.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from eventprop import files
from eventprop.data import kept

__all__ = ["ArrayCache", "Found", "Source", "cache_prefix", "write_streams"]

_HEADER = 128  # bytes of a .npy file before its values


class Found(NamedTuple):
    """Arrays by name, and what else is known of them."""

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


class Source(NamedTuple):
    """What arrays are made of.

    Attributes:
        file: what they are of, for people.
        name: of their folder.
        key: all that enters them, as JSON has it.
    """

    file: str
    name: str
    key: Mapping[str, Any]


Write = Callable[[Path], Mapping[str, Any]]
"""What makes arrays, as files of a folder; what it returns is kept with them."""


class ArrayCache:
    """Arrays under one prefix.

    Args:
        prefix: folder, which is made if it is missing, and beginning of the name of each source's own folder.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self._writable = True

    def folder(self, source: Source) -> Path:
        digest = hashlib.sha256(json.dumps(source.key, sort_keys=True).encode()).hexdigest()[:16]
        return self.prefix.with_name(f"{self.prefix.name}_{source.name}_{digest}")

    def find(self, source: Source, damaged: str | None = "is damaged and is made anew") -> Found | None:
        """What is kept; None where it is not there or not as it was written, which is told as ``damaged``."""
        folder = self.folder(source)
        if not os.path.isdir(folder):  # which is False for a name that is too long, too
            return None
        try:
            about = kept.read_record(folder / "about.json")
            if about is None or about["key"] != source.key or not kept.intact(folder, about["checksums"]):
                raise ValueError
            return Found({Path(name).stem: _mapped(folder / name) for name in about["checksums"]}, about)
        except (OSError, ValueError):
            if damaged is not None:
                print(f"{folder} {damaged}")
            return None

    def make(self, source: Source, write: Write, size: int) -> Found | None:
        """Make what is not there, and keep it; None where it cannot be kept, which a line says once.

        Args:
            size: bytes that it may take.
        """
        if not self._writable:
            return None
        try:
            return self._build(self.folder(source), source, write, size)
        except OSError as error:
            self._writable = False
            print(f"Binned spikes cannot be kept at {self.prefix} ({error.strerror or error}): they stay in memory")
            return None

    def _build(self, folder: Path, source: Source, write: Write, size: int) -> Found | None:
        """Fill ``folder``, unless another process has done that meanwhile."""
        lock = self.prefix.with_name(f".{self.prefix.name}.lock")
        with kept.one_at_a_time(lock, f"binning spikes for {self.prefix}"):
            if (found := self.find(source, damaged=None)) is not None:
                return found
            for left in folder.parent.glob(f".{glob.escape(self.prefix.name)}_*.part"):  # by processes that were killed
                shutil.rmtree(left)
            if shutil.disk_usage(folder.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            temporary = folder.with_name(f".{folder.name}.part")
            try:
                temporary.mkdir()
                known = write(temporary)
                sums = {array.name: kept.checksum(array) for array in sorted(temporary.glob("*.npy"))}
                kept.write_record(temporary / "about.json", {"key": source.key, **known, "checksums": sums})
                if folder.exists():
                    shutil.rmtree(folder)
                temporary.rename(folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        total = sum(_size(other) for other in folder.parent.glob(f"{glob.escape(self.prefix.name)}_*/"))
        print(
            f"Binned spikes of {source.file} are kept in {folder} ({_size(folder) / 1e6:.1f} MB; all folders "
            f"{self.prefix}_*: {total / 1e6:.1f} MB; they can be deleted at any time)"
        )
        return self.find(source)


def cache_prefix(data_dir: str, name: str) -> Path:
    """Prefix of the folders in which binned spikes of a data set are kept.

    They are beside its files if ``data_dir`` is the project's own (``./data``), or if some are there already; and in
    the user's cache folder if it is another, which may belong to others.
    """
    beside = Path(data_dir) / name / f"my{name}"
    if os.path.abspath(data_dir) == os.path.abspath("data") or any(beside.parent.glob(f"{beside.name}_*/")):
        return beside
    folder = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:12]
    return files.cache_folder() / "spikes" / folder / beside.name


def write_streams(
    folder: Path,
    kinds: Mapping[str, type[np.generic]],
    fill: Callable[[Mapping[str, IO[bytes]]], tuple[np.ndarray, Any]],
) -> Any:
    """Write arrays of one length piece by piece, so that they are never in memory as a whole, and ``offsets``.

    Args:
        kinds: types of the arrays by name.
        fill: appends the arrays' values to binary files, and returns the offsets of samples in them and what else
            there is, which is returned.
    """
    with ExitStack() as opened:
        streams = {name: opened.enter_context((folder / f"{name}.npy").open("wb")) for name in kinds}
        for stream in streams.values():
            stream.write(bytes(_HEADER))
        offsets, rest = fill(streams)
        for name, stream in streams.items():
            stream.seek(0)
            stream.write(_header(int(offsets[-1]), kinds[name]))
            stream.flush()
            os.fsync(stream.fileno())
    files.write_array(folder / "offsets.npy", offsets)
    return rest


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _header(n: int, kind: type[np.generic]) -> bytes:
    """Beginning of a ``.npy`` file of ``n`` numbers, always of the same length."""
    words = f"{{'descr': '{np.dtype(kind).str}', 'fortran_order': False, 'shape': ({n},), }}"
    start = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
    return start + words.encode().ljust(_HEADER - 11) + b"\n"


def _mapped(path: Path) -> np.ndarray:
    """Large arrays are mapped into memory, so that only what is used of them takes space."""
    if path.stem in ("steps", "channels", "at"):
        with suppress(OSError):  # a drive that cannot be mapped
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return files.read_array(path)
