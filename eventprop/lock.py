"""One writer at a time for the files of one ``NAME`` in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["alone"]


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Nobody else writes files of this name there meanwhile; the lock goes when the process does.

    Raises:
        BlockingIOError: another process does.
    """
    try:
        with FileLock(folder / f".{name}.lock", timeout=0, is_singleton=True):
            yield
    except Timeout:
        raise BlockingIOError(
            f'another run is writing the files of NAME="{name}" in OUT_DIR="{folder}"; wait for it, or take another '
            "NAME (CHECKPOINT_NAME names the run to load from) or OUT_DIR"
        ) from None
