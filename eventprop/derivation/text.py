"""Sums and products of a derivation as GeNNCode in the order in which people write them, and constants taken out.

Float arithmetic depends on the order of its terms, so that is settled here: single parameters and variables before
products, positive ones before negative ones, those of parameters alone before those with a state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import sympy

from eventprop.derivation.expressions import code, expanded, simplified

__all__ = ["Constants", "grouped", "total"]


class Constants:
    """Expressions of parameters and ``dt`` alone, each with a name, computed once and not in every step.

    Args:
        parameters: the symbols that constants may have, ``dt`` among them.
    """

    def __init__(self, parameters: Iterable[sympy.Symbol]) -> None:
        self.parameters = frozenset(parameters)
        self.found: dict[str, str] = {}
        self._names: dict[sympy.Expr, str] = {}

    def add(self, name: str, text: str) -> str:
        """A constant with its expression in GeNNCode; its name."""
        assert self.found.get(name, text) == text, name
        self.found[name] = text
        return name

    def name_of(self, expression: sympy.Expr) -> str:
        """The name of an expression of parameters, which becomes a constant unless it is a number or a parameter."""
        expression = simplified(expression)
        if expression.is_Symbol or expression.is_number:
            return code(expression)
        if expression not in self._names:
            text = code(expression)
            word = re.sub(r"\W+", "_", text.replace("/", "_over_").replace("-", "minus ")).strip("_")
            name = word if len(word) <= 40 and word not in self.found else f"constant_{len(self.found)}"
            self._names[expression] = self.add(name if name[0].isalpha() else f"c_{name}", text)
        return self._names[expression]

    def factored(self, term: sympy.Expr) -> str:
        """A product with its parameters taken out as one constant."""
        if term.free_symbols <= self.parameters:
            return self.name_of(term)
        independent, rest = term.as_independent(*(term.free_symbols - self.parameters), as_Add=False)
        if independent == 1:
            return code(rest)
        if independent == -1:
            return f"-{_atom(rest)}"
        return f"{self.name_of(independent)} * {_atom(rest)}"


def _atom(expression: sympy.Expr) -> str:
    text = code(expression)
    return f"({text})" if expression.is_Add else text


def _sorted(terms: Iterable[sympy.Expr], parameters: frozenset[sympy.Symbol]) -> list[sympy.Expr]:
    def key(term: sympy.Expr) -> tuple[bool, bool, bool, str]:
        sign, size = term.as_coeff_Mul()
        mixed = bool(size.free_symbols & parameters) and not term.free_symbols <= parameters
        return mixed, bool(sign.is_negative), not term.free_symbols <= parameters, str(term)

    return sorted(terms, key=key)


def total(expression: sympy.Expr, constants: Constants) -> str:
    """A sum, each of whose products has its parameters taken out; a sum of parameters alone stays a sum."""
    terms = _sorted(sympy.Add.make_args(expanded(expression)), constants.parameters)
    text = ""
    for term in terms:
        negative = bool(term.as_coeff_Mul()[0].is_negative)
        part = constants.factored(-term if negative else term)
        text += (f" - {part}" if negative else f" + {part}") if text else (f"-{part}" if negative else part)
    return text or "0.0"


def grouped(expression: sympy.Expr, by: Mapping[str, sympy.Symbol], rest: sympy.Symbol, constants: Constants) -> str:
    """A sum that is linear in the symbols ``by`` and in ``rest``, as ``(...) * a + (...) * b + rest``."""
    text = ""
    whole = expanded(expression)
    for name, variable in by.items():
        coefficient = expanded(whole.coeff(variable, 1))
        if coefficient == 0:
            continue
        negative = len(sympy.Add.make_args(coefficient)) == 1 and bool(coefficient.as_coeff_Mul()[0].is_negative)
        inner = total(-coefficient if negative else coefficient, constants)
        product = name if inner == "1.0" else f"({inner}) * {name}" if " " in inner else f"{inner} * {name}"
        text += (f" - {product}" if negative else f" + {product}") if text else (f"-{product}" if negative else product)
    coefficient = whole.coeff(rest, 1)
    if coefficient == 1:
        text = f"{text} + {rest}" if text else str(rest)
    elif coefficient != 0:
        text = f"{text} + ({total(coefficient, constants)}) * {rest}"
    return text or "0.0"
