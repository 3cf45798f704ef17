"""The models: neurons, losses, regularisers and the optimiser, each as its paper prints it.

A neuron is its equations: state, dynamics, threshold, reset. What follows from them for a step of the simulation, for
adjoints, jumps and gradients is derived (:mod:`eventprop.derivation`; ``python -m eventprop show LIF`` prints it). Of
LIF and ALIF neurons that is what was published (Wunderlich & Pehle 2021, eq. 1; Nowotny, Turner & Knight 2022, eq. 1-4;
a test compares): between spikes, with dL/dV = -tau_mem lambda_V, dL/dIsyn = -tau_syn lambda_I, dL/dB = -tau_b lambda_B,

    tau_mem dV/dt = Isyn - V,               tau_mem lambda_V' = -lambda_V             (' by reversed time)
    tau_syn dIsyn/dt = -Isyn,               tau_syn lambda_I' = lambda_V - lambda_I
    tau_b dB/dt = -B (adaptive threshold),  tau_b lambda_B' = -lambda_B,

all integrated exactly over a step ``dt``. A neuron that reaches its threshold at the end of a step spikes there and is
reset to ``v_reset``; in the backward pass lambda_V jumps at that spike by

    lambda_V += ((v_thresh - v_reset) lambda_V + R) / (tau_mem dV/dt),   R = sum_post w (lambda_V - lambda_I)_post,

where ``tau_mem dV/dt`` (``denominator``) was recorded at the spike; an adaptive threshold v_thresh + B, which grows by
``b_incr`` at a spike, has

    tau_mem d(V - B)/dt = Isyn - V + B tau_mem / tau_b,     Q = (Isyn - v_reset) lambda_V - b_incr lambda_B + R,
    lambda_V := Q / (tau_mem d(V - B)/dt),     lambda_B -= (tau_mem / tau_b) lambda_V  (the new one).

A weight collects ``-tau_syn lambda_I`` of its target at each spike of its source: the derivative of the loss by it.
``min_denominator`` bounds ``denominator`` from below: at a grazing crossing it tends to 0 and the gradient to infinity.

A neuron of one's own is another entry of :data:`NEURONS`, a loss of one's own one of :data:`LOSSES`, in a script or a
file for ``--models``. Times are in ms.

Snippets of losses and the optimiser are GeNNCode in the subset that is also C++. They may use the parameters, constants
and variables declared beside them, those of the output neuron, ``dt`` (ms), and

    scale_V      what lambda_V of the output is scaled by: tau_mem of a leaky integrator
    spike_count  spikes of this neuron in the trial (or their mean over the batch)
    layer_count  spikes of all ``num_neurons`` neurons of its layer in the trial
    batch        number of samples over which the loss is averaged
    step         number of the step (from 0)
    steps        number of the steps that count for the loss: of a trial, or of LOSS_WINDOW
    x            time since the start of the trial, in units of its duration (0 to 1)
    trial        duration of a trial (ms)
    traffic      the input's spikes, smoothed: each adds 0.01 / tau_accumulator, which decays with tau_accumulator
    error        minus the derivative of the loss by this output's score (or by its V at the step) divided by ``batch``:
                 one-hot label minus softmax, or what ``compare`` gives
    y, target    what of an output is compared, and with what
    label        1 for the output of the sample's class, else 0
    t            time of the output's first spike since the start of the trial (ms)
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

from eventprop.declarations import Named, Neuron, Optimiser, Parameter, Regulariser
from eventprop.losses import Loss

__all__ = ["ADAM", "ALIF", "LI", "LIF", "LOSSES", "LOSSES_ON_BOARD", "NEURONS", "ON_BOARD", "REGULARISERS", "Loss"]
__all__ += ["Neuron", "Optimiser", "Parameter", "Regulariser"]

_TAU_MEM = Parameter(20.0, "ms", "Membrane time constant.", above=0.0)
_TAU_SYN = Parameter(5.0, "ms", "Synaptic time constant.", above=0.0)
_V_THRESH = Parameter(1.0, "", "Spiking threshold.")
_V_RESET = Parameter(0.0, "", "Reset potential, below the threshold.")
_CURRENT = {"tau_mem": _TAU_MEM, "tau_syn": _TAU_SYN}
_SPIKING = {**_CURRENT, "v_thresh": _V_THRESH, "v_reset": _V_RESET}
_SYNAPSE = {"Isyn": "-Isyn / tau_syn"}
_FROM_RESET = {"V": "v_reset", "Isyn": "0"}
_UPSTROKE = (
    "Its potential runs away before a spike, so spike times hardly depend on what arrives late; near the point of no "
    "return they depend on it without limit. Short steps, or sub-steps, and a low V_THRESH help."
)

LI = Neuron(
    "LI",
    parameters={**_CURRENT, "v_reset": _V_RESET},
    state=_FROM_RESET,
    dynamics={"V": "(Isyn - V) / tau_mem", **_SYNAPSE},
    sentence="Leaky integrator without threshold: the read-out.",
)

LIF = Neuron(
    "LIF",
    parameters=_SPIKING,
    state=_FROM_RESET,
    dynamics=LI.dynamics,
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    sentence="Leaky integrate-and-fire neuron with a current that decays exponentially.",
    source="Wunderlich & Pehle 2021",
    hard="At a spike whose potential only just reaches the threshold: MIN_DENOMINATOR bounds what it gives.",
)

ALIF = Neuron(
    "ALIF",
    parameters={
        **_SPIKING,
        "tau_b": Parameter(100.0, "ms", "Time constant of the adaptation of ALIF neurons.", above=0.0),
        "b_incr": Parameter(0.1, "", "What a spike of an ALIF neuron adds to its threshold."),
        "b_init": Parameter(0.0, "", "What is added to the threshold of ALIF neurons at the start of a trial."),
    },
    state={"V": "v_reset", "B": "b_init", "Isyn": "0"},
    dynamics={**LIF.dynamics, "B": "-B / tau_b"},
    threshold="V - v_thresh - B",
    reset={"V": "v_reset", "B": "B + b_incr"},
    sentence="LIF neuron whose threshold v_thresh + B adapts: B grows at each spike and decays.",
    source="Bellec et al. 2018",
    hard="As LIF; a large B_INCR makes late spikes depend strongly on early ones.",
)

ALPHA = replace(
    LIF,
    name="alphaLIF",
    parameters={**_SPIKING, "tau_rise": Parameter(2.0, "ms", "Rise time of the alpha synapse.", above=0.0)},
    state={"V": "v_reset", "Isyn": "0", "J": "0"},
    dynamics={"V": "(Isyn - V) / tau_mem", "Isyn": "(J - Isyn) / tau_syn", "J": "-J / tau_rise"},
    input="J",
    sentence="LIF neuron whose synaptic current rises with tau_rise before it decays.",
    source="Rall 1967",
    hard="As LIF; it is milder, since the potential bends less sharply where a spike arrives.",
)

REFRACTORY = replace(
    LIF,
    name="refLIF",
    parameters={**_SPIKING, "t_ref": Parameter(2.0, "ms", "Refractory period: V is held at its reset.", least=0.0)},
    refractory="t_ref",
    sentence="LIF neuron that is held at its reset for a refractory period after each spike.",
    hard="As LIF; the gradient by T_REF is that of its continuous value, a step's whole number of them on the grid.",
)

ADAPTIVE = replace(
    LIF,
    name="adLIF",
    parameters={
        **_SPIKING,
        "tau_w": Parameter(100.0, "ms", "Time constant of the adaptation current.", above=0.0),
        "w_coupling": Parameter(0.5, "", "How strongly the potential drives the adaptation current.", above=-1.0),
        "w_incr": Parameter(0.1, "", "What a spike adds to the adaptation current."),
    },
    state={"V": "v_reset", "W": "0", "Isyn": "0"},
    dynamics={"V": "(Isyn - V - W) / tau_mem", "W": "(w_coupling * V - W) / tau_w", **_SYNAPSE},
    reset={"V": "v_reset", "W": "W + w_incr"},
    sentence="LIF neuron with subthreshold adaptation: a slow current against the potential that drives it.",
    source="Bittar & Garner 2022",
    hard="As LIF.",
)

RESONATE = replace(
    LIF,
    name="RF",
    parameters={
        **_SPIKING,
        "omega": Parameter(0.3, "1/ms", "Angular frequency of resonate-and-fire neurons.", above=0.0),
    },
    state={"V": "v_reset", "U": "0", "Isyn": "0"},
    dynamics={"V": "omega * U - V / tau_mem", "U": "(Isyn - U) / tau_mem - omega * V", **_SYNAPSE},
    reset={"V": "v_reset", "U": "0"},
    sentence="Resonate-and-fire neuron: a damped oscillation that spikes at its crest.",
    source="Izhikevich 2001",
    hard="It often grazes: crests of many sizes pass close to the threshold. Larger weights or a shorter TAU_MEM help.",
)

QIF = replace(
    LIF,
    name="QIF",
    parameters={**_SPIKING, "v_c": Parameter(0.25, "", "Squared distance of a QIF neuron's fixed points from 0.")},
    dynamics={"V": "(V**2 - v_c + Isyn) / tau_mem", **_SYNAPSE},
    method="rk2",
    sentence="Quadratic integrate-and-fire neuron: rests at -sqrt(v_c), spikes from above sqrt(v_c).",
    source="Latham et al. 2000; Klos & Memmesheimer 2025",
    hard=_UPSTROKE,
)

EIF = replace(
    LIF,
    name="EIF",
    parameters={
        **_SPIKING,
        "v_rheo": Parameter(0.6, "", "Potential at which the upstroke of EIF and AdEx neurons begins."),
        "delta_t": Parameter(0.15, "", "Sharpness of that upstroke.", above=0.0),
    },
    dynamics={"V": "(delta_t * exp((V - v_rheo) / delta_t) - V + Isyn) / tau_mem", **_SYNAPSE},
    method="rk2",
    sentence="Exponential integrate-and-fire neuron.",
    source="Fourcaud-Trocme et al. 2003",
    hard=_UPSTROKE,
)

ADEX = replace(
    EIF,
    name="AdEx",
    parameters={**EIF.parameters, **{n: ADAPTIVE.parameters[n] for n in ("tau_w", "w_coupling", "w_incr")}},
    state={"V": "v_reset", "W": "0", "Isyn": "0"},
    dynamics={
        "V": "(delta_t * exp((V - v_rheo) / delta_t) - V - W + Isyn) / tau_mem",
        "W": "(w_coupling * V - W) / tau_w",
        **_SYNAPSE,
    },
    reset={"V": "v_reset", "W": "W + w_incr"},
    sentence="Adaptive exponential integrate-and-fire neuron.",
    source="Brette & Gerstner 2005",
)

IZHIKEVICH = Neuron(
    "Izhikevich",
    parameters={
        "tau_syn": _TAU_SYN,
        "izh_a": Parameter(0.02, "1/ms", "Rate of recovery of Izhikevich neurons.", above=0.0),
        "izh_b": Parameter(0.2, "1/ms", "Coupling of recovery to the potential."),
        "izh_c": Parameter(-65.0, "mV", "Reset potential of Izhikevich neurons."),
        "izh_d": Parameter(8.0, "mV/ms", "What a spike adds to the recovery variable."),
        "v_peak": Parameter(30.0, "mV", "Potential at which an Izhikevich neuron is reset."),
    },
    state={"V": "izh_c", "U": "izh_b * izh_c", "Isyn": "0"},
    dynamics={"V": "0.04 * V**2 + 5 * V + 140 - U + Isyn", "U": "izh_a * (izh_b * V - U)", **_SYNAPSE},
    threshold="V - v_peak",
    reset={"V": "izh_c", "U": "U + izh_d"},
    method="rk2",
    substeps=2,
    sentence="Izhikevich's neuron, in mV: weights have to be some twenty times those of LIF neurons.",
    source="Izhikevich 2003",
    hard=_UPSTROKE,
)

COBA = Neuron(
    "COBA",
    parameters={
        "tau_mem": _TAU_MEM,
        "tau_exc": Parameter(5.0, "ms", "Time constant of excitatory conductances.", above=0.0),
        "tau_inh": Parameter(10.0, "ms", "Time constant of inhibitory conductances.", above=0.0),
        "e_exc": Parameter(4.5, "", "Reversal potential of excitation, above the threshold."),
        "e_inh": Parameter(-0.5, "", "Reversal potential of inhibition, below the threshold."),
        "v_thresh": _V_THRESH,
        "v_reset": _V_RESET,
    },
    state={"V": "v_reset", "g_exc": "0", "g_inh": "0"},
    dynamics={
        "V": "(g_exc * (e_exc - V) + g_inh * (e_inh - V) - V) / tau_mem",
        "g_exc": "-g_exc / tau_exc",
        "g_inh": "-g_inh / tau_inh",
    },
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input=("g_exc", "g_inh"),
    method="rk2",
    sentence="LIF neuron with conductances: positive weights excite, negative ones inhibit by their size.",
    source="Destexhe et al. 1998",
    hard="As LIF; where much inhibition shunts, spikes graze more often. A weight that passes 0 changes its kind.",
)

NEURONS = Named("NEURONS", LIF, ALIF, LI, ALPHA, REFRACTORY, ADAPTIVE, RESONATE, QIF, EIF, ADEX, IZHIKEVICH, COBA)
"""Neurons by name; another one is ``NEURONS["mine"] = Neuron(...)``."""

ON_BOARD = NEURONS.on_board


_SIMPLE_JUMP = "lambda_V -= (spike_count > nu_upper ? lbd_upper : lbd_lower) * (spike_count - nu_upper) / batch;"


def _sum_loss(name: str, weight: str, parameters: tuple[str, ...] = ()) -> Loss:
    return Loss(
        name=name,
        parameters=parameters,
        weight=weight,
        state={"sum_V": "0.0"},
        read="sum_V += weight / steps * V;",
        score="sum_V",
        impulse="lambda_V += weight / (steps * scale_V) * error;",
        reference_scale="tau_mem",
    )


def _mean_square_error(name: str, sentence: str, *, per_step: bool = False) -> Loss:
    return replace(
        _sum_loss(name, "1.0"),
        target="value",
        compare="(y - target) * (y - target)",
        slope="2.0 * (y - target)",
        per_step=per_step,
        sentence=sentence,
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

LOSSES = Named(
    "LOSSES",
    *(
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
                "rise = V > max_V ? (decay_Isyn * Isyn - V) / tau_mem : rise; "
                "max_step = V > max_V ? step : max_step; max_V = fmax(V, max_V);"
            ),
            finish=_FALLS,
            score="max_V",
            impulse="lambda_V += step == max_step ? error / scale_V : 0.0;",
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
        _mean_square_error("mse", "Mean square error of the time averages of the voltages."),
        _mean_square_error("mse_steps", "Mean square error of the voltages at each step.", per_step=True),
    ),
)
"""Losses by name; another one is ``LOSSES["mine"] = Loss(...)``. Cross-entropies of the softmax over (weighted) time
averages of the output voltages, over their maxima, over minus the first spike times, and the time average of the
voltages' own cross-entropy; mean square errors of voltages."""

LOSSES_ON_BOARD = LOSSES.on_board

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

ADAM = Optimiser(
    name="Adam",
    parameters=("rate", "beta1", "beta2", "rest1", "rest2", "epsilon", "correction1", "correction2", "shrink"),
    state=("m", "v"),
    update=(
        "value -= shrink * value; "
        "m = beta1 * m + rest1 * gradient; "
        "v = beta2 * v + rest2 * gradient * gradient; "
        "value -= rate * (m * correction1) / (sqrt(fmax(v, 1.2e-38) * correction2) + epsilon);"
    ),
)
"""Adam (Kingma & Ba 2015). At update s = 1, 2, ...: rest = 1 - beta and correction = 1/(1 - beta^s), for both of its
averages; single precision has too few digits to take 1 - beta from beta. v is bounded from below by the least number
that single precision has in full, so that without epsilon there is no update where all gradients were 0. shrink is the
rate times the decay of weights, which Adam's averages know nothing of (AdamW, Loshchilov & Hutter 2019); 0 for none."""

if __name__ == "models":  # the package's instance is the only one, also for whoever imports this file by its own name
    sys.modules[__name__] = importlib.import_module("eventprop.models")
