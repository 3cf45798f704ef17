"""The parameters of the sequential MNIST benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from eventprop import mnist_parameters
from eventprop.keys import LONG_TRIALS, declare, resolve_benchmark
from eventprop.parameters import Key
from eventprop.smnist import SIDE, Code

__all__ = ["KEYS", "code_of", "resolve_smnist"]

_OWN = (
    *mnist_parameters.OF_THE_FILES,
    Key(
        "ENCODING",
        "Input",
        "str",
        "thresholds",
        "Pixels one by one, spikes where their grey level crosses a threshold (thresholds, as tonic's SMNIST); or 28 "
        "at a time, each with a spike in its row's time, the brighter the earlier (rows).",
        choices=("thresholds", "rows"),
    ),
    Key(
        "NUM_INPUT",
        "Input",
        "int",
        99,
        "Input neurons of thresholds, odd: half of them for rising, half for falling levels, one for white; rows has "
        "28.",
        least=3,
        most=511,
    ),
    Key("DUPLICATE", "Input", "bool", True, "Whether thresholds repeats each spike half of PIXEL_MS later."),
    Key("PIXEL_MS", "Input", "float", 2.0, "Time of a pixel; a row takes 28 of them.", "ms", above=0.0),
    Key(
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


def resolve_smnist(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; see :func:`eventprop.keys.resolve_benchmark`."""
    return resolve_benchmark(p, KEYS, _num_channels, own=_check_input)


def code_of(p: Mapping[str, Any]) -> Code:
    """How ``p`` has images encoded."""
    return Code(p["ENCODING"], p["NUM_INPUT"], p["DUPLICATE"], p["PIXEL_MS"], p["PERMUTE"])


def _num_channels(p: Mapping[str, Any]) -> int:
    return SIDE if p.get("ENCODING") == "rows" else p.get("NUM_INPUT", 99)


def _check_input(p: Mapping[str, Any]) -> list[str]:
    """An odd number of neurons, and time for all pixels."""
    problems = []
    number = p.get("NUM_INPUT", 99)
    if "blend" in p.get("AUGMENTATION", {}):
        problems.append('AUGMENTATION={"blend": ...} adds samples up to N_TRAIN, and all N_TRAIN are in the file here')
    if number % 2 == 0 and p.get("ENCODING") != "rows":
        problems.append(f"NUM_INPUT={number} must be odd; {number - 1} and {number + 1} are")
    if {"ENCODING", "DUPLICATE", "PIXEL_MS", "DT_MS", "TRIAL_MS"} <= p.keys():
        last = code_of({"NUM_INPUT": number, "PERMUTE": None, **p}).last_ms()
        needed = math.floor(last / p["DT_MS"] * (1 + 1e-6)) + 2  # a spike takes one step to arrive
        if round(p["TRIAL_MS"] / p["DT_MS"]) < needed:
            problems.append(
                f"TRIAL_MS={p['TRIAL_MS']:g} ends before the last pixel of an image, whose spike is at {last:g} ms; "
                f"with PIXEL_MS={p['PIXEL_MS']:g} and DT_MS={p['DT_MS']:g} it takes {needed * p['DT_MS']:g}"
            )
    return problems
