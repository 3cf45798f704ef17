"""The parameters of the MNIST benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.data.mnist import SIDE
from eventprop.parameters.augmentations import check_cells
from eventprop.parameters.belonging import of_choice
from eventprop.parameters.shared import declare, resolve_benchmark

__all__ = ["KEYS", "OWNER", "OF_THE_FILES", "resolve_mnist"]

OF_THE_FILES = (
    of_choice("N_TEST", "Experiment", "int", 10000, "Test samples, drawn from the test file.", least=1),
    of_choice(
        "EVALUATION",
        "Loss",
        "str",
        "random",
        "How the validation set is formed: samples of the training file, drawn by TRAIN_DATA_SEED.",
        choices=("random",),
        elsewhere=("speaker", "validation_set", "user"),
    ),
)
"""Keys of every benchmark on MNIST's files."""

KEYS = declare(
    OF_THE_FILES,
    {
        "TRIAL_MS": 20.0,
        "N_MAX_SPIKE": 50,
        "N_TRAIN": 55000,
        "N_VALIDATE": 5000,
        "N_EPOCH": 20,
        "NUM_HIDDEN": 128,
        "INPUT_DELAY": 1.0,
        "LR_EASE_IN_FACTOR": None,
        "LOSS_TYPE": "avg_xentropy",
        "TAU_0": 0.5,
        "TAU_1": 6.4,
        "ALPHA": 3e-3,
    },
)

OWNER = ("simulator_MNIST", "mnist_model")
"""Module and class of the simulator."""


def resolve_mnist(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; see :func:`eventprop.parameters.shared.resolve_benchmark`."""
    return resolve_benchmark(p, KEYS, SIDE * SIDE, own=check_cells, owner=OWNER)
