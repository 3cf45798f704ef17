"""Event-driven, continuous-time reference for Eventprop gradients (float64), independent of the package.

Network: input events -> one or more hidden layers (LIF or ALIF, each optionally recurrent) -> outputs. Between events

    tau_syn dI/dt = -I,    tau_mem dV/dt = I - V,    tau_b dB/dt = -B  (adaptation; B = 0 in a LIF neuron),

where I jumps by w at a presynaptic event. With a(x) = exp(-x/tau_mem), c(x) = exp(-x/tau_syn) the solution is

    I(x) = c I(0),    V(x) = a V(0) + f(x) I(0),    f = tau_syn (a - c)/(tau_mem - tau_syn).

A neuron whose V - B rises to v_thresh spikes: V := v_reset, B := B + b_incr. Outputs either never spike (LI,
v_thresh = inf) and are read through V, or spike and are read through their first spike times t_j. With label y and
T the duration of the trial the losses are

    sum...        S_j = 1/T * integral_0^T w(t) V_j dt,    L = -log softmax(S)_y,    w of `LOSS_WEIGHTS`, or
                  for sum_weigh_input the sum over input events at t_i <= t of
                  0.01/tau_accumulator * exp(-(t - t_i)/tau_accumulator)
    avg_xentropy  L = 1/T * integral_0^T -log softmax(V(t))_y dt
    max           L = -log softmax(M)_y,    M_j = max over [0, T] of V_j
    first_spike, first_spike_exp
                  L = -log softmax(-t/tau_0)_y + alpha/(1.01 T - t_y)  or  + alpha (exp(t_y/tau_1) - 1);
                  an output without spikes counts with T + 1 in the softmax and T in the penalty

Adjoints, in the convention of Wunderlich & Pehle (Sci. Rep. 11:12829), dL/dV = -tau_mem lambda_v,
dL/dI = -tau_syn lambda_i and dL/dB = -tau_b lambda_b; in reversed time (') they obey

    tau_mem lambda_v' = A - lambda_v,    tau_syn lambda_i' = lambda_v - lambda_i,    tau_b lambda_b' = -lambda_b,

with the drive A_j = (delta_jy - p_j) w(t)/T or, for avg_xentropy, (delta_jy - p_j(t))/T. For max lambda_v,j grows by
(delta_jy - p_j)/tau_mem,j at the time of the maximum. At a spike (- before, + after it in physical time)

    lambda_v^- = ((I^- - v_reset) lambda_v^+ - b_incr lambda_b^+ + R + dl_p/dt) / D,
    lambda_b^- = lambda_b^+ - tau_mem/tau_b lambda_v^-,
    D = tau_mem d(V - B)/dt^- = I^- - V^- + B^- tau_mem/tau_b,
    R = sum over outgoing synapses of w (lambda_v^+ - lambda_i^+).

dl_p/dt is the derivative of the loss by the time of that spike: of an output's first spike, or of a hidden spike
at whose arrival M_j is reached in a cusp (V_j rises before, falls after it): dL/dM_j dV_j/dt^-.

Gradients: dL/dw = -tau_syn,post * (sum over presynaptic events of lambda_i,post), dL/dtau_mem = integral lambda_v
dV/dt dt, dL/dtau_syn = integral lambda_i dI/dt dt and dL/dtau_b = integral lambda_b dB/dt dt.

No crossing is missed, for nothing is scanned: V - B is cut into monotone pieces, and a rising piece with ends on
either side of v_thresh holds the one crossing. V = rho I happens at most once, at a time in closed form
(`meeting_time`). rho = 1 is the extremum of V, the only cut if B = 0. Otherwise exp(x/tau_b) d(V - B)/dx is V'
exp(x/tau_b) plus a constant, and monotone on both sides of V'' + V'/tau_b = 0, which again is V = rho I; on each side
it has a zero, an extremum of V - B, if and only if its signs at the ends differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tests.support.event_driven import (
    Array,
    InputEvents,
    Layer,
    Network,
    SegmentEnd,
    Trajectory,
    _Neurons,
    _neurons,
    decay_difference,
    meeting_time,
    response,
    simulate,
)

Gradients = dict[str, dict[str, Array]]
Drive = Callable[[Array], Array]

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


def gradients(
    network: Network,
    events: InputEvents,
    label: int,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
) -> tuple[float, Gradients]:
    """Loss of one sample and its exact gradient.

    Args:
        network: the network.
        events: (time in ms, input index) pairs.
        label: class of the sample.
        loss: one of `VOLTAGE_LOSSES` or, for spiking outputs, of `SPIKE_LOSSES`.
        parameters: of the loss: tau_accumulator, or tau_0, alpha and tau_1.

    Returns:
        The loss, and by population ("hidden0", ..., "output") and parameter ("w", "tau_mem", "tau_syn" and where
        they exist "w_rec", "tau_b") the gradient in the shape of the parameter.
    """
    trajectory, parameters = simulate(network, events), parameters or {}
    value = loss_value(trajectory, events, label, loss, parameters)
    target = np.eye(network.output.size)[label]
    error = target - softmax(scores(trajectory, loss, events, parameters))  # -dL/dscore
    if loss == "max":
        return value, _max_gradients(trajectory, events, error)
    if loss in SPIKE_LOSSES:
        return value, _adjoint(trajectory, spike_drive=_first_spike_drive(trajectory, label, loss, parameters, error))

    def drive(lag: Array) -> Array:
        weight = _loss_weight(trajectory, events, loss, parameters, lag)[..., None] / network.trial_ms
        if loss == "avg_xentropy":
            return weight * (target - softmax(_output_voltage(trajectory, lag)))
        return weight * error

    return value, _adjoint(trajectory, drive)


def spike_time_gradients(
    network: Network, events: InputEvents, neuron: int, spike: int, population: str = "hidden0"
) -> Gradients:
    """Gradient of the time (ms) of one spike, that is of a loss l_p = t_spike; keys as in `gradients`."""
    trajectory = simulate(network, events)
    segments = _spikes_of(trajectory, _neurons(network).spans[population].start + neuron)
    return _adjoint(trajectory, spike_drive={segments[spike]: 1.0})


def _spikes_of(trajectory: Trajectory, neuron: int) -> list[int]:
    """Segments that end with a spike of this neuron."""
    return [s for s, end in enumerate(trajectory.ends) if end.kind == "spike" and end.source == neuron]


def _first_spike_drive(
    trajectory: Trajectory, label: int, loss: str, parameters: Mapping[str, float], error: Array
) -> dict[int, float]:
    """dl_p/dt of the first spike of each output, by the segment that it ends; silent outputs have none."""
    start, trial = trajectory.i.shape[1] - len(error), trajectory.network.trial_ms
    times = _first_spikes(trajectory, trial)
    slope = error / parameters["tau_0"]
    slope[label] += _penalty(times[label], trial, loss, parameters)[1]
    firsts = ((_spikes_of(trajectory, start + j)[:1], j) for j in range(len(error)))
    return {s: float(slope[j]) for own, j in firsts for s in own}


def _max_gradients(trajectory: Trajectory, events: InputEvents, error: Array) -> Gradients:
    """Gradient of the max loss: an impulse at each output's maximum, and where that is a cusp its motion."""
    output, times = trajectory.network.output, _maxima(trajectory)[1]
    trajectory = simulate(trajectory.network, events, marks=[t for t in times if t not in trajectory.start_ms])
    edges = np.append(trajectory.start_ms, trajectory.network.trial_ms)
    impulses: dict[int, Array] = {}
    cusps: dict[int, float] = {}
    for j, time in enumerate(times):
        s = int(abs(edges - time).argmin()) - 1  # the maximum is at the end of this segment
        impulse = impulses.setdefault(s, np.zeros(trajectory.i.shape[1]))
        impulse[j - output.size] += error[j] / output.tau_mem[j]
        if s >= 0 and trajectory.ends[s].kind == "spike":
            before = trajectory.i[s, j - output.size] * np.exp(-trajectory.length_ms[s] / output.tau_syn[j])
            rise = (before - trajectory.v[s + 1, j - output.size]) / output.tau_mem[j]
            cusps[s] = cusps.get(s, 0.0) + _cusp(error[j], rise)
    return _adjoint(trajectory, impulses=impulses, spike_drive=cusps)


def _cusp(error: float, rise: float) -> float:
    """dL/dM dV/dt^-: what the loss gains as the spike that ends the rise of V comes later."""
    return float(-error * rise)


def _jump(neurons: _Neurons, end: SegmentEnd, lambda_v: float, lambda_b: float, error: float) -> tuple[float, float]:
    """lambda_v^- and lambda_b^- of the neuron that spikes; `error` is R + dl_p/dt."""
    n = end.source
    bracket = (end.current - neurons.v_reset[n]) * lambda_v - neurons.b_incr[n] * lambda_b + error
    lambda_v = bracket / end.denominator
    return lambda_v, lambda_b - neurons.tau_mem[n] / neurons.tau_b[n] * lambda_v


def _drive_response(output: Layer, drive: Drive, lag: Array, length: Array) -> tuple[Array, Array]:
    """(segment, ..., output) adjoints at (segment, ...) lags due to the drive up to the segment end, from 0 there.

    lambda_v = integral_0^x A a du / tau_mem,  lambda_i = integral_0^x A f du / tau_syn.
    """
    rest = (_column(length, lag) - lag)[..., None]
    u = rest * _NODES  # (segment, ..., node)
    amount = drive(lag[..., None] + u) * (rest * _WEIGHTS)[..., None]  # (segment, ..., node, output)
    u = u[..., None]
    lambda_v = (amount * np.exp(-u / output.tau_mem)).sum(axis=-2) / output.tau_mem
    lambda_i = (amount * decay_difference(u, output.tau_mem, output.tau_syn)).sum(axis=-2)
    return lambda_v, lambda_i


def _adjoint(
    trajectory: Trajectory,
    drive: Drive | None = None,
    spike_drive: Mapping[int, float] | None = None,
    impulses: Mapping[int, Array] | None = None,
) -> Gradients:
    """Integrate the adjoints backwards and collect all gradients.

    Args:
        trajectory: forward solution.
        drive: (segment, ..., output) A at (segment, ...) lags from the segment starts.
        spike_drive: dl_p/dt for spikes, by the segment that they end.
        impulses: (neuron,) growth of lambda_v, by the segment at whose end it happens.
    """
    neurons, length, output = _neurons(trajectory.network), trajectory.length_ms, trajectory.network.output
    spike_drive, impulses = spike_drive or {}, impulses or {}
    outputs = slice(-output.size, None)
    tau_mem, tau_syn = neurons.tau_mem, neurons.tau_syn
    w_in, w = np.zeros_like(neurons.w_in), np.zeros_like(neurons.w)
    x = length[:, None]
    a, c, gamma = (np.exp(-x / tau) for tau in (tau_mem, tau_syn, neurons.tau_b))
    transfer = tau_mem * decay_difference(x, tau_mem, tau_syn)
    push_v, push_i = np.zeros_like(trajectory.v), np.zeros_like(trajectory.i)
    if drive is not None:
        push_v[:, outputs], push_i[:, outputs] = _drive_response(output, drive, np.zeros_like(length), length)
    lambda_v, lambda_i, lambda_b = (np.zeros_like(tau_mem) for _ in range(3))
    at_end = [np.zeros_like(trajectory.v) for _ in range(3)]
    for s in range(len(length) - 1, -1, -1):
        end = trajectory.ends[s]
        if end.kind == "input":
            w_in[end.source] -= tau_syn * lambda_i
        elif end.kind == "spike":
            n = end.source
            error = neurons.w[n] @ (lambda_v - lambda_i) + spike_drive.get(s, 0.0)
            w[n] -= tau_syn * lambda_i
            lambda_v[n], lambda_b[n] = _jump(neurons, end, lambda_v[n], lambda_b[n], error)
        if s in impulses:
            lambda_v = lambda_v + impulses[s]
        at_end[0][s], at_end[1][s], at_end[2][s] = lambda_v, lambda_i, lambda_b
        lambda_i = c[s] * lambda_i + transfer[s] * lambda_v + push_i[s]
        lambda_v, lambda_b = a[s] * lambda_v + push_v[s], gamma[s] * lambda_b
    rows = _tau_gradients(trajectory, neurons, drive, at_end)
    result: Gradients = {}
    below = slice(0, 0)
    for name, layer in trajectory.network.populations.items():
        span = neurons.spans[name]
        own = {parameter: row[span] for parameter, row in rows.items()}
        own |= {"w": w[below, span] if result else w_in[:, span], "w_rec": w[span, span]}
        result[name] = {parameter: own[parameter] for parameter in layer.parameters}
        below = span
    return result


def _tau_gradients(
    trajectory: Trajectory, neurons: _Neurons, drive: Drive | None, at_end: Sequence[Array]
) -> dict[str, Array]:
    """integral lambda_v (I - V)/tau_mem dt, -integral lambda_i I/tau_syn dt and -integral lambda_b B/tau_b dt.

    lambda_b decays backwards as B does forwards: their product is constant in a segment.
    """
    tau_mem, tau_syn, tau_b = neurons.tau_mem, neurons.tau_syn, neurons.tau_b
    nodes, weight = _nodes(trajectory)
    lag, left = nodes[..., None], (trajectory.length_ms[:, None] - nodes)[..., None]  # (segment, node, 1)
    i_0, v_0, lambda_v_end, lambda_i_end = (z[:, None] for z in (trajectory.i, trajectory.v, *at_end[:2]))
    i = np.exp(-lag / tau_syn) * i_0
    v = np.exp(-lag / tau_mem) * v_0 + response(lag, tau_mem, tau_syn) * i_0
    lambda_i = np.exp(-left / tau_syn) * lambda_i_end
    lambda_i += tau_mem * decay_difference(left, tau_mem, tau_syn) * lambda_v_end
    lambda_v = np.exp(-left / tau_mem) * lambda_v_end
    if drive is not None:
        output = trajectory.network.output
        driven_v, driven_i = _drive_response(output, drive, nodes, trajectory.length_ms)
        lambda_v[..., -output.size :] += driven_v
        lambda_i[..., -output.size :] += driven_i
    x = trajectory.length_ms[:, None]
    return {
        "tau_mem": np.einsum("sq,sqn->n", weight, lambda_v * (i - v)) / tau_mem,
        "tau_syn": -np.einsum("sq,sqn->n", weight, lambda_i * i) / tau_syn,
        "tau_b": -(x * np.exp(-x / tau_b) * at_end[2] * trajectory.b).sum(axis=0) / tau_b,
    }
