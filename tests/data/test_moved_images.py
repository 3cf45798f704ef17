"""Images that are moved, turned and zoomed before a training batch: MNIST and sequential MNIST."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from eventprop.data import mnist, presentation, smnist
from eventprop.data.augmentation import angles, factors, moves
from eventprop.data.images import Placement, placed
from eventprop.data.presentation import Preparation, SampleSettings
from eventprop.data.spikes import SpikeSet
from eventprop.data.splits import Subset
from eventprop.parameters.smnist import code_of
from eventprop.streams import stream
from simulator_MNIST import mnist_model
from simulator_SMNIST import SMNIST_model
from tests.simulators import test_mnist, test_smnist


def same(a: SpikeSet, b: SpikeSet) -> bool:
    return np.array_equal(a.offsets, b.offsets) and all(np.array_equal(a.arrays[n], b.arrays[n]) for n in b.arrays)


def simulator(kind: str) -> tuple[Any, Callable[[np.ndarray], SpikeSet]]:
    """A simulator of 40 images, and how they become spikes."""
    test_mnist.write(Path("data/MNIST"), 40, 4)
    if kind in ("MNIST", "true times"):
        times = {"SPIKE_TIMING": "exact", "INPUT_TIMES": "true", "LOSS_TYPE": "sum"} if kind == "true times" else {}
        mn: Any = mnist_model({**test_mnist.params(), **times})
        by_grey = mn.spike_time_from_gray(np.arange(256)).astype(np.float32)

        def encode(moved: np.ndarray) -> SpikeSet:
            return mnist.one_spike_each(by_grey[moved], mn.p["DT_MS"], mn.p["TRIAL_MS"], bool(times))

    else:
        own: dict[str, Any] = {"ENCODING": "rows"} if kind == "rows" else {"PERMUTE": 3 if kind == "permuted" else None}
        mn = SMNIST_model(test_smnist.params(**own))

        def encode(moved: np.ndarray) -> SpikeSet:
            return smnist.encode(moved, code_of(mn.p), mn.p["DT_MS"], mn.p["TRIAL_MS"])

    return mn, encode


KINDS = pytest.mark.parametrize("kind", ["MNIST", "true times", "rows", "thresholds", "permuted"])


@KINDS
def test_images_are_moved_as_images(kind: str) -> None:
    """A training batch is the spikes of its images, moved by whole pixels, what leaves gone and nothing new; the moves
    are anew in each epoch, and evaluation sees none. Fails, too, if how many batches are made together shows."""
    mn, encode = simulator(kind)
    images = mnist.read_part(Path("data"), "train")[0]
    subset = Subset(mn.data.train, np.arange(2, 40))
    how = Preparation(SampleSettings(5, 38, True, {"random_shift_xy": 12}), subset)
    found = []
    for epoch in (0, 1):
        for number, batch in enumerate(how.training(subset, epoch).batches(16)):
            order = stream(5, "shuffle", epoch).permutation(38)[16 * number : 16 * number + 16]
            by = moves(order.size, 12, stream(5, "random_shift_xy", "training", epoch, number))
            assert number or (by.min() < -9 and by.max() > 9)
            framed = np.pad(images[subset.indices[order]].reshape(-1, 28, 28), ((0, 0), (12, 12), (12, 12)))
            expected = [f[12 - y : 40 - y, 12 - x : 40 - x].ravel() for f, (x, y) in zip(framed, by, strict=True)]
            assert same(batch.spikes.select(batch.samples), encode(np.array(expected)))
            assert np.array_equal(batch.labels, subset.labels[order])
            found.append(batch)
    assert len(found) == 6 and not same(*(b.spikes.select(b.samples) for b in (found[0], found[3])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presentation, "_TOGETHER", 1)
        alone = list(how.training(subset, 0).batches(16))
    for one, other in zip(alone, found, strict=False):
        assert same(one.spikes.select(one.samples), other.spikes.select(other.samples))
    shown = next(how.evaluation(subset, 0).batches(16))
    assert same(shown.spikes.select(shown.samples), encode(images[2:18]))


@KINDS
def test_images_are_turned_as_images(kind: str) -> None:
    """A training batch is the spikes of its images, moved, turned and zoomed at once, each by numbers of its own; and
    other changes follow. Fails, too, if how many batches are made together shows."""
    mn, encode = simulator(kind)
    images = mnist.read_part(Path("data"), "train")[0]
    subset = Subset(mn.data.train, np.arange(2, 40))
    changes = {"random_zoom": [0.7, 1.4], "random_shift_xy": 2, "random_rotate": 90.0}
    how = Preparation(SampleSettings(5, 38, False, changes), subset)
    for number, batch in enumerate(how.training(subset, 1).batches(16)):
        n = batch.labels.size

        def draws(name: str, number: int = number) -> np.random.Generator:
            return stream(5, name, "training", 1, number)

        where = Placement(
            moves(n, 2, draws("random_shift_xy")),
            angles(n, 90.0, draws("random_rotate")),
            factors(n, [0.7, 1.4], draws("random_zoom")),
        )
        assert where.angle is not None and (number or np.abs(where.angle).max() > 1.0)
        expected = encode(placed(images[2 + 16 * number : 18 + 16 * number], where))
        assert same(batch.spikes.select(batch.samples), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presentation, "_TOGETHER", 1)
        alone = list(how.training(subset, 1).batches(16))
    assert same(alone[-1].spikes.select(alone[-1].samples), expected)
    then = Preparation(SampleSettings(5, 38, False, {**changes, "random_dilate": [0.5, 0.5]}), subset)
    last = list(then.training(subset, 1).batches(16))[-1]
    earlier = last.spikes.select(last.samples)
    assert 0 < earlier.steps.size <= expected.steps.size
    assert set(earlier.channels) == set(expected.channels) and earlier.steps.max() <= expected.steps.max() // 2 + 1


@pytest.mark.parametrize("which", ["all", "turned", "zoomed"])
def test_turned_images_are_those_of_scipy(which: str) -> None:
    """Grey levels to half of one, of images moved, then turned from x to y, then zoomed, all about their middle."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (30, 784)).astype(np.uint8)
    by = rng.integers(-5, 6, (30, 2)) if which == "all" else np.zeros((30, 2), np.int64)
    angle = None if which == "zoomed" else rng.uniform(-np.pi, np.pi, 30)
    factor = None if which == "turned" else rng.uniform(0.5, 2.0, 30)
    found = placed(images, Placement(by, angle, factor)).reshape(-1, 28, 28)
    for i, image in enumerate(images.reshape(-1, 28, 28)):
        c, s = (1.0, 0.0) if angle is None else (np.cos(angle[i]), np.sin(angle[i]))
        forward = np.array([[c, s], [-s, c]]) * (1.0 if factor is None else factor[i])  # of (y, x)
        back, middle = np.linalg.inv(forward), np.full(2, 13.5)
        expected = affine_transform(
            image.astype(float), back, middle - back @ middle - by[i, ::-1], order=1, mode="grid-constant"
        )
        assert np.abs(found[i] - expected).max() < 0.51, i


def test_a_quarter_turn_of_an_image_is_exact() -> None:
    """From x to y, which points downwards: clockwise, as seen."""
    image = np.arange(784).reshape(28, 28) % 251
    turned = placed(image.reshape(1, -1).astype(np.uint8), Placement(np.zeros((1, 2), int), np.array([np.pi / 2])))
    assert np.array_equal(turned.reshape(28, 28), np.rot90(image, -1))


def test_training_sees_them_and_evaluation_does_not() -> None:
    """The same bits by any number of threads, and across a stop."""
    test_mnist.write(Path("data/MNIST"), 120, 20)
    p = test_mnist.params(N_TRAIN=64, N_VALIDATE=20, N_TEST=20, N_BATCH=16, OUT_DIR="out")
    runs = {}
    for name, augmentation in (("plain", {}), ("whole", {"random_shift_xy": 3})):
        change = {"NAME": name, "AUGMENTATION": augmentation}
        runs[name] = mnist_model({**p, **change})
        runs[name].train({**p, **change})
    weights = {name: mn.weights()["in_to_hid"] for name, mn in runs.items()}
    assert not np.array_equal(weights["plain"], weights["whole"])
    p |= {"AUGMENTATION": {"random_shift_xy": 3}, "NAME": "parts", "NUM_THREADS": 1}
    mnist_model(p).train({**p, "N_EPOCH": 1})
    mn = mnist_model(p)
    mn.train({**p, "LOAD_LAST": True})
    assert np.array_equal(mn.weights()["in_to_hid"], weights["whole"])
    tested = {mn.test({**p, "LOAD_LAST": True, "AUGMENTATION": a}).correct_eval for a in ({}, p["AUGMENTATION"])}
    assert len(tested) == 1


@pytest.mark.parametrize(
    ("model", "augmentation", "message"),
    [
        (mnist_model, {"random_shift": 3.0}, "moves channels along a line; random_shift_xy is for the cells"),
        (mnist_model, {"random_gain": [2, 1.0]}, "moves channels along a line"),
        (mnist_model, {"blend": [0.5, 0.5]}, "moves channels along a line"),
        (mnist_model, {"random_rotate": -1.0}, "it takes the largest angle in degrees"),
        (SMNIST_model, {"random_zoom": [1.2, 0.9]}, "the smaller one first"),
        (mnist_model, {"random_shift_xy": 28}, "it takes the largest shift in x and in y"),
        (SMNIST_model, {"random_shift_xy": 28}, "it takes the largest shift in x and in y"),
        (SMNIST_model, {"random_shift_xy": True}, "it takes the largest shift in x and in y"),
    ],
)
def test_what_images_do_not_take(model: Any, augmentation: dict[str, Any], message: str) -> None:
    """One error, before any file is looked for."""
    with pytest.raises(ValueError, match=message):
        model({**model.defaults(), "AUGMENTATION": augmentation})
