"""Names of a neuron's own: letters, too, although loops around its equations have some of them for themselves."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np
import pytest

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.derivation import derived
from eventprop.grammar import TAKEN
from eventprop.network import Network, Population
from models import Neuron, Parameter
from tests.support.few_spikes import few_spikes_case

LETTERS = [x for x in string.ascii_lowercase if x not in TAKEN]
pytestmark = pytest.mark.long


def neuron(prefix: str) -> Neuron:
    """LIF with a current, a slow variable, and as many parameters as there are letters, all of them 1."""
    own = {f"{prefix}{x}": Parameter(1.0) for x in LETTERS}
    current, slow, all_of_them = f"{prefix}Q", f"{prefix}W", " * ".join(own)
    return Neuron(
        "letters",
        parameters={**models.LIF.parameters, **own},
        state={"V": "v_reset", current: "0", slow: "0"},
        dynamics={
            "V": f"({current} - V - 0.1 * {slow}) / (tau_mem * {all_of_them})",
            current: f"-{current} / (tau_syn * {prefix}c)",
            slow: f"({prefix}a * V - {slow}) / 50",
        },
        threshold=f"V - v_thresh * {prefix}f",
        reset={"V": "v_reset", slow: f"{slow} + 0.1 * {prefix}d"},
        input=current,
    )


def with_neuron(base: Network, declared: Neuron, trained: tuple[str, ...]) -> Network:
    """``base`` with such hidden neurons, all parameters but time constants at their defaults."""
    model = derived(declared)
    own = {n: p.default for n, p in declared.parameters.items()} | {"min_denominator": 0.1}

    def hidden(q: Population) -> Population:
        values = {n: np.full(q.size, own[n], np.float32) if n in trained else own[n] for n in model.parameters}
        return replace(q, model=model, parameters=values, trained=trained)

    return replace(base, hidden=tuple(hidden(q) for q in base.hidden))


@pytest.mark.parametrize("timing", ["grid", "substep", "exact"])
def test_letters_are_names_like_others(timing: str) -> None:
    """The same network under longer names: the same losses and gradients to rounding."""
    case = few_spikes_case(1, "LIF")
    found = []
    for prefix in ("", "named_"):
        trained = tuple(f"{prefix}{x}" for x in "acdf")
        made = with_neuron(replace(case.network(), spike_timing=timing), neuron(prefix), trained)
        engine = CpuEngine(made, 1, "double")
        engine.set_weights(case.weights)
        result = case.learn(engine)
        gradients = engine.time_constant_gradients()["hidden0"]
        assert result.spike_counts.sum() > 3 and all(np.abs(gradients[n]).max() > 0 for n in trained)
        found.append((result.loss, [*engine.gradients().values(), *(gradients[n] for n in trained)]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12 * np.abs(other).max())
