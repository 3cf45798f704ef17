"""Event-driven, continuous-time reference for Eventprop gradients (float64), independent of the package.

Network: input events -> one hidden LIF layer (optionally recurrent) -> leaky integrators (LI). Between events

    tau_syn dI/dt = -I,    tau_mem dV/dt = I - V,

where I jumps by w at a presynaptic event. With a(x) = exp(-x/tau_mem), c(x) = exp(-x/tau_syn) the solution is

    I(x) = c I(0),    V(x) = a V(0) + f(x) I(0),    f = tau_syn (a - c)/(tau_mem - tau_syn).

A hidden neuron whose V rises to v_thresh spikes, V := v_reset. The scores and the loss of a sample with label y are

    S_j = 1/T * integral_0^T w(t) V_j(t) dt,    L = -log softmax(S)_y.

Adjoints, in the convention of Wunderlich & Pehle (Sci. Rep. 11:12829), dL/dV = -tau_mem lambda_v and
dL/dI = -tau_syn lambda_i; in reversed time (') they obey

    tau_mem lambda_v' = A - lambda_v,    tau_syn lambda_i' = lambda_v - lambda_i,    A = -dl_V/dV,

and at a hidden spike (- before, + after it in physical time)

    lambda_v^- = lambda_v^+ + ((v_thresh - v_reset) lambda_v^+ + R + dl_p/dt) / (I^- - v_thresh),
    R = sum over outgoing synapses of w (lambda_v^+ - lambda_i^+).

Gradients: dL/dw = -tau_syn,post * (sum over presynaptic events of lambda_i,post),
dL/dtau_mem = integral lambda_v dV/dt dt and dL/dtau_syn = integral lambda_i dI/dt dt.

Between two events V has at most one extremum, whose time is known in closed form: up to its peak V is monotone,
hence a crossing exists if and only if V exceeds the threshold at the earlier of peak and segment end, it is unique,
and there V strictly rises. Nothing is scanned, so nothing can be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

Array = NDArray[np.float64]
InputEvents = Sequence[tuple[float, int]]

LOSS_WEIGHTS: dict[str, Callable[[ArrayLike], Array]] = {
    "sum": lambda u: np.ones_like(np.asarray(u, dtype=np.float64)),
    "sum_weigh_linear": lambda u: 1.0 - np.asarray(u, dtype=np.float64),
    "sum_weigh_exp": lambda u: np.exp(-np.asarray(u, dtype=np.float64)),
    "sum_weigh_sigmoid": lambda u: 1.0 / (1.0 + np.exp((np.asarray(u, dtype=np.float64) - 0.5) / 0.2)),
}
"""Weight function w of each loss, as a function of the relative time t/T."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS  # for the interval [0, 1]
_MAX_SPIKES = 10_000


@dataclass(frozen=True)
class Network:
    """Weights and time constants of a network input -> hidden LIF -> LI; scalars of a layer are broadcast.

    Args:
        w_in: (input, hidden) weights.
        w_rec: (hidden, hidden) weights, diagonal included, or None; first index is the source.
        w_out: (hidden, output) weights.
        tau_mem, tau_syn: (hidden,) or scalar, ms.
        tau_mem_out, tau_syn_out: (output,) or scalar, ms.
        v_thresh, v_reset: threshold and reset of the hidden neurons.
        trial_ms: duration T of the trial, ms.
        v_start: hidden V at time 0; None stands for v_reset.
        v_start_out: output V at time 0.
    """

    w_in: Array
    w_rec: Array | None
    w_out: Array
    tau_mem: Array
    tau_syn: Array
    tau_mem_out: Array
    tau_syn_out: Array
    v_thresh: float = 1.0
    v_reset: float = 0.0
    trial_ms: float = 60.0
    v_start: float | None = None
    v_start_out: float = 0.0

    def __post_init__(self) -> None:
        hidden, outputs = np.shape(self.w_out)
        shapes: dict[str, tuple[int, ...]] = {"w_in": (np.shape(self.w_in)[0], hidden), "w_out": (hidden, outputs)}
        shapes |= dict.fromkeys(("tau_mem", "tau_syn"), (hidden,))
        shapes |= dict.fromkeys(("tau_mem_out", "tau_syn_out"), (outputs,))
        if self.w_rec is not None:
            shapes["w_rec"] = (hidden, hidden)
        for name, shape in shapes.items():
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != shape and not (name.startswith("tau") and values.ndim == 0):
                raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
            object.__setattr__(self, name, np.broadcast_to(values, shape).copy())
        if self.v_thresh <= 0 or max(self.v_reset, self.v_hidden_start) >= self.v_thresh:
            raise ValueError("the threshold must be positive and above the reset and the initial potential")

    @property
    def v_hidden_start(self) -> float:
        """Hidden potential at the start of the trial."""
        return self.v_reset if self.v_start is None else self.v_start


class SegmentEnd(NamedTuple):
    """What ends a segment: kind, number of the input or hidden neuron, and I^- - v_thresh of a spike."""

    kind: Literal["input", "spike", "none"]
    source: int = -1
    denominator: float = np.nan


@dataclass(frozen=True)
class Trajectory:
    """Exact solution of one trial, as segments between events.

    Attributes:
        spike_times: per hidden neuron, its spike times in ms.
        scores: (output,) scores of the loss that was asked for.
        min_denominator: smallest |I - V| at any spike (inf without spikes); small means a grazing crossing.
        min_gap_ms: smallest time between a spike and the event or trial end next to it (inf without spikes).
        start_ms, length_ms: (segment,).
        i_hidden, v_hidden: (segment, hidden) state at the segment start.
        i_out, v_out: (segment, output) state at the segment start.
        ends: per segment, the event at its end.
    """

    network: Network
    spike_times: tuple[Array, ...]
    scores: Array
    min_denominator: float
    min_gap_ms: float
    start_ms: Array
    length_ms: Array
    i_hidden: Array
    v_hidden: Array
    i_out: Array
    v_out: Array
    ends: tuple[SegmentEnd, ...] = field(repr=False)

    @property
    def spike_counts(self) -> tuple[int, ...]:
        """Number of spikes of each hidden neuron."""
        return tuple(len(times) for times in self.spike_times)


def decay_difference(x: ArrayLike, tau_mem: ArrayLike, tau_syn: ArrayLike) -> Array:
    """(a - c)/(tau_mem - tau_syn) = -exp(-x/tau_max) expm1(-x d/(tau_mem tau_syn))/d, d = |tau_mem - tau_syn|.

    Accurate for every pair of time constants; the limit for d = 0 is exp(-x/tau) x/tau^2.
    """
    x, tau_mem, tau_syn = (np.asarray(value, dtype=np.float64) for value in (x, tau_mem, tau_syn))
    d = np.abs(tau_mem - tau_syn)
    rate = x / (tau_mem * tau_syn)
    slope = np.where(d == 0, rate, -np.expm1(-rate * d) / np.where(d == 0, 1.0, d))
    return np.exp(-x / np.maximum(tau_mem, tau_syn)) * slope


def response(x: ArrayLike, tau_mem: ArrayLike, tau_syn: ArrayLike) -> Array:
    """f(x): potential at lag x ms after a unit current jump."""
    return np.asarray(tau_syn) * decay_difference(x, tau_mem, tau_syn)


def response_integral(x: ArrayLike, tau_mem: ArrayLike, tau_syn: ArrayLike) -> Array:
    """F(x) = integral_0^x f = tau_syn (1 - c) - tau_mem f(x), from tau_mem f' = c - f; F(inf) = tau_syn."""
    tau_syn = np.asarray(tau_syn, dtype=np.float64)
    return -tau_syn * np.expm1(-np.asarray(x) / tau_syn) - np.asarray(tau_mem) * response(x, tau_mem, tau_syn)


def peak_time(i: Array, v: Array, tau_mem: Array, tau_syn: Array) -> Array:
    """Lag at which a rising V (i > v, i > 0) peaks; inf where it rises for ever. Other neurons: 0.

    V' = 0 means I = V, hence exp(x d/(tau_mem tau_syn)) = 1 + d r with r = (i - v)/(v d + i tau_syn).
    """
    d = tau_mem - tau_syn
    rising = (i > v) & (i > 0)
    denominator = v * d + i * tau_syn
    peaks = rising & (denominator > 0)
    r = np.where(peaks, i - v, 0.0) / np.where(peaks, denominator, 1.0)
    lag = tau_mem * tau_syn * np.where(d == 0, r, np.log1p(d * r) / np.where(d == 0, 1.0, d))
    return np.where(rising & ~peaks, np.inf, lag)


def _next_crossing(network: Network, i: Array, v: Array, limit: float) -> tuple[float, int] | None:
    """Lag and index of the first hidden neuron to reach the threshold within `limit` ms, or None."""
    tau_mem, tau_syn, v_thresh = network.tau_mem, network.tau_syn, network.v_thresh
    top = np.minimum(peak_time(i, v, tau_mem, tau_syn), limit)  # V is monotone up to here
    v_top = np.exp(-top / tau_mem) * v + response(top, tau_mem, tau_syn) * i
    first: tuple[float, int] | None = None
    for n in np.flatnonzero((top > 0) & (v_top > v_thresh)):

        def excess(x: float, n: int = int(n)) -> float:
            v_x = np.exp(-x / tau_mem[n]) * v[n] + response(x, tau_mem[n], tau_syn[n]) * i[n]
            return float(v_x - v_thresh)

        lag = 0.0 if v[n] >= v_thresh else float(brentq(excess, 0.0, top[n], xtol=1e-14, rtol=1e-15))
        if first is None or lag < first[0]:
            first = (lag, int(n))
    return first


def simulate(network: Network, events: InputEvents, loss: str = "sum") -> Trajectory:
    """Solve one trial exactly.

    Args:
        network: the network.
        events: (time in ms, input index) pairs in any order; those outside [0, T) raise a ValueError.
        loss: key of `LOSS_WEIGHTS`, only used for `scores`.

    Returns:
        The trajectory with spike times, scores and measures of conditioning.
    """
    queue = sorted((float(time), int(index)) for time, index in events)
    if any(not 0 <= time < network.trial_ms for time, _ in queue):
        raise ValueError("input events must lie in [0, trial_ms)")
    hidden, outputs = network.w_out.shape
    longest = 2.0 * min(tau.min() for tau in (network.tau_mem, network.tau_syn, network.tau_mem_out))
    longest = min(longest, 2.0 * network.tau_syn_out.min(), 0.1 * network.trial_ms)  # keeps quadrature exact
    i_hid, v_hid = np.zeros(hidden), np.full(hidden, network.v_hidden_start)
    i_out, v_out = np.zeros(outputs), np.full(outputs, network.v_start_out)
    starts, lengths, states, ends = [], [], [], []
    spikes: list[list[float]] = [[] for _ in range(hidden)]
    now, position = 0.0, 0
    while now < network.trial_ms:
        limit, end = network.trial_ms - now, SegmentEnd("none")
        if position < len(queue):
            limit, end = queue[position][0] - now, SegmentEnd("input", queue[position][1])
        stop = now + limit
        if limit > longest:
            limit, stop, end = longest, now + longest, SegmentEnd("none")
        crossing = _next_crossing(network, i_hid, v_hid, limit)
        starts.append(now)
        states.append((i_hid, v_hid, i_out, v_out))
        if crossing is not None:
            limit, n = crossing
            stop = now + limit
            current = i_hid[n] * np.exp(-limit / network.tau_syn[n])
            end = SegmentEnd("spike", n, float(current - network.v_thresh))
        lengths.append(limit)
        ends.append(end)
        v_hid = np.exp(-limit / network.tau_mem) * v_hid
        v_hid = v_hid + response(limit, network.tau_mem, network.tau_syn) * i_hid
        i_hid = np.exp(-limit / network.tau_syn) * i_hid
        v_out = np.exp(-limit / network.tau_mem_out) * v_out
        v_out = v_out + response(limit, network.tau_mem_out, network.tau_syn_out) * i_out
        i_out = np.exp(-limit / network.tau_syn_out) * i_out
        now = stop
        if end.kind == "input":
            position += 1
            i_hid = i_hid + network.w_in[end.source]
        elif end.kind == "spike":
            spikes[end.source].append(now)
            if len(ends) > _MAX_SPIKES:
                raise RuntimeError("runaway activity")
            v_hid[end.source] = network.v_reset
            i_out = i_out + network.w_out[end.source]
            if network.w_rec is not None:
                i_hid = i_hid + network.w_rec[end.source]
    start, length = np.array(starts), np.array(lengths)
    i_hidden, v_hidden, i_output, v_output = (np.array(column) for column in zip(*states, strict=True))
    return Trajectory(
        network=network,
        spike_times=tuple(np.array(times) for times in spikes),
        scores=_scores(network, start, length, i_output, v_output, loss),
        min_denominator=min((abs(end.denominator) for end in ends if end.kind == "spike"), default=np.inf),
        min_gap_ms=_min_gap(starts, lengths, ends, network.trial_ms),
        start_ms=start,
        length_ms=length,
        i_hidden=i_hidden,
        v_hidden=v_hidden,
        i_out=i_output,
        v_out=v_output,
        ends=tuple(ends),
    )


def _min_gap(starts: list[float], lengths: list[float], ends: list[SegmentEnd], trial_ms: float) -> float:
    """Smallest distance of a spike to its neighbouring events and to the ends of the trial, ms."""
    times = [(0.0, False)]
    for start, length, end in zip(starts, lengths, ends, strict=True):
        if end.kind != "none":
            times.append((start + length, end.kind == "spike"))
    times.append((trial_ms, False))
    pairs = pairwise(times)
    return min((t1 - t0 for (t0, spike0), (t1, spike1) in pairs if spike0 or spike1), default=np.inf)


def _scores(network: Network, start: Array, length: Array, i_out: Array, v_out: Array, loss: str) -> Array:
    """S_j = 1/T integral w V_j dt: closed form for w = 1, else Gauss-Legendre on every segment."""
    tau_mem, tau_syn = network.tau_mem_out, network.tau_syn_out
    if loss == "sum":
        x = length[:, None]  # (segment, 1)
        integral = -tau_mem * np.expm1(-x / tau_mem) * v_out + response_integral(x, tau_mem, tau_syn) * i_out
        return integral.sum(axis=0) / network.trial_ms
    return _scores_by_quadrature(network, start, length, i_out, v_out, LOSS_WEIGHTS[loss])


def _scores_by_quadrature(
    network: Network,
    start: Array,
    length: Array,
    i_out: Array,
    v_out: Array,
    weight: Callable[[ArrayLike], Array],
) -> Array:
    """S_j for an arbitrary smooth weight function."""
    x = length[:, None] * _NODES  # (segment, node)
    v = np.exp(-x[..., None] / network.tau_mem_out) * v_out[:, None]
    v = v + response(x[..., None], network.tau_mem_out, network.tau_syn_out) * i_out[:, None]
    w = weight((start[:, None] + x) / network.trial_ms) * length[:, None] * _WEIGHTS
    return np.einsum("sq,sqj->j", w, v) / network.trial_ms


def scores(trajectory: Trajectory, loss: str) -> Array:
    """(output,) scores of an existing trajectory for any loss."""
    t = trajectory
    return _scores(t.network, t.start_ms, t.length_ms, t.i_out, t.v_out, loss)


def cross_entropy(score: Array, label: int) -> float:
    """-log softmax(score)_label."""
    shifted = score - score.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


def softmax(score: Array) -> Array:
    """exp(score) / sum exp(score)."""
    exponentials = np.exp(score - score.max())
    return exponentials / exponentials.sum()


def gradients(network: Network, events: InputEvents, label: int, loss: str = "sum") -> tuple[float, dict[str, Array]]:
    """Loss of one sample and its exact gradient.

    Args:
        network: the network.
        events: (time in ms, input index) pairs.
        label: class of the sample.
        loss: key of `LOSS_WEIGHTS`.

    Returns:
        The loss and a dict with w_in, w_out, tau_mem, tau_syn, tau_mem_out, tau_syn_out and, if the network is
        recurrent, w_rec; each has the shape of the parameter.
    """
    trajectory = simulate(network, events, loss)
    drive = -softmax(trajectory.scores)  # -dL/dS
    drive[label] += 1.0
    return cross_entropy(trajectory.scores, label), _adjoint(trajectory, drive, loss)


def spike_time_gradients(network: Network, events: InputEvents, neuron: int, spike: int) -> dict[str, Array]:
    """Gradient of the time (ms) of one hidden spike, that is of a loss l_p = t_spike; keys as in `gradients`."""
    trajectory = simulate(network, events)
    owned = [s for s, end in enumerate(trajectory.ends) if end.kind == "spike" and end.source == neuron]
    return _adjoint(trajectory, np.zeros(network.w_out.shape[1]), "sum", {owned[spike]: 1.0})


def _drive_response(network: Network, start: Array, length: Array, loss: str) -> tuple[Array, Array]:
    """Adjoints at the start of an interval due to the drive A(t) = w(t)/T in it, from zero at its end.

    lambda_v = integral_0^x A a du / tau_mem,  lambda_i = integral_0^x A f du / tau_syn; shapes (..., output).
    """
    tau_mem, tau_syn = network.tau_mem_out, network.tau_syn_out
    if loss == "sum":
        x = length[..., None]
        constant = 1.0 / network.trial_ms
        return -constant * np.expm1(-x / tau_mem), constant * response_integral(x, tau_mem, tau_syn) / tau_syn
    u = length[..., None] * _NODES  # (..., node)
    amount = LOSS_WEIGHTS[loss]((start[..., None] + u) / network.trial_ms) / network.trial_ms
    amount = amount * length[..., None] * _WEIGHTS
    lag = u[..., None]  # (..., node, 1)
    lambda_v = np.einsum("...q,...qj->...j", amount, np.exp(-lag / tau_mem)) / tau_mem
    lambda_i = np.einsum("...q,...qj->...j", amount, response(lag, tau_mem, tau_syn)) / tau_syn
    return lambda_v, lambda_i


def _adjoint(
    trajectory: Trajectory, drive: Array, loss: str, spike_drive: dict[int, float] | None = None
) -> dict[str, Array]:
    """Integrate the adjoints backwards and collect all gradients.

    Args:
        trajectory: forward solution.
        drive: (output,) -dL/dS_j.
        loss: weight function of the scores.
        spike_drive: dl_p/dt for spikes, by the index of the segment that they end.
    """
    net, spike_drive = trajectory.network, spike_drive or {}
    segments, hidden, outputs = len(trajectory.ends), *net.w_out.shape
    grad = {name: np.zeros_like(getattr(net, name)) for name in ("w_in", "w_rec", "w_out") if _has(net, name)}
    v_h, i_h = np.zeros(hidden), np.zeros(hidden)  # lambda_v, lambda_i of the hidden layer
    v_o, i_o = np.zeros(outputs), np.zeros(outputs)
    at_end = [np.zeros((segments, size)) for size in (hidden, hidden, outputs, outputs)]
    x = trajectory.length_ms[:, None]
    a_h, c_h = np.exp(-x / net.tau_mem), np.exp(-x / net.tau_syn)
    a_o, c_o = np.exp(-x / net.tau_mem_out), np.exp(-x / net.tau_syn_out)
    b_h = net.tau_mem * decay_difference(x, net.tau_mem, net.tau_syn)
    b_o = net.tau_mem_out * decay_difference(x, net.tau_mem_out, net.tau_syn_out)
    push_v, push_i = _drive_response(net, trajectory.start_ms, trajectory.length_ms, loss)
    for s in range(segments - 1, -1, -1):
        end = trajectory.ends[s]
        if end.kind == "input":
            grad["w_in"][end.source] -= net.tau_syn * i_h
        elif end.kind == "spike":
            n = end.source
            error = net.w_out[n] @ (v_o - i_o) + spike_drive.get(s, 0.0)
            grad["w_out"][n] -= net.tau_syn_out * i_o
            if net.w_rec is not None:
                error += net.w_rec[n] @ (v_h - i_h)
                grad["w_rec"][n] -= net.tau_syn * i_h
            v_h[n] += ((net.v_thresh - net.v_reset) * v_h[n] + error) / end.denominator
        for store, values in zip(at_end, (v_h, i_h, v_o, i_o), strict=True):
            store[s] = values
        v_h, i_h = a_h[s] * v_h, c_h[s] * i_h + b_h[s] * v_h
        v_o, i_o = a_o[s] * v_o + drive * push_v[s], c_o[s] * i_o + b_o[s] * v_o + drive * push_i[s]
    return grad | _tau_gradients(trajectory, drive, loss, at_end)


def _has(network: Network, name: str) -> bool:
    return getattr(network, name) is not None


def _tau_gradients(trajectory: Trajectory, drive: Array, loss: str, at_end: list[Array]) -> dict[str, Array]:
    """dL/dtau_mem = integral lambda_v (I - V)/tau_mem dt, dL/dtau_syn = -integral lambda_i I/tau_syn dt."""
    net, length = trajectory.network, trajectory.length_ms
    x = length[:, None] * _NODES  # (segment, node)
    rest = length[:, None] - x
    weight = length[:, None] * _WEIGHTS
    push_v, push_i = _drive_response(net, trajectory.start_ms[:, None] + x, rest, loss)
    grad = {}
    layers = (
        ("", trajectory.i_hidden, trajectory.v_hidden, at_end[0], at_end[1], 0.0, 0.0),
        ("_out", trajectory.i_out, trajectory.v_out, at_end[2], at_end[3], drive * push_v, drive * push_i),
    )
    for suffix, i_0, v_0, lambda_v_end, lambda_i_end, driven_v, driven_i in layers:
        tau_mem, tau_syn = getattr(net, "tau_mem" + suffix), getattr(net, "tau_syn" + suffix)
        lag, left = x[..., None], rest[..., None]  # (segment, node, 1)
        i = np.exp(-lag / tau_syn) * i_0[:, None]
        v = np.exp(-lag / tau_mem) * v_0[:, None] + response(lag, tau_mem, tau_syn) * i_0[:, None]
        transfer = tau_mem * decay_difference(left, tau_mem, tau_syn)
        lambda_i = np.exp(-left / tau_syn) * lambda_i_end[:, None] + transfer * lambda_v_end[:, None] + driven_i
        lambda_v = np.exp(-left / tau_mem) * lambda_v_end[:, None] + driven_v
        grad["tau_mem" + suffix] = np.einsum("sq,sqn->n", weight, lambda_v * (i - v)) / tau_mem
        grad["tau_syn" + suffix] = -np.einsum("sq,sqn->n", weight, lambda_i * i) / tau_syn
    return grad
