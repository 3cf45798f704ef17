"""What follows from a declaration, to be read: equations forwards and backwards, jump, gradients, and their code."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import sympy

from eventprop.declarations import Neuron
from eventprop.derivation.derive import derive
from eventprop.derivation.expressions import expanded, simplified, symbol
from eventprop.derivation.system import System

__all__ = ["backward", "jump_of", "page", "parameter_gradients", "shown"]


def backward(system: System) -> dict[str, sympy.Expr]:
    """By variable, scale times the derivative of its adjoint by reversed time, without the loss's own drive."""
    return {x: expanded(simplified(system.pulled_back(x, system.jacobian))) for x in system.variables}


def jump_of(system: System) -> dict[str, sympy.Expr]:
    """By variable, its adjoint before a spike (in time) by those after it; R is what comes from the spike's targets,
    and the state that just before the spike."""
    error = system.spike_error + (symbol("release") if system.neuron.refractory else 0)
    a = simplified(error / system.rise)
    found = {}
    for x, scale in system.scales.items():
        base = system.pulled_back(x, system.reset_jacobian)
        found[x] = simplified((base + a * system.slope[x]) / scale)
    return found


def parameter_gradients(system: System) -> dict[str, tuple[sympy.Expr, sympy.Expr, sympy.Expr]]:
    """By parameter, what its gradient has: under the integral over time; at each spike, of adjoints after it and, as
    ``lambda_V_before``, before it; at the start of a trial."""
    found = {}
    for name, parameter in system.parameters.items():
        spike = sympy.Integer(0)
        if system.g is not None:
            before = symbol(f"{system.adjoints['V']}_before")
            base = system.pulled_back("V", system.reset_jacobian)
            spike -= (system.scales["V"] * before - base) / system.slope["V"] * sympy.diff(system.g, parameter)
            spike += system.by_parameter(system.r, parameter)
        flow, start = (system.by_parameter(of, parameter) for of in (system.f, system.start))
        found[name] = (simplified(flow), simplified(spike), simplified(start))
    return found


def shown(neuron: Neuron, code: bool = True) -> str:
    """All of it as text.

    Args:
        code: whether the code that backends run is part of it.
    """
    system = System(neuron)
    parts = [_head(neuron), _forward(neuron), _backward(system)]
    if neuron.threshold:
        parts.append(_jump(system))
    parts += [_gradients(system), _synapses(system)]
    text = "\n\n".join(parts) + "\n"
    whole = "\n".join(part for line in text.split("\n") for part in _wrapped(line))
    return f"{whole}\n{_code(neuron)}\n" if code else whole


def page(neurons: Mapping[str, Neuron]) -> str:
    """All neurons as a page in Markdown: what each is, its equations, and what follows from them."""
    lines = [
        "# Neurons",
        "",
        "Made by `python -m eventprop show --page` from the declarations in `models.py`: what a neuron is, and what is "
        "derived from that. `python -m eventprop show LIF` prints the same with the code of a step. Times are in ms.",
        "",
    ]
    for name, neuron in neurons.items():
        lines += [f"## {name}", "", _told(neuron), "", "| parameter | default | meaning |", "|---|---|---|"]
        for parameter, of in neuron.parameters.items():
            lines.append(
                f"| `{parameter.upper()}` | {of.default:g}{f' {of.unit}' if of.unit else ''} | {of.sentence} |"
            )
        lines += ["", "```text", shown(neuron, code=False).partition("\n\n")[2].rstrip(), "```", ""]
    return "\n".join(lines)


def _told(neuron: Neuron) -> str:
    source = f" ({neuron.source})" if neuron.source else ""
    hard = f" When its gradient is hard: {neuron.hard[0].lower()}{neuron.hard[1:]}" if neuron.hard else ""
    return f"{neuron.sentence.rstrip('.')}{source}.{hard}"


def _head(neuron: Neuron) -> str:
    lines = [f"{neuron.name}: {neuron.sentence}".rstrip(": ")]
    lines += [f"Source: {neuron.source}"] if neuron.source else []
    lines += textwrap.wrap(f"When its gradient is hard: {neuron.hard}", 110) if neuron.hard else []
    return "\n".join(lines)


def _wrapped(line: str) -> list[str]:
    """A line in parts of at most 96 characters, the later ones further in."""
    if len(line) <= 96:
        return [line]
    inner = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, 96, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False)


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    width = max((len(left) for left, _ in rows), default=0)
    return "\n".join([title, *(f"    {left:<{width}} = {right}" for left, right in rows)])


def _forward(neuron: Neuron) -> str:
    rows = [(f"d{x}/dt", neuron.dynamics[x]) for x in neuron.state]
    text = _table("Forwards", rows) + "\n" + _table("At the start", [(x, str(e)) for x, e in neuron.state.items()])
    inputs = " and ".join(neuron.inputs)
    text += f"\nA spike that arrives adds its weight to {inputs}"
    text += (
        " (positive weights to the first, the size of negative ones to the second)." if len(neuron.inputs) == 2 else "."
    )
    if neuron.threshold:
        text += f"\nSpike where {neuron.threshold} rises through 0"
        text += "; then " + ", ".join(f"{x} := {e}" for x, e in neuron.reset.items()) + "." if neuron.reset else "."
    if neuron.refractory:
        text += f"\nFor {neuron.refractory} after it V stays as it is then."
    return text


def _backward(system: System) -> str:
    names = [f"{system.adjoints[x]} = -(dL/d{x}) / {e}" for x, e in system.scales.items()]
    rows = []
    for x, value in backward(system).items():
        scale, name = system.scales[x], f"d{system.adjoints[x]}/ds"
        rows.append((name if scale == 1 else f"{scale} {name}", str(value)))
    return "Adjoints: " + ", ".join(n.replace(" / 1", "") for n in names) + "\n" + _table("Backwards, s = -t", rows)


def _jump(system: System) -> str:
    rows = [(f"{system.adjoints[x]} before", str(e)) for x, e in jump_of(system).items() if e != system.adjoints[x]]
    return _table("At a spike, of the adjoints after it and the state just before it (R comes from its targets)", rows)


def _gradients(system: System) -> str:
    lines = ["Gradients of parameters: integral over the trial, sum over the neuron's spikes, start of the trial"]
    for name, (flow, spike, start) in parameter_gradients(system).items():
        parts = [f"integral of {flow}"] * (flow != 0) + [f"sum of {spike}"] * (spike != 0)
        parts += [f"at the start {start}"] * (start != 0)
        lines.append(f"    dL/d{name} = {' + '.join(parts) or '0 (or by its refractory period)'}")
    return "\n".join(lines)


def _synapses(system: System) -> str:
    lines = []
    for number, e in enumerate(system.inputs):
        kind = "" if len(system.inputs) == 1 else (" of a positive weight", " of a negative weight")[number]
        sign = -1 if number else 1
        gradient = -sign * system.scales[e] * system.adjoints[e]
        carried = system.pulled_back(e, system.jacobian)
        lines.append(
            f"At an arrival{kind}: dL/dw = {gradient}, and R of its source grows by w ({expanded(sign * carried)})"
        )
    return "\n".join(lines)


def _code(neuron: Neuron) -> str:
    model = derive(neuron)
    lines = ["Code (GeNNCode) of a step of dt, on the grid"]
    lines += [f"    {n} = {e}" for n, e in model.constants.items()]
    if model.propagator:
        lines.append(f"    {', '.join(n for row in model.propagator.entries for n in row if n)}: entries of exp(A dt)")
    for title, text in (
        ("before arrivals", model.arrive),
        ("step", model.update),
        ("threshold", model.threshold),
        ("recorded", "; ".join(f"{n} = {e}" for n, e in model.recorded.items())),
        ("reset", model.reset),
        ("backwards", f"{model.back_program} {model.adjoint_update}".strip()),
        ("jump", model.jump),
        *((f"{n} collects", e) for n, e in model.collect.items()),
        *((f"{n} collects at a spike", e) for n, e in model.collect_jump.items()),
        *((f"{n} collects at the start", e) for n, e in model.collect_start.items()),
    ):
        if text:
            lines.append(f"  {title}:")
            lines += [
                f"    {part.strip()};" if ";" in text else f"    {part}" for part in text.split(";") if part.strip()
            ]
    return "\n".join(lines)
