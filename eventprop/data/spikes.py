"""Spikes of many samples as flat arrays of steps and channels, on the grid of the simulation.

An event at time t belongs to step ``floor(t / dt)``; the quotient is rounded up where it is a millionth of its value
below a whole number, so that 0.3 ms is step 3 of 0.1 ms, in single precision too. With true times it also keeps when in
the step it is.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eventprop.data.alignment import Alignment
from eventprop.data.extent import PER_MS, Extent, likely_unit, percent

__all__ = ["SpikeSet", "bin_events", "from_samples", "joined"]

_MOST_STEPS = _MOST_CHANNELS = 65535
_TOLERANCE = 1e-6
_BLOCK = 100_000  # events worked on at a time: these and what is made of them fit a processor's cache
_ENOUGH = 5  # spikes of samples whose unit can be told by when they come
_SHORTEST = 0.003  # of a trial; samples that end before that may be in seconds
_LONG = 200  # spikes of a sample from which on it is faster to copy each by itself


@dataclass(frozen=True)
class SpikeSet:
    """Spikes of ``n`` samples.

    Attributes:
        offsets: ``(n + 1,)`` int64; sample i has the spikes ``offsets[i]`` to ``offsets[i + 1]``.
        steps: ``(spikes,)`` uint16, ascending within a sample.
        channels: ``(spikes,)`` uint16, ascending within a step.
        num_channels: input channels.
        num_steps: steps of a trial.
        at: ``(spikes,)`` float32, where spikes have their true times: which part of the step is over then, ascending
            within a step. None on the grid, where there is one spike at most per channel and step.
    """

    offsets: np.ndarray
    steps: np.ndarray
    channels: np.ndarray
    num_channels: int
    num_steps: int
    at: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps and channels of one sample's spikes, as views.

        Raises:
            IndexError: there is no sample ``index``; they are counted from 0, not from the end.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no sample {index}; there are {len(self)}")
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.steps[part], self.channels[part]

    def times(self, index: int, dt_ms: float) -> np.ndarray:
        """Times (ms) of one sample's spikes: on the grid, when their steps begin.

        Raises:
            IndexError: as :meth:`sample`.
        """
        begin = self.sample(index)[0] * float(dt_ms)
        return begin if self.at is None else begin + self.at[self.offsets[index] : self.offsets[index + 1]] * dt_ms

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What there is of each spike, by name."""
        timed = {} if self.at is None else {"at": self.at}
        return {"steps": self.steps, "channels": self.channels, **timed}

    def remade(self, offsets: np.ndarray, arrays: Mapping[str, np.ndarray]) -> SpikeSet:
        """A set of other spikes in as many channels and steps, of such ``arrays``."""
        return replace(self, offsets=offsets, steps=arrays["steps"], channels=arrays["channels"], at=arrays.get("at"))

    def select(self, indices: np.ndarray | Sequence[int]) -> SpikeSet:
        """The samples ``indices``, in that order, repeated where an index is.

        Args:
            indices: ``(m,)`` whole numbers from 0 to ``n - 1``.

        Returns:
            Set of ``m`` samples in new arrays.

        Raises:
            ValueError: indices are not a list of whole numbers.
            IndexError: names an index that is not there.
        """
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise ValueError("indices must be a list of whole numbers")
        wanted = wanted.astype(np.int64)
        outside = (wanted < 0) | (wanted >= len(self))
        if outside.any():
            raise IndexError(f"there is no sample {wanted[outside][0]}; there are {len(self)}")
        starts = self.offsets[:-1][wanted]
        lengths = self.offsets[1:][wanted] - starts
        offsets = _offsets(lengths)
        if lengths.size and lengths.mean() >= _LONG:
            parts = [slice(a, a + n) for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
            copied = {name: np.concatenate([array[part] for part in parts]) for name, array in self.arrays.items()}
            return self.remade(offsets, copied)
        made = {name: np.empty(offsets[-1], array.dtype) for name, array in self.arrays.items()}
        for first, last in _blocks(offsets):
            to = slice(offsets[first], offsets[last])
            shift = np.repeat(starts[first:last] - offsets[first:last], lengths[first:last])
            source = np.arange(to.start, to.stop) + shift
            for name, array in self.arrays.items():
                array.take(source, out=made[name][to], mode="clip")  # all are there: it need not look
        return self.remade(offsets, made)


def bin_events(
    times_ms: np.ndarray,
    channels: np.ndarray,
    offsets: np.ndarray,
    num_channels: int,
    dt_ms: float,
    trial_ms: float,
    least: int = 1,
    true_times: bool = False,
) -> SpikeSet:
    """Events on the grid: step ``floor(t / dt)``, one spike at most per channel and step; or all, with true times.

    Events from ``trial_ms`` on are cut off, and on the grid so are those in the last step: a spike takes one step to
    arrive.

    Args:
        times_ms: ``(events,)``, not negative, in any order within a sample.
        channels: ``(events,)`` whole numbers from 0 to ``num_channels - 1``.
        offsets: ``(n + 1,)``; sample i has the events ``offsets[i]`` to ``offsets[i + 1]``.
        num_channels: 65535 at most.
        least: as many events of a channel in a step make a spike; 1 with true times.

    Returns:
        Set of ``n`` samples, sorted by step, then channel; with true times by these, then channel.

    Raises:
        ValueError: more steps or channels than 65535, arrays whose lengths do not fit each other, or a sample (it is
            named) with a time that is negative or not a number, or a channel out of range.
    """
    num_steps = _num_steps(dt_ms, trial_ms)
    if not 1 <= num_channels <= _MOST_CHANNELS:
        raise ValueError(f"there can be 1 to {_MOST_CHANNELS} channels, not {num_channels}")
    if not len(times_ms) == len(channels) == offsets[-1]:
        raise ValueError(f"{len(times_ms)} times, {len(channels)} channels, but offsets end at {offsets[-1]}")
    if true_times and least > 1:
        raise ValueError(f"{least} events of a channel in a step make no spike with a time of its own")
    parts = [(np.zeros(0, np.uint16), np.zeros(0, np.uint16), np.zeros(0, np.float32))]
    counts = np.zeros(len(offsets) - 1, np.int64)
    for first, last in _blocks(offsets):
        part = slice(offsets[first], offsets[last])
        bounds = offsets[first : last + 1] - offsets[first]
        times, numbers = np.asarray(times_ms[part], np.float64), channels[part]
        _check_events(times, numbers, bounds, first, num_channels)
        with np.errstate(over="ignore"):
            floor = np.floor(times / dt_ms * (1 + _TOLERANCE))
        if true_times:
            at = (times / dt_ms - floor).clip(0.0, 1.0).astype(np.float32)
            steps, numbers, at, counts[first:last] = _in_order(floor, numbers, at, bounds, num_steps)
        else:
            at = parts[0][2]
            steps, numbers, counts[first:last] = _binned(floor, numbers, bounds, num_channels, num_steps, least)
        parts.append((steps, numbers, at))
    steps, numbers, at = (np.concatenate(each) for each in zip(*parts, strict=True))
    return SpikeSet(_offsets(counts), steps, numbers, num_channels, num_steps, at if true_times else None)


def _in_order(
    floor: np.ndarray, channels: np.ndarray, at: np.ndarray, bounds: np.ndarray, num_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, channels and parts of steps of all events in the trial, in order of time; how many each sample has."""
    n, keep = len(bounds) - 1, floor < num_steps
    sample = np.repeat(np.arange(n), np.diff(bounds))[keep]
    steps, channels, at = floor[keep].astype(np.int64), channels[keep], at[keep]
    order = np.lexsort((channels, at, sample * num_steps + steps))
    counts = np.bincount(sample, minlength=n)
    return steps[order].astype(np.uint16), channels[order].astype(np.uint16), at[order], counts


def _binned(
    floor: np.ndarray, channels: np.ndarray, bounds: np.ndarray, num_channels: int, num_steps: int, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps and channels of the spikes that some samples' events make, and how many each sample has.

    Args:
        floor: step of each event, however late.
        bounds: of the samples' events in ``floor`` and ``channels``.
    """
    n = len(bounds) - 1
    kind: type[Any] = np.int32 if n * num_steps * num_channels < 2**31 else np.int64  # the narrower the faster
    keep = floor < num_steps - 1
    sample = np.repeat(np.arange(n, dtype=kind), np.diff(bounds))[keep]
    cells = sample * kind(num_steps) + floor[keep].astype(kind)
    cells = cells * kind(num_channels) + channels[keep].astype(kind)
    cells.sort()
    new = np.ones(cells.size, bool)
    np.not_equal(cells[1:], cells[:-1], out=new[1:])
    if least > 1:
        starts = np.flatnonzero(new)
        new = starts[np.diff(starts, append=cells.size) >= least]
    cells = cells[new]
    rows = cells // kind(num_channels)
    steps = (rows % kind(num_steps)).astype(np.uint16)
    numbers = (cells - rows * kind(num_channels)).astype(np.uint16)
    ends = np.arange(1, n + 1) * (num_steps * num_channels)
    return steps, numbers, np.diff(np.searchsorted(cells, ends.astype(kind)), prepend=0)


def from_samples(
    X: Sequence[Mapping[str, Any]],
    num_channels: int,
    dt_ms: float,
    trial_ms: float,
    true_times: bool = False,
    alignment: Alignment | None = None,
) -> SpikeSet:
    """Spike set of samples ``{"x": channel numbers, "t": times in ms}``; times may be in any order.

    A warning says so where most spikes come after the trial, or all so early that the times look like seconds; of
    aligned ones where the unit matters (``Alignment.needs_unit``).

    Raises:
        ValueError: names the sample and what is wrong with it.
    """
    times, channels = [np.zeros(0)], [np.zeros(0, np.int64)]
    ends, fractions = [], False
    for number, sample in enumerate(X):
        t, x = _checked(sample, number, num_channels)
        if t.size:
            ends.append(t.max())
            fractions = fractions or bool((t % 1).any())
        if alignment is not None:
            order = np.argsort(t, kind="stable")
            t, x, _ = alignment.applied(t[order], x[order], np.array([0, t.size]))
        times.append(t)
        channels.append(x)
    offsets = _offsets(np.array([t.size for t in times[1:]], np.int64))
    flat = np.concatenate(times)
    found = bin_events(flat, np.concatenate(channels), offsets, num_channels, dt_ms, trial_ms, true_times=true_times)
    if alignment is None or alignment.needs_unit:
        end_ms = trial_ms if true_times else trial_ms - dt_ms
        within = int((flat < end_ms).sum()) if alignment is None else flat.size
        _warn(Extent.of(flat.size, within, ends), trial_ms, fractions)
    return found


def _warn(extent: Extent, trial_ms: float, fractions: bool) -> None:
    """Of times that may be in another unit than milliseconds; those in seconds have ``fractions``."""
    lost, ends = extent.events - extent.within, f"samples end at {extent.end:g} ms (median)"
    unit = likely_unit(extent.end, trial_ms, PER_MS, "ms")
    if 2 * lost > extent.events:
        share = percent(lost, extent.events)
        warnings.warn(
            f"{lost} of {extent.events} spikes ({share}) come after the trial (TRIAL_MS={trial_ms:g}) and are cut off: "
            f"{ends}{unit}",
            stacklevel=5,
        )
    elif fractions and unit and extent.events >= _ENOUGH and extent.end < _SHORTEST * trial_ms:
        warnings.warn(f"{ends}, at the very beginning of a trial of {trial_ms:g} ms{unit}", stacklevel=5)


def joined(parts: Iterable[SpikeSet]) -> SpikeSet:
    """The samples of all ``parts``, at least one, whose numbers of channels and steps are the same.

    A part is not needed any more once the next one is asked for, so that all spikes are in memory once.
    """
    memory: dict[str, io.BytesIO] = {}  # it grows in place
    lengths = []
    for part in parts:
        for name, array in part.arrays.items():
            memory.setdefault(name, io.BytesIO()).write(np.ascontiguousarray(array).data)
        lengths.append(np.diff(part.offsets))
    whole = {name: np.frombuffer(memory[name].getbuffer(), array.dtype) for name, array in part.arrays.items()}
    return part.remade(_offsets(np.concatenate(lengths)), whole)


def _num_steps(dt_ms: float, trial_ms: float) -> int:
    if not (0 < dt_ms < np.inf and 0 < trial_ms < np.inf):
        raise ValueError(f"TRIAL_MS={trial_ms:g} and DT_MS={dt_ms:g} must be positive")
    num_steps = round(trial_ms / dt_ms)
    if num_steps > _MOST_STEPS:
        raise ValueError(
            f"TRIAL_MS={trial_ms:g} and DT_MS={dt_ms:g} make {num_steps} steps; {_MOST_STEPS} are possible"
        )
    return num_steps


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """Where each sample begins, and the end: ``(n + 1,)`` int64."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _blocks(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of samples with ``_BLOCK`` events at most, or one sample."""
    first, n = 0, len(offsets) - 1
    while first < n:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1)
        yield first, last
        first = last


def _check_events(times: np.ndarray, channels: np.ndarray, bounds: np.ndarray, first: int, num_channels: int) -> None:
    """A negative time or a channel too high would land in another sample's cells."""
    for right, values, what in (
        (times >= 0, times, "time {:g} ms must be a number and not negative"),
        ((channels >= 0) & (channels < num_channels), channels, f"channel {{}} is not one of 0 to {num_channels - 1}"),
    ):
        if not right.all():
            at = int(np.argmin(right))
            number = first + int(np.searchsorted(bounds, at, side="right")) - 1
            raise ValueError(f"sample {number}: {what.format(values[at])}")


def _checked(sample: Mapping[str, Any], number: int, num_channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Times (float64) and channels (int64) of a sample that may hold anything."""
    form = f'sample {number} must be a dictionary with "x" (channels) and "t" (times in ms)'
    if not isinstance(sample, Mapping):
        raise ValueError(form)
    missing = [key for key in ("x", "t") if key not in sample]
    if missing:
        raise ValueError(f'{form}; it lacks "{missing[0]}"')
    try:
        t, x = np.asarray(sample["t"]), np.asarray(sample["x"])
    except ValueError:
        raise ValueError(f"sample {number}: x and t must be flat lists of numbers") from None
    if t.ndim != 1 or t.shape != x.shape:
        raise ValueError(f"sample {number}: x and t must be lists of one length, got shapes {x.shape} and {t.shape}")
    if t.size == 0:
        return np.zeros(0), np.zeros(0, np.int64)
    if t.dtype.kind not in "iuf" or not np.isfinite(t).all():
        raise ValueError(f"sample {number}: times must be finite numbers")
    if t.min() < 0:
        raise ValueError(f"sample {number}: times must not be negative, got {t.min():g} ms")
    if x.dtype.kind not in "iuf" or not np.isfinite(x).all() or (x != np.floor(x)).any():
        raise ValueError(f"sample {number}: channels must be whole numbers")
    if x.min() < 0 or x.max() >= num_channels:
        wrong = x.min() if x.min() < 0 else x.max()
        raise ValueError(f"sample {number}: channel {wrong:g} is not one of 0 to {num_channels - 1}")
    return t.astype(np.float64), x.astype(np.int64)
