"""Times of an engine's tasks, from which ``benchmarks/cores.py`` tells how many cores it has work for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.backends.cpu.interface import address

__all__ = ["Times", "task_times"]


class Times(NamedTuple):
    """What loops over tasks take of processors (s).

    Attributes:
        loops: for each loop, in their order, an array ``(tasks,)``, in the order in which tasks are given out.
        calling: all that the calling thread does within loops, the taking of times included.
    """

    loops: list[np.ndarray]
    calling: float


def task_times(engine: CpuEngine, act: Callable[[], object]) -> Times:
    """Times of the loops that an engine makes while ``act`` makes calls of it."""
    lib, handle = engine._lib, engine._handle
    lib.engine_time_tasks(handle, 1)
    try:
        act()
        n = lib.engine_tasks(handle, None, None, None)
        loops, tasks, seconds = np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n)
        lib.engine_tasks(handle, address(loops), address(tasks), address(seconds))
    finally:
        lib.engine_time_tasks(handle, 0)
    own = tasks >= 0
    order = np.lexsort((tasks[own], loops[own]))
    ends = np.flatnonzero(np.diff(loops[own][order])) + 1
    found = np.split(seconds[own][order], ends) if own.any() else []
    return Times(found, float(seconds[~own].sum()))
