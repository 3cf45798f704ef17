"""Whether a number has moved.

Of ``n`` runs with mean ``m`` and standard deviation ``s`` each, before and now, it has where

    |m_now - m_before| > 3 sqrt(v_before / n_before + v_now / n_now),    v = (b^2 + (n - 1) s^2) / n

``b^2 = q (1 - q) / samples``, with ``q = (m samples + 1) / (samples + 2)``, is the variance of a share of so many
samples that are drawn anew, and counts as one run more: it is all that is known of a single run, and a few seeds that
agree by chance do not make a number sure. Three, not two: among the many numbers of the table hardly one should be told
by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from eventprop.simulators.measured import Number

__all__ = ["FACTOR", "Difference", "difference", "run_sd"]

FACTOR = 3.0
_FEWEST = 100  # samples, where the table does not say how many there were


@dataclass(frozen=True)
class Difference:
    """Of means now and before, and the largest that chance explains, in % of the samples."""

    change: float
    allowed: float

    @property
    def moved(self) -> bool:
        return abs(self.change) > self.allowed


def difference(before: Number, now: Number) -> Difference:
    """Between what the table has and what came out."""
    variance = sum(run_sd(number) ** 2 / number.n for number in (before, now))
    return Difference(now.mean - before.mean, FACTOR * math.sqrt(variance))


def run_sd(number: Number) -> float:
    """By how much runs differ from each other, ``sqrt(v)``, in %."""
    samples = number.samples or _FEWEST
    share = (number.mean / 100.0 * samples + 1.0) / (samples + 2.0)
    drawn = 1e4 * share * (1.0 - share) / samples
    return math.sqrt(drawn if number.sd is None else (drawn + (number.n - 1) * number.sd**2) / number.n)
