"""MNIST (LeCun et al. 1998) from its original idx files, as spikes: the brighter a pixel, the earlier its spike."""

from __future__ import annotations

import functools
import gzip
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eventprop import files
from eventprop.data.dataset import Dataset, Part
from eventprop.data.download import BROKEN, fetch, kind_of
from eventprop.data.encoders import latency_ms, one_spike_each
from eventprop.data.images import Placement, placed
from eventprop.data.spikes import SpikeSet

__all__ = [
    "CLASSES",
    "CLASS_NAMES",
    "FILES",
    "SIDE",
    "files_of",
    "find",
    "in_other_places",
    "load_mnist",
    "read_idx",
    "read_part",
    "spike_times",
]

_GZIP = b"\x1f\x8b"
CLASSES, SIDE = 10, 28
CLASS_NAMES = tuple(str(digit) for digit in range(CLASSES))
_SERVER = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""The four files with the MD5 of their compressed form."""


def load_mnist(data_dir: str | Path, dt_ms: float, trial_ms: float, true_times: bool = False) -> Dataset:
    """The four files in ``<data_dir>/MNIST``, plain or compressed (.gz); tonic's tools download what is missing. Test
    images become spikes when they are asked for.

    Raises:
        FileNotFoundError: names the missing file and where to get it.
        ValueError: names the file and what is wrong in it.
    """
    by_grey = spike_times(np.arange(256), dt_ms, trial_ms, true_times).astype(np.float32)

    def encode(images: np.ndarray) -> SpikeSet:
        return one_spike_each(by_grey, dt_ms, trial_ms, true_times, images)

    train_images, labels = read_part(Path(data_dir), "train")
    test_images, test_labels = read_part(Path(data_dir), "t10k")
    train = Part(encode(train_images), labels, moved=in_other_places(data_dir, encode))
    return Dataset("MNIST", train, lambda: Part(encode(test_images), test_labels), SIDE * SIDE, CLASSES, CLASS_NAMES)


def in_other_places(
    data_dir: str | Path, encode: Callable[[np.ndarray], SpikeSet]
) -> Callable[[np.ndarray, Placement], SpikeSet]:
    """What makes spikes of some training images in other places (:attr:`eventprop.data.dataset.Part.moved`); the file
    is read when they are first asked for, and kept from then on."""

    @functools.cache
    def images() -> np.ndarray:
        return read_part(Path(data_dir), "train")[0]

    return lambda samples, where: encode(placed(images()[samples], where))


def spike_times(grey: np.ndarray, dt_ms: float, trial_ms: float, true_times: bool = False) -> np.ndarray:
    """Time (ms) of each pixel's spike by its grey level from 0 to 255; not a number for 0 and 1, which are silent."""
    grey = np.asarray(grey)
    return np.where(grey > 1, latency_ms((255.0 - grey) / 255.0, dt_ms, trial_ms, true_times), np.nan)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Array of bytes in an idx file (big-endian sizes behind a magic number), plain or compressed by gzip.

    Args:
        dimensions: how many the file must have: 3 for images, 1 for labels.

    Raises:
        ValueError: names the file and what is wrong: compression, magic number, size.
    """
    data = files.read_bytes(path)
    if data.startswith(_GZIP):  # whatever the name says
        try:
            data = gzip.decompress(data)
        except Exception as error:  # of the module, of zlib and of struct
            raise ValueError(f"{path} cannot be decompressed ({files.why(error)}); {BROKEN}") from None
    right = 0x800 + dimensions  # unsigned bytes
    magic = int.from_bytes(data[:4], "big")
    if len(data) < 4 or magic != right:
        what = f"begins with {magic:#010x} and not with {right:#010x}, the mark of such a file; {BROKEN}"
        raise ValueError(f"{path} {kind_of(data) or what}")
    head = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", data[4:head]) if len(data) >= head else ()
    if len(shape) != dimensions or len(data) != head + math.prod(shape):
        raise ValueError(f"{path} has {len(data)} bytes, but its head speaks of an array of shape {shape}; {BROKEN}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def read_part(data_dir: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, ``(n, 784)`` bytes, and labels, ``(n,)`` int32, of a pair of files that fit each other.

    Args:
        part: "train" or "t10k", which the names of the files begin with.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_mnist`.
    """
    paths = files_of(data_dir, part)
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if images.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{paths[0]} has images of {images.shape[1]} x {images.shape[2]} pixels, not {SIDE} x {SIDE}")
    if len(images) != len(labels) or not len(labels):
        raise ValueError(f"{paths[0]} has {len(images)} images, but {paths[1]} has {len(labels)} labels")
    if images.max(initial=0) <= 1:
        raise ValueError(f"{paths[0]}: no pixel is above 1, and so none spikes; grey levels must be 0 to 255")
    if labels.max() >= CLASSES:
        number = int(labels.argmax())
        raise ValueError(f"{paths[1]}: label {labels[number]} of image {number} is not one of 0 to {CLASSES - 1}")
    return images.reshape(len(images), -1), labels.astype(np.int32)


def files_of(data_dir: Path, part: str) -> tuple[Path, Path]:
    """Where images and labels of a part are, which are downloaded if they are missing.

    Raises:
        FileNotFoundError: as :func:`load_mnist`.
    """
    return _found(data_dir, f"{part}-images-idx3-ubyte"), _found(data_dir, f"{part}-labels-idx1-ubyte")


def find(data_dir: Path, name: str) -> Path | None:
    """The file, plain or compressed, wherever common programs put it; None where it is not."""
    for folder in (data_dir / "MNIST", data_dir / "MNIST" / "raw", data_dir / "smnist", data_dir):
        for candidate in (name, name.replace("-idx", ".idx")):
            for path in (folder / candidate, folder / f"{candidate}.gz"):
                if path.is_file():
                    return path
    return None


def _found(data_dir: Path, name: str) -> Path:
    """The file, downloaded if it is missing."""
    path = data_dir / "MNIST" / f"{name}.gz"
    url = _SERVER + path.name
    there = find(data_dir, name)
    if there is not None:
        return there
    why = fetch(
        data_dir,
        path,
        "tonic.download_utils",
        lambda tonic: tonic.download_url(url, str(path.parent), path.name, FILES[name]),
    )
    if why is None:
        return path
    raise FileNotFoundError(
        f"{path.name} is missing in {path.parent}; {why}. Get it from {url} and put it there, "
        "or set DATA_DIR to where it is"
    )
