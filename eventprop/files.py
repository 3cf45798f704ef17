"""Files that are either the old one or the new one, never half of each; and what is read, whole or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

__all__ = [
    "cache_folder",
    *("append_bytes", "check_folder", "check_regular", "read_archive", "read_array", "read_bytes", "start_of", "why"),
    *("write_array", "write_bytes", "write_json", "write_text"),
]

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


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
            _sync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(descriptor: int) -> None:
    """Flush to the disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
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
            _sync(file.fileno())
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


def check_regular(path: Path) -> None:
    """See that ``path`` is a file, or a link to one: to open a pipe would wait for ever, and a device has no end.

    Raises:
        ValueError: it is something else; names it.
        FileNotFoundError, PermissionError: as of any file.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, ValueError) as error:  # a link to itself, a name too long, a zero byte in it
        raise ValueError(f"{path} cannot be read: {why(error)}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, and must be a file")


def read_bytes(path: Path) -> bytes:
    """All of a file.

    Raises:
        ValueError: it is no file, or the disk cannot read it; names it.
        FileNotFoundError, PermissionError: as of any file.
    """
    check_regular(path)
    try:
        return path.read_bytes()
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, MemoryError) as error:
        raise ValueError(f"{path} cannot be read: {why(error)}") from None


def start_of(path: Path, size: int = 64) -> bytes:
    """The first bytes of a file, by which its kind is known; raises what :func:`read_bytes` does."""
    check_regular(path)
    with path.open("rb") as file:
        return file.read(size)


def read_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, which holds that and nothing else, without pickles.

    Raises:
        ValueError: it is no such file, or damaged; names it.
        FileNotFoundError, PermissionError: as of any file.
    """
    data = read_bytes(path)
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python's parser, about a damaged header
            array = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except Exception as error:  # the header is a Python expression, and damaged it can raise whatever its parser can
        what = why(error) if data else "it is empty"
        raise ValueError(
            f"{path} is no readable .npy file ({what}): it must hold one array, as numpy.save writes it"
        ) from None
    if stream.tell() != len(data):
        raise ValueError(
            f"{path} is damaged: its head speaks of an array of shape {array.shape}, behind which there are "
            f"{len(data) - stream.tell()} bytes too many"
        )
    return array


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file by name, without pickles; each is held against the archive's own checksum.

    Raises:
        ValueError: it is no such file, or damaged; names it.
        FileNotFoundError, PermissionError: as of any file.
    """
    data = read_bytes(path)
    try:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                entry.filename.removesuffix(".npy"): np.asarray(
                    np.lib.format.read_array(io.BytesIO(archive.read(entry)), allow_pickle=False)
                )
                for entry in archive.infolist()
            }
    except Exception as error:  # whatever a damaged archive, or a damaged header in it, can raise
        raise ValueError(f"{path} is no readable .npz file ({why(error)})") from None


def why(error: BaseException) -> str:
    """What an error says, as part of a line: without its number and file, and not without end."""
    words = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    shown = "".join(c if c.isprintable() else " " for c in words)
    shown = " ".join(shown.split()).rstrip(".")
    return shown if len(shown) <= 200 else f"{shown[:200]} ..."


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


def cache_folder() -> Path:
    """Where built code is kept, an absolute path; ``EVENTPROP_CACHE`` overrides the user's cache folder."""
    named = os.environ.get("EVENTPROP_CACHE") or platformdirs.user_cache_dir("genn-eventprop", appauthor=False)
    return Path(os.path.abspath(os.path.expanduser(named)))
