"""The words in which :mod:`models` declares neurons, losses, regularisers and the optimiser.

A neuron is what its paper prints: state, equations, threshold, reset. What follows from that for a step, an adjoint, a
jump and the gradients of parameters is derived by :mod:`eventprop.derivation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Loss", "Neuron", "Optimiser", "Parameter", "Regulariser"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a neuron, one value for a population or one for each neuron.

    Attributes:
        default: its value where ``p`` says nothing else; its key is its name in capitals.
        unit, sentence: for people.
        least: lower bound, inclusive; ``above`` excludes it.
    """

    default: float
    unit: str = ""
    sentence: str = ""
    least: float | None = None
    above: float | None = None


@dataclass(frozen=True)
class Neuron:
    """A neuron type.

    Expressions are Python's, of state variables, parameters and the functions exp, log, sqrt, tanh, sin, cos and abs.

    Attributes:
        name: what ``HIDDEN_NEURON_TYPE`` calls it.
        parameters: by name.
        state: variables and their values at the start of a trial, by parameters alone.
        dynamics: by variable, its derivative by time (1/ms).
        threshold: a neuron spikes where this expression rises through 0; empty for one that never spikes.
        reset: what variables become at a spike, of their values just before; the others stay.
        input: the variable that a spike adds its synapse's weight to; or two, of positive and of negative weights, the
            latter adding their size.
        voltage: the variable that losses read and noise is added to.
        refractory: the parameter (ms) for which, after a spike, ``voltage`` stays where the reset has put it.
        method: how a step is taken where the equations are not linear: "exponential_euler", "rk2" or "rk4".
        substeps: into how many equal parts a step is divided then.
        adjoints: by variable, what its adjoint is called, and the parameter by which it is scaled: ``lambda`` is
            ``-dL/dx`` over that; "" for no scale. Derived where it is left out: ``lambda_<variable>``, over the
            parameter that divides its equation.
        sentence: what it is; ``source``: where it is from; ``hard``: when its gradient is hard, and what helps.
    """

    name: str
    parameters: Mapping[str, Parameter]
    state: Mapping[str, str]
    dynamics: Mapping[str, str]
    threshold: str = ""
    reset: Mapping[str, str] = field(default_factory=dict)
    input: str | tuple[str, str] = "Isyn"
    voltage: str = "V"
    refractory: str = ""
    method: str = "exponential_euler"
    substeps: int = 1
    adjoints: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sentence: str = ""
    source: str = ""
    hard: str = ""
