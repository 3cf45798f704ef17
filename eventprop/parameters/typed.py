"""Settings typed on a command line: ``KEY=VALUE``, each value read by the kind of its key."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventprop.parameters.declaration import Key

__all__ = ["parse_settings", "parse_value"]

_WORDS = {"true": True, "false": False}


def parse_settings(
    words: Iterable[str], keys: Sequence[Key] = (), aliases: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Values by key of words of the form ``KEY=VALUE``.

    Args:
        keys: declarations, by which values are read.
        aliases: other spellings of keys, with the key that each stands for.

    Raises:
        ValueError: a word has another form.
    """
    declared = {key.name: key for key in keys}
    declared |= {other: declared[name] for other, name in (aliases or {}).items() if name in declared}
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is not of the form KEY=VALUE")
        try:
            found[name] = parse_value(text, declared.get(name))
        except (RecursionError, MemoryError):
            raise ValueError(f"the value of {name} is nested too deeply") from None
    return found


def parse_value(text: str, key: Key | None = None) -> Any:
    """A value of the command line, by its key's kind where there is one; what is no such value stays text.

    Truth values and None in any case of letters; numbers as Python writes them; lists and dictionaries as JSON or
    Python writes them; texts as they are, or in double quotes; lists by hidden layer with such values within.
    """
    word = text.strip().lower()
    if word in ("none", "null") and (key is None or key.kind != "str" or key.optional):
        return None
    if key is None:
        return _literal(text, _WORDS.get(word, text))
    if key.per_layer and word.startswith("[") and word.endswith("]"):
        one = replace(key, per_layer=False)
        return [parse_value(entry.strip(" '"), one) for entry in text.strip()[1:-1].split(",") if entry.strip()]
    if key.kind == "str":
        quoted = _literal(text, text) if text.startswith('"') else text
        return quoted if isinstance(quoted, str) else text
    if key.kind == "bool":
        return _WORDS.get(word, text)
    if key.kind in ("int", "float"):
        return _number(text)
    return _literal(text, text)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _literal(text: str, otherwise: Any) -> Any:
    """``text`` read as JSON or as Python's; ``otherwise`` where it is neither."""
    if text in ("NaN", "Infinity", "-Infinity"):  # json's, and nobody else's
        return otherwise
    for parse in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Python's parser, about texts that only look like Python
                return parse(text)
        except (ValueError, SyntaxError, TypeError):
            pass
    return otherwise
