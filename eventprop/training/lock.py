"""One writer at a time for the files of one ``NAME`` in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from eventprop.files import check_folder

__all__ = ["alone"]


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Nobody else writes files of this name there meanwhile; the lock goes when the process does.

    The folder is made if it is missing, and goes again if nothing was written.

    Raises:
        BlockingIOError: another process does.
        OSError: the folder cannot be used.
    """
    made = not folder.exists()
    check_folder(folder)
    path = folder / f".{name}.lock"
    lock = FileLock(path, timeout=0, is_singleton=True)
    try:
        with lock:
            try:
                yield
            finally:
                if lock.lock_counter == 1:  # a process that opened it before this looks again for the file
                    path.unlink(missing_ok=True)
                    if made:
                        with suppress(OSError):  # not empty
                            folder.rmdir()
    except Timeout:
        raise BlockingIOError(
            f'another run is writing the files of NAME="{name}" in OUT_DIR="{folder}"; wait for it, or take another '
            "NAME (CHECKPOINT_NAME names the run to load from) or OUT_DIR"
        ) from None
