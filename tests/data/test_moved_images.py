"""Images that are moved in x and y before a training batch: MNIST and sequential MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.data import mnist, presentation, smnist
from eventprop.data.augmentation import moves
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


@pytest.mark.parametrize("kind", ["MNIST", "true times", "rows", "thresholds", "permuted"])
def test_images_are_moved_as_images(kind: str) -> None:
    """A training batch is the spikes of its images, moved by whole pixels, what leaves gone and nothing new; the moves
    are anew in each epoch, and evaluation sees none. Fails, too, if how many batches are made together shows."""
    test_mnist.write(Path("data/MNIST"), 40, 4)
    images = mnist.read_part(Path("data"), "train")[0]
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
        (mnist_model, {"random_shift_xy": 28}, "it takes the largest shift in x and in y"),
        (SMNIST_model, {"random_shift_xy": 28}, "it takes the largest shift in x and in y"),
        (SMNIST_model, {"random_shift_xy": True}, "it takes the largest shift in x and in y"),
    ],
)
def test_what_images_do_not_take(model: Any, augmentation: dict[str, Any], message: str) -> None:
    """One error, before any file is looked for."""
    with pytest.raises(ValueError, match=message):
        model({**model.defaults(), "AUGMENTATION": augmentation})
