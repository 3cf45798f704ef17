"""Losses of one's own: registered in a script, by a file (``--models``), or by the settings of a run (``LOSSES``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from eventprop import models
from eventprop.declarations import Parameter
from eventprop.losses import DECLARED, Loss

__all__ = ["plain", "register", "used"]


def plain(loss: Loss) -> dict[str, Any]:
    """A declaration as JSON has it, without what is as it is by default."""
    found = loss.given
    if isinstance(loss.parameters, Mapping):
        found["parameters"] = {
            name: {key: value for key, value in asdict(of).items() if value not in (None, "")}
            for name, of in loss.parameters.items()
        }
    elif "parameters" in found:
        found["parameters"] = list(loss.parameters)
    return found


def register(declared: Any) -> None:
    """Take over declarations as :func:`plain` makes them, by name.

    Raises:
        ValueError: one is wrong, or another loss has its name.
    """
    if not isinstance(declared, Mapping):
        raise ValueError(f"LOSSES must be a dictionary of declarations, got {declared!r}")
    for name, given in declared.items():
        loss = _loss(name, given)
        there = models.LOSSES.get(name)
        if there is None:
            models.LOSSES[name] = loss
        elif name in models.LOSSES_ON_BOARD or plain(there) != plain(loss):
            raise ValueError(
                f"LOSSES has a declaration of {name!r} that is not that of models.LOSSES; give one of them another name"
            )


def _loss(name: str, given: Any) -> Loss:
    if not isinstance(given, Mapping) or not set(given) <= set(DECLARED):
        raise ValueError(f"LOSSES: {name} must be a dictionary with {', '.join(DECLARED)}, got {given!r}")
    values = dict(given)
    parameters, own = values.pop("parameters", ()), [f.name for f in fields(Parameter)]
    if isinstance(parameters, Mapping):
        for parameter, of in parameters.items():
            if not isinstance(of, Mapping) or "default" not in of or not set(of) <= set(own):
                raise ValueError(f"LOSSES: parameter {parameter} of {name} must be a dictionary with {', '.join(own)}")
    try:
        if isinstance(parameters, Mapping):
            return Loss(name=name, parameters={n: Parameter(**of) for n, of in parameters.items()}, **values)
        return Loss(name=name, parameters=tuple(parameters), **values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"LOSSES: {name}: {error}") from None


def used(kind: str) -> dict[str, Any]:
    """The declaration of ``LOSS_TYPE`` where it is a loss of one's own, as ``LOSSES`` has it."""
    loss = models.LOSSES.get(kind)
    return {kind: plain(loss)} if loss is not None and kind not in models.LOSSES_ON_BOARD else {}
