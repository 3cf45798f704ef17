"""A neuron's certificate: the engine's gradients against differences in continuous time, on random small networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from eventprop.certificate.circuits import Circuit
from eventprop.certificate.differences import Differences, IllConditioned, differentiate
from eventprop.certificate.drawing import Scale, circuits, is_linear, scale_of
from eventprop.certificate.engine import Found, relative, run, timings
from eventprop.certificate.expressions import Array
from eventprop.certificate.smooth import smooth_errors
from eventprop.declarations import Neuron
from eventprop.network import SPIKE_TIMINGS

__all__ = ["EXACT_LIMIT", "GRID_LIMIT", "LOSSES", "SMOOTH_LIMIT", "Certificate", "Column", "Example", "certify"]

EXACT_LIMIT, SMOOTH_LIMIT, GRID_LIMIT = 1e-4, 1e-4, 0.05
"""Of median relative errors: with spikes at exact times, of the smooth step, and on the finest grid."""

LEAST_ORDER, FEWEST_FOR_ORDER = 0.6, 10
"""Of the fall of the error on grids, which is 1 where it is as the step, and of how many networks that is known: where
a spike lies in its step is chance."""

LOSSES = ("sum", "sum_weigh_exp", "first_spike")
INPUT_MS = 1.0
GRIDS_MS = (0.5, 0.1, 0.02, 0.005)
_MOST_DRAWN = 40  # for each network that is wanted


@dataclass(frozen=True, order=True)
class Column:
    """Where spikes are within steps, and how long these are."""

    timing: str
    dt_ms: float


@dataclass(frozen=True)
class Example:
    """A network with its differences and what engines found, for the picture."""

    circuit: Circuit
    exact: Differences
    loss: str
    column: Column
    found: Found


@dataclass
class Certificate:
    """What was measured.

    Attributes:
        neuron, scale, linear: the neuron, its time scale, and whether its equations are linear.
        errors: by loss, column and group, relative errors of the networks in which the engine has the exact spike
            counts.
        counted: by loss and column, how many these are.
        networks: by loss, how many networks have differences.
        own: largest relative error of the differences, as they show it themselves.
        smooth: by group, relative errors of the smooth step.
        rejected: reasons why networks were not taken, and how often.
        refused: what the engine refused, and why.
        example: a network.
    """

    neuron: Neuron
    scale: Scale
    linear: bool
    errors: dict[str, dict[Column, dict[str, list[float]]]] = field(default_factory=dict)
    counted: Counter[tuple[str, Column]] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    own: float = 0.0
    smooth: dict[str, list[float]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    example: Example | None = None

    def order(self, group: str) -> float:
        """Median over networks and losses of log(error ratio) / log(dt ratio), between the finest grid and the second
        coarsest; NaN if there is none."""
        fine, coarse = Column("grid", GRIDS_MS[-1]), Column("grid", GRIDS_MS[1])
        ratios = [
            math.log(a / b) / math.log(coarse.dt_ms / fine.dt_ms)
            for own in self.errors.values()
            for a, b in zip(own.get(coarse, {}).get(group, []), own.get(fine, {}).get(group, []), strict=True)
            if a > 0 and b > 0 and math.isfinite(a) and math.isfinite(b)
        ]
        return float(np.median(ratios)) if ratios else math.nan

    @property
    def groups(self) -> list[str]:
        """Groups of numbers with gradients, in order."""
        found = [g for own in self.errors.values() for groups in own.values() for g in groups]
        return list(dict.fromkeys(found))

    def complaints(self) -> Iterator[str]:
        """What is not as it must be."""
        if not self.networks:
            yield f"no network of {self.rejected.total()} has a gradient that differences find"
        for loss, own in self.errors.items():
            if not self.counted[loss, Column("grid", GRIDS_MS[-1])]:
                yield f"{loss}: no network has the exact spike counts at {GRIDS_MS[-1]:g} ms"
            for column, groups in own.items():
                limit = EXACT_LIMIT if column.timing == "exact" else GRID_LIMIT
                if column.timing == "exact" or column.dt_ms == GRIDS_MS[-1]:
                    for group, values in groups.items():
                        if not median(values) <= limit and counted(values):
                            yield f"{loss}, {column.timing} {column.dt_ms:g} ms, {group}: {median(values):.1e}"
        many = max(self.networks.values(), default=0) >= FEWEST_FOR_ORDER
        for group in self.groups:
            if many and self.order(group) < LEAST_ORDER:
                yield f"{group}: the error falls with the step to the power of {self.order(group):.2f} only"
        for group, values in self.smooth.items():
            if not median(values) <= SMOOTH_LIMIT:
                yield f"smooth step, {group}: {median(values):.1e}"


def median(values: list[float]) -> float:
    """Median of what is a number."""
    known = [v for v in values if not math.isnan(v)]
    return float(np.median(known)) if known else math.nan


def counted(values: list[float]) -> int:
    """How many are numbers."""
    return sum(not math.isnan(v) for v in values)


def certify(
    neuron: Neuron,
    networks: int = 20,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    losses: Collection[str] = LOSSES,
    wanted: Collection[str] = tuple(SPIKE_TIMINGS),
) -> Certificate:
    """Compare the CPU engine with differences.

    Args:
        neuron: its declaration.
        networks: how many random networks.
        seed: which ones.
        tell: is told how far it is.
        losses, wanted: for which losses and spike timings.

    Raises:
        ValueError: the declaration is wrong.
        ImportError: SciPy is not installed.
    """
    found = Certificate(neuron, scale_of(neuron), is_linear(neuron))
    if found.linear and "exact" not in timings(neuron):
        found.refused["exact"] = "the engine has no exact spike times for this neuron"
    for number, (circuit, exact) in enumerate(_conditioned(found, networks, seed, losses)):
        tell(f"network {number + 1} of {networks}")
        _compare(found, circuit, exact, wanted)
    tell("smooth step")
    found.smooth = smooth_errors(neuron, found.scale, GRIDS_MS[0], max(2, networks // 4), seed)
    return found


def _conditioned(
    found: Certificate, networks: int, seed: int, losses: Collection[str]
) -> Iterator[tuple[Circuit, Differences]]:
    """That many networks with differences, and why others have none."""
    taken = 0
    for drawn, circuit in enumerate(circuits(found.neuron, INPUT_MS, seed)):
        if taken == networks or drawn == _MOST_DRAWN * networks:
            return
        if isinstance(circuit, str):
            found.rejected[circuit] += 1
            continue
        circuit = replace(circuit, read_outs=tuple(r for r in circuit.read_outs if set(r.losses) & set(losses)))
        try:
            exact = differentiate(circuit, found.scale)
        except IllConditioned as error:
            found.rejected[str(error)] += 1
            continue
        found.rejected.update(exact.refused.values())
        if exact.gradients:
            taken += 1
            yield circuit, exact


def _compare(found: Certificate, circuit: Circuit, exact: Differences, wanted: Collection[str]) -> None:
    steps = {"grid": GRIDS_MS, "substep": (INPUT_MS, *GRIDS_MS[1::2]), "exact": (INPUT_MS,)}
    columns = [Column(timing, dt) for timing in timings(found.neuron) if timing in wanted for dt in steps[timing]]
    for read_out in circuit.read_outs:
        for loss in read_out.losses:
            if loss not in exact.gradients:
                continue
            found.networks[loss] += 1
            found.own = max(found.own, exact.errors[loss])
            for column in columns:
                label = f"{column.timing}, {loss}"
                if label in found.refused:
                    continue
                try:
                    own = run(circuit, read_out, loss, column.dt_ms, column.timing, recorded=_is_shown(found, column))
                except ValueError as error:
                    found.refused[label] = str(error)
                    continue
                same = _same_counts(own, exact, loss)
                found.counted[loss, column] += same
                _keep(found, loss, column, exact.gradients[loss], own if same else None)
                if _is_shown(found, column) and same:
                    found.example = Example(circuit, exact, loss, column, own)


def _is_shown(found: Certificate, column: Column) -> bool:
    return found.example is None and column == Column("grid", GRIDS_MS[1])


def _same_counts(own: Found, exact: Differences, loss: str) -> bool:
    heard = np.flatnonzero(exact.outputs[loss].counts[0]) if loss in exact.outputs else np.zeros(0)
    return np.array_equal(own.counts, exact.hidden.counts[0]) and np.array_equal(own.heard, heard)


def _keep(found: Certificate, loss: str, column: Column, exact: dict[str, Array], own: Found | None) -> None:
    """Errors of a network, not numbers where the engine's spikes are others."""
    kept = found.errors.setdefault(loss, {}).setdefault(column, {})
    for group, values in exact.items():
        if own is None or group in own.gradients:
            error = math.nan if own is None else relative(own.gradients[group], values)
            kept.setdefault(group, []).append(error)
