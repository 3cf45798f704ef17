"""A layer of declared neurons in continuous time: adaptive steps, crossings of the threshold as roots, events in order.

Many copies of the layer, each with its own parameters, weights and input, are solved at once, each at its own pace.
At one time the order is: spike and reset, then what it sends without delay; an arrival that lifts a neuron over its
threshold makes it spike then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eventprop.certificate.equations import Equations
from eventprop.certificate.expressions import Array
from eventprop.certificate.runge_kutta import Step, method
from eventprop.declarations import Neuron

__all__ = ["Events", "Simulation", "simulate"]

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

_FRACTIONS = np.linspace(0.0, 1.0, 9)[1:]
_TOLERANCE = 1e-12
_MOST_STEPS = 20_000


@dataclass(frozen=True)
class Events:
    """Spikes of many copies, in order of time: ``(copy, event)`` times (ms, inf for none) and their sources."""

    times: Array
    sources: Index

    def broadcast(self, copies: int) -> Events:
        """The same events for that many copies."""
        shape = (copies, self.times.shape[1])
        return Events(np.broadcast_to(self.times, shape), np.broadcast_to(self.sources, shape))


@dataclass(frozen=True)
class Simulation:
    """What happened in the copies of a layer.

    Attributes:
        spikes: of its neurons.
        counts: ``(copy, neuron)`` spikes.
        finished: ``(copy,)`` whether the end of the trial was reached with finite values and no runaway activity.
        slowest: ``(copy, neuron)`` smallest slope of the threshold's expression g at a spike (1/ms), inf without one.
        nearest: ``(copy, neuron)`` largest value of g at a peak below the threshold, -inf without one.
        traces: states ``(variable, copy, neuron)`` at the steps' ends by (times, states, whether steps were taken).
    """

    spikes: Events
    counts: Index
    finished: Mask
    slowest: Array
    nearest: Array
    traces: list[tuple[Array, Array, Mask]] = field(default_factory=list, repr=False)

    def some(self, copies: slice) -> Simulation:
        """What happened in some of the copies."""
        spikes = Events(self.spikes.times[copies], self.spikes.sources[copies])
        counts, finished = self.counts[copies], self.finished[copies]
        return Simulation(spikes, counts, finished, self.slowest[copies], self.nearest[copies])


def simulate(
    neuron: Neuron,
    parameters: Mapping[str, Array],
    weights: Array,
    recurrent: Array | None,
    events: Events,
    trial_ms: float,
    *,
    most_spikes: int = 30,
    tolerance: float = _TOLERANCE,
    traced: bool = False,
) -> Simulation:
    """Solve copies of a layer.

    Args:
        neuron: its type.
        parameters: ``(copy, neuron)`` value of each parameter.
        weights: ``(copy, source, neuron)`` of the events' sources.
        recurrent: ``(copy, neuron, neuron)``, or None.
        events: of the layer's input.
        trial_ms: duration of a trial.
        most_spikes: a copy ends unfinished when a neuron has more.
        tolerance: of an integration step, relative.
        traced: whether states are kept.

    Raises:
        ImportError: SciPy is not installed.
    """
    run = _Run(neuron, parameters, weights, recurrent, events, trial_ms, tolerance)
    if traced:
        run.longest = trial_ms / 400.0
    traces = []
    with np.errstate(all="ignore"):
        for _ in range(_MOST_STEPS):
            run.arrive()
            run.active &= (run.t < trial_ms) & (run.counts.max(axis=1) <= most_spikes)
            if not run.active.any():
                break
            moved = run.advance()
            if traced:
                traces.append((run.t.copy(), run.x.copy(), moved))
    spikes = _sorted(len(run.t), run.log)
    finished = (run.t >= trial_ms) & np.isfinite(run.x).all(axis=(0, 2)) & (run.counts.max(axis=1) <= most_spikes)
    return Simulation(spikes, run.counts, finished, run.slowest, run.nearest, traces)


def _sorted(copies: int, log: list[tuple[Index, Index, Array]]) -> Events:
    """Events of all copies, which are in order in each of them, as arrays (copy, event)."""
    copy = np.concatenate([np.zeros(0, np.int64), *(own for own, _, _ in log)])
    neuron = np.concatenate([np.zeros(0, np.int64), *(own for _, own, _ in log)])
    time = np.concatenate([np.zeros(0), *(own for _, _, own in log)])
    order = np.argsort(copy, kind="stable")
    copy, neuron, time = copy[order], neuron[order], time[order]
    counts = np.bincount(copy, minlength=copies)
    place = np.arange(copy.size) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (copies, int(counts.max(initial=0)))
    times, sources = np.full(shape, np.inf), np.zeros(shape, np.int64)
    times[copy, place], sources[copy, place] = time, neuron
    return Events(times, sources)


class _Run:
    """The state of all copies. Those that are not active stand still."""

    def __init__(
        self,
        neuron: Neuron,
        parameters: Mapping[str, Array],
        weights: Array,
        recurrent: Array | None,
        events: Events,
        trial_ms: float,
        tolerance: float,
    ) -> None:
        self.equations = Equations(neuron, parameters)
        self.weights, self.recurrent, self.tolerance = weights, recurrent, tolerance
        self.trial_ms = self.longest = trial_ms
        copies = len(weights)
        self.inputs = np.append(events.times, np.full((copies, 1), np.inf), axis=1)
        self.sources, self.position = events.sources, np.zeros(copies, np.int64)
        self.x = self.equations.start()
        self.largest = np.abs(self.x)
        self.t, self.length = np.zeros(copies), np.full(copies, trial_ms / 500.0)
        self.active = np.ones(copies, bool)
        self.release = np.full(self.x.shape[1:], -np.inf)  # when the voltage of a neuron is free again
        self.counts = np.zeros(self.x.shape[1:], np.int64)
        self.rising = np.zeros(self.x.shape[1:], bool)
        self.slowest, self.nearest = np.full(self.x.shape[1:], np.inf), np.full(self.x.shape[1:], -np.inf)
        self.log: list[tuple[Index, Index, Array]] = []
        self.fired = np.zeros(self.x.shape[1:], bool)  # at this moment: where nothing is reset, g is still 0

    @property
    def held(self) -> Mask:
        return self.release > self.t[:, None]

    def arrive(self) -> None:
        """What is due now arrives, one event after the other."""
        everyone = np.arange(len(self.t))
        while True:
            due = self.active & (self.inputs[everyone, self.position] <= self.t) & (self.t < self.trial_ms)
            copies = np.flatnonzero(due)
            if not copies.size:
                return
            source = self.sources[copies, self.position[copies]]
            self.position[copies] += 1
            self.receive(copies, self.weights[copies, source])

    def receive(self, copies: Index, amount: Array) -> None:
        """Weights ``(copies, neuron)`` arrive; neurons that they lift over their threshold spike."""
        eq = self.equations
        x = self.x[:, copies]
        before = eq.excess(x, copies) if eq.jumps else None
        held = self.held[copies]
        for variable, added in eq.arrivals(amount):
            free = ~held if eq.refractory and variable == eq.voltage else np.ones_like(held)
            x[variable] += np.where(free, added, 0.0)
        self.x[:, copies] = x
        if before is not None:
            lifted = (before < 0) & (eq.excess(x, copies) >= 0) & ~held
            for n in range(lifted.shape[1]):
                self.fire(copies[lifted[:, n]], np.full(int(lifted[:, n].sum()), n))

    def fire(self, copies: Index, neurons: Index) -> None:
        """One neuron spikes in each of these copies, now."""
        if not copies.size:
            return
        eq = self.equations
        self.log.append((copies, neurons, self.t[copies]))
        self.counts[copies, neurons] += 1
        for variable, values in eq.after_reset(self.x[:, copies], copies):
            self.x[variable, copies, neurons] = values[np.arange(len(copies)), neurons]
        if eq.refractory:
            hold = eq.parameters[eq.neuron.refractory][copies, neurons]
            self.release[copies, neurons] = self.t[copies] + hold
        self.fired[copies, neurons], self.rising[copies, neurons] = True, False
        self.active[copies] &= self.counts[copies].max(axis=1) <= 1000
        if self.recurrent is not None:
            going = self.active[copies]
            self.receive(copies[going], self.recurrent[copies[going], neurons[going]])

    def advance(self) -> Mask:
        """One step in each active copy, up to the first crossing, the next event or as long as it may be; where it was
        too long, none. Gives the copies that moved."""
        eq, everyone, held = self.equations, np.arange(len(self.t)), self.held
        stop = np.minimum(self.inputs[everyone, self.position], self.trial_ms)
        if eq.refractory:
            stop = np.minimum(stop, np.where(held, self.release, np.inf).min(axis=1))
        wanted = np.minimum(self.length, self.longest)
        lands = self.t + wanted >= stop
        length = np.where(self.active, np.where(lands, stop - self.t, wanted), 0.0)

        def slope(x: Array) -> Array:
            return eq.slope(x, held)

        first = slope(self.x)
        step = method().advance(slope, self.x, first, length)
        rounding = length[:, None] * np.abs(slope(self.x * (1.0 + 1e-15)) - first)
        size = self.tolerance * np.maximum(self.largest, np.abs(step.end))
        error = step.error(size + rounding + 1e-300)  # nobody can ask for less than rounding
        factor = np.where(np.isfinite(error), 0.9 * np.maximum(error, 1e-12) ** -0.125, 0.2)
        good = self.active & (error <= 1.0) & np.isfinite(step.end).all(axis=(0, 2))
        proposed = length * np.clip(factor, 0.2, 6.0)
        self.length = np.where(good & lands, np.maximum(self.length, proposed), proposed)
        self.active &= good | (length > 1e-14 * self.trial_ms)
        crossed = self._look(step, good, held)
        self.x = np.where(good[:, None], step.end, self.x)
        self.largest = np.where(good[:, None], np.maximum(self.largest, np.abs(step.end)), self.largest)
        before, self.t = self.t, np.where(good, np.where(lands, stop, self.t + length), self.t)
        self.fired[good] = False
        if crossed is not None:
            self._cross(step, *crossed, before, held)
        return good

    def _look(self, step: Step, good: Mask, held: Mask) -> tuple[Index, Index, Mask] | None:
        """Copies with a crossing, number of the piece of the step in which the first is, and the neurons
        ``(those copies, neuron)`` that cross in that piece; None if there is none."""
        eq = self.equations
        if not eq.neuron.threshold:
            return None
        g = np.stack(
            [eq.excess(step.start), *(eq.excess(x) for x in step.between(_FRACTIONS[:-1])), eq.excess(step.end)]
        )
        at_zero = self.fired & (np.abs(g[0]) <= 1e-9 * np.abs(step.start).max(axis=0))
        g[0] = np.where(at_zero, 0.0, g[0])
        g = np.where(held, -np.inf, g)
        rises = (g[:-1] < 0) & (g[1:] >= 0) & good[:, None]  # (piece, copy, neuron)
        some: Mask = np.asarray(rises.any(axis=2))
        copies = np.flatnonzero(some.any(axis=0))
        piece = some[:, copies].argmax(axis=0)
        self._peaks(g, good, np.where(some.any(axis=0), some.argmax(axis=0), len(_FRACTIONS)))
        return (copies, piece, rises[piece, copies]) if copies.size else None

    def _peaks(self, g: Array, good: Mask, pieces: Index) -> None:
        """Remember peaks of g below 0 in the first pieces of the step, up to the crossing."""
        up = np.concatenate([self.rising[None], g[1:] > g[:-1]])  # (piece before, copy, neuron)
        inside = (np.arange(len(_FRACTIONS))[:, None] < pieces)[:, :, None]
        peak = up[:-1] & ~up[1:] & inside & (g[:-1] < 0)
        nearest = np.where(peak, g[:-1], -np.inf).max(axis=0)
        self.nearest = np.where(good[:, None], np.maximum(self.nearest, nearest), self.nearest)
        last = np.minimum(pieces, len(_FRACTIONS))
        self.rising = np.where(good[:, None], up[last, np.arange(len(last))], self.rising)

    def _cross(self, step: Step, copies: Index, piece: Index, crossing: Mask, before: Array, held: Mask) -> None:
        """Go back to the first crossing in these copies, and let the neuron spike."""
        eq, h = self.equations, step.length[copies, 0]
        edges = np.append(0.0, _FRACTIONS)
        low, high = edges[piece] * h, edges[piece + 1] * h
        start, first, own_held = step.start[:, copies], step.k[0][:, copies], held[copies]

        def slope(x: Array) -> Array:
            return eq.slope(x, own_held, copies)

        at, rows = 0.5 * (low + high), np.arange(len(copies))
        for _ in range(60):
            x = method().advance(slope, start, first, at).end
            g = np.where(crossing, eq.excess(x, copies), -np.inf)
            neurons = g.argmax(axis=1)
            g = g[rows, neurons]
            rate = eq.rate(x, slope(x), copies)[rows, neurons]
            low, high = np.where(g < 0, at, low), np.where(g < 0, high, at)
            newton = at - g / rate
            guess = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            moved, at = np.abs(guess - at), guess
            if (moved <= 2e-16 * (self.t[copies] + h)).all():
                break
        x = method().advance(slope, start, first, at).end
        self.x[:, copies] = x
        rate = eq.rate(x, slope(x), copies)[rows, neurons]
        self.slowest[copies, neurons] = np.minimum(self.slowest[copies, neurons], rate)
        self.t[copies] = before[copies] + at
        self.fire(copies, neurons)
