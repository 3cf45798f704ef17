"""The parameters of the benchmark of event cameras: DVS gestures and N-MNIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.choice import meaning
from eventprop.data import dvs
from eventprop.parameters.augmentations import check_cells
from eventprop.parameters.belonging import of_choice, of_spikes
from eventprop.parameters.shared import LONG_TRIALS, METHODS, declare, resolve_benchmark

__all__ = ["KEYS", "OWNER", "OWN", "resolve_dvs", "source"]

OWN = (
    of_spikes(
        "DATA_SET",
        "Experiment",
        "str",
        "DVSGesture",
        "Data set; DEMO is synthetic gestures and needs no download.",
        choices=(*dvs.SETS, "DEMO"),
    ),
    of_spikes(
        "T_START_MS", "Experiment", "float", 0.0, "Time of a recording at which a trial starts.", "ms", least=0.0
    ),
    of_spikes(
        "RESCALE_T",
        "Experiment",
        "float",
        1.0,
        "Factor on times from T_START_MS on; what lies beyond TRIAL_MS then is cut off.",
        above=0.0,
    ),
    of_spikes(
        "DOWNSAMPLE",
        "Experiment",
        "int",
        None,
        "Pixels in a row (and rows) that are one input cell; None is 4 for gestures, whose cells are 32 x 32 then, and "
        "1 for N-MNIST.",
        "pixels",
        optional=True,
        least=1,
        most=64,
    ),
    of_spikes(
        "EVENT_THRESHOLD",
        "Experiment",
        "int",
        1,
        "Events of one polarity that a cell must have in a time step to spike.",
        "events",
        least=1,
    ),
    of_choice(
        "EVALUATION",
        "Loss",
        "str",
        "random",
        "How the validation set is formed: training recordings at random, or all of one user, who is left out.",
        choices=("random", "user"),
        elsewhere=("speaker", "validation_set"),
    ),
    of_choice(
        "SPEAKER_LEFT", "Loss", "ints", [0], "Users to leave out, numbers in the ascending list of training users."
    ),
)

KEYS = declare(
    OWN,
    {
        "TRIAL_MS": 2000.0,  # a crop: the longest recordings are 18 s, and gestures repeat themselves
        "N_MAX_SPIKE": 3000,
        "N_TRAIN": 1045,
        "N_VALIDATE": 32,
        **LONG_TRIALS,
    },
    methods=(*METHODS, "cross_validate"),
)

OWNER = ("simulator_DVS_gesture", "DVSG_model")
"""Module and class of the simulator."""


def resolve_dvs(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict, ``DOWNSAMPLE`` a number; see
    :func:`eventprop.parameters.shared.resolve_benchmark`."""
    resolved = resolve_benchmark(p, KEYS, _num_channels(p), own=_check_camera, owner=OWNER)
    if resolved["DOWNSAMPLE"] is None:
        resolved["DOWNSAMPLE"] = source(resolved["DATA_SET"]).downsample
    return resolved


def _check_camera(p: Mapping[str, Any]) -> list[str]:
    """Users where the data set names them; no augmentation along a line."""
    problems = []
    if p.get("EVALUATION") == "user" and p.get("DATA_SET") == "NMNIST":
        problems.append('EVALUATION="user" is not for DATA_SET="NMNIST", which names no users; "random" would be right')
    return problems + check_cells(p)


def source(name: str) -> dvs.Source:
    """The data set, or the one whose layout it has."""
    return meaning("DATA_SET", name, {**dvs.SETS, "DEMO": dvs.SETS["DVSGesture"]})


def _num_channels(p: Mapping[str, Any]) -> int:
    """Input channels; where a value by itself is wrong, which is told elsewhere, those of the default."""
    name, downsample = p.get("DATA_SET"), p.get("DOWNSAMPLE")
    kind = dvs.SETS.get(name if isinstance(name, str) else "", dvs.SETS["DVSGesture"])
    if not isinstance(downsample, int) or downsample < 1:
        downsample = kind.downsample
    return dvs.Window(kind.side, 1.0, 1.0, downsample=downsample).num_channels
