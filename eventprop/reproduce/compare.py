"""Whether a number has moved.

Of ``n`` runs with mean ``m`` and standard deviation ``s`` each, before and now, it has where

    |m_now - m_before| > 3 sqrt(s_before^2 / n_before + s_now^2 / n_now)

``s`` is that over the runs, but at least what the finite number of samples leaves open, ``sqrt(q (1 - q) / samples)``
with ``q = (m samples + 1) / (samples + 2)``, and no other is known of a single run. Three, not two: among the many
numbers of the table hardly one should be told by chance.
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
    """By how much runs differ from each other, in %: over seeds, but not less than by the finite number of samples."""
    samples = number.samples or _FEWEST
    share = (number.mean / 100.0 * samples + 1.0) / (samples + 2.0)
    return max(number.sd or 0.0, 100.0 * math.sqrt(share * (1.0 - share) / samples))
