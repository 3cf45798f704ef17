"""The models: neurons, synapses, losses, regularisers and the optimiser, declared once in GeNNCode.

Between spikes a neuron obeys (Wunderlich & Pehle 2021, eq. 1; Nowotny, Turner & Knight 2022, eq. 1-4)

    tau_mem dV/dt = Isyn - V,     tau_syn dIsyn/dt = -Isyn,     tau_b dB/dt = -B (adaptive threshold),

and in reversed time its adjoints, dL/dV = -tau_mem lambda_V, dL/dIsyn = -tau_syn lambda_I and
dL/dB = -tau_b lambda_B, obey

    tau_mem lambda_V' = -lambda_V,     tau_syn lambda_I' = lambda_V - lambda_I,     tau_b lambda_B' = -lambda_B.

All are integrated exactly over a step ``dt``. A neuron that reaches its threshold at the end of a step spikes there
and is reset to ``v_reset``; in the backward pass lambda_V jumps at that spike by

    lambda_V += ((v_thresh - v_reset) lambda_V + R) / (tau_mem dV/dt),   R = sum_post w (lambda_V - lambda_I)_post,

where ``tau_mem dV/dt`` (here ``denominator``) was recorded at the spike; an adaptive threshold v_thresh + B, which
grows by ``b_incr`` at a spike, has

    tau_mem d(V - B)/dt = Isyn - V + B tau_mem / tau_b,     Q = (Isyn - v_reset) lambda_V - b_incr lambda_B + R,
    lambda_V := Q / (tau_mem d(V - B)/dt),     lambda_B -= (tau_mem / tau_b) lambda_V  (the new one).

A synapse collects ``-tau_syn lambda_I`` of its target at each spike of its source: the derivative of the loss by its
weight. A time constant collects, at each step, the derivative of the step's map by it, times the adjoints at its end.

Snippets are GeNNCode in the subset that is also C++. Names that a snippet may use: the parameters, constants
and variables declared beside it, ``dt`` (ms), and

    Isyn         synaptic current at the start of the step
    R            error that arrived from the targets of the spike
    noise        a draw from the normal distribution, times the noise amplitude and sqrt(dt)
    spike_count  spikes of this neuron in the trial (or their mean over the batch)
    layer_count  spikes of all ``num_neurons`` neurons of its layer in the trial
    batch        number of samples over which the loss is averaged
    step, steps  number of the step (from 0), and of all steps of a trial
    x            time since the start of the trial, in units of its duration (0 to 1)
    trial        duration of a trial (ms)
    traffic      the input's spikes, smoothed: each adds 0.01 / tau_accumulator, which decays with tau_accumulator
    error        one-hot label minus softmax of the scores, for this output, divided by ``batch``
    label        1 for the output of the sample's class, else 0
    t            time of the output's first spike since the start of the trial (ms)
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = [
    "ADAM",
    "ALIF",
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
        perturb: what membrane noise does to the state after the update.
        threshold: condition for a spike at the end of the step; empty for a neuron that never spikes.
        recorded: values kept with each spike for the backward pass, taken before the reset.
        reset: what happens to the state at a spike.
        quiet: condition under which the neuron cannot spike again in this trial unless input arrives.
        adjoint: backward variables; all are 0 at the end of a trial.
        adjoint_update: takes the adjoints back by ``dt``.
        jump: change of the adjoints at the neuron's own spike.
        collect: by parameter, what its gradient collects at each step: state at the start of the step (``Isyn`` with
            what has just arrived), adjoints at its end.

    Where spikes have their exact times, a step is cut at them, and ``dt`` is the time between two cuts:

        excess, rise: V above the threshold, and its derivative by time (1/ms).
        reach: condition on the state at a cut without which the threshold cannot have been reached in the ``dt``
            before it. ``lift`` is what spikes that arrived meanwhile took from V by negative weights, ``kick`` the sum
            of their positive ones.
        integrals: of V, and of V times the time since the first cut; ``Isyn_start``, ``V_start`` are values there.
        integral_slopes: by parameter, derivatives of the integrals at fixed values at the first cut.
            In the second of each, ``integral`` and ``slope`` are the first.
        driven: values of the adjoints that follow a drive A which grows by A_slope per ms of reversed time.
    """

    name: str
    parameters: tuple[str, ...]
    constants: Mapping[str, str]
    state: Mapping[str, str]
    update: str
    adjoint: tuple[str, ...]
    adjoint_update: str
    perturb: str = ""
    threshold: str = ""
    recorded: Mapping[str, str] = field(default_factory=dict)
    reset: str = ""
    quiet: str = "true"
    jump: str = ""
    collect: Mapping[str, str] = field(default_factory=dict)
    excess: str = ""
    rise: str = ""
    reach: str = ""
    integrals: tuple[str, str] = ("", "")
    integral_slopes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    driven: Mapping[str, str] = field(default_factory=dict)


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
class OptimiserModel:
    """An update of one parameter ``value`` from its ``gradient``; ``state`` starts at 0."""

    name: str
    parameters: tuple[str, ...]
    state: tuple[str, ...]
    update: str


# The response of V to a current that decays within the step is kappa = tau_syn (alpha - beta) / (tau_mem - tau_syn),
# here through phi(z) = (exp(z) - 1) / z and its derivative, which are accurate where the two time constants meet.
_LEAK = {
    "alpha": "exp(-dt / tau_mem)",
    "beta": "exp(-dt / tau_syn)",
    "z": "dt / tau_syn - dt / tau_mem",
    "phi": "z == 0.0 ? 1.0 : expm1(z) / z",
    "kappa": "dt / tau_mem * beta * phi",
    "kappa_back": "dt / tau_syn * beta * phi",
}
_LEAK_SLOPES = {
    "phi_slope": (
        "fabs(z) < 0.3 ? 0.5 + z * (1.0 / 3.0 + z * (0.125 + z * (1.0 / 30.0 + z * (1.0 / 144.0 + z * (1.0 / 840.0 + "
        "z * (1.0 / 5760.0 + z / 45360.0)))))) : (exp(z) - phi) / z"
    ),
    "alpha_by_tau_mem": "alpha * dt / (tau_mem * tau_mem)",
    "kappa_by_tau_mem": "beta * (phi_slope * dt / tau_mem - phi) * dt / (tau_mem * tau_mem)",
    "beta_by_tau_syn": "beta * dt / (tau_syn * tau_syn)",
    "kappa_by_tau_syn": "dt / tau_mem * beta * (phi - phi_slope) * dt / (tau_syn * tau_syn)",
}
# While the current is positive, V - Isyn grows at most by exp(dt / tau_mem) in reversed time.
_TURN = {"turn": "dt / tau_mem * exp(dt / tau_mem)"}
_LEAK_UPDATE = "V = alpha * V + kappa * Isyn;"
_LEAK_ADJOINT = "lambda_I = beta * lambda_I + kappa_back * lambda_V; lambda_V = alpha * lambda_V;"
_LEAK_COLLECT = {
    "tau_mem": "-tau_mem * lambda_V * (alpha_by_tau_mem * V + kappa_by_tau_mem * Isyn)",
    "tau_syn": "-(tau_mem * lambda_V * kappa_by_tau_syn + tau_syn * lambda_I * beta_by_tau_syn) * Isyn",
}

LIF = NeuronModel(
    name="LIF",
    parameters=("tau_mem", "tau_syn", "v_thresh", "v_reset", "min_denominator"),
    constants=_LEAK | _LEAK_SLOPES | _TURN,
    state={"V": "v_reset"},
    update=_LEAK_UPDATE,
    perturb="V += noise;",
    threshold="V >= v_thresh",
    recorded={"denominator": "Isyn - V"},
    reset="V = v_reset;",
    quiet="V < v_thresh && Isyn < v_thresh",
    adjoint=("lambda_V", "lambda_I"),
    adjoint_update=_LEAK_ADJOINT,
    jump="lambda_V += ((v_thresh - v_reset) * lambda_V + R) / fmax(denominator, min_denominator);",
    collect=_LEAK_COLLECT,
    excess="V - v_thresh",
    rise="(Isyn - V) / tau_mem",
    reach="V + lift + turn * fmax(V + lift - Isyn + kick, 0.0) >= v_thresh",
)
"""Leaky integrate-and-fire neuron. ``min_denominator`` bounds ``Isyn - V`` from below (very negative: no bound): at a
grazing crossing it tends to 0 and the gradient to infinity."""

ALIF = NeuronModel(
    name="ALIF",
    parameters=("tau_mem", "tau_syn", "tau_b", "v_thresh", "v_reset", "b_incr", "b_init", "min_denominator"),
    constants=_LEAK
    | _LEAK_SLOPES
    | _TURN
    | {
        "gamma": "exp(-dt / tau_b)",
        "gamma_by_tau_b": "gamma * dt / (tau_b * tau_b)",
        "mem_to_b": "tau_mem / tau_b",
        "b_fall": "dt / tau_b * exp(dt / tau_b)",
    },
    state={"V": "v_reset", "B": "b_init"},
    update=f"{_LEAK_UPDATE} B = gamma * B;",
    perturb="V += noise;",
    threshold="V >= v_thresh + B",
    recorded={"denominator": "Isyn - V + B * mem_to_b", "B_spike": "B"},
    reset="V = v_reset; B += b_incr;",
    quiet="V < v_thresh + fmin(B, 0.0) && Isyn < v_thresh + fmin(B, 0.0)",
    adjoint=("lambda_V", "lambda_I", "lambda_B"),
    adjoint_update=f"{_LEAK_ADJOINT} lambda_B = gamma * lambda_B;",
    jump=(
        "lambda_V += ((v_thresh + B_spike - v_reset - B_spike * mem_to_b) * lambda_V - b_incr * lambda_B + R)"
        " / fmax(denominator, min_denominator); lambda_B -= mem_to_b * lambda_V;"
    ),
    collect={**_LEAK_COLLECT, "tau_b": "-tau_b * lambda_B * gamma_by_tau_b * B"},
    excess="V - v_thresh - B",
    rise="(Isyn - V) / tau_mem + B / tau_b",
    reach="V + lift + turn * (fmax(V + lift - Isyn + kick - mem_to_b * B, 0.0) + b_fall * B) >= v_thresh + B",
)
"""LIF neuron whose threshold ``v_thresh + B`` adapts: B grows by ``b_incr`` at each spike and decays with ``tau_b``."""

LI = NeuronModel(
    name="LI",
    parameters=("tau_mem", "tau_syn", "v_reset"),
    constants=_LEAK | _LEAK_SLOPES,
    state={"V": "v_reset"},
    update=_LEAK_UPDATE,
    adjoint=("lambda_V", "lambda_I"),
    adjoint_update=_LEAK_ADJOINT,
    collect=_LEAK_COLLECT,
    integrals=(
        "tau_syn * (Isyn_start - Isyn) - tau_mem * (V - V_start)",
        "tau_syn * (tau_syn * (Isyn_start - Isyn) - dt * Isyn) - tau_mem * (dt * V - integral)",
    ),
    integral_slopes={
        "tau_mem": (
            "V_start - V - tau_mem * (alpha_by_tau_mem * V_start + kappa_by_tau_mem * Isyn_start)",
            "integral - dt * V + tau_mem * (slope - dt * (alpha_by_tau_mem * V_start + kappa_by_tau_mem * Isyn_start))",
        ),
        "tau_syn": (
            "Isyn_start - Isyn - (tau_syn * beta_by_tau_syn + tau_mem * kappa_by_tau_syn) * Isyn_start",
            "2.0 * tau_syn * (Isyn_start - Isyn) - dt * Isyn - tau_syn * (tau_syn + dt) * beta_by_tau_syn * Isyn_start"
            " + tau_mem * (slope - dt * kappa_by_tau_syn * Isyn_start)",
        ),
    },
    driven={
        "lambda_V": "A - tau_mem * A_slope",
        "lambda_I": "A - (tau_mem + tau_syn) * A_slope",
    },
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


_SIMPLE_JUMP = "lambda_V -= (spike_count > nu_upper ? lbd_upper : lbd_lower) * (spike_count - nu_upper) / batch;"


def _sum_loss(name: str, weight: str, parameters: tuple[str, ...] = ()) -> Loss:
    return Loss(
        name=name,
        parameters=parameters,
        weight=weight,
        state={"sum_V": "0.0"},
        read="sum_V += weight / steps * V;",
        score="sum_V",
        impulse="lambda_V += weight / (steps * tau_mem) * error;",
        reference_scale="tau_mem",
    )


def _first_spike_loss(name: str, parameters: tuple[str, ...], penalty: str, slope: str, at_end: str) -> Loss:
    return Loss(
        name=name,
        parameters=("tau_0", *parameters),
        score="-t / tau_0",
        first_spike=f"error / tau_0 + label * {slope} / batch",
        penalty=penalty,
        phantom=f"lambda_V += {at_end} / batch;",
    )


# Whether V falls after its maximum, seen one step later.
_FALLS = "falls = step == max_step + 1.0 ? (Isyn < max_V ? 1.0 : 0.0) : falls;"

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        _sum_loss("sum", "1.0"),
        _sum_loss("sum_weigh_linear", "1.0 - x"),
        _sum_loss("sum_weigh_exp", "exp(-x)"),
        _sum_loss("sum_weigh_sigmoid", "1.0 / (1.0 + exp((x - 0.5) / 0.2))"),
        _sum_loss("sum_weigh_input", "traffic", ("tau_accumulator",)),
        replace(_sum_loss("avg_xentropy", "1.0"), per_step=True),
        Loss(
            name="max",
            state={"max_V": "-1e30", "max_step": "0.0", "rise": "0.0", "falls": "0.0"},
            read=(
                f"{_FALLS} falls = V > max_V ? 0.0 : falls; "
                "rise = V > max_V ? (syn_decay * Isyn - V) / tau_mem : rise; "
                "max_step = V > max_V ? step : max_step; max_V = fmax(V, max_V);"
            ),
            finish=_FALLS,
            score="max_V",
            impulse="lambda_V += step == max_step ? error / tau_mem : 0.0;",
            cusp="-error * fmax(rise, 0.0) * falls",
            reference_scale="trial",
        ),
        _first_spike_loss(
            "first_spike",
            ("alpha",),
            "alpha / (1.01 * trial - t)",
            "alpha / ((1.01 * trial - t) * (1.01 * trial - t))",
            "alpha / (0.0001 * trial * trial)",
        ),
        _first_spike_loss(
            "first_spike_exp",
            ("tau_1", "alpha"),
            "alpha * (exp(t / tau_1) - 1.0)",
            "alpha / tau_1 * exp(t / tau_1)",
            "alpha / tau_1 * exp(trial / tau_1)",
        ),
    )
}
"""Losses by name. Cross-entropies of the softmax over (weighted) time averages of the output voltages, over their
maxima, over minus the first spike times, and the time average of the voltages' own cross-entropy."""

REGULARISERS: dict[str, Regulariser] = {
    regulariser.name: regulariser
    for regulariser in (
        Regulariser(name="none", parameters=(), jump=""),
        Regulariser(
            name="simple",
            parameters=("lbd_upper", "lbd_lower", "nu_upper"),
            jump=_SIMPLE_JUMP,
        ),
        Regulariser(
            name="Thomas1",
            parameters=("lbd_upper", "lbd_lower", "nu_upper", "rho_upper", "glb_upper"),
            jump=(
                "lambda_V -= layer_count > rho_upper ? "
                f"glb_upper * (layer_count - rho_upper) / num_neurons / batch : 0.0; {_SIMPLE_JUMP}"
            ),
        ),
    )
}
"""Regularisation of hidden activity, by name. "simple" pushes each neuron towards ``nu_upper`` spikes a trial;
"Thomas1" also pushes the whole layer below ``rho_upper``."""

ADAM = OptimiserModel(
    name="Adam",
    parameters=("rate", "beta1", "beta2", "rest1", "rest2", "epsilon", "correction1", "correction2"),
    state=("m", "v"),
    update=(
        "m = beta1 * m + rest1 * gradient; "
        "v = beta2 * v + rest2 * gradient * gradient; "
        "value -= rate * (m * correction1) / (sqrt(fmax(v, 1.2e-38) * correction2) + epsilon);"
    ),
)
"""Adam (Kingma & Ba 2015). At update s = 1, 2, ...: rest = 1 - beta and correction = 1/(1 - beta^s), for both of its
averages; single precision has too few digits to take 1 - beta from beta. v is bounded from below by the least number
that single precision has in full, so that without epsilon there is no update where all gradients were 0."""

if __name__ == "models":  # the package's instance is the only one, also for whoever imports this file by its own name
    sys.modules[__name__] = importlib.import_module("eventprop.models")
