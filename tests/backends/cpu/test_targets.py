"""Losses of values, of labels per step, of one's own and of a window of the trial: against the NumPy version of the
grid, the event-driven oracle, central differences, and each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.derivation.losses import complete
from eventprop.losses import Loss
from tests.backends.cpu.test_double import with_silence
from tests.support import oracle
from tests.support.few_spikes import delayed_case, differences_to_oracle, exact_cases, few_spikes_case
from tests.support.oracle import Array
from tests.support.small import Case, clear, differences, flat, gradients_of, random_case, relative

STEPS, OUTPUTS, N = 100, 5, 3
WINDOW = (30, 75)


def told(what: str) -> np.ndarray:
    """What the samples of a random case are compared with."""
    rng = np.random.default_rng(7)
    if what == "labels":
        return rng.integers(0, OUTPUTS, N).astype(np.int32)
    if what == "labels of steps":
        return rng.integers(0, OUTPUTS, (N, STEPS)).astype(np.int32)
    return rng.normal(0.0, 0.5, (N, OUTPUTS) if what == "values" else (N, STEPS, OUTPUTS))


def drawn(seed: int, loss: str, what: str, window: tuple[int, int] | None, **options: Any) -> Case:
    options = {"told": told(what), "window": window, "steps": STEPS, "n": N, **options}
    return random_case(seed, "hetLIF", loss, sizes=(20,), n_out=OUTPUTS, **options)


@pytest.mark.parametrize(
    ("loss", "what", "window"),
    [
        ("sum_weigh_exp", "labels", WINDOW),
        ("sum_weigh_input", "labels", WINDOW),
        ("max", "labels", WINDOW),
        ("max", "labels", (0, 40)),
        ("avg_xentropy", "labels", WINDOW),
        ("avg_xentropy", "labels of steps", None),
        ("avg_xentropy", "labels of steps", WINDOW),
        ("mse", "values", None),
        ("mse", "values", (99, 100)),
        ("mse_steps", "values", WINDOW),
        ("mse_steps", "values of steps", None),
        ("mse_steps", "values of steps", WINDOW),
    ],
)
def test_as_the_numpy_version_to_the_bit_of_rounding(loss: str, what: str, window: tuple[int, int] | None) -> None:
    """Fails if a step outside the window counts in loss, score or adjoint, or a step has the target of another."""

    def make(seed: int) -> Case:
        case = drawn(seed, loss, what, window)
        return replace(case, labels=case.compared if what == "labels" else case.labels, loss_scale=0.5)

    case, expected = clear(make, 1e-9)
    engine = case.engine(2)
    result = case.learn(engine)
    found = differences(expected, engine, result)
    assert found.pop("scores", 0.0) < 1e-7  # in single precision
    assert max(found.values(), default=0.0) < 1e-11, found
    v, counted = np.array([r.layers["output"].v for r in expected.records]), slice(*(window or (0, STEPS)))
    if what == "labels of steps":
        right = v.argmax(axis=2) == case.compared
        assert result.measured == pytest.approx(right[:, counted].mean(axis=1)) and 0 < right.mean() < 1
    elif what == "labels":
        assert np.array_equal(result.measured, result.predictions == case.compared)
    else:
        of_steps = case.compared if what.endswith("steps") else case.compared[:, None]
        compared = v[:, counted] if loss == "mse_steps" else result.scores[:, None]
        wanted = of_steps[:, counted] if what.endswith("steps") else of_steps
        assert result.measured == pytest.approx(((compared - wanted) ** 2).mean(axis=(1, 2)), rel=1e-6)


def test_a_window_of_all_steps_has_the_bits_of_none() -> None:
    """For each loss of voltages, in single precision as people train."""
    for loss in (n for n, of in models.LOSSES.items() if not of.spiking):
        case = drawn(3, loss, "values" if models.LOSSES[loss].of_values else "labels", None)
        whole = replace(case, window=(0, STEPS))
        ours, theirs = case.engine(1, "float"), whole.engine(1, "float")
        assert np.array_equal(case.learn(ours).loss, whole.learn(theirs).loss), loss
        for name, gradient in gradients_of(ours).items():
            assert np.array_equal(gradient, gradients_of(theirs)[name]), (loss, name)


def test_bits_do_not_depend_on_threads() -> None:
    """Values and labels are those of their own samples, whoever presents these, and in however many parts."""
    for loss, what in (("mse_steps", "values of steps"), ("avg_xentropy", "labels of steps"), ("mse", "values")):
        case = drawn(4, loss, what, WINDOW)
        numbers = np.tile(case.numbers, 40)  # more than are presented at a time
        found = []
        for threads in (1, 2):
            engine = case.engine(threads, "float")
            result = engine.run(case.spikes, numbers, case.compared[numbers], learn=True)
            found.append((result.loss, result.measured, *gradients_of(engine).values()))
        assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True)), loss
        assert np.array_equal(found[0][1], np.tile(found[0][1][:N], 40)), loss


def windowed(loss: str, delays: bool) -> Callable[[int], Case]:
    def make(seed: int) -> Case:
        case = delayed_case(seed, loss=loss) if delays else few_spikes_case(seed, "hetLIF", loss, spike_timing="exact")
        steps = case.num_steps
        values = np.random.default_rng(seed).normal(0.0, 0.5, (1, case.net.output.size))
        window = (steps // 3, steps * 5 // 6)
        return replace(case, window=window, told=values if loss == "mse" else None)

    return make


@pytest.mark.parametrize("delays", [False, True])
@pytest.mark.parametrize("loss", ["sum", "sum_weigh_linear", "mse"])
def test_exact_spike_times_as_the_oracle(loss: str, delays: bool) -> None:
    """The exact gradient of a window's integral: what arrives in it, before and after it."""
    make = windowed(loss, delays)
    cases = exact_cases(make, 2)
    assert len(cases) == 2
    for case in cases:
        found = differences_to_oracle(case, case.engine())
        assert max(found.values()) < 1e-7, found


def course(t: Array) -> Array:
    """(..., 3) values by time (ms)."""
    return np.stack([0.3 * np.sin(0.2 * t), 0.2 * np.cos(0.1 * t), 0.01 * t - 0.2], axis=-1)


def exact_gradients(case: Case, loss: str) -> dict[str, Array]:
    """By the oracle, in a window from 12 to 48 ms: of a course, or of labels 0 and, from 24 ms on, 2."""
    if loss == "mse_steps":
        return flat(case.net, oracle.gradients(case.net, case.events(), course, loss, window=(12.0, 48.0))[1])
    parts = [
        flat(case.net, oracle.gradients(case.net, case.events(), label, loss, window=window)[1])
        for label, window in ((0, (12.0, 24.0)), (2, (24.0, 48.0)))
    ]
    return {name: (parts[0][name] + 2 * parts[1][name]) / 3 for name in parts[0]}


def on_the_grid(case: Case, loss: str, dt_ms: float) -> dict[str, Array]:
    """By the engine, with steps of ``dt_ms``."""
    case = case.with_step(dt_ms)
    t = (np.arange(case.num_steps) + 1e-6) * dt_ms
    told = course(t)[None] if loss == "mse_steps" else np.where(t < 24.0, 0, 2)[None]
    return replace(case, told=told, window=(round(12.0 / dt_ms), round(48.0 / dt_ms))).gradients()


@pytest.mark.parametrize("loss", ["mse_steps", "avg_xentropy"])
def test_time_courses_approach_the_oracle(loss: str) -> None:
    """Values and labels of each step, in a window: about half the error at half the step."""
    errors = []
    for seed in range(60):
        case = few_spikes_case(seed, "LIF", loss)
        trajectory = oracle.simulate(case.net, case.events())
        if trajectory.min_denominator > 0.7 and 3 <= sum(trajectory.spike_counts["hidden0"]) <= 10:
            exact, names = exact_gradients(case, loss), ("hid_to_out", "in_to_hid")
            found = [on_the_grid(case, loss, dt_ms) for dt_ms in (0.1, 0.05)]
            errors += [[relative(g[name], exact[name]) for g in found] for name in names]
    coarse, fine = np.median(errors, axis=0)
    assert len(errors) >= 20 and coarse < 0.05 and 1.4 < coarse / fine < 3.0, (len(errors), coarse, fine)


OWN = {
    "width": Loss(
        "width",
        parameters={"width": models.Parameter(0.7, above=0.0)},
        weight="exp(-x)",
        compare="width * (sqrt(1 + ((y - target) / width)**2) - 1) + 0.1 * abs(y - target)",
        target="value",
        per_step=True,
    ),
    "squares": Loss("squares", weight="1 - x**2", compare="log(1 + (y - target)**2)"),
}


@pytest.mark.parametrize(("name", "what"), [("width", "values of steps"), ("squares", "labels")])
def test_a_loss_of_ones_own_against_differences(name: str, what: str) -> None:
    """Weights of the read-out move no spike, so that the loss is smooth in them: differences of 4th order."""
    case, loss = drawn(5, "mse", what, WINDOW), complete(OWN[name])
    network = replace(case.network(), loss=loss, loss_parameters=dict.fromkeys(loss.parameters, 0.7))
    engine = CpuEngine(network, 1, "double")
    case.load(engine)
    case.learn(engine)
    gradient = engine.gradients()["hid_to_out"]
    weights = {n: w.astype(np.float64) for n, w in engine.weights().items()}
    direction = np.random.default_rng(1).normal(size=gradient.shape)

    def loss_at(step: float) -> float:
        engine.set_weights({**weights, "hid_to_out": weights["hid_to_out"] + step * direction})
        return float(engine.run(case.spikes, case.numbers, case.compared).loss.mean())

    h = 1e-3
    slope = (8 * (loss_at(h) - loss_at(-h)) - loss_at(2 * h) + loss_at(-2 * h)) / (12 * h)
    assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-7)


def test_first_spikes_declared_as_ones_own() -> None:
    """What is derived of score and penalty is what is written beside the loss on board, silent outputs included."""
    own = Loss("own", ("alpha", "tau_0"), score="-t / tau_0", penalty="alpha / (1.01 * trial - t)")
    case = with_silence(random_case(6, "hetLIF", "first_spike", sizes=(20,), n=N, steps=STEPS))
    ours, network = case.engine(), case.network()
    parameters = {n: network.loss_parameters[n] for n in own.parameters}
    theirs = CpuEngine(replace(network, loss=complete(own), loss_parameters=parameters), 1, "double")
    case.load(theirs)
    assert case.learn(ours).loss == pytest.approx(case.learn(theirs).loss, rel=1e-12)
    for key, gradient in gradients_of(ours).items():
        assert relative(gradients_of(theirs)[key], gradient) < 1e-9, key
