"""Augmentations against slow versions written apart from them, and what an epoch presents."""

from __future__ import annotations

import cmath
import itertools
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.data.augmentation import blend, dilate, gain, jitter, rotate, shift, thin, zoom
from eventprop.data.dataset import Part
from eventprop.data.presentation import Preparation, SampleSettings
from eventprop.data.spikes import SpikeSet
from eventprop.data.splits import Subset, everything
from simulator_SHD import SHD_model

CHANNELS, STEPS = 30, 50


def spikes(samples: int = 40, seed: int = 0, channels: int = CHANNELS, steps: int = STEPS) -> SpikeSet:
    """Samples of 0 to 60 spikes; the first has none, one fires on the last channel."""
    rng = np.random.default_rng(seed)
    cells = [
        np.sort(rng.choice(channels * (steps - 1), n, replace=False)) for n in [0, *rng.integers(1, 60, samples - 1)]
    ]
    cells[1] = np.unique(np.append(cells[1], 3 * channels + channels - 1))
    flat = np.concatenate(cells)
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in cells])])
    of_step, channel = np.divmod(flat, channels)
    return SpikeSet(offsets, of_step.astype(np.uint16), channel.astype(np.uint16), channels, steps)


def pairs(data: SpikeSet, sample: int) -> list[tuple[int, int]]:
    steps, channels = data.sample(sample)
    return list(zip(steps.tolist(), channels.tolist(), strict=True))


def check_order(data: SpikeSet, samples: int) -> None:
    """What the engine relies on: types, ascending steps and channels, each once, nothing outside."""
    assert len(data) == samples and data.offsets.dtype == np.int64
    assert data.steps.dtype == data.channels.dtype == np.uint16
    assert data.offsets[-1] == data.steps.size == data.channels.size
    for i in range(samples):
        found = pairs(data, i)
        assert found == sorted(set(found))
        assert all(0 <= s < STEPS - 1 and 0 <= c < CHANNELS for s, c in found)


def test_shift_moves_each_sample_by_one_whole_number() -> None:
    data = spikes()
    found = shift(data, 7.5, np.random.default_rng(1))
    check_order(found, 40)
    by = np.trunc(np.random.default_rng(1).uniform(-7.5, 7.5, 40)).astype(int)
    assert by.min() < -4 and by.max() > 4 and (by == 0).any()
    for i in range(40):
        assert pairs(found, i) == [(s, c + by[i]) for s, c in pairs(data, i) if 0 <= c + by[i] < CHANNELS]


def test_a_shift_over_all_channels_leaves_nothing_wrapped_around() -> None:
    found = shift(spikes(), 29.9, np.random.default_rng(3))
    check_order(found, 40)


def test_dilation_multiplies_times_and_sorts_again() -> None:
    data = spikes()
    found = dilate(data, [0.5, 2.0], np.random.default_rng(1))
    check_order(found, 40)
    factor = np.exp(np.random.default_rng(1).uniform(np.log(0.5), np.log(2.0), 40)).astype(np.float32)
    for i in range(40):
        moved = {(int((s + 0.5) * factor[i]), c) for s, c in pairs(data, i)}
        assert pairs(found, i) == sorted((s, c) for s, c in moved if s < STEPS - 1)


def test_dilation_by_one_changes_nothing() -> None:
    data = spikes()
    found = dilate(data, [1.0, 1.0], np.random.default_rng(1))
    assert all(pairs(found, i) == pairs(data, i) for i in range(40))


def test_jitter_moves_each_spike_by_itself() -> None:
    data = spikes()
    found = jitter(data, 2.0, np.random.default_rng(1))
    check_order(found, 40)
    by = np.rint(np.float32(2.0) * np.random.default_rng(1).standard_normal(data.steps.size, np.float32)).astype(int)
    for i in range(40):
        at = range(data.offsets[i], data.offsets[i + 1])
        moved = {(int(data.steps[k]), int(data.channels[k]) + by[k]) for k in at}
        assert pairs(found, i) == sorted((s, c) for s, c in moved if 0 <= c < CHANNELS)


def test_thinning_leaves_about_the_number_and_short_samples_whole() -> None:
    data = spikes(400)
    found = thin(data, 20, np.random.default_rng(1))
    check_order(found, 400)
    before, after = np.diff(data.offsets), np.diff(found.offsets)
    assert (after[before <= 20] == before[before <= 20]).all()
    long = before > 40
    assert abs(after[long].mean() - 20) < 4 * after[long].std() / np.sqrt(long.sum()) and after[long].std() > 1


def test_blend_centres_thins_and_joins() -> None:
    """With probabilities of 1 all spikes of both are there, each sample moved so that the means meet."""
    data = spikes(40)
    found = blend(data, [1.0, 1.0], np.random.default_rng(1))
    check_order(found, 20)
    for i in range(20):
        both = [np.array(pairs(data, 2 * i + k)).reshape(-1, 2) for k in range(2)]
        there = [b for b in both if len(b)]
        centre = np.mean([b.mean(axis=0) for b in there], axis=0)
        moved = np.concatenate([b + np.trunc(centre - b.mean(axis=0)).astype(int) for b in there])
        inside = (moved >= 0).all(axis=1) & (moved < [STEPS - 1, CHANNELS]).all(axis=1)
        assert pairs(found, i) == sorted(set(map(tuple, moved[inside].tolist())))


def test_blend_keeps_spikes_with_their_probabilities() -> None:
    data = spikes(2000)
    only_first = blend(data, [1.0, 0.0], np.random.default_rng(1))
    halves = blend(data, [0.5, 0.5], np.random.default_rng(1))
    assert 0.4 < np.diff(only_first.offsets).sum() / data.steps.size < 0.51
    assert 0.4 < np.diff(halves.offsets).sum() / data.steps.size < 0.51


def test_samples_too_large_for_32_bits_of_key() -> None:
    data = spikes(300, channels=60000, steps=60000)
    found = dilate(data, [1.0, 1.0], np.random.default_rng(1))
    assert (found.steps == data.steps).all() and (found.channels == data.channels).all()
    assert (found.offsets == data.offsets).all()


def subset(samples: int = 40) -> Subset:
    data = spikes(samples)
    return everything(Part(data, np.arange(samples, dtype=np.int32) % 3))


def prepared(augmentation: dict[str, Any], samples: int = 40, **more: Any) -> tuple[Preparation, Subset]:
    training = subset(samples)
    settings = SampleSettings(5, samples, True, augmentation)
    return Preparation(replace(settings, **more), training), training


def shown(how: Preparation, training: Subset, epoch: int = 0, size: int = 8) -> list[list[tuple[int, int]]]:
    batches = list(how.training(training, epoch).batches(size))
    assert [b.first for b in batches] == list(range(0, how.size(training, learn=True), size))
    return list(itertools.chain(*([pairs(b.spikes, int(i)) for i in b.samples] for b in batches)))


def test_without_augmentation_nothing_is_copied() -> None:
    how, training = prepared({})
    for batch in how.training(training, 0).batches(8):
        assert batch.spikes is training.part.spikes


KINDS = [{"random_shift": 5.0}, {"random_gain": [3, 1.0]}, {"ID_jitter": 1.0}, {"random_dilate": [0.8, 1.2]}]


@pytest.mark.parametrize("kind", KINDS)
def test_each_epoch_draws_anew_and_the_same_epoch_alike(kind: dict[str, Any]) -> None:
    how, training = prepared(kind, shuffle=False)
    first, again, later = shown(how, training), shown(how, training), shown(how, training, 1)
    assert first == again != later


def test_a_second_augmentation_does_not_shift_the_first_ones_stream() -> None:
    how, training = prepared({"random_shift": 5.0}, shuffle=False)
    both, _ = prepared({"random_shift": 5.0, "random_dilate": [1.0, 1.0]}, shuffle=False)
    assert shown(how, training) == shown(both, training)


def test_only_training_is_augmented() -> None:
    how, training = prepared({"random_shift": 5.0, "blend": [0.5, 0.5]}, n_train=60)
    for batch in how.evaluation(training, 0).batches(8):
        assert batch.spikes is training.part.spikes
    assert len(how.evaluation(training, 0)) == 40


def test_blends_extend_the_set_to_n_train_with_labels_of_their_class() -> None:
    """The defect of the older program: with N_TRAIN no larger than the set, trial counts and data disagreed."""
    how, training = prepared({"blend": [1.0, 1.0]}, n_train=100)
    epoch = how.training(training, 0)
    assert len(epoch) == how.size(training, learn=True) == 100
    labels = np.concatenate([b.labels for b in epoch.batches(8)])
    assert (labels == epoch.labels).all() and len(labels) == 100
    few, _ = prepared({"blend": [1.0, 1.0]}, n_train=10)
    assert len(few.training(training, 0)) == few.size(training, learn=True) == 40
    # every class fires on channels of its own, so a blend shows what it was made of
    data = training.part.spikes
    of_class = np.repeat(training.labels, np.diff(data.offsets)).astype(np.uint16)
    own = SpikeSet(data.offsets, data.steps, of_class * 10, CHANNELS, STEPS)
    marked = everything(Part(own, training.labels))
    for batch in how.training(marked, 0).batches(8):
        for i, label in zip(batch.samples, batch.labels, strict=True):
            assert {c for _, c in pairs(batch.spikes, int(i))} <= {label * 10}


def test_blend_and_shift_in_either_order_present_all_originals() -> None:
    how, training = prepared({"blend": [0.5, 0.5], "random_shift": 0.0}, n_train=70, shuffle=False)
    other, _ = prepared({"random_shift": 0.0, "blend": [0.5, 0.5]}, n_train=70, shuffle=False)
    originals = [pairs(training.part.spikes, i) for i in range(40)]
    assert shown(how, training)[:40] == shown(other, training)[:40] == originals
    shuffled, _ = prepared({"blend": [0.5, 0.5]}, n_train=70)
    there = shown(shuffled, training)
    assert len(there) == 70 and all(sample in there for sample in originals)


def test_balancing_takes_as_many_of_each_class_that_is_there() -> None:
    """The older program took the minimum over all classes, absent ones too, and got an empty set."""
    training = subset()
    some = Subset(training.part, np.setdiff1d(np.flatnonzero(training.labels != 1), [0, 3, 6, 9]))
    settings = SampleSettings(5, 40, True, balance_train_classes=True, balance_eval_classes=True)
    how = Preparation(settings, some)
    for shown_, learn in ((how.training(some, 0), True), (how.evaluation(some, 0), False)):
        counts = np.bincount(shown_.labels)
        least = np.bincount(some.labels)[[0, 2]].min()
        assert counts.tolist() == [least, 0, least] and len(shown_) == how.size(some, learn=learn)
    assert set(how.training(some, 0).subset.indices) != set(how.training(some, 1).subset.indices)
    assert set(how.training(some, 0).subset.indices) <= set(some.indices)


def test_spike_numbers_are_normalised_in_evaluation_too() -> None:
    training = subset()
    training = Subset(training.part, training.indices[1:])
    how = Preparation(SampleSettings(5, 40, True, {"NORMALISE_SPIKE_NUMBER": True}), training)
    least = np.diff(training.part.spikes.offsets)[1:].min()
    for epoch in (how.training(training, 0), how.evaluation(training, 0)):
        lengths = [len(b.spikes.sample(int(i))[0]) for b in epoch.batches(8) for i in b.samples]
        assert abs(np.mean(lengths) - least) < 1.5 and max(lengths) > least


def test_a_training_sample_without_spikes_cannot_be_the_shortest() -> None:
    with pytest.raises(ValueError, match=r'AUGMENTATION=\{"NORMALISE_SPIKE_NUMBER": True\} .* sample 0 .* has none'):
        prepared({"NORMALISE_SPIKE_NUMBER": True})


# Whole runs


@pytest.fixture
def p(small_data: Path) -> dict[str, Any]:
    own = {"DATA_DIR": str(small_data), "OUT_DIR": "out", "TRIAL_MS": 700.0, "DT_MS": 5.0, "NUM_HIDDEN": 40}
    own |= {"N_TRAIN": 60, "N_VALIDATE": 20, "N_BATCH": 16, "N_EPOCH": 3, "MODEL_SEED": 3, "RECURRENT": True}
    return {**simulator_SHD.p, **own, "INPUT_HIDDEN_MEAN": 0.05, "HIDDEN_HIDDEN_STD": 0.02}


def test_gain_is_what_its_logarithm_says() -> None:
    """The gain of each sample, found again in how many spikes there are: at its channels, between them, and on average.

    A spike a step far from others, so that no copy falls on another one's place."""
    n, channels, steps = 200, 300, 401
    each = np.arange(1, steps - 2, 4)
    data = SpikeSet(
        np.arange(n + 1) * each.size,
        np.tile(each, n).astype(np.uint16),
        np.tile(np.linspace(0, channels - 1, each.size).astype(np.uint16), n),
        channels,
        steps,
    )
    found = gain(data, [3, 0.8], np.random.default_rng(5))
    logs = np.random.default_rng(5).normal(-0.32, 0.8, (n, 3))
    for at, expected in ((0, logs[:, 0]), (0.5, logs[:, 1]), (0.25, logs[:, :2].mean(axis=1)), (1, logs[:, 2])):
        near = np.abs(each - each[round(at * (each.size - 1))]) <= 16
        band = each[near].min() - 1, each[near].max() + 1
        number = [np.sum((found.sample(i)[0] >= band[0]) & (found.sample(i)[0] <= band[1])) for i in range(n)]
        assert np.corrcoef(number, np.exp(expected))[0, 1] > 0.9
        assert np.mean(number) == pytest.approx(np.exp(expected).mean() * near.sum(), rel=0.15)
    assert gain(data, [2, 0.0], np.random.default_rng(1)).arrays["steps"].tolist() == data.steps.tolist()


def test_copies_of_a_spike_lie_around_it() -> None:
    """One of them stays; the others are a step and a seventieth of the channels away, with a normal distribution."""
    data = SpikeSet(np.arange(501), np.full(500, 200, np.uint16), np.full(500, 350, np.uint16), 700, 401)
    found = gain(data, [2, 1.5], np.random.default_rng(2))
    lengths = np.diff(found.offsets)
    assert lengths.max() > 5 and (lengths == 0).any()
    own = [(200, 350) in pairs(found, i) for i in range(500) if lengths[i]]
    assert all(own)
    others = np.array([p for i in range(500) for p in pairs(found, i) if p != (200, 350)]) - [200, 350]
    assert np.std(others, axis=0) == pytest.approx([1.0, 10.0], rel=0.15)
    assert np.abs(others.mean(axis=0) / [1.0, 10.0]).max() < 0.2


def test_gain_of_true_times_keeps_them_within_their_steps() -> None:
    data = SpikeSet(np.array([0, 3]), *(np.array(v, np.uint16) for v in ([5, 6, 7], [1, 2, 3])), 30, 50)
    timed = data.remade(data.offsets, {**data.arrays, "at": np.array([0.25, 0.5, 0.75], np.float32)})
    for seed in range(20):
        found = gain(timed, [2, 2.0], np.random.default_rng(seed))
        assert found.at is not None and set(found.at.tolist()) <= {0.25, 0.5, 0.75}


ALL = {
    "random_gain": [4, 1.0],
    "random_shift": 20.0,
    "blend": [0.5, 0.5],
    "random_dilate": [0.9, 1.1],
    "ID_jitter": 2.0,
}


def test_a_resumed_run_is_augmented_as_one_that_was_never_stopped(p: dict[str, Any]) -> None:
    p |= {"AUGMENTATION": {**ALL, "NORMALISE_SPIKE_NUMBER": True}, "N_TRAIN": 130, "BALANCE_TRAIN_CLASSES": True}
    whole, halves = SHD_model(p), SHD_model({**p, "NAME": "halves"})
    whole.train(p)
    halves.train({**p, "NAME": "halves", "N_EPOCH": 1})
    halves.train({**p, "NAME": "halves", "LOAD_LAST": True})
    for name, w in whole.weights().items():
        assert w.tobytes() == halves.weights()[name].tobytes()


def test_every_way_through_the_simulator_takes_augmentation(p: dict[str, Any]) -> None:
    """train by random split and by speaker, train_test, cross-validation and test; trials are counted as presented."""
    p |= {"AUGMENTATION": {"random_shift": 20.0, "blend": [0.5, 0.5]}, "N_TRAIN": 150, "N_EPOCH": 1}
    p |= {"REC_PREDICTIONS": True, "WRITE_TO_DISK": False, "BALANCE_EVAL_CLASSES": True}
    for mode, change in (
        (SHD_model.train, {}),
        (SHD_model.train, {"EVALUATION": "speaker"}),
        (SHD_model.train_test, {}),
    ):
        mn = SHD_model({**p, **change})
        mode(mn, {**p, **change})
        assert mn.collected["labels_train"].shape == (1, 150)
        subset, outcome = mn.evaluated
        assert (subset.labels == outcome.labels).all()
        counts = np.bincount(outcome.labels)
        assert set(counts[counts > 0]) == {counts.max()}
        mn.test({**p, **change})
    accuracies, _ = SHD_model(p).cross_validate_SHD({**p, "SPEAKER_LEFT": [0, 1]})
    assert len(accuracies) == 2


BAD = [
    ({"random_shfit": 1.0}, r"AUGMENTATION has 'random_shfit'; there are: .*; did you mean random_shift\?"),
    ({"random_shift": 700}, "random_shift.* from 0 to one less than the 700"),
    ({"random_shift": -1}, "random_shift"),
    ({"random_shift": "40"}, "random_shift"),
    ({"random_shift": True}, "random_shift"),
    ({"random_gain": 0.9}, "random_gain.*knots, s.d.*from 2 to 700"),
    ({"random_gain": [1, 0.9]}, "a whole number from 2"),
    ({"random_gain": [2.0, 0.9]}, "a whole number from 2"),
    ({"random_gain": [2, -0.1]}, "from 0 to 3"),
    ({"random_dilate": 0.9}, "random_dilate.*least and the largest factor"),
    ({"random_dilate": [1.1, 0.9]}, "the smaller one first"),
    ({"random_dilate": [0, 1]}, "both positive"),
    ({"random_dilate": [0.5, float("inf")]}, "random_dilate"),
    ({"ID_jitter": -1.0}, "ID_jitter"),
    ({"ID_jitter": float("nan")}, "ID_jitter"),
    ({"blend": 0.5}, "blend.*a list of probabilities"),
    ({"blend": []}, "blend"),
    ({"blend": [0.5, 1.5]}, "probabilities from 0 to 1"),
    ({"NORMALISE_SPIKE_NUMBER": 1}, "NORMALISE_SPIKE_NUMBER.*True or False"),
]


@pytest.mark.parametrize(("augmentation", "message"), BAD, ids=[str(a) for a, _ in BAD])
def test_wrong_augmentations_are_refused_before_data_is_loaded(augmentation: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SHD_model({**simulator_SHD.p, "DATA_DIR": "nowhere", "AUGMENTATION": augmentation})
    assert os.listdir() == []


def test_turns_and_zooms_take_each_event_to_the_nearest_cell() -> None:
    """About the middle of the square, event by event; polarity and time stay; what leaves is gone."""
    side, rng = 9, np.random.default_rng(4)
    flat = np.sort(rng.choice(2 * side**2 * 20, 400, replace=False))
    steps, channels = (part.astype(np.uint16) for part in np.divmod(flat, 2 * side**2))
    data = SpikeSet(np.array([0, 100, 100, 400]), steps, channels, 2 * side**2, 21)
    for change, value in ((rotate, 60.0), (zoom, [0.5, 1.9])):
        found = change(data, value, np.random.default_rng(0))
        draws = np.random.default_rng(0)
        numbers = draws.uniform(-60, 60, 3) if change is rotate else np.exp(draws.uniform(np.log(0.5), np.log(1.9), 3))
        assert numbers.min() < 0.8 and numbers.max() > 1.1 and (change is zoom or numbers.min() < -10.0)
        for i, number in enumerate(numbers):
            expected = set()
            for step, channel in pairs(data, i):
                place = complex(channel // 2 % side - 4, channel // 2 // side - 4)
                place *= cmath.rect(1.0, math.radians(number)) if change is rotate else number
                x, y = round(place.real) + 4, round(place.imag) + 4
                if 0 <= x < side and 0 <= y < side:
                    expected.add((step, 2 * (side * y + x) + channel % 2))
            assert pairs(found, i) == sorted(expected)
    whole = zoom(rotate(data, 0.0, rng), [1.0, 1.0], rng)
    assert all(pairs(whole, i) == pairs(data, i) for i in range(3))
