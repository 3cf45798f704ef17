"""Values of a model's constants in double precision, for numbers or arrays; engines in C++ compute them themselves."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eventprop.derivation.model import NeuronModel, Propagator

__all__ = ["constants_of", "evaluate"]


def _phi(z: Any) -> Any:
    safe = np.where(z == 0.0, 1.0, z)
    return np.where(z == 0.0, 1.0, np.expm1(safe) / safe)


def _phi_slope(z: Any) -> Any:
    series = 0.5 + z * (1 / 3 + z * (0.125 + z * (1 / 30 + z * (1 / 144 + z * (1 / 840 + z * (1 / 5760 + z / 45360))))))
    safe = np.where(z == 0.0, 1.0, z)
    return np.where(np.abs(z) < 0.3, series, (np.exp(z) - _phi(z)) / safe)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "pow": np.power,
    "floor": np.floor,
    "abs": np.abs,
    "fabs": np.abs,
    "fmax": np.maximum,
    "fmin": np.minimum,
    "phi": _phi,
    "phi_slope": _phi_slope,
}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def evaluate(expression: str, values: Mapping[str, Any]) -> Any:
    """Value of an expression of a declaration, or of GeNNCode without conditions, of numbers or arrays."""
    return _value(ast.parse(expression.strip(), mode="eval").body, values)


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, values) if isinstance(node.op, ast.USub) else _value(node.operand, values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _FUNCTIONS[node.func.id](*(_value(a, values) for a in node.args))
    raise ValueError(f"{ast.unparse(node)!r} is not a constant's expression")


def constants_of(model: NeuronModel, values: Mapping[str, Any], dt_ms: float) -> dict[str, Any]:
    """Parameters, entries of the propagator and constants by name.

    Args:
        values: of each parameter, a number or an array ``(size,)``.
    """
    found: dict[str, Any] = {"dt": dt_ms, **values}
    found = {n: np.asarray(v, np.float64) if np.ndim(v) else float(v) for n, v in found.items()}
    with np.errstate(all="ignore"):
        if model.propagator:
            found |= _entries(model.propagator, found, dt_ms)
        for name, expression in model.constants.items():
            found[name] = evaluate(expression, found)
    return {n: v if np.ndim(v) else float(v) for n, v in found.items() if n != "dt"}


def _entries(of: Propagator, values: Mapping[str, Any], dt_ms: float) -> dict[str, Any]:
    plain = _matrices(of.matrix, values)
    found = _named(_exponential(plain * dt_ms), of.entries)
    n = plain.shape[-1]
    for texts, names in of.slopes.values():
        slope = _matrices(texts, values)
        plain_here, slope = np.broadcast_arrays(plain, slope)
        upper = np.concatenate([plain_here, slope], axis=-1)
        lower = np.concatenate([np.zeros_like(plain_here), plain_here], axis=-1)
        whole = _exponential(np.concatenate([upper, lower], axis=-2) * dt_ms)
        found |= _named(whole[..., :n, n:], names)
    return found


def _matrices(rows: tuple[tuple[str, ...], ...], values: Mapping[str, Any]) -> np.ndarray:
    """``(..., n, n)``, with a row of zeros below where there is a constant drive."""
    n = len(rows[0])
    entries = [[evaluate(e, values) for e in row] for row in rows] + [[0.0] * n] * (n - len(rows))
    arrays = np.broadcast_arrays(*(np.asarray(e, np.float64) for row in entries for e in row))
    return np.stack(arrays, axis=-1).reshape(*arrays[0].shape, n, n)


def _named(matrix: np.ndarray, names: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    return {n: matrix[..., i, j] for i, row in enumerate(names) for j, n in enumerate(row) if n}


def _exponential(a: np.ndarray) -> np.ndarray:
    """Matrix exponentials, ``(..., n, n)``: a Taylor series of halved matrices, squared as often."""
    norm = float(np.abs(a).sum(axis=-1).max())
    halvings = max(0, int(np.ceil(np.log2(norm / 0.25)))) if norm > 0.25 and np.isfinite(norm) else 0
    a = a / 2.0**halvings
    term = np.broadcast_to(np.eye(a.shape[-1]), a.shape)
    total = term
    for k in range(1, 15):
        term = term @ a / k
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total
