"""What a run has left so far, epoch by epoch, in one file that only ever grows: history, collected arrays, recordings.

An entry is a line of JSON, and behind it the bytes of an array where it has one. A checkpoint does not repeat what the
journal holds: it says which ranges of the file are its own and their checksum (a :class:`Mark`). What a killed run left
behind its last checkpoint lies between such ranges and is passed over, so nothing that an older checkpoint speaks of is
ever cut off or written over, and the cost of an epoch does not depend on how many there were before.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from eventprop import files

__all__ = ["Entry", "Journal", "Mark", "read"]

_MOST_HEAD = 1 << 20  # bytes of an entry's line of JSON


@dataclass(frozen=True)
class Mark:
    """What of a journal belongs to a checkpoint.

    Attributes:
        file: its name; it lies beside the checkpoint.
        ranges: first byte and the one behind the last of each part, ascending.
        checksum: CRC-32 of these parts, one after the other.
    """

    file: str
    ranges: tuple[tuple[int, int], ...] = ()
    checksum: int = 0

    @classmethod
    def of(cls, value: Any) -> Mark:
        """A mark from its plain form, as :func:`dataclasses.asdict` and JSON give it.

        Raises:
            ValueError, TypeError, KeyError: it has another form.
        """
        ranges = tuple((int(first), int(last)) for first, last in value["ranges"])
        bounds = [bound for part in ranges for bound in part]
        if not isinstance(value["file"], str) or Path(value["file"]).name != value["file"] or bounds != sorted(bounds):
            raise ValueError("the mark in the journal has another form")
        if bounds and bounds[0] < 0:
            raise ValueError("the mark in the journal begins before it")
        return cls(value["file"], ranges, int(value["checksum"]))


@dataclass(frozen=True)
class Entry:
    """Something that a run left: ``kind`` and ``name`` say what; a record or an array."""

    kind: str
    name: str
    record: Mapping[str, Any]
    array: np.ndarray | None = None


class Journal:
    """The journal of a run that writes.

    Args:
        folder: where it is; made by others.
        mark: what it holds already of this run, as its checkpoint says; only the file's name for a new run.
    """

    def __init__(self, folder: Path, mark: Mark) -> None:
        self.path = folder / mark.file
        self.mark = mark
        self._waiting: list[bytes] = []

    def add(self, kind: str, name: str, value: Mapping[str, Any] | np.ndarray) -> None:
        """Keep a record or an array for the next :meth:`commit`."""
        head: dict[str, Any] = {"kind": kind, "name": name}
        data = b""
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            head |= {"dtype": array.dtype.str, "shape": list(value.shape)}
            data = array.tobytes()
        else:
            head["record"] = dict(value)
        self._waiting += [json.dumps(head).encode() + b"\n", data]

    def commit(self) -> Mark:
        """Append what was added, flush it to the disk, and return the mark of all that is there now."""
        data, self._waiting = b"".join(self._waiting), []
        if data:
            first = files.append_bytes(self.path, data)
            ranges = [*self.mark.ranges, (first, first + len(data))]
            if len(ranges) > 1 and ranges[-2][1] == first:
                ranges[-2:] = [(ranges[-2][0], first + len(data))]
            self.mark = Mark(self.mark.file, tuple(ranges), zlib.crc32(data, self.mark.checksum))
        return self.mark


def read(folder: Path, mark: Mark) -> Iterator[Entry]:
    """What ``mark`` speaks of, in the order in which it was added.

    Raises:
        ValueError: the file is missing, shorter, or not what it was; names it.
    """
    path = folder / mark.file
    if not mark.ranges:
        return
    try:
        with path.open("rb") as file:
            checksum = 0
            for first, last in mark.ranges:
                checksum = _checksum(file, first, last, checksum)
            if checksum != mark.checksum:
                raise ValueError("its bytes are not those that were written")
            for first, last in mark.ranges:
                file.seek(first)
                while file.tell() < last:
                    yield _entry(file)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise ValueError(
            f"{path} {why}; it holds the history and recordings of the epochs so far, and a run goes on with it only. "
            "Put it back as it was, or start anew without LOAD_LAST and LOAD_BEST: the weights are in the checkpoint "
            "and in the flat arrays beside it"
        ) from None


def _checksum(file: BinaryIO, first: int, last: int, value: int) -> int:
    """CRC-32 of a part of a file, going on from ``value``."""
    file.seek(first)
    left = last - first
    while left:
        piece = file.read(min(left, 1 << 24))
        if not piece:
            raise ValueError(f"it ends before byte {last}")
        value = zlib.crc32(piece, value)
        left -= len(piece)
    return value


def _entry(file: BinaryIO) -> Entry:
    head = json.loads(file.readline(_MOST_HEAD))
    array = None
    if "dtype" in head:
        dtype, shape = np.dtype(head["dtype"]), tuple(head["shape"])
        array = np.frombuffer(file.read(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)
    return Entry(head["kind"], head["name"], head.get("record", {}), array)
