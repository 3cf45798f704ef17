"""Input channels that tell the time (``CLOCK_CHANNELS``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.data.clock import with_clock
from eventprop.data.spikes import SpikeSet, from_samples


def _set(steps: list[int], channels: list[int], at: list[float] | None = None) -> SpikeSet:
    """One sample with these spikes and one without any, on 10 channels in 21 steps."""
    when = None if at is None else np.array(at, np.float32)
    ends = np.array([0, len(steps), len(steps)])
    return SpikeSet(ends, np.array(steps, np.uint16), np.array(channels, np.uint16), 10, 21, when)


def test_worked_out_by_hand() -> None:
    """Steps of 2.5 ms: the clock ticks in every other one, on channel 8 in the first half of a trial, then on 9; of the
    sample's channels 0 to 9 there are 8 left, and both of 0 and 1 become 0."""
    found = with_clock(_set([3, 3, 4], [0, 1, 9]), 2, 2.5)
    ticks = [(step, 8 if step < 11 else 9) for step in range(0, 20, 2)]
    pairs = [list(zip(*(a.tolist() for a in found.sample(i)), strict=True)) for i in (0, 1)]
    assert pairs == [sorted([*ticks, (3, 0), (4, 7)]), ticks]
    assert found.steps.dtype == found.channels.dtype == np.uint16 and found.num_channels == 10


def test_true_times_stay() -> None:
    found = with_clock(_set([3, 3, 4], [0, 1, 9], [0.25, 0.75, 0.5]), 2, 5.0)
    assert found.at is not None
    own = found.sample(0)[1] < 8
    assert found.at[: own.size][own].tolist() == [0.25, 0.75, 0.5]
    assert set(found.at[: own.size][~own].tolist()) == {0.5}


def test_files_and_samples_of_ones_own_have_the_same_clock(small_data: Path) -> None:
    p: dict[str, Any] = {**simulator_SHD.p, "DATA_DIR": str(small_data), "DT_MS": 10.0, "TRIAL_MS": 500.0}
    p |= {"TAU_SYN": 10.0, "N_TRAIN": 40, "N_VALIDATE": 40}
    plain, mn = simulator_SHD.SHD_model(p), simulator_SHD.SHD_model({**p, "CLOCK_CHANNELS": 20})
    train = plain.data.train.spikes
    samples = [{"x": train.sample(i)[1], "t": train.sample(i)[0] * 10.0 + 5.0} for i in range(5)]
    own = with_clock(from_samples(samples, 700, 10.0, 500.0), 20, 10.0)
    for i in range(5):
        for ours, files in zip(own.sample(i), mn.data.train.spikes.sample(i), strict=True):
            assert np.array_equal(ours, files)
    presented = mn._sample_spikes(samples, mn.p)
    assert np.array_equal(presented.channels, own.channels) and np.array_equal(presented.steps, own.steps)


def test_half_of_the_channels_at_most() -> None:
    with pytest.raises(ValueError, match="CLOCK_CHANNELS must be at most 350, got 351"):
        simulator_SHD.SHD_model({**simulator_SHD.p, "CLOCK_CHANNELS": 351})
