"""Runs as jobs of a cluster, one each, by submitit: no process needs to live while they wait and run.

A job that SLURM ends for its time limit is put into the queue again and goes on from its checkpoint.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eventprop.scans import run
from eventprop.scans.spec import CLUSTER_OPTIONS, Scan

__all__ = ["Job", "check", "submit", "wait"]

_MINUTES, _CPUS = 24 * 60, 1
_POLL = 1.0  # seconds


class Job:
    """What is pickled for a job: do the run in ``folder``, in a process of its own."""

    def __init__(self, folder: str, threads: int) -> None:
        self.folder, self.threads = folder, threads

    def __call__(self) -> str:
        folder = Path(self.folder)
        return run.settle(folder, run.launch(folder, self.threads).wait())

    def checkpoint(self) -> Any:
        """Called by submitit before the time limit: the same again, which goes on from the last epoch."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def check(scan: Scan, cluster: str) -> None:
    """See that submitit is there and takes the options; leaves no folder behind.

    Args:
        cluster: "slurm", or "local" for processes on this machine, all at once.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        ValueError: an option of [cluster] is not submitit's, or there is no such cluster here.
    """
    with tempfile.TemporaryDirectory() as folder:
        _executor(scan, cluster, Path(folder))


def _executor(scan: Scan, cluster: str, folder: Path) -> Any:
    try:
        import submitit
    except ModuleNotFoundError:
        raise ModuleNotFoundError("--cluster needs submitit: pip install '.[scan]' in the project's folder") from None
    options = {"timeout_min": _MINUTES, "cpus_per_task": _CPUS, "name": f"scan-{scan.path.stem}"}
    options |= {CLUSTER_OPTIONS[k][0] if k in CLUSTER_OPTIONS else k: v for k, v in scan.cluster.items()}
    try:
        executor = submitit.AutoExecutor(folder=str(folder.absolute()), cluster=cluster)
        executor.update_parameters(**options)
    except (NameError, RuntimeError, ValueError) as error:
        raise ValueError(f"{scan.path}: [cluster] {error}") from None
    return executor


def submit(scan: Scan, folders: Sequence[Path], cluster: str) -> list[Any]:
    """Submit a job for each run; submitit's jobs, whose files are in ``jobs`` in the scan's folder.

    Raises:
        ModuleNotFoundError, ValueError: as :func:`check`.
    """
    executor = _executor(scan, cluster, scan.out / "jobs")
    threads = scan.cluster.get("cpus", _CPUS)
    with executor.batch():
        return [executor.submit(Job(os.path.abspath(folder), threads)) for folder in folders]


def wait(jobs: Sequence[Any], folders: Sequence[Path], ended: Callable[[int], None]) -> None:
    """Return when all jobs have ended; ``ended`` is called with the number of each that does."""
    waiting = set(range(len(jobs)))
    while waiting:
        for number in [n for n in sorted(waiting) if jobs[n].done()]:
            waiting.remove(number)
            run.settle(folders[number], 1)
            ended(number)
        if waiting:
            time.sleep(_POLL)
