"""Which synapses of a sparse projection are there: masks, boolean ``(n_pre, n_post)``, by synapse population.

The others are silent: their weight is 0 and stays so, and nothing is learned by them. A synapse population without a
mask has all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files

__all__ = ["Masks", "are_equal", "check_file", "check_silent", "checked", "drawn", "problems_of", "read", "silenced"]

Masks = Mapping[str, np.ndarray]


def drawn(probability: float, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """A mask in which each synapse is there with this probability."""
    return random.random(shape) < probability


def silenced(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """``values`` with zeros for synapses that are not there."""
    return values if mask is None else np.where(mask, values, values.dtype.type(0))


def are_equal(a: Masks, b: Masks) -> bool:
    """Whether the same synapses are there."""
    dense = {name: np.ones(mask.shape, bool) for name, mask in {**a, **b}.items()}
    return all(np.array_equal(a.get(name, all_), b.get(name, all_)) for name, all_ in dense.items())


def checked(given: Any, shapes: Mapping[str, tuple[int, int]] | None, where: str = "masks") -> dict[str, np.ndarray]:
    """Masks of some of the synapse populations that there are, copied.

    Args:
        shapes: of all synapse populations; None where they are not known yet.
        where: what they are called, for messages.

    Raises:
        ValueError: names the population that is unknown, or whose mask has another shape or type, or no synapse.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} must be a dictionary of boolean arrays by synapse population, got {given!r}")
    found = {}
    for name, mask in given.items():
        try:
            array = np.asarray(mask)
        except ValueError:
            raise ValueError(f"{where}: {name} must be a boolean array (n_pre, n_post), and its rows differ") from None
        if shapes is not None and name not in shapes:
            raise ValueError(f"{where} has {name!r}; there are {', '.join(shapes)}")
        if shapes is not None and array.shape != shapes[name]:
            raise ValueError(f"{where}: {name} has shape {array.shape}; this network needs {shapes[name]}")
        if array.dtype != bool:
            raise ValueError(f"{where}: {name} must be boolean, True where a synapse is, got {array.dtype}")
        if not array.any():
            raise ValueError(f"{where}: {name} is False everywhere, so that there is no synapse")
        found[name] = array.copy()
    return found


def read(path: Path, shapes: Mapping[str, tuple[int, int]] | None = None) -> dict[str, np.ndarray]:
    """The masks of a ``.npz`` file, as ``numpy.savez(path, in_to_hid=...)`` writes it.

    Raises:
        ValueError: it cannot be read, or holds other things than masks of these shapes; names it.
    """
    try:
        arrays = files.read_archive(path)
    except OSError as error:
        raise ValueError(f"MASKS={str(path)!r} cannot be read: {files.why(error)}") from None
    return checked(arrays, shapes, f"MASKS={str(path)!r}")


def check_silent(weights: Mapping[str, np.ndarray], masks: Masks) -> None:
    """Raise ValueError unless weights are 0 where no synapse is; names the synapse population."""
    for name, mask in masks.items():
        if number := np.count_nonzero(weights[name][~mask]):
            raise ValueError(
                f"weights of {name} are not 0 at {number} synapses that are not there (..._P, MASKS or set_masks)"
            )


def check_file(
    path: Path, masks: Masks, shapes: Mapping[str, tuple[int, int]], weights: Mapping[str, np.ndarray]
) -> None:
    """See that a file's masks fit a network, and its weights them; raise ValueError with the file's name if not."""
    try:
        check_silent(weights, checked(masks, shapes))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def problems_of(path: str | None) -> list[str]:
    """What is wrong with the file of ``MASKS``, if there is one, before it is known which synapses there are."""
    try:
        if path is not None:
            read(Path(path))
    except ValueError as error:
        return [str(error)]
    return []
