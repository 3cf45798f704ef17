"""Smoothed labels. The cross-entropy is linear in the target: with a share s of it spread over n classes, loss and
gradient are 1 - s times those of the label, and s / n times those of each class, in the label's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.description import NetworkSettings, describe
from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.records import Records
from tests.support import oracle
from tests.support.few_spikes import exact_cases, few_spikes_case
from tests.support.small import PARAMETERS, Case, flat, gradients_of, random_case, relative

SHARE = 0.3

Found = tuple[Any, dict[str, np.ndarray]]
"""Loss and gradients."""


def smoothed(own: Found, entropies: Callable[[int], Found], label: int, classes: int) -> Found:
    """What ``own``, of the label with all that belongs to the loss, becomes; ``entropies`` are without penalties."""
    loss, gradients = own[0], dict(own[1])
    for j in range(classes):
        share = SHARE / classes - SHARE * (j == label)
        more, slopes = entropies(j)
        loss = loss + share * more
        gradients = {name: g + share * slopes[name] for name, g in gradients.items()}
    return loss, gradients


def engine_of(case: Case, share: float = SHARE) -> CpuEngine:
    engine = CpuEngine(replace(case.network(), label_smoothing=share), 1, "double")
    case.load(engine)
    return engine


@pytest.mark.parametrize(("kind", "loss"), [("hetLIF", "sum"), ("LIF", "first_spike_exp")])
def test_equals_the_oracle(kind: str, loss: str) -> None:
    """With exact times. Fails if a penalty of late spikes is smoothed, too, or an output's drive is another one."""
    for case in exact_cases(lambda seed: few_spikes_case(seed, kind, loss, spike_timing="exact"), 2):
        label = int(case.labels[0])

        def of(j: int, alpha: float, case: Case = case) -> Found:
            values = {**PARAMETERS, "alpha": alpha}
            value, gradients = oracle.gradients(case.net, case.events(), j, case.loss, values)
            return value, flat(case.net, gradients)

        value, expected = smoothed(of(label, PARAMETERS["alpha"]), lambda j, of=of: of(j, 0.0), label, 3)
        engine = engine_of(case)
        assert case.learn(engine).loss[0] == pytest.approx(value, rel=1e-6)
        for name, found in gradients_of(engine).items():
            assert relative(found, expected[name]) < 1e-6, name
            assert relative(found, of(label, PARAMETERS["alpha"])[1][name]) > 1e-3, name


@pytest.mark.parametrize("loss", ["sum_weigh_exp", "avg_xentropy", "max"])
def test_on_the_grid_it_is_made_of_all_classes(loss: str) -> None:
    """From the engine's own gradients for each class, which others prove; evaluation is by the label alone."""
    case = random_case(4, "LIF", loss, sizes=(20,), n=1)
    label, classes = int(case.labels[0]), case.net.output.size

    def of(j: int) -> Found:
        other = replace(case, labels=np.array([j], np.int32))
        engine = engine_of(other, 0.0)
        return other.learn(engine).loss[0], gradients_of(engine)

    value, expected = smoothed(of(label), of, label, classes)
    engine = engine_of(case)
    assert engine.run(case.spikes, case.numbers, case.labels).loss[0] == of(label)[0]
    assert case.learn(engine).loss[0] == pytest.approx(value, rel=1e-6)
    for name, found in gradients_of(engine).items():
        assert relative(found, expected[name]) < 1e-6, name
        assert relative(found, of(label)[1][name]) > 1e-3, name


def test_gradients_that_are_asked_for_are_not_smoothed() -> None:
    """They are those of the loss, without anything that training adds."""
    settings: NetworkSettings = Records.of(resolve_shd({"LABEL_SMOOTHING": 0.1})).network
    assert (describe(settings, 4, 2).label_smoothing, describe(settings, 4, 2, plain=True).label_smoothing) == (
        0.1,
        0.0,
    )
