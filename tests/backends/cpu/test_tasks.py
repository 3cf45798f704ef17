"""Each loop of a training step has work for many threads, and its tasks can be timed."""

from __future__ import annotations

import pytest

from eventprop.backends.cpu.tasks import task_times
from eventprop.training.optimiser import adam_parameters
from tests.backends.cpu.test_engine import ADAM
from tests.support.small import Case, random_case


def case() -> Case:
    return random_case(5, "LIF", sizes=(256,), n_in=256, n=32, steps=20, dt_ms=1.0)


@pytest.mark.parametrize("threads", [1, 16, 32])
def test_loops_have_a_task_for_each_thread(threads: int) -> None:
    """Fails if gradients, their sums, their norm or Adam are cut into fewer tasks than there are threads."""
    network = case()
    engine = network.engine(threads, "float")

    def step() -> None:
        network.learn(engine)
        engine.gradient_norm()
        engine.update(adam_parameters(ADAM, 1e-3, 1))

    loops = task_times(engine, step).loops
    assert len(loops) >= 6
    assert min(map(len, loops)) >= threads
    assert all((loop >= 0).all() for loop in loops) and sum(loop.sum() for loop in loops) > 0


def test_only_what_is_asked_for_is_timed() -> None:
    """Fails if times of other calls are among those of one."""
    network = case()
    engine = network.engine(2, "float")
    network.learn(engine)
    first = task_times(engine, lambda: network.learn(engine))
    again = task_times(engine, lambda: network.learn(engine))
    assert list(map(len, first.loops)) == list(map(len, again.loops))
    assert first.calling > 0
    assert task_times(engine, lambda: None) == ([], 0.0)
