"""GeNN with values, labels of steps, windows and a loss of one's own, against the NumPy version and the CPU backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.declarations import Parameter
from eventprop.derivation.losses import complete
from eventprop.losses import Loss
from tests.backends.cpu.test_double import with_silence
from tests.backends.cpu.test_targets import OWN, WINDOW, drawn
from tests.support.small import Case, clear, differences, gradients_of, random_case, relative

pytest.importorskip("pygenn", reason="pygenn 5.4 is not installed: the GeNN backend is not tested")

from eventprop.backends.genn.engine import GennEngine
from tests.backends.genn.test_engine import AT_ONCE, BACKEND, engine_of


@pytest.mark.parametrize(
    ("loss", "what"),
    [
        ("max", "labels"),
        ("avg_xentropy", "labels of steps"),
        ("mse_steps", "values of steps"),
        pytest.param("sum_weigh_input", "labels", marks=pytest.mark.long),
        pytest.param("mse", "values", marks=pytest.mark.long),
    ],
)
def test_a_window_as_the_numpy_version(loss: str, what: str) -> None:
    """Fails if a step outside the window counts in loss, score or adjoint, or a step has the target of another."""

    def make(seed: int) -> Case:
        case = drawn(seed, loss, what, WINDOW)
        return replace(case, labels=case.compared if what == "labels" else case.labels, loss_scale=0.5)

    case, expected = clear(make, 1e-9)
    engine, ours = engine_of(case), case.engine()
    result = case.learn(engine)
    found = differences(expected, engine, result)
    assert max(found.values(), default=0.0) < 2e-7, found
    assert result.measured == pytest.approx(case.learn(ours).measured, rel=1e-9)


def of_voltages() -> tuple[Case, Loss]:
    """With a parameter, a weight by time and a kink, at each step of a window."""
    return drawn(5, "mse", "values of steps", WINDOW), OWN["width"]


def of_spikes() -> tuple[Case, Loss]:
    """With silent outputs and a penalty for them."""
    own = Loss("own", {"width": Parameter(0.7)}, score="-log(1 + t / width)", penalty="width * (t / trial)**2")
    return with_silence(random_case(6, "hetLIF", "first_spike", sizes=(20,), n=2, steps=100)), own


@pytest.mark.parametrize("make", [of_voltages, pytest.param(of_spikes, marks=pytest.mark.long)])
def test_a_loss_of_ones_own_as_on_the_cpu_backend(make: Callable[[], tuple[Case, Loss]]) -> None:
    """Several samples in a row."""
    case, declared = make()
    network = replace(case.network(), loss=complete(declared), loss_parameters={"width": 0.7})
    engine = GennEngine(network, BACKEND, real="double", batch=AT_ONCE, max_spikes=150)
    ours = CpuEngine(network, 1, "double")
    results = []
    for one in (engine, ours):
        case.load(one)
        results.append(case.learn(one))
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-9)
    assert results[0].measured == pytest.approx(results[1].measured, rel=1e-9)
    assert np.array_equal(results[0].spike_counts, results[1].spike_counts)
    for name, gradient in gradients_of(ours).items():
        assert relative(gradients_of(engine)[name], gradient) < 1e-9, name
