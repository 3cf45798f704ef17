"""Synapses with delays on the grid: the engine against the plain NumPy version, and against what a delay must be.

A spike stamped k, which happens at the end of step k, arrives in step k + 1 + d through a synapse of d steps. With R of
a spike the sum of w (lambda_v - lambda_i) over its arrivals, dL/dd is the part of its own synapse.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import DELAY_SHARED, Randomness
from eventprop.training.optimiser import adam_parameters
from tests.backends.cpu.test_engine import ADAM, same
from tests.support import oracle
from tests.support.delayed import DelayedCase, delayed, spread
from tests.support.oracle import Layer
from tests.support.small import (
    SIMPLE,
    THOMAS1,
    Case,
    Expected,
    clear,
    differences,
    gradients_of,
    random_case,
    relative,
)

INPUT, RECURRENT, FORWARD, OUTPUT = ("in_to_hid",), ("hid_to_hid0",), ("hid_to_hidfwd0",), ("hid_to_out",)
RANDOM = Randomness(0.1, 0.1, 0.05, input_seed=1, hidden_seed=2, noise_seed=3)


def found(
    names: tuple[str, ...] | None, per: str = "synapse", random: Randomness | None = None, **options: Any
) -> dict[str, float]:
    """Differences between the engine and the NumPy version on a random network with delays of these projections."""

    def make(seed: int) -> DelayedCase:
        case = random_case(seed, steps=80, dt_ms=0.5, n=2, **options)
        return delayed(case, spread(case, names, per=per), per=per)

    case, expected = clear(make, **({"random": random} if random else {}))
    assert expected.counts.mean() > 2
    if per != "synapse":
        expected = shared(case, expected)
    engine = case.engine(2)
    result = case.learn(engine, **({"randomness": random} if random else {}))
    assert all(np.linalg.norm(g) > 0 for name, g in engine.gradients().items() if name.endswith(".delay"))
    return differences(expected, engine, result)


def worst(differences_: dict[str, float]) -> float:
    """The largest; scores, which have single precision, by themselves."""
    assert differences_.pop("scores", 0.0) < 1e-6
    return max(differences_.values(), default=0.0)


def shared(case: DelayedCase, expected: Expected) -> Expected:
    """The gradients of delays that synapses share: each has the sum of what single ones would have."""
    axis = {"source": 1, "target": 0}[case.per]
    sums = {
        name: np.broadcast_to(g.sum(axis, keepdims=True), g.shape) if name.endswith(".delay") else g
        for name, g in expected.gradients.items()
    }
    return replace(expected, gradients=sums)


@pytest.mark.parametrize("names", [INPUT, RECURRENT, OUTPUT, INPUT + RECURRENT + OUTPUT], ids="+".join)
@pytest.mark.parametrize("kind", ["LIF", "hetLIF"])
def test_one_layer(kind: str, names: tuple[str, ...]) -> None:
    """Fails if a spike arrives in another step than it should, or an adjoint is taken from another one."""
    assert worst(found(names, kind=kind)) < 1e-11


@pytest.mark.parametrize("names", [FORWARD, ("hid_to_hid1",), None], ids=str)
def test_two_layers(names: tuple[str, ...] | None) -> None:
    """Fails if what a layer sends back to the one below misses a delay."""
    assert worst(found(names, kind="ALIF", sizes=(30, 20))) < 1e-11


@pytest.mark.parametrize("loss", ["max", "avg_xentropy", "sum_weigh_input", "first_spike", "first_spike_exp"])
def test_other_losses(loss: str) -> None:
    """Fails if the loss that depends on when a spike arrives ("max", at the cusps), on each step or on the outputs' own
    spikes does not reach the delays."""
    assert worst(found(None, kind="hetLIF", loss=loss, sizes=(40,))) < 1e-11


@pytest.mark.parametrize("per", ["source", "target"])
def test_shared_delays(per: str) -> None:
    """Fails if the gradient of a delay that many synapses have is not the sum of what each would have."""
    assert worst(found(None, per, kind="LIF", sizes=(40, 20))) < 1e-11


@pytest.mark.skipif(shutil.which("clang++") is None, reason="clang++ is not installed")
def test_built_by_clang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if numbers that may begin anywhere are read as a vector: clang's code then ends the process."""
    monkeypatch.setenv("CXX", "clang++")
    assert worst(found(INPUT + RECURRENT + OUTPUT, kind="LIF")) < 1e-11


@pytest.mark.parametrize("regulariser", ["simple", "Thomas1"])
def test_with_dropout_noise_regulariser_and_delay_line(regulariser: str) -> None:
    """Fails if what is lost still arrives, or copies of the input have the delays of others."""
    strengths = SIMPLE if regulariser == "simple" else THOMAS1
    options: dict[str, Any] = {"copies": 3, "delay_steps": 7, "regulariser": regulariser, "strengths": strengths}
    assert worst(found(None, random=RANDOM, kind="hetLIF", **options)) < 1e-11


def test_single_precision() -> None:
    """Fails if a sum over arrivals has fewer digits in the engine that users run than it should."""
    case, expected = clear(lambda seed: delayed(random_case(seed, "hetLIF", sizes=(40,), n=2, v_reset=-0.2)))
    engine = case.engine(2, "float")
    assert max(differences(expected, engine, case.learn(engine)).values()) < 1e-5


def one_spike(dt_ms: float, delay_ms: float, trial_ms: float = 100.0, at_ms: float = 20.0) -> DelayedCase:
    """An input spike makes a hidden neuron spike at ``at_ms``, which two outputs (20 and 5 ms) hear later."""
    stamp = round(at_ms / dt_ms) - 2
    hidden = Layer(np.array([[300.0 / dt_ms]]), np.array([20.0]), np.array([dt_ms / 10]))
    output = Layer(np.array([[0.3, -0.2]]), np.array([20.0, 20.0]), np.array([5.0, 5.0]), v_thresh=np.inf)
    net = oracle.Network((hidden,), output, trial_ms)
    case = Case(net, ([(stamp, 0)],), np.array([0], np.int32), dt_ms, "sum", taus="own")
    return delayed(case, {"hid_to_out": np.full((1, 2), delay_ms, np.float32)}, most=trial_ms - 1.0)


def test_worked_out_by_hand() -> None:
    """Sign and size, to first order in the step: an output's V after a spike at t is w r(s - t), so that its mean over
    a trial of T falls with the delay by w r(T - t - d) / T, and the loss by softmax less one-hot label times that."""
    at, delay, trial = 20.0, 50.0, 100.0
    r = (
        (np.exp(-30.0 / 20.0) - np.exp(-30.0 / 5.0)) * 5.0 / (20.0 - 5.0)
    )  # 30 ms after arrival, at the end of the trial
    assert r == pytest.approx(0.07355, abs=1e-5)
    charge = (20.0 * (1 - np.exp(-30.0 / 20.0)) - 5.0 * (1 - np.exp(-30.0 / 5.0))) * 5.0 / (20.0 - 5.0)
    w, label = np.array([0.3, -0.2]), np.array([1.0, 0.0])
    scores = w * charge / trial
    expected = (np.exp(scores) / np.exp(scores).sum() - label) * -w * r / trial
    assert expected[0] > 0 and expected[1] > 0  # label's output is driven, the other held down, for a shorter time
    errors = []
    for dt_ms in (0.02, 0.01):
        case = one_spike(dt_ms, delay)
        engine = case.engine()
        loss = case.learn(engine).loss[0]
        assert loss == pytest.approx(-np.log(np.exp(scores[0]) / np.exp(scores).sum()), rel=2e-4)
        assert engine.spikes(0, "hidden0")[0].tolist() == [round(at / dt_ms) - 1]
        errors.append(relative(engine.gradients()["hid_to_out.delay"][0], expected))
    assert errors[0] < 1e-2 and 1.7 < errors[0] / errors[1] < 2.3


@pytest.mark.parametrize("late", [38, 39, 40, 60])
def test_what_arrives_after_the_trial_is_lost(late: int) -> None:
    """A spike stamped 19 of 60 steps is heard up to a delay of 38 steps: that arrives in step 58, and V of the last
    step is the first to show it. Fails if a late one is delivered, or wraps round."""
    case = one_spike(1.0, 0.0, 60.0)
    case = replace(case, delays={"hid_to_out": np.full((1, 2), late, np.float32)}, most=100.0)
    engine = case.engine()
    scores = case.learn(engine).scores[0]
    assert engine.spikes(0, "hidden0")[0].tolist() == [19]
    assert scores.any() == (late < 39)
    if late > 39:
        assert not any(engine.gradients()[name].any() for name in ("hid_to_out", "hid_to_out.delay", "in_to_hid"))


def test_delays_that_are_too_long_for_a_byte() -> None:
    """Fails if what is lost anyway, after 200 steps or after 270, changes a bit: from 256 on, others are read."""
    case, found = random_case(5, "LIF", sizes=(40, 20), steps=80, dt_ms=0.5, n=2), []
    for lost in (100.0, 135.0):  # the latter as a byte: 7 ms
        delays = {name: np.where(d > 15.0, np.float32(lost), d) for name, d in spread(case).items()}
        found.append(delayed(case, delays, most=150.0).gradients())
    assert same(*found) and all(g.any() for g in found[0].values())


def test_the_delay_line_is_a_special_case() -> None:
    """Fails if a synapse with a delay is not the row of a delay line that comes as late, the others being 0."""
    copies, every = 6, 7
    line = random_case(3, "LIF", sizes=(40,), n_in=12, copies=copies, delay_steps=every, taus="shared")
    w = line.net.hidden[0].w.reshape(copies, 12, 40) * copies
    pick = np.random.default_rng(0).integers(0, copies, (12, 40))
    one = np.arange(copies)[:, None, None] == pick
    line = line.edited("hidden0", w=np.where(one, w, 0.0).reshape(-1, 40))
    case = line.edited("hidden0", w=np.take_along_axis(w, pick[None], 0)[0])
    steps = {"in_to_hid": (pick * every * line.dt_ms).astype(np.float32)}
    case = delayed(replace(case, copies=1, delay_steps=0), steps)
    engines = line.engine(), case.engine()
    results = [c.learn(e) for c, e in zip((line, case), engines, strict=True)]
    assert np.array_equal(results[0].spike_counts, results[1].spike_counts) and results[0].spike_counts.mean() > 3
    assert relative(results[1].loss, results[0].loss) < 1e-12
    expected, own = (e.gradients() for e in engines)
    expected["in_to_hid"] = np.take_along_axis(expected["in_to_hid"].reshape(copies, 12, 40), pick[None], 0)[0]
    for name, g in expected.items():
        assert relative(own[name], g) < 1e-11, name


def test_to_the_nearest_step() -> None:
    """Fails if delays are cut to steps, or come back other than they were set: a saved network would be another one."""
    case = random_case(0, "LIF", sizes=(30,))
    whole = {name: np.floor(d / 0.5) * np.float32(0.5) for name, d in spread(case).items()}
    expected = delayed(case, whole)
    gradients = expected.gradients()
    for off in (-0.24, 0.24):
        moved = delayed(case, {n: np.maximum(d + np.float32(off), 0.0) for n, d in whole.items()}, most=30.0)
        engine = moved.engine()
        assert same(moved.gradients(engine), gradients)
        assert same({n: d.astype(np.float32) for n, d in engine.weights().items()}, moved.synaptic)
    later = delayed(case, {n: d + np.float32(0.26) for n, d in whole.items()}, most=30.0)
    assert same(
        later.gradients(), delayed(case, {n: d + np.float32(0.5) for n, d in whole.items()}, most=30.0).gradients()
    )


@pytest.mark.parametrize("timing", ["grid", "substep"])
@pytest.mark.parametrize("per", DELAY_SHARED)
def test_threads_and_splits_change_no_bit(per: str, timing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the order of a sum over arrivals depends on threads or on how many samples are held at a time."""
    options: dict[str, Any] = {"regulariser": "Thomas1", "strengths": THOMAS1, "spike_timing": timing, "n": 7}
    case = random_case(4, "hetLIF", "max", sizes=(70, 40), steps=60, dt_ms=1.0, copies=2, delay_steps=5, **options)
    case = delayed(case, spread(case, per=per), per=per)

    def everything(threads: int) -> dict[str, np.ndarray]:
        engine = case.engine(threads, "float")
        result = case.learn(engine, randomness=RANDOM)
        found = {"loss": result.loss, "scores": result.scores, "counts": result.spike_counts} | gradients_of(engine)
        engine.update(adam_parameters(ADAM, 1e-2, 1), delay_rate=0.5)
        return found | {f"updated {name}": array for name, array in engine.weights().items()}

    expected = everything(1)
    assert all(array.any() for array in expected.values())
    for threads in (2, 3, 4):
        assert same(everything(threads), expected)
    for chunk in (1, 4):
        monkeypatch.setattr(CpuEngine, "_chunk", lambda self, n, learn, chunk=chunk: chunk)
        assert same(everything(2), expected)


@pytest.mark.parametrize("per", DELAY_SHARED)
def test_adam_steps_between_bounds(per: str) -> None:
    """Five updates against Adam written out: fails if delays have the rate of the weights, leave their bounds, lose
    moments there, or what is not trained moves; of a shared delay, if what shares it goes apart or counts twice in the
    gradient's norm."""
    case = random_case(19, "LIF", sizes=(20,), n=2, frozen=("in_to_hid",))
    case = delayed(case, spread(case, per=per), most=20.0, per=per, fixed=("hid_to_out",))
    engine, names = case.engine(2), ("in_to_hid.delay", "hid_to_hid0.delay")
    alike = {"synapse": (1, 1), "source": (20, 20), "target": (12, 20)}[per]
    found = engine.weights()
    m, v = ({name: np.zeros_like(found[name]) for name in names} for _ in range(2))
    at_bounds = 0
    for s in range(1, 6):
        expected, gradients = dict(found), case.gradients(engine)
        trained = {n: g for n, g in gradients.items() if n in (*names, "hid_to_hid0", "hid_to_out")}
        squares = sum((g**2).sum() / dict(zip(names, alike, strict=True)).get(n, 1) for n, g in trained.items())
        assert engine.gradient_norm() == pytest.approx(np.sqrt(squares), rel=1e-9)
        assert not gradients["hid_to_out.delay"].any()
        engine.update(adam_parameters(ADAM, 0.01, s), factor=0.5, delay_rate=2.0)
        found = engine.weights()
        for name in names:
            m[name] = 0.9 * m[name] + 0.1 * 0.5 * gradients[name]
            v[name] = 0.99 * v[name] + 0.01 * (0.5 * gradients[name]) ** 2
            step = 2.0 * (m[name] / (1 - 0.9**s)) / (np.sqrt(v[name] / (1 - 0.99**s)) + 1e-8)
            wanted = np.clip(expected[name] - step, 0.0, 20.0)
            assert np.allclose(found[name], wanted, rtol=0, atol=1e-5), (s, name)
            at_bounds += (wanted == 0.0).sum() + (wanted == 20.0).sum()
            assert case.network().delays[name][1].problem(found[name]) is None
        for name in ("in_to_hid", "hid_to_out.delay"):
            assert same({name: found[name]}, {name: expected[name]})
    assert at_bounds > 5
    for name, moment in engine.optimiser_state()["m"].items():
        if name in names:
            assert relative(moment, m[name]) < 1e-5
