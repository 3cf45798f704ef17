"""What is derived from a neuron's declaration, as snippets of GeNNCode that both backends put their loops around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eventprop.snippets import names_in

__all__ = ["NeuronModel", "Propagator"]


@dataclass(frozen=True)
class Propagator:
    """exp(A dt) of a linear system, computed in double precision whenever a parameter changes.

    Attributes:
        matrix: A, by row and column; variables in the model's order, with the offset as a last column where there is
            one.
        entries: name of the constant that each entry of exp(A dt) is, "" for those that are 0, or 1 on the diagonal of
            a constant.
        slopes: by parameter, dA by it, likewise, and the names of the entries of d exp(A dt) by it.
    """

    matrix: tuple[tuple[str, ...], ...]
    entries: tuple[tuple[str, ...], ...]
    slopes: Mapping[str, tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]]

    @property
    def names(self) -> tuple[str, ...]:
        """All entries that have a name, and after them the derivatives, in a fixed order."""
        return tuple(
            n for rows in (self.entries, *(s[1] for s in self.slopes.values())) for row in rows for n in row if n
        )

    @property
    def parameters(self) -> frozenset[str]:
        """What the matrix is of."""
        return frozenset(n for row in self.matrix for e in row for n in names_in(e))


@dataclass(frozen=True)
class NeuronModel:
    """A neuron type, ready for a backend.

    Attributes:
        parameters: names of parameters, each one value for the population or one per neuron.
        constants: expressions of parameters and ``dt`` alone; they change only when a parameter does.
        propagator: where constants are the entries of a matrix exponential.
        state: forward variables and their value at the start of a trial, those that spikes arrive at first.
        inputs: how many of these there are: 1, or 2 for positive and negative weights.
        arrive: what happens to the state before what arrives in a step is added.
        update: advances the state by ``dt``.
        scale_v: what ``lambda_V`` is scaled by.
        perturb: what membrane noise does to the state after the update.
        threshold: condition for a spike at the end of the step; empty for a neuron that never spikes.
        recorded: values kept with each spike for the backward pass, taken before the reset.
        reset: what happens to the state at a spike.
        quiet: condition under which the neuron cannot spike again in this trial unless input arrives.
        adjoint: backward variables; all are 0 at the end of a trial.
        back_program: what is computed first in a step backwards, of the adjoints at its end and, as
            ``<variable>_then``, the state at its start, after arrivals; empty for linear neurons, which need no state.
        adjoint_update: takes the adjoints back by ``dt``.
        jump: change of the adjoints at the neuron's own spike.
        jump_first: whether that comes before the step back in which the spike was, or after it, as published.
        collect: by parameter, what its gradient collects at each step, of what ``adjoint_update`` is of; for linear
            neurons of the state at the start of the step and the adjoints at its end.
        collect_jump: likewise at each spike: the adjoints after it (in time) and, as ``<adjoint>_new``, before it.
        collect_start: likewise at the start of the trial.
        gradient: what a weight's gradient collects at each spike of the source, of the target's adjoints and, where it
            reads any, state.
        transport: times the weight, what is added to the source's ``R`` at each of its spikes.

    Where a neuron's crossing of its threshold is solved within a step, or of a lane alone:

        level, climb: the threshold's expression, and its derivative by time (1/ms).
        flow, drift: of linear neurons, d/dt of each variable: the part that is linear in the state, and what it has
            besides.
        flow_back: likewise of each adjoint by reversed time.
        flow_collect: by parameter, what it collects of state and adjoints per ms.

    Where spikes have their exact times, and ``dt`` is any part of a step:

        exact: whether they may have them.
        integrals: of V, and of V times the time since the start; ``Isyn_start``, ``V_start`` are values there.
        integral_slopes: by parameter, derivatives of the integrals at fixed values at the start.
            In the second of each, ``integral`` and ``slope`` are the first.
        driven: values of the adjoints that follow a drive A which grows by A_slope per ms of reversed time.
    """

    name: str
    parameters: tuple[str, ...]
    constants: Mapping[str, str]
    state: Mapping[str, str]
    arrive: str
    update: str
    adjoint: tuple[str, ...]
    adjoint_update: str
    back_program: str
    gradient: tuple[str, ...]
    transport: tuple[str, ...]
    scale_v: str = "1.0"
    inputs: int = 1
    propagator: Propagator | None = None
    perturb: str = ""
    threshold: str = ""
    recorded: Mapping[str, str] = field(default_factory=dict)
    reset: str = ""
    quiet: str = "true"
    jump: str = ""
    jump_first: bool = False
    collect: Mapping[str, str] = field(default_factory=dict)
    collect_jump: Mapping[str, str] = field(default_factory=dict)
    collect_start: Mapping[str, str] = field(default_factory=dict)
    level: str = ""
    climb: str = ""
    flow: Mapping[str, str] = field(default_factory=dict)
    drift: Mapping[str, str] = field(default_factory=dict)
    flow_back: Mapping[str, str] = field(default_factory=dict)
    flow_collect: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    integrals: tuple[str, str] = ("", "")
    integral_slopes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    driven: Mapping[str, str] = field(default_factory=dict)

    def timed(self, code: str) -> list[str]:
        """Constants that ``code`` uses, directly or through others, and that depend on ``dt``, in order."""
        depending, used = {"dt"}, names_in(code)
        for name, expression in self.constants.items():
            if names_in(expression) & depending:
                depending.add(name)
        for name in reversed(tuple(self.constants)):
            if name in used and name in depending:
                used |= names_in(self.constants[name])
        return [n for n in self.constants if n in used and n in depending]

    @property
    def reads_state(self) -> bool:
        """Whether the backward pass reads the state at the start of each step."""
        return "_then" in self.back_program + self.adjoint_update + "".join(self.gradient + self.transport)
