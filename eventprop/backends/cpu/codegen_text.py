"""Pieces of C++ text: expressions, loops over the lanes of a panel, functions of a number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from eventprop.snippets import assigned, names_in

__all__ = ["boolean", "changes", "cpp", "fast", "lane_loop", "rows_of", "switch", "values_of"]

_NUMBER = re.compile(r"(?<![\w.])(\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w.])")
_FUNCTIONS = ("exp", "expm1", "sqrt", "fabs", "log", "tanh", "sin", "cos", "pow", "floor")


def cpp(code: str, kind: str = "real") -> str:
    """GeNNCode with literals of type ``kind``, the standard library's overloads and branch-free extrema."""
    code = _NUMBER.sub(rf"{kind}(\1)", code)
    code = re.sub(r"\bfmax\(", "eventprop::larger(", re.sub(r"\bfmin\(", "eventprop::smaller(", code))
    code = re.sub(r"\bphi(_slope)?\(", r"eventprop::phi\1(", code)
    return re.sub(rf"\b({'|'.join(_FUNCTIONS)})\(", r"std::\1(", code)


def fast(code: str) -> str:
    """As ``cpp``, with exponentials that the compiler can make vector code of."""
    return re.sub(r"\b(?:std|eventprop)::(expm1|exp|phi|phi_slope)\(", r"eventprop::fast_\1(", cpp(code))


def boolean(value: bool) -> str:
    """The literal in C++."""
    return "true" if value else "false"


def changes(code: str, expression: str) -> str:
    """Whether ``code`` assigns to a variable of ``expression``, in C++."""
    return boolean(bool(assigned(code) & names_in(expression)))


def values_of(names: Iterable[str], source: str, code: str, indent: int = 8) -> str:
    """Declarations of those of ``names`` that ``code`` uses, from the array ``source``."""
    used = names_in(code)
    return "".join(f"{' ' * indent}const real {n} = {source}[{i}];\n" for i, n in enumerate(names) if n in used)


def lane_loop(arrays: Mapping[str, str], code: str, head: str = "", tail: str = "") -> str:
    """A loop over lanes: load the variables of ``arrays`` that are used, run ``code``, store what it changed."""
    used, changed = names_in(head + code + tail), assigned(code)
    loads = "".join(f"            real {n} = {a}[l];\n" for n, a in arrays.items() if n in used)
    stores = "".join(f"            {a}[l] = {n};\n" for n, a in arrays.items() if n in changed)
    body = f"{head}            {cpp(code)}\n" if code else head
    return f"        for (int l = 0; l < P; ++l) {{\n{loads}{body}{stores}{tail}        }}\n"


def rows_of(names: Iterable[str], base: str, first: int = 0) -> dict[str, str]:
    """Rows of P lanes: where each of ``names`` is, from ``base`` on."""
    return {n: f"({base} + {first + i} * P)" for i, n in enumerate(names)}


def switch(head: str, bodies: Sequence[str], default: str = "") -> str:
    """A function of ``which`` with one body for each."""
    cases = "".join(f"        case {i}: {{\n{b}            break;\n        }}\n" for i, b in enumerate(bodies) if b)
    switch = f"        switch (which) {{\n{cases}        default: break;\n        }}\n"
    return f"    static {head} {{\n{switch}{default}    }}\n"
