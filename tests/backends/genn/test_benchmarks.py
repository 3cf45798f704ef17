"""Event cameras and sequential MNIST on GeNN: the training of the CPU backend; skipped where pygenn is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator_DVS_gesture import DVSG_model
from simulator_SMNIST import SMNIST_model
from tests.backends.genn.test_engine import BACKEND  # skips this file, too, where there is no pygenn
from tests.simulators import test_dvs_gesture, test_smnist
from tests.support.small import relative

SHORT: dict[str, Any] = {"N_TRAIN": 32, "N_VALIDATE": 11, "N_EPOCH": 2, "N_BATCH": 8, "NUM_HIDDEN": 16}
SHORT |= {"WRITE_TO_DISK": False, "PIPELINE": False, "RECURRENT": True, "REG_TYPE": "simple"}
SCANNED: dict[str, Any] = {"DUPLICATE": False, "INPUT_HIDDEN_MEAN": 0.3, "INPUT_HIDDEN_STD": 0.5}
GENERALISING: dict[str, Any] = {"ETA_SCHEDULE": "cosine", "AVERAGE_WEIGHTS": 0.8, "WEIGHT_DECAY": 5.0}
GENERALISING |= {"LABEL_SMOOTHING": 0.2}


@pytest.mark.filterwarnings("ignore:GeNN's CPU backend takes one sample")
@pytest.mark.parametrize(
    ("data", "change"),
    [
        ("gestures", {"AUGMENTATION": {"random_shift_xy": 2}, "LOSS_TYPE": "avg_xentropy", **GENERALISING}),
        ("gestures", {"DOWNSAMPLE": 16, "LOSS_TYPE": "first_spike", "HIDDEN_OUTPUT_MEAN": 0.5, "LABEL_SMOOTHING": 0.2}),
        ("scan", {**SCANNED, "HIDDEN_NEURON_TYPE": "ALIF"}),
        ("scan", {**SCANNED, "ENCODING": "rows", "PERMUTE": 1, "N_INPUT_DELAY": 2, "HIDDEN_NEURON_TYPE": "hetLIF"}),
    ],
)
def test_trained_alike(data: str, change: dict[str, Any]) -> None:
    """Fails if what a benchmark presents differs between the backends, or what comes of it."""
    if data == "gestures":
        test_dvs_gesture.write(users=2)
        model, p = DVSG_model, test_dvs_gesture.params(**{**SHORT, **change})
    else:
        test_smnist.write_stripes(Path("data/MNIST"))
        model, p = SMNIST_model, test_smnist.params(**{**SHORT, "N_TEST": 20, **change})
    mn = {backend: model({**p, "BACKEND": backend}) for backend in ("cpu", BACKEND)}
    for backend, own in mn.items():
        start = own.weights()
        own.train({**p, "BACKEND": backend})
        assert any(relative(w, start[name]) > 1e-2 for name, w in own.weights().items())
        own.test({**p, "BACKEND": backend})
    ours, genns = mn.values()
    for live in (False, True):
        assert all(relative(w, ours.weights(live)[name]) < 1e-3 for name, w in genns.weights(live).items())
    assert genns.history[-1]["eval_accuracy"] == ours.history[-1]["eval_accuracy"]
    assert genns.history[-1]["eval_loss"] == pytest.approx(ours.history[-1]["eval_loss"], rel=1e-3)
    assert ours.history[-1]["hidden_spikes_mean"] > 1
