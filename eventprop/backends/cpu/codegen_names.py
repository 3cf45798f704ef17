"""Names of a neuron's own that the loops around its equations have for something of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from eventprop.network import Population
from eventprop.snippets import renamed

__all__ = ["apart"]


def apart(population: Population) -> Population:
    """The population with other names in the place of those of one letter, but for ``V`` and ``R``: loops have such."""
    model = population.model
    own = [n for n in (*model.parameters, *model.state) if len(n) == 1 and n not in "VR"]
    if not own:
        return population
    names = {n + kept: f"own_{n}{kept}" for n in own for kept in ("", "_then")}
    return replace(
        population,
        model=_renamed(model, names),
        parameters={names.get(n, n): value for n, value in population.parameters.items()},
        trained=tuple(names.get(n, n) for n in population.trained),
    )


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """All texts in a value with the names changed."""
    if isinstance(value, str):
        return renamed(value, names)
    if isinstance(value, tuple):
        return tuple(_renamed(v, names) for v in value)
    if isinstance(value, Mapping):
        return {_renamed(k, names): _renamed(v, names) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _renamed(getattr(value, f.name), names) for f in fields(value)})
    return value
