"""What is derived of LIF and ALIF neurons is what was published (Wunderlich & Pehle 2021; Nowotny et al. 2022)."""

from __future__ import annotations

import pytest
import sympy

import models
from eventprop.derivation import derived
from eventprop.derivation.expressions import symbol
from eventprop.derivation.shown import backward, jump_of, parameter_gradients
from eventprop.derivation.system import System

V, I, B, R = (symbol(n) for n in ("V", "Isyn", "B", "R"))
LV, LI, LB, LV_NEW = (symbol(n) for n in ("lambda_V", "lambda_I", "lambda_B", "lambda_V_before"))
TM, TS, TB, VT, VR, BI = (symbol(n) for n in ("tau_mem", "tau_syn", "tau_b", "v_thresh", "v_reset", "b_incr"))


def equal(found: sympy.Expr, published: sympy.Expr) -> bool:
    return bool(sympy.simplify(found - published) == 0)


@pytest.mark.parametrize("name", ["LIF", "ALIF", "LI"])
def test_adjoint_dynamics(name: str) -> None:
    """tau_mem lambda_V' = -lambda_V, tau_syn lambda_I' = lambda_V - lambda_I, tau_b lambda_B' = -lambda_B."""
    system = System(models.NEURONS[name])
    found = backward(system)
    published = {"V": -LV, "Isyn": LV - LI, "B": -LB}
    assert all(equal(found[x], published[x]) for x in system.variables)
    assert {x: str(e) for x, e in system.scales.items()} == {
        x: {"V": "tau_mem", "Isyn": "tau_syn", "B": "tau_b"}[x] for x in system.variables
    }


def test_jump_of_lif() -> None:
    """lambda_V += ((v_thresh - v_reset) lambda_V + R) / (tau_mem dV/dt), at V = v_thresh."""
    found = jump_of(System(models.LIF))
    published = LV + ((VT - VR) * LV + R) / (I - VT)
    assert equal(found["V"].subs(V, VT), published)
    assert found["Isyn"] == LI


def test_jump_of_alif() -> None:
    """lambda_V := Q / c, lambda_B -= (tau_mem / tau_b) lambda_V, c = Isyn - V + B tau_mem / tau_b and
    Q = (Isyn - v_reset) lambda_V - b_incr lambda_B + R."""
    found = jump_of(System(models.ALIF))
    after = ((I - VR) * LV - BI * LB + R) / (I - V + B * TM / TB)
    assert equal(found["V"], after)
    assert equal(found["B"], LB - TM / TB * after)
    assert found["Isyn"] == LI


def test_gradients_of_parameters() -> None:
    """Those of derivation in closed form: thresholds and resets by jumps, time constants by integrals."""
    found = parameter_gradients(System(models.ALIF))
    published = {
        "tau_mem": (LV * (I - V) / TM, 0, 0),
        "tau_syn": (-LI * I / TS, 0, 0),
        "tau_b": (-LB * B / TB, 0, 0),
        "v_thresh": (0, TM * LV_NEW, 0),
        "v_reset": (0, -TM * LV, -TM * LV),
        "b_incr": (0, -TB * LB, 0),
        "b_init": (0, 0, -TB * LB),
    }
    assert set(found) == set(published)
    for name, parts in published.items():
        assert all(equal(a, sympy.sympify(b)) for a, b in zip(found[name], parts, strict=True)), name


def test_code_is_the_published_one() -> None:
    """The very order of operations, on which bits depend."""
    lif, alif = derived(models.LIF), derived(models.ALIF)
    top = "((v_thresh - v_reset) * lambda_V + R) / fmax(denominator, min_denominator);"
    assert lif.jump == f"lambda_V += {top}"
    assert lif.recorded == {"denominator": "Isyn - V"}
    assert lif.update == "V = decay_V * V + gain_V_Isyn * Isyn;"
    assert lif.gradient == ("-tau_syn * lambda_I",) and lif.transport == ("lambda_V - lambda_I",)
    assert alif.recorded == {"denominator": "Isyn - V + tau_mem_over_tau_b * B", "B_spike": "B"}
    assert alif.jump.endswith("lambda_B -= tau_mem_over_tau_b * lambda_V;")
