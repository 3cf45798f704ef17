"""The step of a neuron whose equations are not linear, and its exact transpose.

The step map is a short program: a list of assignments, each of an expression in the state, parameters, ``dt`` and what
was assigned before. Its transposed Jacobian, and its derivatives by parameters, follow by going through that list
backwards (reverse-mode differentiation), from the state at the start of the step, so they are those of the very map
that ran forwards. With x the state, h the step divided by the sub-steps:

    exponential Euler (Rosenbrock form)   x_i + h phi(h a_i) f_i,      a_i = df_i/dx_i,    phi(z) = (exp(z) - 1) / z
    rk2 (midpoint)                        x + h f(x + h/2 f(x))
    rk4                                   x + h/6 (k1 + 2 k2 + 2 k3 + k4)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import sympy

from eventprop.derivation.expressions import code, symbol
from eventprop.derivation.expressions import phi as phi_of
from eventprop.derivation.system import System
from eventprop.derivation.text import Constants

__all__ = ["SmoothStep", "smooth_step"]

_DT = symbol("dt")


@dataclass
class _Program:
    """Assignments in order; each name is given once."""

    constants: Constants
    lines: list[tuple[sympy.Symbol, sympy.Expr]] = field(default_factory=list)
    _known: dict[sympy.Expr, sympy.Symbol] = field(default_factory=dict)

    def let(self, name: str, expression: sympy.Expr) -> sympy.Expr:
        """The symbol of a new assignment; numbers, symbols and what is there already need none."""
        if expression.is_number or expression.is_Symbol:
            return expression
        if expression in self._known:
            return self._known[expression]
        names = (symbol(f"{name}_{i}") for i in range(100))
        shared, (rest,) = sympy.cse([expression], symbols=names)
        for s, e in [*shared, (symbol(name), rest)]:
            self.lines.append((s, self._functions_apart(e, names)))
        self._known[expression] = symbol(name)
        return symbol(name)

    def _functions_apart(self, expression: sympy.Expr, names: Iterator[sympy.Symbol]) -> sympy.Expr:
        """``expression`` with an assignment for each function in it, so that its derivative need not call it again."""
        if not expression.args or expression.free_symbols <= self.constants.parameters:
            return expression
        given = expression.func(*(self._functions_apart(a, names) for a in expression.args))
        if not isinstance(given, sympy.Function):
            return given
        if given not in self._known:
            self._known[given] = next(names)
            self.lines.append((self._known[given], given))
        return self._known[given]


@dataclass(frozen=True)
class SmoothStep:
    """Snippets, see :class:`eventprop.derivation.model.NeuronModel`."""

    update: str
    back_program: str
    adjoint_update: str
    collect: dict[str, str]


def smooth_step(system: System, constants: Constants) -> SmoothStep:
    """The step of the declaration's method."""
    program, after = _step(system, constants)
    moved = [(x, after[x]) for x in system.variables if after[x] != system.variables[x]]
    forward = [_line(s, e, constants) for s, e in program.lines]
    update = " ".join([*forward, *(f"{x} = {_text(e, constants)};" for x, e in moved)])
    return SmoothStep(update, *_reverse(system, program, after, constants))


def _step(system: System, constants: Constants) -> tuple[_Program, dict[str, sympy.Expr]]:
    """The program of a step, and the state at its end."""
    neuron, program = system.neuron, _Program(constants)
    h = _DT / neuron.substeps
    state: dict[str, sympy.Expr] = dict(system.variables)
    for n in range(neuron.substeps):
        tag = f"s{n}" if neuron.substeps > 1 else "s"
        state = _ONE[neuron.method](system, program, state, h, tag)
    return program, state


def _slopes(system: System, program: _Program, state: dict[str, sympy.Expr], tag: str) -> dict[str, sympy.Expr]:
    """f at a state."""
    at = {v: state[x] for x, v in system.variables.items()}
    return {x: program.let(f"{tag}_{x}", f.subs(at, simultaneous=True)) for x, f in system.f.items()}


def _moved(
    program: _Program, state: dict[str, sympy.Expr], by: dict[str, sympy.Expr], tag: str
) -> dict[str, sympy.Expr]:
    return {x: program.let(f"{tag}_{x}", e + by[x]) for x, e in state.items()}


def _exponential_euler(
    system: System, program: _Program, state: dict[str, sympy.Expr], h: sympy.Expr, tag: str
) -> dict[str, sympy.Expr]:
    at = {v: state[x] for x, v in system.variables.items()}
    k = _slopes(system, program, state, f"{tag}_f")
    by = {}
    for x in state:
        own = system.jacobian[x][x].subs(at, simultaneous=True)
        if own == 0:
            by[x] = h * k[x]
        elif own.free_symbols <= program.constants.parameters:
            by[x] = h * phi_of(h * own) * k[x]
        else:
            a = program.let(f"{tag}_a_{x}", h * own)
            by[x] = h * program.let(f"{tag}_p_{x}", phi_of(a)) * k[x]
    return _moved(program, state, by, f"{tag}_x")


def _rk2(
    system: System, program: _Program, state: dict[str, sympy.Expr], h: sympy.Expr, tag: str
) -> dict[str, sympy.Expr]:
    k1 = _slopes(system, program, state, f"{tag}_k1")
    middle = _moved(program, state, {x: h / 2 * k for x, k in k1.items()}, f"{tag}_m1")
    k2 = _slopes(system, program, middle, f"{tag}_k2")
    return _moved(program, state, {x: h * k for x, k in k2.items()}, f"{tag}_x")


def _rk4(
    system: System, program: _Program, state: dict[str, sympy.Expr], h: sympy.Expr, tag: str
) -> dict[str, sympy.Expr]:
    k1 = _slopes(system, program, state, f"{tag}_k1")
    second = _moved(program, state, {x: h / 2 * k for x, k in k1.items()}, f"{tag}_m1")
    k2 = _slopes(system, program, second, f"{tag}_k2")
    third = _moved(program, state, {x: h / 2 * k for x, k in k2.items()}, f"{tag}_m2")
    k3 = _slopes(system, program, third, f"{tag}_k3")
    fourth = _moved(program, state, {x: h * k for x, k in k3.items()}, f"{tag}_m3")
    k4 = _slopes(system, program, fourth, f"{tag}_k4")
    by = {x: h / 6 * (k1[x] + 2 * k2[x] + 2 * k3[x] + k4[x]) for x in state}
    return _moved(program, state, by, f"{tag}_x")


_ONE = {"exponential_euler": _exponential_euler, "rk2": _rk2, "rk4": _rk4}


def _text(expression: sympy.Expr, constants: Constants) -> str:
    """An expression with what is of parameters alone taken out."""
    hoisted = _hoisted(expression, constants)
    return code(hoisted)


def _hoisted(expression: sympy.Expr, constants: Constants) -> sympy.Expr:
    if expression == _DT:
        return symbol(constants.add("dt_step", "dt"))
    if expression.is_Symbol or expression.is_number:
        return expression
    if expression.free_symbols <= constants.parameters:
        return symbol(constants.name_of(expression))
    if expression.is_Mul or expression.is_Add:
        own = [a for a in expression.args if a.free_symbols <= constants.parameters and not a.is_number]
        numbers = [a for a in expression.args if a.is_number]
        if own and len(own) + len(numbers) < len(expression.args) and (len(own) > 1 or not own[0].is_Symbol or numbers):
            rest = [a for a in expression.args if a not in own and a not in numbers]
            taken = expression.func(*own, *numbers)
            if not (expression.is_Mul and taken.is_Mul and taken == -own[0]):
                return expression.func(symbol(constants.name_of(taken)), *(_hoisted(a, constants) for a in rest))
    return expression.func(*(_hoisted(a, constants) for a in expression.args)) if expression.args else expression


def _line(name: sympy.Symbol, expression: sympy.Expr, constants: Constants) -> str:
    return f"const real {name} = {_text(expression, constants)};"


def _reverse(
    system: System, program: _Program, after: dict[str, sympy.Expr], constants: Constants
) -> tuple[str, str, dict[str, str]]:
    """The program and its transpose; the new adjoints, mu_x = scale_x lambda_x at the end over scale_x at the start;
    what each parameter collects."""
    a, scale = system.adjoints, system.scales
    then = {v: symbol(f"{x}_then") for x, v in system.variables.items()}
    bars: dict[sympy.Symbol, sympy.Expr] = {}
    for x, e in after.items():
        bars[e] = bars.get(e, sympy.Integer(0)) + scale[x] * a[x]
    lines = [_line(s, e.subs(then), constants) for s, e in program.lines]
    collected = dict.fromkeys(system.parameters, sympy.Integer(0))
    for s, e in reversed(program.lines):
        bar = bars.pop(s, sympy.Integer(0))
        if bar == 0:
            continue
        held = symbol(f"bar_{s}")
        lines.append(_line(held, bar.subs(then), constants))
        for other in sorted(e.free_symbols - constants.parameters, key=str):
            bars[other] = bars.get(other, sympy.Integer(0)) + held * sympy.diff(e, other).xreplace({e: s})
        for name, parameter in system.parameters.items():
            collected[name] += held * sympy.diff(e, parameter).xreplace({e: s})
    values = {x: bars.get(v, sympy.Integer(0)) / scale[x] for x, v in system.variables.items()}
    new = [f"const real new_{a[x]} = {_text(e.subs(then), constants)};" for x, e in values.items()]
    taken = [f"{a[x]} = new_{a[x]};" for x in values]
    collect = {n: _text((-e).subs(then), constants) for n, e in collected.items() if e != 0}
    return " ".join(lines), " ".join([*new, *taken]), collect
