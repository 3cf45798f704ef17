"""Scalars of each epoch as event files of TensorBoard (``TENSORBOARD``), written by tensorboardX."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["EventLog"]

_TAGS = {
    "train_accuracy": "accuracy/training",
    "eval_accuracy": "accuracy/evaluation",
    "train_mse": "mean_square_error/training",
    "eval_mse": "mean_square_error/evaluation",
    "train_loss": "loss/training",
    "eval_loss": "loss/evaluation",
    "learning_rate": "learning_rate",
    "hidden_spikes_mean": "activity/hidden_spikes",
    "silent_neurons": "activity/silent_neurons",
    "seconds": "seconds",
}


class EventLog:
    """The event files of a run, in a folder of their own; each epoch is one step, counted from 1.

    Args:
        folder: where they are; ``tensorboard --logdir`` takes it or one above it.
        done: epochs that were complete before: what the folder has of later ones is passed over.
    """

    def __init__(self, folder: Path, done: int) -> None:
        from tensorboardX import SummaryWriter

        behind = {"purge_step": done + 1} if done else {}
        self._writer = SummaryWriter(str(folder), filename_suffix=f".from{done}", **behind)  # two may begin in a second

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Add what was measured in an epoch."""
        for name, tag in _TAGS.items():
            if math.isfinite(value := float(record.get(name, math.nan))):
                self._writer.add_scalar(tag, value, int(record["epoch"]) + 1)
        self._writer.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()
