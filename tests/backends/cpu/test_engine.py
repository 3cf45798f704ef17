"""The CPU engine's protocol: what goes in comes out, what is learned is what was presented, updates are Adam's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import models
from eventprop.network import Randomness
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.support.drawn import spike_set
from tests.support.small import SIMPLE, gradients_of, random_case, relative

ADAM = AdamSettings(0.9, 0.99, 1e-8)


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Whether all arrays have the same bits."""
    return found.keys() == expected.keys() and all(found[k].tobytes() == expected[k].tobytes() for k in expected)


def test_weights_moments_and_time_constants_come_back_as_they_were_set() -> None:
    """The engine's own layout, in panels, must be invisible."""
    case = random_case(20, "ALIF", sizes=(70, 35), n_out=35)
    engine = case.engine(real="float")
    assert same(engine.weights(), case.weights)
    for name, values in engine.time_constants().items():
        assert same(values, case.time_constants[name])
    shapes = case.network().trained_shapes()
    rng = np.random.default_rng(0)
    state = {role: {k: rng.random(s).astype(np.float32) for k, s in shapes.items()} for role in models.ADAM.state}
    assert len(shapes) == 5 + 3 + 3 + 2
    engine.set_optimiser_state(state)
    assert all(same(engine.optimiser_state()[role], state[role]) for role in state)
    assert same(engine.weights(), case.weights)


def test_returned_arrays_are_copies() -> None:
    """Fails if a caller who writes into a returned array changes the engine."""
    case = random_case(1, "hetLIF", sizes=(8,), n=1)
    engine = case.engine(real="float")
    expected = case.gradients(engine)
    for own in (engine.weights(), engine.gradients(), *engine.time_constants().values()):
        for array in own.values():
            array[:] = 7.0
    for own in (*engine.optimiser_state().values(), *engine.time_constant_gradients().values()):
        for array in own.values():
            array[:] = 7.0
    assert same(case.gradients(engine), expected)


def test_time_constants_take_effect() -> None:
    """Fails if set_time_constants leaves a constant of the old ones, forwards or backwards."""
    case, other = random_case(2, "hetLIF"), random_case(3, "hetLIF")
    moved = replace(case, net=replace(other.net, hidden=(other.net.hidden[0],)))
    engine = case.engine(real="float")
    case.learn(engine)
    moved.load(engine)
    assert same(moved.gradients(engine), moved.gradients(moved.engine(real="float")))
    with pytest.raises(ValueError, match="tau_mem of hidden0"):
        engine.set_time_constants({**case.time_constants, "hidden0": {"tau_mem": -1.0, "tau_syn": 5.0}})


def test_gradient_norm() -> None:
    """Fails if a part of the gradient is left out, or what fills the layout counts."""
    case = random_case(21, "ALIF", sizes=(70, 35))
    engine = case.engine(2, "float")
    squares = [np.sum(g.astype(float) ** 2) for g in case.gradients(engine).values()]
    assert engine.gradient_norm() == pytest.approx(np.sqrt(sum(squares)), rel=1e-6)


def test_adam_equals_the_formula() -> None:
    """Five updates of weights and time constants against Adam written out in NumPy; fails if moments or corrections are
    off, a time constant falls below its bound, or an untrained projection moves."""
    case = random_case(19, "hetLIF", sizes=(20,), frozen=("hid_to_hid0",), bounds={"tau_mem": 11.5, "tau_syn": 1.0})
    hidden = case.net.hidden[0]
    case = case.edited("hidden0", tau_mem=np.maximum(hidden.tau_mem, 11.5))
    case = case.edited("output", tau_mem=np.full(5, 20.0))
    engine = case.engine(2, "float")

    def values() -> dict[str, np.ndarray]:
        own = {f"{q}.{n}": a for q, taus in engine.time_constants().items() for n, a in taus.items()}
        return {k: a.astype(float) for k, a in (engine.weights() | own).items()}

    expected = values()
    m = {k: np.zeros_like(a) for k, a in expected.items()}
    v = {k: np.zeros_like(a) for k, a in expected.items()}
    for s in range(1, 6):
        gradients = case.gradients(engine)
        engine.update(adam_parameters(ADAM, 0.05, s), factor=0.5)
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * 0.5 * g
            v[name] = 0.99 * v[name] + 0.01 * (0.5 * g.astype(float)) ** 2
            step = 0.05 * (m[name] / (1 - 0.9**s)) / (np.sqrt(v[name] / (1 - 0.99**s)) + 1e-8)
            expected[name] = expected[name] - step
            if name.endswith("tau_mem"):
                expected[name] = np.maximum(expected[name], 11.5)
        found = values()
        for name, array in expected.items():
            assert np.allclose(found[name], array, rtol=1e-6, atol=1e-5), (s, name)
            expected[name] = found[name]  # so that rounding does not change spikes
    assert same({"w": engine.weights()["hid_to_hid0"]}, {"w": case.weights["hid_to_hid0"]})
    assert (found["hidden0.tau_mem"] == 11.5).any() and found["hidden0.tau_mem"].min() == 11.5
    for name, moment in engine.optimiser_state()["m"].items():
        assert relative(moment, m[name]) < 1e-5, name


def test_first_update_is_the_rate() -> None:
    """Fails if Adam's corrections are those of another update: the first one is the rate, against the sign."""
    case = random_case(22, "LIF", sizes=(10,), n=1)
    engine = case.engine(real="float")
    gradients = case.gradients(engine)
    engine.update(adam_parameters(ADAM, 1e-3, 1))
    for name, g in gradients.items():
        change = (engine.weights()[name] - case.weights[name])[np.abs(g) > 1e-3]
        assert change == pytest.approx(-1e-3 * np.sign(g[np.abs(g) > 1e-3]), rel=2e-3)
        assert len(change) > 10


def test_evaluation_changes_nothing() -> None:
    """Fails if a run without learning touches weights, time constants, moments or the gradients of the last batch."""
    case = random_case(23, "hetLIF", regulariser="simple", strengths=SIMPLE)
    engine = case.engine(2, "float")
    case.learn(engine)
    engine.update(adam_parameters(ADAM, 1e-3, 1))

    def everything() -> list[dict[str, np.ndarray]]:
        taus = {f"{q}.{n}": a for q, own in engine.time_constants().items() for n, a in own.items()}
        return [engine.weights(), taus, gradients_of(engine), *engine.optimiser_state().values()]

    before = everything()
    engine.run(case.spikes, case.numbers, case.labels)
    engine.run(case.spikes, case.numbers[::-1], None)
    assert all(same(*pair) for pair in zip(everything(), before, strict=True))


def test_loss_and_prediction_without_labels() -> None:
    """Fails if labels are needed to predict, or are read where there are none."""
    case = random_case(24, "LIF", n=6)
    engine = case.engine(real="float")
    labelled = case.learn(engine)
    result = engine.run(case.spikes, case.numbers, None)
    assert np.array_equal(result.scores, labelled.scores) and not result.loss.any()
    assert np.array_equal(result.predictions, result.scores.argmax(axis=1))
    assert labelled.loss.min() > 0


def test_a_batch_of_equal_samples_has_the_gradient_of_one() -> None:
    """Fails if samples of a batch influence each other or the mean is not over the samples that are there."""
    case = random_case(5, "hetLIF", n=1)
    engine = case.engine()
    one = case.gradients(engine)
    for n in (2, 7):
        engine.run(case.spikes, np.zeros(n, np.int64), np.repeat(case.labels, n), learn=True)
        assert max(relative(g, one[k]) for k, g in gradients_of(engine).items()) < 1e-13


def test_order_of_the_samples_does_not_matter() -> None:
    """Fails if a result lands with another sample, or a sample's gradient depends on its place in the batch."""
    case = random_case(6, "hetLIF", n=6)
    order = np.array([4, 0, 5, 2, 1, 3])
    engine = case.engine()
    plain, expected = case.learn(engine), gradients_of(engine)
    result = engine.run(case.spikes, case.numbers[order], case.labels[order], learn=True)
    for name in ("scores", "predictions", "loss", "spike_counts"):
        assert np.array_equal(getattr(result, name), getattr(plain, name)[order]), name
    assert max(relative(g, expected[k]) for k, g in gradients_of(engine).items()) < 1e-13


def test_order_of_the_spikes_in_the_set_does_not_matter() -> None:
    """Fails if a sample is found by anything but its number: another set with other samples around it."""
    case = random_case(7, "LIF", n=4)
    engine = case.engine(real="float")
    expected = case.gradients(engine)
    wider = spike_set([*case.samples[::-1], [], case.samples[0]], case.num_input, case.num_steps)
    engine.run(wider, np.array([3, 2, 1, 0]), case.labels, learn=True)
    assert same(gradients_of(engine), expected)


@pytest.mark.parametrize("loss", [name for name, loss in models.LOSSES.items() if not loss.spiking])
def test_read_out_gradient_is_the_derivative_of_the_loss(loss: str) -> None:
    """Finite differences of the engine's own loss; exact on the grid, since hidden spikes do not change."""
    case = random_case(17, "hetLIF", loss, sizes=(30,))
    engine = case.engine()
    gradients = case.gradients(engine)
    rng = np.random.default_rng(0)
    for name in ("hid_to_out", "output.tau_mem", "output.tau_syn"):
        g, size = gradients[name], 3e-3 if name == "hid_to_out" else 3e-2
        for _ in range(3):
            direction, losses = rng.normal(size=g.shape), []
            for sign in (1, -1):
                weights, taus = dict(case.weights), {q: dict(own) for q, own in case.time_constants.items()}
                holder, key = (weights, name) if name == "hid_to_out" else (taus["output"], name.split(".")[1])
                holder[key] = holder[key].astype(float) + sign * size * direction
                engine.set_weights(weights)
                engine.set_time_constants(taus)
                losses.append(engine.run(case.spikes, case.numbers, case.compared).loss.mean())
            slope = (losses[0] - losses[1]) / (2 * size)
            scale = np.linalg.norm(g) * np.linalg.norm(direction)
            assert abs(slope - np.sum(g * direction)) < 3e-4 * scale + 1e-4 / size * np.finfo(np.float32).eps, name


def test_input_dropout() -> None:
    """Deleted spikes are absent forwards and backwards; the rate is right; the draw belongs to the position in the
    epoch, not to the batch."""
    case = random_case(18, "LIF", n=150, sizes=(20,))
    engine = case.engine(2, "float")
    random = Randomness(input_dropout=0.2, input_seed=5)
    dropped = case.gradients(engine, randomness=random)
    kept = []
    for i in case.numbers:
        engine.run(case.spikes, case.numbers[i : i + 1], None, randomness=random, first=i)
        steps, channels = engine.spikes(0, "input")
        kept.append(list(zip(steps.tolist(), channels.tolist(), strict=True)))
    offered = len(case.spikes.steps)
    assert abs(sum(map(len, kept)) / offered - 0.8) < 4 * np.sqrt(0.16 / offered)
    assert all(set(own) < set(sample) for own, sample in zip(kept, case.samples, strict=True))
    assert same(replace(case, samples=tuple(kept)).gradients(engine), dropped)
    engine.run(case.spikes, case.numbers[:8], None, randomness=replace(random, input_seed=6))
    assert any(len(engine.spikes(i, "input")[0]) != len(kept[i]) for i in range(8))
    everything = Randomness(input_dropout=1.0)
    assert not engine.run(case.spikes, case.numbers, None, randomness=everything).spike_counts.any()


def test_spikes_that_are_no_longer_held_are_refused() -> None:
    """Fails if spikes of one sample are returned for another."""
    case = random_case(25, "LIF", n=20, sizes=(5,))
    engine = case.engine(1, "float")
    result = engine.run(case.spikes, case.numbers, None)
    steps, ids = engine.spikes(19, "hidden0")
    assert (
        np.array_equal(np.bincount(ids, minlength=5), result.spike_counts[19])
        and (np.diff(steps.astype(int)) >= 0).all()
    )
    times, _ = engine.spike_times(19, "hidden0")
    assert np.array_equal(times, (steps + 1) * 0.5)
    with pytest.raises(IndexError, match="sample 0"):
        engine.spikes(0, "hidden0")
    with pytest.raises(IndexError, match="sample 20"):
        engine.spikes(20, "hidden0")
    with pytest.raises(ValueError, match="do not spike"):
        engine.spikes(19, "output")
