"""Spikes at their exact times in single precision, as users run it, against the event-driven oracle at 1 ms and more.

Time constants take other ways through the generated code where they are shared by all neurons, differ, or are trained
(then more is kept for them); ``test_exact.py`` has all losses and options for trained ones in double precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.few_spikes import differences_to_oracle, exact_cases, few_spikes_case
from tests.support.small import Case

WAYS: dict[str, dict[str, Any]] = {
    "LIF shared": {"kind": "LIF", "taus": "shared"},
    "ALIF shared": {"kind": "ALIF shared", "taus": "shared"},
    "hetLIF own": {"kind": "hetLIF", "taus": "own"},
    "ALIF own": {"kind": "ALIF", "taus": "own"},
    "hetLIF trained": {"kind": "hetLIF"},
}
SIZES = {"few": (4,), "two layers": (4, 4), "many": (33,)}


def make(seed: int, kind: str, **options: Any) -> Case:
    case = few_spikes_case(
        seed, "LIF" if kind == "ALIF shared" else kind, v_reset=-0.2 * (seed % 2), spike_timing="exact", **options
    )
    if kind == "ALIF shared":
        for number in range(len(case.net.hidden)):
            case = case.edited(
                f"hidden{number}", tau_b=np.full(case.net.hidden[number].size, 40.0), b_incr=0.15, b_init=0.1
            )
    return case


def check(options: dict[str, Any], number: int, grazing: float = 0.3) -> None:
    found = []
    for case in exact_cases(lambda seed: make(seed, **options), number, grazing):
        own = differences_to_oracle(case, case.engine(real="float"))
        assert own.pop("spike times") < 1e-4
        found.append(max(own.values()))
    assert max(found) < 1e-3, found
    assert np.median(found) < 5e-5, found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_gradients_and_spike_times(way: str, size: str) -> None:
    """Fails if single precision loses more than its rounding (median 5e-5, worst 1e-3; spike times 1e-4 ms), or one of
    the ways is wrong."""
    if size == "many":
        check({**WAYS[way], "loss": "sum_weigh_linear", "sizes": SIZES[size]}, 1, 0.2)
    else:
        check({**WAYS[way], "loss": "sum", "sizes": SIZES[size]}, 5)


@pytest.mark.parametrize(
    "options", [{"grid_ms": 2}, {"grid_ms": 5}, {"copies": 3, "delay_steps": 7, "recurrent": False}]
)
@pytest.mark.parametrize("way", WAYS)
def test_coarser_steps_and_delays(way: str, options: dict[str, Any]) -> None:
    """Fails if an interval of several ms, or a delay, costs precision."""
    check({**WAYS[way], "loss": "sum_weigh_linear", **options}, 3)


@pytest.mark.parametrize("sizes", [(4,), (4, 4), (33,)])
def test_first_spikes(sizes: tuple[int, ...]) -> None:
    """Fails if the outputs' first spikes lose digits: their times enter the loss themselves."""
    check({"kind": "hetLIF", "loss": "first_spike", "sizes": sizes}, 3)
