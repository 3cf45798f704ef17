"""Input spikes with their true times within steps (``INPUT_TIMES="true"``), from the data to the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_DVS_gesture
import simulator_yinyang
from eventprop.data import augmentation, encoders, mnist, shd, yinyang
from eventprop.data.spike_cache import SpikeCache
from eventprop.data.spikes import SpikeSet, bin_events, from_samples, joined


def times_of(spikes: SpikeSet, dt_ms: float) -> list[list[tuple[float, int]]]:
    """By sample, (ms, channel) of each spike, to a nanosecond."""
    return [
        [(round(float(t), 6), int(c)) for t, c in zip(spikes.times(i, dt_ms), spikes.sample(i)[1], strict=True)]
        for i in range(len(spikes))
    ]


def random_set(samples: int = 30, seed: int = 0, dt_ms: float = 2.0) -> SpikeSet:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 60, samples)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    t = rng.uniform(0, 50, offsets[-1]).round(2)
    return bin_events(t, rng.integers(0, 9, t.size), offsets, 9, dt_ms, 40.0, true_times=True)


def check_order(spikes: SpikeSet) -> None:
    """In order of time within each sample, and within its step."""
    assert spikes.at is not None and spikes.at.dtype == np.float32 and len(spikes.at) == len(spikes.steps)
    assert spikes.at.min() >= 0 and spikes.at.max() <= 1 and spikes.steps.max() < spikes.num_steps
    for i in range(len(spikes)):
        assert (np.diff(spikes.times(i, 1.0)) >= 0).all()


def test_all_spikes_stay_with_their_times() -> None:
    """Fails if spikes of a channel in one step become one, the last step is lost, or order or times change."""
    X = [{"x": [3, 1, 1, 2], "t": [7.5, 7.25, 7.0, 0.0]}, {"x": [], "t": []}, {"x": [0, 4], "t": [9.75, 10.0]}]
    spikes = from_samples(X, 5, 5.0, 10.0, true_times=True)
    assert times_of(spikes, 5.0) == [[(0.0, 2), (7.0, 1), (7.25, 1), (7.5, 3)], [], [(9.75, 0)]]
    check_order(spikes)
    assert from_samples(X, 5, 1.0, 10.5).at is None


def test_the_step_is_no_matter_of_the_data() -> None:
    """Fails if a step of another length moves a spike: 0.3 ms is the start of step 3 of 0.1 ms, not the end of 2."""
    t = np.arange(100) * 0.1
    for dt_ms in (0.1, 1.0, 5.0):
        spikes = bin_events(t, np.zeros(100, int), np.array([0, 100]), 1, dt_ms, 20.0, true_times=True)
        assert np.allclose(spikes.times(0, dt_ms), t, atol=1e-6)
        assert np.array_equal(spikes.steps, np.arange(100)) == (dt_ms == 0.1)


def test_selections_and_joins_keep_times() -> None:
    spikes = random_set()
    whole = times_of(spikes, 2.0)
    assert times_of(spikes.select([4, 0, 4]), 2.0) == [whole[4], whole[0], whole[4]]
    assert times_of(joined([spikes.select([1]), spikes.select([2, 3])]), 2.0) == whole[1:4]
    assert times_of(augmentation.merged([spikes, spikes], np.array([31, 2])), 2.0) == [whole[1], whole[2]]


def test_augmented_spikes_keep_their_times() -> None:
    """Fails if an augmentation puts spikes on the grid, mixes up whose time is whose, or drops some of one step."""
    spikes = random_set()
    whole = [sorted(t for t, _ in own) for own in times_of(spikes, 2.0)]
    assert sum(map(len, whole)) > 500
    for changed in (
        augmentation.shift(spikes, 0.5, np.random.default_rng(1)),
        augmentation.jitter(spikes, 0.0, np.random.default_rng(1)),
        augmentation.dilate(spikes, [1.0, 1.0], np.random.default_rng(1)),
        augmentation.thin(spikes, 1000, np.random.default_rng(1)),
        augmentation.blend(spikes, [1.0], np.random.default_rng(1)),
    ):
        check_order(changed)
        assert [sorted(t for t, _ in own) for own in times_of(changed, 2.0)] == whole
    twice = augmentation.dilate(spikes, [0.5, 0.5], np.random.default_rng(1))
    assert np.allclose(twice.times(0, 2.0), 0.5 * spikes.times(0, 2.0), atol=1e-5)
    jittered = augmentation.jitter(spikes, 2.0, np.random.default_rng(1))
    check_order(jittered)
    assert 100 < len(jittered.steps) < len(spikes.steps)


def test_latencies_have_no_margin_of_steps() -> None:
    """Fails if MNIST or Yin-Yang are another task at another step."""
    values = np.array([[0.0, 0.5, np.nan, 0.999]])
    for dt in (0.1, 5.0):
        times = encoders.latency_ms(values, dt, 30.0, true_times=True)
        spikes = encoders.one_spike_each(times, dt, 30.0, true_times=True)
        assert times_of(spikes, dt) == [[(0.0, 0), (15.0, 1), (29.97, 3)]]
    grey = mnist.spike_times(np.array([255, 1, 102]), 1.0, 20.0, true_times=True)
    assert grey[0] == 0.0 and np.isnan(grey[1]) and grey[2] == pytest.approx(12.0)
    points, labels = yinyang.points(20, 1)
    five, one = (yinyang.encode(points, labels, dt, 30.0, True).spikes for dt in (5.0, 0.1))
    assert all(np.allclose(five.times(i, 5.0), one.times(i, 0.1), atol=1e-5) for i in range(20))


def test_files_and_what_is_kept_of_them(tmp_path: Path) -> None:
    """Fails if a file's spikes lose their times, or binned ones are taken for those with true times."""
    near = 2.0**-7 + 2.0**-14  # which float16 holds
    samples = [(np.array([2.0**-7, near, 0.5]), np.array([5, 5, 9])), (np.array([2.0**-8]), np.array([1]))]
    path = tmp_path / "few.h5"
    shd.write_shd(path, samples, np.array([0, 1]), np.array([0, 0]), ["no", "yes"])
    cache = SpikeCache(tmp_path / "kept")
    grids = {timed: shd.Grid(1.0, 100.0, true_times=timed) for timed in (False, True)}
    for _ in range(2):  # made, then found
        plain, timed = (cache.read(path, grids[t]).part.spikes for t in (False, True))
        assert plain.at is None and plain.steps.tolist() == [7, 3]
        expected = [[(7.8125, 5), (7.8735, 5)], [(3.9062, 1)]]
        assert [[(round(t, 4), c) for t, c in own] for own in times_of(timed, 1.0)] == expected
    assert len(list(tmp_path.glob("kept_*"))) == 2


def test_true_times_need_exact_spikes() -> None:
    p = {**simulator_yinyang.p, "INPUT_TIMES": "true"}
    with pytest.raises(ValueError, match='INPUT_TIMES="true" needs SPIKE_TIMING="exact"'):
        simulator_yinyang.yinyang(p)
    dvs = {**simulator_DVS_gesture.p, "INPUT_TIMES": "true", "SPIKE_TIMING": "exact", "EVENT_THRESHOLD": 2}
    with pytest.raises(ValueError, match="EVENT_THRESHOLD=2 counts"):
        simulator_DVS_gesture.DVSG_model(dvs)
    with pytest.raises(ValueError, match="no spike with a time of its own"):
        bin_events(np.zeros(1), np.zeros(1, int), np.array([0, 1]), 1, 1.0, 10.0, 2, True)


def test_yinyang_is_one_task_at_any_step() -> None:
    """From the key to the engine: fails if the scores of the same weights depend on the step."""
    small: dict[str, Any] = {"N_TRAIN": 40, "N_TEST": 10, "NUM_HIDDEN": 30, "MODEL_SEED": 3, "WRITE_TO_DISK": False}
    small |= {"SPIKE_TIMING": "exact", "INPUT_TIMES": "true", "LOSS_TYPE": "sum", "HIDDEN_OUTPUT_MEAN": 0.3}
    found = []
    for dt_ms in (0.1, 1.0, 5.0):
        mn = simulator_yinyang.yinyang({**simulator_yinyang.p, **small, "DT_MS": dt_ms})
        part = mn.data.train
        engine = mn._ready(mn._for_run(mn.p))
        found.append(engine.run(part.spikes, np.arange(40), part.labels))
    assert found[0].spike_counts.sum() > 300
    for other in found[1:]:
        assert np.array_equal(other.spike_counts, found[0].spike_counts)
        assert np.allclose(other.scores, found[0].scores, rtol=1e-4, atol=1e-6)
