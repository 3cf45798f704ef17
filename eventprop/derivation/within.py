"""What is needed of a neuron within a step: how far it is from its threshold, and, of a linear one, its flow."""

from __future__ import annotations

from typing import Any

import sympy

from eventprop.derivation.expressions import expanded, simplified
from eventprop.derivation.system import System
from eventprop.derivation.text import Constants, total

__all__ = ["within_a_step"]


def within_a_step(system: System, constants: Constants) -> dict[str, Any]:
    """Fields of :class:`eventprop.derivation.model.NeuronModel`, by name."""
    found: dict[str, Any] = {}
    if system.g is not None:
        found = {"level": total(system.g, constants), "climb": total(system.rise, constants)}
    if not system.linear:
        return found
    flow, back, collect = {}, {}, {}
    for y, row in system.jacobian.items():
        flow[y] = total(sum((e * system.variables[z] for z, e in row.items()), sympy.Integer(0)), constants)
        value = system.pulled_back(y, system.jacobian) / system.scales[y]
        back[str(system.adjoints[y])] = total(expanded(simplified(value)), constants)
    for name, parameter in system.parameters.items():
        value = system.by_parameter(system.f, parameter)
        if value != 0:
            collect[name] = total(expanded(simplified(value)), constants)
    drift = {y: total(e, constants) for y, e in system.offsets.items() if e != 0}
    return {**found, "flow": flow, "drift": drift, "flow_back": back, "flow_collect": collect}
