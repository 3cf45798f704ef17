"""The step of a linear neuron: exact propagators, their transposes, and their derivatives by every parameter.

x(t + dt) = exp(A dt) x(t). Where no variable is driven by one that is itself driven, the entries have closed forms,

    decay_x = exp(a_x dt),     gain_x_y = c dt decay_y phi((a_x - a_y) dt),     phi(z) = (exp(z) - 1) / z,

accurate where two time constants meet; else the matrix exponential is computed in double precision, with its
derivatives, whenever a parameter changes (:class:`eventprop.derivation.model.Propagator`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy

from eventprop.derivation.expressions import code, expanded, phi, simplified, symbol
from eventprop.derivation.model import Propagator
from eventprop.derivation.system import System
from eventprop.derivation.text import Constants
from eventprop.snippets import renamed

__all__ = ["Step", "linear_step"]

_DT = symbol("dt")


@dataclass(frozen=True)
class Step:
    """Snippets, see :class:`eventprop.derivation.model.NeuronModel`."""

    arrive: str
    update: str
    adjoint_update: str
    collect: dict[str, str]
    propagator: Propagator | None = None


class _Closed:
    """Names of the propagator's entries, constants with closed forms, by row and column; the offset's column is ""."""

    def __init__(self, system: System, constants: Constants) -> None:
        self.system, self.constants = system, constants
        self.rate = {x: row[x] for x, row in system.jacobian.items()}
        self.entries: dict[tuple[str, str], str] = {}
        self.values: dict[tuple[str, str], sympy.Expr] = {}
        for x in system.variables:
            self._put(x, x, f"decay_{x}", sympy.exp(self.rate[x] * _DT), f"exp({code(self.rate[x] * _DT)})")
        for x, row in system.jacobian.items():
            for y, c in row.items():
                if y != x and c != 0:
                    self._gain(x, y, c)
            if system.offsets[x] != 0:
                value = system.offsets[x] * _DT * phi(self.rate[x] * _DT)
                self._put(x, "", f"offset_{x}", value, code(value))

    def _put(self, x: str, y: str, name: str, value: sympy.Expr, text: str) -> None:
        self.entries[x, y], self.values[x, y] = self.constants.add(name, text), value

    def _gain(self, x: str, y: str, c: sympy.Expr) -> None:
        z = (self.rate[x] - self.rate[y]) * _DT
        terms = sorted(sympy.Add.make_args(expanded(z)), key=lambda t: bool(t.as_coeff_Mul()[0].is_negative))
        self.constants.add(f"z_{x}_{y}", " ".join(code(t) if i == 0 else _signed(t) for i, t in enumerate(terms)))
        self.constants.add(f"phi_{x}_{y}", f"phi(z_{x}_{y})")
        text = f"{code(c * _DT)} * decay_{y} * phi_{x}_{y}"
        self._put(x, y, f"gain_{x}_{y}", c * _DT * sympy.exp(self.rate[y] * _DT) * phi(z), text)

    def back(self, x: str, y: str) -> str:
        """The entry in scaled adjoints, from that of ``x`` to that of ``y``."""
        name = self.entries[x, y]
        ratio = self.system.scales[x] / self.system.scales[y]
        if ratio == 1:
            return name
        c = simplified(self.system.jacobian[x][y] * ratio) * _DT
        return self.constants.add(f"{name}_back", f"{code(c)} * decay_{y} * phi_{x}_{y}")

    def slope(self, x: str, y: str, parameter: str) -> str:
        """The derivative of an entry by a parameter, as a constant; "" where it is 0."""
        name, by = f"{self.entries[x, y]}_by_{parameter}", self.system.parameters[parameter]
        if x == y:
            rate = sympy.diff(self.rate[x], by)
            return self.constants.add(name, f"decay_{x} * {code(rate * _DT)}") if rate != 0 else ""
        if y == "":
            value = sympy.diff(self.values[x, y], by)
            return self.constants.add(name, code(value)) if value != 0 else ""
        drive = self.system.jacobian[x][y] * _DT
        by_phi = simplified(sympy.diff(drive, by) + drive * _DT * sympy.diff(self.rate[y], by))
        by_slope = simplified(drive * _DT * sympy.diff(self.rate[x] - self.rate[y], by))
        if by_phi == 0 and by_slope == 0:
            return ""
        self.constants.add(f"phi_slope_{x}_{y}", f"phi_slope(z_{x}_{y})")
        terms = f"({code(by_phi)}) * phi_{x}_{y} + ({code(by_slope)}) * phi_slope_{x}_{y}"
        return self.constants.add(name, f"decay_{y} * ({terms})")


def _signed(term: sympy.Expr) -> str:
    negative = bool(term.as_coeff_Mul()[0].is_negative)
    return f"- {code(-term)}" if negative else f"+ {code(term)}"


class _Matrix:
    """Names of the propagator's entries, where it is computed as a whole."""

    def __init__(self, system: System, constants: Constants) -> None:
        self.system, self.constants = system, constants
        self.columns = [*system.variables, *([""] if any(e != 0 for e in system.offsets.values()) else [])]
        self.reached = _reached(system)
        pairs = [(x, y) for x in system.variables for y in self.columns if y in self.reached[x]]
        self.entries = {(x, y): f"P_{x}_{y or 'offset'}" for x, y in pairs}
        self.slopes: dict[str, dict[tuple[str, str], str]] = {}

    def back(self, x: str, y: str) -> str:
        name, ratio = self.entries[x, y], self.system.scales[x] / self.system.scales[y]
        return name if ratio == 1 else self.constants.add(f"{name}_back", f"{name} * {code(ratio)}")

    def slope(self, x: str, y: str, parameter: str) -> str:
        by = self.system.parameters[parameter]
        moved = [(i, j) for i in self.system.variables for j in self.columns if sympy.diff(self.rate(i, j), by) != 0]
        if not any(i in self.reached[x] and (j == y or y in self.reached.get(j, ())) for i, j in moved):
            return ""
        name = f"{self.entries[x, y]}_by_{parameter}"
        self.slopes.setdefault(parameter, {})[x, y] = name
        return name

    def rate(self, x: str, y: str) -> sympy.Expr:
        return self.system.offsets[x] if y == "" else self.system.jacobian[x][y]

    def propagator(self) -> Propagator:
        rows = list(self.system.variables)

        def texts(of: Mapping[tuple[str, str], str]) -> tuple[tuple[str, ...], ...]:
            return tuple(tuple(of.get((x, y), "") for y in self.columns) for x in rows)

        def matrix(parameter: str = "") -> tuple[tuple[str, ...], ...]:
            by = self.system.parameters.get(parameter)
            entries = [[self.rate(x, y) for y in self.columns] for x in rows]
            return tuple(tuple(code(sympy.diff(e, by) if by is not None else e) for e in row) for row in entries)

        slopes = {name: (matrix(name), texts(of)) for name, of in self.slopes.items()}
        return Propagator(matrix(), texts(self.entries), slopes)


def _reached(system: System) -> dict[str, set[str]]:
    """By variable, those that it depends on, directly or not, itself included; "" for a constant drive."""
    reached = {x: {x, *(y for y, c in row.items() if c != 0)} for x, row in system.jacobian.items()}
    for x, e in system.offsets.items():
        if e != 0:
            reached[x].add("")
    for _ in system.variables:
        for x in reached:
            reached[x] |= {z for y in reached[x] if y in reached for z in reached[y]}
    return reached


def linear_step(system: System, constants: Constants) -> Step:
    """The step of a linear neuron whose inputs decay by themselves."""
    driven = {x: [y for y, c in row.items() if y != x and c != 0] for x, row in system.jacobian.items()}
    simple = all(not driven[y] and system.offsets[y] == 0 for ys in driven.values() for y in ys)
    entries: _Closed | _Matrix = _Closed(system, constants) if simple else _Matrix(system, constants)
    downstream = _order(system)
    arrive = " ".join(f"{e} *= {entries.entries[e, e]};" for e in system.inputs)
    collect = _collect(system, entries)
    if system.neuron.refractory:
        arrive = f"{arrive} hold = fmax(hold - 1.0, 0.0);"
        collect[system.neuron.refractory] = f"hold == 1.0 ? {_release(system, entries)} : 0.0"
    return Step(
        arrive=arrive,
        update=_update(system, entries, [x for x in downstream if x not in system.inputs]),
        adjoint_update=_back(system, entries, downstream[::-1]),
        collect={
            name: renamed(text, {x: f"{x}_then" for x in (*system.variables, "hold")}) for name, text in collect.items()
        },
        propagator=entries.propagator() if isinstance(entries, _Matrix) else None,
    )


def _release(system: System, entries: _Closed | _Matrix) -> str:
    """The derivative of the loss by the time at which V is let go, from the state at the start of the last step of a
    refractory period: mu . (f held - f free) at its end."""
    ends = {x: "V" if x == "V" else f"({_row(entries, x)})" for x in system.variables}
    f_free = renamed(code(system.f["V"]), ends)
    scale = system.scales["V"]
    return (
        f"{code(scale)} * {system.adjoints['V']} * ({f_free})" if scale != 1 else f"{system.adjoints['V']} * ({f_free})"
    )


def _order(system: System) -> list[str]:
    """Variables such that each comes before those that it depends on; else in the declaration's order."""
    found: list[str] = []
    rest = list(system.variables)
    while rest:
        free = [x for x in rest if not any(y != x and system.jacobian[y][x] != 0 for y in rest)]
        found.append((free or rest)[0])
        rest.remove(found[-1])
    return found


def _row(entries: _Closed | _Matrix, x: str) -> str:
    own = [f"{entries.entries[x, x]} * {x}"]
    others = [f"{n} * {y}" if y else n for (z, y), n in entries.entries.items() if z == x and y != x]
    return " + ".join(own + others)


def _update(system: System, entries: _Closed | _Matrix, order: list[str]) -> str:
    """Rows one after the other; where a variable is read after it has changed, its new value waits."""
    lines, waiting = [], []
    for i, x in enumerate(order):
        read_later = any((y, x) in entries.entries for y in order[i + 1 :])
        if read_later:
            lines.append(f"const real new_{x} = {_held(system, x, _row(entries, x), x)};")
            waiting.append(f"{x} = new_{x};")
        else:
            lines.append(f"{x} = {_held(system, x, _row(entries, x), x)};")
    return " ".join(lines + waiting)


def _back(system: System, entries: _Closed | _Matrix, order: list[str]) -> str:
    """Transposed rows: each adjoint from those that depend on its variable, which come later."""
    a = system.adjoints
    lines, waiting = [], []
    if system.neuron.refractory:
        release = renamed(_release(system, entries), {x: f"{x}_then" for x in system.variables})
        lines.append(f"release = hold_then == 1.0 ? {release} : release;")
    for i, y in enumerate(order):
        own = f"{entries.entries[y, y]} * {a[y]}"
        terms = [renamed(_held(system, y, own, str(a[y])), {"hold": "hold_then"})]
        for x in system.variables:
            if x != y and (x, y) in entries.entries:
                term = _held(system, x, f"{entries.back(x, y)} * {a[x]}", "0.0")
                terms.append(renamed(term, {"hold": "hold_then"}))
        if any((y, z) in entries.entries for z in order[i + 1 :] if z != y):
            lines.append(f"const real new_{a[y]} = {' + '.join(terms)};")
            waiting.append(f"{a[y]} = new_{a[y]};")
        else:
            lines.append(f"{a[y]} = {' + '.join(terms)};")
    return " ".join(lines + waiting)


def _held(system: System, x: str, free: str, held: str) -> str:
    """What holds of the row of ``x``: V keeps its value in a refractory period."""
    return f"(hold > 0.0 ? {held} : {free})" if x == "V" and system.neuron.refractory else free


def _collect(system: System, entries: _Closed | _Matrix) -> dict[str, str]:
    """By parameter, -sum over x and y of scale_x lambda_x (d entry_xy / d parameter) y."""
    found = {}
    for parameter in system.parameters:
        terms = [(x, y, s) for x, y in entries.entries if (s := entries.slope(x, y, parameter))]
        if terms:
            found[parameter] = _shared(system, terms)
    return found


def _shared(system: System, terms: list[tuple[str, str, str]]) -> str:
    """The sum with what its terms share taken out: one adjoint, or one variable."""
    scaled = {x: _held(system, x, str(system.adjoints[x]), "0.0") for x, *_ in terms}
    scaled = {x: f"{system.scales[x]} * {text}" if system.scales[x] != 1 else text for x, text in scaled.items()}

    def product(s: str, y: str) -> str:
        return f"{s} * {y}" if y else s

    if len({x for x, *_ in terms}) == 1:
        inner = " + ".join(product(s, y) for _, y, s in terms)
        return f"-{scaled[terms[0][0]]} * ({inner})" if len(terms) > 1 else f"-{scaled[terms[0][0]]} * {inner}"
    if len({y for _, y, _ in terms}) == 1:
        inner = " + ".join(f"{scaled[x]} * {s}" for x, _, s in terms)
        return product(f"-({inner})", terms[0][1])
    return "-(" + " + ".join(f"{scaled[x]} * {product(s, y)}" for x, y, s in terms) + ")"
