"""A declared neuron as a system of equations in symbols: what it is in, how it moves, where it spikes and what follows.

Notation: state x, dx/dt = f(x), threshold g(x), reset r(x), initial state x0, ``lambda_x = -(dL/dx) / scale_x``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy

from eventprop.declarations import Neuron
from eventprop.derivation.expressions import read, simplified, symbol

__all__ = ["System"]


@dataclass(frozen=True)
class System:
    """See the module's notation; all by the name of a variable or parameter, in the order of the declaration.

    Raises:
        ValueError: an expression is none, or names what is not there; says which neuron, field and name.
    """

    neuron: Neuron

    @cached_property
    def variables(self) -> dict[str, sympy.Symbol]:
        return {name: symbol(name) for name in self.neuron.state}

    @cached_property
    def parameters(self) -> dict[str, sympy.Symbol]:
        return {name: symbol(name) for name in self.neuron.parameters}

    @property
    def inputs(self) -> tuple[str, ...]:
        """The variables that spikes add to: of all weights, or of positive and of negative ones."""
        return self.neuron.inputs

    @cached_property
    def start(self) -> dict[str, sympy.Expr]:
        return {x: self._read(e, self.parameters, f"initial value of {x}") for x, e in self.neuron.state.items()}

    @cached_property
    def f(self) -> dict[str, sympy.Expr]:
        names = {**self.variables, **self.parameters}
        return {x: self._read(self.neuron.dynamics[x], names, f"dynamics of {x}") for x in self.neuron.state}

    @cached_property
    def g(self) -> sympy.Expr | None:
        if not self.neuron.threshold:
            return None
        return self._read(self.neuron.threshold, {**self.variables, **self.parameters}, "threshold")

    @cached_property
    def r(self) -> dict[str, sympy.Expr]:
        """What each variable becomes at a spike."""
        names = {**self.variables, **self.parameters}
        given = {x: self._read(e, names, f"reset of {x}") for x, e in self.neuron.reset.items()}
        return {x: given.get(x, v) for x, v in self.variables.items()}

    def _read(self, text: str, names: dict[str, sympy.Symbol], what: str) -> sympy.Expr:
        return read(text, names, f"neuron {self.neuron.name}: {what}")

    @cached_property
    def jacobian(self) -> dict[str, dict[str, sympy.Expr]]:
        """df_x/dy by x, then y."""
        return {x: {y: sympy.diff(e, v) for y, v in self.variables.items()} for x, e in self.f.items()}

    @cached_property
    def linear(self) -> bool:
        """Whether f is linear in the state, up to constants."""
        state = set(self.variables.values())
        return all(not (e.free_symbols & state) for row in self.jacobian.values() for e in row.values())

    @cached_property
    def offsets(self) -> dict[str, sympy.Expr]:
        """f of a linear system where the state is 0."""
        zero = dict.fromkeys(self.variables.values(), 0)
        return {x: simplified(e.subs(zero)) for x, e in self.f.items()}

    @cached_property
    def scales(self) -> dict[str, sympy.Expr]:
        """What each adjoint is over: the parameter that divides the variable's equation, where there is one."""
        found: dict[str, sympy.Expr] = {}
        for x, e in self.f.items():
            given = self.neuron.adjoints.get(x)
            divisor = sympy.fraction(sympy.together(e))[1]
            tau = [p for p in self.parameters.values() if divisor.has(p)]
            if given is not None:
                found[x] = symbol(given[1]) if given[1] else sympy.Integer(1)
            else:
                found[x] = tau[0] if len(tau) == 1 and simplified(divisor / tau[0]).is_number else sympy.Integer(1)
        return found

    @cached_property
    def adjoints(self) -> dict[str, sympy.Symbol]:
        """By variable, the symbol of its adjoint; published names are kept."""
        usual = {"Isyn": "lambda_I"}
        names = {x: self.neuron.adjoints.get(x, (usual.get(x, f"lambda_{x}"), ""))[0] for x in self.variables}
        return {x: symbol(name) for x, name in names.items()}

    def pulled_back(self, x: str, matrix: Mapping[str, Mapping[str, sympy.Expr]]) -> sympy.Expr:
        """Sum over y of scale_y lambda_y matrix_yx: minus the derivative of the loss by ``x`` through a map whose
        derivatives these are."""
        terms = (self.scales[y] * self.adjoints[y] * row[x] for y, row in matrix.items())
        return sum(terms, sympy.Integer(0))

    def by_parameter(self, of: Mapping[str, sympy.Expr], parameter: sympy.Symbol) -> sympy.Expr:
        """-sum over x of scale_x lambda_x d of_x / d parameter: the loss's derivative through what variables are."""
        terms = (self.scales[x] * self.adjoints[x] * sympy.diff(e, parameter) for x, e in of.items())
        return -sum(terms, sympy.Integer(0))

    @cached_property
    def reset_jacobian(self) -> dict[str, dict[str, sympy.Expr]]:
        """dr_x/dy by x, then y."""
        return {x: {y: sympy.diff(e, v) for y, v in self.variables.items()} for x, e in self.r.items()}

    @cached_property
    def slope(self) -> dict[str, sympy.Expr]:
        """dg/dx by x; of a neuron that spikes."""
        return {x: sympy.diff(self.g, v) for x, v in self.variables.items()}

    @cached_property
    def rise(self) -> sympy.Expr:
        """dg/dt along the equations; of a neuron that spikes."""
        return sum((self.slope[x] * e for x, e in self.f.items()), sympy.Integer(0))

    @cached_property
    def spike_error(self) -> sympy.Expr:
        """The derivative of the loss by the time of a spike: what has come from its targets (R), and mu . (r_x f(x) -
        f(r(x))), where V stands still in a refractory period."""
        after = [(v, self.r[x]) for x, v in self.variables.items()]
        error: sympy.Expr = symbol("R")
        for x, row in self.reset_jacobian.items():
            carried = sum((e * self.f[y] for y, e in row.items()), sympy.Integer(0))
            held = x == "V" and bool(self.neuron.refractory)
            later = sympy.Integer(0) if held else self.f[x].subs(after, simultaneous=True)
            error -= self.scales[x] * self.adjoints[x] * (carried - later)
        return error

    @cached_property
    def free_inputs(self) -> bool:
        """Whether each input variable decays by itself, nothing drives it, and no reset changes it: what has decayed in
        a step may then be taken from it when the next begins."""
        return all(
            self.r[e] == self.variables[e]
            and all(d == 0 or y == e for y, d in self.jacobian[e].items())
            and self.f[e].subs(self.variables[e], 0) == 0
            for e in self.inputs
        )
