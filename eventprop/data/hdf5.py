"""HDF5 files that may be damaged: whatever is wrong in one becomes one error that names it.

The library trusts two kinds of numbers. It walks the heaps in which lists lie by the sizes it finds there, and where
one is 0 it stays for ever. And it takes memory for a list before it looks where that lies: up to 8 GB, where its length
is damaged. So both are looked at here first.
"""

from __future__ import annotations

import errno
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from eventprop import files
from eventprop.data.download import BROKEN, kind_of

__all__ = ["Shape", "Source"]

_HEAP = b"GCOL\x01\x00\x00\x00"  # and then the size of all of it, with this head
_HEAD = 16  # bytes of the head of a heap, and of each object in it
_LIST = np.dtype([("length", "<u4"), ("heap", "<u8"), ("object", "<u4")])  # where the entries of a list lie
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
_PIECE = 1 << 24
_LARGEST = 1 << 26  # bytes of a block of entries, which may be compressed; more is possible in a file as large


@dataclass(frozen=True)
class Shape:
    """Of a dataset: dimensions, entries, and the type of what it holds (of the lists, where it holds lists)."""

    dimensions: int
    entries: int
    kind: np.dtype
    lists: bool


class Source:
    """An HDF5 file, open for reading.

    Raises:
        ValueError: it is no such file, or a damaged one; names it.
        FileNotFoundError, PermissionError, BlockingIOError: as of any file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        start = files.start_of(path)
        try:
            self._file = _open(path)
        except (FileNotFoundError, PermissionError, BlockingIOError):  # nothing is wrong with the file
            raise
        except Exception as error:  # whatever a damaged one makes of the library
            what = kind_of(start) or f"is not a readable HDF5 file ({files.why(error)}); {BROKEN}"
            raise ValueError(f"{path} {what}") from None
        try:
            with _reading(path):
                self._bytes = path.stat().st_size
                self._usual = self._file.id.get_create_plist().get_sizes() == (8, 8)  # of addresses and sizes, in bytes
                self._heaps = dict(_heaps(path)) if self._usual else {}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def shape(self, name: str) -> Shape | None:
        """None where the file has nothing of that name; without dimensions where that is no dataset."""
        import h5py

        with _reading(self.path):
            if name not in self._file:
                return None
            found = self._file[name]
            if not isinstance(found, h5py.Dataset):
                return Shape(0, 0, np.dtype("V0"), False)
            inner = None if h5py.check_string_dtype(found.dtype) else h5py.check_vlen_dtype(found.dtype)
            kind = found.dtype if inner is None else np.dtype(inner)
            entries = int(found.shape[0]) if found.ndim else 0
            if entries > self._bytes:
                raise ValueError(f"it speaks of {entries} entries in {name!r}, and has fewer bytes")
            self._check_lists(found)
            return Shape(found.ndim, entries, kind, inner is not None)

    def read(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Entries of a dataset that has a dimension."""
        import h5py

        with _reading(self.path):
            dataset = self._file[name]
            found = np.asarray(dataset[first:last])
            kind = None if h5py.check_string_dtype(dataset.dtype) else h5py.check_vlen_dtype(dataset.dtype)
            if kind is not None and not np.dtype(kind).isnative and _forgets_order():
                for number, entries in enumerate(found):
                    found[number] = entries.byteswap()
            return found

    def _check_lists(self, dataset: Any) -> None:
        """No list is longer than the heap in which it lies, or where that cannot be told, than the file."""
        import h5py

        size = dataset.dtype.itemsize
        if dataset.chunks and size * int(np.prod(dataset.chunks, dtype=float)) > max(_LARGEST, self._bytes):
            raise ValueError(f"a block of entries is {dataset.chunks} large")
        if not self._usual:
            return
        kind = dataset.id.get_type()
        if kind.get_class() == h5py.h5t.VLEN:
            each = kind.get_super().get_size()
        elif kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
            each = 1
        else:
            return
        for raw in _raw(self.path, dataset):
            entries = np.frombuffer(raw, _LIST, len(raw) // _LIST.itemsize)
            for length, heap, _ in entries[entries["length"] > 0].tolist():
                if length * each > self._heaps.get(heap + self._file.userblock_size, self._bytes):
                    raise ValueError(f"a list in {dataset.name!r} has {length} entries, more than there are")


def _open(path: Path) -> Any:
    """The file, on a drive without locks too."""
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return h5py.File(path, "r", locking=False)


@cache
def _forgets_order() -> bool:
    """Whether h5py takes lists whose numbers have their bytes in the other order as if they had not (so does 3.16)."""
    import h5py

    kind = np.dtype(np.uint16).newbyteorder()
    with h5py.File("order", "w", driver="core", backing_store=False) as file:
        lists = file.create_dataset("lists", (1,), dtype=h5py.vlen_dtype(kind))
        lists[0] = np.array([1], kind)
        return int(lists[0][0]) != 1


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever h5py raises for damaged blocks becomes an error that names the file."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} is damaged ({files.why(error)}); delete it and get it again") from None


def _raw(path: Path, dataset: Any) -> Iterator[bytes]:
    """The bytes of a dataset, block by block; none where it is stored in ways that are not known here."""
    import h5py

    known = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
    place, plan = dataset.id.get_offset(), dataset.id.get_create_plist()
    if place is not None and plan.get_layout() == h5py.h5d.CONTIGUOUS and not plan.get_external_count():
        with path.open("rb") as file:
            file.seek(place)
            yield file.read(len(dataset) * _LIST.itemsize)
    if plan.get_layout() != h5py.h5d.CHUNKED or dataset.ndim != 1:
        return
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if not known.issuperset(filters):
        return
    for number in range(dataset.id.get_num_chunks()):
        skipped, data = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(number).chunk_offset)
        for place in range(len(filters))[::-1]:
            if skipped & 1 << place:
                continue
            if filters[place] == h5py.h5z.FILTER_DEFLATE:
                data = zlib.decompress(data)
            else:
                whole = len(data) // _LIST.itemsize * _LIST.itemsize
                data = np.frombuffer(data[:whole], np.uint8).reshape(_LIST.itemsize, -1).T.tobytes()
        yield data


def _heaps(path: Path) -> Iterator[tuple[int, int]]:
    """Where heaps begin, and their sizes.

    Raises:
        ValueError: one has an object without size, which the library would look at again and again.
    """
    with path.open("rb", buffering=0) as file:
        for start in _marks(file):
            file.seek(start + len(_HEAP))
            size = int.from_bytes(file.read(8), "little")
            file.seek(start)
            heap, at = file.read(min(size, path.stat().st_size)), _HEAD
            while at + _HEAD <= len(heap):
                number, length = struct.unpack_from("<H6xQ", heap, at)
                step = (_HEAD + (length + 7 & ~7) if number else length) % (1 << 64)
                if step == 0:
                    raise ValueError(f"an object without size at byte {start + at}")
                at += step
            yield start, size


def _marks(file: IO[bytes]) -> Iterator[int]:
    """Where heaps begin; the file is read piece by piece."""
    place, kept = 0, b""
    while True:
        file.seek(place)
        piece = file.read(_PIECE)
        if not piece:
            return
        searched, before = kept + piece, place - len(kept)
        at = searched.find(_HEAP)
        while at >= 0:
            yield before + at
            at = searched.find(_HEAP, at + 1)
        place += len(piece)
        kept = piece[-len(_HEAP) + 1 :]
