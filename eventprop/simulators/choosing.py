"""By which data a run's best epoch, its rate and its end are chosen: never by test data on which it is evaluated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from eventprop.reports.measures import measure_of

__all__ = ["is_done", "without_test_data"]


def without_test_data(p: dict[str, Any]) -> dict[str, Any]:
    """``p`` such that nothing is chosen by the test data on which a run is evaluated.

    Raises:
        ValueError: ``CHECKPOINT_BEST`` or ``EARLY_STOPPING`` would.
    """
    if p["CHECKPOINT_BEST"] == "validation":
        raise ValueError(
            'CHECKPOINT_BEST="validation" would choose the best epoch by test data here, where nothing is validated; '
            '"training" chooses by training accuracy'
        )
    if p["EARLY_STOPPING"] is not None:
        raise ValueError(
            f"EARLY_STOPPING={p['EARLY_STOPPING']} would choose the last epoch by test data here, where nothing is "
            "validated; train() finds how many epochs it takes, for N_EPOCH"
        )
    if p["EMA_WHICH"] != "validation":
        return p
    if p["N_EPOCH"] > p["MIN_EPOCH_ETA_FIXED"] + 1:
        warnings.warn(
            'the schedule of the rate goes by training accuracy (EMA_WHICH="training"): there is no validation here, '
            "and test data choose nothing",
            stacklevel=5,
        )
    return {**p, "EMA_WHICH": "training"}


def is_done(history: Sequence[Mapping[str, Any]], patience: int | None) -> bool:
    """Whether validation has not been better than its best for ``patience`` epochs (None: never).

    It follows from the history alone, so that a run that is resumed ends where an unbroken one does.
    """
    if patience is None or not history:
        return False
    measure = measure_of(history[-1])
    best = measure.best([measure.of(record, "eval") for record in history])
    return best is not None and len(history) - 1 - best >= patience
