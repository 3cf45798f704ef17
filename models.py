"""The models: neurons, synapses, losses, regularisers and the optimiser, declared once in GeNNCode.

Between spikes a neuron obeys (Wunderlich & Pehle 2021, eq. 1; Nowotny, Turner & Knight 2022, eq. 1-4)

    tau_mem dV/dt = Isyn - V,     tau_syn dIsyn/dt = -Isyn,

and in reversed time its adjoints obey

    tau_mem lambda_V' = -lambda_V,     tau_syn lambda_I' = lambda_V - lambda_I.

Both are integrated exactly over a step ``dt``. A neuron that reaches ``v_thresh`` at the end of a step spikes
there and is reset to ``v_reset``; in the backward pass lambda_V jumps at that spike by

    lambda_V += ((v_thresh - v_reset) lambda_V + R) / (tau_mem dV/dt),   R = sum_post w (lambda_V - lambda_I)_post,

where ``tau_mem dV/dt`` (here ``denominator``) was recorded at the spike. A synapse collects
``-tau_syn lambda_I`` of its target at each spike of its source: the derivative of the loss by its weight.

Snippets are GeNNCode in the subset that is also C++. Names that a snippet may use: the parameters, constants
and variables declared beside it, ``dt`` (ms), and

    Isyn         synaptic current at the start of the step
    R            error that arrived from the targets of the spike
    spike_count  spikes of this neuron in the trial (or their mean over the batch)
    batch        number of samples over which the loss is averaged
    x            time since the start of the trial, in units of its duration (0 to 1)
    error        one-hot label minus softmax of the scores, for this output, divided by ``batch``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "ADAM",
    "EXPONENTIAL_SYNAPSE",
    "LI",
    "LIF",
    "LOSSES",
    "REGULARISERS",
    "Loss",
    "NeuronModel",
    "OptimiserModel",
    "Regulariser",
    "SynapseModel",
]


@dataclass(frozen=True)
class NeuronModel:
    """A neuron type: forward dynamics in a step, what happens at a spike, and the adjoint of both.

    Attributes:
        parameters: names of parameters, each one value for the population or one per neuron.
        constants: expressions of parameters and ``dt`` alone; they change only when a parameter does.
        state: forward variables and their value at the start of a trial.
        update: advances the state by ``dt``.
        threshold: condition for a spike at the end of the step; empty for a neuron that never spikes.
        recorded: values kept with each spike for the backward pass, taken before the reset.
        reset: what happens to the state at a spike.
        quiet: condition under which the neuron cannot spike again in this trial unless input arrives.
        adjoint: backward variables; all are 0 at the end of a trial.
        adjoint_update: takes the adjoints back by ``dt``.
        jump: change of the adjoints at the neuron's own spike.
    """

    name: str
    parameters: tuple[str, ...]
    constants: Mapping[str, str]
    state: Mapping[str, str]
    update: str
    adjoint: tuple[str, ...]
    adjoint_update: str
    threshold: str = ""
    recorded: Mapping[str, str] = field(default_factory=dict)
    reset: str = ""
    quiet: str = "true"
    jump: str = ""


@dataclass(frozen=True)
class SynapseModel:
    """A synapse type: the current it feeds, what its weight's gradient collects and the error it carries back.

    Attributes:
        constants: expressions of the *target's* parameters and ``dt``.
        decay: change of ``Isyn`` from one step to the next; each spike then adds ``w``.
        gradient: added to the weight's gradient at each spike of the source (adjoints of the target).
        transport: times ``w``, added to the source's ``R`` at each of its spikes (adjoints of the target).
    """

    name: str
    constants: Mapping[str, str]
    decay: str
    gradient: str
    transport: str


@dataclass(frozen=True)
class Loss:
    """A loss: how an output is read during the trial, and the impulses that this gives to its adjoint.

    The loss of a sample is ``-log softmax(score)[label]``. The adjoint impulse at a step is the derivative of
    the score by V at that step, so for given spikes the gradient of the read-out is exact, not O(dt).

    Attributes:
        weight: factor with which the output's V counts at time ``x``.
        state: read-out variables and their value at the start of a trial.
        read: accumulates V at the start of a step (``weight`` and ``steps``, the steps of a trial, are given).
        score: the class score at the end of the trial; the largest one is the prediction.
        impulse: change of the output's adjoints at the start of each step, in the backward pass.
    """

    name: str
    weight: str
    state: Mapping[str, str]
    read: str
    score: str
    impulse: str


@dataclass(frozen=True)
class Regulariser:
    """A term that acts on hidden neurons through an extra jump of the adjoint at each of their spikes."""

    name: str
    parameters: tuple[str, ...]
    jump: str


@dataclass(frozen=True)
class OptimiserModel:
    """An update of one parameter ``value`` from its ``gradient``; ``state`` starts at 0."""

    name: str
    parameters: tuple[str, ...]
    state: tuple[str, ...]
    update: str


# The response of V to a current that decays within the step. expm1 keeps it accurate where the two time
# constants meet; "kappa" is its limit there.
_LEAK = {
    "alpha": "exp(-dt / tau_mem)",
    "beta": "exp(-dt / tau_syn)",
    "kappa": (
        "tau_mem == tau_syn ? dt / tau_mem * exp(-dt / tau_syn) : "
        "tau_syn * exp(-dt / tau_syn) * expm1(dt * (tau_mem - tau_syn) / (tau_mem * tau_syn)) / (tau_mem - tau_syn)"
    ),
    "kappa_back": (
        "tau_mem == tau_syn ? dt / tau_syn * exp(-dt / tau_syn) : "
        "tau_mem * exp(-dt / tau_syn) * expm1(dt * (tau_mem - tau_syn) / (tau_mem * tau_syn)) / (tau_mem - tau_syn)"
    ),
}
_LEAK_UPDATE = "V = alpha * V + kappa * Isyn;"
_LEAK_ADJOINT = "lambda_I = beta * lambda_I + kappa_back * lambda_V; lambda_V = alpha * lambda_V;"

LIF = NeuronModel(
    name="LIF",
    parameters=("tau_mem", "tau_syn", "v_thresh", "v_reset", "min_denominator"),
    constants=_LEAK,
    state={"V": "v_reset"},
    update=_LEAK_UPDATE,
    threshold="V >= v_thresh",
    recorded={"denominator": "Isyn - V"},
    reset="V = v_reset;",
    quiet="V < v_thresh && Isyn < v_thresh",
    adjoint=("lambda_V", "lambda_I"),
    adjoint_update=_LEAK_ADJOINT,
    jump="lambda_V += ((v_thresh - v_reset) * lambda_V + R) / fmax(denominator, min_denominator);",
)
"""Leaky integrate-and-fire neuron. ``min_denominator`` bounds ``Isyn - V`` from below (0: no bound): at a grazing
crossing it tends to 0 and the gradient to infinity."""

LI = NeuronModel(
    name="LI",
    parameters=("tau_mem", "tau_syn", "v_reset"),
    constants=_LEAK,
    state={"V": "v_reset"},
    update=_LEAK_UPDATE,
    adjoint=("lambda_V", "lambda_I"),
    adjoint_update=_LEAK_ADJOINT,
)
"""Leaky integrator without threshold: the read-out."""

EXPONENTIAL_SYNAPSE = SynapseModel(
    name="exponential",
    constants={"syn_decay": "exp(-dt / tau_syn)"},
    decay="Isyn *= syn_decay;",
    gradient="-tau_syn * lambda_I",
    transport="lambda_V - lambda_I",
)
"""Current that jumps by ``w`` at a spike and decays with the target's ``tau_syn``."""


def _sum_loss(name: str, weight: str) -> Loss:
    return Loss(
        name=name,
        weight=weight,
        state={"sum_V": "0.0"},
        read="sum_V += weight / steps * V;",
        score="sum_V",
        impulse="lambda_V += weight / (steps * tau_mem) * error;",
    )


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        _sum_loss("sum", "1.0"),
        _sum_loss("sum_weigh_linear", "1.0 - x"),
        _sum_loss("sum_weigh_exp", "exp(-x)"),
        _sum_loss("sum_weigh_sigmoid", "1.0 / (1.0 + exp((x - 0.5) / 0.2))"),
    )
}
"""Cross-entropy of the softmax over the (weighted) time averages of the output voltages, by name."""

REGULARISERS: dict[str, Regulariser] = {
    regulariser.name: regulariser
    for regulariser in (
        Regulariser(name="none", parameters=(), jump=""),
        Regulariser(
            name="simple",
            parameters=("lbd_upper", "lbd_lower", "nu_upper"),
            jump=("lambda_V -= (spike_count > nu_upper ? lbd_upper : lbd_lower) * (spike_count - nu_upper) / batch;"),
        ),
    )
}
"""Regularisation of hidden activity, by name. "simple" pushes each neuron towards ``nu_upper`` spikes a trial."""

ADAM = OptimiserModel(
    name="Adam",
    parameters=("rate", "beta1", "beta2", "epsilon", "correction1", "correction2"),
    state=("m", "v"),
    update=(
        "m = beta1 * m + (1.0 - beta1) * gradient; "
        "v = beta2 * v + (1.0 - beta2) * gradient * gradient; "
        "value -= rate * m * correction1 / (sqrt(v * correction2) + epsilon);"
    ),
)
"""Adam (Kingma & Ba 2015). At update s = 1, 2, ...: correction1 = 1/(1 - beta1^s), correction2 = 1/(1 - beta2^s)."""
