"""Missing files, downloaded by tonic where it is installed; what is said of files that are broken."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["BROKEN", "by_tonic"]

BROKEN = "it may be a broken download: delete it and get it again"


def by_tonic(path: Path, module: str, get: Callable[[Any], object]) -> str | None:
    """Download ``path``, a file or a folder; returns why that did not work.

    Args:
        module: the part of tonic that can do it.
        get: downloads, given that module.
    """
    try:
        tonic = importlib.import_module(module)
    except ImportError:
        return "tonic, which would download it, is not installed (pip install tonic)"
    except Exception as error:  # whatever is wrong with tonic's own installation
        return f"tonic, which would download it, cannot be imported: {type(error).__name__}: {error}"
    print(f"{path} is missing; downloading it")
    try:
        get(tonic)
    except Exception as error:  # whatever the network or the server says
        return f"the download by tonic failed: {type(error).__name__}: {error}"
    return None if path.exists() else "the download by tonic did not bring it"
