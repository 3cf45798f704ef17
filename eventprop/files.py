"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["append_bytes", "check_folder", "write_array", "write_bytes", "write_json", "write_text"]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of the system that names no file (a full disk's does not) names this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to the disk, then rename it to ``path``.

    The temporary name is fixed, so what a killed process left is overwritten by the next one.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with _named(path), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_bytes(path: Path, data: bytes) -> int:
    """Add ``data`` to the end of a file, which is made if it is missing, and flush it to the disk; where it begins.

    Where that fails, what was written of it is taken away again.
    """
    with _named(path), path.open("ab", buffering=0) as file:
        first, left = file.seek(0, os.SEEK_END), memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(first)
            raise
    return first


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """``array`` in NumPy's own format, without pickling."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def check_folder(folder: Path) -> None:
    """Make ``folder`` and see that a file can be written there.

    Raises:
        OSError: names OUT_DIR and why it cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f'OUT_DIR="{folder}" cannot be written: {error.strerror or error}') from None
