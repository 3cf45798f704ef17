"""Pictures never end a run: one that cannot be made is a line on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["attempt", "import_matplotlib"]


@contextlib.contextmanager
def attempt(picture: object) -> Iterator[None]:
    """Do what makes a picture, its imports too; if that fails, for whatever reason, say so and go on.

    Matplotlib may be broken, without fonts or a display, and the disk full: no reason to lose what was trained.

    Args:
        picture: its file or name, for the message.
    """
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split())
        print(f"warning: the picture {picture} has failed: {type(error).__name__}: {why}", file=sys.stderr)


def import_matplotlib() -> None:
    """Import matplotlib, also where ``MPLBACKEND`` names a backend that is not here.

    A notebook hands its own on to its shell commands; none is needed for pictures in files.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
