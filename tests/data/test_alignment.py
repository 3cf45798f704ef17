"""Times by a sample's own early and late spikes (``ALIGN_MS``)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.data import shd
from eventprop.data.alignment import Alignment
from eventprop.data.shd_files import write_shd
from eventprop.data.spikes import from_samples

BY_HAND = Alignment(10.0, 30.0, 0.25)


def test_times_worked_out_by_hand() -> None:
    """Of five spikes a quarter comes before the second one and after the fourth; those are put at 10 and 30 ms."""
    times = np.array([2.0, 4.0, 5.0, 8.0, 10.0])
    assert BY_HAND.times(times, np.array([0, 5])).tolist() == [0.0, 10.0, 15.0, 30.0, 40.0]
    both = np.concatenate([times, 7.0 + 3e-3 * times])  # later, and in another unit: the same
    assert np.allclose(BY_HAND.times(both, np.array([0, 5, 5, 10])), 2 * [0.0, 10.0, 15.0, 30.0, 40.0])


@pytest.mark.parametrize("unit_ms", [1.0, 1e3])
def test_samples_that_keep_some_of_their_speed(unit_ms: float) -> None:
    """80 ms between early and late, where 20 are asked for: 20 with a stretch of 1, 40 with a half, 80 with 0."""
    times = np.array([2.0, 4.0, 5.0, 84.0, 90.0]) / unit_ms
    for stretch, factor in ((1.0, 0.25), (0.5, 0.5), (0.0, 1.0)):
        found = Alignment(10.0, 30.0, 0.25, stretch).times(times, np.array([0, 5]), unit_ms)
        assert np.allclose(found, [10.0 + factor * t for t in (-2.0, 0.0, 1.0, 80.0, 86.0)])


@pytest.mark.parametrize("unit_ms", [1.0, 1e3])
def test_dense_spikes_count_more(unit_ms: float) -> None:
    """Ten spikes of a word within 9 ms, and ten of noise, 100 ms apart: each of the word counts ten times."""
    noise, word = 1000.0 + 100.0 * np.arange(10), 400.0 + np.arange(10)
    times = np.concatenate([word, noise]) / unit_ms
    # Counts before a spike, of those before the last: i of 19; 3.16 i, then 31.6 + j, of 40.6; 10 i, 100 + j, of 109.
    for power, early, late in ((0.0, 403.0, 1600.0), (0.5, 402.0, 1100.0), (1.0, 402.0, 409.0)):
        found = Alignment(10.0, 30.0, 0.2, 1.0, power).times(times, np.array([0, 20]), unit_ms)
        assert np.allclose(found, 10.0 + (unit_ms * times - early) * 20.0 / (late - early)), power


def test_spikes_that_count_alike() -> None:
    """A power of next to nothing is none, samples without spikes and of one among them."""
    rng = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(rng.permutation(np.arange(60) % 30))])
    times = np.concatenate([np.sort(rng.uniform(0.0, 500.0, n)) for n in np.diff(offsets)])
    plain = Alignment(100.0, 300.0, 0.1537, 0.5)  # no share is met exactly
    assert np.array_equal(plain.times(times, offsets), replace(plain, rate_power=1e-13).times(times, offsets))


def test_what_comes_before_the_trial_is_cut_off() -> None:
    times, channels, offsets = BY_HAND.applied(
        np.array([0.0, 4.0, 5.0, 8.0, 10.0, 3.0]), np.arange(6), np.array([0, 5, 6, 6])
    )
    assert times.tolist() == [10.0, 15.0, 30.0, 40.0, 10.0] and channels.tolist() == [1, 2, 3, 4, 5]
    assert offsets.tolist() == [0, 4, 5, 5]


def test_spikes_at_one_time_are_only_moved() -> None:
    assert BY_HAND.times(np.array([5.0, 5.0, 5.0]), np.array([0, 3])).tolist() == [10.0] * 3


def _recordings(late: float, slow: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same three recordings whatever the speaker's time: float16 holds all of them."""
    made = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        times = np.sort(rng.choice(np.arange(256), 40, replace=False)) / 1024
        made.append((late + slow * times, rng.integers(0, 700, 40)))
    return made


def test_speakers_time_is_taken_out_of_files(tmp_path: Path) -> None:
    """Fails if beginning or speed of a recording enters what is presented; samples given by hand are the same."""
    grid = shd.Grid(5.0, 200.0, alignment=Alignment(50.0, 150.0, 0.1))
    _check_files_and_samples(tmp_path, replace(grid, alignment=Alignment(50.0, 150.0, 0.1, 0.5)))
    found = []
    for late, slow in ((0.0, 1.0), (0.25, 2.0)):
        path = tmp_path / f"{slow}.h5"
        write_shd(path, _recordings(late, slow), np.arange(3), np.zeros(3), ["a", "b", "c"])
        found.append(shd.read_file(path, grid).part.spikes)
        seconds = [{"x": u[::-1], "t": t[::-1]} for t, u in _recordings(late, slow)]
        found.append(from_samples(seconds, 700, 5.0, 200.0, alignment=grid.alignment))
    for other in found[1:]:
        assert all(np.array_equal(found[0].arrays[name], other.arrays[name]) for name in ("steps", "channels"))
        assert np.array_equal(found[0].offsets, other.offsets)
    early, late_share = (np.mean([(found[0].sample(i)[0] < at).mean() for i in range(3)]) for at in (10, 30))
    assert early == pytest.approx(0.1, abs=0.04) and late_share == pytest.approx(0.9, abs=0.04)


def _check_files_and_samples(folder: Path, grid: shd.Grid) -> None:
    """Times of files are in seconds, of samples given by hand in ms."""
    path = folder / "some.h5"
    write_shd(path, _recordings(0.0, 1.0), np.arange(3), np.zeros(3), ["a", "b", "c"])
    of_file = shd.read_file(path, grid).part.spikes
    by_hand = [{"x": u, "t": 1e3 * t} for t, u in _recordings(0.0, 1.0)]
    given = from_samples(by_hand, 700, 5.0, 200.0, alignment=grid.alignment)
    assert all(np.array_equal(of_file.arrays[name], given.arrays[name]) for name in ("steps", "channels"))


@pytest.mark.parametrize(("stretch", "power"), [(0.5, 0.0), (1.0, 1.0), (1.0, 0.0)])
def test_a_wrong_unit_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], stretch: float, power: float) -> None:
    """Of files in ms and of samples in seconds, but only where it makes a difference."""
    alignment, matters = Alignment(50.0, 150.0, 0.1, stretch, power), stretch + power != 1.0
    for part in ("train", "test"):
        path = tmp_path / f"SHD/shd_{part}.h5"
        path.parent.mkdir(exist_ok=True)
        write_shd(path, _recordings(0.0, 1024.0), np.arange(3), np.zeros(3), ["a", "b", "c"])
    assert shd.load_shd(tmp_path, shd.Grid(5.0, 200.0, alignment=alignment)).num_channels == 700
    said = capsys.readouterr().out
    assert ("must be in seconds" in said) == matters
    seconds = [{"x": u, "t": t + 1e-4} for t, u in _recordings(0.0, 1.0)]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        from_samples(seconds, 700, 5.0, 200.0, alignment=alignment)
    assert [("look like seconds" in str(w.message)) for w in found] == [True] * matters


def test_training_and_prediction_align_alike(small_data: Path) -> None:
    """Fails if samples of one's own are presented as they are to a network that knows aligned ones, or if binned spikes
    of other settings are taken from the cache."""
    p: dict[str, Any] = {**simulator_SHD.p, "DATA_DIR": str(small_data), "NUM_HIDDEN": 12, "DT_MS": 10.0, "N_EPOCH": 1}
    p |= {"TRIAL_MS": 500.0, "N_TRAIN": 40, "N_VALIDATE": 40, "N_BATCH": 8, "TAU_SYN": 10.0, "ALIGN_MS": [100.0, 400.0]}
    mn = simulator_SHD.SHD_model(p)
    mn.train(p)
    plain = simulator_SHD.SHD_model({**p, "ALIGN_MS": None}).data.train.spikes
    spikes = mn.data.train.spikes
    assert spikes.steps.size != plain.steps.size
    samples = [{"x": plain.sample(i)[1], "t": plain.sample(i)[0] * 10.0 + 5.0} for i in range(5)]
    moved = [{"x": s["x"], "t": 3.0 * s["t"] + 1000.0} for s in samples]
    assert np.array_equal(mn.predict(p, samples).scores, mn.predict(p, moved).scores)
    with pytest.raises(ValueError, match="ALIGN_MS"):
        mn.train({**p, "ALIGN_MS": None})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ALIGN_MS": [300.0, 100.0]}, "ALIGN_MS must be a list of two numbers, [least, most], got [300.0, 100.0]"),
        (
            {"ALIGN_MS": [100.0, 1400.0]},
            "ALIGN_MS=[100.0, 1400.0] must be two times of the trial (TRIAL_MS=1400), apart",
        ),
        ({"ALIGN_MS": [100.0, 100.0]}, "ALIGN_MS=[100.0, 100.0] must be two times of the trial (TRIAL_MS=1400), apart"),
        ({"ALIGN_MS": [-1.0, 100.0]}, "ALIGN_MS must be at least 0, got -1"),
        ({"ALIGN_MS": [100.0, 300.0], "ALIGN_SHARE": 0.5}, "ALIGN_SHARE must be below 0.5, got 0.5"),
        ({"ALIGN_MS": [100.0, 300.0], "ALIGN_RATE_POWER": -1.0}, "ALIGN_RATE_POWER must be at least 0, got -1.0"),
        ({"ALIGN_MS": [100.0, 300.0], "ALIGN_STRETCH": 1.5}, "ALIGN_STRETCH must be at most 1, got 1.5"),
        (
            {"ALIGN_MS": [100.0, 300.0], "RESCALE_T": 2.0},
            "RESCALE_T=2 has no effect with ALIGN_MS, which stretches each sample; it must be 1",
        ),
    ],
)
def test_wrong_settings(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:
        simulator_SHD.SHD_model({**simulator_SHD.p, **change})
    assert said in str(error.value)
