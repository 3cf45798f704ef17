"""What goes between the host and GeNN's device; skipped where pygenn is not installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eventprop.data.presentation import Batch
from eventprop.data.spikes import SpikeSet
from eventprop.network import Randomness
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.backends.cpu.test_double import RANDOM
from tests.support.small import clear, random_case

pytest.importorskip("pygenn", reason="pygenn 5.4 is not installed: the GeNN backend is not tested")

from eventprop.backends.genn.memory import pulled, pushed
from tests.backends.genn.test_engine import engine_of


def test_gradients_are_pulled_only_for_a_norm_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if gradients are pulled though small ones are enough, or if a large one, or no number, is overlooked."""
    case, _ = clear(lambda seed: random_case(seed, "hetLIF", sizes=(20,)))
    engine = engine_of(case)
    case.learn(engine)
    norm, groups = engine.gradient_norm(), engine._made.reduced
    assert len(groups) > 3 and norm > 0
    assert engine.gradient_norm(enough=0.5 * norm) == norm
    with monkeypatch.context() as patch:
        patch.setattr(engine._memory, "reduced", lambda name: pytest.fail(f"the gradient of {name} was pulled"))
        assert 0.0 <= engine.gradient_norm(enough=1e3 * norm) <= 1e3 * norm
    for group in groups.values():
        array = group.vars["reduced"]
        before = pulled(array).copy()
        for wrong in (np.nan, np.inf, -1e9 * norm):
            pushed(array, before)
            array.view.reshape(-1)[-1] = wrong
            array.push_to_device()
            found = engine.gradient_norm(enough=1e3 * norm)
            assert np.isnan(found) if np.isnan(wrong) else found == pytest.approx(abs(wrong))
        pushed(array, before)
    assert engine.gradient_norm(enough=1e3 * norm) <= 1e3 * norm


def test_nothing_is_trained() -> None:
    """Fails if GeNN is given an array that no code of such a network uses, or is asked for updates that it has not."""
    frozen = ("in_to_hid", "hid_to_hid0", "hid_to_out")
    case, _ = clear(lambda seed: random_case(seed, "LIF", sizes=(20,), frozen=frozen))
    engine = engine_of(case)
    case.learn(engine)
    assert engine.gradient_norm() == engine.gradient_norm(enough=1.0) == 0.0
    engine.update(adam_parameters(AdamSettings(), 0.1, 1))
    assert all(np.array_equal(w, case.weights[name]) for name, w in engine.weights().items())


def _noting(array: Any, name: str, sent: list[tuple[str, int, int]]) -> Callable[[int, int], None]:
    """What pushes a slice of pygenn's array, and notes its name, which half it is, and how many of it are a whole."""
    push, whole = array._array.push_slice_1d_to_device, array.view.size

    def noting(offset: int, count: int) -> None:
        sent.append((name, 2 * offset // whole, whole // count))
        push(offset, count)

    return noting


def test_a_pipeline_sends_the_half_that_is_shown() -> None:
    """Fails if input goes to the device that is there already, or another half than the one that was written."""
    case, _ = clear(lambda seed: random_case(seed, "LIF", "sum_weigh_input", sizes=(20,), n=2))
    engine = engine_of(case, batch=1, pipeline=True)
    sent: list[tuple[str, int, int]] = []
    for population, name in (("input", "raster"), ("output", "weights")):
        array = engine._made.populations[population].extra_global_params[name]
        array._array = SimpleNamespace(push_slice_1d_to_device=_noting(array, name, sent))
    shown = []
    for i in (0, 1):
        engine.run(case.spikes, case.numbers[i : i + 1], case.labels[i : i + 1], learn=True)
        shown += [(name, engine._half, 2) for name in ("raster", "weights")]
    assert sent == shown and {half for _, half, _ in sent} == {0, 1}


@pytest.mark.parametrize("pipeline", [False, True])
def test_input_made_ahead_is_that_of_the_next_batch(pipeline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the input of a batch is made twice, is that of other samples, or changes the batch it is made beside."""
    loss = "sum_weigh_input"
    case, _ = clear(lambda seed: random_case(seed, "LIF", loss, sizes=(20,), n=3), random=RANDOM["input dropout"])
    ahead, alone = (engine_of(case, "float", batch=1, pipeline=pipeline) for _ in range(2))
    made: list[int] = []
    prepare = ahead._presenter.prepare

    def noting(spikes: SpikeSet, samples: np.ndarray, random: Randomness, first: int) -> None:
        made.append(first)
        prepare(spikes, samples, random, first)

    monkeypatch.setattr(ahead._presenter, "prepare", noting)
    order = [0, 1, 2, 1]
    batches = [Batch(i, case.spikes, case.numbers[k : k + 1], case.labels[k : k + 1]) for i, k in enumerate(order)]
    # What is announced is shown, but for the last one: another sample comes in the place of the announced one.
    announced = [batches[1], batches[2], replace(batches[3], samples=case.numbers[:1]), None]
    for batch, following in zip(batches, announced, strict=True):
        given = (batch.spikes, batch.samples, batch.labels)
        options: dict[str, Any] = {"learn": True, "randomness": RANDOM["input dropout"], "first": batch.first}
        found, expected = ahead.run(*given, following=following, **options), alone.run(*given, **options)
        assert np.array_equal(found.loss, expected.loss) and np.array_equal(found.scores, expected.scores)
        for name, gradient in alone.gradients().items():
            assert np.array_equal(ahead.gradients()[name], gradient), name
    assert made == [0, 1, 2, 3, 3]
