"""What is needed of a neuron within a step: how far it is from its threshold, and, of a linear one, its flow."""

from __future__ import annotations

from typing import Any

import sympy

from eventprop.derivation.expressions import expanded, simplified
from eventprop.derivation.system import System
from eventprop.derivation.text import Constants, total

__all__ = ["within_a_step"]


def within_a_step(system: System, constants: Constants, linear: bool) -> dict[str, Any]:
    """Fields of :class:`eventprop.derivation.model.NeuronModel`, by name."""
    found: dict[str, Any] = {}
    if system.g is not None:
        rise = sum((sympy.diff(system.g, v) * system.f[x] for x, v in system.variables.items()), sympy.Integer(0))
        found = {"level": total(system.g, constants), "climb": total(rise, constants)}
    if not linear:
        return found
    x, scale, adjoint = system.variables, system.scales, system.adjoints
    flow, back, collect = {}, {}, {}
    for y in x:
        flow[y] = total(sum((e * x[z] for z, e in system.jacobian[y].items()), sympy.Integer(0)), constants)
        value = sum((scale[z] * adjoint[z] * row[y] for z, row in system.jacobian.items()), sympy.Integer(0))
        back[str(adjoint[y])] = total(expanded(simplified(value / scale[y])), constants)
    for name, parameter in system.parameters.items():
        value = -sum((scale[y] * adjoint[y] * sympy.diff(system.f[y], parameter) for y in x), sympy.Integer(0))
        if value != 0:
            collect[name] = total(expanded(simplified(value)), constants)
    drift = {y: total(e, constants) for y, e in system.offsets.items() if e != 0}
    return {**found, "flow": flow, "drift": drift, "flow_back": back, "flow_collect": collect}
