"""Event-driven, continuous-time solution of a network of LIF or ALIF neurons.

The forward half of ``tests/support/oracle.py``, whose docstring has the equations.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

Array = NDArray[np.float64]
InputEvents = Sequence[tuple[float, int]]
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
        delay, delay_rec: ms from a spike to its arrival, in the shapes of w and w_rec; None for none.
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
    delay: Array | None = None
    delay_rec: Array | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.w) != 2:
            raise ValueError(f"w has shape {np.shape(self.w)}, expected (source, neuron)")
        shapes: dict[str, tuple[int, ...]] = {"w": np.shape(self.w), "w_rec": (self.size, self.size)}
        shapes |= {"delay": shapes["w"], "delay_rec": shapes["w_rec"]}
        shapes |= dict.fromkeys(("tau_mem", "tau_syn", "tau_b"), (self.size,))
        for name, shape in shapes.items():
            if getattr(self, name) is None:
                continue
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != shape and not (name.startswith("tau") and values.ndim == 0):
                raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
            if name.startswith("tau") and not (values > 0).all():
                raise ValueError(f"{name} must be positive")
            if name.startswith("delay") and not (values >= 0).all():
                raise ValueError(f"{name} must not be negative")
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
        names = ("w", "w_rec", "tau_mem", "tau_syn", "tau_b", "delay", "delay_rec")
        return tuple(n for n in names if getattr(self, n) is not None)


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

    `source` numbers the inputs, or all neurons of the network from the first hidden layer to the output. What arrives
    (an input's event, or a spike some time after it was sent) arrives at `targets`, (neuron,) 0 or 1: those with one
    delay; a spike arrives at once at those without any. `sent` is the segment that the spike that arrives has ended.
    """

    kind: Literal["input", "spike", "arrival", "none"]
    source: int = -1
    denominator: float = np.nan
    current: float = np.nan
    adaptation: float = 0.0
    targets: Array | None = None
    sent: int = -1


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
    """All layers in one row: (neuron,) parameters, (input, neuron) and (neuron, neuron) weights and delays."""

    spans: dict[str, slice]
    w_in: Array
    w: Array
    d_in: Array
    d: Array
    tau_mem: Array
    tau_syn: Array
    tau_b: Array
    v_thresh: Array
    v_reset: Array
    b_incr: Array
    b_init: Array
    rows: list[list[float]]  # per neuron: tau_mem, tau_syn, tau_b, v_thresh

    def arrivals(self, end: SegmentEnd) -> list[tuple[float, Array]]:
        """What follows an input's event or a spike: delays, each with the (neuron,) 0 or 1 that have it."""
        own = (self.d_in if end.kind == "input" else self.d)[end.source]
        return [(float(delay), (own == delay).astype(float)) for delay in np.unique(own)]


def _neurons(network: Network) -> _Neurons:
    layers = network.populations
    sizes = [layer.size for layer in layers.values()]
    edges = [0, *np.cumsum(sizes).tolist()]
    spans = {name: slice(*edge) for name, edge in zip(layers, pairwise(edges), strict=True)}
    w_in, d_in = (np.zeros((network.hidden[0].w.shape[0], edges[-1])) for _ in range(2))
    w, d = (np.zeros((edges[-1], edges[-1])) for _ in range(2))
    for below, (name, layer) in zip([None, *layers], layers.items(), strict=False):
        own = spans[name]
        for to, at, given in (
            (w_in if below is None else w, spans.get(below or "", slice(None)), layer.w),
            (d_in if below is None else d, spans.get(below or "", slice(None)), layer.delay),
            (w, own, layer.w_rec),
            (d, own, layer.delay_rec),
        ):
            if given is not None:
                to[at, own] = given
    columns = []
    for name in ("tau_mem", "tau_syn", "tau_b", "v_thresh", "v_reset", "b_incr", "b_init"):
        values = (getattr(layer, name) for layer in layers.values())
        rows = [np.full(n, math.inf if z is None else z, float) for n, z in zip(sizes, values, strict=True)]
        columns.append(np.concatenate(rows))
    return _Neurons(spans, w_in, w, d_in, d, *columns, np.stack(columns[:4], axis=1).tolist())


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
    queue = _Queue(neurons, events, (*marks, trial))
    taus = np.concatenate([neurons.tau_mem, neurons.tau_syn, neurons.tau_b])
    longest = float(min(2.0 * taus.min(), 0.1 * trial))  # keeps quadrature exact
    i, v, b = np.zeros_like(neurons.tau_mem), neurons.v_reset, neurons.b_init
    spikes: list[list[float]] = [[] for _ in neurons.tau_mem]
    columns: list[tuple[Any, ...]] = []
    now = 0.0
    while queue.heap:
        stop, _, end = queue.heap[0]
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
            v[n], b[n] = neurons.v_reset[n], b[n] + neurons.b_incr[n]
            i = i + neurons.w[n] * (neurons.d[n] == 0)
            queue.arrivals(now + length, SegmentEnd("arrival", n, sent=len(columns)))
            if v[n] >= neurons.v_thresh[n] + b[n]:
                raise ValueError("a neuron is above its threshold right after its reset")
        elif due:
            heapq.heappop(queue.heap)
            if end.targets is not None:
                i = i + end.targets * (neurons.w_in if end.kind == "input" else neurons.w)[end.source]
        else:
            end = SegmentEnd("none")
        columns.append((now, length, *before, end))
        now = stop if due and crossing is None else now + length
        if len(columns) > _MAX_SEGMENTS:
            raise RuntimeError("runaway activity")
    spiking = [name for name, layer in network.populations.items() if math.isfinite(layer.v_thresh)]
    times = {name: tuple(np.array(own) for own in spikes[neurons.spans[name]]) for name in spiking}
    return _trajectory(network, times, columns)


def _trajectory(
    network: Network, spike_times: dict[str, tuple[Array, ...]], segments: Sequence[tuple[Any, ...]]
) -> Trajectory:
    start_ms, length_ms, i, v, b, ends = zip(*segments, strict=True)
    return Trajectory(
        network,
        spike_times,
        min_denominator=min((abs(end.denominator) for end in ends if end.kind == "spike"), default=np.inf),
        min_gap_ms=_min_gap(start_ms, length_ms, ends, network.trial_ms),
        start_ms=np.array(start_ms),
        length_ms=np.array(length_ms),
        i=np.array(i),
        v=np.array(v),
        b=np.array(b),
        ends=ends,
    )


class _Queue:
    """What ends segments whatever the neurons do from then on, in order of time, then of entry."""

    def __init__(self, neurons: _Neurons, events: InputEvents, marks: Sequence[float]) -> None:
        """``marks`` end segments without an event; the last of them is the end of the trial."""
        self.neurons, self.trial_ms = neurons, marks[-1]
        self.heap: list[tuple[float, int, SegmentEnd]] = []
        self.entered = 0
        channels = len(neurons.w_in)
        if any(not 0 <= time < self.trial_ms or not 0 <= index < channels for time, index in events):
            raise ValueError("input events must lie in [0, trial_ms) and in an existing channel")
        for time, index in events:
            self.arrivals(float(time), SegmentEnd("input", int(index)))
        for time in marks:
            self._enter(time, SegmentEnd("none"))

    def _enter(self, time: float, end: SegmentEnd) -> None:
        heapq.heappush(self.heap, (float(time), self.entered, end))
        self.entered += 1

    def arrivals(self, time: float, end: SegmentEnd) -> None:
        """Enter when and where an input's event, or a spike that does not arrive at once, arrives within the trial."""
        for delay, targets in self.neurons.arrivals(end):
            if time + delay < self.trial_ms and (delay > 0 or end.kind == "input"):
                self._enter(time + delay, end._replace(targets=targets))


def _min_gap(starts: Sequence[float], lengths: Sequence[float], ends: Sequence[SegmentEnd], trial_ms: float) -> float:
    """Smallest distance (ms) of a spike to what happens next to it (not what arrives elsewhere) and to the ends."""
    events = [(s + length, end) for s, length, end in zip(starts, lengths, ends, strict=True) if end.kind != "none"]
    gap = np.inf
    for n in {end.source for _, end in events if end.kind == "spike"}:
        own = [(0.0, False)]
        own += [(t, end.kind == "spike") for t, end in events if end.targets is None or end.targets[n]]
        own.append((trial_ms, False))
        gap = min([gap, *(t1 - t0 for (t0, spike0), (t1, spike1) in pairwise(own) if spike0 or spike1)])
    return gap
