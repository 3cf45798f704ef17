"""Binned spikes of a file, kept on disk and mapped into memory, so that a large file is binned once.

Each file and grid has a folder ``<prefix>_<file>_<hash>`` of plain ``.npy`` arrays and ``about.json``, which holds all
that the hash is of, the names of the classes, how far the recordings reach, and a checksum of each array and of itself.
The folder appears whole or not at all; one whose contents are not those of the checksums is made anew.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.data import kept
from eventprop.data.dataset import Part
from eventprop.data.extent import Extent
from eventprop.data.shd_files import Contents, Grid, Recordings, read_file

__all__ = ["SpikeCache"]

_LAYOUT = 2  # of the folder, and of the rule by which spikes are binned; another number for another one
_HEADER = 128  # bytes of a .npy file before its values
_NOT_NUMBERS = ("true_times", "alignment", "num_channels", "clock")  # of a grid: in a key only where they say something


class SpikeCache:
    """Binned spikes of files under one prefix.

    Args:
        prefix: folder, which is made if it is missing, and beginning of the name of each file's own folder.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self._writable = True

    def read(self, path: Path, grid: Grid, speakers: bool = True) -> Contents:
        """All samples of a file: as they are kept, else binned now and kept.

        Where they cannot be kept, a line says so, and they are in memory. The file itself is not opened if it has the
        name, size and time of change that it had when its spikes were kept.

        Args:
            speakers: whether speakers are read, where the file names them.

        Raises:
            ValueError: names file, sample and what is wrong in it.
        """
        key = _key(path, grid, speakers)
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.prefix.with_name(f"{self.prefix.name}_{path.stem}_{digest}")
        found = _load(folder, grid, key)
        if found is None and self._writable:
            try:
                found = self._build(folder, path, grid, speakers, key)
            except OSError as error:
                self._writable = False
                print(f"Binned spikes cannot be kept at {self.prefix} ({error.strerror or error}): they stay in memory")
        return read_file(path, grid, speakers) if found is None else found

    def _build(self, folder: Path, path: Path, grid: Grid, speakers: bool, key: Mapping[str, Any]) -> Contents | None:
        """Bin the file into ``folder``, unless another process has done that meanwhile."""
        lock = self.prefix.with_name(f".{self.prefix.name}.lock")
        with kept.one_at_a_time(lock, f"binning spikes for {self.prefix}"):
            if (found := _load(folder, grid, key, damaged=None)) is not None:
                return found
            for left in folder.parent.glob(f".{glob.escape(self.prefix.name)}_*.part"):  # by processes that were killed
                shutil.rmtree(left)
            if shutil.disk_usage(folder.parent).free < path.stat().st_size:  # which its spikes may take
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            temporary = folder.with_name(f".{folder.name}.part")
            try:
                temporary.mkdir()
                _write(temporary, path, grid, speakers, key)
                if folder.exists():
                    shutil.rmtree(folder)
                temporary.rename(folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        total = sum(_size(other) for other in folder.parent.glob(f"{glob.escape(self.prefix.name)}_*/"))
        print(
            f"Binned spikes of {path.name} are kept in {folder} ({_size(folder) / 1e6:.1f} MB; all folders "
            f"{self.prefix}_*: {total / 1e6:.1f} MB; they can be deleted at any time)"
        )
        return _load(folder, grid, key)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _key(path: Path, grid: Grid, speakers: bool) -> dict[str, Any]:
    """Everything that enters the arrays."""
    status = path.stat()
    return {
        "layout": _LAYOUT,
        "file": path.name,
        "size": status.st_size,
        "changed": status.st_mtime_ns,
        **{name: float(value) for name, value in asdict(grid).items() if name not in _NOT_NUMBERS},
        **({"true_times": True} if grid.true_times else {}),
        **({"alignment": asdict(grid.alignment)} if grid.alignment else {}),
        **({"clock": grid.clock} if grid.clock else {}),
        "channels": grid.num_channels,
        "speakers": speakers,
    }


def _write(folder: Path, path: Path, grid: Grid, speakers: bool, key: Mapping[str, Any]) -> None:
    """Stream the file's binned spikes into arrays, so that they are never in memory as a whole."""
    with Recordings(path, speakers) as file:
        with ExitStack() as opened:
            streams = {name: opened.enter_context((folder / f"{name}.npy").open("wb")) for name in grid.arrays}
            for stream in streams.values():
                stream.write(bytes(_HEADER))
            offsets, extent = file.write_spikes(grid, streams)
            for name, stream in streams.items():
                stream.seek(0)
                stream.write(_header(int(offsets[-1]), grid.arrays[name]))
                stream.flush()
                os.fsync(stream.fileno())
        files.write_array(folder / "offsets.npy", offsets)
        files.write_array(folder / "labels.npy", file.labels)
        if file.speakers is not None:
            files.write_array(folder / "speakers.npy", file.speakers)
    sums = {array.name: kept.checksum(array) for array in sorted(folder.glob("*.npy"))}
    about = {"key": key, "classes": list(file.class_names), "extent": asdict(extent), "checksums": sums}
    kept.write_record(folder / "about.json", about)


def _header(n: int, kind: type[np.generic]) -> bytes:
    """Beginning of a ``.npy`` file of ``n`` numbers, always of the same length."""
    words = f"{{'descr': '{np.dtype(kind).str}', 'fortran_order': False, 'shape': ({n},), }}"
    start = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
    return start + words.encode().ljust(_HEADER - 11) + b"\n"


def _load(
    folder: Path, grid: Grid, key: Mapping[str, Any], damaged: str | None = "is damaged and is made anew"
) -> Contents | None:
    """What a folder holds; None where it is not there or not as it was written, which is told as ``damaged``."""
    if not os.path.isdir(folder):  # which is False for a name that is too long, too
        return None
    try:
        about = kept.read_record(folder / "about.json")
        if about is None or about["key"] != key or not kept.intact(folder, about["checksums"]):
            raise ValueError
        arrays = {Path(name).stem: _mapped(folder / name) for name in about["checksums"]}
    except (OSError, ValueError):
        if damaged is not None:
            print(f"{folder} {damaged}")
        return None
    spikes = grid.set_of(arrays["offsets"], arrays)
    part = Part(spikes, arrays["labels"], arrays.get("speakers"))
    return Contents(part, tuple(about["classes"]), Extent(**about["extent"]))


def _mapped(path: Path) -> np.ndarray:
    """Large arrays are mapped into memory, so that only what is used of them takes space."""
    if path.stem in ("steps", "channels", "at"):
        with suppress(OSError):  # a drive that cannot be mapped
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return files.read_array(path)
