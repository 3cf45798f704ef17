"""Data of one's own: samples in memory, or files of SHD's layout with any number of channels.

What is not told of them is taken from the training data: channels, classes, the length of a trial, which samples train.
Where there are no test data, some of the samples are put aside for that, as many of each class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from eventprop.data import kept, shd, targets
from eventprop.data.dataset import Dataset, Part
from eventprop.data.extent import PER_MS, likely_unit, percent
from eventprop.data.own_forms import Stated, flat_spikes
from eventprop.data.own_sets import read_set
from eventprop.data.shd_files import Recordings
from eventprop.data.spikes import SpikeSet, bin_events, from_samples
from eventprop.streams import stream

__all__ = [
    "Facts",
    "OwnArrays",
    "OwnFiles",
    "OwnSource",
    "put_aside",
    "sample_spikes",
    "source_of",
    "stated_in",
    "trial_of",
]

_MOST_STEPS = 65535
_FEWEST_STEPS = 3
_LOST = 0.1  # share of spikes that fall together, from which on it is told


class Facts(NamedTuple):
    """What training data say.

    Attributes:
        channels, classes: how many there are; of values as many outputs.
        end_ms: time of the last spike.
        labels: or other targets, of all training samples, those that may be put aside for testing among them.
        test_samples: how many test samples there are; None where they have to be put aside.
        fingerprint: another one for other training data.
    """

    channels: int
    classes: int
    end_ms: float
    labels: np.ndarray
    test_samples: int | None
    fingerprint: str


class OwnSource(Protocol):
    """Where data of one's own come from; ``p`` has the keys that say how they are to be read."""

    @property
    def sensor(self) -> tuple[int, ...] | None:
        """Size of the sensor, where the data say it themselves."""
        ...

    def facts(self, p: Mapping[str, Any]) -> Facts: ...

    def dataset(self, p: Mapping[str, Any]) -> Dataset: ...


def source_of(p: Mapping[str, Any], train: Any, test: Any) -> OwnSource:
    """The data that are given, or that ``DATA_SET`` names.

    Raises:
        ValueError: both or neither are.
        FileNotFoundError: the file or folder is not there, or the folder lacks files.
    """
    path = p.get("DATA_SET") if isinstance(p, Mapping) else None
    if train is not None and path is not None:
        raise ValueError(f"there are two sets of data, train=... and DATA_SET={path!r}; one of them would be right")
    if train is not None:
        return OwnArrays(train, test)
    if test is not None:
        raise ValueError("test=... needs train=..., of which there is none")
    if path is None:
        raise ValueError(
            "there are no data: spikes_model(p, train=(X, Y)), or DATA_SET, an HDF5 file in SHD's layout or a folder "
            'with such files; DATA_SET="DEMO" is synthetic'
        )
    if path == "DEMO":
        from eventprop.data.demo_spikes import demo

        return OwnArrays(demo("train"), demo("test"))
    return OwnFiles(Path(path).expanduser())


def stated_in(p: Mapping[str, Any], sensor: Any = None) -> Stated:
    """What ``p`` tells of samples.

    Args:
        sensor: the size that the data themselves tell, where ``p`` does not.
    """
    return Stated(p.get("TIME_UNIT"), p.get("BIN_MS"), p.get("SENSOR_SIZE") or sensor)


def sample_spikes(X: Sequence[Any], p: Mapping[str, Any], sensor: Sequence[int] | None = None) -> SpikeSet:
    """Binned spikes of samples of any form, for a network that is there.

    Args:
        sensor: of the training data, where these said it themselves.

    Raises:
        ValueError: names the sample and what is wrong with it.
    """
    if len(X) == 0:
        raise ValueError("X holds no samples")
    times, channels, offsets, _ = flat_spikes(X, stated_in(p, sensor), "X")
    parts = [slice(first, last) for first, last in pairwise(offsets.tolist())]
    samples = [{"x": channels[part], "t": times[part]} for part in parts]
    return from_samples(samples, p["NUM_INPUT"], p["DT_MS"], p["TRIAL_MS"], p["INPUT_TIMES"] == "true")


@dataclass(frozen=True)
class _Events:
    """A set, read: times in ms, and what there is of each sample."""

    times: np.ndarray
    channels: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None
    num_channels: int

    @property
    def ends(self) -> np.ndarray:
        """Time of the last spike of each sample that has any."""
        there = np.flatnonzero(np.diff(self.offsets))
        return np.maximum.reduceat(self.times, self.offsets[:-1][there]) if there.size else np.zeros(0)

    @cached_property
    def fingerprint(self) -> str:
        """Another one for other spikes, labels or groups."""
        digest = hashlib.blake2b(digest_size=8)
        for array in (self.times, self.channels, self.offsets, self.labels, self.groups):
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        return digest.hexdigest()


class OwnArrays:
    """Samples in memory; each of ``train`` and ``test`` as :func:`eventprop.data.own_sets.read_set` takes it."""

    def __init__(self, train: Any, test: Any) -> None:
        self._raw = {"train": read_set(train, "train")}
        if test is not None:
            self._raw["test"] = read_set(test, "test")
        self.names, self.sensor = self._raw["train"].names, self._raw["train"].sensor
        self._read: dict[tuple[str, Stated], _Events] = {}

    def events(self, part: str, p: Mapping[str, Any]) -> _Events:
        raw = self._raw[part]
        stated = stated_in(p, raw.sensor)
        key = part, replace(stated, sensor=tuple(stated.sensor) if stated.sensor else None)
        if key not in self._read:
            times, channels, offsets, declared = flat_spikes(raw.X, stated, f"{part}: X")
            labels = raw.numbered(self.names, part)
            found = max(declared, int(channels.max()) + 1 if channels.size else 0)
            self._read[key] = _Events(times, channels, offsets, labels, raw.groups, found)
        return self._read[key]

    def facts(self, p: Mapping[str, Any]) -> Facts:
        train = self.events("train", p)
        test = self.events("test", p) if "test" in self._raw else None
        if not train.times.size:
            raise ValueError(f"train: none of its {len(train.labels)} samples has a spike")
        if test is not None and (problem := _unlike(train.labels, test.labels)):
            raise ValueError(problem)
        most = max(targets.outputs_of(e.labels) for e in (train, test) if e is not None)
        return Facts(
            channels=max(e.num_channels for e in (train, test) if e is not None),
            classes=len(self.names) or most,
            end_ms=float(train.times.max()) * p["RESCALE_T"],
            labels=train.labels,
            test_samples=None if test is None else len(test.labels),
            fingerprint=train.fingerprint,
        )

    def dataset(self, p: Mapping[str, Any]) -> Dataset:
        train = _binned(self.events("train", p), p, "train")
        test = _binned(self.events("test", p), p, "test") if "test" in self._raw else None
        return _with_test("own data", train, test, p, self.names)


class OwnFiles:
    """A file of SHD's layout, or a folder with one for training and one for testing.

    Raises:
        FileNotFoundError: names what is missing.
    """

    sensor = None

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"DATA_SET={str(path)!r}: there is no such file or folder")
        self.paths = {"train": path}
        if path.is_dir():
            self.paths = {part: _one_of(path, part) for part in ("train", "test")}
        self._reach: dict[str, tuple[int, float]] = {}

    def facts(self, p: Mapping[str, Any]) -> Facts:
        if p["TIME_UNIT"] not in (None, "s"):
            raise ValueError(
                f'TIME_UNIT={p["TIME_UNIT"]!r} is not for files of SHD\'s layout, whose times are in seconds: "s"'
            )
        parts = [self._labels_of[part] for part in self.paths]
        names = next((names for _, names in parts if names), ())
        needed = p["NUM_INPUT"] is None or p["TRIAL_MS"] is None  # else spikes are not read for that
        reach = [self._reach_of(part) for part in self.paths] if needed else [(1, 0.0)]
        return Facts(
            channels=max(1, *(channels for channels, _ in reach)),
            classes=len(names) or 1 + max(int(labels.max()) for labels, _ in parts),
            end_ms=1e3 * reach[0][1] * p["RESCALE_T"],
            labels=parts[0][0],
            test_samples=len(parts[1][0]) if len(parts) > 1 else None,
            fingerprint=self._fingerprint,
        )

    @cached_property
    def _fingerprint(self) -> str:
        return f"{kept.checksum(self.paths['train']):08x}"

    @cached_property
    def _labels_of(self) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
        """By part, labels and names of classes."""
        found = {}
        for part, path in self.paths.items():
            with Recordings(path) as file:
                found[part] = file.labels, file.class_names
        return found

    def _reach_of(self, part: str) -> tuple[int, float]:
        """See :meth:`eventprop.data.shd_files.Recordings.reach`."""
        if part not in self._reach:
            with Recordings(self.paths[part]) as file:
                self._reach[part] = file.reach()
        return self._reach[part]

    def dataset(self, p: Mapping[str, Any]) -> Dataset:
        true_times = p["INPUT_TIMES"] == "true"
        grid = shd.Grid(
            p["DT_MS"], p["TRIAL_MS"], p["RESCALE_T"], p["RESCALE_X"], true_times, num_channels=p["NUM_INPUT"]
        )
        train = self.paths["train"]
        paths = {"train": train, "test": self.paths.get("test", train)}
        cache = train.with_name(f"my{train.stem}") if p["WRITE_TO_DISK"] else None
        found = shd.load_files(paths, grid, cache, train.parent.name or "own data", p["NUM_CLASSES"])
        test = found.test if "test" in self.paths else None
        return _with_test(found.name, found.train, test, p, found.class_names)


def _one_of(folder: Path, part: str) -> Path:
    """The file of a part."""
    found = sorted(path for path in folder.iterdir() if path.suffix in (".h5", ".hdf5") and part in path.stem.lower())
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(
            f'DATA_SET={str(folder)!r} must hold one HDF5 file with "{part}" in its name (.h5 or .hdf5); there is '
            f"{there}"
        )
    return found[0]


def _unlike(train: np.ndarray, test: np.ndarray) -> str:
    """Why test samples have targets of another form than training samples; "" where they do not."""
    if (train.ndim, train.shape[1:], train.dtype.kind) == (test.ndim, test.shape[1:], test.dtype.kind):
        return ""
    words = [f"{labels.dtype} of shape (n, {', '.join(map(str, labels.shape[1:]))})" for labels in (train, test)]
    return f"test: targets are {words[1]}, and those of train are {words[0]}"


def _binned(events: _Events, p: Mapping[str, Any], what: str) -> Part:
    """Events on the grid of ``p``, and a line where much of them is lost there."""
    if events.num_channels > p["NUM_INPUT"]:
        raise ValueError(f"{what} has {events.num_channels} channels, and there are NUM_INPUT={p['NUM_INPUT']}")
    if targets.outputs_of(events.labels) > p["NUM_CLASSES"] and not targets.are_values(events.labels):
        number = int(events.labels.argmax()) // events.labels[0].size
        raise ValueError(
            f"{what}: label {events.labels.max()} of sample {number} is not one of 0 to {p['NUM_CLASSES'] - 1} "
            "(NUM_CLASSES)"
        )
    times, channels = events.times * p["RESCALE_T"], events.channels
    if p["RESCALE_X"] != 1.0:
        channels = np.floor(channels * (p["RESCALE_X"] * (1 + 1e-6))).astype(np.int64)
    grid = p["NUM_INPUT"], p["DT_MS"], p["TRIAL_MS"]
    true_times = p["INPUT_TIMES"] == "true"
    spikes = bin_events(times, channels, events.offsets, *grid, true_times=true_times)
    within = int((times < p["TRIAL_MS"] - (0.0 if true_times else p["DT_MS"])).sum())
    if within == 0:
        end = float(np.median(events.ends)) * p["RESCALE_T"]
        raise ValueError(
            f"{what}: none of its {times.size} spikes is before the end of the trial (TRIAL_MS={p['TRIAL_MS']:g}): "
            f"samples end at {end:g} ms (median){likely_unit(end, p['TRIAL_MS'], PER_MS, 'ms')}"
        )
    reasons = {
        "come after the trial (TRIAL_MS)": times.size - within,
        "share channel and step (DT_MS) with another": within - spikes.steps.size,
    }
    for why, lost in reasons.items():
        if lost > _LOST * times.size:
            print(f"{what}: {lost} of {times.size} spikes ({percent(lost, times.size)}) {why} and are left out")
    return Part(spikes, events.labels, events.groups)


def trial_of(end_ms: float, dt_ms: float, tau_mem: float) -> float:
    """Whole steps until a membrane time constant after the last spike.

    Raises:
        ValueError: it would be of fewer or more steps than are possible; says in which unit times may be.
    """
    steps = int(np.floor(end_ms / dt_ms * (1 + 1e-6))) + 2 + int(np.ceil(tau_mem / dt_ms))
    ends = f"the last spike is at {end_ms:g} ms"
    if end_ms < _FEWEST_STEPS * dt_ms:
        unit = likely_unit(end_ms, 500.0 * dt_ms, PER_MS, "ms") or "; a smaller DT_MS, or another TIME_UNIT, would do"
        raise ValueError(f"{ends}, within {_FEWEST_STEPS} steps of DT_MS={dt_ms:g}{unit} (or give TRIAL_MS)")
    if steps > _MOST_STEPS:
        unit = likely_unit(end_ms, 500.0 * dt_ms, PER_MS, "ms")
        raise ValueError(
            f"{ends}, which makes {steps} steps of DT_MS={dt_ms:g}; {_MOST_STEPS} are possible{unit} (or give TRIAL_MS)"
        )
    return steps * dt_ms


def _with_test(name: str, train: Part, test: Part | None, p: Mapping[str, Any], names: tuple[str, ...]) -> Dataset:
    """The data set, ``N_TEST`` samples of which test."""
    if test is None:
        rest, chosen = put_aside(train.labels, p["N_TEST"], p["TEST_DATA_SEED"])
        train, test = _chosen(train, rest), _chosen(train, chosen)
    elif p["N_TEST"] < len(test.labels):
        test = _chosen(test, put_aside(test.labels, p["N_TEST"], p["TEST_DATA_SEED"])[1])
    what = f"output{'s' * (p['NUM_CLASSES'] > 1)}" if targets.are_values(train.labels) else "classes"
    print(
        f"{name}: {len(train.labels)} samples to train and validate with, {len(test.labels)} to test with, "
        f"{p['NUM_INPUT']} channels, {p['NUM_CLASSES']} {what}, TRIAL_MS={p['TRIAL_MS']:g}"
    )
    return Dataset(name, train, test, p["NUM_INPUT"], p["NUM_CLASSES"], names)


def put_aside(labels: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the other samples, ascending, and of ``number`` that are drawn: of each class its share, where samples
    have one."""
    n = len(labels)
    order = stream(seed, "test").permutation(n)
    if targets.are_classes(labels):
        order = order[np.argsort(labels[order], kind="stable")]
    chosen = np.sort(order[((np.arange(number) + 0.5) * n / max(number, 1)).astype(np.int64)])
    return np.setdiff1d(np.arange(n), chosen), chosen


def _chosen(part: Part, indices: np.ndarray) -> Part:
    groups = None if part.speakers is None else part.speakers[indices]
    return Part(part.spikes.select(indices), part.labels[indices], groups)
