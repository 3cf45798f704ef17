"""What is recorded on GeNN: spikes, voltages and adjoints; skipped where pygenn is not there."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.small import (
    KINDS,
    clear,
    gradients_of,
    random_case,
    relative,
)

pytest.importorskip("pygenn", reason="pygenn 5.4 is not installed: the GeNN backend is not tested")
from tests.backends.genn.test_engine import engine_of


@pytest.mark.parametrize("record_steps", [None, 40])
def test_recorded_spikes(record_steps: int | None) -> None:
    """Fails if spikes are lost between two readings of GeNN's buffer."""
    case, expected = clear(lambda seed: random_case(seed, "LIF", "first_spike", sizes=(20,)), 1e-9)
    engine = engine_of(case, record_steps=record_steps)
    engine.run(case.spikes, case.numbers[:1], None)
    for population in ("hidden0", "output"):
        steps, ids = engine.spikes(0, population)
        assert sorted(zip(steps.tolist(), ids.tolist(), strict=True)) == expected.records[0].spikes(population)
    with pytest.raises(IndexError, match="sample 1 of the last batch is not held"):
        engine.spikes(1, "hidden0")


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_recorded_variables_are_those_of_the_cpu_backend(kind: str, pipeline: bool) -> None:
    """Fails if a variable is another one, or a step off, or if recording a batch in a pipeline changes a gradient."""
    case, _ = clear(lambda seed: random_case(seed, kind, "sum_weigh_exp", sizes=(20, 15), n=3), 1e-9)
    engine, ours = engine_of(case, pipeline=pipeline, max_spikes=400), case.engine(1)
    names = [(q.name, v) for q in case.network().populations for v in ("Isyn", *q.model.state, *q.model.adjoint)]
    parts = [case.numbers[i : i + 1] for i in case.numbers] if pipeline else [case.numbers]
    before = None
    for part in parts:
        for e in (engine, ours):
            e.run(case.spikes, part, case.labels[part], learn=True, record=names)
        for name in names:
            assert relative(engine.trace(*name), ours.trace(*name)) < 1e-6, name
        for i in range(len(part)):
            for own, other in zip(engine.spike_times(i, "hidden1"), ours.spike_times(i, "hidden1"), strict=True):
                assert np.allclose(np.sort(own), np.sort(other))
        now = gradients_of(ours)
        if before is not None:
            assert all(relative(gradients_of(engine)[name], g) < 1e-6 for name, g in before.items())
        before = {name: g.copy() for name, g in now.items()}
    engine.flush()
    assert before is not None
    assert all(relative(gradients_of(engine)[name], g) < 1e-6 for name, g in before.items())
    engine.run(case.spikes, case.numbers[:1], case.labels[:1], record=names)
    assert np.isnan(engine.trace("output", "lambda_V")).all() and not np.isnan(engine.trace("output", "V")).any()
