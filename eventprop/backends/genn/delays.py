"""Delays of synapses on GeNN, in GeNNCode and on the host.

A spike of step k is delivered through a synapse of d steps in step k + 1 + d: GeNN keeps what is to come, by target and
step (``addToPostDelay``). Backwards, the event of that spike comes d steps later than its arrival: the synapse reads
its target's adjoints of d steps ago, which GeNN keeps as well (``variable[d]``). Both end with the trial: nothing gets
from one into another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventprop.network import Delay, Network

__all__ = ["IN_STEPS", "delivered", "in_steps", "largest", "one_of_each", "shared"]

IN_STEPS = "late = (uint16_t)fmin(floor((double)value / step_ms + 0.5), most_steps);"
"""GeNNCode: what a delay is in whole steps, as :func:`in_steps` has it."""


def delivered(value: str, num_steps: int) -> str:
    """GeNNCode: what a spike brings, unless its arrival is after the trial."""
    return f"if ((int)round(t / dt) + late < {num_steps}) {{ addToPostDelay({value}, late); }}"


def in_steps(values: np.ndarray, network: Network) -> np.ndarray:
    """Delays (ms) to the nearest whole steps, uint16; longer ones than a trial are as good as one that long."""
    steps = np.floor(np.asarray(values, np.float64) / network.dt_ms + 0.5)
    return np.clip(steps, 0, network.num_steps).astype(np.uint16)


def largest(delay: Delay, network: Network) -> int:
    """The longest that a delay can be, in steps; in single precision the bound may be rounded up."""
    return int(in_steps(np.maximum(delay.most, np.float32(delay.most)), network))


def _axis(delay: Delay) -> int | None:
    """Along which synapses ``(n_pre, n_post)`` share their delays."""
    return {"source": 1, "target": 0}.get(delay.per)


def shared(gradient: np.ndarray, delay: Delay) -> np.ndarray:
    """For each synapse, the sum of the gradients ``(n_pre, n_post)`` of those that have the same delay."""
    axis = _axis(delay)
    if axis is None:
        return gradient
    sums: Any = gradient.sum(axis=axis, keepdims=True, dtype=np.float64)
    return np.broadcast_to(sums.astype(gradient.dtype), gradient.shape)


def one_of_each(gradient: np.ndarray, delay: Delay) -> np.ndarray:
    """Gradients ``(n_pre, n_post)`` without those of delays that are there already."""
    axis = _axis(delay)
    return gradient if axis is None else gradient.take([0], axis)
