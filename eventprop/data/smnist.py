"""Sequential MNIST: an image's pixels one after the other, row by row, as spikes.

``thresholds`` is the code of tonic's SMNIST (Costa et al. 2017 and Bellec et al. 2018 present the digits so). With
``N`` neurons, ``H = N // 2`` thresholds ``theta_k`` are spread evenly over grey levels from 0 to 254. Between pixels i
and i + 1, neuron ``N - k`` spikes where the level rises to or above ``theta_k``, neuron ``N - H - k`` where it falls
below it; neuron 0 spikes at each pixel that is white (255). All at the time of pixel i.

``rows`` presents a row at a time: one neuron for each column, which spikes once within the row's time, the brighter
the pixel, the earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from eventprop import files
from eventprop.choice import meaning
from eventprop.data import mnist
from eventprop.data.dataset import Dataset, Part
from eventprop.data.kept_arrays import ArrayCache, Found, Source, write_streams
from eventprop.data.mnist import SIDE
from eventprop.data.spikes import SpikeSet, bin_events, joined
from eventprop.streams import stream

__all__ = [
    "PIXELS",
    "Code",
    "encode",
    "encoded",
    "load_smnist",
    "pixel_order",
    "row_events",
    "threshold_events",
    "thresholds",
]

PIXELS = SIDE * SIDE
_BLOCK = 500  # images worked on at a time
_LAYOUT = 1  # of what is kept, and of the codes; another number for another one
_WORTH_KEEPING = 1_000_000  # bytes of a file of images

Events = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Times (ms) and channels of all spikes, and how many each image has."""


@dataclass(frozen=True)
class Code:
    """How images become spikes.

    Attributes:
        encoding: "thresholds" or "rows".
        num_neurons: of thresholds, odd.
        duplicate: whether each spike of thresholds is repeated half a pixel later.
        pixel_ms: time of a pixel; a row takes 28 of them.
        permute: seed of a fixed order of pixels; None for row by row.
    """

    encoding: str
    num_neurons: int
    duplicate: bool
    pixel_ms: float
    permute: int | None = None

    def __post_init__(self) -> None:
        meaning("ENCODING", self.encoding, dict.fromkeys(("thresholds", "rows")))

    @property
    def num_channels(self) -> int:
        return SIDE if self.encoding == "rows" else self.num_neurons

    def last_ms(self) -> float:
        """Time of the latest spike that an image can have."""
        if self.encoding == "rows":
            return float(_row_times(self.pixel_ms)[SIDE - 1, 2])
        return (PIXELS - 1 + 0.5 * self.duplicate) * self.pixel_ms

    def events(self, images: np.ndarray) -> Events:
        if self.encoding == "rows":
            return row_events(images, self.pixel_ms)
        return threshold_events(images, self.num_neurons, self.duplicate, self.pixel_ms)


def load_smnist(
    data_dir: str | Path,
    code: Code,
    dt_ms: float,
    trial_ms: float,
    true_times: bool = False,
    cache: Path | None = None,
) -> Dataset:
    """MNIST's files (see :func:`eventprop.data.mnist.read_part`) as spikes; the test file's when they are asked for.

    Args:
        cache: prefix of the folders in which spikes are kept, so that images become spikes once for each code and
            grid; None to keep none, and all in memory. Those of image files below 1 MB are not kept.
    """
    kept = None if cache is None else ArrayCache(cache)
    grid = dt_ms, trial_ms, true_times

    def part(name: str) -> Callable[[], Part]:
        paths = mnist.files_of(Path(data_dir), name)
        if kept is None or paths[0].stat().st_size < _WORTH_KEEPING:
            images, labels = mnist.read_part(Path(data_dir), name)
            return lambda: Part(encode(images, code, *grid), labels)
        source = Source(paths[0].name, name, _key(paths, code, *grid))
        if (found := kept.find(source)) is not None:
            return lambda: _kept_part(found, code, *grid)
        return _keeping(kept, source, *mnist.read_part(Path(data_dir), name), code, *grid)

    moved = mnist.in_other_places(data_dir, lambda images: encode(images, code, *grid))
    train, test = part("train"), part("t10k")
    return Dataset(
        "SMNIST",
        replace(train(), moved=moved, on_cells=False),
        test,
        code.num_channels,
        mnist.CLASSES,
        mnist.CLASS_NAMES,
    )


def _key(paths: Sequence[Path], code: Code, dt_ms: float, trial_ms: float, true_times: bool) -> dict[str, Any]:
    """Everything that enters the spikes of files."""
    of_thresholds = {"num_neurons": code.num_neurons, "duplicate": code.duplicate}
    return {
        "layout": _LAYOUT,
        "files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths],
        "encoding": code.encoding,
        **(of_thresholds if code.encoding == "thresholds" else {}),
        "permute": code.permute,
        **{"pixel_ms": float(code.pixel_ms), "dt_ms": float(dt_ms), "trial_ms": float(trial_ms)},
        "true_times": true_times,
    }


def _keeping(
    kept: ArrayCache,
    source: Source,
    images: np.ndarray,
    labels: np.ndarray,
    code: Code,
    *grid: Any,
) -> Callable[[], Part]:
    """What makes a part of its images and keeps it, where that can be."""
    some = encode(images[:_BLOCK], code, *grid)
    size = sum(array.nbytes for array in some.arrays.values()) * len(images) // len(some)

    def fill(streams: Mapping[str, IO[bytes]]) -> tuple[np.ndarray, None]:
        lengths = [np.zeros(1, np.int64)]
        for part in encoded(images, code, *grid):
            for name, array in part.arrays.items():
                streams[name].write(array.data)
            lengths.append(np.diff(part.offsets))
        return np.cumsum(np.concatenate(lengths)), None

    def write(folder: Path) -> dict[str, Any]:
        write_streams(folder, {name: array.dtype.type for name, array in some.arrays.items()}, fill)
        files.write_array(folder / "labels.npy", labels)
        return {}

    def part() -> Part:
        found = kept.make(source, write, size)
        return Part(encode(images, code, *grid), labels) if found is None else _kept_part(found, code, *grid)

    return part


def _kept_part(found: Found, code: Code, dt_ms: float, trial_ms: float, true_times: bool) -> Part:
    arrays = found.arrays
    spikes = SpikeSet(
        arrays["offsets"],
        arrays["steps"],
        arrays["channels"],
        code.num_channels,
        round(trial_ms / dt_ms),
        arrays["at"] if true_times else None,
    )
    return Part(spikes, arrays["labels"])


def encode(images: np.ndarray, code: Code, dt_ms: float, trial_ms: float, true_times: bool = False) -> SpikeSet:
    """Images, ``(n, 784)`` bytes, as spikes on the grid, several of a channel in one step as one; or at true times."""
    return joined(encoded(images, code, dt_ms, trial_ms, true_times))


def encoded(
    images: np.ndarray, code: Code, dt_ms: float, trial_ms: float, true_times: bool = False
) -> Iterator[SpikeSet]:
    """As :func:`encode`, some images at a time."""
    order = pixel_order(code.permute)
    for first in range(0, len(images), _BLOCK):
        times, ids, counts = code.events(images[first : first + _BLOCK, order])
        bounds = np.concatenate([[0], np.cumsum(counts)])
        yield bin_events(times, ids, bounds, code.num_channels, dt_ms, trial_ms, true_times=true_times)


def pixel_order(seed: int | None) -> np.ndarray:
    """In which order pixels are presented, ``(784,)``: a fixed permutation of each seed, row by row for None."""
    return np.arange(PIXELS) if seed is None else stream(seed, "pixels").permutation(PIXELS)


def thresholds(num_neurons: int) -> np.ndarray:
    """Grey levels that the neurons watch, ``(num_neurons // 2,)``."""
    return np.linspace(0, 254, num_neurons // 2).astype(np.uint8)


def threshold_events(images: np.ndarray, num_neurons: int, duplicate: bool, pixel_ms: float) -> Events:
    """Changes of the grey level from one pixel to the next; see the equations at the top of this module.

    Args:
        images: ``(n, 784)`` bytes in the order of presentation.
    """
    reached = np.searchsorted(thresholds(num_neurons), np.arange(256), side="right")[images]  # (image, pixel)
    after = np.concatenate([reached[:, 1:], reached[:, -1:]], axis=1)
    white = images == 255
    total = np.abs(after - reached) + white
    image, pixel = np.nonzero(total)
    total, white = total[image, pixel], white[image, pixel]
    here, there = reached[image, pixel], after[image, pixel]
    highest = np.where(there > here, num_neurons, num_neurons - num_neurons // 2) - np.minimum(here, there)
    number = np.arange(total.sum()) - np.repeat(np.cumsum(total) - total, total)  # of the spike at its pixel
    touches = np.repeat(white, total)
    channels = np.where(touches & (number == 0), 0, np.repeat(highest, total) - number + touches)
    times = np.repeat(pixel * pixel_ms, total)
    counts = np.bincount(image, total, len(images)).astype(np.int64)
    if not duplicate:
        return times, channels, counts
    return (times[:, None] + [0.0, 0.5 * pixel_ms]).ravel(), np.repeat(channels, 2), 2 * counts


def row_events(images: np.ndarray, pixel_ms: float) -> Events:
    """One spike of each pixel that is not dark (0 and 1), in its row's time, the brighter the earlier.

    Args:
        images: ``(n, 784)`` bytes in the order of presentation.
    """
    image, pixel = np.nonzero(images > 1)
    times = _row_times(pixel_ms)[pixel // SIDE, images[image, pixel]]
    return times, pixel % SIDE, np.bincount(image, minlength=len(images))


def _row_times(pixel_ms: float) -> np.ndarray:
    """Spike times (ms) by row and grey level, ``(28, 256)``."""
    return (np.arange(SIDE)[:, None] + (255 - np.arange(256)) / 256) * (SIDE * pixel_ms)
