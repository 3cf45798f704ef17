"""The learning rate: ease-in, decay (``ETA_DECAY``), a cut (``ETA_FAC``) where accuracy stops improving, a cosine.

Ease-in: the working rate starts at ``ETA / 1000`` and grows by ``LR_EASE_IN_FACTOR`` with each update until it
reaches the nominal rate. Plateau: with exponential averages ``E <- alpha E + (1 - alpha) accuracy``, the nominal
rate is multiplied by ``ETA_FAC`` when the fast one (``EMA_ALPHA1``) is not above the slow one (``EMA_ALPHA2``)
and more than ``MIN_EPOCH_ETA_FIXED`` epochs have passed since the last reduction. Cosine (``ETA_SCHEDULE``): what the
others make of the rate is multiplied by ``ETA_END + (1 - ETA_END) (1 + cos(pi x)) / 2``, with x the share of the run's
``N_EPOCH`` epochs that is over before an update (Loshchilov & Hutter 2017, without restarts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from eventprop.choice import meaning

__all__ = ["LearningRate", "RateSettings"]


@dataclass(frozen=True)
class RateSettings:
    """What the rate goes by, under the names of the keys in small letters."""

    eta: float
    lr_ease_in_factor: float | None
    ema_alpha1: float
    ema_alpha2: float
    eta_fac: float
    min_epoch_eta_fixed: int
    eta_decay: float = 1.0
    eta_delay: float = 0.0
    eta_schedule: str = "constant"
    eta_end: float = 0.0

    def share(self, done: float) -> float:
        """What the schedule leaves of the rate where ``done`` of a run is over, from 0 to 1."""
        falls = meaning("ETA_SCHEDULE", self.eta_schedule, {"constant": False, "cosine": True})
        return self.eta_end + (1.0 - self.eta_end) * 0.5 * (1.0 + math.cos(math.pi * done)) if falls else 1.0


@dataclass
class LearningRate:
    """State of the schedule; plain numbers, saved with checkpoints. The cosine has none: it follows from the epoch."""

    nominal: float
    working: float
    fast: float = 0.0
    slow: float = 0.0
    last_reduction: int = 0

    @classmethod
    def start(cls, s: RateSettings) -> LearningRate:
        eta = float(s.eta)
        return cls(nominal=eta, working=eta if s.lr_ease_in_factor is None else eta / 1000.0)

    def at(self, s: RateSettings, done: float) -> float:
        """The rate of an update where ``done`` of the run is over."""
        return self.working * s.share(done)

    def of_delays(self, s: RateSettings, done: float) -> float:
        """As :meth:`at`, of delays, whose schedule is the same."""
        return self.at(s, done) * s.eta_delay / s.eta if s.eta > 0.0 else 0.0

    def before_epoch(self, s: RateSettings) -> None:
        """Decay by ``ETA_DECAY``, for benchmarks that have it: called at the start of each epoch, the first too."""
        self.nominal *= s.eta_decay
        self.working *= s.eta_decay

    def after_update(self, s: RateSettings) -> None:
        """Ease-in: called after each update of the weights. Where there is none, the rate is the nominal one."""
        if self.working < self.nominal:
            factor = s.lr_ease_in_factor
            self.working = self.nominal if factor is None else min(self.working * factor, self.nominal)

    def after_epoch(self, s: RateSettings, epoch: int, accuracy: float | None) -> bool:
        """Update the averages with this epoch's ``accuracy`` (None: nothing to go by), or minus a mean square error,
        of which averages start at the first; True if the rate dropped."""
        if accuracy is None:
            return False
        if accuracy < 0.0 and self.fast == self.slow == 0.0:
            self.fast = self.slow = accuracy
        self.fast = s.ema_alpha1 * self.fast + (1.0 - s.ema_alpha1) * accuracy
        self.slow = s.ema_alpha2 * self.slow + (1.0 - s.ema_alpha2) * accuracy
        if epoch - self.last_reduction <= s.min_epoch_eta_fixed or self.fast > self.slow:
            return False
        self.nominal *= s.eta_fac
        self.working = self.nominal
        self.last_reduction = epoch
        return True
