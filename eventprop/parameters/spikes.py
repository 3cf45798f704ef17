"""The parameters of data of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eventprop import models
from eventprop.data import targets
from eventprop.data.own import Facts, OwnSource, put_aside, trial_of
from eventprop.data.own_forms import UNITS
from eventprop.parameters.belonging import of_choice, of_samples, of_spikes, of_steps
from eventprop.parameters.loss_checks import check_targets
from eventprop.parameters.shared import METHODS, declare, resolve_benchmark
from eventprop.parameters.shd import OF_RECORDINGS

__all__ = ["KEYS", "OWNER", "resolve_spikes"]

_OWN = (
    of_spikes(
        "DATA_SET",
        "Experiment",
        "str",
        None,
        "An HDF5 file in SHD's layout, or a folder with one for training and one for testing; DEMO is synthetic; None "
        "where samples are given.",
        optional=True,
    ),
    of_steps(
        "TRIAL_MS",
        "Experiment",
        "float",
        None,
        "Duration of a trial; later spikes are cut off. None: until TAU_MEM after the last spike of the training data; "
        "with targets of each step, as long as these.",
        "ms",
        optional=True,
        above=0.0,
    ),
    of_samples(
        "N_TRAIN",
        "Experiment",
        "int",
        None,
        "Training samples; None for all that do not validate.",
        optional=True,
        least=1,
    ),
    of_choice(
        "N_VALIDATE",
        "Experiment",
        "int",
        None,
        "Validation samples; None for a tenth, 0 for none, and then all samples train.",
        optional=True,
        least=0,
    ),
    of_spikes(
        "N_TEST",
        "Experiment",
        "int",
        None,
        "Test samples, drawn by TEST_DATA_SEED of the test data or, where there are none, of the training data, which "
        "lack them then. None for all, or for a fifth.",
        optional=True,
        least=1,
    ),
    of_spikes(
        "NUM_INPUT",
        "Experiment",
        "int",
        None,
        "Input channels; None for as many as the data have.",
        optional=True,
        least=1,
        most=65535,
    ),
    of_spikes(
        "NUM_CLASSES",
        "Experiment",
        "int",
        None,
        "Outputs: classes, or values; None for as many as the data have names, labels or values for.",
        optional=True,
        least=1,
        most=65535,
    ),
    of_spikes(
        "TIME_UNIT",
        "Experiment",
        "str",
        None,
        "Unit of the samples' times; None for ms, of events for nothing: theirs must be told. Files of SHD's layout "
        "are in seconds.",
        optional=True,
        choices=tuple(UNITS),
    ),
    of_spikes(
        "BIN_MS",
        "Experiment",
        "float",
        None,
        "How long a bin of arrays of counts lasts.",
        "ms",
        optional=True,
        above=0.0,
    ),
    of_spikes(
        "SENSOR_SIZE",
        "Experiment",
        "ints",
        None,
        "[width, height, polarities] of the sensor that events are from; None where the data set says it itself.",
        optional=True,
    ),
    of_spikes(
        "DATA_FINGERPRINT",
        "Experiment",
        "str",
        None,
        "What tells the training data from others, set by a run: it goes on with the same ones alone.",
        optional=True,
    ),
    of_choice(
        "EVALUATION",
        "Loss",
        "str",
        "random",
        "How the validation set is formed; speaker leaves out the first group of SPEAKER_LEFT.",
        choices=("random", "speaker"),
        elsewhere=("validation_set", "user"),
    ),
)

_FIRST_SAMPLES = ("TRIAL_MS", "N_TRAIN", "N_VALIDATE", "DATA_DIR")

KEYS = declare(
    (*_OWN, *OF_RECORDINGS),
    {"N_EPOCH": 30, "LR_EASE_IN_FACTOR": None},
    without=_FIRST_SAMPLES,
    methods=(*METHODS, "cross_validate"),
)

OWNER = ("simulator_spikes", "spikes_model")
"""Module and class of the simulator."""

_OF_CLASSES = (
    "REDUCED_CLASSES",
    "COLLECT_CONFUSION",
    "REC_PREDICTIONS",
    "BALANCE_TRAIN_CLASSES",
    "BALANCE_EVAL_CLASSES",
)

_UNSEEN = Facts(1, 2, 1000.0, np.zeros(10, np.int32), 10, "")
"""What stands for data that are not there yet, where settings are checked without them."""


def resolve_spikes(p: Mapping[str, Any], source: OwnSource | None = None) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; see :func:`eventprop.parameters.shared.resolve_benchmark`.

    Args:
        source: the data, of which what ``p`` leaves open is taken; None to check settings alone, and leave it open.
    """

    def complete(resolved: dict[str, Any]) -> list[str]:
        return _from_data(resolved, source)

    resolved = resolve_benchmark(p, KEYS, _num_channels, own=_check_sensor, owner=OWNER, complete=complete)
    if source is None:
        left_open = {key.name for key in _OWN if key.optional} | (
            {"SPK_REC_STEPS"} if p.get("TRIAL_MS") is None else set()
        )
        resolved |= {name: None for name in left_open if p.get(name) is None}
    return resolved


def _num_channels(p: Mapping[str, Any]) -> int:
    return p.get("NUM_INPUT") or 1


def _check_sensor(p: Mapping[str, Any]) -> list[str]:
    size = p.get("SENSOR_SIZE")
    if size is not None and (len(size) != 3 or min(size) < 1):
        return [f"SENSOR_SIZE={size} must be [width, height, polarities], whole numbers from 1"]
    return []


def _from_data(p: dict[str, Any], source: OwnSource | None) -> list[str]:
    """Set what is None. Where a key is wrong, data are not read, and what is None takes no part in further checks."""
    if not {key.name for key in KEYS} <= p.keys() or _check_sensor(p):
        for name in [key.name for key in _OWN if p.get(key.name, "") is None]:
            del p[name]
        return []
    facts = _UNSEEN if source is None else source.facts(p)
    p["NUM_INPUT"] = p["NUM_INPUT"] or facts.channels
    p["NUM_CLASSES"] = p["NUM_CLASSES"] or facts.classes
    labels = facts.labels
    if p["TRIAL_MS"] is None and targets.of_steps(labels):
        p["TRIAL_MS"] = labels.shape[1] * p["DT_MS"]
    elif p["TRIAL_MS"] is None:
        p["TRIAL_MS"] = trial_of(facts.end_ms, p["DT_MS"], p["TAU_MEM"])
    if p["N_TEST"] is None:
        p["N_TEST"] = facts.test_samples or max(1, len(labels) // 5)
    left = _left_to_train(p, facts)
    if p["N_VALIDATE"] is None:
        p["N_VALIDATE"] = left // 10
    if p["N_TRAIN"] is None:
        p["N_TRAIN"] = max(1, left - (p["N_VALIDATE"] if p["EVALUATION"] == "random" else 0))
    if p["DATA_FINGERPRINT"] not in (None, "", facts.fingerprint) and source is not None:
        return [
            f"DATA_FINGERPRINT={p['DATA_FINGERPRINT']!r} is that of a run on other training data, and these have "
            f"{facts.fingerprint!r}; None takes them"
        ]
    p["DATA_FINGERPRINT"] = facts.fingerprint or p["DATA_FINGERPRINT"]
    return _check_targets(p, labels) if source is not None else []


def _check_targets(p: Mapping[str, Any], labels: np.ndarray) -> list[str]:
    """The loss compares with what the data have, and nothing is asked for that needs a class of each sample."""
    steps = round(p["TRIAL_MS"] / p["DT_MS"])
    problem = check_targets(models.LOSSES[p["LOSS_TYPE"]], labels, p["NUM_CLASSES"], steps)
    problems = [problem] if problem else []
    if targets.are_classes(labels):
        return problems
    asked = [key for key in _OF_CLASSES if p[key]] + (["AUGMENTATION blend"] if "blend" in p["AUGMENTATION"] else [])
    return problems + [f"{key} needs a class of each sample, and the data has other targets" for key in asked]


def _left_to_train(p: Mapping[str, Any], facts: Facts) -> int:
    """Samples of the training data that are of ``REDUCED_CLASSES`` and do not test."""
    labels = facts.labels
    if facts.test_samples is None:
        if p["N_TEST"] >= len(labels):
            raise ValueError(f"N_TEST={p['N_TEST']} leaves none of the {len(labels)} samples to train with")
        labels = labels[put_aside(labels, p["N_TEST"], 0)[0]]  # which ones makes no difference to how many of a class
    classes = p["REDUCED_CLASSES"]
    if classes is None or not targets.are_classes(labels):
        return len(labels)
    return int(np.isin(labels, classes).sum())
