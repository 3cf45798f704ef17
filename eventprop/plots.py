"""Pictures: functions of arrays that return a matplotlib figure. Nothing here opens a window."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eventprop import files

__all__ = ["learning_curves", "raster", "save"]

_BLUE, _ORANGE, _GREY = "#2a6fb0", "#d9730d", "#6b7280"


def learning_curves(history: Sequence[Mapping[str, Any]], title: str = "", evaluated: str = "evaluation") -> Figure:
    """Accuracy and loss by epoch, for training and evaluation.

    Args:
        history: one record per epoch, as in a simulator's ``history``.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = np.array([r["epoch"] + 1 for r in history])
    for what, label, colour in (("train", "training", _GREY), ("eval", evaluated, _BLUE)):
        loss = np.array([r[f"{what}_loss"] for r in history], float)
        if np.isfinite(loss).any():
            accuracy = np.array([r[f"{what}_accuracy"] for r in history])
            style = {"color": colour, "label": label, "marker": "o", "markersize": 3}
            axes[0].plot(epochs, accuracy, **style)
            axes[1].plot(epochs, loss, **style)
            if what == "eval":
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
    figure = Figure(figsize=(3.1 * len(samples) + 0.6, 7), layout="constrained")
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


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    files.write_bytes(path, buffer.getvalue())
