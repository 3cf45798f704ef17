"""Scans of one small network, as the command starts them."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from eventprop import __main__
from eventprop.scans import points, reader
from eventprop.scans.spec import Scan

FIXED = """
TRIAL_MS = 700.0
DT_MS = 5.0
NUM_HIDDEN = 40
RECURRENT = true
N_TRAIN = 80
N_VALIDATE = 40
N_BATCH = 16
INPUT_HIDDEN_MEAN = 0.05
HIDDEN_HIDDEN_MEAN = 0.0
HIDDEN_HIDDEN_STD = 0.02
REG_TYPE = "simple"
"""


def write(data: Path, *, top: str = "", p: str = "N_EPOCH = 2", tables: str = "", name: str = "mine.toml") -> Path:
    """A scan file of one small network; ``top`` goes to its head, ``p`` to [p], ``tables`` to its end."""
    head = f'simulator = "SHD"\nout = "out"\n{top}\n[p]\nDATA_DIR = "{data}"\n'
    Path(name).write_text(f"{head}{FIXED}{p}\n{tables}")
    return Path(name)


def scan(*arguments: str) -> int:
    """The command, in this process."""
    return __main__.main(["scan", *arguments])


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """The command, in a process group of its own."""
    command = [sys.executable, "-m", "eventprop", "scan", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, start_new_session=True, **pipes, **options)


def rows(out: str = "out") -> list[dict[str, str]]:
    with Path(out, "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(out: str) -> list[list[str]]:
    return [list(row.values())[:-1] for row in rows(out)]


def states(out: str = "out") -> list[str]:
    return [json.loads(path.read_text())["state"] for path in Path(out).glob("*/status.json")]


def under_way(out: str) -> bool:
    """Whether a run is at it and has a checkpoint."""
    for path in Path(out).glob("*/run_state_last.npz"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            if json.loads((path.parent / "status.json").read_text())["state"] == "running":
                return True
    return False


def expand(path: Path) -> tuple[Scan, list[points.Run]]:
    found = reader.read(path)
    return found, points.expand(found)
