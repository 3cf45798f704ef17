"""Expressions of a declaration as symbols, and symbols as GeNNCode.

What is read is a small part of Python's grammar, walked node by node: numbers, names, arithmetic, and some functions of
one variable. Nothing is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

import sympy
from sympy.printing.c import C99CodePrinter

from eventprop.grammar import parsed

__all__ = ["code", "expanded", "phi", "phi_slope", "read", "simplified", "symbol"]


class phi(sympy.Function):
    """(exp(z) - 1) / z, which is 1 at 0; engines have it as a function of that name, and its derivative."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return phi_slope(self.args[0])


class phi_slope(sympy.Function):
    """The derivative of :class:`phi`."""

    nargs = 1


_FUNCTIONS: dict[str, Callable[[sympy.Expr], sympy.Expr]] = {
    "exp": sympy.exp,
    "log": sympy.log,
    "sqrt": sympy.sqrt,
    "tanh": sympy.tanh,
    "sin": sympy.sin,
    "cos": sympy.cos,
    "abs": sympy.Abs,
}
_OPERATORS: dict[type[ast.operator], Callable[[sympy.Expr, sympy.Expr], sympy.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


def symbol(name: str) -> sympy.Symbol:
    """The symbol of a variable or parameter, a real number."""
    return sympy.Symbol(name, real=True)


def expanded(expression: sympy.Expr) -> sympy.Expr:
    """Products of sums as sums of products; exponentials stay whole."""
    return sympy.expand(expression, power_exp=False, power_base=False, log=False)


def simplified(expression: sympy.Expr) -> sympy.Expr:
    """``sympy.simplify``, for which functions and roots beside exponentials are unknowns: its search for identities
    between them takes minutes."""
    functions = expression.atoms(sympy.Function)
    roots = {e for e in expression.atoms(sympy.Pow) if not e.exp.is_Integer}
    if not any(not isinstance(e, sympy.exp | phi | phi_slope) for e in functions | roots):
        return sympy.simplify(expression)
    unknowns = {e: sympy.Dummy(real=True) for e in sorted(functions | roots, key=str)}
    return sympy.simplify(expression.xreplace(unknowns)).xreplace({d: e for e, d in unknowns.items()})


def read(text: str, names: Iterable[str], what: str) -> sympy.Expr:
    """An expression of ``names`` as symbols.

    Args:
        what: where it stands, for errors: the neuron and field.

    Raises:
        ValueError: it is none, or has a name that is not there.
    """
    return _built(parsed(text, names, what))


def _built(node: ast.expr) -> sympy.Expr:
    if isinstance(node, ast.Constant):
        return sympy.nsimplify(node.value, rational=True)
    if isinstance(node, ast.Name):
        return symbol(node.id)
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_built(node.left), _built(node.right))
    if isinstance(node, ast.UnaryOp):
        return -_built(node.operand) if isinstance(node.op, ast.USub) else _built(node.operand)
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return _FUNCTIONS[node.func.id](_built(node.args[0]))


class _Printer(C99CodePrinter):
    """GeNNCode: small whole powers as products, every number with a decimal point, divisions kept as divisions."""

    def _print_Pow(self, expr: sympy.Pow) -> str:
        base, exponent = expr.as_base_exp()
        if exponent.is_Integer and 2 <= int(exponent) <= 4:
            part = self.parenthesize(base, sympy.printing.precedence.PRECEDENCE["Mul"] + 1)
            return f"({' * '.join([part] * int(exponent))})"
        if exponent == -1:
            return f"1.0 / {self.parenthesize(base, sympy.printing.precedence.PRECEDENCE['Mul'] + 1)}"
        if exponent.is_Integer and int(exponent) < -1:
            return f"1.0 / ({self._print(base**-exponent)})"
        return super()._print_Pow(expr)

    def _print_Integer(self, expr: sympy.Integer) -> str:
        return f"{int(expr)}.0"

    def _print_Rational(self, expr: sympy.Rational) -> str:
        value = float(expr)
        if sympy.Rational(repr(value)) == expr:
            return repr(value)
        return f"{int(expr.p)}.0 / {int(expr.q)}.0"

    def _print_phi(self, expr: phi) -> str:
        return f"phi({self._print(expr.args[0])})"

    def _print_phi_slope(self, expr: phi_slope) -> str:
        return f"phi_slope({self._print(expr.args[0])})"

    def _print_Abs(self, expr: sympy.Abs) -> str:
        return f"fabs({self._print(expr.args[0])})"


_PRINTER = _Printer()


def code(expression: sympy.Expr) -> str:
    """An expression as GeNNCode."""
    return str(_PRINTER.doprint(expression))
