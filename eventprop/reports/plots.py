"""Pictures: functions of arrays that return a matplotlib figure; only :func:`show` opens a window.

A notebook shows a figure that is the value of a cell, whatever matplotlib's backend is there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.reports.pictures import import_matplotlib

import_matplotlib()  # before anything of it is imported
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: E402

__all__ = [
    "Picture",
    "confusion",
    "decision_map",
    "examples",
    "first_spikes",
    "learning_curves",
    "points_by_class",
    "raster",
]
__all__ += ["as_png", "save", "show", "voltages"]

_BLUE, _ORANGE, _GREY = "#2a6fb0", "#d9730d", "#6b7280"
_CLASSES = ("#2a6fb0", "#d9a30d", "#3d8b5f", "#8a4fa3", "#b5533c", "#5c7a99", "#a3a13d", "#7a5c3d")


class Picture(Figure):
    """A figure that notebooks show as an image; without a window it is no more than text to them."""

    def _repr_png_(self) -> bytes:
        return as_png(self, 72)


def as_png(figure: Figure, dpi: int) -> bytes:
    """The content of a PNG file, without what made it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
    return buffer.getvalue()


def learning_curves(history: Sequence[Mapping[str, Any]], title: str = "", evaluated: str = "evaluation") -> Figure:
    """Accuracy and loss by epoch, for training and evaluation.

    Args:
        history: one record per epoch, as in a simulator's ``history``.
    """
    figure = Picture(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = np.array([r["epoch"] + 1 for r in history])
    for what, label, colour in (("train", "training", _GREY), ("eval", evaluated, _BLUE)):
        loss = np.array([r[f"{what}_loss"] for r in history], float)
        if np.isfinite(loss).any():
            accuracy = np.array([r[f"{what}_accuracy"] for r in history], float)
            style = {"color": colour, "label": label, "marker": "o", "markersize": 3}
            axes[0].plot(epochs, accuracy, **style)
            axes[1].plot(epochs, loss, **style)
            if what == "eval" and np.isfinite(accuracy[-1]):
                axes[0].annotate(
                    f"{accuracy[-1]:.1%}",
                    (epochs[-1], accuracy[-1]),
                    (-4, -16),
                    textcoords="offset points",
                    color=colour,
                    ha="right",
                )
    axes[0].set(ylim=(0, 1.02), ylabel="accuracy")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[1].set(ylabel="loss (cross-entropy)")
    axes[1].set_ylim(bottom=0)
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    axes[0].legend(frameon=False, loc="lower right")
    if title:
        figure.suptitle(title)
    return figure


def raster(
    samples: Sequence[Mapping[str, Any]], trial_ms: float, num_input: int, num_hidden: int, title: str = ""
) -> Figure:
    """Spikes of input and hidden layer and the read-out's scores, one column per sample.

    Args:
        samples: each with "input" and "hidden" (times in ms, neuron numbers), "scores" ``(classes,)``, "label" and
            "prediction", -1 for none.
    """
    figure = Picture(figsize=(3.1 * len(samples) + 0.6, 7), layout="constrained")
    grid = figure.subplots(3, len(samples), squeeze=False, sharey="row", height_ratios=[3, 2, 1.2])
    for column, sample in zip(grid.T, samples, strict=True):
        last = max([t.max() for t, _ in (sample["input"], sample["hidden"]) if t.size], default=trial_ms)
        for ax, key, n in zip(column, ("input", "hidden"), (num_input, num_hidden), strict=False):
            t, ids = sample[key]
            ax.plot(
                t,
                ids,
                ".",
                color=_GREY if key == "input" else _BLUE,
                markersize=1.4 if key == "input" else 2.2,
            )
            ax.set(xlim=(0, min(trial_ms, last * 1.05)), ylim=(-0.5, n - 0.5), xlabel="time (ms)")
        scores, label = np.asarray(sample["scores"]), sample["label"]
        colours = [_ORANGE if j == label else _GREY for j in range(scores.size)]
        column[2].bar(np.arange(scores.size), scores, color=colours)
        column[2].set(xlabel="class", xlim=(-0.8, scores.size - 0.2))
        column[2].axhline(0, color="black", linewidth=0.6)
        prediction = sample["prediction"]
        taken = "" if prediction == label else f", taken for {prediction}" if prediction >= 0 else ", not recognised"
        column[0].set_title(f"class {label}{taken}")
        for ax in column:
            ax.spines[["top", "right"]].set_visible(False)
    for ax, label in zip(grid[:, 0], ("input channel", "hidden neuron", "score (orange: label)"), strict=True):
        ax.set_ylabel(label)
    if title:
        figure.suptitle(title)
    return figure


def examples(
    samples: Sequence[tuple[np.ndarray, np.ndarray]], trial_ms: float, num_input: int, title: str = ""
) -> Figure:
    """Input spikes of samples, a raster each, in a grid about as wide as it is high.

    Args:
        samples: times (ms) and channels of each.
    """
    columns = math.ceil(math.sqrt(len(samples)))
    rows = math.ceil(len(samples) / columns)
    figure = Picture(figsize=(3.1 * columns + 0.6, 2.6 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax, (t, channels) in zip(grid.flat, samples, strict=False):
        ax.plot(t, channels, ".", color=_GREY, markersize=1.4)
        ax.set(xlim=(0, trial_ms), ylim=(-0.5, num_input - 0.5))
        ax.spines[["top", "right"]].set_visible(False)
    for ax in grid.flat[len(samples) :]:
        ax.set_axis_off()
    for ax in grid.flat[len(samples) - columns : len(samples)]:  # also those above an empty place
        ax.tick_params(labelbottom=True)
    figure.supxlabel("time (ms)")
    figure.supylabel("input channel")
    if title:
        figure.suptitle(title)
    return figure


def voltages(
    times_ms: np.ndarray, traces: Mapping[str, np.ndarray], adjoints: Mapping[str, np.ndarray], title: str = ""
) -> Figure:
    """Variables of some neurons over the trial, each above its adjoint.

    Args:
        times_ms: ``(steps,)``.
        traces, adjoints: by name, ``(steps, neurons)``; a pair of rows for each, in their order.
    """
    rows = [*traces.items(), *adjoints.items()]
    figure = Picture(figsize=(8, 1.0 + 1.8 * len(rows)), layout="constrained")
    for ax, (name, values) in zip(figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0], rows, strict=True):
        for number, trace in enumerate(np.atleast_2d(values.T)):
            ax.plot(times_ms, trace, linewidth=1.0, label=f"neuron {number}")
        ax.set_ylabel(name)
        ax.axhline(0, color="black", linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[-1].set(xlabel="time (ms)", xlim=(0, times_ms[-1]))
    if title:
        figure.suptitle(title)
    return figure


def confusion(matrix: np.ndarray, names: Sequence[str] = (), title: str = "") -> Figure:
    """How often samples of each class (columns) were taken for each class (rows).

    Args:
        matrix: ``(classes, classes)`` counts, ``[predicted, true]``.
        names: of the classes; their numbers by default.
    """
    n = len(matrix)
    figure = Picture(figsize=(2.2 + 0.28 * n, 1.8 + 0.28 * n), layout="constrained")
    ax = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=0), 1)
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    shown = names or [str(j) for j in range(n)]
    ax.set_xticks(range(n), shown, rotation=90 if max(map(len, shown)) > 2 else 0)
    ax.set_yticks(range(n), shown)
    ax.set(xlabel="class", ylabel="prediction")
    if n <= 12:
        for i, j in np.argwhere(matrix > 0):
            colour = "white" if share[i, j] > 0.5 else "black"
            ax.text(j, i, f"{matrix[i, j]:g}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=ax, format=PercentFormatter(1.0), shrink=0.8)
    ax.set_title(title)
    return figure


def points_by_class(
    coordinates: np.ndarray, predictions: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str = ""
) -> Figure:
    """Points of the plane in the colour of their predicted class; those that are wrong with a red edge.

    Args:
        coordinates: ``(n, 2)``.
        predictions, labels: ``(n,)``; a prediction of -1 is none, and grey.
    """
    figure = Picture(figsize=(5.6, 5), layout="constrained")
    ax = figure.subplots()
    wrong = predictions != labels
    for number, name in [*enumerate(names), (-1, "none")]:
        of_class = predictions == number
        if of_class.any():
            colour = _CLASSES[number] if number >= 0 else _GREY
            x, y = coordinates[of_class].T
            edges = ["red" if miss else colour for miss in wrong[of_class]]
            ax.scatter(x, y, s=9, c=colour, edgecolors=edges, linewidths=0.7, label=name)
    ax.set(aspect="equal", xlabel="x", ylabel="y", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right upper", title=f"taken for\n({wrong.mean():.1%} wrong)")
    return figure


def decision_map(classes: np.ndarray, names: Sequence[str], title: str = "") -> Figure:
    """The predicted class of each point of a grid over the unit square.

    Args:
        classes: ``(rows, columns)``; rows from y = 0 to 1, columns from x = 0 to 1; -1 for none.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    figure = Picture(figsize=(5.6, 5), layout="constrained")
    ax = figure.subplots()
    colours = [_GREY, *_CLASSES[: len(names)]]
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
    patches = [Patch(color=colour, label=name) for colour, name in zip(_CLASSES, names, strict=False)]
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
    figure = Picture(figsize=(4.2 * n + 0.8, 4.2), layout="constrained")
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
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("y")
    figure.colorbar(points, ax=list(axes), label="first spike (ms)", shrink=0.8)
    if title:
        figure.suptitle(title)
    return figure


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
    """Write ``figure`` as PNG, whole or not at all."""
    files.write_bytes(path, as_png(figure, 130))
