"""Python in a process of its own, which imports what this one does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

from tests.support.places import ROOT


def program(code: str) -> list[str]:
    """Words that run a piece of Python."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{textwrap.dedent(code)}"]


def printed(code: str, *options: str, **more: Any) -> str:
    """What a piece of Python prints that must end well; ``options`` are the interpreter's."""
    interpreter, *rest = program(code)
    done = subprocess.run([interpreter, *options, *rest], capture_output=True, text=True, timeout=300, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(**change: str) -> dict[str, str]:
    """Of a script or module of this project's, whatever the current folder is and whatever else is installed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **change}
