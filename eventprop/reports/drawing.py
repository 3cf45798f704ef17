"""What all pictures share: a figure that notebooks show, colours, how one is written and shown.

A notebook shows a figure that is the value of a cell, whatever matplotlib's backend is there.
"""

from __future__ import annotations

import io
from pathlib import Path

from eventprop import files
from eventprop.reports.pictures import import_matplotlib

import_matplotlib()  # before anything of it is imported
from matplotlib import rc_context  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

__all__ = ["Picture", "as_bytes", "as_png", "bare", "save", "show"]

BLUE, ORANGE, GREY = "#2a6fb0", "#d9730d", "#6b7280"
CLASSES = ("#2a6fb0", "#d9a30d", "#3d8b5f", "#8a4fa3", "#b5533c", "#5c7a99", "#a3a13d", "#7a5c3d")


class Picture(Figure):
    """A figure that notebooks show as an image; without a window it is no more than text to them."""

    def _repr_png_(self) -> bytes:
        return as_png(self, 72)


def as_png(figure: Figure, dpi: int) -> bytes:
    """The content of a PNG file, without what made it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
    return buffer.getvalue()


def as_bytes(figure: Figure, kind: str, dpi: int = 130) -> bytes:
    """The content of a file of a kind ("png", "svg", "pdf"), the same for the same picture."""
    if kind == "png":
        return as_png(figure, dpi)
    buffer = io.BytesIO()
    nothing = {"Date": None} if kind == "svg" else {"CreationDate": None, "Producer": None, "Creator": None}
    with rc_context({"svg.hashsalt": "eventprop", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, metadata=nothing, dpi=dpi)
    return buffer.getvalue()


def bare(*axes: Axes) -> None:
    """Take away the frame where nothing is measured along it."""
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)


def show(figure: Figure) -> None:
    """Show ``figure`` in a notebook, or, where there is a display, in a window; it never waits for anybody."""
    import sys

    if "IPython" in sys.modules:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(figure)
            return
    import matplotlib.pyplot as plt
    from matplotlib.backends import BackendFilter, backend_registry

    if plt.get_backend().lower() not in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
        return
    window = plt.figure("Eventprop", figsize=figure.get_size_inches())
    window.clear()
    window.figimage(plt.imread(io.BytesIO(as_png(figure, 100))))
    plt.show(block=False)
    plt.pause(0.001)


def save(figure: Figure, path: Path) -> None:
    """Write ``figure``, whole or not at all, as what the file's name ends in: png, svg or pdf."""
    files.write_bytes(path, as_bytes(figure, path.suffix.removeprefix(".") or "png"))
