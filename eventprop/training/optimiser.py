"""The optimiser's parameters for each update."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["AdamSettings", "adam_parameters"]


@dataclass(frozen=True)
class AdamSettings:
    """Decays of the mean gradient and the mean squared gradient, epsilon, and the decay of weights."""

    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_eps: float = 1e-8
    weight_decay: float = 0.0


def adam_parameters(s: AdamSettings, rate: float, step: int) -> dict[str, float]:
    """Values of :data:`models.ADAM`'s parameters for update number ``step`` (1, 2, ...), for any decay below 1."""
    values = {"rate": rate, "epsilon": s.adam_eps, "shrink": rate * s.weight_decay}
    for number, beta in ((1, s.adam_beta1), (2, s.adam_beta2)):
        rest = 1.0 - beta
        left = 1.0 if rest == 1.0 else -math.expm1(step * math.log1p(-rest))  # 1 - beta^step
        values |= {f"beta{number}": beta, f"rest{number}": rest, f"correction{number}": 1.0 / left}
    return values
