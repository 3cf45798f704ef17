"""What must hold between parameters; each alone is checked where it is declared."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventprop import description, models
from eventprop.backends.devices import problem_with
from eventprop.masks import problems_of
from eventprop.parameters.augmentations import check_augmentation
from eventprop.parameters.declaration import LARGEST
from eventprop.parameters.delays import absent, check_delays
from eventprop.parameters.layers import values_of
from eventprop.parameters.loss_checks import check_loss
from eventprop.parameters.neuron_checks import check_neurons

__all__ = ["check_together"]

_MOST_CHANNELS = 65535
_LONGEST_STEP = 50.0  # in time constants: exp of it, and its products, fit single precision
_LONGEST_NAME = 180  # bytes; file systems take 255, and the longest that is appended has some 60
_NOT_IN_NAMES = ':*?"<>|'
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(f"{d}{n}" for d in ("COM", "LPT") for n in "0123456789")}

Problems = list[str]


def check_together(p: Mapping[str, Any], num_channels: int) -> Problems:
    """All that is wrong, a line each. A key that is wrong by itself is absent from ``p`` and takes no part.

    Args:
        num_channels: of the benchmark's input.
    """
    problems = _check_steps(p) + _check_potentials(p) + check_loss(p) + _check_time_constants(p)
    problems += _check_bounds(p) + _check_delay_line(p, num_channels) + _check_exact(p) + _check_data(p)
    problems += _check_decay(p) + _check_learning(p)
    problems += _check_alignment(p) + check_augmentation(p, num_channels)
    problem = problem_with(p.get("BACKEND", "auto"), p.get("SPIKE_TIMING", "grid"))
    problems += [problem] if problem else []
    if p.get("TENSORBOARD") and importlib.util.find_spec("tensorboardX") is None:
        problems.append("TENSORBOARD=True needs the package tensorboardX: pip install '.[tensorboard]'")
    problems += _check_names(p) + _check_masks(p) + check_neurons(p) + check_delays(p)
    for key in ("SPEAKER_LEFT", "REDUCED_CLASSES"):
        values = p.get(key)
        if values is not None and (not values or len(set(values)) < len(values) or min(values) < 0):
            problems.append(f"{key}={values} must hold different whole numbers from 0, at least one")
    return problems


def _check_masks(p: Mapping[str, Any]) -> Problems:
    """Synapses are left out where there are some, and a file of masks can be read."""
    sparse = ((f"{prefix}_P", needs) for prefix, needs in absent(p).items())
    return [
        f"{key}={p[key]:g} is of synapses that are not there; they need {needs}"
        for key, needs in sparse
        if p.get(key, 1.0) < 1.0
    ] + problems_of(p.get("MASKS"))


def _check_names(p: Mapping[str, Any]) -> Problems:
    """Names that any file system takes, with all that is appended to them; paths that this one takes."""
    problems = []
    name, other = p.get("NAME"), p.get("CHECKPOINT_NAME")
    if name is not None and (wrong := _wrong_name(name)):
        problems.append(f"NAME={name!r} must be a file name {wrong}")
    if other is not None and (not other.strip() or any(c in other for c in "/\\\0") or other in (".", "..")):
        problems.append(f"CHECKPOINT_NAME={other!r} must be a file name without slashes")
    for key in ("OUT_DIR", "DATA_DIR", "DATA_BUFFER_NAME"):
        path = p.get(key, "")
        if "\0" in path or _bytes(path) is None:
            problems.append(f"{key}={path!r} must be a path, and no file system here has one like this")
    return problems


def _wrong_name(name: str) -> str:
    """What keeps ``name`` from being the beginning of file names everywhere; "" for nothing."""
    length, device = _bytes(name), name.split(".")[0]
    bad = sorted(c for c in set(name) if c in _NOT_IN_NAMES or not c.isprintable())
    if not name.strip():
        return "with at least one letter"
    if set(name) & set("/\\"):
        return "without slashes"
    if bad:
        return f"without {' '.join(map(repr, bad))}"
    if name.strip(" .") != name:
        return "without blanks and dots at its ends"
    if device.upper() in _DEVICES:
        return f"everywhere, and {device} is a device on Windows"
    if length is None:
        return f"in the file system's encoding, {sys.getfilesystemencoding()}"
    if length > _LONGEST_NAME:
        return f"of at most {_LONGEST_NAME} bytes, as more is appended to it, and this has {length}"
    return ""


def _bytes(text: str) -> int | None:
    """How many bytes ``text`` has in file names; None where it cannot be in one."""
    try:
        return len(os.fsencode(text))
    except UnicodeEncodeError:
        return None


def _check_steps(p: Mapping[str, Any]) -> Problems:
    """A trial is a whole number of steps that fits 16 bits, and the recording buffer divides it."""
    if not {"TRIAL_MS", "DT_MS"} <= p.keys():
        return []
    problems = []
    trial_ms, dt_ms, spk_rec_steps = p["TRIAL_MS"], p["DT_MS"], p.get("SPK_REC_STEPS")
    ratio = trial_ms / dt_ms
    if ratio > 1e9:
        return [f"TRIAL_MS={trial_ms:g} and DT_MS={dt_ms:g} make {ratio:g} steps; 3 to 65535 are possible"]
    steps = round(ratio)
    if not _whole(ratio):
        near = max(3, steps) * dt_ms
        problems.append(f"TRIAL_MS={trial_ms:.10g} is no whole multiple of DT_MS={dt_ms:.10g}; {near:.10g} would be")
    if not 3 <= steps <= 65535:
        problems.append(f"TRIAL_MS={trial_ms:g} and DT_MS={dt_ms:g} make {steps} steps; 3 to 65535 are possible")
    elif spk_rec_steps is not None and steps % spk_rec_steps:
        problems.append(f"SPK_REC_STEPS={spk_rec_steps} does not divide the {steps} steps of a trial")
    return problems


def _whole(ratio: float) -> bool:
    return abs(round(ratio) - ratio) <= 1e-6 * ratio


def _check_potentials(p: Mapping[str, Any]) -> Problems:
    """At the start of a trial a neuron is below its threshold."""
    if not {"V_RESET", "V_THRESH"} <= p.keys():
        return []
    reset, threshold = p["V_RESET"], p["V_THRESH"]
    if reset >= threshold:
        return [f"V_RESET={reset:g} must be below V_THRESH={threshold:g}"]
    if _adaptive(p) and threshold + p.get("B_INIT", 0.0) <= reset:
        return [f"B_INIT={p['B_INIT']:g} must be above V_RESET - V_THRESH = {reset - threshold:g}"]
    return []


def _check_time_constants(p: Mapping[str, Any]) -> Problems:
    """One that is below the time step is a warning: the propagators are exact all the same."""
    if "DT_MS" not in p:
        return []
    dt_ms = p["DT_MS"]
    for key in ["TAU_MEM", "TAU_SYN"] + (["TAU_B"] if _adaptive(p) else []):
        if dt_ms / _LONGEST_STEP <= p.get(key, dt_ms) < dt_ms:
            warnings.warn(
                f"{key}={p[key]:g} is below DT_MS={dt_ms:g}: a spike's effect decays within a step", stacklevel=5
            )
    return []


def _check_decay(p: Mapping[str, Any]) -> Problems:
    """What is left of a time constant's decay after a step has an inverse in single precision."""
    if "DT_MS" not in p:
        return []
    used = ["TAU_MEM", "TAU_SYN", *(["TAU_B"] if _adaptive(p) else []), *_bounds_in_use(p).values()]
    least = p["DT_MS"] / _LONGEST_STEP
    return [
        f"{key}={p[key]:g} is far below DT_MS={p['DT_MS']:g}; it must be at least {least:g}"
        for key in used
        if p.get(key, least) < least
    ]


def _check_learning(p: Mapping[str, Any]) -> Problems:
    """The rate stays within its range to the last epoch; what is 0 or bounds a number by its size is no tiny number."""
    problems = [
        f"{key}={p[key]:g} is too small; it must be 0, for none, or at least {1.0 / LARGEST:g}"
        for key in ("GRAD_CLIP", "MIN_DENOMINATOR")
        if 0.0 < p.get(key, 0.0) < 1.0 / LARGEST
    ]
    if p.get("WEIGHT_DECAY", 0.0) * p.get("ETA", 0.0) >= 1.0:
        problems.append(
            f"WEIGHT_DECAY={p['WEIGHT_DECAY']:g} times ETA={p['ETA']:g} takes all of a weight off in an update; it "
            f"must be below {1.0 / p['ETA']:g}"
        )
    if not {"ETA", "ETA_DECAY", "N_EPOCH"} <= p.keys() or p["ETA"] == 0.0:
        return problems
    if math.log(p["ETA"]) + p["N_EPOCH"] * math.log(p["ETA_DECAY"]) > math.log(LARGEST):
        problems.append(
            f"ETA_DECAY={p['ETA_DECAY']:g} makes ETA={p['ETA']:g} larger than {LARGEST:g} within "
            f"N_EPOCH={p['N_EPOCH']} epochs"
        )
    return problems


def _bounds_in_use(p: Mapping[str, Any]) -> dict[str, str]:
    """By the key of a time constant that is trained or drawn, the key of its lower bound."""
    bounds: dict[str, str] = {}
    if p.get("TRAIN_TAU") or p.get("TRAIN_TAU_OUTPUT") or _heterogeneous(p):
        bounds |= {"TAU_MEM": "MIN_TAU_M", "TAU_SYN": "MIN_TAU_SYN"}
    if p.get("TRAIN_TAU_B") and _adaptive(p):
        bounds["TAU_B"] = "MIN_TAU_B"
    return bounds


def _check_bounds(p: Mapping[str, Any]) -> Problems:
    """Time constants that are trained or drawn start at or above their bounds, and these are no shorter than a step."""
    problems = []
    if p.get("TRAIN_TAU_B") and not _adaptive(p) and "HIDDEN_NEURON_TYPE" in p:
        problems.append(
            f'TRAIN_TAU_B needs HIDDEN_NEURON_TYPE="ALIF", got {json.dumps(p["HIDDEN_NEURON_TYPE"])}, without TAU_B'
        )
    for key, bound in _bounds_in_use(p).items():
        if {key, bound} <= p.keys() and p[key] < p[bound]:
            problems.append(f"{key}={p[key]:g} is below its lower bound {bound}={p[bound]:g}")
    return problems


def _adaptive(p: Mapping[str, Any]) -> bool:
    """Whether hidden neurons have an adaptive threshold."""
    kinds, known = values_of(p.get("HIDDEN_NEURON_TYPE", "")), description.hidden_neurons()
    return any("tau_b" in known[kind][0].parameters for kind in kinds if kind in known)


def _heterogeneous(p: Mapping[str, Any]) -> bool:
    """Whether time constants are drawn for each neuron."""
    kinds, known = values_of(p.get("HIDDEN_NEURON_TYPE", "")), description.hidden_neurons()
    outputs = description.OUTPUT_NEURONS.get(p.get("OUTPUT_NEURON_TYPE", ""), {})
    return any("tau_mem" in drawn for _, drawn in (*(known[k] for k in kinds if k in known), *outputs.values()))


def _check_delay_line(p: Mapping[str, Any], num_channels: int) -> Problems:
    """Delays are whole steps, the last copy begins within the trial, and all channels can be numbered."""
    copies = p.get("N_INPUT_DELAY", 0)
    if copies == 0:
        return []
    problems = []
    most = _MOST_CHANNELS // num_channels - 1
    if copies > most:
        problems.append(
            f"N_INPUT_DELAY={copies} makes {num_channels * (copies + 1)} input channels; {_MOST_CHANNELS} are "
            f"possible, N_INPUT_DELAY at most {most}"
        )
    if not {"INPUT_DELAY", "DT_MS"} <= p.keys():
        return problems
    delay, dt_ms = p["INPUT_DELAY"], p["DT_MS"]
    if delay < 0.5 * dt_ms or not _whole(delay / dt_ms):
        near = max(1, round(delay / dt_ms)) * dt_ms
        problems.append(f"INPUT_DELAY={delay:.10g} is no whole multiple of DT_MS={dt_ms:.10g}; {near:.10g} would be")
    if "TRIAL_MS" in p and copies * delay >= p["TRIAL_MS"]:
        problems.append(
            f"N_INPUT_DELAY={copies} times INPUT_DELAY={delay:g} is {copies * delay:g} ms, so the last copy would "
            f"come after the trial; it must be below TRIAL_MS={p['TRIAL_MS']:g}"
        )
    return problems


def _check_exact(p: Mapping[str, Any]) -> Problems:
    """Exact spike times need potentials and thresholds in closed form, falling thresholds excluded."""
    if p.get("SPIKE_TIMING") != "exact":
        timed = p.get("INPUT_TIMES") == "true" and "SPIKE_TIMING" in p
        return ['INPUT_TIMES="true" needs SPIKE_TIMING="exact": else nothing happens within steps'] if timed else []
    problems = []
    if any(noise > 0.0 for noise in values_of(p.get("HIDDEN_NOISE", 0.0))):
        problems.append(f"HIDDEN_NOISE={p['HIDDEN_NOISE']} must be 0: a noisy potential has no closed form")
    if "LOSS_TYPE" in p and not models.LOSSES[p["LOSS_TYPE"]].within_steps:
        problems.append(f'LOSS_TYPE="{p["LOSS_TYPE"]}" has no closed form within a step')
    if _adaptive(p):
        problems += [
            f"{key}={p[key]:g} must not be negative for ALIF neurons: a rising threshold may be met twice in a step"
            for key in ("B_INCR", "B_INIT")
            if p.get(key, 0.0) < 0.0
        ]
    problems = [f'SPIKE_TIMING="exact": {problem}; SPIKE_TIMING="grid" allows it' for problem in problems]
    if p.get("INPUT_TIMES") == "true" and p.get("EVENT_THRESHOLD", 1) > 1:
        problems.append(
            f'EVENT_THRESHOLD={p["EVENT_THRESHOLD"]} counts the events of a step and must be 1 with INPUT_TIMES="true"'
        )
    return problems


def _check_data(p: Mapping[str, Any]) -> Problems:
    """Only SSC has a file for validation, and its speakers are not known."""
    if not {"EVALUATION", "DATA_SET", "DATA_BUFFER_NAME"} <= p.keys():
        return []
    buffer = p["DATA_BUFFER_NAME"]
    if not Path(buffer).name:
        return [f"DATA_BUFFER_NAME={buffer!r} must end in the beginning of a file name, as ./data/SSC/mySSC does"]
    evaluation, name = p["EVALUATION"], p["DATA_SET"]
    if evaluation == "validation_set" and name != "SSC":
        return [
            f'EVALUATION="validation_set" needs DATA_SET="SSC": {name} has no validation file; "random" or "speaker" '
            "would be right"
        ]
    if evaluation == "speaker" and name == "SSC":
        return ['EVALUATION="speaker" is not for DATA_SET="SSC"; "validation_set" or "random" would be right']
    return []


def _check_alignment(p: Mapping[str, Any]) -> Problems:
    """Two times of the trial, by which all samples go."""
    if not {"ALIGN_MS", "TRIAL_MS", "RESCALE_T"} <= p.keys() or p["ALIGN_MS"] is None:
        return []
    problems, (first, last) = [], p["ALIGN_MS"]
    if not first < last < p["TRIAL_MS"]:
        problems.append(f"ALIGN_MS={p['ALIGN_MS']} must be two times of the trial (TRIAL_MS={p['TRIAL_MS']:g}), apart")
    if p["RESCALE_T"] != 1.0:
        problems.append(
            f"RESCALE_T={p['RESCALE_T']:g} has no effect with ALIGN_MS, which stretches each sample; it must be 1"
        )
    return problems
