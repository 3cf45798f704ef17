"""The keys that benchmarks share, with the default of most; a benchmark takes them with its own.

Keys of one benchmark alone are declared beside it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eventprop import models, own_losses, own_neurons
from eventprop.parameters.checks import check_together
from eventprop.parameters.declaration import Defaults, Key, at_home, resolve
from eventprop.parameters.delays import DELAYS
from eventprop.parameters.general import EXPERIMENT, GENERAL, METHODS
from eventprop.parameters.layers import values_of, with_layers
from eventprop.parameters.learning import LEARNING
from eventprop.parameters.model import LOSS, MODEL, NETWORK
from eventprop.parameters.neurons import with_own_neurons
from eventprop.parameters.recording import RECORDING

__all__ = ["ALIASES", "DEAD", "LONG_TRIALS", "METHODS", "OF_OTHERS", "SHARED", "declare", "resolve_benchmark"]

SHARED: tuple[Key, ...] = (*GENERAL, *EXPERIMENT, *NETWORK, *MODEL, *DELAYS, *LEARNING, *RECORDING, *LOSS)

ALIASES = {"TRAIL_MS": "TRIAL_MS", "N_EPOCHS": "N_EPOCH"}

DEAD = {
    **dict.fromkeys(("TAU_MEM_OUTPUT", "NU_LOWER", "SUPER_BATCH", "DEBUG", "READ_BUFFERED", "DOWNLOAD_SHD"), ""),
    **dict.fromkeys(("ETA_FIDDELING", "ETA_REDUCE", "ETA_REDUCE_PERIOD", "TRAIN", "ORIG_NAME"), ""),
    "REGULARISATION": "REG_TYPE",
    "TRAIN_TAUM": "TRAIN_TAU",
    "TAUM_OUTPUT_EPOCH_TRIAL": "TAU_OUTPUT_EPOCH_TRIAL",
}
"""Keys of old scripts that have no effect, with what to use instead."""

OF_OTHERS = {
    **dict.fromkeys((key.name for key in SHARED), ""),
    **dict.fromkeys(
        ("N_TEST", "SPEAKER_LEFT", "EVALUATION", "DATA_SET", "DATA_BUFFER_NAME", "RESCALE_T", "RESCALE_X"), ""
    ),
    **dict.fromkeys(("BALANCE_TRAIN_CLASSES", "BALANCE_EVAL_CLASSES", "PROFILE", "TEST_ST_INTEGRITY"), ""),
    **dict.fromkeys(("T_START_MS", "DOWNSAMPLE", "EVENT_THRESHOLD"), ""),
    **dict.fromkeys(("ALIGN_MS", "ALIGN_SHARE", "ALIGN_STRETCH", "ALIGN_RATE_POWER", "CLOCK_CHANNELS"), ""),
    **dict.fromkeys(("ENCODING", "NUM_INPUT", "DUPLICATE", "PIXEL_MS", "PERMUTE"), ""),
    **dict.fromkeys(("NUM_CLASSES", "TIME_UNIT", "BIN_MS", "SENSOR_SIZE", "DATA_FINGERPRINT"), ""),
    **dict.fromkeys(("TRAINING_PLOT", "TRAINING_PLOT_INTERVAL", "FANCY_PLOTS"), ""),
    "DATASET": "DATA_SET",
    "PDROP": "PDROP_HIDDEN",
    "W_REPORT_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
    "W_EPOCH_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
    "W_OUTPUT_EPOCH_TRIAL": "W_REPORT_INTERVAL",
}
"""Keys that some benchmarks have, with what to use instead where they have no effect."""


LONG_TRIALS: dict[str, Any] = {
    "INPUT_HIDDEN_MEAN": 0.02,
    "INPUT_HIDDEN_STD": 0.01,
    "HIDDEN_OUTPUT_MEAN": 0.0,
    "HIDDEN_OUTPUT_STD": 0.3,
    "HIDDEN_HIDDEN_MEAN": 0.0,
    "HIDDEN_HIDDEN_STD": 0.02,
    "PDROP_INPUT": 0.1,
    "LBD_UPPER": 2e-9,
    "LBD_LOWER": 2e-9,
    "NU_UPPER": 14.0,
    "RHO_UPPER": 1e4,
    "GLB_UPPER": 1e-8,
    "ETA": 1e-3,
    "LR_EASE_IN_FACTOR": None,
    "TAU_0": 0.5,
    "TAU_1": 100.0,  # 6.4 would make exp(TRIAL_MS / TAU_1) too large a number
    "ALPHA": 3e-3,
}
"""Defaults of the benchmarks whose trials last seconds: event cameras and sequential MNIST."""


def declare(
    own: Sequence[Key],
    defaults: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
    loaded: Sequence[str] = (),
) -> tuple[Key, ...]:
    """The keys of a benchmark, group by group: the shared ones and its own.

    Args:
        defaults: its own defaults of shared keys.
        without: shared keys that it has not.
        methods: what it can do.
        loaded: keys that are read when its data are loaded, besides those that always are.
    """
    values = defaults or {}
    assert set(values) | set(without) <= {key.name for key in SHARED}
    kept = [key for key in SHARED if key.name not in without]
    found = [replace(key, default=values[key.name]) if key.name in values else key for key in kept]
    found = [replace(key, choices=tuple(methods)) if key.name == "METHOD" else key for key in found]
    keys = [replace(key, loaded=True) if key.name in loaded else key for key in [*found, *own]]
    groups = list(dict.fromkeys(key.group for key in keys))
    return tuple(sorted(keys, key=lambda key: groups.index(key.group)))


def resolve_benchmark(
    p: Mapping[str, Any],
    keys: Sequence[Key],
    num_channels: int | Callable[[Mapping[str, Any]], int],
    aliases: Mapping[str, str] = ALIASES,
    dead: Mapping[str, str] = DEAD,
    own: Callable[[Mapping[str, Any]], list[str]] | None = None,
    owner: tuple[str, str] = ("", ""),
    complete: Callable[[dict[str, Any]], list[str]] | None = None,
) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; the caller's is not changed.

    Args:
        num_channels: of the benchmark's input; a function where it depends on what is right in ``p``.
        aliases, dead: as in :func:`eventprop.parameters.declaration.resolve`.
        own: what else is wrong in this benchmark, a line each, given what is right by itself.
        owner: the benchmark's module and class.
        complete: sets what ``p`` leaves to the data, given what is right by itself; what is wrong then, a line each.

    Raises:
        ValueError: everything that is wrong, one line each; or that ``p`` is another benchmark's.
    """
    if isinstance(p, Defaults):
        p.check(owner)
    for kind, of_ones_own in (("NEURONS", own_neurons), ("LOSSES", own_losses)):
        of_ones_own.register(p.get(kind, {}) if isinstance(p, Mapping) else {})
    resolved, problems = resolve(p, with_own_neurons(keys), aliases, dead, OF_OTHERS)
    resolved = at_home(resolved)
    problems += with_layers(resolved, keys)
    problems += complete(resolved) if complete else []
    problems += check_together(resolved, num_channels(resolved) if callable(num_channels) else num_channels)
    problems += own(resolved) if own else []
    problems += [] if complete else _check_loss(resolved)
    if problems:
        raise ValueError("\n".join(problems))
    for kind in values_of(resolved["HIDDEN_NEURON_TYPE"]):
        resolved["NEURONS"] |= own_neurons.used(kind)
    if resolved["SPK_REC_STEPS"] is None:
        resolved["SPK_REC_STEPS"] = round(resolved["TRIAL_MS"] / resolved["DT_MS"])
    resolved["LOSSES"] |= own_losses.used(resolved["LOSS_TYPE"])
    if resolved["CHECKPOINT_BEST"] == "validation" and resolved["N_VALIDATE"] == 0:
        warnings.warn('CHECKPOINT_BEST="validation" with N_VALIDATE=0: train() has nothing to choose by', stacklevel=4)
    if resolved["ETA"] == 0.0:
        warnings.warn("ETA=0: nothing is learned", stacklevel=4)
    if resolved["ETA_END"] != 0.0 and resolved["ETA_SCHEDULE"] != "cosine":
        warnings.warn(f'ETA_END={resolved["ETA_END"]:g} has no effect without ETA_SCHEDULE="cosine"', stacklevel=4)
    if resolved["REWIRE_LIFT"] != 0.0 and not resolved["REWIRE_SILENT"]:
        warnings.warn(f"REWIRE_LIFT={resolved['REWIRE_LIFT']:g} has no effect without REWIRE_SILENT", stacklevel=4)
    return resolved


def _check_loss(p: Mapping[str, Any]) -> list[str]:
    """Benchmarks with data of their own have classes."""
    loss = models.LOSSES.get(p.get("LOSS_TYPE", ""))
    if loss is None or not loss.of_values:
        return []
    return [
        f'LOSS_TYPE="{loss.name}" compares values, and this benchmark has classes; simulator_spikes takes values with '
        "samples of one's own"
    ]
