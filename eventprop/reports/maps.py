"""Pictures of a plane whose points are samples: what each is taken for, and when outputs spike for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from eventprop.reports.drawing import CLASSES, GREY, Picture, bare

__all__ = ["decision_map", "first_spikes", "points_by_class"]


def points_by_class(
    coordinates: np.ndarray, predictions: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str = ""
) -> Figure:
    """Points of the plane in the colour of their predicted class; those that are wrong with a red edge.

    Args:
        coordinates: ``(n, 2)``.
        predictions, labels: ``(n,)``; a prediction of -1 is none, and grey.
    """
    figure = Picture(figsize=(5.8, 5), layout="constrained")
    ax = figure.subplots()
    wrong = predictions != labels
    handles = []
    for number, name in [*enumerate(names), (-1, "no class")]:
        of_class = predictions == number
        colour = CLASSES[number] if number >= 0 else GREY
        if of_class.any():
            x, y = coordinates[of_class].T
            edges = ["red" if miss else colour for miss in wrong[of_class]]
            ax.scatter(x, y, s=9, c=colour, edgecolors=edges, linewidths=0.7)
        if of_class.any() or number >= 0:
            handles.append(_dot(colour, colour, name))
    if wrong.any():
        handles.append(_dot("none", "red", f"wrong ({wrong.mean():.1%})"))
    ax.set(aspect="equal", xlabel="x", ylabel="y", title=title)
    bare(ax)
    figure.legend(handles=handles, frameon=False, loc="outside right upper", title="taken for")
    return figure


def _dot(face: str, edge: str, name: str) -> Line2D:
    style: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge, "markersize": 5}
    return Line2D([], [], linestyle="none", marker="o", label=name, **style)


def decision_map(classes: np.ndarray, names: Sequence[str], title: str = "") -> Figure:
    """The predicted class of each point of a grid over the unit square.

    Args:
        classes: ``(rows, columns)``; rows from y = 0 to 1, columns from x = 0 to 1; -1 for none, which is grey.
    """
    figure = Picture(figsize=(5.8, 5), layout="constrained")
    ax = figure.subplots()
    colours = [GREY, *CLASSES[: len(names)]]
    ax.imshow(
        classes + 1,
        origin="lower",
        extent=(0, 1, 0, 1),
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        interpolation="nearest",
    )
    ax.set(xlabel="x", ylabel="y", title=title)
    patches = [Patch(color=colour, label=name) for colour, name in zip(CLASSES, names, strict=False)]
    if (classes < 0).any():
        patches.append(Patch(color=GREY, label="no class:\nno output spikes"))
    figure.legend(handles=patches, frameon=False, loc="outside right upper", title="taken for")
    return figure


def first_spikes(
    coordinates: np.ndarray, times_ms: np.ndarray, predictions: np.ndarray, names: Sequence[str], title: str = ""
) -> Figure:
    """For each output, when it first spikes for each point; small where the point is taken for it, a black cross where
    it stays silent.

    Args:
        coordinates: ``(n, 2)``.
        times_ms: ``(n, outputs)`` since the start of the trial, not a number where the output did not spike.
        predictions: ``(n,)``.
    """
    n = times_ms.shape[1]
    figure = Picture(figsize=(4.2 * n + 0.8, 4.6), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False, sharey=True)[0]
    finite = times_ms[np.isfinite(times_ms)] if np.isfinite(times_ms).any() else np.array([0.0, 1.0])
    limits = {"vmin": finite.min(), "vmax": finite.max(), "cmap": "viridis_r"}
    for j, ax in enumerate(axes):
        own, silent = predictions == j, ~np.isfinite(times_ms[:, j])
        for which, size in ((~own & ~silent, 14), (own & ~silent, 5)):
            x, y = coordinates[which].T
            points = ax.scatter(x, y, s=size, c=times_ms[which, j], linewidths=0, **limits)
        ax.plot(*coordinates[silent].T, "x", color="black", markersize=3, markeredgewidth=0.5)
        ax.set(aspect="equal", xlabel="x", title=f"output {names[j]}")
    bare(*axes)
    axes[0].set_ylabel("y")
    style: dict[str, Any] = {"linestyle": "none", "color": GREY}
    handles = [
        Line2D([], [], marker="o", markersize=2, label="taken for this class", **style),
        Line2D([], [], marker="o", markersize=4.5, label="taken for another", **style),
        Line2D([], [], marker="x", markersize=4, linestyle="none", color="black", label="output does not spike"),
    ]
    figure.legend(handles=handles, frameon=False, loc="outside lower center", ncols=3)
    figure.colorbar(points, ax=list(axes), label="first spike (ms)", shrink=0.8)
    if title:
        figure.suptitle(title)
    return figure
