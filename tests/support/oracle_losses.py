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

VALUE_LOSSES = ("mse", "mse_steps")
VOLTAGE_LOSSES = (*LOSS_WEIGHTS, "sum_weigh_input", "avg_xentropy", "max", *VALUE_LOSSES)
SPIKE_LOSSES = ("first_spike", "first_spike_exp")

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS  # for the interval [0, 1]


Told = int | Array | Callable[[Array], Array]
"""What outputs are compared with: a label, (output,) values, or by (...) times the (..., output) values, which are 1
and 0 for labels."""
Window = tuple[float, float] | None
"""From when to when (ms) a loss counts; None for the whole trial."""


def values_of(told: Told, loss: str, outputs: int) -> Told:
    """(output,) values where there is a label: 1 and 0 or, of losses that compare values, 0.5 and -0.2."""
    if not isinstance(told, int | np.integer):
        return told
    hit = np.eye(outputs)[told]
    return np.where(hit > 0, 0.5, -0.2) if loss in VALUE_LOSSES else hit


def _within(trajectory: Trajectory, window: Window, lag: Array) -> Array:
    """(segment, ...) what counts of times at lags from the segment starts, over how long counts: the loss is a mean.

    Windows begin and end with segments.
    """
    first, last = window or (0.0, trajectory.network.trial_ms)
    middle = trajectory.start_ms + trajectory.length_ms / 2
    counts = ((middle >= first) & (middle < last)) / (last - first)
    return np.broadcast_to(_column(counts, lag), lag.shape)


def _told_at(trajectory: Trajectory, told: Told, lag: Array) -> Array:
    """(segment, ..., output) or (output,) values at (segment, ...) lags from the segment starts."""
    assert not isinstance(told, int)
    return told(_column(trajectory.start_ms, lag) + lag) if callable(told) else told


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
        return LOSS_WEIGHTS[loss if loss in LOSS_WEIGHTS else "sum"]((start + lag) / trajectory.network.trial_ms)
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


def _maxima(trajectory: Trajectory, window: Window = None) -> tuple[Array, Array]:
    """(output,) largest V in the trial, or a window of it, and its time: at a segment start, at an extremum in a
    segment or at the end."""
    output = trajectory.network.output
    i, v = trajectory.i[:, -output.size :], trajectory.v[:, -output.size :]
    turn = np.vectorize(meeting_time, otypes=[np.float64])(i, v, output.tau_mem, output.tau_syn)  # (segment, output)
    lag = np.where(turn < trajectory.length_ms[:, None], turn, 0.0)
    at_turn = np.exp(-lag / output.tau_mem) * v + response(lag, output.tau_mem, output.tau_syn) * i
    counts = _within(trajectory, window, trajectory.length_ms) > 0
    final = np.flatnonzero(counts)[-1]
    last = _output_voltage(trajectory, trajectory.length_ms)[final : final + 1]
    values = np.concatenate([v[counts], at_turn[counts], last])
    start = np.repeat(trajectory.start_ms[:, None], output.size, axis=1)
    ends = trajectory.start_ms[final] + trajectory.length_ms[final]
    times = np.concatenate([start[counts], (start + lag)[counts], np.full_like(last, ends)])
    best = values.argmax(axis=0), np.arange(output.size)
    return values[best], times[best]


def scores(
    trajectory: Trajectory,
    loss: str,
    events: InputEvents = (),
    parameters: Mapping[str, float] | None = None,
    window: Window = None,
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
        return _maxima(trajectory, window)[0]
    lag, weight = _nodes(trajectory)
    weight = weight * _loss_weight(trajectory, events, loss, parameters or {}, lag)
    weight = weight * _within(trajectory, window, lag)
    return np.einsum("sq,sqj->j", weight, _output_voltage(trajectory, lag))


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
    label: Told,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
    window: Window = None,
) -> float:
    """Loss of one sample; arguments as in `gradients`, segments end where the window does."""
    score, trial = scores(trajectory, loss, events, parameters, window), trajectory.network.trial_ms
    told = values_of(label, loss, trajectory.network.output.size)
    if loss in ("avg_xentropy", "mse_steps"):
        lag, weight = _nodes(trajectory)
        weight = weight * _within(trajectory, window, lag)
        v, wanted = _output_voltage(trajectory, lag), _told_at(trajectory, told, lag)
        found = (
            (wanted * -np.log(softmax(v))).sum(axis=-1) if loss == "avg_xentropy" else ((v - wanted) ** 2).mean(axis=-1)
        )
        return float((weight * found).sum())
    if loss == "mse":
        return float(((score - told) ** 2).mean())
    assert isinstance(label, int | np.integer)
    value = cross_entropy(score, int(label))
    if loss in SPIKE_LOSSES:
        value += _penalty(_first_spikes(trajectory, trial)[label], trial, loss, parameters or {})[0]
    return value
