"""The engine on the grid against the event-driven oracle: its gradients approach the exact ones as dt shrinks.

Networks are drawn until enough are usable: no crossing grazes (the denominator of every jump is at least 0.7), each
layer spikes a few times, and the engine finds the oracle's spike counts. What is compared are medians over them,
since a spike's place within its step is arbitrary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import models
from eventprop.backends.cpu.engine import CpuEngine
from tests.support import grid_numpy, oracle
from tests.support.few_spikes import few_spikes_case
from tests.support.oracle import Trajectory
from tests.support.small import KINDS, PARAMETERS, Case, flat, gradients_of, relative

STEPS_MS = (0.1, 0.05)


def counts(trajectory: Trajectory) -> list[int]:
    """Spikes of all hidden neurons."""
    return [n for name, own in trajectory.spike_counts.items() if name != "output" for n in own]


def clear_maxima(case: Case, trajectory: Trajectory) -> bool:
    """Whether no output's maximum can change places as spikes move by less than a step.

    That is: all other peaks are lower by 0.01, and the maximum is a clear cusp, with V rising before and falling after
    one spike and no other spike within 0.2 ms, or smooth with no spike so near.
    """
    output, trial = case.net.output, case.net.trial_ms
    values, times = oracle._maxima(trajectory)
    t = np.arange(0.0, trial, 0.1)
    segment = np.searchsorted(trajectory.start_ms, t, side="right") - 1
    lag = (t - trajectory.start_ms[segment])[:, None]
    i, v = (state[:, -output.size :] for state in (trajectory.i, trajectory.v))
    course = (
        np.exp(-lag / output.tau_mem) * v[segment] + oracle.response(lag, output.tau_mem, output.tau_syn) * i[segment]
    )
    spikes = np.concatenate(list(trajectory.spike_times.values())[-1])
    for j, (value, time) in enumerate(zip(values, times, strict=True)):
        y = course[:, j]
        peaks = np.flatnonzero((y[1:-1] > y[:-2]) & (y[1:-1] >= y[2:])) + 1
        peaks = np.array([*peaks[np.abs(t[peaks] - time) > 0.15], len(t) - 1, *([0] if time > 0 else [])])
        near = np.abs(spikes - time) < 0.2
        if time == trial or y[peaks].max() > value - 0.01 or near.sum() > 1:
            return False
        if near.any():
            s = int(np.abs(trajectory.start_ms - time).argmin())  # begins at the spike, if the maximum is a cusp
            before = i[s - 1, j] * np.exp(-trajectory.length_ms[s - 1] / output.tau_syn[j])
            is_at_spike = abs(trajectory.start_ms[s] - time) < 1e-9 and np.abs(spikes - time).min() < 1e-9
            if not is_at_spike or before - v[s, j] < 0.05 or v[s, j] - i[s, j] < 0.05:
                return False
    return True


class Usable:
    """The networks without a grazing crossing, drawn as they are asked for and kept for the next loss."""

    def __init__(self, kind: str, loss: str, layers: int) -> None:
        self.kept: list[tuple[Case, Trajectory]] = []
        self.rest = self.candidates(kind, loss, layers)

    @staticmethod
    def candidates(kind: str, loss: str, layers: int) -> Iterator[tuple[Case, Trajectory]]:
        for seed in range(2000):
            case = few_spikes_case(seed, kind, loss, sizes=(4,) * layers, v_reset=-0.2 * (seed % 2))
            trajectory = oracle.simulate(case.net, case.events())
            counts = [sum(own) for own in trajectory.spike_counts.values()]
            if trajectory.min_denominator > 0.7 and min(counts) >= 3 and max(counts) <= 10:
                yield case, trajectory

    def __iter__(self) -> Iterator[tuple[Case, Trajectory]]:
        yield from self.kept
        for item in self.rest:
            self.kept.append(item)
            yield item


usable = cache(Usable)


def errors(kind: str, loss: str, layers: int, number: int) -> dict[str, list[tuple[float, float, float]]]:
    """By gradient and usable network: relative error at 0.1 ms and at 0.05 ms, cosine with the exact one at 0.1 ms."""
    engines: dict[float, CpuEngine] = {}
    found: dict[str, list[tuple[float, float, float]]] = {}
    taken = 0
    for case, trajectory in usable(kind, "first_spike" if loss in grid_numpy.SPIKING_LOSSES else "sum", layers):
        label = int(case.labels[0])
        if loss in grid_numpy.SPIKING_LOSSES and not trajectory.spike_counts["output"][label]:
            continue  # a phantom's gradient is not one of a loss
        if loss == "max" and not clear_maxima(case, trajectory):
            continue
        gradients = []
        for dt_ms in STEPS_MS:
            on_grid = replace(case.with_step(dt_ms), loss=loss)
            if dt_ms not in engines:
                engines[dt_ms] = on_grid.engine()
            engine = engines[dt_ms]
            on_grid.load(engine)
            if list(on_grid.learn(engine).spike_counts[0]) == counts(trajectory):
                gradients.append(gradients_of(engine))
        if len(gradients) < len(STEPS_MS):
            continue
        exact = flat(case.net, oracle.gradients(case.net, case.events(), label, loss, PARAMETERS)[1])
        for name, values in exact.items():
            if values.any():
                coarse, fine = (relative(g[name], values) for g in gradients)
                product = np.sum(gradients[0][name] * values)
                cosine = product / np.linalg.norm(gradients[0][name]) / np.linalg.norm(values)
                found.setdefault(name, []).append((coarse, fine, float(cosine)))
        taken += 1
        if taken == number:
            return found
    raise AssertionError(f"only {taken} usable networks")


def check(found: dict[str, list[tuple[float, float, float]]]) -> None:
    medians = {name: np.median(own, axis=0) for name, own in found.items()}
    summary = {name: own.round(4).tolist() for name, own in medians.items()}
    assert all(coarse < 0.1 and cosine > 0.995 for coarse, _, cosine in medians.values()), summary
    coarse, fine = np.median([pair[:2] for own in found.values() for pair in own], axis=0)
    assert 1.4 < coarse / fine < 3.0, summary


@pytest.mark.parametrize("loss", models.LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_approach_the_exact_ones(kind: str, loss: str) -> None:
    """Fails if the algorithm is wrong and not just its step coarse: median error below 0.1 and cosine above 0.995 at
    0.1 ms for every weight and time constant, and about half the error at 0.05 ms."""
    check(errors(kind, loss, layers=1, number=30))


@pytest.mark.parametrize(("kind", "loss"), [("LIF", "sum"), ("hetLIF", "sum_weigh_exp"), ("ALIF", "sum_weigh_input")])
def test_gradients_through_two_layers(kind: str, loss: str) -> None:
    """Fails if the error is a step late, or lost, on its way through a second layer."""
    check(errors(kind, loss, layers=2, number=20))
