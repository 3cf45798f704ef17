"""MNIST: idx files, whole and broken; splits; a short training on files made here; the real ones where they are."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_MNIST
from eventprop.data import mnist
from simulator_MNIST import mnist_model
from tests.support.places import SHARED_DATA

SMALL: dict[str, Any] = {
    "N_TRAIN": 200,
    "N_VALIDATE": 60,
    "N_TEST": 40,
    "N_EPOCH": 2,
    "NUM_HIDDEN": 40,
    "MODEL_SEED": 2,
}
SMALL |= {"INPUT_HIDDEN_MEAN": 0.2, "TIMING": False, "LOSS_TYPE": "sum", "ETA": 0.01}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(folder: Path, n_train: int = 300, n_test: int = 60, compressed: bool = True) -> None:
    """Images of a bright bar whose place is the class, in the layout of the original files."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        labels = rng.integers(0, 10, n)
        images = rng.integers(0, 60, (n, 28, 28)) * (rng.random((n, 28, 28)) < 0.1)
        for image, label in zip(images, labels, strict=True):
            image[4:24, 3 + 2 * label : 5 + 2 * label] = rng.integers(180, 256, (20, 2))
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx(array)
            path = folder / f"{part}-{name}-ubyte{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(data, 1) if compressed else data)


def params(**change: Any) -> dict[str, Any]:
    return {**simulator_MNIST.p, "DATA_DIR": "data", **SMALL, **change}


@pytest.mark.parametrize("folder", ["data/MNIST", "data/MNIST/raw", "data"])
@pytest.mark.parametrize("compressed", [True, False])
def test_files_wherever_they_are(folder: str, compressed: bool) -> None:
    """Plain or compressed, where this program, torchvision or a user puts them."""
    write(Path(folder), 20, 10, compressed)
    data = mnist.load_mnist("data", 1.0, 20.0)
    assert (len(data.train.labels), len(data.test.labels), data.num_channels, data.num_classes) == (20, 10, 784, 10)


def test_spikes_of_an_image() -> None:
    """Channel 28 row + column; the step of the code; dark pixels are silent."""
    write(Path("data/MNIST"), 5, 5)
    image = mnist.read_idx(Path("data/MNIST/train-images-idx3-ubyte.gz"), 3)[3].ravel()
    steps, channels = mnist.load_mnist("data", 1.0, 20.0).train.spikes.sample(3)
    expected = {c: int(np.ceil((255 - g) / 255 * 16 + 2 - 1e-6)) for c, g in enumerate(image.tolist()) if g > 1}
    assert dict(zip(channels.tolist(), steps.tolist(), strict=True)) == expected


def test_training_validation_and_test() -> None:
    """Learns bars in two epochs; training and validation are apart and cover what was asked for; the test set is N_TEST
    of the file, whatever the order of training."""
    write(Path("data/MNIST"))
    p = params()
    mn = mnist_model(p)
    *_, correct, correct_eval = mn.train(p)
    assert correct > 0.4 and correct_eval > 0.5
    samples = mn.training_file(mn.p).indices
    assert sorted(samples.tolist()) == list(range(300))
    tested = mn.test(p).correct_eval
    assert tested > 0.5 and mn.test_file(mn.p).indices.size == 40
    other = mnist_model({**p, "TRAIN_DATA_SEED": 5})
    assert np.array_equal(other.test_file(other.p).indices, mn.test_file(mn.p).indices)
    assert not np.array_equal(other.training_file(other.p).indices, samples)
    assert mn.train_test({**p, "N_TRAIN": 300, "N_VALIDATE": 0, "N_EPOCH": 1}).correct_eval > 0.3
    assert np.allclose(mn.spike_time_from_gray(np.array([255])), [2.0])


def test_shuffle_off_trains_on_the_right_labels() -> None:
    """The reference trains on label 0 for all samples where SHUFFLE is off."""
    write(Path("data/MNIST"))
    mn = mnist_model(params(SHUFFLE=False))
    assert mn.train(params(SHUFFLE=False)).correct > 0.4


def test_classes_left_out() -> None:
    """The reference crashes; here labels keep their numbers, in all parts."""
    write(Path("data/MNIST"))
    p = params(REDUCED_CLASSES=[3, 7], N_TRAIN=30, N_VALIDATE=10, N_TEST=5)
    mn = mnist_model(p)
    mn.train(p)
    assert mn.evaluated is not None and set(mn.evaluated[1].labels.tolist()) <= {3, 7}
    assert set(mn.test_file(mn.p).labels.tolist()) <= {3, 7}
    with pytest.raises(ValueError, match=r"REDUCED_CLASSES has \[12\]"):
        mnist_model(params(REDUCED_CLASSES=[12])).train(params(REDUCED_CLASSES=[12]))


def break_file(path: Path, how: str) -> None:
    data = gzip.decompress(path.read_bytes())
    if how == "not compressed":
        path.write_bytes(b"nonsense" + data)
        return
    if how == "cut while compressed":
        path.write_bytes(path.read_bytes()[:-200])
        return
    changed = {
        "magic": b"\x00\x00\x08\x01" + data[4:] if data[3] == 3 else b"\x00\x00\x08\x03" + data[4:],
        "cut": data[:-5],
        "long": data + b"x",
        "empty": b"",
    }[how]
    path.write_bytes(gzip.compress(changed))


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("how", ["not compressed", "cut while compressed", "magic", "cut", "long", "empty"])
def test_broken_files(name: str, how: str) -> None:
    """Each is named, with what is wrong; nothing is written."""
    write(Path("data/MNIST"))
    break_file(Path("data/MNIST") / name, how)
    with pytest.raises(ValueError, match=rf"{name} .*delete it and get it again"):
        mnist_model(params())
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_files_that_do_not_fit_each_other() -> None:
    write(Path("data/MNIST"))
    path = Path("data/MNIST/train-labels-idx1-ubyte.gz")
    path.write_bytes(gzip.compress(idx(np.zeros(299))))
    with pytest.raises(ValueError, match=r"300 images, but .*train-labels-idx1-ubyte.gz has 299 labels"):
        mnist_model(params())
    path.write_bytes(gzip.compress(idx(np.full(300, 10))))
    with pytest.raises(ValueError, match="label 10 of image 0 is not one of 0 to 9"):
        mnist_model(params())
    Path("data/MNIST/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((300, 20, 28)))))
    with pytest.raises(ValueError, match="images of 20 x 28 pixels, not 28 x 28"):
        mnist_model(params())


def test_files_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tonic", None)
    with pytest.raises(
        FileNotFoundError, match=r"train-images-idx3-ubyte.gz is missing in data/MNIST; tonic.*https://"
    ):
        mnist_model(params())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"N_TRAIN": 290, "N_VALIDATE": 60}, "N_TRAIN=290 and N_VALIDATE=60 need 350 samples, but there are 300"),
        ({"N_TRAIN": 400, "N_VALIDATE": 0}, "N_TRAIN=400, but there are 300"),
    ],
)
def test_more_samples_than_there_are(change: dict[str, Any], message: str) -> None:
    write(Path("data/MNIST"))
    with pytest.raises(ValueError, match=message):
        mnist_model(params()).train(params(**change))
    with pytest.raises(ValueError, match="N_TEST=70, but there are 60"):
        mnist_model(params()).test(params(N_TEST=70))


@pytest.mark.skipif(not (SHARED_DATA / "MNIST").is_dir(), reason="the real files are not at hand")
def test_real_files() -> None:
    data = mnist.load_mnist(SHARED_DATA, 1.0, 20.0)
    assert (len(data.train.labels), len(data.test.labels)) == (60000, 10000)
    assert np.bincount(data.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
