"""Spike sets, SHD's files, DEMO, splits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eventprop.data import demo_digits as demo
from eventprop.data import shd, splits
from eventprop.data.dataset import Dataset, Part
from eventprop.data.spikes import SpikeSet, bin_events, from_samples
from tests.support.places import SHARED_DATA

REAL = SHARED_DATA / "fsdd_spikes"


def pairs(spikes: SpikeSet, i: int) -> list[tuple[int, int]]:
    steps, channels = spikes.sample(i)
    return list(zip(steps.tolist(), channels.tolist(), strict=True))


def test_binning_by_hand() -> None:
    """floor(t/dt), robust to rounding of 0.3/0.1; one spike per channel and step; the end of the trial cut off; the
    last step empty (a spike needs a step to arrive); sorted by step and channel."""
    X = [{"x": [3, 1, 1, 2, 0, 0], "t": [0.3, 0.3, 0.39, 0.05, 0.9, 1.0]}, {"x": [], "t": []}, {"x": [4], "t": [0.7]}]
    spikes = from_samples(X, 5, 0.1, 1.0)
    assert pairs(spikes, 0) == [(0, 2), (3, 1), (3, 3)]
    assert pairs(spikes, 1) == [] and pairs(spikes, 2) == [(7, 4)]
    assert (len(spikes), spikes.num_steps, spikes.steps.dtype, spikes.offsets.dtype) == (3, 10, np.uint16, np.int64)


def test_times_far_beyond_the_trial_are_cut_off() -> None:
    """Fails if a huge time wraps around to a step of the trial, or to one that does not exist."""
    with pytest.warns(UserWarning, match=r"2 of 3 spikes \(66.7 %\) come after the trial"):
        spikes = from_samples([{"x": [1, 2, 0], "t": [1e300, 3.0, 1e19]}], 5, 1.0, 10.0)
    assert pairs(spikes, 0) == [(3, 2)]


def test_every_grid_point_lands_in_its_own_step() -> None:
    """The reference's floor of a quotient is one step low for dt such as 0.1."""
    for dt in (0.1, 0.01, 0.3, 0.7, 1.0):
        k = np.arange(200)
        spikes = from_samples([{"x": np.zeros(200, int), "t": k * dt}], 1, dt, 201 * dt)
        assert np.array_equal(spikes.steps, k)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 50, 40)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    t, x = rng.uniform(0, 30, offsets[-1]), rng.integers(0, 9, offsets[-1])
    whole = bin_events(t, x, offsets, 9, 1.0, 25.0)
    monkeypatch.setattr("eventprop.data.spikes._BLOCK", 60)
    parts = bin_events(t, x, offsets, 9, 1.0, 25.0)
    for name in ("offsets", "steps", "channels"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_shd_files_come_back_as_written(tmp_path: Path) -> None:
    """Times in seconds become steps of dt; labels, speakers and class names stay."""
    (tmp_path / "SHD").mkdir()
    samples = [(np.array([0.0, 0.0105, 0.25]), np.array([1, 699, 5])), (np.zeros(0), np.zeros(0, int))]
    for part in ("train", "test"):
        shd.write_shd(
            tmp_path / "SHD" / f"shd_{part}.h5", samples, np.array([1, 0]), np.array([4, 7]), ["null", "eins"]
        )
    found = shd.load_shd(tmp_path, shd.Grid(1.0, 1000.0))
    assert pairs(found.train.spikes, 0) == [(0, 1), (10, 699), (250, 5)] and pairs(found.test.spikes, 1) == []
    assert found.train.labels.tolist() == [1, 0] and found.train.speakers is not None
    assert found.train.speakers.tolist() == [4, 7]
    assert (found.num_classes, found.class_names, found.num_channels) == (2, ("null", "eins"), 700)
    assert sorted(os.listdir(tmp_path / "SHD")) == ["shd_test.h5", "shd_train.h5"]


@pytest.mark.skipif(not REAL.exists(), reason="the real spoken digits are not here")
def test_real_digits_load() -> None:
    found = shd.load_shd(REAL, shd.Grid(1.0, 1400.0))
    assert len(found.train.spikes) == 1800 and len(found.test.spikes) == 700 and found.num_classes == 10
    assert 5000 < len(found.train.spikes.steps) / 1800 < 5700


def features(part: Part, time_bins: int, channel_bins: int) -> np.ndarray:
    """Square roots of spike counts, ``(samples, time_bins * channel_bins)``."""
    n = len(part.labels)
    sample = np.repeat(np.arange(n), np.diff(part.spikes.offsets))
    time = np.minimum(part.spikes.steps.astype(int) * time_bins // 800, time_bins - 1)
    cell = (sample * time_bins + time) * channel_bins + part.spikes.channels.astype(int) * channel_bins // 700
    return np.sqrt(np.bincount(cell, minlength=n * time_bins * channel_bins)).reshape(n, -1)


def ridge_accuracy(data: Dataset, time_bins: int, channel_bins: int) -> float:
    """Test accuracy of linear ridge regression on one-hot labels."""
    x, y = (features(part, time_bins, channel_bins) for part in (data.train, data.test))
    mean, sd = x.mean(axis=0), x.std(axis=0) + 1e-3
    x, y = (x - mean) / sd, (y - mean) / sd
    target = np.eye(demo.CLASSES)[data.train.labels]
    w = np.linalg.solve(x.T @ x + 1000.0 * np.eye(x.shape[1]), x.T @ (target - target.mean(axis=0)))
    return float(np.mean((y @ w).argmax(axis=1) == data.test.labels))


def test_demo_needs_time() -> None:
    """DEMO must be learnable from spikes in time, and clearly less so from spike counts alone. Nothing is written
    where ``write`` is False."""
    data = demo.load_demo("data", shd.Grid(1.0, 800.0), write=False)
    assert os.listdir(".") == []
    assert len(data.train.labels) == 2000 and len(data.test.labels) == 500
    for part in (data.train, data.test):
        counts = np.diff(part.spikes.offsets)
        assert counts.min() > 1500 and 3000 < counts.mean() < 6000
        assert part.speakers is not None and set(part.speakers) == set(range(10)) and set(part.labels) == set(range(20))
    assert ridge_accuracy(data, 20, 35) > 0.95
    assert ridge_accuracy(data, 1, 70) < 0.6


def test_demo_files_equal_what_is_made_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data with and without writing, and every time it is made; a second load reads the files."""
    monkeypatch.setattr(demo, "SIZES", {"train": 60, "test": 20})
    in_memory = demo.load_demo("data", shd.Grid(1.0, 800.0), write=False)
    written = demo.load_demo("data", shd.Grid(1.0, 800.0))
    before = Path("data/DEMO/shd_train.h5").stat().st_mtime_ns
    again = demo.load_demo("data", shd.Grid(1.0, 800.0))
    assert Path("data/DEMO/shd_train.h5").stat().st_mtime_ns == before
    for other in (written, again):
        for a, b in ((in_memory.train, other.train), (in_memory.test, other.test)):
            assert np.array_equal(a.spikes.steps, b.spikes.steps) and np.array_equal(a.labels, b.labels)
            assert np.array_equal(a.spikes.channels, b.spikes.channels) and np.array_equal(a.speakers, b.speakers)
        assert other.class_names == in_memory.class_names


def part_of(labels: list[int], speakers: list[int]) -> Part:
    spikes = from_samples([{"x": [], "t": []} for _ in labels], 1, 1.0, 10.0)
    return Part(spikes, np.array(labels, np.int32), np.array(speakers, np.int32))


def test_random_split_is_disjoint_and_of_its_seed() -> None:
    everything = splits.everything(part_of([0] * 50, [0] * 50))
    a, b = splits.random_split(everything, 30, 15, 1)
    assert len(a) == 30 and len(b) == 15 and not set(a.indices) & set(b.indices)
    again, other = splits.random_split(everything, 30, 15, 1)[0], splits.random_split(everything, 30, 15, 2)[0]
    assert np.array_equal(a.indices, again.indices) and not np.array_equal(a.indices, other.indices)


def test_leaving_out_counts_through_the_sorted_speakers() -> None:
    """SPEAKER_LEFT is a position in the ascending list of speakers, not a speaker's number."""
    subset = splits.everything(part_of([0] * 8, [9, 2, 6, 2, 9, 6, 2, 2]))
    training, left = splits.leave_speaker_out(subset, 1, 100, 0)
    assert left.indices.tolist() == [2, 5] and set(training.indices) == {0, 1, 3, 4, 6, 7}
    assert len(splits.leave_speaker_out(subset, 0, 3, 0)[0]) == 3


def test_reduced_classes_keep_their_labels() -> None:
    subset = splits.reduce_classes(splits.everything(part_of([3, 1, 4, 1, 5], [0] * 5)), [1, 5])
    assert subset.labels.tolist() == [1, 1, 5]
