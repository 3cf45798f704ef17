"""What the program keeps beside data for itself: records that tell whether they and the files beside them are whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eventprop import files

__all__ = ["checksum", "intact", "one_at_a_time", "read_record", "write_record"]

_PIECE = 1 << 24


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """A JSON file with a checksum of its own contents."""
    files.write_json(path, {**record, "checksum": _of_text(record)})


def read_record(path: Path) -> dict[str, Any] | None:
    """What was written; None where there is no such file.

    Raises:
        ValueError: it is damaged, or was changed by hand; names it.
    """
    try:
        found = json.loads(files.read_bytes(path))
        right = isinstance(found, dict) and found.pop("checksum", None) == _of_text(found)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):  # no file, no text, no JSON, or nested without end
        right = False
    if not right:
        raise ValueError(f"{path} is damaged")
    return dict(found)


def intact(folder: Path, checksums: Mapping[str, int]) -> bool:
    """Whether all these files are there and have these checksums."""
    try:
        return all(checksum(folder / name) == value for name, value in checksums.items())
    except (FileNotFoundError, ValueError):
        return False


def checksum(path: Path) -> int:
    """CRC-32 of a whole file, which it reads piece by piece.

    Raises:
        ValueError: it is no file; names it.
    """
    files.check_regular(path)
    value = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            value = zlib.crc32(piece, value)
    return value


@contextmanager
def one_at_a_time(lock: Path, what: str) -> Iterator[None]:
    """No other process does the same meanwhile; a line says so where one has to be waited for.

    Args:
        lock: file, whose folder is made if it is missing.
        what: what is done, for that line: "Another process is <what>".

    Raises:
        OSError: the folder cannot be written, or is on a drive without locks.
    """
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(f"Another process is {what}; waiting for it")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _of_text(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())
