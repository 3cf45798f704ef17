"""The same bits for any number of threads, any split of a batch and whatever else the process has loaded."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eventprop.backends import BatchResult
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Randomness
from eventprop.training.optimiser import adam_parameters
from tests.backends.cpu.test_engine import ADAM, same
from tests.support.few_spikes import few_spikes_case
from tests.support.processes import printed
from tests.support.small import THOMAS1, Case, gradients_of, random_case

RANDOM = Randomness(0.1, 0.1, 0.05, input_seed=1, hidden_seed=2, noise_seed=3)
KINDS: dict[str, dict[str, Any]] = {
    "LIF, grid": {"kind": "LIF", "loss": "sum_weigh_exp"},
    "hetLIF, grid": {"kind": "hetLIF", "loss": "max"},
    "ALIF, grid": {"kind": "ALIF", "loss": "first_spike"},
    "hetLIF, substep": {"kind": "hetLIF", "loss": "sum", "spike_timing": "substep"},
    "ALIF, substep": {"kind": "ALIF", "loss": "first_spike", "spike_timing": "substep"},
    "LIF, exact": {"kind": "LIF", "loss": "sum_weigh_input", "spike_timing": "exact"},
    "hetLIF, exact": {"kind": "hetLIF", "loss": "sum_weigh_linear", "spike_timing": "exact"},
    "ALIF, exact": {"kind": "ALIF", "loss": "first_spike_exp", "spike_timing": "exact"},
}


def make(name: str, **options: Any) -> Case:
    options = {"regulariser": "Thomas1", "strengths": THOMAS1, "sizes": (70, 40), "n": 11, **options, **KINDS[name]}
    return random_case(4, steps=60, dt_ms=1.0, copies=2, delay_steps=5, v_reset=-0.1, **options)


def randomness(name: str) -> Randomness:
    """All that is random; noise is for the grid."""
    return replace(RANDOM, noise=0.0) if "exact" in name else RANDOM


def everything(case: Case, engine: CpuEngine, random: Randomness) -> dict[str, np.ndarray]:
    """Results of a batch, its gradients and norm, and what an update makes of weights and time constants."""
    case.load(engine)
    result = case.learn(engine, randomness=random)
    found = {name: getattr(result, name) for name in BatchResult.__dataclass_fields__} | gradients_of(engine)
    found["norm"] = np.array(engine.gradient_norm())
    engine.update(adam_parameters(ADAM, 1e-2, 1))
    updated = engine.weights() | {f"{q}.{n}": a for q, own in engine.time_constants().items() for n, a in own.items()}
    return found | {f"updated {name}": a for name, a in updated.items()}


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_threads_and_splits(name: str, average: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the order of a sum, or a random number, depends on threads or on how many samples are held at a time."""
    case, random = make(name, average_counts=average), randomness(name)
    expected = everything(case, case.engine(1, "float"), random)
    assert all(np.isfinite(a).all() and (a.any() or key == "predictions") for key, a in expected.items())
    assert expected["spike_counts"].mean() > 1
    for threads in (2, 3, 16):
        assert same(everything(case, case.engine(threads, "float"), random), expected)
    if average:
        return  # the batch is presented whole
    for chunk in (1, 4, 11):
        monkeypatch.setattr(CpuEngine, "_chunk", lambda self, n, learn, chunk=chunk: chunk)
        for threads in (1, 2):
            assert same(everything(case, case.engine(threads, "float"), random), expected)


@pytest.mark.parametrize("name", KINDS)
def test_random_numbers_belong_to_the_position_in_the_epoch(name: str) -> None:
    """Fails if a batch's size, or which samples it has, changes what is random for a sample."""
    case, random = make(name), randomness(name)
    engine = case.engine(2, "float")
    whole = engine.run(case.spikes, case.numbers, case.labels, randomness=random, first=3)
    parts = [slice(0, 4), slice(4, 5), slice(5, 11)]
    results = [
        engine.run(case.spikes, case.numbers[p], case.labels[p], randomness=random, first=3 + p.start) for p in parts
    ]
    for field in BatchResult.__dataclass_fields__:
        assert np.array_equal(np.concatenate([getattr(r, field) for r in results]), getattr(whole, field)), field
    other = engine.run(case.spikes, case.numbers, case.labels, randomness=random, first=4)
    assert not np.array_equal(other.spike_counts, whole.spike_counts)


def digest(name: str, threads: int = 2) -> str:
    """Of the bits that one kind of engine gives."""
    case = make(name)
    found = everything(case, case.engine(threads, "float"), randomness(name))
    return hashlib.sha256(b"".join(found[key].tobytes() for key in sorted(found))).hexdigest()


def test_engines_of_other_kinds_in_the_process_change_nothing() -> None:
    """Fails if libraries share symbols: that of the first engine would then compute with the structs of another, with
    other constants at other places. Each kind is computed alone in a process of its own and then after all others."""
    engines = {name: make(name).engine(2, "float") for name in KINDS}
    together = {}
    for name in [*KINDS, *reversed(KINDS)]:
        case = make(name)
        found = everything(case, engines[name], randomness(name))
        engines[name] = case.engine(2, "float")  # without moments
        together[name] = hashlib.sha256(b"".join(found[key].tobytes() for key in sorted(found))).hexdigest()
    for name in KINDS:
        alone = printed(f"from tests.backends.cpu.test_threads import digest; print(digest({name!r}))").strip()
        assert alone == together[name], name


def test_many_small_runs_on_threads() -> None:
    """Fails if a batch is taken for done before all its threads are, or a thread starts on the next one early."""
    case = few_spikes_case(1, "LIF", taus="shared", sizes=(8,))
    engine = case.engine(3, "float")
    expected = case.learn(engine)
    gradients = gradients_of(engine)
    for n in [1, 2, 5] * 100:
        result = engine.run(case.spikes, np.zeros(n, np.int64), np.repeat(case.labels, n), learn=True)
        assert (result.scores == expected.scores).all()
        found = gradients_of(engine)
        assert all(np.allclose(found[key], g, rtol=1e-5, atol=1e-7) for key, g in gradients.items())
