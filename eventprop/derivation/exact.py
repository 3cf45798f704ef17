"""What spikes at their exact times need besides, for neurons whose closed forms are known.

These are neurons of one exponential synapse onto a leaky membrane, V' = (I - V) / tau_mem, I' = -I / tau_syn, with a
threshold that is constant or falls back exponentially after it has risen at a spike.
"""

from __future__ import annotations

from dataclasses import replace

import sympy

from eventprop.derivation.expressions import simplified
from eventprop.derivation.model import NeuronModel
from eventprop.derivation.system import System

__all__ = ["exact_times"]


def exact_times(model: NeuronModel, system: System) -> NeuronModel:
    """The model with what exact times need, where that is known; else as it is."""
    if model.propagator is not None or model.back_program or model.inputs != 1 or system.neuron.refractory:
        return model
    shape = _shape(system)
    if shape is None:
        return model
    v, i, tau_mem, tau_syn, adaptive = shape
    if not system.neuron.threshold:
        return _read_out(model, v, i, tau_mem, tau_syn) if not adaptive else model
    return _crossings(model, system, v, i, tau_mem, adaptive)


def _shape(system: System) -> tuple[str, str, str, str, list[str]] | None:
    """Voltage, current, their time constants and what adds to the threshold; None for a neuron of another form."""
    v, i = "V", system.inputs[0]
    others = [x for x in system.variables if x not in (v, i)]
    taus = {x: system.scales[x] for x in system.variables}
    if any(not t.is_Symbol for t in taus.values()) or any(system.offsets[x] != 0 for x in system.variables):
        return None
    wanted = {v: {v: -1 / taus[v], i: 1 / taus[v]}, i: {i: -1 / taus[i]}, **{x: {x: -1 / taus[x]} for x in others}}
    for x, row in system.jacobian.items():
        if any(simplified(c - wanted[x].get(y, 0)) != 0 for y, c in row.items()):
            return None
    if system.g is not None:
        slopes = {x: sympy.diff(system.g, s) for x, s in system.variables.items()}
        if slopes[v] != 1 or slopes[i] != 0 or any(slopes[x] not in (0, -1) for x in others):
            return None
        others = [x for x in others if slopes[x] == -1]
        if system.r[i] != system.variables[i] or len(others) > 1:
            return None
    return v, i, str(taus[v]), str(taus[i]), others


def _crossings(model: NeuronModel, system: System, v: str, i: str, tau_mem: str, adaptive: list[str]) -> NeuronModel:
    level = model.threshold.partition(">=")[2].strip()
    # While the current is positive, V - I grows at most by exp(dt / tau_mem) in reversed time.
    extra = {"turn": f"dt / {tau_mem} * exp(dt / {tau_mem})"}
    if not adaptive:
        return replace(
            model,
            constants=_with(model, extra),
            excess=f"{v} - {level}",
            rise=f"({i} - {v}) / {tau_mem}",
            reach=f"{v} + lift + turn * fmax({v} + lift - {i} + kick, 0.0) >= {level}",
        )
    (b,) = adaptive
    tau_b = str(system.scales[b])
    extra |= {f"{b}_fall": f"dt / {tau_b} * exp(dt / {tau_b})", "mem_to_b": f"{tau_mem} / {tau_b}"}
    rest = level.replace(f" + {b}", "")
    return replace(
        model,
        constants=_with(model, extra),
        excess=f"{v} - {rest} - {b}",
        rise=f"({i} - {v}) / {tau_mem} + {b} / {tau_b}",
        reach=(
            f"{v} + lift + turn * (fmax({v} + lift - {i} + kick - mem_to_b * {b}, 0.0) + {b}_fall * {b}) >= {level}"
        ),
    )


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


def _with(model: NeuronModel, extra: dict[str, str]) -> dict[str, str]:
    model.constants.update(extra)  # type: ignore[attr-defined]
    return dict(model.constants)
