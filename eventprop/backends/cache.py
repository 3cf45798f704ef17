"""Where the backends keep the code that they have built."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from eventprop.files import cache_folder

__all__ = ["CompilerError", "cache_folder", "check_cache"]

_ANOTHER = "name a folder that can be written in the environment variable EVENTPROP_CACHE"


class CompilerError(RuntimeError):
    """No compiler was found, it failed, or there is no place for what it builds."""


def check_cache(folder: Path) -> None:
    """Make ``folder``.

    Raises:
        CompilerError: it cannot be written, or what is written there may not be run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CompilerError(f"built code cannot be kept in {folder} ({error.strerror or error}); {_ANOTHER}") from None
    token = re.search(r"\$\{?(ORIGIN|LIB|PLATFORM)\b", str(folder))
    if token:  # the system's loader would take it for something else
        raise CompilerError(f"{token[0]} in {folder} has a meaning of its own where code is loaded; {_ANOTHER}")
    if hasattr(os, "ST_NOEXEC") and os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise CompilerError(f"built code in {folder} could not be run (its drive is mounted noexec); {_ANOTHER}")
