"""What declarations of neurons and of losses of one's own share: how settings hold them, and are taken over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from eventprop.declarations import Named, Parameter

__all__ = ["parameters_of", "plain_parameters", "take_over"]

_Declaration = TypeVar("_Declaration")


def plain_parameters(parameters: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    """Parameters as JSON has them, without what is as it is by default."""
    return {
        name: {key: value for key, value in asdict(of).items() if value not in (None, "")}
        for name, of in parameters.items()
    }


def parameters_of(key: str, name: str, given: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters of a declaration ``name`` from what :func:`plain_parameters` made of them.

    Args:
        key: of the settings that have it, for errors.

    Raises:
        ValueError: one is no declaration of a parameter, or TypeError if its fields have values of other types.
    """
    own = [f.name for f in fields(Parameter)]
    for parameter, of in given.items():
        if not isinstance(of, Mapping) or "default" not in of or not set(of) <= set(own):
            raise ValueError(f"{key}: parameter {parameter} of {name} must be a dictionary with {', '.join(own)}")
    return {parameter: Parameter(**of) for parameter, of in given.items()}


def take_over(
    declared: Any,
    there: Named[_Declaration],
    made: Callable[[str, Any], _Declaration],
    same: Callable[[_Declaration, _Declaration], bool],
) -> None:
    """Put declarations that settings hold, by name, among those that there are.

    Args:
        made: makes one of its name and what settings hold of it.
        same: whether the one that there is under a name already is the one that was made.

    Raises:
        ValueError: one is wrong, or another one has its name.
    """
    key = there.called
    if not isinstance(declared, Mapping):
        raise ValueError(f"{key} must be a dictionary of declarations, got {declared!r}")
    for name, given in declared.items():
        new, old = made(name, given), there.get(name)
        if old is None:
            there[name] = new
        elif not same(old, new):
            raise ValueError(
                f"{key} has a declaration of {name!r} that is not that of models.{key}; give one of them another name"
            )
