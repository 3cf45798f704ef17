"""The parameters of the Yin-Yang benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.parameters import shared as keys
from eventprop.parameters.belonging import of_choice, of_recording, of_simulator
from eventprop.parameters.shared import declare, resolve_benchmark

__all__ = ["KEYS", "OWNER", "resolve_yinyang"]

_OWN = (
    of_choice("N_TEST", "Experiment", "int", 800, "Test samples.", least=1),
    of_simulator("TRAINING_PLOT", "Recording", "bool", False, "Whether points are shown with their predicted classes."),
    of_simulator(
        "TRAINING_PLOT_INTERVAL", "Recording", "int", 10, "Epochs from one such picture to the next.", least=1
    ),
    of_simulator("FANCY_PLOTS", "Recording", "bool", False, "Whether first spike times of each output are shown."),
    of_recording(
        "W_REPORT_INTERVAL", "Recording", "int", 100, "Batches from one saving of the weights to the next.", least=1
    ),
    of_recording(
        "W_EPOCH_INTERVAL", "Recording", "int", 10, "Epochs from one in which weights are saved to the next.", least=1
    ),
)

KEYS = declare(
    _OWN,
    {
        "DT_MS": 0.1,
        "TRIAL_MS": 30.0,
        "N_MAX_SPIKE": 400,
        "N_TRAIN": 32000,
        "N_VALIDATE": 0,
        "N_EPOCH": 10,
        "SHUFFLE": False,
        "NUM_HIDDEN": 200,
        "INPUT_DELAY": 1.0,
        "PDROP_INPUT": 0.0,
        "INPUT_HIDDEN_MEAN": 1.5,
        "INPUT_HIDDEN_STD": 0.78,
        "HIDDEN_OUTPUT_MEAN": 0.93,
        "HIDDEN_OUTPUT_STD": 0.1,
        "LR_EASE_IN_FACTOR": None,
        "ETA_DECAY": 0.95,
        "LOSS_TYPE": "first_spike",
        "TAU_0": 0.5,
        "TAU_1": 6.4,
        "ALPHA": 3e-3,
        **dict.fromkeys(("REC_SPIKES_EPOCH_TRIAL", "REC_NEURONS_EPOCH_TRIAL", "REC_SYNAPSES_EPOCH_TRIAL")),
    },
    without=("DATA_DIR", "REDUCED_CLASSES", "W_OUTPUT_EPOCH_TRIAL", "AUGMENTATION"),
    loaded=("TRAIN_DATA_SEED", "TEST_DATA_SEED", "N_TRAIN", "N_VALIDATE", "N_TEST"),
)

OWNER = ("simulator_yinyang", "yinyang")
"""Module and class of the simulator."""


def resolve_yinyang(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; see :func:`eventprop.parameters.shared.resolve_benchmark`."""
    return resolve_benchmark(p, KEYS, 5, {**keys.ALIASES, "PDROP": "PDROP_HIDDEN"}, owner=OWNER)
