"""What goes between the host and GeNN's device; skipped where pygenn is not installed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.small import clear, random_case

pytest.importorskip("pygenn", reason="pygenn 5.4 is not installed: the GeNN backend is not tested")

from tests.backends.genn.test_engine import engine_of


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
