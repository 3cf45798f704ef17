"""Checkpoints under SIGKILL: whatever the moment, the file on disk is a whole one."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.records import network_of
from eventprop.training import checkpoint
from eventprop.training.checkpoint import TrainingState
from eventprop.training.schedule import LearningRate

pytestmark = pytest.mark.long


KILLS = 40
DELAYS = {"TRIAL_MS": 6e4, "INPUT_HIDDEN_DELAY_MAX": 5e4}  # numbers of states are below
NETWORK = network_of(resolve_shd({"NUM_HIDDEN": 24, "TRAIN_TAU": True, **DELAYS}), 700, 20)


def state(number: int) -> TrainingState:
    arrays = {k: np.full(s, number, np.float32) for k, s in NETWORK.trained_shapes().items()}
    return TrainingState(
        weights={name: arrays[name] for name in NETWORK.synaptic_shapes()},
        moments={"m": arrays, "v": arrays},
        rate=LearningRate(1.0, 1.0),
        epoch=number,
        updates=number,
        time_constants={"hidden0": {n: arrays[f"hidden0.{n}"] for n in ("tau_mem", "tau_syn")}},
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_while_writing_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """Fails if a kill at some moment leaves half a file, or one whose arrays are of two epochs, or goes backwards."""
    path = tmp_path / "x_state_last.npz"
    checkpoint.save(path, state(0), {})
    random.seed(1)
    last, longest = 0, 0.03
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            number = last
            while True:
                number += 1
                checkpoint.save(path, state(number), {})
        time.sleep(random.uniform(0.001, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found, _ = checkpoint.load(path, NETWORK)
        assert found.epoch >= last
        for values in (found.weights, found.time_constants["hidden0"], *found.moments.values()):
            assert all((a == found.epoch).all() for a in values.values())
        longest = longest if found.epoch > last else min(2 * longest, 0.5)  # the machine is busy with other things
        last = found.epoch
    assert last > KILLS // 4  # files were really being written when the kills came
