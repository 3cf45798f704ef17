"""Programs as MPI launches them: several processes that train together."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import environment, program

__all__ = ["WHY_NOT", "launcher", "mpirun"]


@functools.cache
def launcher() -> str | None:
    """mpirun of the environment's own MPI, else one of the system's."""
    return shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")


WHY_NOT = "" if launcher() and importlib.util.find_spec("mpi4py") else "needs mpi4py and mpirun: pip install '.[mpi]'"


def mpirun(ranks: int, code: str = "", *words: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python, or ``words``, in as many processes at once."""
    open_mpi = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    command = [str(launcher()), "-n", str(ranks), *(program(code) if code else words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment(**open_mpi), stdin=subprocess.DEVNULL
    )
