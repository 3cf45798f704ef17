"""Processes that train one network together, as ``mpirun`` starts them: each presents its part of every batch.

Every process runs the same program from its beginning to its end; what they exchange is in the engine. Only the first
one (rank 0) writes files and speaks. Where no launcher has started several, none of this needs MPI.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

__all__ = ["OFF", "Ranks", "quiet", "started", "world"]

T = TypeVar("T")

OFF = "EVENTPROP_MPI"
"""The environment variable that, as "0", lets processes be independent of each other whoever has started them."""

_SIZES = ("OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE")  # Open MPI, MVAPICH, and MPICH or Intel MPI
_RANKS = ("PMI_RANK", "PMIX_RANK")  # of srun, which tells the size in a variable of its own
_PATIENCE = 2.0  # seconds in which others have to fail, too, if it is the same fault


def started() -> int:
    """How many processes a launcher of MPI has started together, by what it says in the environment."""
    if os.environ.get(OFF) == "0":
        return 1
    sizes = [os.environ[name] for name in _SIZES if name in os.environ]
    if not sizes and any(name in os.environ for name in _RANKS):
        sizes = [os.environ.get("SLURM_STEP_NUM_TASKS", "1")]  # not of sbatch, whose script is one process
    return int(sizes[0]) if sizes and sizes[0].isdigit() else 1


@functools.cache
def world() -> Ranks:
    """The processes that were started with this one.

    Raises:
        ValueError: there are several, and no MPI that they could talk by.
    """
    size = started()
    if size < 2:
        return Ranks()
    many = f"a launcher of MPI has started {size} processes to train together"
    way_out = f"(or are they independent of each other? {OFF}=0 in the environment says so)"
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ValueError(f"{many}, which needs mpi4py: pip install '.[mpi]' ({error}) {way_out}") from None
    if MPI.COMM_WORLD.Get_size() != size:
        library = MPI.Get_library_version().split("\n")[0].strip("\0 ")
        raise ValueError(
            f"{many}, but mpi4py's MPI ({library}) sees {MPI.COMM_WORLD.Get_size()}: "
            f"the launcher is another MPI's; take its own {way_out}"
        )
    found = Ranks(MPI.COMM_WORLD)
    found.watch()
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What would be printed and warned of is not."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


class Ranks:
    """Processes that work together; one process alone without ``comm``.

    All of them call these methods, in the same order.

    Args:
        comm: mpi4py's communicator.

    Attributes:
        rank: number of this process.
        size: how many there are.
    """

    def __init__(self, comm: Any = None) -> None:
        self.rank: int = comm.Get_rank() if comm else 0
        self.size: int = comm.Get_size() if comm else 1
        self._comm: Any = comm.Dup() if comm else None
        self._ends: Any = comm.Dup() if comm else None  # in which they tell each other that they end
        self.seconds = 0.0  # spent in exchanges, with waiting for others

    def share(self, value: T) -> T:
        """The first process's ``value``."""
        return value if self._comm is None else self._comm.bcast(value)

    def first(self, action: Callable[[], T]) -> T | None:
        """What ``action`` gives in the first process; None in others, which wait for it.

        Raises:
            Exception: the first process's, in all of them.
        """
        if self._comm is None:
            return action()
        result, error = None, None
        if self.rank == 0:
            try:
                result = action()
            except Exception as raised:
                error = raised
        if others := self._comm.bcast(error):
            raise error or others
        return result

    def in_turn(self, action: Callable[[], T]) -> T:
        """What ``action`` gives, done by the first process and then, with the files that it has left, by the others."""
        result = self.first(action)
        return action() if self.rank else result  # type: ignore[return-value]

    def wait(self) -> None:
        """Go on when all have come to this place."""
        if self._comm is not None:
            self._comm.Barrier()

    def strangers(self, value: Callable[[], Any]) -> str:
        """The processes whose ``value()`` is not that of the first one, in words; empty where all have the same. One
        process alone does not ask for it."""
        values = [] if self._comm is None else self._comm.allgather(value())
        return ", ".join(f"rank {rank}" for rank, other in enumerate(values) if other != values[0])

    def cores(self, available: int) -> int:
        """This process's share of the ``available`` cores, which others of the same machine may have, too."""
        if self._comm is None:
            return available
        own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        mine = (platform.node(), own)
        return max(1, available // self._comm.allgather(mine).count(mine))

    def gather(self, rows: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The rows of all processes, of which number ``k`` has ``counts[k]``: those of rank 0 first."""
        start = time.perf_counter()
        width = int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.dtype.itemsize
        found = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        own = np.ascontiguousarray(rows).view(np.uint8).ravel()
        self._comm.Allgatherv(own, [found.view(np.uint8).ravel(), [n * width for n in counts]])
        self.seconds += time.perf_counter() - start
        return found

    def scatter(self, numbers: np.ndarray, given: Sequence[int], taken: Sequence[int]) -> np.ndarray:
        """What the others have for this process, that of rank 0 first.

        Args:
            numbers: for all of them, ``given[k]`` for process ``k``, one after the other.
            taken: how many come of each.
        """
        start = time.perf_counter()
        found, size = np.empty(sum(taken), numbers.dtype), numbers.dtype.itemsize
        self._comm.Alltoallv(
            [numbers.view(np.uint8), [n * size for n in given]], [found.view(np.uint8), [n * size for n in taken]]
        )
        self.seconds += time.perf_counter() - start
        return found

    def fails_alone(self) -> bool:
        """Whether this process fails and the others do not: then they have to be ended."""
        if self._ends is None:
            return False
        others, last = self._ends.Ibarrier(), time.monotonic() + _PATIENCE
        while not others.Test():
            if time.monotonic() > last:
                return True
            time.sleep(0.01)
        return False

    def end(self, status: int) -> None:
        """End all processes, whatever they are doing."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(status)

    def watch(self) -> None:
        """Let an exception that nobody catches end all processes, if it is one of this process alone."""
        before = sys.excepthook

        def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
            if self.fails_alone():
                traceback.print_exception(kind, error, where)
                print(f"rank {self.rank} of {self.size} has failed: {kind.__name__}: {error}", file=sys.stderr)
                self.end(130 if issubclass(kind, KeyboardInterrupt) else 1)
            elif self.rank == 0:
                before(kind, error, where)

        sys.excepthook = hook
