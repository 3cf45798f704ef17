"""What must hold between the loss, the outputs that it reads, and the trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from eventprop import description, models
from eventprop.choice import meaning
from eventprop.data import targets
from eventprop.losses import Loss

__all__ = ["check_loss", "check_targets"]

_LARGEST_SLOPE = 1e12  # of a penalty: the square of a gradient still fits single precision


def check_loss(p: Mapping[str, Any]) -> list[str]:
    """All that is wrong, a line each; see :func:`eventprop.parameters.checks.check_together`."""
    return _check_outputs(p) + _check_penalty(p) + _check_smoothing(p)


def _check_outputs(p: Mapping[str, Any]) -> list[str]:
    """First-spike losses go with spiking outputs, all others with voltages."""
    if not {"LOSS_TYPE", "OUTPUT_NEURON_TYPE"} <= p.keys():
        return []
    loss, outputs = p["LOSS_TYPE"], p["OUTPUT_NEURON_TYPE"]
    problems, spiking = [], meaning("LOSS_TYPE", loss, models.LOSSES).spiking
    if spiking and outputs == "hetLI":
        problems.append(
            f'OUTPUT_NEURON_TYPE="hetLI" never spikes, and LOSS_TYPE="{loss}" needs spikes; "LIF", or "LI", which this '
            "loss makes spike, would be right"
        )
    if not spiking and outputs == "LIF":
        with_spikes = " or ".join(f'"{name}"' for name, other in models.LOSSES.items() if other.spiking)
        problems.append(
            f'OUTPUT_NEURON_TYPE="LIF" spikes, and LOSS_TYPE="{loss}" reads voltages; "LI" or "hetLI", or LOSS_TYPE '
            f"{with_spikes}, would be right"
        )
    return problems + _check_window(p, spiking=spiking)


def _check_window(p: Mapping[str, Any], *, spiking: bool) -> list[str]:
    """The window of the loss lies in the trial, and steps begin in it."""
    window = p.get("LOSS_WINDOW")
    if window is None:
        return []
    if spiking:
        return [
            f'LOSS_WINDOW={window} is for losses of voltages, and LOSS_TYPE="{p["LOSS_TYPE"]}" goes by first spikes'
        ]
    if not {"TRIAL_MS", "DT_MS"} <= p.keys():
        return []
    trial, dt_ms = p["TRIAL_MS"], p["DT_MS"]
    if window[1] > trial * (1.0 + 1e-9):
        return [f"LOSS_WINDOW={window} must end by the end of the trial (TRIAL_MS={trial:g})"]
    first, last = description.steps_of(window, dt_ms, trial)
    if first >= last:
        return [f"LOSS_WINDOW={window} must hold the beginning of a step of DT_MS={dt_ms:g}"]
    return []


def _check_penalty(p: Mapping[str, Any]) -> list[str]:
    """The penalty of late first spikes, and its derivative, fit single precision to the end of a trial."""
    loss = p.get("LOSS_TYPE")
    if not {"TRIAL_MS", "ALPHA", "TAU_1"} <= p.keys() or p["ALPHA"] == 0.0:
        return []
    trial, alpha, tau, most = p["TRIAL_MS"], p["ALPHA"], p["TAU_1"], math.log(_LARGEST_SLOPE)
    if loss == "first_spike_exp" and math.log(alpha) - math.log(tau) + trial / tau > most:
        return [
            f"TAU_1={tau:g} makes the penalty exp(TRIAL_MS / TAU_1) too large a number; {trial / 20.0:g} would do, "
            "with an ALPHA of at most 1"
        ]
    if loss == "first_spike" and math.log(alpha) - 2.0 * math.log(0.01 * trial) > most:
        return [f"ALPHA={alpha:g} is too large for a trial of TRIAL_MS={trial:g}; a smaller one would do"]
    return []


def _check_smoothing(p: Mapping[str, Any]) -> list[str]:
    """Labels are smoothed in cross-entropies: a loss that compares output by output has no share for other classes."""
    smoothing, loss = p.get("LABEL_SMOOTHING"), p.get("LOSS_TYPE")
    if not smoothing or loss is None or not meaning("LOSS_TYPE", loss, models.LOSSES).compare:
        return []
    return [
        f'LABEL_SMOOTHING={smoothing:g} is for cross-entropies, and LOSS_TYPE="{loss}" compares each output by itself; '
        "0 would do"
    ]


def check_targets(loss: Loss, given: np.ndarray, outputs: int, steps: int) -> str | None:
    """Why a loss does not go with these targets; None where it does."""
    name, values = f'LOSS_TYPE="{loss.name}"', targets.are_values(given)
    if loss.of_values and not values:
        return f"{name} compares values, and the data has classes; {targets.FORMS}"
    if values and not loss.of_values:
        fits = '"mse_steps"' if targets.of_steps(given) else '"mse" (of averages over LOSS_WINDOW) or "mse_steps"'
        return f"{name} compares classes, and the data has values; LOSS_TYPE={fits} would be right"
    if targets.of_steps(given) and not loss.per_step:
        fits = '"mse_steps"' if values else '"avg_xentropy"'
        what = "values" if values else "labels"
        return f"{name} compares once in a trial, and there are {what} of each step; LOSS_TYPE={fits} would be right"
    if targets.of_steps(given) and given.shape[1] != steps:
        return f"there are targets of {given.shape[1]} steps, and a trial (TRIAL_MS / DT_MS) has {steps}"
    if values and given.shape[-1] != outputs:
        return f"there are values of {given.shape[-1]} outputs, and NUM_CLASSES={outputs}"
    return None
