"""Keys of neurons' parameters: each parameter that a neuron declares is a key, its name in capitals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
            if name.upper() not in names and name.upper() not in keys:
                sentence = of.sentence or f"Parameter {name} of {neuron.name} neurons."
                key = of_network(
                    name.upper(),
                    "Model",
                    "float",
                    of.default,
                    sentence,
                    of.unit,
                    least=of.least,
                    most=of.most,
                    above=of.above,
                )
                keys[key.name] = key
    return list(keys.values())


def with_own_neurons(keys: Sequence[Key]) -> tuple[Key, ...]:
    """``keys`` with those of neurons that were declared since, behind the last of the group Model."""
    new = neuron_keys(models.NEURONS.values(), (key.name for key in keys))
    if not new:
        return tuple(keys)
    last = max(i for i, key in enumerate(keys) if key.group == "Model") + 1
    return (*keys[:last], *new, *keys[last:])
