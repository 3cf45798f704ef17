"""The throw-away environments of other tools, and their processes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Failed(Exception):
    """A tool could not do it; says why in a line."""


@dataclass(frozen=True)
class Tool:
    """One of ``tools.toml``; ``python`` is empty where it could not be installed, and ``why`` says why."""

    name: str
    called: str
    tasks: tuple[str, ...]
    python: str
    why: str = ""

    def run(self, job: dict[str, Any], longest: float, script: str = "with") -> dict[str, Any]:
        """What the tool's script, ``<script>_<tool>.py``, told of a job.

        Raises:
            Failed: it failed, or took more than ``longest`` seconds.
        """
        if not self.python:
            raise Failed(self.why)
        own = self.name == "ours" or self.python == sys.executable
        variables = {**os.environ, "PYTHONPATH": str(ROOT) if own else ""}
        command = [self.python, str(HERE / f"{script}_{self.name}.py"), json.dumps(job)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=longest, env=variables)
        except subprocess.TimeoutExpired:
            raise Failed(f"took more than {longest:g} s") from None
        if ended.returncode < 0:
            raise Failed(f"was ended by signal {-ended.returncode} (9: out of memory)")
        if ended.returncode:
            raise Failed(_reason(ended.stderr))
        return json.loads(ended.stdout.strip().splitlines()[-1])


def _reason(said: str) -> str:
    """The line of what a process said that names its error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if ("Error" in line or "error:" in line) and " at 0x" not in line]
    return (named or lines or ["failed without a word"])[-1][:160]


def tools(folder: Path, only: list[str]) -> list[Tool]:
    """All tools, each installed under ``folder`` where that is not done yet; of ``only``, if it names some."""
    with open(HERE / "tools.toml", "rb") as file:
        declared = tomllib.load(file)
    if unknown := set(only) - set(declared):
        raise SystemExit(f"no tool is called {', '.join(sorted(unknown))}; there are {', '.join(declared)}")
    return [_installed(folder, name, declared[name]) for name in only or declared]


def _installed(folder: Path, name: str, declared: dict[str, Any]) -> Tool:
    called, tasks = declared["called"], tuple(declared["tasks"])
    if "module" in declared:
        there = importlib.util.find_spec(declared["module"]) is not None
        why = "" if there else "is not installed here, and not on PyPI"
        return Tool(name, called, tasks, sys.executable if there else "", why)
    place, wanted = folder / name, "\n".join(declared["packages"])
    python, marker = place / "bin" / "python", place / "packages"
    if not marker.exists() or marker.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        print(f"installing {', '.join(declared['packages'])} ...", flush=True)
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or "uv"
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(place)],
            [uv, "pip", "install", "--quiet", "--python", str(python), *declared["packages"]],
        ):
            ended = subprocess.run(command, capture_output=True, text=True)
            if ended.returncode:
                return Tool(name, called, tasks, "", f"could not be installed: {_reason(ended.stderr)}")
        marker.write_text(wanted)
    return Tool(name, called, tasks, str(python))
