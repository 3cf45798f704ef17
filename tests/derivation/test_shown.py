"""What ``python -m eventprop show`` prints, and the page that is made of it."""

from __future__ import annotations

import pytest

import models
from eventprop.__main__ import main
from eventprop.derivation.shown import page, shown
from tests.support.places import ROOT


def test_the_page_of_neurons_is_up_to_date() -> None:
    """``python -m eventprop show --page > docs/neurons.md`` makes it."""
    assert (ROOT / "docs" / "neurons.md").read_text(encoding="utf-8") == page(
        {name: models.NEURONS[name] for name in models.ON_BOARD}
    )


def test_lif_as_it_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "LIF"]) == 0
    said = capsys.readouterr().out
    for line in (
        "    tau_mem dlambda_V/ds = -lambda_V\n    tau_syn dlambda_I/ds = -lambda_I + lambda_V",
        "    lambda_V before = (R + lambda_V*(Isyn - v_reset))/(Isyn - V)",
        "    dL/dv_thresh = sum of lambda_V_before*tau_mem",
        "    V = decay_V * V + gain_V_Isyn * Isyn;",
        "    lambda_V += ((v_thresh - v_reset) * lambda_V + R) / fmax(denominator, min_denominator);",
    ):
        assert line in said
    assert main(["show", "hetLIF"]) == 0  # as HIDDEN_NEURON_TYPE has it
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("name", models.ON_BOARD)
def test_each_says_all_there_is_to_it(name: str) -> None:
    """Every parameter has its gradient, no line is wider than a page, and each says what it is."""
    neuron = models.NEURONS[name]
    said = shown(neuron, code=False)
    gradients = [line for line in said.splitlines() if line.lstrip().startswith("dL/d") and " = " in line]
    assert [line.split()[0][4:] for line in gradients] == list(neuron.parameters)
    assert max(map(len, said.splitlines())) <= 96 and neuron.sentence in " ".join(said.split())
    assert bool(neuron.threshold) == ("At a spike" in said) == bool(neuron.hard)
