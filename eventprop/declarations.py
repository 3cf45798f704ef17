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
        least, most: bounds, inclusive; ``above`` excludes the lower one.
    """

    default: float
    unit: str = ""
    sentence: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None


@dataclass(frozen=True)
class Neuron:
    """A neuron type.

    Nothing is derived, and nothing checked but the form, until a network of it is made. Expressions are Python's, of state variables, parameters and the functions exp, log, sqrt, tanh, sin, cos and abs.

    Attributes:
        name: what ``HIDDEN_NEURON_TYPE`` calls it.
        parameters: by name.
        state: variables and their values at the start of a trial, by parameters alone; V, the membrane potential, is one
            of them, which losses read and noise is added to.
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


@dataclass(frozen=True)
class Loss:
    """A loss: how an output is read during the trial, and what that gives to its adjoint.

    The loss of a sample is ``-log softmax(score)[label]``, and the largest score is the prediction. The impulse at a
    step is the derivative of the score by V at that step, so for given spikes the gradient of the read-out is exact.

    Attributes:
        weight: factor with which the output's V counts at time ``x``.
        state: read-out variables and their value at the start of a trial.
        read: reads V at the start of a step; ``weight`` is given, ``Isyn`` is what was left by the step before.
        finish: what is left to do after the last step, by names as in ``read``.
        score: the class score at the end of the trial; of spiking outputs, by ``t``, which is ``trial + 1`` for one
            that never spiked.
        impulse: change of the output's adjoints at the start of each step, in the backward pass.
        per_step: whether softmax and label are compared at each step, of the voltages, and not at the end, of the
            scores; the loss is then the mean over the steps, and ``error`` that of the step.
        cusp: derivative of the loss by the time of a hidden spike that arrives at step ``max_step`` and turns the rise
            of this output's V into a fall; where there is one, the maximum moves with that spike.
        first_spike: derivative of the loss by the time of the output's first spike; it enters R of that spike.
        penalty: what is added to the loss for the label's output, by ``t``, which is ``trial`` if it never spiked.
        phantom: change of the adjoints, at the end of the trial, of the label's output if it never spiked.
        reference_scale: what published gradients of this loss are divided by: "tau_mem", "trial" or nothing.
    """

    name: str
    parameters: tuple[str, ...] = ()
    weight: str = "1.0"
    state: Mapping[str, str] = field(default_factory=dict)
    read: str = ""
    finish: str = ""
    score: str = ""
    impulse: str = ""
    per_step: bool = False
    cusp: str = ""
    first_spike: str = ""
    penalty: str = "0.0"
    phantom: str = ""
    reference_scale: str = ""

    @property
    def spiking(self) -> bool:
        """Whether the outputs spike."""
        return bool(self.first_spike)


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
