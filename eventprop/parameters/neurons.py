"""Keys of parameters of neurons and losses: each that one of these declares is a key, its name in capitals."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from eventprop import models
from eventprop.parameters.belonging import of_network
from eventprop.parameters.declaration import Key

__all__ = ["neuron_keys", "with_own_neurons"]


def neuron_keys(neurons: Iterable[models.Neuron], known: Iterable[str]) -> list[Key]:
    """The keys of all parameters of ``neurons`` that are not ``known``."""
    names, keys = set(known), dict[str, Key]()
    for neuron in neurons:
        for name, of in neuron.parameters.items():
            if name.upper() not in names:
                keys.setdefault(name.upper(), _key_of(name, of, "Model", f"{neuron.name} neurons"))
    return list(keys.values())


def _key_of(name: str, of: models.Parameter, group: str, whose: str) -> Key:
    """The key of a declared parameter."""
    sentence = of.sentence or f"Parameter {name} of {whose}."
    return of_network(
        name.upper(), group, "float", of.default, sentence, of.unit, least=of.least, most=of.most, above=of.above
    )


def with_own_neurons(keys: Sequence[Key]) -> tuple[Key, ...]:
    """``keys`` with those of neurons and losses that were declared since, behind the last of their groups.

    Raises:
        ValueError: a parameter has the name of a key that is something else, or of another parameter with a default or
            bounds of its own.
    """
    known = {key.name: key for key in keys}
    of_neurons = {n for name in models.ON_BOARD if (q := models.NEURONS.get(name)) for n in q.parameters}
    of_losses = {n for name in models.LOSSES_ON_BOARD if (loss := models.LOSSES.get(name)) for n in loss.parameters}
    own: dict[str, tuple[Key, str]] = {}
    for neuron in models.NEURONS.values():
        if neuron.name not in models.ON_BOARD:
            _add(own, known, of_neurons, "Model", f"neuron {neuron.name}", neuron.parameters)
    for loss in models.LOSSES.values():
        if loss.name not in models.LOSSES_ON_BOARD and isinstance(loss.parameters, Mapping):
            _add(own, known, of_neurons | of_losses, "Loss", f"loss {loss.name}", loss.parameters)
    if not own:
        return tuple(keys)
    last = max(i for i, key in enumerate(keys) if key.group == "Model") + 1
    new = {group: [key for key, _ in own.values() if key.group == group] for group in ("Model", "Loss")}
    return (*keys[:last], *new["Model"], *keys[last:], *new["Loss"])


def _add(
    own: dict[str, tuple[Key, str]],
    known: Mapping[str, Key],
    shared: Container[str],
    group: str,
    who: str,
    parameters: Mapping[str, models.Parameter],
) -> None:
    """Add the keys of a declaration's parameters to ``own``, each with who has it.

    Args:
        shared: parameters on board, whose keys it may have.
    """
    for name, of in parameters.items():
        key = _key_of(name, of, group, who)
        there, (first, other) = known.get(key.name), own.setdefault(key.name, (key, who))
        if there is not None:
            del own[key.name]
            if name not in shared:
                raise ValueError(
                    f"{who}: parameter {name} would have the key {key.name}, which is something else: "
                    f"{there.sentence} Another name would be right"
                )
        elif any(getattr(key, what) != getattr(first, what) for what in ("default", "least", "most", "above")):
            raise ValueError(
                f"{who}: parameter {name} has another default or other bounds than that of {other}, and they share the "
                f"key {key.name}; another name would be right"
            )
