"""Keys of parameters of neurons and losses: each that one of these declares is a key, its name in capitals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eventprop import models
from eventprop.parameters.belonging import of_network
from eventprop.parameters.declaration import Key

__all__ = ["neuron_keys", "with_own_neurons"]


def neuron_keys(neurons: Iterable[models.Neuron], known: Iterable[str]) -> list[Key]:
    """The keys of all parameters of ``neurons`` that are not ``known``."""
    keys: dict[str, Key] = {}
    names = set(known)
    for neuron in neurons:
        for name, of in neuron.parameters.items():
            if name.upper() not in names:
                key = _key_of(name, of, "Model", f"{neuron.name} neurons")
                keys.setdefault(key.name, key)
    return list(keys.values())


def _key_of(name: str, of: models.Parameter, group: str, whose: str) -> Key:
    """The key of a declared parameter."""
    sentence = of.sentence or f"Parameter {name} of {whose}."
    return of_network(
        name.upper(), group, "float", of.default, sentence, of.unit, least=of.least, most=of.most, above=of.above
    )


def with_own_neurons(keys: Sequence[Key]) -> tuple[Key, ...]:
    """``keys`` with those of neurons and losses that were declared since, behind the last of their groups."""
    known = {key.name: key for key in keys}
    new, of_losses = neuron_keys(models.NEURONS.values(), known), _loss_keys(models.LOSSES.values(), known)
    taken = {key.name for key in new}
    of_losses = [key for key in of_losses if key.name not in taken]
    if not (new or of_losses):
        return tuple(keys)
    last = max(i for i, key in enumerate(keys) if key.group == "Model") + 1
    return (*keys[:last], *new, *keys[last:], *of_losses)


def _loss_keys(losses: Iterable[models.Loss], known: Mapping[str, Key]) -> list[Key]:
    """The keys of all parameters of ``losses`` that are not ``known``.

    Raises:
        ValueError: one has the name of a key that holds no number with a fraction.
    """
    keys: dict[str, Key] = {}
    for loss in losses:
        for name, of in loss.parameters.items() if isinstance(loss.parameters, Mapping) else ():
            there = known.get(name.upper())
            if there is not None and there.kind != "float":
                raise ValueError(
                    f"loss {loss.name}: parameter {name} would have the key {there.name}, which is something else: "
                    f"{there.sentence} Another name would be right"
                )
            if there is None:
                key = _key_of(name, of, "Loss", f"the loss {loss.name}")
                keys.setdefault(key.name, key)
    return list(keys.values())
