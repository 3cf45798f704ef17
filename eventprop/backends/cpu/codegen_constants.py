"""C++ of a model's constants: what follows from parameters and ``dt`` alone, in double precision."""

from __future__ import annotations

from collections.abc import Iterable

from eventprop.backends.cpu.codegen_text import cpp
from eventprop.derivation.model import NeuronModel, Propagator
from eventprop.snippets import names_in

__all__ = ["constants_function", "varying"]


def varying(model: NeuronModel, per_neuron: Iterable[str]) -> set[str]:
    """Parameters and constants that differ between neurons where those of ``per_neuron`` do."""
    found = set(per_neuron)
    if model.propagator and model.propagator.parameters & found:
        found |= set(model.propagator.names)
    for name, expression in model.constants.items():
        if names_in(expression) & found:
            found.add(name)
    return found


def constants_function(model: NeuronModel) -> str:
    """The function that fills ``c`` with parameters, entries of the propagator and constants, in this order."""
    entries = model.propagator.names if model.propagator else ()
    names = (*model.parameters, *entries, *model.constants)
    lines = "".join(f"        const double {n} = p[{i}];\n" for i, n in enumerate(model.parameters))
    if model.propagator:
        lines += _exponentials(model.propagator)
    lines += "".join(f"        const double {n} = {cpp(e, 'double')};\n" for n, e in model.constants.items())
    lines += "".join(f"        c[{i}] = real({n});\n" for i, n in enumerate(names))
    return f"    static void constants(const double *p, double dt, real *c) {{\n{lines}        (void)dt;\n    }}\n"


def _exponentials(of: Propagator) -> str:
    """exp(A dt), and by [[A, A'], [0, A]] its derivative by each parameter."""
    size = len(of.matrix[0])
    plain = [list(row) for row in of.matrix] + [["0.0"] * size] * (size - len(of.matrix))
    lines = _filled("exponential", plain) + _taken("exponential", size, of.entries, 0)
    for parameter, (slope, names) in of.slopes.items():
        zeros = [["0.0"] * size] * (size - len(slope))
        upper = [own + list(by) for own, by in zip(plain, [*slope, *zeros], strict=True)]
        lower = [["0.0"] * size + own for own in plain]
        name = f"by_{parameter}"
        lines += _filled(name, upper + lower) + _taken(name, 2 * size, names, size)
    return lines


def _filled(name: str, rows: list[list[str]]) -> str:
    values = ", ".join(cpp(e, "double") for row in rows for e in row)
    n = len(rows)
    return f"        double {name}_[{n * n}] = {{{values}}};\n        eventprop::exponential<{n}>({name}_, dt);\n"


def _taken(name: str, width: int, names: tuple[tuple[str, ...], ...], first: int) -> str:
    found = [(n, i * width + first + j) for i, row in enumerate(names) for j, n in enumerate(row) if n]
    return "".join(f"        const double {n} = {name}_[{at}];\n" for n, at in found)
