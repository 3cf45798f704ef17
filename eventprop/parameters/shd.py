"""The parameters of the SHD and SSC benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.data.shd import BUFFER, NUM_CHANNELS
from eventprop.parameters import shared as keys
from eventprop.parameters.belonging import of_choice, of_places, of_samples, of_simulator, of_spikes, of_timing
from eventprop.parameters.shared import METHODS, declare, resolve_benchmark

__all__ = ["KEYS", "OF_RECORDINGS", "OWNER", "resolve_shd"]

OF_RECORDINGS = (
    of_spikes(
        "RESCALE_T",
        "Experiment",
        "float",
        1.0,
        "Factor on spike times; what lies beyond TRIAL_MS then is cut off.",
        above=0.0,
    ),
    of_spikes(
        "RESCALE_X",
        "Experiment",
        "float",
        1.0,
        "Factor on channel numbers, rounded down; there are as many input channels all the same.",
        above=0.0,
        most=1.0,
    ),
    of_spikes(
        "ALIGN_MS",
        "Experiment",
        "range",
        None,
        "[first, last]: each sample is moved and stretched in time so that ALIGN_SHARE of its spikes come before the "
        "first and as many after the last; None leaves times as they are.",
        "ms",
        optional=True,
        least=0.0,
    ),
    of_spikes(
        "ALIGN_SHARE",
        "Experiment",
        "float",
        0.15,
        "Share of a sample's spikes that ALIGN_MS puts before its first time, and after its last.",
        least=0.0,
        below=0.5,
    ),
    of_spikes(
        "ALIGN_STRETCH",
        "Experiment",
        "float",
        1.0,
        "How far ALIGN_MS evens out speed: power of the factor on times. 1: late spikes come at its last time; 0: "
        "samples are only moved, so that early ones come at its first.",
        least=0.0,
        most=1.0,
    ),
    of_spikes(
        "ALIGN_RATE_POWER",
        "Experiment",
        "float",
        0.0,
        "How much a spike counts for ALIGN_SHARE: as many spikes of its sample as come within 20 ms of it, to this "
        "power. 0: all alike; 1: noise between words counts little.",
        least=0.0,
        most=4.0,
    ),
    of_spikes(
        "CLOCK_CHANNELS",
        "Experiment",
        "int",
        0,
        "Input channels that tell the time: the last so many; each spikes every 5 ms of its part of the trial, and "
        "those of recordings are squeezed into the others.",
        least=0,
        most=NUM_CHANNELS // 2,
    ),
    of_samples(
        "BALANCE_TRAIN_CLASSES",
        "Experiment",
        "bool",
        False,
        "Whether each epoch trains on as many samples of each class as the smallest has, drawn anew.",
    ),
    of_samples(
        "BALANCE_EVAL_CLASSES",
        "Experiment",
        "bool",
        False,
        "Whether each evaluation is of as many samples of each class as the smallest has, drawn anew.",
    ),
    of_choice(
        "SPEAKER_LEFT",
        "Loss",
        "ints",
        [0],
        "Speakers to leave out, numbers in the ascending list of the training file's.",
    ),
    of_timing(
        "PROFILE",
        "General",
        "bool",
        False,
        "Whether time for building, size of the input and peak memory are reported after training, too.",
    ),
    of_simulator(
        "TEST_ST_INTEGRITY",
        "General",
        "bool",
        False,
        "Whether the input spikes of a batch are read back from the backend and compared before training.",
    ),
)
"""Keys of every benchmark on recordings of several speakers, in files of SHD's layout or not."""

_OWN = (
    of_spikes(
        "DATA_SET",
        "Experiment",
        "str",
        "SHD",
        "Data set; DEMO is synthetic, small and needs no download.",
        choices=("SHD", "SSC", "DEMO"),
    ),
    of_places(
        "DATA_BUFFER_NAME",
        "Experiment",
        "str",
        BUFFER,
        "Prefix of the folders in which SSC's binned spikes are kept; left as it is, they are in ./data/SSC, or of "
        "another DATA_DIR in the user's cache folder.",
    ),
    of_choice(
        "EVALUATION",
        "Loss",
        "str",
        "random",
        "How the validation set is formed; validation_set is SSC's own file, and all of its training file trains.",
        choices=("random", "speaker", "validation_set"),
    ),
)

KEYS = declare((*_OWN, *OF_RECORDINGS), without=("ETA_DECAY",), methods=(*METHODS, "cross_validate"))

ALIASES = {**keys.ALIASES, "DATASET": "DATA_SET"}

DEAD = {
    **keys.DEAD,
    "ETA_DECAY": "",
    "W_REPORT_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
    "W_EPOCH_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
}

OWNER = ("simulator_SHD", "SHD_model")
"""Module and class of the simulator."""


def resolve_shd(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; see :func:`eventprop.parameters.shared.resolve_benchmark`."""
    return resolve_benchmark(p, KEYS, NUM_CHANNELS, ALIASES, DEAD, owner=OWNER)
