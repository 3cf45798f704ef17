"""Losses of one's own: registered in a script, by a file (``--models``), or by the settings of a run (``LOSSES``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop import models
from eventprop.losses import DECLARED, Loss
from eventprop.own_declarations import parameters_of, plain_parameters, take_over

__all__ = ["plain", "register", "used"]


def plain(loss: Loss) -> dict[str, Any]:
    """A declaration as JSON has it, without what is as it is by default."""
    found = loss.given
    if isinstance(loss.parameters, Mapping):
        found["parameters"] = plain_parameters(loss.parameters)
    elif "parameters" in found:
        found["parameters"] = list(loss.parameters)
    return found


def register(declared: Any) -> None:
    """Take over declarations as :func:`plain` makes them, by name.

    Raises:
        ValueError: one is wrong, or another loss has its name.
    """
    on_board = models.LOSSES_ON_BOARD  # of which :func:`plain` does not tell all
    take_over(declared, models.LOSSES, _loss, lambda old, new: old.name not in on_board and plain(old) == plain(new))


def _loss(name: str, given: Any) -> Loss:
    if not isinstance(given, Mapping) or not set(given) <= set(DECLARED):
        raise ValueError(f"LOSSES: {name} must be a dictionary with {', '.join(DECLARED)}, got {given!r}")
    values = dict(given)
    parameters = values.pop("parameters", ())
    try:
        own = parameters_of("LOSSES", name, parameters) if isinstance(parameters, Mapping) else tuple(parameters)
        return Loss(name=name, parameters=own, **values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"LOSSES: {name}: {error}") from None


def used(kind: str) -> dict[str, Any]:
    """The declaration of ``LOSS_TYPE`` where it is a loss of one's own, as ``LOSSES`` has it."""
    loss = models.LOSSES.get(kind)
    return {kind: plain(loss)} if loss is not None and kind not in models.LOSSES_ON_BOARD else {}
