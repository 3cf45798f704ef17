"""NIR's neurons as declarations of this program, and their values from a node."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from eventprop import models
from eventprop.declarations import Neuron, Parameter
from eventprop.exchange.units import MS, area

__all__ = ["GENERAL", "PULSED", "READ_OUT", "Values", "by_steps", "subtracting", "values_of"]

_MORE = {
    "r": Parameter(1.0, "", "Factor of the current."),
    "v_leak": Parameter(0.0, "", "Potential to which the membrane decays."),
    "bias": Parameter(0.0, "", "Constant current."),
}
_V = "(v_leak + r * (Isyn + Ibias) - V) / tau_mem"
_CURRENTS = {"Isyn": "-Isyn / tau_syn", "Ibias": "(bias - Ibias) / tau_syn"}  # of spikes, and of what is always there

READ_OUT = replace(
    models.LI,
    name="nirLI",
    parameters={**models.LI.parameters, **_MORE},
    dynamics={"V": _V, **_CURRENTS},
    state={"V": "0", "Isyn": "0", "Ibias": "0"},
)

GENERAL = replace(
    models.LIF,
    name="nirLIF",
    parameters={**models.LIF.parameters, **_MORE},
    dynamics=READ_OUT.dynamics,
    state=READ_OUT.state,
)

PULSED = Neuron(
    "nirPulsedLIF",
    parameters={n: GENERAL.parameters[n] for n in ("tau_mem", "r", "v_leak", "v_thresh", "v_reset")},
    state={"V": "0", "Isyn": "0"},
    dynamics={"V": "(v_leak + r * Isyn - V) / tau_mem", "Isyn": "0"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    sentence="LIF neuron that is driven by its input, on for whole steps; spikes switch it on and off.",
)


def subtracting(neuron: Neuron) -> Neuron:
    """The neuron, from whose potential a spike takes what is between threshold and reset."""
    return replace(neuron, name=f"{neuron.name}Subtract", reset={"V": "V - (v_thresh - v_reset)"})


Values = dict[str, np.ndarray]


def values_of(node: Any, bias: np.ndarray, spikes: str, dt_ms: float) -> tuple[Values, np.ndarray]:
    """Parameters ``(size,)`` of a node's neurons, times in ms; and by how much a weight of 1 raises the current.

    Args:
        bias: sum of the biases that reach it.
    """
    values = {n: np.ravel(np.asarray(getattr(node, n), np.float64)) for n in ("r", "v_leak")}
    if hasattr(node, "v_threshold"):
        values |= {"v_thresh": np.ravel(node.v_threshold), "v_reset": np.ravel(node.v_reset)}
    if not hasattr(node, "tau_mem"):
        return {**values, "tau_mem": np.ravel(node.tau) / MS, "v_leak": values["v_leak"] + values["r"] * bias}, np.ones(
            len(bias)
        )
    tau_syn, w_in = np.ravel(node.tau_syn), np.ravel(node.w_in)
    values |= {"tau_mem": np.ravel(node.tau_mem) / MS, "tau_syn": tau_syn / MS, "bias": w_in * bias}
    return values, w_in * area(spikes, dt_ms) / tau_syn


def by_steps(values: Values, jump: np.ndarray, dt_ms: float, name: str) -> tuple[Values, np.ndarray]:
    """The neuron whose exact solution, at the ends of steps, is what programs compute that take Euler's steps.

    They have I := (1 - dt/tau_syn) I + jump x + dt/tau_syn bias with the spikes x of the step, and then
    V := (1 - dt/tau_mem) V + dt/tau_mem (r I + v_leak). Time constants, r, v_leak, bias and jump of the neuron that is
    returned give the same, as each of the three numbers by which a step takes I and V to V and I has one.

    Args:
        values, jump: as :func:`values_of` gives them.

    Raises:
        ValueError: a time constant is not above the step.
    """
    for n in ("tau_syn", "tau_mem"):
        if (values[n] <= dt_ms).any():
            raise ValueError(f"{n} of {name} is {values[n].min():g} ms, not above the step of {dt_ms:g} ms")
    alpha, beta = 1.0 - dt_ms / values["tau_syn"], 1.0 - dt_ms / values["tau_mem"]
    tau_syn, tau_mem = (-dt_ms / np.log(x) for x in (alpha, beta))
    ratio = dt_ms / values["tau_mem"]
    same = np.isclose(alpha, beta, rtol=1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        coupling = np.where(same, alpha * dt_ms / tau_mem, (alpha - beta) * tau_syn / (tau_syn - tau_mem))
    r = ratio * values["r"] * alpha / coupling
    added = (1.0 - alpha) * values["bias"]  # to I in a step
    drive = ratio * (values["r"] * added + values["v_leak"])  # to V
    v_leak = (drive - r * values["bias"] * (1.0 - beta - coupling)) / (1.0 - beta)
    return {**values, "tau_syn": tau_syn, "tau_mem": tau_mem, "r": r, "v_leak": v_leak}, jump / alpha


def plain(values: Values, spiking: bool) -> bool:
    """Whether it is one of the program's own neurons."""
    zero = ("v_leak", "bias", *(("v_reset",) if spiking else ()))
    return all(math.isclose(x, 1.0) for x in values["r"]) and not any(values[n].any() for n in zero)
