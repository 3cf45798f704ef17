"""Where the backends keep the code that they have built."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

__all__ = ["CompilerError", "cache_folder", "check_cache"]


class CompilerError(RuntimeError):
    """No compiler was found, it failed, or there is no place for what it builds."""


def cache_folder() -> Path:
    """Where built code is kept; ``EVENTPROP_CACHE`` overrides the user's cache folder."""
    return Path(os.environ.get("EVENTPROP_CACHE") or platformdirs.user_cache_dir("genn-eventprop", appauthor=False))


def check_cache(folder: Path) -> None:
    """Make ``folder``.

    Raises:
        CompilerError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CompilerError(
            f"built code cannot be kept in {folder} ({error.strerror or error}); "
            "name a folder that can be written in the environment variable EVENTPROP_CACHE"
        ) from None
