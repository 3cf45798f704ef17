"""Scans: many runs that differ in some keys, from one TOML file; ``docs/scans.md`` describes it.

``spec`` is what the file says, ``reader`` reads and checks it, ``points`` makes the list of its runs, ``run`` does one
of them in its own process, ``pool`` does them on this machine, ``cluster`` by SLURM, ``study`` lets Optuna choose them,
``table`` and ``figures`` say what came out, ``command`` is the command line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m eventprop scan``, which imports the rest only when it is called."""
    parser.add_argument("file", metavar="SCAN.toml", type=Path, help="the scan file; docs/scans.md describes it")
    parser.add_argument("--table", action="store_true", help="start nothing: write the table of what is there")
    parser.add_argument("--list", action="store_true", help="check the file, list its runs, and stop")
    parser.add_argument("--workers", type=int, metavar="N", help="runs at once (default: the file's, else 1)")
    parser.add_argument("--cluster", choices=("slurm", "local"), help="submit each run as a job, through submitit")
    parser.add_argument("--wait", action="store_true", help="with --cluster: wait until all jobs have ended")
