"""What the value of a key stands for: looked up, and never anything else for a value that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["meaning"]

_Found = TypeVar("_Found")


def meaning(key: str, value: Any, there: Mapping[Any, _Found]) -> _Found:
    """What ``value`` of ``key`` stands for.

    Args:
        there: by every value, what it stands for.

    Raises:
        ValueError: nothing; names the key and the values that there are.
    """
    if value not in there:
        raise ValueError(f"{key}={value!r} stands for nothing here; there are: {', '.join(map(repr, there))}")
    return there[value]
