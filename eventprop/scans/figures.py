"""Pictures of a scan: functions of arrays that return a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, PercentFormatter

from eventprop.reports.plots import Picture
from eventprop.scans.points import plain, short

__all__ = ["effects", "heat_map", "picture"]

_BLUE, _GREY = "#2a6fb0", "#6b7280"
_LOG_FROM = 8.0  # ratio of the largest value to the smallest


def picture(names: Sequence[str], values: Sequence[Sequence[Any]], accuracy: np.ndarray, what: str) -> Figure:
    """A heat map of two keys with few values each, else an axis for each key.

    Args:
        names: the scanned keys.
        values: by run, the value of each key.
        accuracy: by run, 0 to 1; NaN where there is none.
        what: accuracy of what, e.g. "validation".
    """
    repeated = len({plain(list(own)) for own in values}) == np.prod(
        [len(_levels(c)) for c in zip(*values, strict=True)]
    )
    if len(names) == 2 and repeated and min(len(_levels(c)) for c in zip(*values, strict=True)) > 1:
        return heat_map(names, values, accuracy, what)
    return effects(names, values, accuracy, what)


def effects(names: Sequence[str], values: Sequence[Sequence[Any]], accuracy: np.ndarray, what: str) -> Figure:
    """An axis for each key: every run, and the mean over all runs of each value; arguments as of :func:`picture`."""
    shown = list(names) or [""]
    columns = [list(c) for c in zip(*values, strict=True)] if names else [[""] * len(values)]
    across = min(len(shown), 3)
    down = -(-len(shown) // across)
    figure = Picture(figsize=(1.2 + 3.6 * across, 0.4 + 3.2 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    points = len({plain(list(own)) for own in values})
    for ax, name, column in zip(grid.flat, shown, columns, strict=False):
        # A line through points that differ in other keys as well would show what is not there.
        _effect(ax, name, column, accuracy, joined=len(names) == 1 or len(_levels(column)) < points)
    for ax in grid.flat[len(shown) :]:
        ax.set_visible(False)
    for ax in grid[:, 0]:
        ax.set_ylabel(f"{what} accuracy")
    if grid[0, 0].get_legend_handles_labels()[0]:
        grid[0, 0].legend(frameon=False, fontsize="small")
    grid[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _effect(ax: Axes, name: str, column: Sequence[Any], accuracy: np.ndarray, joined: bool) -> None:
    levels = _levels(column)
    member = np.array([[plain(value) == plain(level) for value in column] for level in levels], bool)
    numeric = _numeric(levels)
    places = np.array(levels if numeric else range(len(levels)), float)
    for place, own in zip(places, member, strict=True):
        ax.plot(np.full(own.sum(), place), accuracy[own], "o", color=_GREY, alpha=0.55, markersize=4, zorder=2)
    if len(levels) < len(column):
        means = [np.nanmean(a) if np.isfinite(a).any() else np.nan for a in (accuracy[own] for own in member)]
        style = {"color": _BLUE, "marker": "D", "markersize": 6, "zorder": 3, "label": "mean"}
        ax.plot(places, means, linestyle="-" if numeric and joined else "none", **style)  # type: ignore[arg-type]
    if numeric and len(levels) > 1 and min(levels) > 0 and max(levels) / min(levels) >= _LOG_FROM:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if not numeric or len(levels) <= 6:
        ax.xaxis.set_major_locator(NullLocator())
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xticks(places, [_brief(level) for level in levels])
    if not numeric:
        ax.set_xlim(-0.6, len(levels) - 0.4)
    ax.set_xlabel(name)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.25)


def heat_map(names: Sequence[str], values: Sequence[Sequence[Any]], accuracy: np.ndarray, what: str) -> Figure:
    """Mean accuracy by the values of two keys, with its s.d. where there is one; arguments as of :func:`picture`."""
    columns = [[plain(value) for value in c] for c in zip(*values, strict=True)]
    x, y = ([plain(level) for level in _levels(c)] for c in zip(*values, strict=True))
    mean, sd = np.full((2, len(y), len(x)), np.nan)
    for i, j in np.ndindex(mean.shape):
        own = accuracy[[a == x[j] and b == y[i] for a, b in zip(*columns, strict=True)]]
        own = own[np.isfinite(own)]
        if own.size:
            mean[i, j] = own.mean()
        if own.size > 1:
            sd[i, j] = own.std(ddof=1)
    figure = Picture(figsize=(2.6 + 1.05 * len(x), 1.6 + 0.7 * len(y)), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(np.ma.masked_invalid(mean), cmap="viridis", origin="lower", aspect="auto")
    middle = np.nanmean([np.nanmin(mean), np.nanmax(mean)]) if np.isfinite(mean).any() else 0.0
    for i, j in np.ndindex(mean.shape):
        if np.isfinite(mean[i, j]):
            text = f"{mean[i, j]:.1%}" + (f"\n± {sd[i, j]:.1%}" if np.isfinite(sd[i, j]) else "")
            ax.text(
                j, i, text, ha="center", va="center", color="white" if mean[i, j] <= middle else "black", fontsize=9
            )
    ax.set_xticks(range(len(x)), [_brief(level) for level in _levels([v[0] for v in values])])
    ax.set_yticks(range(len(y)), [_brief(level) for level in _levels([v[1] for v in values])])
    ax.set(xlabel=names[0], ylabel=names[1])
    figure.colorbar(image, ax=ax, format=PercentFormatter(1.0), label=f"{what} accuracy")
    return figure


def _levels(column: Sequence[Any]) -> list[Any]:
    """The distinct values: numbers ascending, others as they come."""
    distinct = list({plain(value): value for value in column}.values())
    return sorted(distinct) if _numeric(distinct) else distinct


def _numeric(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _brief(value: Any) -> str:
    text = short(value)
    return text if len(text) <= 24 else text[:23] + "…"
