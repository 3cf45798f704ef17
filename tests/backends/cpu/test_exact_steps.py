"""What the step may and may not change where spikes have their exact times, and time constants at their extremes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.backends.cpu.test_exact import check
from tests.support.few_spikes import differences_to_oracle, exact_cases, few_spikes_case
from tests.support.small import Case, relative

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("tau_mem", "scale"), [(20.0, 1.0), (20.0, 3.0), (6.0, 0.3), (6.0, 0.8)])
@pytest.mark.parametrize("kind", ["LIF", "ALIF"])
def test_steps_as_long_as_the_synapse(kind: str, tau_mem: float, scale: float) -> None:
    """The longest step that users may have, with spikes close together: fails if a step holds one spike of a neuron
    only, if a course that is far from a parabola hides a crossing, or if layers do not see spikes in order."""

    def make(seed: int) -> Case:
        case = few_spikes_case(seed, kind, sizes=(8, 4), grid_ms=5, spike_timing="exact")
        case = case.edited("hidden0", w=scale * case.net.hidden[0].w)
        for name in ("hidden0", "hidden1"):
            case = case.edited(name, tau_mem=np.full(case.net.populations[name].size, tau_mem))
        return case

    most = 0
    for case in check(make, 1e-6, number=8):
        engine = case.engine()
        engine.run(case.spikes, case.numbers, None)
        steps, ids = engine.spikes(0, "hidden0")
        most = max(most, np.unique(steps * 100 + ids, return_counts=True)[1].max())
    assert most >= 2 or scale in (0.3, 1.0)


@pytest.mark.parametrize("loss", ["sum", "sum_weigh_linear", "first_spike"])
@pytest.mark.parametrize("kind", ["hetLIF", "ALIF"])
def test_equal_time_constants_are_no_special_case(kind: str, loss: str) -> None:
    """Fails if a closed form divides by tau_mem - tau_syn, or needs the synapse to be faster than the membrane."""

    def make(seed: int) -> Case:
        case = few_spikes_case(seed, kind, loss, spike_timing="exact")
        case = case.edited(
            "hidden0", tau_mem=np.array([9.0, 9.0, 5.0, 20.0]), tau_syn=np.array([9.0, 9.00001, 8.0, 5.0])
        )
        return case.edited("output", tau_mem=np.array([12.0, 12.0, 6.0]), tau_syn=np.array([12.0, 11.9999, 7.0]))

    check(lambda seed: make(seed).edited("hidden0", w=0.6 * make(seed).net.hidden[0].w), 1e-6)


def test_weights_that_are_not_linear_are_second_order() -> None:
    """Fails if the weight within a step is taken at one of its ends: the error would be of first order."""
    for loss in ("sum_weigh_exp", "sum_weigh_sigmoid", "sum_weigh_input"):
        found = []
        for case in exact_cases(lambda seed, loss=loss: few_spikes_case(seed, "LIF", loss, spike_timing="exact"), 5):
            errors = [differences_to_oracle(c, c.engine()) for c in (case, case.with_step(0.5))]
            found.append(errors[0]["in_to_hid"] / errors[1]["in_to_hid"])
        assert 3.5 < np.median(found) < 4.5


def test_the_step_does_not_matter() -> None:
    """Fails if anything but the spacing of the input depends on dt where the loss's weight is linear."""
    (case,) = exact_cases(lambda seed: few_spikes_case(seed, "LIF", "sum", grid_ms=5, spike_timing="exact"), 1)
    expected = case.gradients()
    for dt_ms in (2.5, 1.0, 0.25):
        found = case.with_step(dt_ms).gradients()
        assert max(relative(found[name], g) for name, g in expected.items()) < 1e-6


def test_the_grid_approaches_exact_times() -> None:
    """Fails if the two ways of computing a network are not the same network: gradients on a grid of 0.05 ms."""
    found = []
    for case in exact_cases(lambda seed: few_spikes_case(seed, "hetLIF", "sum", spike_timing="exact"), 5, 0.7):
        expected = case.gradients()
        grid = replace(case.with_step(0.05), spike_timing="grid").gradients()
        found.append(max(relative(grid[name], g) for name, g in expected.items()))
    assert np.median(found) < 0.1
