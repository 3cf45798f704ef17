"""Sequential MNIST's codes against their rules, slowly, and its files."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import simulator_SMNIST
from eventprop.data import smnist
from eventprop.data.smnist import Code
from eventprop.parameters import smnist as smnist_parameters
from tests.simulators.test_smnist import CODE


def images_of_all_kinds() -> np.ndarray:
    """Random, blank, white, dark to bright, strokes, one white pixel at either end."""
    rng = np.random.default_rng(3)
    kinds = [rng.integers(0, 256, 784), np.zeros(784), np.full(784, 255), np.arange(784) // 4, np.zeros(784)]
    kinds += [rng.integers(250, 256, 784), np.where(rng.random(784) < 0.1, 255, 0), np.zeros(784), np.full(784, 254)]
    kinds[4][0] = kinds[7][783] = 255
    return np.array(kinds, np.uint8)


def by_the_rule(image: np.ndarray, num_neurons: int, duplicate: bool) -> list[tuple[int, int]]:
    """(step, neuron) of all spikes, as tonic's rule says it, pixel by pixel and threshold by threshold."""
    half = num_neurons // 2
    levels = [int(254 * k / (half - 1)) for k in range(half)]
    grey, found = [int(g) for g in image], []
    for i in range(784):
        if grey[i] == 255:
            found.append((i, 0))
        for k, level in enumerate(levels):
            if i < 783 and grey[i] < level <= grey[i + 1]:
                found.append((i, num_neurons - k))
            if i < 783 and grey[i] >= level > grey[i + 1]:
                found.append((i, num_neurons - half - k))
    if duplicate:
        found = [(2 * i + copy, neuron) for i, neuron in found for copy in (0, 1)]
    return sorted(found)


def spikes_of(image: np.ndarray, code: Code, dt_ms: float = 1.0, trial_ms: float = 1600.0) -> list[tuple[int, int]]:
    steps, channels = smnist.encode(image.reshape(1, 784), code, dt_ms, trial_ms).sample(0)
    return list(zip(steps.tolist(), channels.tolist(), strict=True))


@pytest.mark.parametrize("num_neurons", [79, 99])
@pytest.mark.parametrize("duplicate", [True, False])
def test_thresholds_by_the_rule(num_neurons: int, duplicate: bool) -> None:
    """Each spike at its step, on its neuron; sorted, though copies of a spike lie between others'."""
    code = Code("thresholds", num_neurons, duplicate, 2.0 if duplicate else 1.0)
    images = images_of_all_kinds()
    together = smnist.encode(images, code, 1.0, 1600.0)
    for number, image in enumerate(images):
        steps, channels = together.sample(number)
        assert list(zip(steps.tolist(), channels.tolist(), strict=True)) == by_the_rule(image, num_neurons, duplicate)
    silent = {1, num_neurons - num_neurons // 2, num_neurons}  # the threshold 0 is never crossed, and 1 is not used
    assert not silent & set(together.channels.tolist())
    assert together.num_channels == num_neurons and together.channels.max() < num_neurons


def test_the_published_thresholds() -> None:
    levels = smnist.thresholds(99)
    assert levels[:5].tolist() == [0, 5, 10, 15, 21] and levels[-3:].tolist() == [243, 248, 254]


def test_more_images_than_are_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are joined in order, blank images at their ends included."""
    images = images_of_all_kinds()
    for code in (CODE, Code("rows", 99, True, 2.0)):
        whole = smnist.encode(images, code, 1.0, 1600.0)
        with monkeypatch.context() as fewer:
            fewer.setattr(smnist, "_BLOCK", 2)
            parts = smnist.encode(images, code, 1.0, 1600.0)
        for name in ("offsets", "steps", "channels"):
            assert np.array_equal(getattr(parts, name), getattr(whole, name))
            assert getattr(parts, name).dtype == getattr(whole, name).dtype


def test_images_of_one_grey() -> None:
    """Only changes make spikes, except that white does at each pixel."""
    for grey in (0, 1, 128, 254):
        assert spikes_of(np.full(784, grey, np.uint8), CODE) == []
    white = np.full(784, 255, np.uint8)
    assert spikes_of(white, CODE) == [(step, 0) for step in range(1568)]
    assert len(spikes_of(white, Code("thresholds", 99, False, 2.0))) == 784


@pytest.mark.parametrize("encoding", ["thresholds", "rows"])
def test_the_last_pixel_is_presented(encoding: str) -> None:
    """The reference's trial of 1500 ms ends at pixel 750."""
    image = np.zeros(784, np.uint8)
    image[783] = 255 if encoding == "thresholds" else 2
    p = smnist_parameters.resolve_smnist({**simulator_SMNIST.p, "ENCODING": encoding, "TAU_SYN": 10.0})
    steps = [step for step, _ in spikes_of(image, smnist_parameters.code_of(p), p["DT_MS"], p["TRIAL_MS"])]
    assert max(steps) == 1567 and p["TRIAL_MS"] > 1568
    for dt_ms in (0.5, 1.0, 3.0, 7.0):  # the shortest trial without a warning has them all
        with pytest.warns(UserWarning, match="TRIAL_MS=21 is too short for an image: the last") as said:
            smnist_parameters.resolve_smnist({**p, "DT_MS": dt_ms, "TRIAL_MS": 21.0, "SPK_REC_STEPS": None})
        needed = float(str(said[-1].message).split("it takes ")[1])
        smnist_parameters.resolve_smnist({**p, "DT_MS": dt_ms, "TRIAL_MS": needed, "SPK_REC_STEPS": None})
        code = smnist_parameters.code_of(p)
        assert len({s for s, _ in spikes_of(image, code, dt_ms, needed)}) == len(
            {s for s, _ in spikes_of(image, code, dt_ms, 5000 * dt_ms)}
        )
        assert len(spikes_of(image, code, dt_ms, needed)) > len(spikes_of(image, code, dt_ms, needed - dt_ms))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"TRIAL_MS": 1500.0}, "the last 34 of 784 pixels are cut off; with PIXEL_MS=2 and DT_MS=1 it takes 1569"),
        ({"TRIAL_MS": 1568.0}, "the last pixel's latest spike is cut off"),
        ({"TRIAL_MS": 1568.0, "DUPLICATE": False}, ""),
        ({"TRIAL_MS": 1500.0, "ENCODING": "rows"}, "the last 2 of 28 rows are not shown whole"),
        ({"PIXEL_MS": 3.0}, "the last 250 of 784 pixels are cut off; with PIXEL_MS=3 and DT_MS=1 it takes 2352"),
    ],
)
def test_a_trial_that_is_too_short_is_a_warning(change: dict[str, Any], what: str) -> None:
    """The older program's trial of 1500 ms is taken as it is: how much of an image is lost is said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert smnist_parameters.resolve_smnist(change)["TRIAL_MS"] == change.get("TRIAL_MS", 1600.0)
    assert len(said) == bool(what) and what in "".join(str(w.message) for w in said)


def test_several_pixels_in_a_step() -> None:
    """Coarse steps have the spikes of the fine ones, those of one neuron in one step once."""
    image = images_of_all_kinds()[0]
    fine = {(step // 8, neuron) for step, neuron in spikes_of(image, CODE)}
    assert spikes_of(image, CODE, 8.0) == sorted(fine)


def test_permutation_of_pixels() -> None:
    """The same bijection always, another for another seed; None is row by row."""
    order = smnist.pixel_order(7)
    assert sorted(order.tolist()) == list(range(784)) and np.array_equal(order, smnist.pixel_order(7))
    assert order[:4].tolist() == [232, 264, 114, 286]  # what a trained network was trained on must stay
    assert not np.array_equal(order, smnist.pixel_order(8))
    assert np.array_equal(smnist.pixel_order(None), np.arange(784))
    for encoding in ("thresholds", "rows"):
        code, permuted = (Code(encoding, 99, True, 2.0, seed) for seed in (None, 7))
        image = images_of_all_kinds()[0]
        assert spikes_of(image, permuted) == spikes_of(image[order], code) != spikes_of(image, code)


def test_rows_hold_the_image() -> None:
    """With 256 steps in a row's time the image can be read from the spikes, but for 0 and 1, which are both silent."""
    images = images_of_all_kinds()
    spikes = smnist.encode(images, Code("rows", 99, True, 2.0), 56 / 256, 7200 * 56 / 256)
    assert spikes.num_channels == 28
    for number, image in enumerate(images):
        steps, channels = (a.astype(int) for a in spikes.sample(number))
        read = np.zeros((28, 28), int)
        read[steps // 256, channels] = 255 - steps % 256
        assert np.array_equal(read.ravel(), np.where(image > 1, image, 0))
