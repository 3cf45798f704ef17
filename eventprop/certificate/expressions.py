"""Values of declared expressions in float64: the syntax tree becomes functions of arrays, and nothing is executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["FUNCTIONS", "Array", "Expression", "expression", "names"]

Array = NDArray[np.float64]
Expression = Callable[[Mapping[str, Array]], Array]
"""The value of an expression, from values of its names; all are arrays of one shape, or numbers."""

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "abs": np.abs,
}

_OPERATORS: dict[type[ast.operator], Callable[[Array, Array], Array]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.Pow: np.power,
}


def expression(text: str) -> Expression:
    """The function of an expression.

    Raises:
        ValueError: it is no expression, or has something in it that declarations do not know.
    """
    return _function(_tree(text), text)


def names(text: str) -> frozenset[str]:
    """Names of variables and parameters in an expression."""
    tree = _tree(text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called)


def _tree(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not an expression: {error.msg}") from None


def _function(node: ast.expr, text: str) -> Expression:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            number = np.float64(value)
            return lambda _: number  # type: ignore[return-value]
        case ast.Name(id=name):
            return lambda values: values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _function(operand, text)
            return lambda values: -inner(values)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _function(operand, text)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=2)):
            base = _function(left, text)
            return lambda values: np.square(base(values))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            combine, first, second = _OPERATORS[type(op)], _function(left, text), _function(right, text)
            return lambda values: combine(first(values), second(values))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            outer, inner = FUNCTIONS[name], _function(argument, text)
            return lambda values: outer(inner(values))
    raise ValueError(f"{text!r} has something other than numbers, names, + - * / ** and {', '.join(FUNCTIONS)}")
