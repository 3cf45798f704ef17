"""Keys that take one value for all hidden layers, or a list with one for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eventprop.parameters.declaration import Key

__all__ = ["each_layer", "values_of", "with_layers"]


def with_layers(p: dict[str, Any], keys: Sequence[Key]) -> list[str]:
    """Give lists whose entries are all the same as that one value: it is the same network, whatever it is written as.

    Args:
        p: keys that are right by themselves; those with a list of another length are taken out.

    Returns:
        A line for each of those.
    """
    problems, layers = [], p.get("N_HID_LAYER")
    for key in keys:
        value = p.get(key.name)
        if not key.per_layer or not isinstance(value, list):
            continue
        if layers is None or len(value) != layers:
            del p[key.name]
        elif all(other == value[0] for other in value):
            p[key.name] = value[0]
        if layers is not None and len(value) != layers:
            other = f"N_HID_LAYER={len(value)} or " if value else ""
            problems.append(
                f"{key.name}={value} must have an entry for each hidden layer, and N_HID_LAYER={layers}; "
                f"{other}{layers} entr{'y' if layers == 1 else 'ies'} would be right"
            )
    return problems


def each_layer(value: Any, layers: int) -> list[Any]:
    """A value of each hidden layer."""
    return list(value) if isinstance(value, list) else [value] * layers


def values_of(value: Any) -> Iterator[Any]:
    """All values that hidden layers have, each once."""
    yield from dict.fromkeys(value if isinstance(value, list) else [value])
