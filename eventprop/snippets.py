"""Snippets of GeNNCode, as :mod:`models` declares and :mod:`eventprop.derivation` derives them: names in them."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["added", "assigned", "names_in", "renamed"]


def names_in(code: str) -> set[str]:
    """Names of variables and functions."""
    return set(re.findall(r"[A-Za-z_]\w*", code))


def assigned(code: str) -> set[str]:
    """Names of the variables that ``code`` gives a value."""
    return set(re.findall(r"(?:^|[;{}]|\b)\s*([A-Za-z_]\w*)\s*(?:[-+*/]?=)(?!=)", code))


def renamed(code: str, names: Mapping[str, str]) -> str:
    """``code`` with other expressions in the place of some variables."""
    return re.sub(r"[A-Za-z_]\w*", lambda match: names.get(match[0], match[0]), code)


def added(code: str, name: str) -> str:
    """What ``code``, a single statement, adds to the variable ``name``."""
    match = re.fullmatch(rf"\s*{name}\s*\+=(.*);\s*", code, re.DOTALL)
    if not match or ";" in match[1]:
        raise ValueError(f"{code!r} is not a sum to {name}")
    return match[1].strip()
