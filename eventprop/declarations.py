"""The words in which :mod:`models` declares neurons, regularisers and the optimiser; :mod:`eventprop.losses` has those
of losses.

A neuron is what its paper prints: state, equations, threshold, reset. What follows from that for a step, an adjoint, a
jump and the gradients of parameters is derived by :mod:`eventprop.derivation`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from eventprop.grammar import check_name, parsed

__all__ = ["METHODS", "Named", "Neuron", "Optimiser", "Parameter", "Regulariser"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a neuron, one value for a population or one for each neuron.

    Attributes:
        default: its value where ``p`` says nothing else; its key is its name in capitals.
        unit, sentence: for people.
        least, most: bounds, inclusive; ``above`` excludes the lower one.
    """

    default: float
    unit: str = ""
    sentence: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None

    def check(self, value: Any, what: str) -> None:
        """See that it can have a value.

        Raises:
            ValueError: it cannot; names ``what``.
        """
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{what} must be a number, got {value!r}")
        for bound, broken, words in (
            (self.least, lambda b: value < b, "at least"),
            (self.most, lambda b: value > b, "at most"),
            (self.above, lambda b: value <= b, "above"),
        ):
            if bound is not None and broken(bound):
                raise ValueError(f"{what} must be {words} {bound:g}, got {value:g}")


@dataclass(frozen=True)
class Neuron:
    """A neuron type.

    Expressions are Python's, of numbers, state variables, parameters, + - * / ** and the functions exp, log, sqrt,
    tanh, sin, cos and abs.

    Attributes:
        name: what ``HIDDEN_NEURON_TYPE`` calls it.
        parameters: by name.
        state: variables and their values at the start of a trial, by parameters alone. V, the membrane potential, is
            one of them, which losses read and noise is added to.
        dynamics: by variable, its derivative by time (1/ms).
        threshold: a neuron spikes where this expression rises through 0; empty for one that never spikes.
        reset: what variables become at a spike, of their values just before; the others stay.
        input: the variable that a spike adds its synapse's weight to; or two, of positive and of negative weights, the
            latter adding their size.
        refractory: the parameter (ms) that says for how long after a spike V stays where the reset has put it.
        method: how a step is taken where the equations are not linear: "exponential_euler", "rk2" or "rk4".
        substeps: into how many equal parts a step is divided then.
        adjoints: by variable, what its adjoint is called, and the parameter by which it is scaled: ``lambda`` is
            ``-dL/dx`` over that; "" for no scale. Derived where it is left out: ``lambda_<variable>``, over the
            parameter that divides its equation.
        sentence: what it is; ``source``: where it is from; ``hard``: when its gradient is hard, and what helps.

    Raises:
        ValueError: something is wrong with it; names the neuron, the field and what would be right.
    """

    name: str
    parameters: Mapping[str, Parameter]
    state: Mapping[str, str]
    dynamics: Mapping[str, str]
    threshold: str = ""
    reset: Mapping[str, str] = field(default_factory=dict)
    input: str | tuple[str, str] = "Isyn"
    refractory: str = ""
    method: str = "exponential_euler"
    substeps: int = 1
    adjoints: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sentence: str = ""
    source: str = ""
    hard: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The variables that spikes add to."""
        return (self.input,) if isinstance(self.input, str) else tuple(self.input)

    def __post_init__(self) -> None:
        who = f"neuron {self.name}"
        _check_names(self, who)
        for field_name, of in (("dynamics", self.dynamics), ("reset", self.reset), ("adjoints", self.adjoints)):
            unknown = sorted(set(of) - set(self.state))
            if unknown:
                raise ValueError(f"{who}: {field_name} has {', '.join(unknown)}, which state has not")
        missing = [x for x in self.state if x not in self.dynamics]
        if missing:
            raise ValueError(
                f"{who}: dynamics lacks the equation of {', '.join(missing)}; 0 stands for one that is constant"
            )
        everything = {*self.state, *self.parameters}
        for x, text in self.state.items():
            parsed(text, self.parameters, f"{who}: state of {x}")
        for what, of in (("dynamics", self.dynamics), ("reset", self.reset)):
            for x, text in of.items():
                parsed(text, everything, f"{who}: {what} of {x}")
        if self.threshold:
            parsed(self.threshold, everything, f"{who}: threshold")
        elif self.reset:
            raise ValueError(f"{who}: reset without a threshold; one that never spikes has neither")
        _check_step(self, who)


_Declaration = TypeVar("_Declaration", bound=Any)


class Named(dict[str, _Declaration], Generic[_Declaration]):
    """Declarations; one that is put in has the name under which it is put.

    Args:
        called: what this is called, for messages.
        on_board: what there is from the beginning, and stays: a run's files have declarations of other names alone.
    """

    def __init__(self, called: str, *on_board: _Declaration) -> None:
        super().__init__({declared.name: declared for declared in on_board})
        self.called, self.on_board, self.kind = called, tuple(self), type(on_board[0])

    def __setitem__(self, name: str, declared: _Declaration) -> None:
        if not isinstance(declared, self.kind):
            raise ValueError(f"{self.called}[{name!r}] must be a {self.kind.__name__}, got {declared!r}")
        if name in self.on_board:
            raise ValueError(f"{self.called}[{name!r}] is on board and stays as it is; another name would be right")
        super().__setitem__(name, declared if declared.name == name else replace(declared, name=name))


METHODS = ("exponential_euler", "rk2", "rk4")
"""How a step of equations that are not linear is taken."""


def _check_names(neuron: Neuron, who: str) -> None:
    if not isinstance(neuron.name, str) or not neuron.name:
        raise ValueError(f"a neuron's name must be text, got {neuron.name!r}")
    for name, parameter in neuron.parameters.items():
        check_name(name, f"{who}: parameter")
        if not isinstance(parameter, Parameter):
            raise ValueError(f"{who}: parameter {name} must be a Parameter, got {parameter!r}")
        parameter.check(parameter.default, f"{who}: default of parameter {name}")
    keys: dict[str, str] = {}
    for name in neuron.parameters:
        if (other := keys.setdefault(name.upper(), name)) != name:
            raise ValueError(f"{who}: parameters {other} and {name} have one key, {name.upper()}; rename one of them")
    for name in neuron.state:
        check_name(name, f"{who}: variable")
        if name in neuron.parameters:
            raise ValueError(f"{who}: {name} is a variable and a parameter; one of them needs another name")
    if "V" not in neuron.state:
        raise ValueError(f"{who}: state lacks V, the membrane potential; there are {', '.join(neuron.state) or 'none'}")
    own = neuron.inputs
    if len(own) not in (1, 2) or len(set(own)) < len(own) or not set(own) <= set(neuron.state):
        raise ValueError(
            f"{who}: input must be one variable, or two for positive and negative weights, of "
            f"{', '.join(neuron.state)}, got {neuron.input!r}"
        )


def _check_step(neuron: Neuron, who: str) -> None:
    if neuron.method not in METHODS:
        raise ValueError(f"{who}: method must be one of {', '.join(METHODS)}, got {neuron.method!r}")
    if isinstance(neuron.substeps, bool) or not isinstance(neuron.substeps, int) or not 1 <= neuron.substeps <= 20:
        raise ValueError(f"{who}: substeps must be a whole number from 1 to 20, got {neuron.substeps!r}")
    if neuron.refractory and neuron.refractory not in neuron.parameters:
        raise ValueError(f"{who}: refractory must be one of its parameters, got {neuron.refractory!r}")
    for x, (name, scale) in neuron.adjoints.items():
        if not name.isidentifier() or (scale and scale not in neuron.parameters):
            raise ValueError(
                f"{who}: adjoints of {x} must be a name and a parameter, or no text, got {name!r}, {scale!r}"
            )


@dataclass(frozen=True)
class Regulariser:
    """A term that acts on hidden neurons through an extra jump of the adjoint at each of their spikes."""

    name: str
    parameters: tuple[str, ...]
    jump: str


@dataclass(frozen=True)
class Optimiser:
    """An update of one parameter ``value`` from its ``gradient``; ``state`` starts at 0."""

    name: str
    parameters: tuple[str, ...]
    state: tuple[str, ...]
    update: str
