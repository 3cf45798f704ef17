"""The parameters of the sequential MNIST benchmark."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from eventprop.data.smnist import PIXELS, SIDE, Code
from eventprop.parameters import mnist as mnist_parameters
from eventprop.parameters.belonging import of_spikes
from eventprop.parameters.shared import LONG_TRIALS, declare, resolve_benchmark

__all__ = ["KEYS", "OWNER", "code_of", "resolve_smnist"]

_OWN = (
    *mnist_parameters.OF_THE_FILES,
    of_spikes(
        "ENCODING",
        "Input",
        "str",
        "thresholds",
        "Pixels one by one, spikes where their grey level crosses a threshold (thresholds, as tonic's SMNIST); or 28 "
        "at a time, each with a spike in its row's time, the brighter the earlier (rows).",
        choices=("thresholds", "rows"),
    ),
    of_spikes(
        "NUM_INPUT",
        "Input",
        "int",
        99,
        "Input neurons of thresholds, odd: half of them for rising, half for falling levels, one for white; rows has "
        "28.",
        least=3,
        most=511,
    ),
    of_spikes("DUPLICATE", "Input", "bool", True, "Whether thresholds repeats each spike half of PIXEL_MS later."),
    of_spikes("PIXEL_MS", "Input", "float", 2.0, "Time of a pixel; a row takes 28 of them.", "ms", above=0.0, most=1e6),
    of_spikes(
        "PERMUTE",
        "Input",
        "int",
        None,
        "Seed of a fixed random order of the pixels, the same for all images (psMNIST); None for row by row.",
        optional=True,
        least=0,
    ),
)

KEYS = declare(
    _OWN,
    {
        "TRIAL_MS": 1600.0,
        "N_TRAIN": 55000,
        "N_VALIDATE": 5000,
        "INPUT_DELAY": 56.0,
        **LONG_TRIALS,
        "REWIRE_SILENT": True,
    },
)

OWNER = ("simulator_SMNIST", "SMNIST_model")
"""Module and class of the simulator."""


def resolve_smnist(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; see :func:`eventprop.parameters.shared.resolve_benchmark`."""
    resolved = resolve_benchmark(p, KEYS, _num_channels, own=_check_input, owner=OWNER)
    cut = _cut_off(resolved)
    if cut:
        warnings.warn(cut, stacklevel=3)
    return resolved


def code_of(p: Mapping[str, Any]) -> Code:
    """How ``p`` has images encoded."""
    return Code(p["ENCODING"], p["NUM_INPUT"], p["DUPLICATE"], p["PIXEL_MS"], p["PERMUTE"])


def _num_channels(p: Mapping[str, Any]) -> int:
    return SIDE if p.get("ENCODING") == "rows" else p.get("NUM_INPUT", 99)


def _check_input(p: Mapping[str, Any]) -> list[str]:
    """An odd number of neurons."""
    problems = []
    number = p.get("NUM_INPUT", 99)
    if "blend" in p.get("AUGMENTATION", {}):
        problems.append('AUGMENTATION={"blend": ...} adds samples up to N_TRAIN, and all N_TRAIN are in the file here')
    if number % 2 == 0 and p.get("ENCODING") != "rows":
        problems.append(f"NUM_INPUT={number} must be odd; {number - 1} and {number + 1} are")
    return problems


def _cut_off(p: Mapping[str, Any]) -> str:
    """What of an image comes after the trial, in words; "" where that is nothing."""
    code, dt_ms, trial_ms = code_of(p), p["DT_MS"], p["TRIAL_MS"]
    needed = math.floor(code.last_ms() / dt_ms * (1 + 1e-6)) + 2  # a spike takes one step to arrive
    if round(trial_ms / dt_ms) >= needed:
        return ""
    if code.encoding == "rows":
        what = f"the last {SIDE - math.floor(trial_ms / (SIDE * code.pixel_ms))} of {SIDE} rows are not shown whole"
    else:
        late = max(0, PIXELS - math.ceil(trial_ms / code.pixel_ms * (1 - 1e-9)))
        what = f"the last {late} of {PIXELS} pixels are cut off" if late else "the last pixel's latest spike is cut off"
    return (
        f"TRIAL_MS={trial_ms:g} is too short for an image: {what}; with PIXEL_MS={code.pixel_ms:g} and "
        f"DT_MS={dt_ms:g} it takes {needed * dt_ms:g}"
    )
