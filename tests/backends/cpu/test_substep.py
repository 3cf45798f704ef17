"""Crossings that are solved within their step (``spike_timing="substep"``), whose spikes leave at its end.

How often neurons spike follows continuous time; gradients approach the event-driven oracle's at first order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Randomness
from tests.backends.cpu.test_exact import directional
from tests.support import oracle
from tests.support.few_spikes import exact_cases, few_spikes_case
from tests.support.neuron_cases import Drive, batch_of, network_of, weights_of
from tests.support.small import KINDS, PARAMETERS, Case, flat, gradients_of, relative


def cases(kind: str, number: int, **options: Any) -> list[Case]:
    return exact_cases(lambda seed: few_spikes_case(seed, kind, spike_timing="substep", **options), number)


def expected_counts(case: Case) -> list[int]:
    return [
        n for name, own in oracle.simulate(case.net, case.events()).spike_counts.items() if "hid" in name for n in own
    ]


def counts(case: Case) -> np.ndarray:
    engine = case.engine()
    return np.asarray(case.learn(engine).spike_counts[0])


def one_neuron(weight: float, size: int = 1, **options: Any) -> Case:
    """Neurons alike with an input spike each after 10 ms, and a read-out that hears nothing."""
    hidden = oracle.Layer(np.full((1, size), weight), 20.0, 5.0, v_reset=-0.1)
    net = oracle.Network((hidden,), oracle.Layer(np.zeros((size, 2)), 20.0, 5.0, v_thresh=np.inf), 40.0)
    return Case(net, ([(9, 0)],), np.array([0], np.int32), 1.0, "sum", spike_timing="substep", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_spike_as_often_as_in_continuous_time(kind: str) -> None:
    """Fails if the charge that a neuron has when it crosses is lost at the end of its step, as on the grid."""
    right = {"substep": 0, "grid": 0}
    for case in cases(kind, 16, sizes=(8,)):
        exact = expected_counts(case)
        for timing in right:
            right[timing] += list(counts(replace(case, spike_timing=timing))) == exact
    assert right["substep"] >= 15 and right["grid"] <= right["substep"] - 5, right


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_of_first_order(kind: str) -> None:
    """Fails if the crossing, the jump or the way to either end of the step is wrong: median error over all weights and
    time constants below 0.1 at 0.1 ms, and half of that at half the step."""
    found = []
    for case in cases(kind, 16):
        exact = oracle.gradients(case.net, case.events(), int(case.labels[0]), "sum", PARAMETERS)[1]
        expected = flat(case.net, exact)
        errors = []
        for dt_ms in (0.1, 0.05):
            finer = case.with_step(dt_ms)
            engine = finer.engine()
            assert list(finer.learn(engine).spike_counts[0]) == expected_counts(case)
            errors.append([relative(g, expected[name]) for name, g in gradients_of(engine).items()])
        found.append(np.median(errors, axis=1))
    coarse, fine = np.median(found, axis=0)
    assert coarse < 0.1
    assert 1.6 < coarse / fine < 2.6


@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("size", [1, 17, 70])
def test_state_after_a_crossing(real: str, size: int) -> None:
    """Fails if a neuron is reset elsewhere than where it crosses, or not taken from there to the end of the step; or if
    more neurons spike in a step than fit a vector or a panel."""
    case = one_neuron(10.0, size)
    engine = case.engine(real=real)
    engine.run(case.spikes, case.numbers, None, record=[("hidden0", "V")])
    voltages = engine.trace("hidden0", "V")[0]

    def v(t: float, start: float = 0.0, current: float = 10.0) -> float:
        return start * np.exp(-t / 20.0) + current * (np.exp(-t / 20.0) - np.exp(-t / 5.0)) * 5.0 / (20.0 - 5.0)

    crossed = brentq(lambda t: v(t, -0.1 * np.exp(-10.0 / 20.0)) - 1.0, 0.0, 5.0, xtol=1e-14)
    step = int(crossed)
    after = v(step + 1 - crossed, -0.1, 10.0 * np.exp(-crossed / 5.0))
    assert voltages[10 + step] == pytest.approx(np.full(size, after), abs=1e-6 if real == "float" else 1e-7)
    steps, ids = engine.spikes(0, "hidden0")
    assert list(ids[steps == 10 + step]) == list(range(size))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_smooth_is_differentiated(kind: str) -> None:
    """Differences by what moves no spike: fails if the read-out's gradient is not that of spikes at ends of steps."""
    case = cases(kind, 1, sizes=(8,))[0]
    rng = np.random.default_rng(0)
    smooth = {name: g for name, g in case.gradients().items() if name == "hid_to_out" or name.startswith("output")}
    assert len(smooth) == 3
    for name, g in smooth.items():
        direction = rng.normal(size=g.shape)
        slope = directional(case, name, direction, 1e-3)
        scale = np.linalg.norm(g) * np.linalg.norm(direction)
        assert abs(slope - np.sum(g * direction)) < 2e-5 + 1e-3 * scale, name


def test_dropped_spikes_still_reset() -> None:
    """Fails if dropout does more than to take spikes of a layer without recurrence: those left are there without it."""
    case = few_spikes_case(3, "LIF", sizes=(40,), recurrent=False, spike_timing="substep")
    engine = case.engine()
    case.learn(engine)
    whole = set(zip(*(a.tolist() for a in engine.spikes(0, "hidden0")), strict=True))
    left = 0
    for seed in range(10):
        result = case.learn(engine, randomness=Randomness(hidden_dropout=0.4, hidden_seed=seed))
        own = set(zip(*(a.tolist() for a in engine.spikes(0, "hidden0")), strict=True))
        assert own <= whole
        assert np.isfinite(result.loss).all()
        assert all(np.isfinite(g).all() for g in gradients_of(engine).values())
        left += len(own)
    assert len(whole) > 20
    assert 0.5 < left / (10 * len(whole)) < 0.7


def test_a_little_noise_changes_little() -> None:
    """Fails if a neuron that only noise lifts above its threshold is not reset, or is taken for one that crossed."""
    case = cases("LIF", 1, sizes=(8,))[0]
    engine = case.engine()
    plain, gradients = case.learn(engine), gradients_of(engine)
    noisy = case.learn(engine, randomness=Randomness(noise=1e-9))
    assert np.array_equal(plain.spike_counts, noisy.spike_counts)
    assert max(relative(g, gradients[name]) for name, g in gradients_of(engine).items()) < 1e-4
    loud = case.learn(engine, randomness=Randomness(noise=0.3))
    assert loud.spike_counts.sum() > plain.spike_counts.sum()
    assert all(np.isfinite(g).all() for g in gradients_of(engine).values())


@pytest.mark.parametrize(
    ("name", "drive"),
    [
        pytest.param("EIF", Drive(), marks=pytest.mark.long),
        pytest.param("AdEx", Drive(), marks=pytest.mark.long),
        ("COBA", Drive(0.15, 0.25, 0.1, 0.05, 0.15)),
    ],
)
def test_crossings_of_a_steep_upstroke_are_found_to_rounding(name: str, drive: Drive) -> None:
    """Fails if the search ends where a cubic through both ends of the step would be close enough: gradients in single
    precision were off by 2e-4 then."""
    network = replace(network_of(models.NEURONS[name], "some"), spike_timing="substep")
    spikes, numbers, labels = batch_of(0)
    found = []
    for real in ("float", "double"):
        engine = CpuEngine(network, 1, real)
        engine.set_weights(weights_of(drive))
        counts = engine.run(spikes, numbers, labels, learn=True).spike_counts
        found.append((counts, gradients_of(engine)))
    (ours, single), (right, exact) = found
    assert np.array_equal(ours, right) and right.mean() > 4
    assert max(relative(single[n], g) for n, g in exact.items()) < 2e-5
