"""The GeNN backend against the NumPy version and the CPU backend; skipped where pygenn is not installed.

GeNN's CPU backend takes one sample at a time, so all of this runs without a GPU; where there is one, its backend is
taken instead, with two samples at once: batches are then full, or not, as cases have it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import models
from eventprop.backends import devices
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.backends.cpu.test_double import RANDOM, with_silence
from tests.support import grid_numpy
from tests.support.small import (
    KINDS,
    PARAMETERS,
    SIMPLE,
    THOMAS1,
    Case,
    clear,
    differences,
    gradients_of,
    random_case,
    relative,
)

pytest.importorskip("pygenn", reason="pygenn 5.4 is not installed: the GeNN backend is not tested")

from eventprop.backends.genn.engine import GennEngine

BACKEND = "cuda" if devices.problem_with("cuda") is None else "single_threaded_cpu"
AT_ONCE = 1 if BACKEND == "single_threaded_cpu" else 2
ADAM = AdamSettings(0.9, 0.999, 1e-8)
STRENGTHS: dict[str, dict[str, float]] = {"none": {}, "simple": SIMPLE, "Thomas1": THOMAS1}
# Neuron type, and whether its time constants are shared, own or trained.
TYPES = {"LIF": ("LIF", "shared"), "TRAIN_TAU": ("hetLIF", "trained"), "hetLIF": ("hetLIF", "own")}
TYPES["ALIF"] = ("ALIF", "trained")


def engine_of(case: Case, real: str = "double", **options: Any) -> GennEngine:
    """GeNN, one sample at a time where it cannot do more."""
    engine = GennEngine(case.network(), BACKEND, real=real, **{"batch": AT_ONCE, "max_spikes": 150, **options})
    case.load(engine)
    return engine


def watched(engine: GennEngine, *names: tuple[str, str]) -> dict[tuple[str, str], list[np.ndarray]]:
    """Values of variables (population, name) after each step of the next trials, of the first sample."""
    seen: dict[tuple[str, str], list[np.ndarray]] = {name: [] for name in names}
    step = engine._genn.step_time

    def stepped() -> None:
        step()
        for population, name in names:
            seen[population, name].append(engine._memory.of_samples(population, name, 1)[0])

    engine._genn.step_time = stepped
    return seen


def every_two() -> list[Any]:
    """All neurons with all losses, each with one of the regularisers, in turn; the rest takes long."""
    cases = []
    for number, (neurons, (turn, loss)) in enumerate(itertools.product(TYPES, enumerate(models.LOSSES))):
        for place, regulariser in enumerate(STRENGTHS):
            marks = [] if place == (turn + number // len(models.LOSSES)) % len(STRENGTHS) else [pytest.mark.long]
            cases.append(pytest.param(neurons, loss, regulariser, marks=marks))
    return cases


@pytest.mark.parametrize(("neurons", "loss", "regulariser"), every_two())
def test_every_neuron_loss_regulariser_and_time_constant(neurons: str, loss: str, regulariser: str) -> None:
    """Fails if any term of the forward or backward pass is wrong on GeNN: double precision, all gradients, losses,
    scores, predictions, also for a sample without input and one whose label never spikes."""
    kind, taus = TYPES[neurons]
    options = {"taus": taus, "regulariser": regulariser, "strengths": STRENGTHS[regulariser], "loss_scale": 0.5}

    def make(seed: int) -> Case:
        return with_silence(random_case(seed, kind, loss, sizes=(20,), steps=100, n=2, v_reset=-0.2, **options))

    case, expected = clear(make, 1e-9)
    engine = engine_of(case)
    found = differences(expected, engine, case.learn(engine))
    assert max(found.values(), default=0.0) < 2e-7, found
    assert not engine.flush()


@pytest.mark.parametrize("loss", ["sum_weigh_input", "max", "first_spike"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_delayed_input(kind: str, loss: str) -> None:
    """Fails if errors reach the wrong layer, or copies of the input have another delay backwards than forwards."""

    def make(seed: int) -> Case:
        return random_case(seed, kind, loss, sizes=(20, 15), n=2, steps=100, copies=3, delay_steps=17, rate=0.06)

    case, expected = clear(make, 1e-9)
    engine = engine_of(case)
    found = differences(expected, engine, case.learn(engine))
    assert max(found.values(), default=0.0) < 2e-7, found


@pytest.mark.parametrize("loss", ["sum_weigh_exp", "avg_xentropy", "max", "first_spike_exp"])
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_as_on_the_cpu_backend(kind: str, loss: str) -> None:
    """Fails if spikes are not identical to those of the CPU backend, or gradients not the same to 1e-4."""
    case, _ = clear(lambda seed: random_case(seed, kind, loss, sizes=(40,), n=2))
    engine, ours = engine_of(case, "float"), case.engine(1, "float")
    found, expected = case.learn(engine), case.learn(ours)
    assert relative(found.loss, expected.loss) < 1e-5
    assert np.array_equal(found.predictions, expected.predictions)
    assert np.array_equal(found.spike_counts, expected.spike_counts)
    for name, gradient in gradients_of(ours).items():
        assert relative(gradients_of(engine)[name], gradient) < 1e-4, name
    for number in case.numbers:
        for e in (engine, ours):
            e.run(case.spikes, case.numbers[number : number + 1], None)
        for population in ["input", "hidden0", *(["output"] if case.network().loss.spiking else [])]:
            for own, other in zip(engine.spike_times(0, population), ours.spike_times(0, population), strict=True):
                assert np.allclose(np.sort(own), np.sort(other), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_voltages_and_adjoints_at_every_step(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a variable that users record is another one than that of the equations, or is a step off."""
    case, expected = clear(lambda seed: random_case(seed, kind, "sum_weigh_exp", sizes=(20,), n=1), 1e-9)
    adjoints: list[tuple[np.ndarray, ...]] = []  # of the output, then of the hidden layer
    adjoint = grid_numpy._adjoints
    monkeypatch.setattr(grid_numpy, "_adjoints", lambda *args: adjoints.append(adjoint(*args)) or adjoints[-1])
    case.expected()
    names = [(q, v) for q in ("hidden0", "output") for v in ("V", "lambda_V", "lambda_I")]
    engine = engine_of(case)
    seen = watched(engine, *names)
    case.learn(engine)
    steps = case.num_steps
    for number, population in enumerate(("output", "hidden0")):
        forwards = np.array(seen[population, "V"][: steps - 1])  # at the end of each step
        assert relative(forwards, expected.records[0].layers[population].v[1:]) < 1e-7
        for name, values in zip(("lambda_V", "lambda_I"), adjoints[number], strict=False):
            backwards = np.array(seen[population, name][steps:])  # at the start of step m, from the last to the first
            assert relative(backwards, values[:-1][::-1]) < 1e-7, (population, name)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("regulariser", ["simple", "Thomas1"])
def test_averaged_counts(regulariser: str, average: bool) -> None:
    """Fails if AVG_SNSUM does not average over all samples of a batch that are presented one by one."""
    options = {"regulariser": regulariser, "strengths": STRENGTHS[regulariser], "average_counts": average}
    case, expected = clear(lambda seed: random_case(seed, "ALIF", "sum", sizes=(20, 15), **options), 1e-9)
    engine = engine_of(case)
    found = differences(expected, engine, case.learn(engine))
    assert max(found.values(), default=0.0) < 2e-7, found


@pytest.mark.parametrize("what", RANDOM)
@pytest.mark.parametrize("kind", KINDS)
def test_noise_and_dropout_are_those_of_the_cpu_backend(kind: str, what: str) -> None:
    """Fails if a random number is drawn for another sample, layer, step or neuron: the generator is the same."""
    random = RANDOM[what]
    case, expected = clear(lambda seed: random_case(seed, kind, sizes=(20, 15), n=2), 1e-9, random=random, first=5)
    engine = engine_of(case)
    found = differences(expected, engine, case.learn(engine, randomness=random, first=5))
    assert max(found.values(), default=0.0) < 2e-7, found


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_updates(kind: str) -> None:
    """Fails if the optimiser, its state, the bounds of time constants or what follows from these differ."""
    bounds = {"tau_mem": 5.99, "tau_syn": 2.9, "tau_b": 20.0}
    case, _ = clear(lambda seed: random_case(seed, kind, "sum_weigh_exp", sizes=(20,), bounds=bounds))
    for real, bound in (("double", 1e-6), ("float", 1e-3)):
        engine, ours = engine_of(case, real), case.engine(1, real)
        for step in range(1, 21):
            for e in (engine, ours):
                case.learn(e)
                e.update(adam_parameters(ADAM, 0.01, step), 0.5)
        for name, w in ours.weights().items():
            assert relative(engine.weights()[name], w) < bound, (real, name)
            assert relative(w, case.weights[name]) > 100 * 1e-6
        for population, own in ours.time_constants().items():
            for name, value in own.items():
                assert relative(engine.time_constants()[population][name], value) < bound
                assert value.min() >= np.float32(bounds[name])
        for role, moments in ours.optimiser_state().items():
            for name, m in moments.items():
                assert relative(engine.optimiser_state()[role][name], m) < 10 * bound, (real, name)
    engine.set_optimiser_state(ours.optimiser_state())
    assert all(np.array_equal(engine.optimiser_state()["m"][n], m) for n, m in ours.optimiser_state()["m"].items())


def test_adam_for_any_decay_and_epsilon() -> None:
    """Fails if 1 - beta is taken in single precision, or there is an update, or 0 / 0, without a gradient."""
    case = random_case(3, "LIF", sizes=(9,), n=2)
    case = replace(case, samples=tuple([(k, i) for k, i in sample if i != 0] for sample in case.samples))
    engine, ours = engine_of(case, "float"), case.engine(1, "float")
    shapes = case.network().trained_shapes().items()
    for e in (engine, ours):
        case.learn(e)
    for beta1, beta2, epsilon in ((0.9, 0.9999999, 1e-8), (1 - 1e-12, 1 - 1e-15, 0.0), (0.0, 0.0, 1e-50)):
        for e in (engine, ours):
            e.set_weights(case.weights)
            e.set_optimiser_state({role: {n: np.zeros(s, np.float32) for n, s in shapes} for role in models.ADAM.state})
            for step in (1, 2, 3):
                e.update(adam_parameters(AdamSettings(beta1, beta2, epsilon), 0.01, step))
        for name, w in ours.weights().items():
            assert np.allclose(engine.weights()[name], w, rtol=1e-6, atol=1e-6)
            assert relative(w, case.weights[name]) > 1e-3
        assert np.array_equal(engine.weights()["in_to_hid"][0], case.weights["in_to_hid"][0])


def test_pipeline_lags_by_a_batch_and_loses_none() -> None:
    """A model of the pipeline in NumPy: a batch's error goes back, one trial later, through the weights that the batch
    before left. Fails if a gradient is lost, comes twice, or at the end of the epoch."""
    n = 6
    case, _ = clear(lambda seed: random_case(seed, "LIF", "sum_weigh_exp", sizes=(20,), n=n, loss_scale=0.7), 1e-9)
    engine = engine_of(case, pipeline=True)
    plain = replace(case, frozen=())
    state = {name: np.asarray(w, np.float64) for name, w in case.weights.items()}
    m = {name: np.zeros_like(w) for name, w in state.items()}
    v = {name: np.zeros_like(w) for name, w in state.items()}
    updates = 0

    def network_with(weights: dict[str, np.ndarray]) -> Any:
        hidden = replace(plain.net.hidden[0], w=weights["in_to_hid"], w_rec=weights["hid_to_hid0"])
        return replace(plain.net, hidden=(hidden,), output=replace(plain.net.output, w=weights["hid_to_out"]))

    def learn(gradient: dict[str, np.ndarray]) -> None:
        nonlocal updates
        updates += 1
        for name, g in gradient.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            scaled = m[name] / (1 - 0.9**updates)
            state[name] = state[name] - 0.02 * scaled / (np.sqrt(v[name] / (1 - 0.999**updates)) + 1e-8)

    def back(record: grid_numpy.GridForward, label: int) -> dict[str, np.ndarray]:
        options: dict[str, Any] = {"drive_scale": 0.7, "min_denominator": 0.2}
        found = grid_numpy.backward(network_with(state), record, label, case.dt_ms, case.loss, PARAMETERS, **options)
        hidden = found["hidden0"]
        return {"in_to_hid": hidden["w"], "hid_to_hid0": hidden["w_rec"], "hid_to_out": found["output"]["w"]}

    pending = None
    for i in range(n):
        engine.run(case.spikes, case.numbers[i : i + 1], case.labels[i : i + 1], learn=True)
        assert engine.has_gradient is (i > 0)
        record = grid_numpy.forward(network_with(state), case.samples[i], case.dt_ms, case.loss, PARAMETERS)
        if pending is not None:
            learn(back(*pending))
            engine.update(adam_parameters(ADAM, 0.02, updates))
            for name, g in engine.weights().items():
                assert relative(g, state[name]) < 1e-6, (i, name)
        pending = record, int(case.labels[i])
    with pytest.raises(RuntimeError, match="flush"):
        engine.run(case.spikes, case.numbers[:1], None)
    assert engine.flush() and not engine.flush()
    assert pending is not None
    learn(back(*pending))
    engine.update(adam_parameters(ADAM, 0.02, updates))
    assert updates == n
    assert all(relative(g, state[name]) < 1e-6 for name, g in engine.weights().items())


@pytest.mark.parametrize("loss", ["avg_xentropy", "max", "sum_weigh_input", "first_spike"])
@pytest.mark.parametrize("kind", ["hetLIF", "ALIF"])
def test_pipeline_without_learning_gives_each_batch_its_own_gradient(kind: str, loss: str) -> None:
    """Fails if anything of a batch is overwritten by the one that runs beside its backward pass: rings, traces, input,
    labels, weights of the loss. The rings are so short that they wrap around."""
    strengths = {"regulariser": "simple", "strengths": SIMPLE}
    case, expected = clear(lambda seed: random_case(seed, kind, loss, sizes=(20, 15), n=5, **strengths), 1e-9)
    most = max(int(a.max() + b.max()) for a, b in zip(expected.counts[:-1], expected.counts[1:], strict=True))
    engine = engine_of(case, pipeline=True, max_spikes=most + 20)
    alone = engine_of(case)
    for i in [*range(5), None]:
        if i is None:
            assert engine.flush()
        else:
            engine.run(case.spikes, case.numbers[i : i + 1], case.labels[i : i + 1], learn=True)
        before = 4 if i is None else i - 1
        if before >= 0:
            found = {name: g.copy() for name, g in gradients_of(engine).items()}
            alone.run(case.spikes, case.numbers[before : before + 1], case.labels[before : before + 1], learn=True)
            for name, g in gradients_of(alone).items():
                assert relative(found[name], g) < 1e-12, (before, name)


@pytest.mark.parametrize(("dt_ms", "steps", "rate"), [(0.1, 600, 0.01), (0.01, 3000, 0.002)])
def test_events_are_the_mirror_image_of_the_spikes(dt_ms: float, steps: int, rate: float) -> None:
    """BUG-1, 2, 3, 4: replayed steps must be those of the spikes, complete and in descending order, over several
    trials, with and without spikes, at steps where float time stamps no longer match."""
    options: dict[str, Any] = {"n": 4, "steps": steps, "dt_ms": dt_ms, "rate": rate}
    case, expected = clear(lambda seed: random_case(seed, "LIF", sizes=(20,), **options), 1e-9)
    case = replace(case, samples=(*case.samples[:2], [], *case.samples[2:]), labels=np.array([0, 1, 2, 1, 0], np.int32))
    expected = case.expected()
    engine = engine_of(case, pipeline=True, max_spikes=130)
    seen = watched(engine, ("hidden0", "back_spike"), ("input", "back_spike"))
    total = 0
    for i in case.numbers:
        engine.run(case.spikes, case.numbers[i : i + 1], case.labels[i : i + 1], learn=True)
    engine.flush()
    steps = case.num_steps
    for i, record in enumerate(expected.records):
        trial = slice((i + 1) * steps, (i + 2) * steps)
        events = np.array(seen["hidden0", "back_spike"][trial])
        emitted = record.fired["hidden0"]
        assert np.array_equal(events[: steps - 1][::-1], emitted[: steps - 1])
        assert np.array_equal(
            np.array(seen["input", "back_spike"][trial])[: steps - 1][::-1], record.inputs[: steps - 1]
        )
        total += int(emitted.sum())
    assert total > 100


def test_a_ring_that_is_too_small() -> None:
    """Fails if spikes or their counts change, if others than the latest lose their gradient, or if nobody is told."""
    case, expected = clear(lambda seed: random_case(seed, "LIF", sizes=(20,), n=1, recurrent=False), 1e-9)
    counts = expected.counts[0]
    room = int(counts.max()) - 2
    engine = engine_of(case, max_spikes=room)
    result = case.learn(engine)
    assert np.array_equal(result.spike_counts, expected.counts) and relative(result.loss, expected.losses) < 1e-6
    kept = counts <= room
    assert not kept.all()
    found, right = engine.gradients()["in_to_hid"], expected.gradients["in_to_hid"]
    assert relative(found[:, kept], right[:, kept]) < 2e-7
    assert relative(found[:, ~kept], right[:, ~kept]) > 1e-3
    lost = int((counts - room).clip(0).sum())
    words = rf"{lost} spikes of hidden0 found no place.*N_MAX_SPIKE={room} is too small, {room + 2} would do"
    with pytest.warns(UserWarning, match=words):
        engine.flush()
    engine = engine_of(case, max_spikes=room + 2)
    case.learn(engine)
    engine.flush()
    assert relative(engine.gradients()["in_to_hid"], right) < 2e-7


def test_a_run_without_learning_changes_nothing() -> None:
    """Fails if evaluation moves a weight, moment or time constant, or leaves a gradient for the next batch."""
    case, expected = clear(lambda seed: random_case(seed, "ALIF", sizes=(20,)), 1e-9)
    engine = engine_of(case)
    engine.run(case.spikes, case.numbers, case.labels)
    assert all(np.array_equal(w, case.weights[name]) for name, w in engine.weights().items())
    assert not any(m.any() for own in engine.optimiser_state().values() for m in own.values())
    found = differences(expected, engine, case.learn(engine))
    assert max(found.values(), default=0.0) < 2e-7, found


def test_frozen_synapses() -> None:
    """BUG-10: synapses that are not trained carry errors back, have no gradient and never change."""
    frozen = ("hid_to_out", "hid_to_hid0")
    case, expected = clear(lambda seed: random_case(seed, "LIF", sizes=(20,), frozen=frozen), 1e-9)
    engine = engine_of(case)
    case.learn(engine)
    engine.update(adam_parameters(ADAM, 0.1, 1))
    assert relative(engine.gradients()["in_to_hid"], expected.gradients["in_to_hid"]) < 2e-7
    for name in frozen:
        assert not engine.gradients()[name].any() and np.array_equal(engine.weights()[name], case.weights[name])


def test_shared_time_constants_can_be_set() -> None:
    """Fails if what follows from a time constant stays as it was built."""
    case, _ = clear(lambda seed: random_case(seed, "LIF", sizes=(20,)))
    engine, ours = engine_of(case), case.engine(1)
    values = {
        q: {n: np.full(a.shape, 1.3 * a[0]) for n, a in own.items()} for q, own in engine.time_constants().items()
    }
    results = []
    for e in (engine, ours):
        e.set_time_constants(values)
        results.append(case.learn(e).loss)
    assert relative(results[0], results[1]) < 1e-6
    assert relative(engine.gradients()["in_to_hid"], ours.gradients()["in_to_hid"]) < 1e-6
