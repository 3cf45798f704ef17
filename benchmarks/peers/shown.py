"""Tables and the picture of what tools took."""

from __future__ import annotations

import csv
import math
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

BEGIN, END = "<!-- made by a script -->", "<!-- to here -->"
COLUMNS = (
    "task",
    "neurons",
    "steps",
    "batch",
    "tool",
    "version",
    "ms_per_sample",
    "ratio",
    "steps_timed",
    "first_step_s",
)
COLUMNS += ("loss", "spikes_per_neuron", "peak_GB", "note", "machine")

SIZE = ("task", "neurons", "steps", "batch")

Rows = list[dict[str, Any]]


def machine() -> str:
    """The processor and how many of its cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    except OSError:
        pass  # another system's name of it will do
    return f"{_cores()} core{'s' * (_cores() > 1)} of {model}, {platform.system()}, Python {platform.python_version()}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def number(value: Any, digits: int = 3) -> str:
    """As a table has it; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def line(row: dict[str, Any]) -> str:
    """For the terminal."""
    return "  ".join(f"{name} {number(value)}" for name, value in row.items() if value != "")


def times(rows: Rows) -> str:
    """The Markdown table of times."""
    told = ["| task: neurons, steps, batch | tool | ms/sample | times ours | peak memory |", "|---|---|---|---|---|"]
    for row in rows:
        size = f"{row['task']}: {', '.join(str(row[n]) for n in SIZE[1:] if row[n] != '')}"
        if row["note"]:
            told.append(f"| {size} | {row['tool']} | {row['note']} | – | – |")
            continue
        name, _, way = row["tool"].partition(", ")
        tool = ", ".join(filter(None, (f"{name} {row['version']}", way))) if row["ratio"] != 1.0 else f"**{name}**"
        cells = (size, tool, number(row["ms_per_sample"]), number(row["ratio"]))
        told.append(f"| {' | '.join(cells)} | {row['peak_GB']:.2f} GB |")
    return "\n".join(told)


def differences(rows: Rows) -> str:
    """The Markdown table of gradients."""
    names = [n for n in ("loss", "in_to_hid", "hid_to_hid0", "hid_to_out") if any(n in row for row in rows)]
    told = [f"| network | tool | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for row in rows:
        cells = [row.get("note") or number(row.get(name), 1) for name in names]
        told.append(f"| {row['network']} | {row['tool']} | {' | '.join(cells)} |")
    return "\n".join(told)


def write(folder: Path, rows: Rows, gradients: Rows, page: Path | None) -> None:
    """``peers.csv``, ``peers.png``, and the tables: between the marks of ``page``, or in ``peers.md`` without one."""
    where = machine()
    with open(folder / "peers.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({**row, "machine": where} for row in rows)
    text = f"{where}:\n\n{times(rows)}\n"
    if gradients:
        text += "\nLargest difference of gradients from ours, over the largest gradient of that kind:\n\n"
        text += differences(gradients) + "\n"
    picture(rows, folder / "peers.png")
    if page is None:
        (folder / "peers.md").write_text(text, encoding="utf-8")
    else:
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(text)


def picture(rows: Rows, path: Path) -> None:
    """Times a sample, a panel for each case, on one logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    there = [row for row in rows if not row["note"]]
    panels = list(dict.fromkeys(tuple(row[n] for n in SIZE) for row in there))
    if not panels:
        return
    sizes = [sum(tuple(r[n] for n in SIZE) == panel for r in there) for panel in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(8, 0.5 * len(panels) + 0.28 * sum(sizes)),
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": sizes},
        layout="constrained",
    )
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        own = [row for row in there if tuple(row[n] for n in SIZE) == panel]
        values = np.array([row["ms_per_sample"] for row in own])
        colours = ["tab:orange" if row["ratio"] == 1.0 else "tab:blue" for row in own]
        axis.scatter(values, [row["tool"] for row in own], color=colours, zorder=2)
        for y, row in enumerate(own):
            axis.text(row["ms_per_sample"] * 1.3, y, f"{number(row['ms_per_sample'])} ms", va="center", fontsize=8)
        axis.grid(axis="x", color="0.85", zorder=0)
        axis.margins(y=0.5 / len(own))
        axis.set_title(
            f"{panel[0]}: {panel[1]} neurons, {f'{panel[2]} steps, ' * bool(panel[2])}batch {panel[3]}",
            fontsize=9,
            loc="left",
        )
        axis.set_xscale("log")
        axis.invert_yaxis()
        axis.tick_params(labelsize=8)
    axes[-1, 0].set_xlabel("milliseconds a sample: forward pass, gradient, Adam (logarithmic)")
    axes[-1, 0].set_xlim(right=6 * max(row["ms_per_sample"] for row in there))
    figure.savefig(path, dpi=110)
    plt.close(figure)
