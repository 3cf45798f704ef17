"""The CPU engine against the NumPy version of the grid algorithm, and its structural properties."""

from __future__ import annotations

import dataclasses
from typing import Any

import grid_numpy
import numpy as np
import oracle
import pytest
from small import Case, case, spike_set

import models
from eventprop.backends.cpu.engine import CpuEngine

NAMES = {"w_in": "in_to_hid", "w_rec": "hid_to_hid0", "w_out": "hid_to_out"}
SIMPLE = {"lbd_upper": 0.01, "lbd_lower": 0.02, "nu_upper": 9.0}


def learn(c: Case, engine: CpuEngine, **options: Any) -> dict[str, np.ndarray]:
    engine.run(c.spikes, c.samples, c.labels, learn=True, **options)
    return engine.gradients()


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("loss", sorted(models.LOSSES))
@pytest.mark.parametrize("real", ["float", "double"])
def test_gradients_equal_the_numpy_version(loss: str, real: str) -> None:
    """Fails if any term of the forward or backward sweep is wrong: the NumPy version was written apart from it.

    The bound of the denominator keeps the case well conditioned, so float32 may differ by rounding only.
    """
    c = case(1, loss=loss, min_denominator=0.2, v_reset=-0.2)
    engine = c.engine(2, real)
    result = engine.run(c.spikes, c.samples, c.labels, learn=True)
    expected = [c.numpy_result(i, min_denominator=0.2) for i in c.samples]
    for i, e in enumerate(expected):
        assert e.forward.fired.sum() == result.spike_counts[i].sum() > 0
        assert np.allclose(e.forward.fired.sum(axis=0), result.spike_counts[i])
        assert abs(e.loss - result.loss[i]) < 1e-5
    for theirs, ours in NAMES.items():
        mean = np.mean([e.gradients[theirs] for e in expected], axis=0)
        assert relative(engine.gradients()[ours], mean) < (1e-5 if real == "float" else 2e-7)


@pytest.mark.parametrize("average", [False, True])
def test_regularisation_equals_the_numpy_version(average: bool) -> None:
    """Fails if the regularisation's jump, its counts or their average over the batch (AVG_SNSUM) is wrong."""
    c = case(2, regulariser=SIMPLE, average_counts=average, min_denominator=0.2)
    engine = c.engine(2, "double")
    result = engine.run(c.spikes, c.samples, c.labels, learn=True)
    counts = result.spike_counts.mean(axis=0).astype(float) if average else None
    reg = grid_numpy.Regularisation(SIMPLE["lbd_upper"], SIMPLE["lbd_lower"], SIMPLE["nu_upper"], counts)
    results = [c.numpy_result(i, min_denominator=0.2, regularisation=reg) for i in c.samples]
    for theirs, ours in NAMES.items():
        mean = np.mean([r.gradients[theirs] for r in results], axis=0)
        assert relative(engine.gradients()[ours], mean) < 2e-7


def test_regularisation_pushes_towards_the_target() -> None:
    """Fails if the sign of the regularisation is wrong: with silent read-out weights it is the whole gradient."""
    for nu, sign in ((0.0, 1.0), (50.0, -1.0)):
        c = case(3, n_hid=1, n_in=3, recurrent=False, regulariser={**SIMPLE, "nu_upper": nu})
        c.weights["hid_to_out"][:] = 0.0
        c.weights["in_to_hid"][:] = 3.0
        g = learn(c, c.engine())["in_to_hid"]
        assert (np.sign(g) == sign).all()


def test_same_bits_for_any_number_of_threads_and_any_split_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the order of a sum depends on threads or on how many samples are held at a time."""
    c = case(4, n=37, n_hid=150, regulariser=SIMPLE)
    expected = learn(c, c.engine(1))
    for threads in (2, 3, 4):
        found = learn(c, c.engine(threads))
        assert all(np.array_equal(found[k], expected[k]) for k in expected)
    monkeypatch.setattr(CpuEngine, "_chunk", lambda self, n, learn: n)
    found = learn(c, c.engine(2))
    assert all(np.array_equal(found[k], expected[k]) for k in expected)


def test_a_batch_of_equal_samples_has_the_gradient_of_one() -> None:
    """Fails if samples of a batch influence each other or the mean is not over the samples that are there."""
    c = case(5, n=1)
    one = learn(c, c.engine())
    engine = c.engine()
    for n in (2, 7):
        engine.run(c.spikes, np.zeros(n, np.int64), np.repeat(c.labels, n), learn=True)
        for k, g in engine.gradients().items():
            assert relative(g, one[k]) < 1e-6


def test_incomplete_batch_is_normalised_by_its_own_size() -> None:
    """BUG-22: the reference divides by the full batch and never learns the last one. Here a batch's gradient is
    the mean over the samples in it, so two halves of a batch average to the whole."""
    c = case(6, n=6)
    whole = learn(c, c.engine())
    engine = c.engine()
    halves = []
    for part in (c.samples[:2], c.samples[2:]):
        engine.run(c.spikes, part, c.labels[part], learn=True)
        halves.append((len(part) / 6, engine.gradients()))
    for k, g in whole.items():
        assert relative(sum(f * h[k] for f, h in halves), g) < 1e-5


def test_gradient_of_a_batch_does_not_depend_on_what_was_presented_before() -> None:
    """BUG-1 and the reference's pipeline: nothing of an earlier batch may be left in spike logs or adjoints."""
    c, other = case(7), case(8, rate=0.12)
    engine = c.engine()
    expected = learn(c, engine)
    engine.run(other.spikes, other.samples, other.labels, learn=True)
    engine.run(other.spikes, other.samples, None)
    found = learn(c, engine)
    assert all(np.array_equal(found[k], expected[k]) for k in expected)


def test_every_backward_spike_is_found_at_small_steps_and_long_trials() -> None:
    """BUG-2: float time stamps lose backward spikes at dt = 0.1 ms after some seconds. Late and early spikes of a
    long trial must have the gradient of the NumPy version."""
    c = case(9, steps=60000, dt_ms=0.1, n=1, n_in=4, n_hid=3, rate=2e-3, min_denominator=0.2)
    g = learn(c, c.engine(1, "double"))
    expected = c.numpy_result(0, min_denominator=0.2)
    assert expected.forward.fired[-6000:].any()
    for theirs, ours in NAMES.items():
        assert relative(g[ours], expected.gradients[theirs]) < 2e-7


def test_no_spike_in_the_last_step() -> None:
    """BUG-3 and BUG-4: a spike in the last step blocks earlier spikes of its neuron in the reference and leaks into
    the next trial. It must not be emitted, and earlier spikes must keep their gradient."""
    steps = 400
    c = case(10, n_in=2, n_hid=2, n=1, steps=steps, dt_ms=1.0, recurrent=False)
    c.weights["in_to_hid"][:] = np.array([[9.0, 0.0], [0.0, 9.0]])
    engine = c.engine(1, "double")
    engine.run(spike_set([[(5, 0)]], 2, steps), np.array([0]), None)
    lag = int(engine.spikes(0, "hidden0")[0][0]) - 5
    late = steps - 1 - lag  # its spike would be in the last step
    c = dataclasses.replace(c, spikes=spike_set([[(5, 0), (late, 0), (late - 1, 1)]], 2, steps))
    result = engine.run(c.spikes, c.samples, c.labels, learn=True)
    times, ids = engine.spikes(0, "hidden0")
    assert times.tolist() == [5 + lag, steps - 2] and ids.tolist() == [0, 1]
    expected = c.numpy_result(0)
    assert result.spike_counts.sum() == expected.forward.fired.sum()
    assert relative(engine.gradients()["in_to_hid"], expected.gradients["w_in"]) < 2e-7
    after = engine.run(spike_set([[]], 2, steps), np.array([0]), None)
    assert not after.spike_counts.any() and not after.scores.any()


@pytest.mark.parametrize("classes", [3, 33, 35, 70])
def test_any_number_of_classes(classes: int) -> None:
    """BUG-13: the reference's softmax is wired to 20 or fewer lanes. 35 (SSC) and more must be right."""
    c = case(11, n_out=classes, min_denominator=0.2)
    g = learn(c, c.engine(1, "double"))
    expected = np.mean([c.numpy_result(i, min_denominator=0.2).gradients["w_out"] for i in c.samples], axis=0)
    assert relative(g["hid_to_out"], expected) < 2e-7


@pytest.mark.parametrize("trained", [(False, True), (True, False)])
def test_error_is_transported_through_untrained_synapses(trained: tuple[bool, bool]) -> None:
    """BUG-10: in the reference the error of a projection that is not trained goes into the forward current."""
    c = case(12, trained=trained)
    full = case(12)
    engine, reference = c.engine(), full.engine()
    found, expected = learn(c, engine), learn(full, reference)
    assert np.array_equal(engine.run(c.spikes, c.samples, None).scores, reference.run(c.spikes, c.samples, None).scores)
    for k in expected:
        if trained[k == "hid_to_out"]:
            assert np.array_equal(found[k], expected[k])
        else:
            assert not found[k].any()


def test_loss_belongs_to_the_batch_that_was_presented() -> None:
    """BUG-14: a loss must be that of its own batch and label, not of the batch before."""
    c = case(13)
    engine = c.engine()
    first = engine.run(c.spikes, c.samples, c.labels, learn=True)
    again = engine.run(c.spikes, c.samples[::-1].copy(), c.labels[::-1].copy(), learn=True)
    shifted = first.scores - first.scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    assert np.allclose(first.loss, -log_p[c.samples, c.labels], atol=1e-6)
    assert np.array_equal(again.loss, first.loss[::-1])


def test_loss_scale_scales_every_gradient() -> None:
    """BUG-7: the reference's extra factor on the read-out's drive is a named scalar here; adjoints are linear in it."""
    plain, scaled = case(14), case(14, loss_scale=0.05)
    g, s = learn(plain, plain.engine()), learn(scaled, scaled.engine())
    for k in g:
        assert relative(s[k], 0.05 * g[k]) < 1e-5


def test_silent_network_has_no_gradient() -> None:
    """Fails if a gradient appears without any spike."""
    c = case(15)
    c.weights["in_to_hid"][:] = 0.0
    engine = c.engine()
    result = engine.run(c.spikes, c.samples, c.labels, learn=True)
    assert not result.spike_counts.any()
    assert all(not g.any() for g in engine.gradients().values())


def test_no_error_reaches_hidden_neurons_where_all_classes_have_the_same_weights() -> None:
    """Softmax sum rule: the errors of the classes cancel. Fails if one class's drive is off."""
    c = case(16)
    c.weights["hid_to_out"][:] = c.weights["hid_to_out"][:, :1]
    g = learn(c, c.engine(1, "double"))
    assert np.abs(g["hid_to_out"]).max() > 1e-3
    assert np.abs(g["in_to_hid"]).max() < 1e-10


def test_read_out_gradient_is_the_derivative_of_the_loss() -> None:
    """Finite differences of the engine's own loss; exact on the grid, since hidden spikes do not change."""
    c = case(17, loss="sum_weigh_linear")
    engine = c.engine(1, "double")
    g = learn(c, engine)["hid_to_out"]
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.normal(size=g.shape)
        values = []
        for sign in (1, -1):
            engine.set_weights({**c.weights, "hid_to_out": c.weights["hid_to_out"] + sign * 1e-2 * direction})
            values.append(engine.run(c.spikes, c.samples, c.labels).loss.mean())
        assert abs((values[0] - values[1]) / 2e-2 - np.sum(g * direction)) < 3e-4 * np.linalg.norm(g) * np.linalg.norm(
            direction
        )


def test_input_dropout() -> None:
    """Deleted spikes are absent forwards and backwards; the rate is right; the draw belongs to the position in the
    epoch, not to the thread or the batch."""
    c = case(18, n=200, n_hid=20)
    engine = c.engine(2)
    offered = len(c.spikes.steps)
    engine.run(c.spikes, c.samples, c.labels, learn=True, dropout=0.2, dropout_seed=5)
    dropped = engine.gradients()
    kept = []
    for i in c.samples:
        engine.run(c.spikes, c.samples[i : i + 1], None, dropout=0.2, dropout_seed=5, first=i)
        kept.append(engine.spikes(0, "input"))
    rate = sum(len(s) for s, _ in kept) / offered
    assert abs(rate - 0.8) < 4 * np.sqrt(0.16 / offered)
    replaced = spike_set([list(zip(s.tolist(), i.tolist(), strict=True)) for s, i in kept], 12, c.network.num_steps)
    found = learn(dataclasses.replace(c, spikes=replaced), c.engine(1))
    assert all(np.array_equal(found[k], dropped[k]) for k in found)
    engine.run(c.spikes, c.samples[:8], None, dropout=0.2, dropout_seed=6)
    assert any(not np.array_equal(engine.spikes(i, "input")[0], kept[i][0]) for i in range(8))


def test_adam_equals_the_formula() -> None:
    """Five updates against Adam written out in NumPy; fails if moments or corrections are off, or if an untrained
    projection moves."""
    from eventprop.network import adam_parameters

    p = {"ADAM_BETA1": 0.9, "ADAM_BETA2": 0.99, "ADAM_EPS": 1e-8}
    c = case(19, trained=(True, False))
    engine = c.engine(2)
    w = c.weights["in_to_hid"].astype(float)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for s in range(1, 6):
        g = learn(c, engine)["in_to_hid"].astype(float)
        engine.update(adam_parameters(p, 0.01, s), factor=0.5)
        m, v = 0.9 * m + 0.1 * 0.5 * g, 0.99 * v + 0.01 * (0.5 * g) ** 2
        w -= 0.01 * (m / (1 - 0.9**s)) / (np.sqrt(v / (1 - 0.99**s)) + 1e-8)
        assert np.allclose(engine.weights()["in_to_hid"], w, atol=2e-5)
    assert np.array_equal(engine.weights()["hid_to_out"], c.weights["hid_to_out"])
    assert np.allclose(engine.optimiser_state()["m"]["in_to_hid"], m, atol=1e-6 * np.abs(m).max())


def test_weights_and_moments_come_back_as_they_were_set() -> None:
    """The engine's own layout must be invisible."""
    c = case(20, n_hid=70, n_out=35)
    engine = c.engine()
    assert all(np.array_equal(engine.weights()[k], w) for k, w in c.weights.items())
    state = {role: {k: w + i for k, w in c.weights.items()} for i, role in enumerate(("m", "v"))}
    engine.set_optimiser_state(state)
    assert all(np.array_equal(engine.optimiser_state()[r][k], a) for r in state for k, a in state[r].items())


def test_gradient_norm() -> None:
    """Fails if a part of the gradient is left out or the spare rows of the layout count."""
    c = case(21, n_hid=70)
    engine = c.engine(2)
    g = learn(c, engine)
    assert engine.gradient_norm() == pytest.approx(
        np.sqrt(sum(np.sum(a.astype(float) ** 2) for a in g.values())), rel=1e-6
    )


def exact_case(seed: int, dt_ms: float) -> tuple[Case, list[tuple[float, int]]]:
    """A recurrent network of four neurons and input events on whole milliseconds, on the grid of ``dt_ms``.

    A spike stamped k arrives at (k + 1) dt, so an event at t has the stamp t / dt - 1.
    """
    rng = np.random.default_rng(seed)
    steps = round(60.0 / dt_ms)
    c = case(0, n_in=6, n_hid=4, n_out=3, n=1, steps=steps, dt_ms=dt_ms, loss="sum")
    c.weights["in_to_hid"][:] = rng.normal(1.1, 0.5, (6, 4))
    c.weights["hid_to_hid0"][:] = rng.normal(0.0, 0.3, (4, 4))
    c.weights["hid_to_out"][:] = rng.normal(0.0, 1.0, (4, 3))
    events = [(float(t), i) for i in range(6) for t in rng.choice(np.arange(1, 40), 3, replace=False)]
    spikes = spike_set([[(round(t / dt_ms) - 1, i) for t, i in events]], 6, steps)
    return dataclasses.replace(c, spikes=spikes, labels=np.array([seed % 3], np.int32)), events


def test_gradients_approach_the_exact_ones() -> None:
    """The engine against the event-driven oracle, as dt shrinks: fails if the algorithm, not its step, is off.

    Networks are taken where the spike counts are equal and no crossing grazes; medians over them. Weights onto
    hidden neurons: relative error below 0.1 and cosine above 0.995 at 0.1 ms, first order in dt.
    """
    steps = (0.1, 0.05)
    errors: dict[tuple[str, float], list[float]] = {}
    cosines: list[float] = []
    for seed in range(60):
        c, events = exact_case(seed, 0.1)
        network = c.oracle_network()
        trajectory = oracle.simulate(network, events)
        if trajectory.min_denominator < 0.2 or not 2 <= sum(trajectory.spike_counts) <= 14:
            continue
        _, exact = oracle.gradients(network, events, int(c.labels[0]), "sum")
        found = {}
        for dt in steps:
            c, _ = exact_case(seed, dt)
            engine = c.engine()
            result = engine.run(c.spikes, c.samples, c.labels, learn=True)
            if tuple(result.spike_counts[0]) == tuple(trajectory.spike_counts):
                found[dt] = engine.gradients()
        if len(found) < len(steps):
            continue
        for theirs, ours in NAMES.items():
            for dt, g in found.items():
                errors.setdefault((theirs, dt), []).append(relative(g[ours], exact[theirs]))
        a, b = found[0.1]["in_to_hid"].ravel(), exact["w_in"].ravel()
        cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    assert len(cosines) >= 15
    assert np.median(cosines) > 0.995
    for name in ("w_in", "w_rec"):
        at = [float(np.median(errors[name, dt])) for dt in steps]
        assert at[0] < 0.1 and 1.4 < at[0] / at[1] < 3.0
    assert np.median(errors["w_out", 0.1]) < 0.01
