"""The small part of Python's grammar that declarations are written in: numbers, names, + - * / **, some functions.

Expressions are parsed and looked at, never executed.
"""

from __future__ import annotations

import ast
import difflib
import keyword
from collections.abc import Iterable

__all__ = ["FUNCTIONS", "check_name", "parsed"]

FUNCTIONS = ("exp", "log", "sqrt", "tanh", "sin", "cos", "abs")
"""Functions of one variable that expressions may have."""

# What code around a neuron's equations calls something of its own, and words of C++.
_TAKEN = """
    a any arriving_1 back back_first back_spike backward batch bool break c case char class const constexpr
    continue count current default do double dropped dropout_key dropout_limit dt dt_step else enum fired first
    float for forward fmax fmin floor h hold id if int k keep l label lane left log1p long m max_spikes
    min_denominator noise noise_amplitude noise_key normal num_back num_batch num_neurons num_samples num_steps
    operator out p phi phi_slope pow private public R real recorded register release return scalar scale_V short
    signed sizeof spike spike_count static steps struct sum switch t taken template this trial tried typedef
    union unsigned used using virtual void volatile weight while written x E I N P S pi
"""
TAKEN = frozenset(_TAKEN.split()) | frozenset(FUNCTIONS)


def check_name(name: object, what: str) -> None:
    """See that ``name`` can be that of a variable or parameter.

    Raises:
        ValueError: it cannot; names ``what``.
    """
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ValueError(f"{what} {name!r} is no name; letters, digits and _ make one")
    if name in TAKEN or name.startswith("lambda_") or "__" in name:
        raise ValueError(f"{what} {name!r} has a name that is taken; another one would be right")


def parsed(text: object, names: Iterable[str], what: str) -> ast.expr:
    """The tree of an expression that has nothing but ``names`` and what the grammar has.

    Args:
        what: where it stands, for errors: the neuron and field.

    Raises:
        ValueError: it is none, or has a name that is not there; names ``what`` and the nearest.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = repr(text)
    if not isinstance(text, str):
        raise ValueError(f"{what} must be an expression in quotes, got {text!r}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree, frozenset(names), what, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ValueError) and str(error).startswith(what):
            raise
        raise ValueError(f"{what}: {text!r} is no expression ({getattr(error, 'msg', error)})") from None
    return tree


def _check(node: ast.expr, names: frozenset[str], what: str, text: str) -> None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return
    if isinstance(node, ast.Name):
        if node.id not in names:
            near = difflib.get_close_matches(node.id, names, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(names)) or 'none'}"
            raise ValueError(f"{what}: {text!r} has {node.id!r}, which is no variable or parameter here{hint}")
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
        _check(node.left, names, what, text)
        _check(node.right, names, what, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        _check(node.operand, names, what, text)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        if node.func.id not in FUNCTIONS:
            raise ValueError(f"{what}: {text!r} has {node.func.id}(); there are {', '.join(FUNCTIONS)}")
        _check(node.args[0], names, what, text)
    else:
        there = f"numbers, names, + - * / ** and {', '.join(FUNCTIONS)}"
        raise ValueError(f"{what}: {text!r} has {ast.unparse(node)!r}, which is not read; {there} are")
