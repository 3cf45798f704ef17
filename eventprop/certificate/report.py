"""A certificate as text and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eventprop import files
from eventprop.certificate.certify import GRIDS_MS, Certificate, Column, Example, counted, median
from eventprop.certificate.circuits import hidden_layer
from eventprop.certificate.expressions import Array
from eventprop.reports import plots

__all__ = ["picture", "table", "verdict", "write"]

_WIDTH = 20
_CELL = 17


def verdict(found: Certificate) -> str:
    """One line: whether the neuron's gradients are right, or the first thing that is not."""
    wrong = list(found.complaints())
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return f"{found.neuron.name}: NOT CERTIFIED: {wrong[0]}{more}"
    fine = Column("grid", GRIDS_MS[-1])
    errors = [median(values) for own in found.errors.values() for values in own.get(fine, {}).values()]
    exact = [
        median(values)
        for own in found.errors.values()
        for column, groups in own.items()
        for values in groups.values()
        if column.timing == "exact" and counted(values)
    ]
    parts = [f"{max(found.networks.values())} networks", f"grid {fine.dt_ms:g} ms within {max(errors):.1e}"]
    parts += [f"exact times within {max(exact):.1e}"] if exact else []
    parts += [f"smooth step within {max(map(median, found.smooth.values())):.1e}"] if found.smooth else []
    return f"{found.neuron.name}: certified: {', '.join(parts)}"


def table(found: Certificate) -> str:
    """Everything that was measured."""
    return "\n".join(_lines(found))


def _lines(found: Certificate) -> Iterator[str]:
    kind = "linear" if found.linear else "not linear"
    total = found.rejected.total()
    yield f"{found.neuron.name}: {kind}, trials of {found.scale.trial_ms:g} ms; errors are relative, median and worst"
    yield f"differences agree with themselves within {found.own:.0e}"
    for loss, own in found.errors.items():
        columns = sorted(own, key=lambda c: (c.timing != "grid", c.timing, -c.dt_ms))
        heads = "".join(f"{f'{c.timing} {c.dt_ms:g} ms':>{_CELL}}" for c in columns)
        yield f"\n{loss:<{_WIDTH}}{heads}{'order':>8}"
        told = "".join(f"{f'{found.counted[loss, c]} of {found.networks[loss]}':>{_CELL}}" for c in columns)
        yield f"{'networks':<{_WIDTH}}{told}"
        for group in found.groups:
            cells = "".join(f"{_cell(own[c].get(group, [])):>{_CELL}}" for c in columns)
            order = f"{found.order(group):8.2f}" if loss == next(iter(found.errors)) else ""
            yield f"{group:<{_WIDTH}}{cells}{order}"
    if found.smooth:
        yield "\nthe engine's smooth step against differences of its own loss"
        for group, values in found.smooth.items():
            yield f"{group:<{_WIDTH}}{_cell(values):>{_CELL}}"
    if total:
        yield f"\n{total} networks or read-outs were not taken:"
        yield from (f"{number:>6}  {reason}" for reason, number in found.rejected.most_common())
    yield from (f"not available: {what}: {why}" for what, why in found.refused.items())
    yield from (f"wrong: {line}" for line in found.complaints())


def _cell(values: list[float]) -> str:
    if not counted(values):
        return "-"
    return f"{median(values):.1e} {np.nanmax(values):.0e}"


def picture(example: Example) -> Figure:
    """Potentials and spikes of a network's hidden neurons, of the engine and of the integrator."""
    circuit, found = example.circuit, example.found
    times, voltages = _continuous(example)
    size = voltages.shape[1]
    figure = plots.Picture(figsize=(8, 1.9 * size + 1.0), layout="constrained")
    axes = figure.subplots(size, 1, sharex=True, squeeze=False)[:, 0]
    steps = (np.arange(len(found.voltages)) + 1) * example.column.dt_ms
    spikes = example.exact.hidden.spikes
    for n, ax in enumerate(axes):
        ax.plot(times, voltages[:, n], color="#d9730d", linewidth=2.5, alpha=0.6, label="continuous time")
        ax.plot(steps, found.voltages[:, n], color="#2a6fb0", linewidth=0.9, label="engine")
        top = max(float(np.nanmax(voltages[:, n])), float(found.voltages[:, n].max()))
        own = spikes.times[0][np.isfinite(spikes.times[0]) & (spikes.sources[0] == n)]
        ax.plot(own, np.full(own.size, top), "|", color="#d9730d", markersize=14, markeredgewidth=2.5, alpha=0.6)
        mine = found.times[found.sources == n]
        ax.plot(mine, np.full(mine.size, top), "|", color="#2a6fb0", markersize=9)
        ax.set_ylabel(f"V of neuron {n}")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="upper right", fontsize=8)
    axes[-1].set(xlabel="time (ms)", xlim=(0, circuit.trial_ms))
    figure.suptitle(f"{circuit.neuron.name}: steps of {example.column.dt_ms:g} ms and continuous time")
    return figure


def _continuous(example: Example) -> tuple[Array, Array]:
    """(point,) times and (point, neuron) potentials at the ends of the integrator's steps."""
    circuit = example.circuit
    solved = hidden_layer(circuit, {}, traced=True)
    row = list(circuit.neuron.state).index("V")
    points = [(t[0], x[row, 0]) for t, x, moved in solved.traces if moved[0]]
    return np.array([t for t, _ in points]), np.array([v for _, v in points])


def write(found: Certificate, folder: Path) -> list[Path]:
    """Write the table, and the picture of a network if there is one; which files that gave."""
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in found.neuron.name)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"certificate_{stem}.txt"]
    files.write_text(written[0], f"{table(found)}\n\n{verdict(found)}\n")
    if found.example is not None:
        written.append(folder / f"certificate_{stem}.png")
        plots.save(picture(found.example), written[1])
    return written
