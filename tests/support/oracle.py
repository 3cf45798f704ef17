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
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

Array = NDArray[np.float64]
InputEvents = Sequence[tuple[float, int]]
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
_MAX_SEGMENTS = 20_000


@dataclass(frozen=True)
class Layer:
    """A population with the weights onto it; scalar time constants are broadcast.

    Args:
        w: (source, neuron) weights from the layer below or the input.
        tau_mem, tau_syn: (neuron,) or scalar, ms.
        w_rec: (neuron, neuron) weights, diagonal included, or None; first index is the source.
        v_thresh: threshold; `math.inf` makes a leaky integrator that never spikes.
        v_reset: V after a spike and at the start of the trial.
        tau_b: (neuron,) or scalar, ms: threshold v_thresh + B adapts; None: it does not.
        b_incr: growth of B at a spike.
        b_init: B at the start of the trial.
    """

    w: Array
    tau_mem: Array
    tau_syn: Array
    w_rec: Array | None = None
    v_thresh: float = 1.0
    v_reset: float = 0.0
    tau_b: Array | None = None
    b_incr: float = 0.0
    b_init: float = 0.0

    def __post_init__(self) -> None:
        if np.ndim(self.w) != 2:
            raise ValueError(f"w has shape {np.shape(self.w)}, expected (source, neuron)")
        shapes: dict[str, tuple[int, ...]] = {"w": np.shape(self.w), "w_rec": (self.size, self.size)}
        shapes |= dict.fromkeys(("tau_mem", "tau_syn", "tau_b"), (self.size,))
        for name, shape in shapes.items():
            if getattr(self, name) is None:
                continue
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != shape and not (name.startswith("tau") and values.ndim == 0):
                raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
            if name.startswith("tau") and not (values > 0).all():
                raise ValueError(f"{name} must be positive")
            object.__setattr__(self, name, np.broadcast_to(values, shape).copy())
        if self.tau_b is None and (self.b_incr or self.b_init):
            raise ValueError("b_incr and b_init need tau_b")
        if self.v_reset >= self.v_thresh + self.b_init:
            raise ValueError("the threshold must be above the reset potential")

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.shape(self.w)[1])

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that have a gradient."""
        return tuple(n for n in ("w", "w_rec", "tau_mem", "tau_syn", "tau_b") if getattr(self, n) is not None)


@dataclass(frozen=True)
class Network:
    """Hidden layers from the input upwards, outputs and the duration T of the trial in ms."""

    hidden: tuple[Layer, ...]
    output: Layer
    trial_ms: float = 60.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if not self.hidden:
            raise ValueError("a network needs a hidden layer")
        if self.output.w_rec is not None:
            raise ValueError("outputs cannot be recurrent")
        for below, layer in pairwise((*self.hidden, self.output)):
            if layer.w.shape[0] != below.size:
                raise ValueError(f"w has shape {layer.w.shape}, expected {below.size} sources")

    @property
    def populations(self) -> dict[str, Layer]:
        """Layers by name: hidden0, hidden1, ..., output."""
        return {**{f"hidden{k}": layer for k, layer in enumerate(self.hidden)}, "output": self.output}

    @property
    def spiking_outputs(self) -> bool:
        """Whether the outputs can spike."""
        return math.isfinite(self.output.v_thresh)


class SegmentEnd(NamedTuple):
    """What ends a segment; of a spike also D, I^- and B^- of the neuron (see the module docstring).

    `source` numbers the inputs, or all neurons of the network from the first hidden layer to the output.
    """

    kind: Literal["input", "spike", "none"]
    source: int = -1
    denominator: float = np.nan
    current: float = np.nan
    adaptation: float = 0.0


@dataclass(frozen=True)
class Trajectory:
    """Exact solution of one trial, as segments between events; the neurons of all layers in one row.

    Attributes:
        spike_times: per population that spikes and per neuron, the spike times in ms.
        min_denominator: smallest tau_mem |d(V - B)/dt| at any spike (inf without spikes); small: a grazing crossing.
        min_gap_ms: smallest time between a spike and the event or trial end next to it (inf without spikes).
        start_ms, length_ms: (segment,).
        i, v, b: (segment, neuron) state at the segment start.
        ends: per segment, the event at its end.
    """

    network: Network
    spike_times: dict[str, tuple[Array, ...]]
    min_denominator: float
    min_gap_ms: float
    start_ms: Array
    length_ms: Array
    i: Array
    v: Array
    b: Array
    ends: tuple[SegmentEnd, ...] = field(repr=False)

    @property
    def spike_counts(self) -> dict[str, tuple[int, ...]]:
        """Number of spikes, per population that spikes and per neuron."""
        return {name: tuple(len(times) for times in own) for name, own in self.spike_times.items()}


class _Neurons(NamedTuple):
    """All layers in one row: (neuron,) parameters, (input, neuron) and (neuron, neuron) weights."""

    spans: dict[str, slice]
    w_in: Array
    w: Array
    tau_mem: Array
    tau_syn: Array
    tau_b: Array
    v_thresh: Array
    v_reset: Array
    b_incr: Array
    b_init: Array
    rows: list[list[float]]  # per neuron: tau_mem, tau_syn, tau_b, v_thresh


def _neurons(network: Network) -> _Neurons:
    layers = network.populations
    sizes = [layer.size for layer in layers.values()]
    edges = [0, *np.cumsum(sizes).tolist()]
    spans = {name: slice(*edge) for name, edge in zip(layers, pairwise(edges), strict=True)}
    w_in, w = np.zeros((network.hidden[0].w.shape[0], edges[-1])), np.zeros((edges[-1], edges[-1]))
    w_in[:, spans["hidden0"]] = network.hidden[0].w
    for (below, name), layer in zip(pairwise(layers), list(layers.values())[1:], strict=True):
        w[spans[below], spans[name]] = layer.w
    for name, layer in layers.items():
        if layer.w_rec is not None:
            w[spans[name], spans[name]] = layer.w_rec
    columns = []
    for name in ("tau_mem", "tau_syn", "tau_b", "v_thresh", "v_reset", "b_incr", "b_init"):
        values = (getattr(layer, name) for layer in layers.values())
        rows = [np.full(n, math.inf if z is None else z, float) for n, z in zip(sizes, values, strict=True)]
        columns.append(np.concatenate(rows))
    return _Neurons(spans, w_in, w, *columns, np.stack(columns[:4], axis=1).tolist())


def decay_difference(x: ArrayLike, tau_mem: ArrayLike, tau_syn: ArrayLike) -> Array:
    """(a - c)/(tau_mem - tau_syn) = -exp(-x/tau_max) expm1(-x d/(tau_mem tau_syn))/d, d = |tau_mem - tau_syn|.

    Accurate for every pair of time constants; the limit for d = 0 is exp(-x/tau) x/tau^2.
    """
    x, tau_mem, tau_syn = (np.asarray(value, dtype=np.float64) for value in (x, tau_mem, tau_syn))
    rate = x / (tau_mem * tau_syn)
    z = rate * np.abs(tau_mem - tau_syn)
    slope = rate * np.divide(-np.expm1(-z), z, out=np.ones_like(z), where=z != 0)
    return np.exp(-x / np.maximum(tau_mem, tau_syn)) * slope


def response(x: ArrayLike, tau_mem: ArrayLike, tau_syn: ArrayLike) -> Array:
    """f(x): potential at lag x ms after a unit current jump."""
    return np.asarray(tau_syn) * decay_difference(x, tau_mem, tau_syn)


def meeting_time(i: float, v: float, tau_mem: float, tau_syn: float, ratio: float = 1.0) -> float:
    """Lag x > 0 at which V = ratio * I, inf where there is none; for ratio 1 that is the extremum of V.

    V/I follows from E = exp(x d/(tau_mem tau_syn)), d = tau_mem - tau_syn, as E V(0)/I(0) + tau_syn (E - 1)/d.
    """
    d = tau_mem - tau_syn
    denominator = d * v + tau_syn * i
    r = (ratio * i - v) / denominator if denominator else math.inf
    if not math.isfinite(r) or d * r <= -1.0:
        return math.inf
    lag = tau_mem * tau_syn * (math.log1p(d * r) / d if d else r)
    return lag if lag > 0 else math.inf


def cross_entropy(score: Array, label: int) -> float:
    """-log softmax(score)_label."""
    shifted = score - score.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


def softmax(score: Array) -> Array:
    """exp(score) / sum exp(score) over the last axis."""
    exponentials = np.exp(score - score.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def delayed(events: InputEvents, channels: int, copies: int, delay_ms: float, trial_ms: float) -> InputEvents:
    """Input events of a network with `copies` delayed copies of its `channels` inputs.

    Copy i (0 is the original) of an event lies i * delay_ms later, in channel i * channels + channel; what would lie
    at or after trial_ms is dropped.
    """
    copied = [(t + k * delay_ms, k * channels + channel) for k in range(copies + 1) for t, channel in events]
    return [event for event in copied if event[0] < trial_ms]


def _first_rise(neuron: Sequence[float], i: float, v: float, b: float, limit: float) -> float | None:
    """Lag within `limit` ms at which V - B of a neuron (tau_mem, tau_syn, tau_b, v_thresh) first rises to v_thresh."""
    tau_mem, tau_syn, tau_b, v_thresh = neuron
    slow, d = max(tau_mem, tau_syn), abs(tau_mem - tau_syn)

    def potential(x: float) -> float:
        rate = x / (tau_mem * tau_syn)
        slope = -math.expm1(-rate * d) / d if d else rate
        return math.exp(-x / tau_mem) * v + tau_syn * math.exp(-x / slow) * slope * i

    def excess(x: float) -> float:
        return potential(x) - v_thresh - b * math.exp(-x / tau_b)

    def slope(x: float) -> float:
        return i * math.exp(-x / tau_syn) - potential(x) + b * math.exp(-x / tau_b) * tau_mem / tau_b

    knots = [0.0, min(meeting_time(i, v, tau_mem, tau_syn), limit), limit]
    if b != 0:
        if max(v, potential(knots[1]), potential(limit)) <= v_thresh + min(b, b * math.exp(-limit / tau_b)):
            return None
        k = tau_syn * (1.0 / tau_b - 1.0 / tau_mem)  # V'' + V'/tau_b = 0 where V = I (1 - 1/k)
        knots[1] = min(meeting_time(i, v, tau_mem, tau_syn, 1.0 - 1.0 / k), limit) if k else limit
        turns = [brentq(slope, x0, x1, xtol=1e-14) for x0, x1 in pairwise(knots) if slope(x0) * slope(x1) < 0]
        knots = [0.0, *turns, limit]
    heights = [excess(x) for x in knots]
    if heights[0] >= 0 and slope(0.0) > 0:  # was reached at the event before, up to rounding
        return 0.0
    for (x0, y0), (x1, y1) in pairwise(zip(knots, heights, strict=True)):
        if y0 < 0 < y1:
            return float(brentq(excess, x0, x1, xtol=1e-14, rtol=1e-15))
    return None


def _next_crossing(neurons: _Neurons, i: Array, v: Array, b: Array, limit: float) -> tuple[float, int] | None:
    """Lag and number of the first neuron to reach its threshold within `limit` ms, or None."""
    reach = np.maximum(np.maximum(i, v), 0.0) > neurons.v_thresh + np.minimum(b, 0.0)  # V follows I, which decays
    first: tuple[float, int] | None = None
    for n in reach.nonzero()[0].tolist():
        lag = _first_rise(neurons.rows[n], i.item(n), v.item(n), b.item(n), first[0] if first else limit)
        if lag is not None and (first is None or lag < first[0]):
            first = lag, n
    return first


def simulate(network: Network, events: InputEvents, marks: Sequence[float] = ()) -> Trajectory:
    """Solve one trial exactly.

    Args:
        network: the network.
        events: (time in ms, input index) pairs in any order; those outside [0, T) raise a ValueError.
        marks: further times, ms, at which a segment ends without an event.

    Returns:
        The trajectory with spike times and measures of conditioning.
    """
    neurons, trial = _neurons(network), network.trial_ms
    if any(not 0 <= time < trial or not 0 <= index < len(neurons.w_in) for time, index in events):
        raise ValueError("input events must lie in [0, trial_ms) and in an existing channel")
    queue = [(float(time), SegmentEnd("input", int(index))) for time, index in events]
    queue = sorted(queue + [(float(time), SegmentEnd("none")) for time in (*marks, trial)], key=lambda item: item[0])
    longest = float(min(2.0 * np.concatenate(neurons[3:6]).min(), 0.1 * trial))  # keeps quadrature exact
    i, v, b = np.zeros_like(neurons.tau_mem), neurons.v_reset, neurons.b_init
    spikes: list[list[float]] = [[] for _ in neurons.tau_mem]
    columns: list[tuple[Any, ...]] = []
    now, position = 0.0, 0
    while position < len(queue):
        stop, end = queue[position]
        due = stop - now <= longest
        length = stop - now if due else longest
        crossing = _next_crossing(neurons, i, v, b, length)
        before = i, v, b
        if crossing is not None:
            length, n = crossing
        v = np.exp(-length / neurons.tau_mem) * v + response(length, neurons.tau_mem, neurons.tau_syn) * i
        i, b = np.exp(-length / neurons.tau_syn) * i, np.exp(-length / neurons.tau_b) * b
        if crossing is not None:
            slope = i[n] - neurons.v_thresh[n] - b[n] + b[n] * neurons.tau_mem[n] / neurons.tau_b[n]
            end = SegmentEnd("spike", n, float(slope), float(i[n]), float(b[n]))
            spikes[n].append(now + length)
            v[n], b[n], i = neurons.v_reset[n], b[n] + neurons.b_incr[n], i + neurons.w[n]
            if v[n] >= neurons.v_thresh[n] + b[n]:
                raise ValueError("a neuron is above its threshold right after its reset")
        elif due:
            position += 1
            i = i + neurons.w_in[end.source] if end.kind == "input" else i
        else:
            end = SegmentEnd("none")
        columns.append((now, length, *before, end))
        now = stop if due and crossing is None else now + length
        if len(columns) > _MAX_SEGMENTS:
            raise RuntimeError("runaway activity")
    start_ms, length_ms, i, v, b, ends = zip(*columns, strict=True)
    spiking = [name for name, layer in network.populations.items() if math.isfinite(layer.v_thresh)]
    return Trajectory(
        network,
        spike_times={name: tuple(np.array(own) for own in spikes[neurons.spans[name]]) for name in spiking},
        min_denominator=min((abs(end.denominator) for end in ends if end.kind == "spike"), default=np.inf),
        min_gap_ms=_min_gap(start_ms, length_ms, ends, trial),
        start_ms=np.array(start_ms),
        length_ms=np.array(length_ms),
        i=np.array(i),
        v=np.array(v),
        b=np.array(b),
        ends=ends,
    )


def _min_gap(starts: Sequence[float], lengths: Sequence[float], ends: Sequence[SegmentEnd], trial_ms: float) -> float:
    """Smallest distance of a spike to its neighbouring events and to the ends of the trial, ms."""
    times = [(0.0, False)]
    for start, length, end in zip(starts, lengths, ends, strict=True):
        if end.kind != "none":
            times.append((start + length, end.kind == "spike"))
    times.append((trial_ms, False))
    pairs = pairwise(times)
    return min((t1 - t0 for (t0, spike0), (t1, spike1) in pairs if spike0 or spike1), default=np.inf)


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
