"""Losses of the event-driven reference and what they read of its solution; ``oracle.py`` has the equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from tests.support.event_driven import Array, InputEvents, Trajectory, meeting_time, response

LOSS_WEIGHTS: dict[str, Callable[[ArrayLike], Array]] = {
    "sum": lambda u: np.ones_like(np.asarray(u, dtype=np.float64)),
    "sum_weigh_linear": lambda u: 1.0 - np.asarray(u, dtype=np.float64),
    "sum_weigh_exp": lambda u: np.exp(-np.asarray(u, dtype=np.float64)),
    "sum_weigh_sigmoid": lambda u: 1.0 / (1.0 + np.exp((np.asarray(u, dtype=np.float64) - 0.5) / 0.2)),
}
"""Weight function w of each loss, as a function of the relative time t/T."""

VOLTAGE_LOSSES = (*LOSS_WEIGHTS, "sum_weigh_input", "avg_xentropy", "max")
SPIKE_LOSSES = ("first_spike", "first_spike_exp")

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS  # for the interval [0, 1]


def cross_entropy(score: Array, label: int) -> float:
    """-log softmax(score)_label."""
    shifted = score - score.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


def softmax(score: Array) -> Array:
    """exp(score) / sum exp(score) over the last axis."""
    exponentials = np.exp(score - score.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _column(values: Array, lag: Array) -> Array:
    """(segment,) or (segment, neuron) values, to be combined with (segment, ...) lags."""
    return values.reshape(len(values), *[1] * (lag.ndim - 1), *values.shape[1:])


def _output_voltage(trajectory: Trajectory, lag: Array) -> Array:
    """(segment, ..., output) V of the outputs at (segment, ...) lags from the segment starts."""
    output = trajectory.network.output
    i, v = (_column(state[:, -output.size :], lag) for state in (trajectory.i, trajectory.v))
    x = lag[..., None]
    return np.exp(-x / output.tau_mem) * v + response(x, output.tau_mem, output.tau_syn) * i


def _loss_weight(
    trajectory: Trajectory, events: InputEvents, loss: str, parameters: Mapping[str, float], lag: Array
) -> Array:
    """w at (segment, ...) lags from the segment starts, same shape."""
    start = _column(trajectory.start_ms, lag)
    if loss != "sum_weigh_input":
        return LOSS_WEIGHTS["sum" if loss == "avg_xentropy" else loss]((start + lag) / trajectory.network.trial_ms)
    tau = parameters["tau_accumulator"]
    age = trajectory.start_ms[:, None] - np.array([time for time, _ in events]).reshape(1, -1)  # (segment, event)
    traffic = np.where(age >= 0, 0.01 / tau * np.exp(-np.maximum(age, 0.0) / tau), 0.0).sum(axis=1)
    return _column(traffic, lag) * np.exp(-lag / tau)


def _nodes(trajectory: Trajectory) -> tuple[Array, Array]:
    """(segment, node) lags and weights of a quadrature over the trial."""
    length = trajectory.length_ms[:, None]
    return length * _NODES, length * _WEIGHTS


def _first_spikes(trajectory: Trajectory, silent_ms: float) -> Array:
    """(output,) time of the first spike, `silent_ms` where there is none."""
    return np.array([own[0] if len(own) else silent_ms for own in trajectory.spike_times["output"]])


def _maxima(trajectory: Trajectory) -> tuple[Array, Array]:
    """(output,) largest V in the trial and its time: at a segment start, at an extremum in a segment or at T."""
    output = trajectory.network.output
    i, v = trajectory.i[:, -output.size :], trajectory.v[:, -output.size :]
    turn = np.vectorize(meeting_time, otypes=[np.float64])(i, v, output.tau_mem, output.tau_syn)  # (segment, output)
    lag = np.where(turn < trajectory.length_ms[:, None], turn, 0.0)
    at_turn = np.exp(-lag / output.tau_mem) * v + response(lag, output.tau_mem, output.tau_syn) * i
    last = _output_voltage(trajectory, trajectory.length_ms)[-1:]
    values = np.concatenate([v, at_turn, last])
    start = np.repeat(trajectory.start_ms[:, None], output.size, axis=1)
    times = np.concatenate([start, start + lag, np.full_like(last, trajectory.network.trial_ms)])
    best = values.argmax(axis=0), np.arange(output.size)
    return values[best], times[best]


def scores(
    trajectory: Trajectory, loss: str, events: InputEvents = (), parameters: Mapping[str, float] | None = None
) -> Array:
    """(output,) scores whose softmax the loss takes; for avg_xentropy the mean of V, which predicts the class.

    `events` are needed by sum_weigh_input alone, `parameters` by it and the losses of spike times.
    """
    if (loss in SPIKE_LOSSES) != trajectory.network.spiking_outputs:
        raise ValueError(f"{loss} does not fit outputs that {'do not ' * (loss in SPIKE_LOSSES)}spike")
    trial = trajectory.network.trial_ms
    if loss in SPIKE_LOSSES:
        return -_first_spikes(trajectory, trial + 1.0) / (parameters or {})["tau_0"]
    if loss == "max":
        return _maxima(trajectory)[0]
    lag, weight = _nodes(trajectory)
    weight = weight * _loss_weight(trajectory, events, loss, parameters or {}, lag)
    return np.einsum("sq,sqj->j", weight, _output_voltage(trajectory, lag)) / trial


def _penalty(t: float, trial_ms: float, loss: str, parameters: Mapping[str, float]) -> tuple[float, float]:
    """Penalty for a late first spike of the label's output, and its derivative by the time t."""
    alpha = parameters["alpha"]
    if loss == "first_spike":
        return alpha / (1.01 * trial_ms - t), alpha / (1.01 * trial_ms - t) ** 2
    tau_1 = parameters["tau_1"]
    return alpha * math.expm1(t / tau_1), alpha / tau_1 * math.exp(t / tau_1)


def loss_value(
    trajectory: Trajectory,
    events: InputEvents,
    label: int,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
) -> float:
    """Loss of one sample; arguments as in `gradients`."""
    score, trial = scores(trajectory, loss, events, parameters), trajectory.network.trial_ms
    if loss == "avg_xentropy":
        lag, weight = _nodes(trajectory)
        p = softmax(_output_voltage(trajectory, lag))[..., label]
        return float(-(weight * np.log(p)).sum() / trial)
    value = cross_entropy(score, label)
    if loss in SPIKE_LOSSES:
        value += _penalty(_first_spikes(trajectory, trial)[label], trial, loss, parameters or {})[0]
    return value
