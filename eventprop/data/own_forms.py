"""The forms in which people have spikes, and what each becomes: times, channels, and where samples begin.

A sample may be a dictionary ``{"x": channels, "t": times}``; a list with a list of times for each channel; an array of
counts ``(bins, channels)``; or events, an array with the fields t, x and where the sensor has them y and p, as tonic's
data sets have it. All samples of a set have one form. In which unit times are, how long a bin lasts and how large a
sensor is, is told and never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["UNITS", "Stated", "flat_spikes"]

UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""By ``TIME_UNIT``, how many ms it is."""

_AXES = "(samples, bins, channels)"
_EVENTS = 'events have times "t" whose unit must be told: TIME_UNIT="us" (which most event cameras and tonic use), '
_EVENTS += '"ms", "s" or "ns"'

Flat = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Stated:
    """What is told of spikes, and cannot be seen in them.

    Attributes:
        time_unit: (TIME_UNIT) of times; None for ms, of events for nothing.
        bin_ms: (BIN_MS) how long a bin of counts lasts.
        sensor: (SENSOR_SIZE) width, height and polarities; None where the data say so themselves, or events have none.
    """

    time_unit: str | None = None
    bin_ms: float | None = None
    sensor: Sequence[int] | None = None


Read = Callable[[Any, Stated, str], tuple[Flat, int]]


def flat_spikes(X: Any, stated: Stated, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Spikes of all samples, one after the other.

    Args:
        X: sequence of samples, each of one of the forms above, or an array of counts ``(samples, bins, channels)``.
        what: what they are called in errors.

    Returns:
        Times in ms, ``(spikes,)`` float64, in any order within a sample; channels, ``(spikes,)`` int64; offsets, ``(n +
        1,)`` int64; how many channels the form says there are, 0 where it does not say.

    Raises:
        ValueError: names ``what``, the sample, what was given and what would be right.
    """
    X = np.asarray(X) if hasattr(X, "__array__") else X
    if isinstance(X, np.ndarray) and X.dtype.names:
        raise ValueError(f"{what} is one array of events; a list of such arrays, one for each sample, would be right")
    if isinstance(X, np.ndarray) and X.dtype != object and X.ndim < 3:
        raise ValueError(f"{what} is an array of shape {np.shape(X)}; counts of spikes would be {_AXES}")
    times, channels, found = [np.zeros(0)], [np.zeros(0, np.int64)], set()
    read: Read | None = None
    for number in range(len(X)):
        sample, name = X[number], f"{what}, sample {number}"
        form = _form(sample, name)
        if read is not None and form is not read:
            raise ValueError(f"{name} is {_NAMES[form]}, and those before it are {_NAMES[read]}: one form for all")
        read = form
        (t, x), count = form(sample, stated, name)
        _check(t, x, name)
        times.append(t)
        channels.append(x)
        found.add(count)
    if len(found) > 1:
        raise ValueError(f"{what}: samples have different numbers of channels: {', '.join(map(str, sorted(found)))}")
    offsets = np.cumsum([0, *(t.size for t in times[1:])]).astype(np.int64)
    return np.concatenate(times), np.concatenate(channels), offsets, found.pop() if found else 0


def _form(sample: Any, name: str) -> Read:
    """What reads a sample of this form."""
    if isinstance(sample, Mapping):
        return _of_dict
    if _fields(sample):
        return _of_events
    if isinstance(sample, list | tuple) and all(_is_list(times) for times in sample):
        return _of_lists
    if hasattr(sample, "__array__") and np.asarray(sample).dtype.kind in "biuf":
        return _of_counts
    raise ValueError(
        f'{name} is {_described(sample)}; right are {{"x": channels, "t": times}}, a list with a list of times for '
        "each channel, an array of counts (bins, channels), or an array of events with the fields t and x"
    )


def _fields(sample: Any) -> tuple[str, ...]:
    return getattr(getattr(sample, "dtype", None), "names", None) or ()


def _is_list(values: Any) -> bool:
    return isinstance(values, list | tuple) or np.ndim(values) == 1


def _described(sample: Any) -> str:
    shape = f" of shape {np.shape(sample)}" if hasattr(sample, "shape") else ""
    return f"{type(sample).__name__}{shape}"


def _of_dict(sample: Any, stated: Stated, name: str) -> tuple[Flat, int]:
    missing = [key for key in ("x", "t") if key not in sample]
    if missing:
        raise ValueError(f'{name} lacks "{missing[0]}": a dictionary must have "x" (channels) and "t" (times)')
    t, x = _numbers(sample["t"], f"{name}: times"), _numbers(sample["x"], f"{name}: channels")
    if t.shape != x.shape or t.ndim != 1:
        raise ValueError(f"{name}: x and t must be flat lists of one length, got shapes {x.shape} and {t.shape}")
    return (t.astype(np.float64) * UNITS[stated.time_unit or "ms"], _whole(x, name)), 0


def _of_lists(sample: Any, stated: Stated, name: str) -> tuple[Flat, int]:
    lists = [_numbers(times, f"{name}: times of channel {c}") for c, times in enumerate(sample)]
    t = np.concatenate([np.zeros(0), *lists]) * UNITS[stated.time_unit or "ms"]
    return (t, np.repeat(np.arange(len(lists)), [times.size for times in lists])), len(lists)


def _of_counts(sample: Any, stated: Stated, name: str) -> tuple[Flat, int]:
    """Spikes of a bin are spread over it evenly, the first at its start."""
    counts = np.asarray(sample)
    if counts.ndim == 4:  # tonic's frames (bins, polarities, height, width), numbered as events are
        counts = counts.transpose(0, 2, 3, 1)
    if counts.ndim < 2 or counts.ndim > 4:
        raise ValueError(f"{name} is an array of shape {counts.shape}; counts of spikes would be (bins, channels)")
    counts = counts.reshape(len(counts), -1)
    if stated.bin_ms is None:
        raise ValueError(f"{name} has counts of shape {counts.shape}: BIN_MS must say how many ms a bin lasts")
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts != np.floor(counts)).any():
        wrong = counts[~np.isfinite(counts) | (counts < 0) | (counts != np.floor(counts))][0]
        raise ValueError(f"{name} has {wrong:g} in a bin; counts of spikes are whole numbers from 0")
    bins, channels = np.nonzero(counts)
    many = counts[bins, channels].astype(np.int64)
    each = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    part = each / np.repeat(many, many)
    return ((np.repeat(bins, many) + part) * stated.bin_ms, np.repeat(channels, many)), counts.shape[1]


def _of_events(sample: Any, stated: Stated, name: str) -> tuple[Flat, int]:
    """Channels are ``(y * width + x) * polarities + p``; what the sensor has one of, events need not have."""
    fields = _fields(sample)
    if missing := [field for field in ("t", "x") if field not in fields]:
        raise ValueError(f'{name} has events with the fields {", ".join(fields)}, and lacks "{missing[0]}"')
    if stated.time_unit is None:
        raise ValueError(f"{name}: {_EVENTS}")
    t, x = sample["t"].astype(np.float64) * UNITS[stated.time_unit], _whole(sample["x"], name)
    if stated.sensor is None:
        if "y" in fields:
            raise ValueError(f"{name} has events with x and y: SENSOR_SIZE=[width, height, polarities] must be told")
        return (t, x), 0
    width, height, polarities = stated.sensor
    for field, most in (("x", width), ("y", height), ("p", polarities)):
        if most > 1 and field not in fields:
            raise ValueError(f'{name}: SENSOR_SIZE={list(stated.sensor)} needs events with "{field}"')
        values = sample[field].astype(np.int64) if most > 1 or field == "x" else np.zeros(0, np.int64)
        if values.size and not 0 <= values.min() <= values.max() < most:
            wrong = values[(values < 0) | (values >= most)][0]
            raise ValueError(
                f"{name}: {field}={wrong} is not one of 0 to {most - 1} (SENSOR_SIZE={list(stated.sensor)})"
            )
    x = x if height == 1 else sample["y"].astype(np.int64) * width + x
    return (t, x if polarities == 1 else x * polarities + sample["p"].astype(np.int64)), width * height * polarities


_NAMES: dict[Read, str] = {
    _of_dict: "a dictionary",
    _of_lists: "a list of channels' times",
    _of_counts: "an array of counts",
    _of_events: "an array of events",
}


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.zeros(1, object)
    if array.size and array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers, got {array.dtype}")
    return array if array.size else np.zeros(0)


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    if values.size and (not np.isfinite(values).all() or (values != np.floor(values)).any()):
        raise ValueError(f"{name}: channels must be whole numbers")
    return values.astype(np.int64)


def _check(times_ms: np.ndarray, channels: np.ndarray, name: str) -> None:
    """Of any form."""
    if not np.isfinite(times_ms).all():
        raise ValueError(f"{name}: times must be finite numbers")
    if times_ms.size and times_ms.min() < 0:
        raise ValueError(f"{name}: times must not be negative, got {times_ms.min():g} ms")
    if channels.size and channels.min() < 0:
        raise ValueError(f"{name}: channels must be whole numbers from 0, got {channels.min()}")
