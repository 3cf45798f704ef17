"""Pictures: functions of arrays that return a matplotlib figure; only :func:`show` opens a window.

Those of a plane of samples are in :mod:`eventprop.reports.maps`, those of neurons and synapses in
:mod:`eventprop.reports.neurons`; all of them can be had from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eventprop.reports.drawing import BLUE, GREY, ORANGE, Picture, as_png, bare, save, show  # before matplotlib
from eventprop.reports.maps import decision_map, first_spikes, points_by_class
from eventprop.reports.measures import measure_of
from eventprop.reports.neurons import delays, potential, time_constants, voltages

from matplotlib.axes import Axes  # isort: skip
from matplotlib.figure import Figure  # isort: skip
from matplotlib.patches import Patch  # isort: skip
from matplotlib.ticker import MaxNLocator, PercentFormatter  # isort: skip

__all__ = ["Picture", "as_png", "confusion", "decision_map", "delays", "examples", "first_spikes", "learning_curves"]
__all__ += ["points_by_class", "potential", "raster", "save", "show", "time_constants", "voltages"]

Spikes = tuple[np.ndarray, np.ndarray]


def learning_curves(history: Sequence[Mapping[str, Any]], title: str = "", evaluated: str = "evaluation") -> Figure:
    """Accuracy, or mean square error, and loss by epoch, for training and evaluation; the legend has the last epoch's.

    Args:
        history: one record per epoch, as in a simulator's ``history``.
    """
    figure = Picture(figsize=(9, 3.7), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs, measure = np.array([r["epoch"] + 1 for r in history]), measure_of(history[-1])
    for what, name, colour in (("train", "training", GREY), ("eval", evaluated, BLUE)):
        loss = np.array([r[f"{what}_loss"] for r in history], float)
        if np.isfinite(loss).any():
            found = [measure.of(record, what) for record in history]
            last = f" ({measure.text(found[-1])} in the last epoch)" if np.isfinite(found[-1]) else ""
            style = {"color": colour, "marker": "o", "markersize": 3}
            axes[0].plot(epochs, found, label=name + last, **style)
            axes[1].plot(epochs, loss, **style)
    axes[0].set(ylabel=measure.words, ylim=(0, 1.05 * axes[0].get_ylim()[1] if measure.falls else 1.02))
    if not measure.falls:
        axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[1].set(ylabel="loss, mean of samples")
    axes[1].set_ylim(0, 1.05 * axes[1].get_ylim()[1])
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(alpha=0.25)
    bare(*axes)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    if title:
        figure.suptitle(title)
    return figure


def raster(
    samples: Sequence[Mapping[str, Any]],
    trial_ms: float,
    num_input: int,
    num_hidden: int | Sequence[int],
    title: str = "",
    names: Sequence[str] = (),
) -> Figure:
    """Spikes of input and hidden layers, each on an axis of its own, and the read-out's scores, one column per sample.
    All panels have the same axis of time.

    Args:
        samples: each with "input" and "hidden" (times in ms, neuron numbers; of "hidden" a list of such pairs where
            there are several layers), "scores" ``(classes,)``, "label" and "prediction", -1 for none.
        num_hidden: neurons of the hidden layer, or of each.
        names: of the classes; their numbers by default.
    """
    sizes = [num_hidden] if isinstance(num_hidden, int) else list(num_hidden)
    classes = len(samples[0]["scores"])
    shown = list(names) or [str(j) for j in range(classes)]
    figure = Picture(figsize=(3.1 * len(samples) + 0.9, 5.6 + 1.9 * len(sizes)), layout="constrained")
    heights = [3.0, *[2.0] * len(sizes), 1.6]
    grid = figure.subplots(len(heights), len(samples), squeeze=False, sharey="row", height_ratios=heights)
    layers = [[sample["input"], *_layers(sample["hidden"])] for sample in samples]
    last = max((t.max() for own in layers for t, _ in own if t.size), default=trial_ms)
    for column, sample, own in zip(grid.T, samples, layers, strict=True):
        for row, (ax, (t, ids), n) in enumerate(zip(column, own, [num_input, *sizes], strict=False)):
            size = 5.0 if t.size < 100 else 2.2 if row else 1.4
            ax.plot(t, ids, ".", color=BLUE if row else GREY, markersize=size)
            ax.set(xlim=(0, min(trial_ms, last * 1.05)), ylim=(-0.5, n - 0.5))
            ax.tick_params(labelbottom=row == len(sizes))
        column[len(sizes)].set_xlabel("time (ms)")
        label, prediction = sample["label"], sample["prediction"]
        _scores(column[-1], np.asarray(sample["scores"]), label, prediction, shown)
        taken = (
            "" if prediction == label else "\nnot recognised" if prediction < 0 else f"\ntaken for {shown[prediction]}"
        )
        column[0].set_title(f"{'' if names else 'class '}{shown[label]}{taken}", fontsize=10)
    bare(*grid.flat)
    hidden = ["hidden neuron"] if len(sizes) == 1 else [f"neuron of hidden{k}" for k in range(len(sizes))]
    for ax, text in zip(grid[:, 0], ("input channel", *hidden, "score"), strict=True):
        ax.set_ylabel(text)
    wrong = any(sample["prediction"] not in (-1, sample["label"]) for sample in samples)
    colours = {"true class": ORANGE, **({"taken for, wrongly": BLUE} if wrong else {}), "other classes": GREY}
    handles = [Patch(color=colour, label=what) for what, colour in colours.items()]
    figure.legend(handles=handles, frameon=False, loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(title)
    return figure


def _layers(hidden: Spikes | Sequence[Spikes]) -> Sequence[Spikes]:
    """Spikes of each hidden layer."""
    return [hidden] if isinstance(hidden[0], np.ndarray) else hidden  # type: ignore[list-item, return-value]


def _scores(ax: Axes, scores: np.ndarray, label: int, prediction: int, names: Sequence[str]) -> None:
    """A bar for each class."""
    colours = [ORANGE if j == label else BLUE if j == prediction else GREY for j in range(scores.size)]
    ax.bar(np.arange(scores.size), scores, color=colours)
    ax.axhline(0, color="black", linewidth=0.6)
    crowded = scores.size * max(map(len, names)) > 30
    ax.set_xticks(range(scores.size), names, rotation=90 if crowded else 0, fontsize=7 if crowded else 9)
    ax.set(xlabel="class", xlim=(-0.8, scores.size - 0.2))


def examples(samples: Sequence[Spikes], trial_ms: float, num_input: int, title: str = "") -> Figure:
    """Input spikes of samples, a raster each, in a grid about as wide as it is high.

    Args:
        samples: times (ms) and channels of each.
    """
    columns = math.ceil(math.sqrt(len(samples)))
    rows = math.ceil(len(samples) / columns)
    figure = Picture(figsize=(3.1 * columns + 0.6, 2.6 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax, (t, channels) in zip(grid.flat, samples, strict=False):
        ax.plot(t, channels, ".", color=GREY, markersize=1.4)
        ax.set(xlim=(0, trial_ms), ylim=(-0.5, num_input - 0.5))
    bare(*grid.flat)
    for ax in grid.flat[len(samples) :]:
        ax.set_axis_off()
    for ax in grid.flat[len(samples) - columns : len(samples)]:  # also those above an empty place
        ax.tick_params(labelbottom=True)
    figure.supxlabel("time (ms)")
    figure.supylabel("input channel")
    if title:
        figure.suptitle(title)
    return figure


def confusion(matrix: np.ndarray, names: Sequence[str] = (), title: str = "") -> Figure:
    """How often samples of each class (rows) were taken for each class (columns).

    Args:
        matrix: ``(classes, classes)`` counts, ``[predicted, true]``.
        names: of the classes; their numbers by default.
    """
    n, counts = len(matrix), np.asarray(matrix).T
    figure = Picture(figsize=(2.8 + 0.28 * n, 1.8 + 0.28 * n), layout="constrained")
    ax = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    shown = list(names) or [str(j) for j in range(n)]
    ax.set_xticks(range(n), shown, rotation=90 if max(map(len, shown)) > 4 else 0)
    ax.set_yticks(range(n), shown)
    ax.set(xlabel="taken for", ylabel="true class")
    if n <= 12:
        for i, j in np.argwhere(counts > 0):
            colour = "white" if share[i, j] > 0.5 else "black"
            ax.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", fontsize=7, color=colour)
    share_of = "share of the samples of the true class"
    figure.colorbar(image, ax=ax, format=PercentFormatter(1.0), shrink=0.8, label=share_of if n > 5 else "share")
    ax.set_title(title)
    return figure
