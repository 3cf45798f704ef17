"""The jump of the adjoints at a neuron's own spike, and what parameters collect there.

With x the state just before the spike, mu = dL/dx just after it and q the error that has arrived from its targets
(``R``): the derivative of the loss by the time of the spike is

    E = R + mu . (r_x f(x) - f(r(x))),

the spike moves by -(g_x dx + g_theta dtheta) / (g_x . f), and so

    mu := r_x' mu - a g_x,    a = E / (g_x . f),    dL/dtheta += mu_after . r_theta - a g_theta.

In scaled adjoints, mu_x = -scale_x lambda_x, with v the variable that losses read:

    lambda_v += (E + (base_v - lambda_v) D) / D,        D = scale_v (g_x . f) / g_v,
    lambda_x := base_x + (g_x scale_v / g_v scale_x) (lambda_v - base_v),
    base_x = sum_y r_yx scale_y lambda_y / scale_x.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy

from eventprop.derivation.expressions import code, expanded, simplified, symbol
from eventprop.derivation.system import System
from eventprop.derivation.text import Constants, grouped, total
from eventprop.snippets import renamed

__all__ = ["Jump", "jump"]

_R = symbol("R")


@dataclass(frozen=True)
class Jump:
    """Snippets, see :class:`eventprop.derivation.model.NeuronModel`."""

    recorded: dict[str, str]
    code: str
    collect: dict[str, str]


def jump(system: System, constants: Constants, at_threshold: bool) -> Jump:
    """The jump of a neuron that spikes.

    Args:
        at_threshold: whether the voltage at a spike is taken to be the threshold's, as published for linear neurons on
            a grid, or what it was at the end of the step.
    """
    x, scale, adjoint, v = system.variables, system.scales, system.adjoints, "V"
    denominator = expanded(simplified(scale[v] * system.rise / system.slope[v]))
    base = {z: system.pulled_back(z, system.reset_jacobian) / scale[z] for z in x}
    numerator = expanded(simplified(expanded(system.spike_error + (base[v] - adjoint[v]) * denominator)))
    if at_threshold:
        (level,) = sympy.solve(system.g, x[v])
        numerator = expanded(numerator.subs(x[v], level))
    return _written(system, constants, numerator, denominator, base)


def _written(
    system: System,
    constants: Constants,
    numerator: sympy.Expr,
    denominator: sympy.Expr,
    base: dict[str, sympy.Expr],
) -> Jump:
    x, scale, adjoint, slope, v = system.variables, system.scales, system.adjoints, system.slope, "V"
    recorded = {"denominator": total(denominator, constants)}
    kept = {s: symbol(f"{y}_spike") for y, s in x.items()}
    names = {str(a): a for a in adjoint.values()}
    temps, lines = "", []
    used: set[sympy.Symbol] = set(numerator.free_symbols)
    if base[v] != 0 and base[v] != adjoint[v]:
        temps = f"const real base_{v} = {total(base[v].subs(kept), constants)}; "
    for y in x:
        if y == v:
            continue
        ratio = simplified(slope[y] * scale[v] / (slope[v] * scale[y]))
        held = sympy.Symbol(f"{adjoint[v]}_old") if base[v] == adjoint[v] else symbol(f"base_{v}")
        gained = ratio * (adjoint[v] - (0 if base[v] == 0 else held))
        rest = simplified(base[y] - adjoint[y])
        if ratio != 0 or rest != 0:
            lines.append((y, rest, gained))
            used |= (rest + ratio).free_symbols
    names_of_state = [y for y, s in x.items() if s in used]
    recorded |= {f"{y}_spike": y for y in names_of_state}
    top = grouped(numerator.subs(kept), names, _R, constants)
    if system.neuron.refractory:  # the end of the period moves with the spike
        top = renamed(top, {"R": "R + release"})
    old = f"const real {adjoint[v]}_old = {adjoint[v]}; " if any("_old" in str(g) for *_, g in lines) else ""
    text = f"{temps}{old}{adjoint[v]} += ({top}) / fmax(denominator, min_denominator);"
    before = [(y, rest) for y, rest, _ in lines if rest != 0]
    if before:  # what a reset mixes is taken from the values after the spike
        moved = " ".join(f"const real rest_{y} = {total(rest.subs(kept), constants)};" for y, rest in before)
        text = f"{moved} {text}"
    for y, rest, gained in lines:
        own = f" {adjoint[y]} += rest_{y};" if rest != 0 else ""
        text += own
        if gained != 0:
            negative = expanded(gained.coeff(adjoint[v])).as_coeff_Mul()[0].is_negative
            shown = total(expanded((-gained if negative else gained).subs(kept)), constants)
            text += f" {adjoint[y]} {'-=' if negative else '+='} {shown};"
    if system.neuron.refractory:
        text += " release = 0.0;"
    return Jump(recorded, text, _collected(system, constants, base, kept))


def _collected(
    system: System,
    constants: Constants,
    base: dict[str, sympy.Expr],
    kept: dict[sympy.Symbol, sympy.Symbol],
) -> dict[str, str]:
    """By parameter, what it collects at a spike; ``<adjoint>_after`` and ``<adjoint>_new``."""
    scale, adjoint, v = system.scales, system.adjoints, "V"
    after = {a: symbol(f"{a}_after") for a in adjoint.values()}
    new = symbol(f"{adjoint[v]}_new")
    found = {}
    for name, parameter in system.parameters.items():
        gained = -(new - base[v].subs(after)) * scale[v] / system.slope[v] * sympy.diff(system.g, parameter)
        gained += system.by_parameter(system.r, parameter).subs(after)
        gained = expanded(simplified(gained))
        if gained != 0:
            found[name] = total(gained.subs(kept), constants) if gained.free_symbols else code(gained)
    return found
