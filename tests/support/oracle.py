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
    mse           L = mean over j of (S_j - z_j)^2,    S_j as for sum
    mse_steps     L = mean over j of 1/T * integral_0^T (V_j - z_j(t))^2 dt
    first_spike, first_spike_exp
                  L = -log softmax(-t/tau_0)_y + alpha/(1.01 T - t_y)  or  + alpha (exp(t_y/tau_1) - 1);
                  an output without spikes counts with T + 1 in the softmax and T in the penalty

Adjoints, in the convention of Wunderlich & Pehle (Sci. Rep. 11:12829), dL/dV = -tau_mem lambda_v,
dL/dI = -tau_syn lambda_i and dL/dB = -tau_b lambda_b; in reversed time (') they obey

    tau_mem lambda_v' = A - lambda_v,    tau_syn lambda_i' = lambda_v - lambda_i,    tau_b lambda_b' = -lambda_b,

with the drive A_j = (delta_jy - p_j) w(t)/T or, for avg_xentropy, (delta_jy - p_j(t))/T; square errors of J outputs
have 2/J (z_j - S_j)/T or 2/J (z_j(t) - V_j(t))/T. A window of the loss takes the place of [0, T] and T. For max
lambda_v,j grows by (delta_jy - p_j)/tau_mem,j at the time of the maximum. At a spike (- before, + after it in time)

    lambda_v^- = ((I^- - v_reset) lambda_v^+ - b_incr lambda_b^+ + R + dl_p/dt) / D,
    lambda_b^- = lambda_b^+ - tau_mem/tau_b lambda_v^-,
    D = tau_mem d(V - B)/dt^- = I^- - V^- + B^- tau_mem/tau_b,
    R = sum over outgoing synapses of q,    q = dL/dt_a = w (lambda_v - lambda_i) of the target, when the spike arrives.

dl_p/dt is the derivative of the loss by the time of that spike: of an output's first spike, or of a hidden spike
at whose arrival M_j is reached in a cusp (V_j rises before, falls after it): dL/dM_j dV_j/dt^-.

Gradients: dL/dw = -tau_syn,post * (sum over presynaptic events of lambda_i,post), dL/dtau_mem = integral lambda_v
dV/dt dt, dL/dtau_syn = integral lambda_i dI/dt dt and dL/dtau_b = integral lambda_b dB/dt dt. A synapse with a delay
passes on what comes later: t_a = t + d, so that dL/dd = + (sum over arrivals of q).

No crossing is missed, for nothing is scanned: V - B is cut into monotone pieces, and a rising piece with ends on
either side of v_thresh holds the one crossing. V = rho I happens at most once, at a time in closed form
(`meeting_time`). rho = 1 is the extremum of V, the only cut if B = 0. Otherwise exp(x/tau_b) d(V - B)/dx is V'
exp(x/tau_b) plus a constant, and monotone on both sides of V'' + V'/tau_b = 0, which again is V = rho I; on each side
it has a zero, an extremum of V - B, if and only if its signs at the ends differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

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
from tests.support.oracle_losses import (
    _NODES,
    _WEIGHTS,
    LOSS_WEIGHTS,
    SPIKE_LOSSES,
    VALUE_LOSSES,
    VOLTAGE_LOSSES,
    Told,
    Window,
    _column,
    _first_spikes,
    _loss_weight,
    _maxima,
    _nodes,
    _output_voltage,
    _penalty,
    _told_at,
    _within,
    cross_entropy,
    loss_value,
    scores,
    softmax,
    values_of,
)

__all__ = [
    "LOSS_WEIGHTS",
    "SPIKE_LOSSES",
    "VALUE_LOSSES",
    "VOLTAGE_LOSSES",
    "Array",
    "Gradients",
    "InputEvents",
    "Layer",
    "Network",
    "SegmentEnd",
    "Trajectory",
    "cross_entropy",
    "delayed",
    "gradients",
    "loss_value",
    "meeting_time",
    "response",
    "scores",
    "simulate",
    "softmax",
    "spike_time_gradients",
    "values_of",
]

Gradients = dict[str, dict[str, Array]]
Drive = Callable[[Array], Array]


def delayed(events: InputEvents, channels: int, copies: int, delay_ms: float, trial_ms: float) -> InputEvents:
    """Input events of a network with `copies` delayed copies of its `channels` inputs.

    Copy i (0 is the original) of an event lies i * delay_ms later, in channel i * channels + channel; what would lie
    at or after trial_ms is dropped.
    """
    copied = [(t + k * delay_ms, k * channels + channel) for k in range(copies + 1) for t, channel in events]
    return [event for event in copied if event[0] < trial_ms]


def gradients(
    network: Network,
    events: InputEvents,
    label: Told,
    loss: str = "sum",
    parameters: Mapping[str, float] | None = None,
    window: Window = None,
) -> tuple[float, Gradients]:
    """Loss of one sample and its exact gradient.

    Args:
        network: the network.
        events: (time in ms, input index) pairs.
        label: class of the sample, or values.
        loss: one of `VOLTAGE_LOSSES` or, for spiking outputs, of `SPIKE_LOSSES`.
        parameters: of the loss: tau_accumulator, or tau_0, alpha and tau_1.
        window: what counts of the trial for losses of voltages.

    Returns:
        The loss, and by population ("hidden0", ..., "output") and parameter ("w", "tau_mem", "tau_syn" and where
        they exist "w_rec", "tau_b") the gradient in the shape of the parameter.
    """
    trajectory, parameters = simulate(network, events, marks=_inner(window, network)), parameters or {}
    value = loss_value(trajectory, events, label, loss, parameters, window)
    told, score = values_of(label, loss, network.output.size), scores(trajectory, loss, events, parameters, window)
    square = 2.0 / network.output.size
    if loss in ("avg_xentropy", "mse_steps"):
        error = np.zeros(0)  # it differs from time to time
    else:
        error = square * (told - score) if loss == "mse" else told - softmax(score)  # -dL/dscore
    if loss == "max":
        return value, _max_gradients(trajectory, events, error, window)
    if loss in SPIKE_LOSSES:
        assert isinstance(label, int | np.integer)
        return value, _adjoint(trajectory, spike_drive=_first_spike_drive(trajectory, label, loss, parameters, error))

    def drive(lag: Array) -> Array:
        weight = _loss_weight(trajectory, events, loss, parameters, lag) * _within(trajectory, window, lag)
        if loss in ("avg_xentropy", "mse_steps"):
            v, wanted = _output_voltage(trajectory, lag), _told_at(trajectory, told, lag)
            return weight[..., None] * (wanted - softmax(v) if loss == "avg_xentropy" else square * (wanted - v))
        return weight[..., None] * error

    return value, _adjoint(trajectory, drive)


def _inner(window: Window, network: Network) -> list[float]:
    """Ends of the window within the trial."""
    return [t for t in window or () if 0.0 < t < network.trial_ms]


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


def _max_gradients(trajectory: Trajectory, events: InputEvents, error: Array, window: Window = None) -> Gradients:
    """Gradient of the max loss: an impulse at each output's maximum, and where that is a cusp its motion."""
    output, times = trajectory.network.output, _maxima(trajectory, window)[1]
    own = {t for t in times if t not in trajectory.start_ms}
    trajectory = simulate(trajectory.network, events, marks=sorted({*own, *_inner(window, trajectory.network)}))
    edges = np.append(trajectory.start_ms, trajectory.network.trial_ms)
    impulses: dict[int, Array] = {}
    cusps: dict[int, Array] = {}
    for j, time in enumerate(times):
        s = int(abs(edges - time).argmin()) - 1  # the maximum is at the end of this segment
        impulse = impulses.setdefault(s, np.zeros(trajectory.i.shape[1]))
        impulse[j - output.size] += error[j] / output.tau_mem[j]
        if s >= 0 and trajectory.ends[s].kind in ("spike", "arrival"):
            before = trajectory.i[s, j - output.size] * np.exp(-trajectory.length_ms[s] / output.tau_syn[j])
            rise = (before - trajectory.v[s + 1, j - output.size]) / output.tau_mem[j]
            cusps.setdefault(s, np.zeros(trajectory.i.shape[1]))[j - output.size] = _cusp(error[j], rise)
    return _adjoint(trajectory, impulses=impulses, cusps=cusps)


def _cusp(error: float, rise: float) -> float:
    """dL/dM dV/dt^-: what the loss gains as the arrival that ends the rise of V comes later."""
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
    cusps: Mapping[int, Array] | None = None,
) -> Gradients:
    """Integrate the adjoints backwards and collect all gradients.

    Args:
        trajectory: forward solution.
        drive: (segment, ..., output) A at (segment, ...) lags from the segment starts.
        spike_drive: dl_p/dt for spikes, by the segment that they end.
        impulses: (neuron,) growth of lambda_v, by the segment at whose end it happens.
        cusps: (neuron,) what the loss gains besides as what arrives there comes later, by the segment that it ends.
    """
    neurons, length, output = _neurons(trajectory.network), trajectory.length_ms, trajectory.network.output
    spike_drive, impulses, cusps = spike_drive or {}, impulses or {}, cusps or {}
    outputs = slice(-output.size, None)
    tau_mem, tau_syn = neurons.tau_mem, neurons.tau_syn
    by_input, by_neuron = _BySynapse.of(neurons.w_in), _BySynapse.of(neurons.w)
    later = np.zeros(len(length))  # by the segment that a spike has ended, what the loss gains as it arrives later
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
        per_w, per_time = -tau_syn * lambda_i, lambda_v - lambda_i
        if end.kind == "input":
            by_input.arrive(end, end.targets, per_w, per_time)
        elif end.kind == "arrival":
            later[end.sent] += by_neuron.arrive(end, end.targets, per_w, per_time, cusps.get(s, 0.0))
        elif end.kind == "spike":
            n = end.source
            error = later[s] + by_neuron.arrive(end, neurons.d[n] == 0, per_w, per_time, cusps.get(s, 0.0))
            error += spike_drive.get(s, 0.0)
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
        source, at = (by_neuron, (below, span)) if result else (by_input, (slice(None), span))
        own = {parameter: row[span] for parameter, row in rows.items()}
        own |= {"w": source.w[at], "delay": source.delay[at]}
        own |= {"w_rec": by_neuron.w[span, span], "delay_rec": by_neuron.delay[span, span]}
        result[name] = {parameter: own[parameter] for parameter in layer.parameters}
        below = span
    return result


class _BySynapse(NamedTuple):
    """(source, neuron) weights, and the gradients by them and by delays."""

    weights: Array
    w: Array
    delay: Array

    @classmethod
    def of(cls, weights: Array) -> _BySynapse:
        return cls(weights, np.zeros_like(weights), np.zeros_like(weights))

    def arrive(self, end: SegmentEnd, targets: Any, per_w: Array, per_time: Array, cusp: Any = 0.0) -> float:
        """Collect what an arrival at `targets` gives; what the loss gains as it comes later at all of them."""
        n = end.source
        by_time = targets * (self.weights[n] * per_time + cusp)
        self.w[n] += targets * per_w
        self.delay[n] += by_time
        return float(by_time.sum())


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
