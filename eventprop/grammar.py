"""The small part of Python's grammar that declarations are written in: numbers, names, + - * / **, some functions.

Expressions are parsed and looked at, never executed.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import re
from collections.abc import Iterable

__all__ = ["FUNCTIONS", "check_name", "parsed"]

FUNCTIONS = ("exp", "log", "sqrt", "tanh", "sin", "cos", "abs")
"""Functions of one variable that expressions may have."""

# What code around a neuron's equations calls something of its own, and words of C++.
_TAKEN = """
    after any arriving_1 arriving_negative at averaged back back_first back_spike backward batch before bits bool break
    case char class const constexpr continue count current cusp cusp_share default do double dropout_key dropout_limit
    dropped dt dt_step E else enum error falls falls_back fired first first_error first_step float floor fmax fmin for
    forward glb_upper h half half_back hit hold I id if int j k keep kept l label label_smoothing labels lane last
    layer_count lbd_lower lbd_upper left log1p long loss_scale lost m max_spikes max_step max_step_back max_V
    min_denominator most N negative negative_back noise noise_amplitude noise_key noisy normal nu_upper num_back
    num_batch num_neurons num_samples num_steps operator out P p phantom phi phi_slope pi pow private public R real
    recorded register release return rho_upper rise rise_back round row S scalar scale_V short signed sizeof spike
    spike_count stamp static steps still struct sum sum_V switch t taken target targets template this to_source
    to_weight top trial tried typedef uint32_t union unsigned used using virtual void volatile voltages weight
    weight_back weights while window_first window_last written x
"""
TAKEN = frozenset(_TAKEN.split()) | frozenset(FUNCTIONS)
# What names that a derivation makes of a neuron's own begin or end with.
_DERIVED = re.compile(
    r"(lambda|new|decay|gain|offset|phi|z|P|s|s\d+|bar|base|rest|reset|constant|c|d|keep|minus)_|"
    r"\w+_(then|spike|after|before|new|start|old|back|fall)$|\w+_by_\w+$|\w+_over_\w+$"
)


def check_name(name: object, what: str) -> None:
    """See that ``name`` can be that of a variable or parameter.

    Raises:
        ValueError: it cannot; names ``what``.
    """
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ValueError(f"{what} {name!r} is no name; letters, digits and _ make one")
    if name in TAKEN or _DERIVED.match(name) or "__" in name:
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
