"""The certificate of every neuron on board, and that one which is wrong has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from eventprop.__main__ import main
from eventprop.certificate import certify as certifying
from eventprop.certificate import report
from eventprop.certificate.certify import Certificate, certify
from eventprop.certificate.circuits import OUTPUT
from eventprop.certificate.engine import Found, run

SPIKING = [name for name, neuron in models.NEURONS.items() if neuron.threshold]
MINE = """
import models
from eventprop.declarations import Neuron, Parameter

models.NEURONS["cubic"] = Neuron(
    "cubic",
    parameters={"tau_mem": Parameter(15.0, above=0.0), "tau_syn": Parameter(4.0, above=0.0), "v_peak": Parameter(2.0)},
    state={"V": "0", "Isyn": "0"},
    dynamics={"V": "(V**3 / 3 - V + Isyn) / tau_mem", "Isyn": "-Isyn / tau_syn"},
    threshold="V - v_peak",
    reset={"V": "-0.5"},
    method="rk2",
)
"""


SHORT = ("LIF", "COBA")


@pytest.mark.parametrize("name", [n if n in SHORT else pytest.param(n, marks=pytest.mark.long) for n in SPIKING])
def test_every_neuron_on_board(name: str) -> None:
    """Fails if a gradient, by any weight or parameter, is not that of the neuron's equations."""
    whole = name in ("LIF", "AdEx")
    losses = ("sum", "sum_weigh_exp", "first_spike") if whole else ("sum",)
    timings = ("grid", "exact", "substep") if whole else ("grid", *(["exact"] if name in ("ALIF", "RF") else []))
    found = certify(models.NEURONS[name], 2 if whole else 1, losses=losses, wanted=timings)
    assert not list(found.complaints()), report.table(found)
    assert set(found.groups) == {"input weights", "recurrent weights", OUTPUT, *models.NEURONS[name].parameters}
    assert set(losses) <= set(found.errors) and min(found.networks.values()) >= 1
    assert found.smooth and found.own < 1e-6


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose gradient by the reset potential is 20 % too large."""

    def run_wrongly(*args: Any, **options: Any) -> Found:
        found = run(*args, **options)
        return replace(found, gradients={n: g * (1.2 if n == "v_reset" else 1.0) for n, g in found.gradients.items()})

    monkeypatch.setattr(certifying, "run", run_wrongly)


@pytest.mark.usefixtures("wrong")
def test_a_wrong_gradient_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if the certificate would pass whatever the engine says."""
    assert main(["check", "LIF", "--networks", "1"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("LIF: NOT CERTIFIED: ") and "v_reset" in last


def test_a_neuron_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails if a neuron that the project has never seen cannot be checked, or leaves no table and picture."""
    monkeypatch.setattr(models, "NEURONS", dict(models.NEURONS))
    (tmp_path / "mine.py").write_text(MINE)
    arguments = [
        "check",
        "cubic",
        "--models",
        str(tmp_path / "mine.py"),
        "--networks",
        "2",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(arguments) == 0, capsys.readouterr().out
    text = (tmp_path / "o" / "certificate_cubic.txt").read_text()
    assert text.splitlines()[-1].startswith("cubic: certified: 2 networks")
    assert capsys.readouterr().out.splitlines()[-1] == text.splitlines()[-1]
    assert (tmp_path / "o" / "certificate_cubic.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["LIFF"], "NEURON='LIFF'"),
        (["LI"], "LI has no threshold"),
        (["LIF", "--networks", "0"], "--networks must be at least 1"),
        (["LIF", "--models", "there_is_none.py"], "there_is_none.py"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("check: error: ") and told in error and len(error.splitlines()) == 1


def certificate(errors: dict[str, list[float]]) -> Certificate:
    """One of LIF with these errors of the input weights, on the finest grid and the second coarsest."""
    found = Certificate(models.LIF, None, True)  # type: ignore[arg-type]
    coarse, fine = (certifying.Column("grid", certifying.GRIDS_MS[k]) for k in (1, -1))
    found.errors = {"sum": {coarse: {"input weights": errors["coarse"]}, fine: {"input weights": errors["fine"]}}}
    found.networks["sum"] = len(errors["fine"])
    found.counted["sum", fine] = found.counted["sum", coarse] = sum(np.isfinite(errors["fine"]))
    return found


def test_what_a_certificate_needs() -> None:
    """Fails if an error that stays as the step shrinks, or is large, or is of no network at all, would pass."""
    assert not list(certificate({"coarse": [0.1, 0.2], "fine": [0.01, 0.02]}).complaints())
    assert "to the power of 0.23" in next(certificate({"coarse": [0.02] * 10, "fine": [0.01] * 10}).complaints())
    assert not list(certificate({"coarse": [0.02] * 9, "fine": [0.01] * 9}).complaints())
    assert "ms, input weights: 1.0e-01" in next(certificate({"coarse": [1.0], "fine": [0.1]}).complaints())
    assert "no network has the exact" in next(certificate({"coarse": [np.nan], "fine": [np.nan]}).complaints())
    assert "no network of 0" in next(Certificate(models.LIF, None, True).complaints())  # type: ignore[arg-type]
