"""Samples with labels as they are handed over: a tuple of lists, or a data set that gives them one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventprop.data import targets

__all__ = ["Raw", "read_set"]

_RIGHT = "(X, Y), (X, Y, groups), or a data set whose entries are (spikes, label)"


@dataclass(frozen=True)
class Raw:
    """A set as it was given.

    Attributes:
        X: samples, of any form.
        labels: ``(n,)`` int64, or text; or targets of another form, see :mod:`eventprop.data.targets`.
        groups: ``(n,)`` int32, by which samples may be left out; or None.
        names: of the classes; empty where they have none.
        sensor: width, height and polarities, where the set says so itself.
    """

    X: Sequence[Any]
    labels: np.ndarray
    groups: np.ndarray | None
    names: tuple[str, ...]
    sensor: tuple[int, ...] | None

    def numbered(self, names: Sequence[str], what: str) -> np.ndarray:
        """Labels as int32; those that are text are numbers of ``names``, the training data's.

        Raises:
            ValueError: one is no name there.
        """
        if self.labels.ndim > 1:
            return self.labels
        if self.labels.dtype.kind != "U":
            return self.labels.astype(np.int32)
        number = {name: k for k, name in enumerate(names)}
        if strange := [label for label in self.labels.tolist() if label not in number]:
            raise ValueError(f"{what}: label {strange[0]!r} is none of the training data's: {', '.join(names)}")
        return np.array([number[label] for label in self.labels.tolist()], np.int32)


def read_set(given: Any, what: str) -> Raw:
    """``(X, Y)``, ``(X, Y, groups)``, or what has a length and gives ``(spikes, label)`` by number: data sets of tonic
    and torch, and lists of such pairs. In the place of labels there may be other targets.

    Args:
        what: "train" or "test", for errors.

    Raises:
        ValueError: names what was given and what would be right.
    """
    if isinstance(given, tuple):
        if len(given) not in (2, 3):
            raise ValueError(f"{what} is a tuple of {len(given)}; right are {_RIGHT}")
        X, Y, groups = (*given, None)[:3]
        sensor, classes = getattr(X, "sensor_size", None), None
        if not _is_set(X):
            raise ValueError(f"{what}: X is {type(X).__name__}, not a list or an array of samples")
    elif _is_set(given) and not hasattr(given, "__array__"):
        pairs = [given[number] for number in range(len(given))]
        for number, pair in enumerate(pairs):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                kind = f"{type(pair).__name__}" + (f" of {len(pair)}" if hasattr(pair, "__len__") else "")
                raise ValueError(f"{what}: entry {number} is {kind}, not (spikes, label); right are {_RIGHT}")
        X, Y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        groups, sensor = getattr(given, "speaker", None), getattr(given, "sensor_size", None)
        classes = getattr(given, "classes", None)
    else:
        raise ValueError(f"{what} is {type(given).__name__}; right are {_RIGHT}")
    if len(X) == 0:
        raise ValueError(f"{what} holds no samples")
    labels = _labels(Y, len(X), what)
    names = tuple(sorted(set(labels.tolist()))) if labels.dtype.kind == "U" else _names(classes, labels)
    whose = None if groups is None else _numbers(groups, len(X), f"{what}: groups").astype(np.int32)
    return Raw(X, labels, whose, names, None if sensor is None else tuple(map(int, sensor)))


def _is_set(given: Any) -> bool:
    return hasattr(given, "__len__") and hasattr(given, "__getitem__") and not isinstance(given, str | bytes | Mapping)


def _labels(Y: Any, n: int, what: str) -> np.ndarray:
    if all(isinstance(label, str) for label in Y):
        if len(Y) != n:
            raise ValueError(f"{what} has {n} samples, but {len(Y)} labels")
        return np.array(list(Y), np.str_)
    found = targets.read(Y, n, f"{what}: Y")
    return _numbers(Y, n, f"{what}: labels") if found is None else found


def _numbers(values: Any, n: int, what: str) -> np.ndarray:
    """Whole numbers from 0, one for each sample."""
    try:
        array = np.asarray([v.item() if hasattr(v, "item") else v for v in values])
    except (TypeError, ValueError):
        array = np.zeros(0, object)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{what} must be whole numbers from 0, one for each sample; got {_described(values)}")
    if array.size != n:
        raise ValueError(f"{what} must be one for each of the {n} samples; there are {array.size}")
    wrong = (array < 0) | (array != np.floor(array)) | (array > np.iinfo(np.int32).max)
    if wrong.any():
        number = int(wrong.argmax())
        hint = "; values of outputs are floats of shape (n, outputs)" if array.dtype.kind == "f" else ""
        raise ValueError(f"{what} must be whole numbers from 0; that of sample {number} is {array[number]:g}{hint}")
    return array.astype(np.int64)


def _described(values: Any) -> str:
    if hasattr(values, "dtype"):
        return f"{values.dtype} of shape {np.shape(values)}"
    first = next(iter(values), None) if hasattr(values, "__iter__") else values
    return f"{type(values).__name__} of {type(first).__name__}"


def _names(classes: Any, labels: np.ndarray) -> tuple[str, ...]:
    """Names that a data set has for its classes, if they are as many as its labels need."""
    if classes is None or isinstance(classes, str | Mapping) or not hasattr(classes, "__len__"):
        return ()
    names = tuple(c.decode() if isinstance(c, bytes) else str(c) for c in classes)
    return names if labels.ndim == 1 and len(names) > int(labels.max()) else ()
