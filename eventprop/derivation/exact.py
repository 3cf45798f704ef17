"""What spikes at their exact times need besides: of any linear neuron that it spikes, and of the read-out integrals.

The read-out is a leaky membrane with an exponential synapse, V' = (I - V) / tau_mem, I' = -I / tau_syn.
"""

from __future__ import annotations

from dataclasses import replace

import sympy

from eventprop.derivation.model import NeuronModel
from eventprop.derivation.system import System

__all__ = ["exact_times"]


def exact_times(model: NeuronModel, system: System) -> NeuronModel:
    """The model with what exact times need, where they are possible; else as it is.

    They are where a neuron is linear, has no constant drive, one input that does not move the level itself, and a level
    that is linear, too.
    """
    if not model.flow or model.drift or model.inputs != 1 or not system.free_inputs:
        return model
    if system.g is None:
        shape = _leaky(system)
        return replace(_read_out(model, *shape), exact=True) if shape else model
    states = set(system.variables.values())
    level_is_linear = not any(e.free_symbols & states for e in system.slope.values())
    return replace(model, exact=system.slope[system.inputs[0]] == 0 and level_is_linear)


def _leaky(system: System) -> tuple[str, str, str, str] | None:
    """Voltage, current and their time constants; None for a neuron of another form."""
    v, i = "V", system.inputs[0]
    taus = {x: system.scales[x] for x in system.variables}
    if set(system.variables) != {v, i} or any(not t.is_Symbol for t in taus.values()):
        return None
    wanted = {v: {v: -1 / taus[v], i: 1 / taus[v]}, i: {i: -1 / taus[i]}}
    for x, row in system.jacobian.items():
        if any(sympy.simplify(c - wanted[x].get(y, 0)) != 0 for y, c in row.items()):
            return None
    return v, i, str(taus[v]), str(taus[i])


def _read_out(model: NeuronModel, v: str, i: str, tau_mem: str, tau_syn: str) -> NeuronModel:
    """The integral of V, and of V times the time since the first cut, by the states at both ends."""
    names = {"V": v, "I": i, "m": tau_mem, "s": tau_syn}
    start = {**names, "V0": f"{v}_start", "I0": f"{i}_start"}

    def put(text: str) -> str:
        return text.format(**start)

    by_m = "decay_{V}_by_{m} * {V0} + gain_{V}_{I}_by_{m} * {I0}"
    by_s = "gain_{V}_{I}_by_{s}"
    return replace(
        model,
        integrals=(
            put("{s} * ({I0} - {I}) - {m} * ({V} - {V0})"),
            put("{s} * ({s} * ({I0} - {I}) - dt * {I}) - {m} * (dt * {V} - integral)"),
        ),
        integral_slopes={
            tau_mem: (
                put(f"{{V0}} - {{V}} - {{m}} * ({by_m})"),
                put(f"integral - dt * {{V}} + {{m}} * (slope - dt * ({by_m}))"),
            ),
            tau_syn: (
                put(f"{{I0}} - {{I}} - ({{s}} * decay_{{I}}_by_{{s}} + {{m}} * {by_s}) * {{I0}}"),
                put(
                    "2.0 * {s} * ({I0} - {I}) - dt * {I} - {s} * ({s} + dt) * decay_{I}_by_{s} * {I0}"
                    f" + {{m}} * (slope - dt * {by_s} * {{I0}})"
                ),
            ),
        },
        driven={
            model.adjoint[0]: f"A - {tau_mem} * A_slope",
            model.adjoint[1]: f"A - ({tau_mem} + {tau_syn}) * A_slope",
        },
    )
