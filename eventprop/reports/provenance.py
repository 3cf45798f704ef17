"""Where a run comes from: what each row of the results says of it, and the file that tells its whole story."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eventprop import __version__, files

__all__ = ["COLUMNS", "RunFile", "machine", "of_rows", "processor", "run_file"]

COLUMNS = ["method", "seed", "data_seed", "version", "settings"]
"""What each row of the results says of its run, besides which one of its name it is."""


def of_rows(p: Mapping[str, Any], matter: Sequence[str]) -> dict[str, Any]:
    """The values of :data:`COLUMNS`.

    Args:
        p: the run's parameters, with what it really takes.
        matter: names of those that change what comes out; "settings" is the beginning of their SHA-256, so that rows
            with the same are of runs that are to give the same.
    """
    told = json.dumps({name: p.get(name) for name in sorted(matter)}, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    values = [p["METHOD"], p["MODEL_SEED"], p["TRAIN_DATA_SEED"], __version__, f"x{digest}"]
    return dict(zip(COLUMNS, values, strict=True))


def processor() -> str:
    """What the processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """This machine, in words, and what runs the program on it."""
    import numpy

    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
    }


def run_file(folder: Path, name: str) -> Path:
    """``<NAME>_run.json``."""
    return folder / f"{name}_run.json"


class RunFile:
    """The file that tells what a run was: version, method, data, settings' digest, and each process that worked on it.

    Args:
        path: the file.
        about: what is known before it starts.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self._about = path, dict(about)
        self._start = time.perf_counter()
        self._own: dict[str, Any] = {"started": _now(), "ended": None, "seconds": None}
        self._before: list[Any] = []

    def begin(self, done: int, *, goes_on: bool) -> None:
        """Say that a process works on it.

        Args:
            done: epochs that were complete before.
            goes_on: whether processes that worked on it before did so on the same run.
        """
        self._own |= {"from_epoch": done, **self._about.pop("process", {}), "command": sys.argv}
        if goes_on:
            self._before = self._sessions()

    def write(self) -> None:
        files.write_json(self.path, {**self._about, "processes": [*self._before, self._own]})

    def finish(self, **results: Any) -> None:
        """Say that the process has come to its end, and what came out."""
        self._own |= {"ended": _now(), "seconds": round(time.perf_counter() - self._start, 3)}
        self._about |= {name: None if value != value else value for name, value in results.items()}  # JSON has no nan
        self.write()

    def _sessions(self) -> list[Any]:
        """The processes that the file tells of; none where it is not there or damaged."""
        try:
            found = json.loads(files.read_bytes(self.path))["processes"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return []
        return found if isinstance(found, list) else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
