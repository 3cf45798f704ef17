"""Neurons as their papers print them, for trying the certificate; parameters in ms and mV or without unit."""

from __future__ import annotations

from dataclasses import replace

from eventprop.declarations import Neuron, Parameter


def positive(value: float) -> Parameter:
    return Parameter(value, above=0.0)


TAUS = {"tau_mem": positive(20.0), "tau_syn": positive(5.0)}
THRESHOLD = {"v_thresh": Parameter(1.0), "v_reset": Parameter(0.0)}
CURRENT = {"Isyn": "-Isyn / tau_syn"}

LIF = Neuron(
    name="LIF",
    parameters=TAUS | THRESHOLD,
    state={"V": "v_reset", "Isyn": "0"},
    dynamics={"V": "(Isyn - V) / tau_mem", **CURRENT},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
)
ALIF = Neuron(
    name="ALIF",
    parameters={
        **TAUS,
        "tau_b": positive(40.0),
        **THRESHOLD,
        "b_incr": Parameter(0.15, least=0.0),
        "b_init": Parameter(0.1, least=0.0),
    },
    state={"V": "v_reset", "Isyn": "0", "B": "b_init"},
    dynamics={"V": "(Isyn - V) / tau_mem", **CURRENT, "B": "-B / tau_b"},
    threshold="V - v_thresh - B",
    reset={"V": "v_reset", "B": "B + b_incr"},
)
ALPHA = Neuron(
    name="alpha",
    parameters={**TAUS, "tau_rise": positive(3.0), **THRESHOLD},
    state={"V": "v_reset", "Isyn": "0", "J": "0"},
    dynamics={"V": "(Isyn - V) / tau_mem", "Isyn": "(J - Isyn) / tau_syn", "J": "-J / tau_rise"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="J",
)
REFRACTORY = replace(
    LIF, name="refractory", parameters={**LIF.parameters, "t_ref": Parameter(3.0, least=0.0)}, refractory="t_ref"
)
ADAPTATION = Neuron(
    name="adaptation",
    parameters={**TAUS, "tau_w": positive(60.0), "a": positive(0.3), "b": positive(0.2), **THRESHOLD},
    state={"V": "v_reset", "Isyn": "0", "u": "0"},
    dynamics={"V": "(Isyn - V - u) / tau_mem", **CURRENT, "u": "(a * (V - v_reset) - u) / tau_w"},
    threshold="V - v_thresh",
    reset={"V": "v_reset", "u": "u + b"},
)
RESONATOR = Neuron(
    name="resonator",
    parameters={**TAUS, "omega": positive(0.4), **THRESHOLD},
    state={"V": "v_reset", "Isyn": "0", "u": "0"},
    dynamics={"V": "(Isyn - V) / tau_mem - omega * u", **CURRENT, "u": "omega * V - u / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset", "u": "u + 0.3"},
)
QIF = Neuron(
    name="QIF",
    parameters={**TAUS, "v_c": positive(0.25), "v_peak": Parameter(4.0), "v_reset": Parameter(-1.0)},
    state={"V": "-sqrt(v_c)", "Isyn": "0"},
    dynamics={"V": "(V**2 - v_c + Isyn) / tau_mem", **CURRENT},
    threshold="V - v_peak",
    reset={"V": "v_reset"},
)
ADEX = Neuron(
    name="AdEx",
    parameters={
        "tau_mem": positive(10.0),
        "tau_syn": positive(5.0),
        "tau_w": positive(100.0),
        "delta": positive(2.0),
        "a": positive(0.2),
        "b": positive(3.0),
        "v_rest": Parameter(-70.0),
        "v_t": Parameter(-50.0),
        "v_peak": Parameter(-40.0),
        "v_reset": Parameter(-60.0),
    },
    state={"V": "v_rest", "Isyn": "0", "w": "0"},
    dynamics={
        "V": "(v_rest - V + delta * exp((V - v_t) / delta) + Isyn - w) / tau_mem",
        **CURRENT,
        "w": "(a * (V - v_rest) - w) / tau_w",
    },
    threshold="V - v_peak",
    reset={"V": "v_reset", "w": "w + b"},
)
IZHIKEVICH = Neuron(
    name="Izhikevich",
    parameters={
        "tau_syn": positive(5.0),
        "a": positive(0.05),
        "b": positive(0.2),
        "v_peak": Parameter(30.0),
        "c": Parameter(-65.0),
        "d": positive(6.0),
        "v_start": Parameter(-65.0),
    },
    state={"V": "v_start", "Isyn": "0", "u": "b * v_start"},
    dynamics={"V": "0.04 * V**2 + 5 * V + 140 - u + Isyn", **CURRENT, "u": "a * (b * V - u)"},
    threshold="V - v_peak",
    reset={"V": "c", "u": "u + d"},
)
COBA = Neuron(
    name="COBA",
    parameters={
        "tau_mem": positive(20.0),
        "tau_exc": positive(5.0),
        "tau_inh": positive(8.0),
        "e_exc": Parameter(4.0),
        "e_inh": Parameter(-1.0),
        **THRESHOLD,
    },
    state={"V": "v_reset", "g_exc": "0", "g_inh": "0"},
    dynamics={
        "V": "(-V + g_exc * (e_exc - V) + g_inh * (e_inh - V)) / tau_mem",
        "g_exc": "-g_exc / tau_exc",
        "g_inh": "-g_inh / tau_inh",
    },
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input=("g_exc", "g_inh"),
)

LINEAR = {n.name: n for n in (LIF, ALIF, ALPHA, REFRACTORY, ADAPTATION, RESONATOR)}
NEURONS = {**LINEAR, **{n.name: n for n in (QIF, ADEX, IZHIKEVICH, COBA)}}
