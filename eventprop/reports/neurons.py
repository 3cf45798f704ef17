"""Pictures of what neurons and synapses are and do: potentials, adjoints, spikes, delays, time constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eventprop.reports.drawing import BLUE, ORANGE, Picture, bare

__all__ = ["delays", "potential", "time_constants", "voltages"]

_SYMBOLS = {"V": "$V$", "Isyn": r"$I_\mathrm{syn}$", "lambda_V": r"$\lambda_V$", "lambda_I": r"$\lambda_I$"}
_SYMBOLS |= {"B": "$B$", "lambda_B": r"$\lambda_B$", "tau_mem": r"$\tau_\mathrm{mem}$"}
_SYMBOLS |= {"tau_syn": r"$\tau_\mathrm{syn}$", "tau_b": r"$\tau_B$"}


def voltages(
    times_ms: np.ndarray, traces: Mapping[str, np.ndarray], adjoints: Mapping[str, np.ndarray], title: str = ""
) -> Figure:
    """Variables of some neurons over the trial, each above its adjoint.

    Args:
        times_ms: ``(steps,)``.
        traces, adjoints: by name, ``(steps, neurons)``; a pair of rows for each, in their order.
    """
    rows = [*traces.items(), *adjoints.items()]
    figure = Picture(figsize=(8.6, 1.0 + 1.8 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
    most: list[Any] = []
    for ax, (name, values) in zip(axes, rows, strict=True):
        lines = [ax.plot(times_ms, trace, linewidth=1.0)[0] for trace in np.atleast_2d(values.T)]
        most = lines if len(lines) > len(most) else most
        ax.set_ylabel(_SYMBOLS.get(name, name) + (" (adjoint)" if name in adjoints else ""))
        ax.axhline(0, color="black", linewidth=0.5)
    bare(*axes)
    axes[-1].set(xlabel="time (ms)", xlim=(0, times_ms[-1]))
    names = [f"neuron {number}" for number in range(len(most))]
    figure.legend(most, names, frameon=False, loc="outside right upper")
    if title:
        figure.suptitle(title)
    return figure


def potential(
    times_ms: np.ndarray,
    v: np.ndarray,
    spikes_ms: np.ndarray,
    threshold: float | np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """A neuron's potential over the trial, with its threshold and spikes.

    Args:
        times_ms, v: ``(steps,)``.
        spikes_ms: when it spikes.
        threshold: of the potential, one number or ``(steps,)``; None for a neuron without.
    """
    figure = Picture(figsize=(8, 3), layout="constrained")
    ax = figure.subplots()
    ax.plot(times_ms, v, color=BLUE, linewidth=1.0, label="potential")
    top = float(np.max(v, initial=0.0))
    if threshold is not None:
        limit = np.broadcast_to(threshold, times_ms.shape)
        ax.plot(times_ms, limit, "--", color=ORANGE, linewidth=1.0, label="threshold")
        top = max(top, float(limit.max()))
    if spikes_ms.size:
        span = max(top - float(np.min(v, initial=0.0)), 1e-6)
        low, high = top + 0.05 * span, top + 0.2 * span
        ax.vlines(spikes_ms, low, high, color="black", linewidth=0.9, label=f"spikes ({spikes_ms.size})")
    ax.set(xlabel="time (ms)", ylabel="potential $V$", xlim=(0, times_ms[-1]))
    bare(ax)
    figure.legend(frameon=False, loc="outside right upper")
    if title:
        figure.suptitle(title)
    return figure


def delays(after: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray] | None = None, title: str = "") -> Figure:
    """How many synapses have which delay, a panel for each synapse population.

    Args:
        after: delays in ms, of any shape, by synapse population.
        before: likewise those from before training, which are drawn as a line.
    """
    return _histograms(
        {name: (name, a, (before or {}).get(name)) for name, a in after.items()}, "delay (ms)", "synapses", title
    )


def time_constants(
    after: Mapping[str, Mapping[str, np.ndarray]],
    before: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    title: str = "",
) -> Figure:
    """How many neurons have which time constant, a panel for each population and time constant.

    Args:
        after: in ms, ``(size,)`` by population and name, as :meth:`Simulator.time_constants` gives them.
        before: likewise those from before training, which are drawn as a line.
    """
    panels = {
        f"{q}.{n}": (f"{q}: {_SYMBOLS.get(n, n)}", values, (before or {}).get(q, {}).get(n))
        for q, own in after.items()
        for n, values in own.items()
    }
    return _histograms(panels, "time constant (ms)", "neurons", title)


def _histograms(
    panels: Mapping[str, tuple[str, np.ndarray, np.ndarray | None]], unit: str, what: str, title: str
) -> Figure:
    """A histogram in each panel, of its name, values, and those from before."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Picture(figsize=(3.4 * columns, 2.7 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    handles: dict[str, Any] = {}
    for ax, (name, values, before) in zip(axes.flat, panels.values(), strict=False):
        both = np.ravel(values) if before is None else np.concatenate([np.ravel(values), np.ravel(before)])
        low, high = float(both.min()), float(both.max())
        low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
        edges = np.linspace(low, high, 31)
        handles["after training" if before is not None else "now"] = ax.hist(np.ravel(values), edges, color=BLUE)[2]
        if before is not None:
            style: dict[str, Any] = {"histtype": "step", "color": ORANGE, "linewidth": 1.2}
            handles["before"] = ax.hist(np.ravel(before), edges, **style)[2][0]
        ax.set_title(name, fontsize=10)
        ax.set(xlabel=unit, ylabel=what)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    bare(*axes.flat)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    if "before" in handles:
        figure.legend([*handles.values()], [*handles], frameon=False, loc="outside lower center", ncols=2)
    if title:
        figure.suptitle(title)
    return figure
