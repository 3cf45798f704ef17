"""Synapses with delays on GeNN: against the plain NumPy version and the CPU backend. Skipped where pygenn is not there.

GeNN's CPU backend takes one sample at a time, so that batches of some samples are trials one after the other: what one
left under way would arrive in the next.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import simulator_SHD
from eventprop.backends import Engine
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import DELAY, DELAY_SHARED, Delay, flat_name
from eventprop.training.optimiser import adam_parameters
from tests.backends.cpu.test_delays import RANDOM, one_spike, shared
from tests.backends.genn.test_engine import ADAM, AT_ONCE, BACKEND, engine_of  # skips this file, too, without pygenn
from tests.backends.genn.test_neurons import check
from tests.support import grid_numpy
from tests.support.delayed import DelayedCase, delayed, spread
from tests.support.neuron_cases import DRIVES, Drive, network_of, weights_of
from tests.support.small import THOMAS1, Expected, clear, differences, gradients_of, random_case, relative
from tests.training.test_delays import samples

from eventprop.backends.genn.delays import in_steps  # isort: skip
from eventprop.backends.genn.engine import GennEngine  # isort: skip

LONG = pytest.mark.long
MORE = ("COBA", "EIF", "adLIF")
PROJECTIONS = ("in_to_hid", "hid_to_hid0", "hid_to_hidfwd0", "hid_to_hid1", "hid_to_out")


def clear_case(names: tuple[str, ...] | None, per: str = "synapse", **options: Any) -> tuple[DelayedCase, Expected]:
    """A random network with delays of these projections (None: of all), and what the NumPy version finds."""
    random = options.pop("random", None)

    def make(seed: int) -> DelayedCase:
        case = random_case(seed, **{"steps": 80, "n": 2, **options})
        return delayed(case, spread(case, names, per=per), per=per)

    case, expected = clear(make, 1e-9, **({"random": random} if random else {}))
    assert expected.counts.mean() > 2
    return case, expected if per == "synapse" else shared(case, expected)


def agrees(case: DelayedCase, expected: Expected, bound: float = 2e-7, **options: Any) -> None:
    """Present the batch, and see that everything is as the NumPy version has it, and no gradient by a delay is 0."""
    engine = engine_of(case)
    found = differences(expected, engine, case.learn(engine, **options))
    assert max(found.values(), default=0.0) < bound, found
    assert all(np.linalg.norm(g) > 0 for name, g in engine.gradients().items() if name.endswith(DELAY))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(names, marks=marks, id="+".join(names or ("all",)))
        for names, marks in [(None, ()), *((("hid_to_hid1", n), LONG) for n in PROJECTIONS if n != "hid_to_hid1")]
    ],
)
def test_two_layers(names: tuple[str, ...] | None) -> None:
    """Fails if a spike arrives in another step than it should, adjoints are those of another one, or one that is not
    delayed is; parameters are trained as well."""
    agrees(*clear_case(names, kind="ALIF", sizes=(20, 15)))


@pytest.mark.parametrize(("loss", "per"), [("max", "target"), ("first_spike", "source"), ("avg_xentropy", "source")])
def test_losses_and_shared_delays(loss: str, per: str) -> None:
    """Fails if "max", whose maximum moves with arrivals, or a loss of the outputs' own spikes does not reach delays, or
    if one that many synapses have does not get the sum of what each would have."""
    agrees(*clear_case(None, per, kind="hetLIF", loss=loss, sizes=(20,)))


def test_with_dropout_noise_regulariser_and_delay_line() -> None:
    """Fails if what is lost still arrives, or copies of the input have the delays of others."""
    options: dict[str, Any] = {"copies": 3, "delay_steps": 7, "regulariser": "Thomas1", "strengths": THOMAS1}
    case, expected = clear_case(None, kind="hetLIF", sizes=(20,), random=RANDOM, **options)
    agrees(case, expected, randomness=RANDOM)


@pytest.mark.parametrize(("kind", "loss"), [("LIF", "sum_weigh_exp"), pytest.param("ALIF", "max", marks=LONG)])
def test_single_precision_as_on_the_cpu_backend(kind: str, loss: str) -> None:
    """Fails if spikes are not identical to those of the CPU backend, or gradients not the same to 1e-4."""
    case, _ = clear(lambda seed: delayed(random_case(seed, kind, loss, sizes=(40,))))
    engine, ours = engine_of(case, "float"), case.engine(1, "float")
    found, expected = case.learn(engine), case.learn(ours)
    assert relative(found.loss, expected.loss) < 1e-5
    for name, gradient in gradients_of(ours).items():
        assert gradient.any() and relative(gradients_of(engine)[name], gradient) < 1e-4, name
    for number in case.numbers:
        for e in (engine, ours):
            e.run(case.spikes, case.numbers[number : number + 1], None)
        steps = [sorted(zip(*(a.tolist() for a in e.spikes(0, "hidden0")), strict=True)) for e in (engine, ours)]
        assert steps[0] == steps[1] and len(steps[0]) > 50


def of_neuron(name: str, timing: str, real: str = "double", **options: bool) -> list[Engine]:
    """A network of two layers of that neuron on GeNN and on the CPU backend, all its synapses with delays."""
    network = replace(network_of(models.NEURONS[name], trained="some"), spike_timing=timing)
    delay = Delay(0.0, 0.0, None, 6.0, True)
    network = replace(network, projections=tuple(replace(p, delay=delay) for p in network.projections))
    batch = AT_ONCE if not options.get("pipeline") else 1
    both: list[Engine] = [
        GennEngine(network, BACKEND, batch=batch, max_spikes=300, real=real, **options),
        CpuEngine(network, 1, real),
    ]
    weights, rng = weights_of(DRIVES.get(name, Drive())), np.random.default_rng(3)
    delays = {n + DELAY: rng.uniform(0.0, 6.0, w.shape).astype(np.float32) for n, w in weights.items()}
    for e in both:
        e.set_weights({**weights, **delays})
    return both


@pytest.mark.parametrize(
    ("name", "timing"),
    [("LIF", "substep"), ("EIF", "grid"), ("COBA", "grid"), *(pytest.param(n, "substep", marks=LONG) for n in MORE)],
)
def test_other_neurons(name: str, timing: str) -> None:
    """Fails if what synapses bring by their sign, or see of a neuron that is not linear, is not delayed as on the CPU
    backend; after an update, which moves twins' delays, too."""
    both = of_neuron(name, timing)
    check(both, 1e-6)
    for e in both:
        e.update(adam_parameters(ADAM, 0.003, 1), delay_rate=0.7)
    check(both, 1e-6, 1)


@pytest.mark.parametrize("late", [38, 39, 40, 60])
def test_what_arrives_after_the_trial_is_lost(late: int) -> None:
    """A spike stamped 19 of 60 steps is heard up to a delay of 38 steps. Fails if a late one is delivered, wraps round,
    or arrives in the next trial, which has no input; or if gradients at the trial's end are not the CPU backend's."""
    case = one_spike(1.0, 0.0, 60.0)
    case = replace(case, samples=(*case.samples, []), labels=np.zeros(2, np.int32), most=100.0)
    case = replace(case, delays={"hid_to_out": np.full((1, 2), late, np.float32)})
    engine, ours = engine_of(case), case.engine()
    case.learn(ours)
    for _ in range(2):
        results = case.learn(engine), engine.run(case.spikes, case.numbers, None)  # without a trial backwards between
        for scores in (r.scores for r in results):
            assert scores[0].any() == (late < 39) and not scores[1].any()
        for name, g in ours.gradients().items():
            assert relative(engine.gradients()[name], g) < 1e-12
            assert g.any() == (late < 39) or late == 39 or name == "in_to_hid"


@pytest.mark.parametrize("per", DELAY_SHARED)
def test_updates_between_bounds(per: str) -> None:
    """Fails if, after updates, delays, their moments or the steps that they go by are others than on the CPU backend,
    one has left its bounds or its fellows, the norm counts a shared one twice, or what is not trained has moved."""
    case = delayed(random_case(19, "LIF", sizes=(20,), n=2, frozen=("in_to_hid",)))
    case = replace(case, delays=spread(case, per=per), per=per, fixed=("hid_to_out",))
    for real, bound in (("double", 1e-6), ("float", 2e-4)):
        engine, ours = engine_of(case, real), case.engine(1, real)
        for s in range(1, 6):
            for e in (engine, ours):
                case.learn(e)
            assert engine.gradient_norm() == pytest.approx(ours.gradient_norm(), rel=10 * bound)
            for e in (engine, ours):
                e.update(adam_parameters(ADAM, 0.01, s), 0.5, delay_rate=2.0)
        found = engine.weights()
        for name, expected in ours.weights().items():
            assert relative(found[name], expected) < bound, (real, name)
            assert relative(found[name], case.synaptic[name]) > 0.01 or name in ("in_to_hid", "hid_to_out.delay")
        for name, (p, delay) in case.network().delays.items():
            assert delay.problem(found[name]) is None
            late = engine._memory.synaptic(p.name, "late")
            assert np.array_equal(late, in_steps(engine._memory.synaptic(p.name, "delay"), case.network()))
            at_bounds = (found[name] == 0.0) | (found[name] == np.float32(case.most))
            assert at_bounds.any() or not delay.trained
            for role, moments in ours.optimiser_state().items():
                assert relative(engine.optimiser_state()[role][name], moments[name]) < 10 * bound
    engine.set_optimiser_state(ours.optimiser_state())
    assert all(np.array_equal(engine.optimiser_state()["v"][n], m) for n, m in ours.optimiser_state()["v"].items())


def test_to_the_nearest_step() -> None:
    """Fails if delays are cut to steps, or come back other than they were set: a saved network would be another one."""
    case = random_case(0, "LIF", sizes=(20,), steps=80, n=1)
    whole = {name: np.floor(d / 0.5) * np.float32(0.5) for name, d in spread(case).items()}
    cases = [
        delayed(case, {n: np.maximum(d + np.float32(off), 0.0) for n, d in whole.items()}, most=30.0)
        for off in (0.0, -0.24, 0.24, 0.26)
    ]
    engine = engine_of(cases[0])
    gradients = [own.gradients(engine) for own in cases if own.load(engine) is None]
    for own, g in zip(cases[:3], gradients, strict=False):
        own.load(engine)
        assert all(np.array_equal(engine.weights()[n], d) for n, d in own.synaptic.items())
        assert all(np.array_equal(g[n], expected) for n, expected in gradients[0].items())
    assert not np.array_equal(gradients[3]["in_to_hid"], gradients[0]["in_to_hid"])


@pytest.mark.parametrize("loss", ["sum_weigh_exp", pytest.param("max", marks=LONG)])
def test_the_pipeline(loss: str) -> None:
    """Fails if anything of a batch gets into the one that runs beside its backward pass: each has its own gradient, one
    batch late."""
    case, _ = clear_case(None, kind="hetLIF", loss=loss, sizes=(20,), n=4)
    engine, alone = engine_of(case, pipeline=True, max_spikes=400, batch=1), engine_of(case, batch=1)
    for i in [*case.numbers, None]:
        if i is None:
            assert engine.flush()
        else:
            found = engine.run(case.spikes, case.numbers[i : i + 1], case.labels[i : i + 1], learn=True)
        before = case.numbers[-1] if i is None else i - 1
        if before >= 0:
            alone.run(case.spikes, case.numbers[before : before + 1], case.labels[before : before + 1], learn=True)
            own = gradients_of(engine)
            for name, g in gradients_of(alone).items():
                assert g.any() and relative(own[name], g) < 1e-12, (before, name)
        if i is not None:
            expected = alone.run(case.spikes, case.numbers[i : i + 1], case.labels[i : i + 1])
            assert np.array_equal(found.scores, expected.scores)


def test_the_pipeline_goes_back_through_newer_delays() -> None:
    """Fails if a batch goes backwards through other delays than those that are there then, as it does through newer
    weights; the next batch is on its way meanwhile."""
    case, expected = clear_case(None, kind="hetLIF", loss="sum_weigh_exp", sizes=(20,), n=4)
    moved = replace(case, delays=spread(case, seed=1), samples=case.samples[:1], labels=case.labels[:1])
    record = replace(expected.records[0], delays=moved.steps())
    gradients = moved._backward(record, int(case.labels[0]), grid_numpy.Regularisation(), np.float64)
    engine = engine_of(case, pipeline=True, max_spikes=400, batch=1)
    engine.run(case.spikes, case.numbers[:1], case.labels[:1], learn=True)
    moved.load(engine)
    engine.run(case.spikes, case.numbers[1:2], case.labels[1:2], learn=True)
    for name, g in engine.gradients().items():
        assert g.any() and relative(g, gradients[name]) < 1e-9, name


@pytest.mark.parametrize("stop", [60, 100])
def test_an_interrupted_batch_leaves_nothing(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if spikes that are under way when a user stops a trial, forwards or backwards, arrive in the next one, or
    gradients of the batch that was stopped are added to another's."""
    case, _ = clear_case(None, kind="LIF", sizes=(20,), n=1)
    engine = engine_of(case)
    expected = case.gradients(engine)
    step, done = engine._genn.step_time, 0

    def stopped() -> None:
        nonlocal done
        done += 1
        if done == stop:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr(engine._genn, "step_time", stopped)
    with pytest.raises(KeyboardInterrupt):
        case.learn(engine)
    found = case.gradients(engine)
    assert all(np.array_equal(found[name], g) for name, g in expected.items())


@pytest.mark.filterwarnings("ignore:GeNN's CPU backend takes one sample")
def test_runs_go_on_from_one_backend_to_the_other(small_data: Path) -> None:
    """Fails if a run on GeNN trains delays otherwise than one on the CPU backend, does not take up those of a
    checkpoint, saves others than it has, or shows other gradients."""
    p: dict[str, Any] = {**simulator_SHD.p, "DATA_DIR": str(small_data), "OUT_DIR": "out", "MODEL_SEED": 3}
    p |= {"TRIAL_MS": 700.0, "DT_MS": 5.0, "NUM_HIDDEN": 20, "INPUT_HIDDEN_MEAN": 0.08}
    p |= {"N_TRAIN": 12, "N_VALIDATE": 4, "N_BATCH": 4, "LR_EASE_IN_FACTOR": 9.0, "HIDDEN_OUTPUT_DELAY_MEAN": 8.0}
    p |= {"INPUT_HIDDEN_DELAY_MAX": 60.1, "INPUT_HIDDEN_DELAY_UNIFORM": [0.0, 60.1], "HIDDEN_OUTPUT_DELAY_MAX": 20.0}
    p |= {
        "TRAIN_DELAYS": ["INPUT_HIDDEN", "HIDDEN_OUTPUT"],
        "ETA_DELAY": 2.0,
        "PIPELINE": False,
        "LR_EASE_IN_FACTOR": 9.0,
    }
    delays, gradients, weights = [], [], {}
    for name, second in (("same", "cpu"), ("other", BACKEND)):
        first = {**p, "NAME": name, "BACKEND": "cpu", "N_EPOCH": 1}
        simulator_SHD.SHD_model(first).train(first)
        second_p = {**first, "BACKEND": second, "N_EPOCH": 2, "LOAD_LAST": True}
        mn = simulator_SHD.SHD_model(second_p)
        start = mn.delays()
        mn.train(second_p)
        delays.append(mn.delays())
        assert all(relative(d, start[n]) > 1e-3 for n, d in delays[-1].items())
        for n, d in delays[-1].items():
            assert np.array_equal(np.load(f"out/{name}_delay_{flat_name(n)}_last.npy"), d.ravel())
        weights = weights or mn.weights()
        mn.set_weights(weights)
        mn.set_delays(delays[0])
        gradients.append(mn.gradients(second_p, samples(mn, 1), [7]).delays)
    for n, d in delays[0].items():
        assert relative(delays[1][n], d) < 1e-4
        assert gradients[0][n].any() and relative(gradients[1][n], gradients[0][n]) < 1e-4
