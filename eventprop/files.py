"""Files that are either the old one or the new one, never half of each; and settings that people write by hand."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["check_folder", "read_json", "read_text", "read_toml", "write_array", "write_bytes", "write_json"]
__all__ += ["write_text"]

_MOST = 16 << 20  # bytes of settings
_MARKS = {  # UTF-32's mark of this order begins as UTF-16's does
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to the disk, then rename it to ``path``.

    The temporary name is fixed, so what a killed process left is overwritten by the next one.

    Raises:
        OSError: names ``path``, as a full disk does not.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from None
        raise


def _sync(descriptor: int) -> None:
    """Flush to the disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


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
    """Make ``folder`` and see that something can be written there.

    Raises:
        OSError: names OUT_DIR and why it cannot be used.
    """
    try:
        if folder.is_symlink() and not folder.exists():
            raise FileNotFoundError(f"it is a link to {os.readlink(folder)}, which is not there")
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError("it is a file, not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\n" * 4096)
    except OSError as error:
        raise OSError(f'OUT_DIR="{folder}" cannot be written: {error.strerror or error}') from None


def read_text(path: Path) -> str:
    """The text of a file of settings: UTF-8, or what its byte order mark says.

    Raises:
        OSError: there is no such file, or it cannot be read; a pipe or a device is not waited for.
        ValueError: it is no text. All name the file.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{path} is a folder, and a file is needed")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is a pipe or a device, and a file is needed")
    if found.st_size > _MOST:
        raise ValueError(f"{path} is no file of settings: it has {found.st_size >> 20} MB")
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}") from None


def read_json(path: Path) -> Any:
    """What the JSON file holds.

    Raises:
        OSError, ValueError: as :func:`read_text`, and where it is not JSON.
    """
    return _parsed(json.loads, path, f"{path} is not a JSON file")


def read_toml(path: Path) -> dict[str, Any]:
    """What the TOML file holds.

    Raises:
        OSError, ValueError: as :func:`read_text`, and where it is not TOML.
    """
    return dict(_parsed(tomllib.loads, path, f"{path}"))


def _parsed(parse: Callable[[str], Any], path: Path, problem: str) -> Any:
    text = read_text(path)
    try:
        return parse(text)
    except RecursionError:
        raise ValueError(f"{problem}: it is nested too deeply") from None
    except ValueError as error:  # also of numbers with thousands of digits
        raise ValueError(f"{problem}: {error}") from None
