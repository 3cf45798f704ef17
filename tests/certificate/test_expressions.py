"""Declared expressions mean what Python means by them, and nothing in them is executed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventprop.certificate.expressions import FUNCTIONS, expression, names

VALUES = {"x": np.array([0.3, 1.7]), "tau_mem": np.array([20.0, 5.0])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-x**2 + 3", lambda x, tau: -(x**2) + 3),
        ("2 - x - tau_mem", lambda x, tau: 2 - x - tau),
        ("x / tau_mem / 2", lambda x, tau: x / tau / 2),
        ("x**(1 / 3)", lambda x, tau: x ** (1 / 3)),
        ("+exp(-x / tau_mem) * log(tau_mem)", lambda x, tau: math.exp(-x / tau) * math.log(tau)),
        (
            "sqrt(x) + tanh(x) + sin(x) + cos(tau_mem)",
            lambda x, tau: sum((x**0.5, math.tanh(x), math.sin(x), math.cos(tau))),
        ),
        ("abs(x - 1)", lambda x, tau: abs(x - 1)),
    ],
)
def test_values_are_pythons(text: str, expected: object) -> None:
    """Fails if an operator, its precedence or a function is another one."""
    by_hand = [expected(x, tau) for x, tau in zip(*VALUES.values(), strict=True)]  # type: ignore[operator]
    np.testing.assert_allclose(expression(text)(VALUES), by_hand, rtol=1e-15)


@pytest.mark.parametrize(
    "text", ["x.real", "__import__('os')", "x if x else 1", "x[0]", "True", "exp(x, 2)", "x @ x", "1j"]
)
def test_anything_else_is_refused(text: str) -> None:
    """Fails if a declaration could run code, or mean something that no other reader of it knows."""
    with pytest.raises(ValueError, match="something other than"):
        expression(text)


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"'V - ' is not an expression"):
        expression("V - ")


def test_names_are_variables_and_parameters() -> None:
    """Fails if a function's name counts as a variable."""
    assert names("exp(V / tau) - tau") == {"V", "tau"}
    assert not names("1.0") and set(FUNCTIONS) == {"exp", "log", "sqrt", "tanh", "sin", "cos", "abs"}
