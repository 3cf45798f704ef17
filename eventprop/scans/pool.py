"""Runs on this machine, some at once, each in its own process: one that fails or is killed does not stop the rest."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from eventprop.scans import run

__all__ = ["do_all"]

_POLL, _POLL_OTHERS = 0.05, 0.5  # seconds


def do_all(
    folders: Sequence[Path],
    workers: int,
    threads: int,
    ended: Callable[[int], None],
    stop: threading.Event | None = None,
) -> None:
    """Do the runs in these folders, until each is finished or has failed.

    One that another process is doing is waited for, and done here if that process dies.

    Args:
        workers: runs at once.
        threads: of each.
        ended: called with a run's number when it has ended.
        stop: when it is set, what runs is stopped.
    """
    pending, elsewhere = deque(range(len(folders))), set[int]()
    active: dict[int, subprocess.Popen[bytes]] = {}
    looked = 0.0
    try:
        while (pending or active or elsewhere) and not (stop and stop.is_set()):
            while pending and len(active) < workers:
                number = pending.popleft()
                active[number] = run.launch(folders[number], threads)
            for number, process in list(active.items()):
                code = process.poll()
                if code is not None:
                    del active[number]
                    if run.settle(folders[number], code) == run.RUNNING:
                        elsewhere.add(number)
                    else:
                        ended(number)
            if time.monotonic() - looked > _POLL_OTHERS:
                looked = time.monotonic()
                for number in [n for n in elsewhere if not run.is_running(folders[n])]:
                    elsewhere.remove(number)
                    if run.status(folders[number])["state"] in (run.FINISHED, run.FAILED):
                        ended(number)
                    else:
                        pending.append(number)
            time.sleep(_POLL)
    finally:
        for process in active.values():
            process.terminate()
        for process in active.values():
            process.wait()
