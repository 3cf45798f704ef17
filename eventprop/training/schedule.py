"""The learning rate: ease-in, decay (``ETA_DECAY``), and a cut (``ETA_FAC``) where accuracy stops improving.

Ease-in: the working rate starts at ``ETA / 1000`` and grows by ``LR_EASE_IN_FACTOR`` with each update until it
reaches the nominal rate. Plateau: with exponential averages ``E <- alpha E + (1 - alpha) accuracy``, the nominal
rate is multiplied by ``ETA_FAC`` when the fast one (``EMA_ALPHA1``) is not above the slow one (``EMA_ALPHA2``)
and more than ``MIN_EPOCH_ETA_FIXED`` epochs have passed since the last reduction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LearningRate"]


@dataclass
class LearningRate:
    """State of the schedule; plain numbers, saved with checkpoints."""

    nominal: float
    working: float
    fast: float = 0.0
    slow: float = 0.0
    last_reduction: int = 0

    @classmethod
    def start(cls, p: Mapping[str, Any]) -> LearningRate:
        eta = float(p["ETA"])
        return cls(nominal=eta, working=eta if p["LR_EASE_IN_FACTOR"] is None else eta / 1000.0)

    def before_epoch(self, p: Mapping[str, Any]) -> None:
        """Decay by ``ETA_DECAY``, for benchmarks that have it: called at the start of each epoch, the first too."""
        self.nominal *= p.get("ETA_DECAY", 1.0)
        self.working *= p.get("ETA_DECAY", 1.0)

    def after_update(self, p: Mapping[str, Any]) -> None:
        """Ease-in: called after each update of the weights. Where there is none, the rate is the nominal one."""
        if self.working < self.nominal:
            factor = p["LR_EASE_IN_FACTOR"]
            self.working = self.nominal if factor is None else min(self.working * factor, self.nominal)

    def after_epoch(self, p: Mapping[str, Any], epoch: int, accuracy: float | None) -> bool:
        """Update the averages with this epoch's ``accuracy`` (None: nothing to go by); True if the rate dropped."""
        if accuracy is None:
            return False
        self.fast = p["EMA_ALPHA1"] * self.fast + (1.0 - p["EMA_ALPHA1"]) * accuracy
        self.slow = p["EMA_ALPHA2"] * self.slow + (1.0 - p["EMA_ALPHA2"]) * accuracy
        if epoch - self.last_reduction <= p["MIN_EPOCH_ETA_FIXED"] or self.fast > self.slow:
            return False
        self.nominal *= p["ETA_FAC"]
        self.working = self.nominal
        self.last_reduction = epoch
        return True
