"""One run of a scan, in its own process: ``python -m eventprop.scans.run FOLDER``.

The folder holds ``settings.json`` (simulator, mode, ``p``, maybe a launcher of several processes and what is measured
in the end). ``status.json`` says how it stands: "waiting", "running", "finished" or "failed", with message and seconds.
A run that is finished is left alone, one that was killed goes on from its checkpoint. The system takes a lock back from
a dead process: so a run that is running is told from one that was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from eventprop import files, texts
from eventprop.ranks import Ranks, world
from eventprop.reproduce import measure
from eventprop.scans.points import NAME
from eventprop.simulators import registry
from eventprop.terminal import entry

__all__ = ["FINISHED", "is_running", "launch", "log_path", "settle", "status"]

WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "finished", "failed"
_STATES = (WAITING, RUNNING, FINISHED, FAILED)
_KINDS = {"state": str, "message": str, "seconds": int | float}
_EVER = 1e12
_TAKEN, _STOPPED = 75, 130


def status(folder: Path) -> dict[str, Any]:
    """How the run stands: "state", "message", "seconds"; that of a run which never began is "waiting".

    Raises:
        ValueError: the file that says it is damaged; names it.
    """
    path = folder / "status.json"
    try:
        found = texts.read_json(path)
    except FileNotFoundError:
        return {"state": WAITING, "message": "", "seconds": 0.0}
    known = isinstance(found, dict) and set(found) == set(_KINDS) and found["state"] in _STATES
    if known and all(isinstance(found[name], kind) for name, kind in _KINDS.items()) and 0 <= found["seconds"] < _EVER:
        return dict(found)
    raise ValueError(f"{path} is damaged; delete it, and the run goes on from its last epoch")


def _set(folder: Path, state: str, message: str = "", seconds: float = 0.0) -> None:
    files.write_json(folder / "status.json", {"state": state, "message": message, "seconds": round(seconds, 3)})


def log_path(folder: Path) -> Path:
    return folder / "log.txt"


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Hold the run's lock; False if another process has it."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_running(folder: Path) -> bool:
    """Whether a process is at it."""
    if not folder.is_dir():
        return False
    with _claimed(folder) as free:
        return not free


def launch(folder: Path, threads: int) -> subprocess.Popen[bytes]:
    """Start the run in a process of its own, whose output goes to its log."""
    command = [sys.executable, "-m", "eventprop.scans.run", os.fspath(folder), "--threads", str(threads)]
    with contextlib.suppress(ValueError, OSError, LookupError, TypeError):  # the run says what is wrong with the file
        command = [*texts.read_json(folder / "settings.json")["launcher"], *command]
    with log_path(folder).open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def settle(folder: Path, returncode: int) -> str:
    """The state of a run whose process has ended; one that died without a word has failed, one that another process
    had taken is "running"."""
    if returncode == _TAKEN:
        return RUNNING
    now = status(folder)
    if now["state"] not in (FINISHED, FAILED) and returncode != _STOPPED:
        with _claimed(folder) as free:
            if not free:
                return RUNNING
            how = f"killed by signal {-returncode}" if returncode < 0 else f"its process ended with status {returncode}"
            _set(folder, FAILED, how, now["seconds"])
            return FAILED
    return str(now["state"])


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Do one run; 0 if it is finished."""
    parser = argparse.ArgumentParser(prog="python -m eventprop.scans.run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, help="cores of the run, which its processes share")
    options = parser.parse_args(arguments)
    ranks = world()
    with contextlib.nullcontext(True) if ranks.rank else _claimed(options.folder) as free:
        known = None
        if not free:
            known = _TAKEN
        elif not ranks.rank and status(options.folder)["state"] == FINISHED:
            known = 0
        known = ranks.share(known)
        return _do(options.folder, options.threads, ranks) if known is None else known


def _do(folder: Path, threads: int | None, ranks: Ranks) -> int:
    start = time.perf_counter()
    before = status(folder)["seconds"]
    going_on = ranks.share(any(folder.glob(f"{NAME}*_state_last.npz")))
    if ranks.rank == 0:
        _set(folder, RUNNING, "", before)
    state, message, alone = FINISHED, "", False
    try:
        settings = texts.read_json(folder / "settings.json")
        benchmark = registry.find(settings["simulator"])
        p = {**settings["p"], "OUT_DIR": str(folder), "LOAD_LAST": going_on}
        p["NUM_THREADS"] = threads and max(1, threads // ranks.size)
        simulator = benchmark.load()(p)
        benchmark.modes()[settings["mode"]](simulator, p)
        if "measure" in settings:
            measure.after(folder, simulator, p, *settings["measure"])
    except KeyboardInterrupt:
        state, message = WAITING, "stopped; it goes on from its last epoch"
    except Exception as error:
        state, message = FAILED, f"{type(error).__name__}: {error}"
        if alone := ranks.fails_alone():
            message = f"rank {ranks.rank}: {message}"
        if alone or ranks.rank == 0:
            traceback.print_exc()
    code = {FINISHED: 0, FAILED: 1}.get(state, _STOPPED)
    if alone or ranks.rank == 0:
        _set(folder, state, message, before + time.perf_counter() - start)
    if alone:
        ranks.end(code)
    return code


if __name__ == "__main__":
    if hasattr(signal, "SIGUSR2"):  # SLURM's to the job before its time limit; the job acts on it
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    sys.exit(main())
