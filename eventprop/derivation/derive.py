"""From a neuron's declaration to what backends run."""

from __future__ import annotations

from dataclasses import replace

import sympy

from eventprop.declarations import Neuron
from eventprop.derivation.exact import exact_times
from eventprop.derivation.expressions import code, expanded, simplified, symbol
from eventprop.derivation.jump import Jump, jump
from eventprop.derivation.linear import linear_step
from eventprop.derivation.model import NeuronModel
from eventprop.derivation.smooth import smooth_step
from eventprop.derivation.system import System
from eventprop.derivation.text import Constants, total
from eventprop.derivation.within import within_a_step
from eventprop.snippets import renamed

__all__ = ["derive"]

_DT, _BOUND = symbol("dt"), symbol("min_denominator")


def derive(neuron: Neuron) -> NeuronModel:
    """Everything that follows from the declaration.

    Raises:
        ValueError: the declaration is wrong; names the neuron, the field and what is wrong.
    """
    system = System(neuron)
    constants = Constants([*system.parameters.values(), _BOUND, _DT])
    linear = system.linear and system.free_inputs
    order = [*system.inputs, *(x for x in neuron.state if x not in system.inputs)]
    if linear:
        step = linear_step(system, constants)
        arrive, update, program, back = step.arrive, step.update, "", step.adjoint_update
        collect, propagator = step.collect, step.propagator
    else:
        smooth = smooth_step(system, constants)
        arrive, update, program, back = "", smooth.update, smooth.back_program, smooth.adjoint_update
        collect, propagator = smooth.collect, None
    gradient, transport = _synapses(system, constants)
    found = NeuronModel(
        name=neuron.name,
        parameters=(*neuron.parameters, *(["min_denominator"] if neuron.threshold else [])),
        constants=constants.found,
        propagator=propagator,
        state={x: code(system.start[x]) for x in order} | ({"hold": "0.0"} if neuron.refractory else {}),
        inputs=len(system.inputs),
        arrive=arrive,
        update=update,
        adjoint=(
            *(str(system.adjoints[x]) for x in _adjoint_order(order)),
            *(["release"] if neuron.refractory else []),
        ),
        back_program=program,
        adjoint_update=back,
        gradient=gradient,
        transport=transport,
        perturb=_perturb(neuron),
        scale_v=code(system.scales["V"]),
        collect=collect,
        collect_start=_collect_start(system, constants),
    )
    if neuron.threshold:
        found = _spiking(found, system, constants, jump(system, constants, at_threshold=linear), linear)
    if not neuron.refractory:
        found = replace(found, **within_a_step(system, constants))
    return replace(exact_times(found, system), constants=dict(constants.found))


def _adjoint_order(order: list[str]) -> list[str]:
    """The voltage's adjoint first, then those of inputs, then the rest."""
    return ["V", *(x for x in order if x != "V")]


def _perturb(neuron: Neuron) -> str:
    if not neuron.threshold:
        return ""
    return "V += hold > 0.0 ? 0.0 : noise;" if neuron.refractory else "V += noise;"


def _spiking(found: NeuronModel, system: System, constants: Constants, at: Jump, linear: bool) -> NeuronModel:
    assert system.g is not None
    v = system.variables["V"]
    if system.slope["V"] == 1 and not (system.g - v).has(v):
        threshold = f"{v} >= {total(v - system.g, constants)}"
    else:
        threshold = f"{code(system.g)} >= 0.0"
    changed = [(x, e) for x, e in system.r.items() if e != system.variables[x]]
    return replace(
        found,
        threshold=threshold,
        recorded=at.recorded,
        reset=_reset(system, changed, constants) + _hold(system, constants),
        quiet=_quiet(system, constants) if linear else "false",
        jump=at.code,
        jump_first=not linear,
        collect_jump=at.collect,
    )


def _reset(system: System, changed: list[tuple[str, sympy.Expr]], constants: Constants) -> str:
    """Assignments; where one reads what another changes, all wait."""
    names = {system.variables[x] for x, _ in changed}
    crossing = any(e.free_symbols & (names - {system.variables[x]}) for x, e in changed)
    lines = []
    for x, e in changed:
        grown = expanded(e - system.variables[x])
        if not crossing and not grown.has(system.variables[x]):
            negative = bool(grown.as_coeff_Mul()[0].is_negative) and not grown.is_Add
            lines.append(f"{x} {'-=' if negative else '+='} {total(-grown if negative else grown, constants)};")
        elif crossing:
            lines.append(f"const real reset_{x} = {total(e, constants)};")
        else:
            lines.append(f"{x} = {total(e, constants)};")
    taken = [f"{x} = reset_{x};" for x, _ in changed] if crossing else []
    return " ".join(lines + taken)


def _hold(system: System, constants: Constants) -> str:
    """A refractory period in whole steps, one more than are left after the next arrivals."""
    if not system.neuron.refractory:
        return ""
    steps = constants.add("hold_steps", f"floor({system.neuron.refractory} / dt + 1.5)")
    return f" hold = {steps};"


def _synapses(system: System, constants: Constants) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """By input, dL/dw at an arrival and what goes back to the source: q / w, the derivative of the loss by its time.

    q = -w p with p = mu . df/de; positive weights onto the first input, the size of negative ones onto the second.
    """
    gradients, transports = [], []
    scale, a = system.scales, system.adjoints
    then = {v: symbol(f"{x}_then") for x, v in system.variables.items()} if not system.linear else {}
    for number, e in enumerate(system.inputs):
        sign = -1 if number else 1
        gradients.append(total(-sign * scale[e] * a[e], constants))
        carried = expanded(simplified(sign * system.pulled_back(e, system.jacobian)))
        text = total(carried.subs(then), constants)
        if system.neuron.refractory:
            text = renamed(text, {str(a["V"]): f"(hold_then > 0.0 ? 0.0 : {a['V']})"})
        transports.append(text)
    return tuple(gradients), tuple(transports)


def _collect_start(system: System, constants: Constants) -> dict[str, str]:
    found = {}
    for name, parameter in system.parameters.items():
        value = system.by_parameter(system.start, parameter)
        if value != 0:
            found[name] = total(value, constants)
    return found


def _quiet(system: System, constants: Constants) -> str:
    """A condition under which a linear neuron stays below its threshold for ever, if nothing arrives.

    A voltage that relaxes towards the sum of its drives stays below the larger of itself and that sum's largest value;
    drives and what adds to the threshold decay to 0, so their extremes are now, or 0.
    """
    assert system.g is not None
    v = "V"
    rest = system.g - system.variables[v]
    if rest.has(system.variables[v]):
        return "false"
    own, row = system.jacobian[v][v], system.jacobian[v]
    drives = {y: simplified(-c / own) for y, c in row.items() if y != v and c != 0} if own != 0 else {}
    decaying = [y for y in system.variables if y != v and all(c == 0 or z == y for z, c in system.jacobian[y].items())]
    levels = {y: simplified(-sympy.diff(rest, s)) for y, s in system.variables.items() if rest.has(s)}
    if own == 0 or system.offsets[v] != 0 or set(drives) != {system.inputs[0]} or drives[system.inputs[0]] != 1:
        return "false"
    if not ({*drives, *levels} <= set(decaying)) or any(
        system.offsets[y] != 0 or levels.get(y, 1) != 1 for y in levels
    ):
        return "false"
    base = -rest.subs({system.variables[y]: 0 for y in levels})
    level = " + ".join([total(base, constants), *(f"fmin({y}, 0.0)" for y in levels)])
    return f"{v} < {level} && {system.inputs[0]} < {level}"
