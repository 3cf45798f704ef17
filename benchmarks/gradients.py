"""How exact the engine's gradients are: against the tests' event-driven oracle, for every neuron type and loss.

Random recurrent networks (6 inputs, 8 neurons in each hidden layer, 3 outputs, 60 ms; one hidden layer, two, or one
with two delayed copies of the input) are simulated by the engine in float32, with spikes on grids of several steps and
at their exact times, and their gradients compared with the oracle's. For each kind of parameter the table has, over the
networks, the median relative error |g - exact| / |exact| and its quartiles, the median cosine, and the order: p if the
error falls as dt^p to the next smaller step on the same networks.

Networks are taken as drawn, except those in which a spike grazes its threshold (tau_mem d(V - B)/dt below 0.2 at a
spike, where the threshold is 1) or lies within 1 us of another event, and, where the loss goes by first spikes, those
in which the label's output has none. At each step those count that have, neuron by neuron, the exact number of spikes:
a spike more or less is another gradient. How many do is told, and the error over all networks is in the file too. As
coarse grids pass the easier networks, medians grow more slowly with the step than the error of a network does (order).

To expect: first order on a grid, worst for "max", whose maximum a coarse grid may see at another spike; at exact times
the rounding of float32, and second order where the loss's weight is curved, for it is taken as straight within a step.

Run: python benchmarks/gradients.py [--networks N] [--processes N]; 3 to 6 minutes; writes docs/gradients.{csv,png}.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from oracle_networks import NEURONS, PARAMETERS, Array, EngineTwin, Family, Gradients, Sample, oracle, samples

from eventprop import files
from eventprop.backends.cpu.engine import available_threads
from eventprop.reports import plots
from eventprop.terminal import prepare

DOCS = Path(__file__).parents[1] / "docs"
ARCHITECTURES = ((1, 0), (2, 0), (1, 2))  # hidden layers, delayed copies of the input
FAMILIES = tuple(Family(n, *a, spiking=s) for n in NEURONS for a in ARCHITECTURES for s in (False, True))
LOSSES = (*(loss for loss in oracle.VOLTAGE_LOSSES if loss not in oracle.VALUE_LOSSES), *oracle.SPIKE_LOSSES)
ON_GRID_ONLY = ("avg_xentropy", "max")
GRID_MS, EXACT_MS = (1.0, 0.5, 0.25, 0.1, 0.05), (5.0, 2.0, 1.0)
COLUMNS = (*(("grid", dt) for dt in GRID_MS), *(("exact", dt) for dt in EXACT_MS))
PANELS = {
    "hidden weights": "weights onto hidden neurons",
    "hidden time constants": "hidden time constants",
    "read-out weights": "read-out weights",
}
GROUPS = {
    "sum, sum_weigh_linear, avg_xentropy": (("sum", "sum_weigh_linear", "avg_xentropy"), "#2a6fb0"),
    "sum_weigh_exp, _sigmoid, _input": (("sum_weigh_exp", "sum_weigh_sigmoid", "sum_weigh_input"), "#d9730d"),
    "first_spike, first_spike_exp": (oracle.SPIKE_LOSSES, "#2e8b57"),
    "max": (("max",), "#b03a6f"),
}
MARKERS = {"LIF": ("o", 0.95), "hetLIF": ("s", 1.0), "ALIF": ("^", 1.05)}  # and a shift, so that all are seen
REMARKS = {
    "spikes on a grid:\nfirst order in the step": (0.05, 8e-3, "left"),
    "exact spike times,\nloss weight curved:\nsecond order": (0.05, 8e-4, "left"),
    "_input": (0.83, 2.3e-4, "right"),
    "_sigmoid": (0.83, 8.5e-5, "right"),
    "_exp": (0.83, 2.3e-5, "right"),
    "exact spike times,\nother losses:\nrounding of float32": (0.05, 1.6e-6, "left"),
}
PRINTED = ("hidden weights", "read-out weights", "hidden time constants", "output time constants")


@dataclass(frozen=True)
class Comparison:
    """Engine and oracle on the networks of a family, for one loss and step.

    Attributes:
        input_ms: input spikes lie on whole multiples of it.
        same: (network,) whether the engine has the exact spike counts.
        errors, cosines: by parameter, (network,) relative error and cosine; NaN where the exact gradient is 0.
    """

    family: Family
    loss: str
    timing: str
    dt_ms: float
    input_ms: int
    same: NDArray[np.bool_]
    errors: dict[str, Array]
    cosines: dict[str, Array]


@dataclass(frozen=True)
class Row:
    """A line of the file; errors, cosine and order are of the networks with the exact spike counts."""

    neuron: str
    loss: str
    layers: int
    delayed_copies: int
    timing: str
    dt_ms: float
    parameter: str
    n_networks: int
    n_drawn: int
    relative_error: float
    lower_quartile: float
    upper_quartile: float
    cosine: float
    order: float
    relative_error_all: float


def steps(loss: str, input_ms: int) -> list[tuple[str, float]]:
    """Timings and steps, ms, to measure with input spikes on whole multiples of ``input_ms``: for 1 ms all grids, and
    the exact times with that step and with 1 ms."""
    grid = [("grid", dt) for dt in GRID_MS] if input_ms == 1 else []
    exact = [] if loss in ON_GRID_ONLY else [("exact", dt) for dt in EXACT_MS if dt in (1, input_ms)]
    return grid + exact


def compare(
    found: Sequence[Sample], exact: Sequence[Gradients], twin: EngineTwin
) -> tuple[NDArray[np.bool_], Array, Array]:
    """(network,) whether counts are the exact ones, (parameter, network) relative errors and cosines."""
    same, errors, cosines = [], [], []
    for sample, true in zip(found, exact, strict=True):
        gradients, counts_agree = twin.gradients(sample)
        same.append(counts_agree)
        pairs = [(gradients[p], true[p]) for p in true]
        errors.append([_ratio(_norm(g - e), _norm(e)) for g, e in pairs])
        cosines.append([_ratio(float(g @ e), _norm(g) * _norm(e)) for g, e in pairs])
    return np.array(same), np.array(errors).T, np.array(cosines).T


def _norm(values: Array) -> float:
    return float(np.linalg.norm(values))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def measure(family: Family, networks: int) -> list[Comparison]:
    """All comparisons of a family: this number of networks, and a third of it with input spikes further apart."""
    result = []
    for input_ms in (1, 2, 5):
        found = list(itertools.islice(samples(family, input_ms), networks if input_ms == 1 else -(-networks // 3)))
        for loss in family.losses:
            wanted = steps(loss, input_ms)
            exact = [sample.exact_gradients(loss) for sample in found] if wanted else []
            for timing, dt in wanted:
                twin = EngineTwin(family, found[0].network, loss, dt, timing)
                same, errors, cosines = compare(found, exact, twin)
                named = (dict(zip(exact[0], values, strict=True)) for values in (errors, cosines))
                result.append(Comparison(family, loss, timing, dt, input_ms, same, *named))
    return result


def reported(comparisons: Iterable[Comparison], timing: str, dt_ms: float) -> list[Comparison]:
    """Those of a column of the table: at exact times, input spikes are as far apart as the steps may be long."""
    return [
        c for c in comparisons if (c.timing, c.dt_ms) == (timing, dt_ms) and (timing == "grid" or c.input_ms == dt_ms)
    ]


def pooled(comparisons: Iterable[Comparison], parameter: str) -> Array:
    """Relative errors of all networks with the exact spike counts."""
    parts = [c.errors[parameter][c.same] for c in comparisons if parameter in c.errors]
    values = np.concatenate([np.zeros(0), *parts])
    return values[np.isfinite(values)]


def median(values: Array) -> float:
    """Median of what is finite, NaN if nothing is."""
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else math.nan


def order(coarse: Comparison, others: Iterable[Comparison], parameter: str) -> float:
    """Median over the networks of log(error ratio) / log(dt ratio) to the next smaller step, NaN if there is none."""
    kind = (coarse.family, coarse.loss, coarse.timing, coarse.input_ms)
    finer = [c for c in others if (c.family, c.loss, c.timing, c.input_ms) == kind and c.dt_ms < coarse.dt_ms]
    if not finer:
        return math.nan
    fine = max(finer, key=lambda c: c.dt_ms)
    both = coarse.same & fine.same
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(coarse.errors[parameter][both] / fine.errors[parameter][both])
    return median(ratio / math.log(coarse.dt_ms / fine.dt_ms))


def rows(comparisons: Sequence[Comparison]) -> Iterator[Row]:
    """The file's lines."""
    for timing, dt in COLUMNS:
        for c in reported(comparisons, timing, dt):
            for parameter in (p for p in PARAMETERS if p in c.errors and np.isfinite(c.errors[p]).any()):
                errors = pooled([c], parameter)
                quartiles = np.quantile(errors, [0.25, 0.5, 0.75]) if errors.size else np.full(3, math.nan)
                yield Row(
                    neuron=c.family.neuron,
                    loss=c.loss,
                    layers=c.family.layers,
                    delayed_copies=c.family.copies,
                    timing=timing,
                    dt_ms=dt,
                    parameter=parameter,
                    n_networks=errors.size,
                    n_drawn=c.same.size,
                    relative_error=quartiles[1],
                    lower_quartile=quartiles[0],
                    upper_quartile=quartiles[2],
                    cosine=median(c.cosines[parameter][c.same]),
                    order=order(c, comparisons, parameter),
                    relative_error_all=median(c.errors[parameter]),
                )


def write_csv(lines: Iterable[Row], path: Path) -> None:
    """Numbers have four significant digits; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    for line in lines:
        writer.writerow(_cell(value) for value in asdict(line).values())
    files.write_text(path, text.getvalue())


def _cell(value: str | float) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def table(family: Family, comparisons: Sequence[Comparison]) -> str:
    """A family's errors by loss, parameter and step."""
    width = 46
    head = " ".join(f"{dt:>7g}" for _, dt in COLUMNS)
    counts = [reported(comparisons, *column)[:1] for column in COLUMNS]
    told = " ".join(f"{c[0].same.sum():>7d}" if c else " " * 7 for c in counts)
    lines = [
        f"{_title(family):<{width}}{'spikes on a grid of ... ms':<40}{'exact, ... ms':<24}{'order':>6} {'cosine':>7}",
        f"{'loss, gradient by':<{width}}{head}{'.1-.05':>7} {'.1 ms':>7}",
        f"{f'of {comparisons[0].same.size} networks, with the exact spike counts':<{width}}{told}",
    ]
    for loss in family.losses:
        own = [c for c in comparisons if c.loss == loss]
        lines += [f"{loss:<20}{p:<{width - 20}}{_line(own, p)}" for p in PRINTED]
    return "\n".join(lines)


def agreement(comparisons: Sequence[Comparison]) -> str:
    """How many networks have the exact spike counts, by step and number of hidden layers."""
    lines = ["networks with the exact spike counts:  one hidden layer    two"]
    for timing, dt in COLUMNS:
        own = [c for c in reported(comparisons, timing, dt) if c.loss == c.family.losses[0]]
        one, two = (np.concatenate([c.same for c in own if c.family.layers == layers]) for layers in (1, 2))
        lines.append(f"{f'{timing} {dt:g} ms':>36}  {one.sum():>5} of {one.size} {two.sum():>9} of {two.size}")
    return "\n".join(lines)


def _title(family: Family) -> str:
    delayed = f", {family.copies} delayed copies" if family.copies else ""
    return f"{family.neuron}, {family.layers} hidden layer{'s' * (family.layers > 1)}{delayed}"


def _line(comparisons: Sequence[Comparison], parameter: str) -> str:
    errors = [median(pooled(reported(comparisons, *column), parameter)) for column in COLUMNS]
    fine = reported(comparisons, "grid", 0.1)[0]
    cosine = median(fine.cosines[parameter][fine.same])
    numbers = " ".join(f"{e:7.1e}" if math.isfinite(e) else " " * 7 for e in errors)
    return f"{numbers}{order(fine, comparisons, parameter):7.2f} {cosine:7.4f}"


def markdown(comparisons: Sequence[Comparison], by_neuron: bool) -> str:
    """Table for the README: median relative errors by loss, over all architectures and neuron types or by these."""
    columns = (("grid", 1.0), ("grid", 0.1), ("exact", 1.0))
    parameters = {"hidden weights": "weights", "hidden time constants": "τ"}
    keys = ["neuron", "loss"] if by_neuron else ["loss"]
    heads = [f"{short}, {timing} {dt:g} ms" for short in parameters.values() for timing, dt in columns]
    lines = [f"| {' | '.join(keys + heads)} |", "|---" * len(keys + heads) + "|"]
    for neurons, loss in itertools.product([(n,) for n in NEURONS] if by_neuron else [NEURONS], LOSSES):
        own = [c for c in comparisons if c.family.neuron in neurons and c.loss == loss]
        errors = [median(pooled(reported(own, *column), p)) for p in parameters for column in columns]
        cells = [neurons[0]] * by_neuron + [f"`{loss}`"] + [_short(e) for e in errors]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(error: float) -> str:
    """In percent, powers of ten where that is small, a dash where it is not known."""
    if not math.isfinite(error):
        return "–"
    return f"{100 * error:.2g} %" if error >= 1e-3 else f"{error:.0e}".replace("e-0", "e-")


def figure(comparisons: Sequence[Comparison]) -> Figure:
    """Median relative errors by step, a panel for each kind of parameter; a line for each neuron type and group of
    losses (on the grid) or loss (at exact times)."""
    picture = Figure(figsize=(9, 5.4), layout="constrained")
    panels = picture.subplots(1, len(PANELS), sharex=True, sharey=True)
    for ax, (parameter, title) in zip(panels, PANELS.items(), strict=True):
        for (losses, colour), (neuron, (marker, shift)) in itertools.product(GROUPS.values(), MARKERS.items()):
            for timing, steps_ms, bundle in [("grid", GRID_MS, losses), *(("exact", EXACT_MS, (l,)) for l in losses)]:
                own = [c for c in comparisons if c.family.neuron == neuron and c.loss in bundle]
                errors = [median(pooled(reported(own, timing, dt), parameter)) for dt in steps_ms]
                ax.plot(np.multiply(steps_ms, shift), errors, color=colour, marker=marker, markersize=4, linewidth=1)
        _furnish(ax, title)
    panels[0].set_ylabel("relative error of the gradient")
    for text, (dt, error, side) in REMARKS.items():
        panels[0].text(dt, error, text, fontsize=9, color="0.25", va="center", ha=side, linespacing=1.3)
    names = [Line2D([], [], color=colour, linewidth=3, label=name) for name, (_, colour) in GROUPS.items()]
    names += [Line2D([], [], color="0.35", marker=m, linestyle="none", label=n) for n, (m, _) in MARKERS.items()]
    picture.legend(handles=names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    picture.suptitle("How far the engine's gradients are from the exact ones (medians over random recurrent networks)")
    return picture


def _furnish(ax: Axes, title: str) -> None:
    """Scales, ticks and title of a panel."""
    ax.set(xscale="log", yscale="log", xlabel="time step (ms)", title=title, ylim=(5e-8, 3))
    ax.set_xticks((*GRID_MS, 2.0, 5.0), [f"{dt:g}" for dt in (*GRID_MS, 2.0, 5.0)], fontsize=9)
    ax.minorticks_off()
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--networks", type=int, default=48, help="for each kind of network")
    options.add_argument("--processes", type=int, default=available_threads())
    options.add_argument("--folder", type=Path, default=DOCS, help="for gradients.csv and gradients.png")
    given = options.parse_args()
    prepare()  # the table has characters that a terminal may lack
    start = time.perf_counter()
    comparisons: list[Comparison] = []
    with multiprocessing.Pool(given.processes) as pool:
        measured = pool.imap(partial(measure, networks=given.networks), FAMILIES)
        for family, own in zip(FAMILIES, measured, strict=True):
            print(f"{table(family, own)}\n", flush=True)
            comparisons += own
    write_csv(rows(comparisons), given.folder / "gradients.csv")
    plots.save(figure(comparisons), given.folder / "gradients.png")
    print(agreement(comparisons))
    for by_neuron in (True, False):
        print(f"\n{markdown(comparisons, by_neuron)}")
    print(f"\n{time.perf_counter() - start:.0f} s; wrote gradients.csv and gradients.png to {given.folder}")


if __name__ == "__main__":
    main()
