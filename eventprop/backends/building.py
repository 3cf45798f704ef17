"""Builds that others may try at the same time, and that may be killed at any moment.

A build of ``place`` holds the lock ``place.lock``, which goes with its process however that ends: what lies there
without anybody who holds the lock was left by a process that is dead, on whatever machine of a shared drive it ran.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from eventprop.terminal import note

__all__ = ["FINISHED", "alone_with", "build_folder", "run"]

FINISHED = "built.json"
"""A folder that is kept has this file; one without it is an unfinished build."""

_LOCK = re.compile(r"(engine|genn)_[0-9a-f]{24}\.lock")
_LONGEST_S = 1800.0  # a build that takes longer is not waited for
# Ends the whole process group, and removes the folder, when the other end of the pipe that is its input closes, as it
# does at the end of this process, whatever ends it.
_GUARDED = """
exec 9<&0 </dev/null
folder=$1
shift
(trap "" TERM; read -r _ <&9; kill -TERM 0; rm -rf -- "$folder") >/dev/null 2>&1 & guard=$!
"$@" 9<&-
status=$?
{ kill -KILL "$guard"; wait "$guard"; } 2>/dev/null
exit "$status"
"""


@contextlib.contextmanager
def alone_with(place: Path) -> Iterator[None]:
    """Nobody else builds ``place`` meanwhile: another process that does is waited for.

    On a drive that knows no locks, and after a very long time, it goes on all the same.
    """
    lock = FileLock(f"{place}.lock")
    try:
        lock.acquire(timeout=1.0)
    except Timeout:
        note("Waiting for another process that builds the same code ...")
        with contextlib.suppress(Timeout, OSError):
            lock.acquire(timeout=_LONGEST_S)
    except (OSError, NotImplementedError):
        pass
    try:
        if lock.is_locked:
            _remove_unfinished(place)
        _remove_leftovers(place.parent, place.name)
        yield
    finally:
        if lock.is_locked:
            _unlock(lock)


def _unlock(lock: FileLock) -> None:
    """Release a lock; whoever has opened its file before it goes looks for it again."""
    with contextlib.suppress(OSError):
        os.unlink(lock.lock_file)
    lock.release()


def _remove_leftovers(folder: Path, own: str) -> None:
    """Remove what builds left whose process is dead."""
    for path in folder.glob("*.lock"):
        if not _LOCK.fullmatch(path.name) or path.stem == own:
            continue
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.0)
        except (Timeout, OSError, NotImplementedError):
            continue  # somebody builds there
        _remove_unfinished(folder / path.stem)
        _unlock(lock)


def _remove_unfinished(place: Path) -> None:
    for left in (place, *place.parent.glob(f"{place.name}.*.building")):
        if left.is_dir() and not (left / FINISHED).exists():
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def build_folder(place: Path) -> Iterator[Path]:
    """A folder beside ``place`` for what a build makes on the way; it goes with it."""
    folder = tempfile.mkdtemp(".building", f"{place.name}.", place.parent)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without input and take what it prints, errors too; it and its children end with this process.

    Args:
        folder: where it works, also for its temporary files; it is removed if this process ends before the command.

    Raises:
        OSError: it cannot be started.
    """
    there, here = os.pipe()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED, "sh", str(folder), *command],
            stdin=there,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": str(folder)},
            start_new_session=True,
        )
        try:
            printed, _ = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    finally:
        os.close(there)
        os.close(here)
    return subprocess.CompletedProcess(list(command), process.returncode, printed)
