"""Samples of one's own with other targets than classes: what is learned, told, kept, and refused."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from eventprop import cli, own_losses, runs
from eventprop.__main__ import main as program
from eventprop.losses import Loss
from simulator_SHD import SHD_model
from simulator_spikes import spikes_model

STEPS, N = 60, 120
QUICK = {"BIN_MS": 1.0, "WEIGHT_INIT": "fluctuation", "NUM_HIDDEN": 128, "RECURRENT": True, "TAU_MEM": 5.0, "ETA": 0.01}
QUICK |= {"N_BATCH": 8, "N_EPOCH": 2, "MODEL_SEED": 1, "TRAIN_DATA_SEED": 1, "TEST_DATA_SEED": 1, "TIMING": False}


def courses() -> tuple[np.ndarray, np.ndarray]:
    """Counts of 30 channels, each of which likes a value of a slow course, and that, ``(n, steps)``."""
    rng = np.random.default_rng(3)
    phase = rng.uniform(0.5, 1.5, (N, 1)) * np.arange(STEPS) / STEPS + rng.random((N, 1))
    course = np.sin(2 * np.pi * phase)
    return rng.binomial(1, 0.4 * np.exp(-10 * (course[:, :, None] - np.linspace(-1, 1, 30)) ** 2)), course


X, COURSE = courses()
FOLLOWED = 0.5 * np.roll(COURSE, 3, axis=1)[:, :, None]
ABOVE = (FOLLOWED[:, :, 0] > 0).astype(int)
MEANS = np.stack([COURSE.mean(axis=1), COURSE[:, 30:].mean(axis=1)], axis=1)


def made(Y: Any, **settings: Any) -> tuple[spikes_model, dict[str, Any]]:
    p = spikes_model.defaults() | QUICK | settings
    return spikes_model(p, train=(X, Y)), p


def test_an_output_follows_a_course() -> None:
    """The mean square error falls far below the variance of the target, on test samples too, and is told everywhere."""
    mn, p = made(FOLLOWED, LOSS_TYPE="mse_steps", LOSS_WINDOW=[5, 60], N_EPOCH=40, NAME="follows")
    assert mn.p["TRIAL_MS"] == STEPS and mn.p["NUM_CLASSES"] == 1
    result = mn.train(p)
    variance = FOLLOWED[:, 5:].var()
    assert mn.history[0]["train_mse"] > 0.5 * variance and result.correct < 0.25 * variance
    assert result.correct == mn.history[-1]["train_mse"] and result.correct_eval == mn.history[-1]["eval_mse"]
    assert mn.evaluated is not None and np.isnan(mn.evaluated[1].accuracy)
    assert mn.test(p).correct_eval < 0.3 * variance and "mean square error: evaluation" in repr(mn)
    v = mn.voltages(p, X[:2], "output")
    error = (
        (v[:, 4 : STEPS - 1] - FOLLOWED[:2, 5:STEPS]) ** 2
    ).mean()  # at the ends of steps, and at the starts of the next
    assert mn.gradients(p, X[:2], FOLLOWED[:2]).loss == pytest.approx(error, rel=1e-4)
    assert (mn.predict(p, X[:2]).classes == -1).all()
    rows = list(csv.DictReader(Path("follows_results.csv").read_text().splitlines()))
    assert (
        len(rows) == 41
        and float(rows[39]["train_mse"]) == pytest.approx(result.correct)
        and "train_accuracy" not in rows[0]
    )
    assert Path("follows_learning.png").exists()


def test_labels_of_steps() -> None:
    """Accuracy is that of the steps that count."""
    mn, p = made(ABOVE, LOSS_TYPE="avg_xentropy", LOSS_WINDOW=[5, 60], N_EPOCH=40, WRITE_TO_DISK=False)
    result = mn.train(p)
    assert mn.p["NUM_CLASSES"] == 2 and mn.history[0]["train_accuracy"] < 0.8 < 0.92 < result.correct
    v = mn.voltages(p, X[:2], "output")[:, 4 : STEPS - 1]
    engine = mn._ready(mn.p)
    shown = engine.run(mn._sample_spikes(X[:2], mn.p), np.arange(2), ABOVE[:2])
    assert shown.measured == pytest.approx((v.argmax(axis=2) == ABOVE[:2, 5:]).mean(axis=1))


def test_a_run_goes_on_with_the_same_bits_and_ends_early() -> None:
    """Best epoch and end go by the least mean square error; a run that is resumed has the bits of an unbroken one."""
    settings: dict[str, Any] = {"LOSS_TYPE": "mse", "LOSS_WINDOW": [20, 40], "CHECKPOINT_BEST": "validation"}
    whole, p = made(MEANS, **settings, N_EPOCH=6, NAME="whole")
    whole.train(p)
    for epochs, load in ((3, False), (6, True)):
        mn, p = made(MEANS, **settings, N_EPOCH=epochs, LOAD_LAST=load)
        mn.train(p)
    assert all((w == mn.weights()[name]).all() for name, w in whole.weights().items())
    errors = [record["eval_mse"] for record in mn.history]
    assert errors == [record["eval_mse"] for record in whole.history]
    assert int(Path("test_best.txt").read_text().split()[0]) == int(np.argmin(errors))
    mn, p = made(MEANS, **settings, N_EPOCH=40, EARLY_STOPPING=2, ETA=0.1, NAME="early")
    mn.train(p)
    errors = [record["eval_mse"] for record in mn.history]
    assert len(errors) < 40 and len(errors) - 1 - int(np.argmin(errors)) == 2


def test_results_of_classes_and_of_values_have_files_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the one is no place for lines of the other; ``runs`` tells both."""
    mn, p = made(ABOVE[:, -1], N_EPOCH=1)
    mn.train(p)
    before = Path("test_results.csv").read_bytes()
    mn, p = made(MEANS, LOSS_TYPE="mse", N_EPOCH=1)
    with pytest.raises(ValueError, match="has lines of runs that tell the accuracy, and this one tells the mean"):
        mn.train(p)
    assert Path("test_results.csv").read_bytes() == before
    mn.train({**p, "NAME": "values"})
    capsys.readouterr()
    assert runs.main(type("Options", (), {"folder": Path(), "csv": True})()) == 0
    rows = {row["name"]: row for row in csv.DictReader(capsys.readouterr().out.splitlines())}
    assert rows["test"]["training"].endswith("%")
    assert float(rows["values"]["training"]) == pytest.approx(mn.history[-1]["train_mse"], rel=1e-3)


def test_groups_that_are_left_out_and_recordings() -> None:
    """Folds, their table and recorded trials go with values as with classes."""
    p = spikes_model.defaults() | QUICK | {"LOSS_TYPE": "mse_steps", "N_EPOCH": 1, "SPEAKER_LEFT": [0, 1]}
    p |= {"REC_SPIKES": ["hidden0"], "REC_SPIKES_EPOCH_TRIAL": [[0, 0]], "REC_NEURONS": [["output", "V"]]}
    p |= {"REC_NEURONS_EPOCH_TRIAL": [[0, 0]]}
    mn = spikes_model(p, train=(X, FOLLOWED, np.arange(N) % 3), test=(X[:9], FOLLOWED[:9]))
    errors, _ = mn.cross_validate(p)
    assert np.shape(errors) == (2, 2) and mn.evaluated is not None and errors[1][1] == mn.evaluated[1].mean
    rows = list(csv.DictReader(Path("test_folds.csv").read_text().splitlines()))
    assert float(rows[0]["eval_mse"]) == pytest.approx(errors[0][1], rel=1e-4) and rows[2]["train_mse"]
    recorded = mn.train({**p, "NAME": "recorded"})
    assert recorded.rec_vars_n and recorded.spike_t


@pytest.mark.parametrize(
    ("Y", "settings", "said"),
    [
        (MEANS, {}, r'LOSS_TYPE="sum_weigh_exp" compares classes.*"mse" \(of averages.*or "mse_steps" would be right'),
        (FOLLOWED, {"LOSS_TYPE": "mse"}, 'there are values of each step; LOSS_TYPE="mse_steps" would be right'),
        (ABOVE, {"LOSS_TYPE": "sum"}, 'there are labels of each step; LOSS_TYPE="avg_xentropy" would be right'),
        (ABOVE[:, 0], {"LOSS_TYPE": "mse"}, 'LOSS_TYPE="mse" compares values, and the data has classes'),
        (ABOVE[:, :30], {"LOSS_TYPE": "avg_xentropy", "TRIAL_MS": 60.0}, "targets of 30 steps.* has 60"),
        (MEANS, {"LOSS_TYPE": "mse", "NUM_CLASSES": 3}, "values of 2 outputs, and NUM_CLASSES=3"),
        (MEANS[:, 0], {"LOSS_TYPE": "mse"}, r"values of outputs are floats of shape \(n, outputs\)"),
        (MEANS[:9], {"LOSS_TYPE": "mse"}, "must be one for each of the 120 samples; there are 9"),
        (np.full((N, 2), np.nan), {"LOSS_TYPE": "mse"}, "values of sample 0 are not finite"),
        (ABOVE - 1, {"LOSS_TYPE": "avg_xentropy"}, "whole numbers from 0; step .* of sample 0 has -1"),
        (MEANS > 0, {"LOSS_TYPE": "mse"}, r"targets are bool of shape \(120, 2\); whole numbers \(n,\) are classes"),
        (MEANS, {"LOSS_TYPE": "mse", "COLLECT_CONFUSION": True}, "COLLECT_CONFUSION needs a class of each sample"),
        (MEANS, {"LOSS_TYPE": "mse", "LOSS_WINDOW": [20, 90]}, r"must end by the end of the trial \(TRIAL_MS="),
        (MEANS, {"LOSS_TYPE": "mse", "LOSS_WINDOW": [20.2, 20.7]}, "must hold the beginning of a step of DT_MS=1"),
        (MEANS, {"LOSS_TYPE": "mse", "LOSS_WINDOW": [30, 20]}, "LOSS_WINDOW must be a list of two numbers"),
        (MEANS, {"LOSS_TYPE": "mse", "LABEL_SMOOTHING": 0.1}, "is for cross-entropies"),
        (MEANS, {"LOSS_TYPE": "mse_steps", "SPIKE_TIMING": "exact"}, '"mse_steps" has no closed form within a step'),
        (ABOVE[:, 0], {"LOSS_TYPE": "first_spike", "LOSS_WINDOW": [0, 20]}, "is for losses of voltages"),
    ],
)
def test_wrong_targets_are_one_line(Y: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:
        made(Y, **settings)
    assert re.search(said, str(error.value)) and "\n" not in str(error.value), error.value


def test_test_samples_have_targets_of_the_same_form() -> None:
    p = spikes_model.defaults() | QUICK | {"LOSS_TYPE": "mse"}
    with pytest.raises(ValueError, match=r"test: targets are int32 of shape \(n, \), and those of train are float32"):
        spikes_model(p, train=(X, MEANS), test=(X, ABOVE[:, 0]))
    mn, p = made(MEANS, LOSS_TYPE="mse")
    with pytest.raises(ValueError, match='Y: LOSS_TYPE="mse" compares values'):
        mn.gradients(p, X[:2], [0, 1])
    with pytest.raises(ValueError, match="have no classes to choose by"):
        mn.plot_examples(1)
    with pytest.raises(ValueError, match='LOSS_TYPE="mse" compares values, and this benchmark has classes'):
        SHD_model({**SHD_model.defaults(), "DATA_SET": "DEMO", "LOSS_TYPE": "mse"})


FILE = """
from models import LOSSES, Loss, Parameter

LOSSES["margin"] = Loss(
    "margin",
    parameters={"width": Parameter(0.1, "", "How soft the margin is.", above=0.0)},
    weight="exp(-2 * x)",
    compare="width * log(1 + exp((0.5 - (2 * target - 1) * y) / width))",
)
"""


def test_a_loss_of_ones_own_from_a_file_to_a_resumed_run(small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its parameter is a key; the saved settings have the declaration, and are enough to go on with the same bits."""
    Path("mine.py").write_text(FILE)
    words = [
        "NUM_HIDDEN=8",
        "N_TRAIN=20",
        "N_VALIDATE=10",
        "MODEL_SEED=1",
        "TRAIN_DATA_SEED=1",
        f"DATA_DIR={small_data}",
    ]
    words += [
        "LOSS_TYPE=margin",
        "WIDTH=0.3",
        "OUT_DIR=out",
        "LOSS_WINDOW=[100, 400]",
        "TRIAL_MS=500",
        "DT_MS=5",
        "PRECISION=double",
    ]
    assert cli.main("SHD", ["train", "--models", "mine.py", *words, "N_EPOCH=2", "NAME=whole"]) == 0
    assert cli.main("SHD", ["train", "--models", "mine.py", *words, "N_EPOCH=1"]) == 0
    saved = json.loads(Path("out/test.json").read_text())
    assert saved["WIDTH"] == 0.3 and saved["LOSSES"]["margin"]["weight"] == "exp(-2 * x)"
    del models.LOSSES["margin"]
    assert cli.main("SHD", ["train", "--params", "out/test.json", "LOAD_LAST=true", "N_EPOCH=2"]) == 0
    resumed, whole = np.load("out/test_state_last.npz"), np.load("out/whole_state_last.npz")
    np.testing.assert_array_equal(resumed["w/in_to_hid"], whole["w/in_to_hid"])
    capsys.readouterr()
    changed = {**saved, "LOSSES": {"margin": {**saved["LOSSES"]["margin"], "weight": "1"}}}
    with pytest.raises(ValueError, match="LOSSES has a declaration of 'margin' that is not that of"):
        SHD_model.resolve(None, changed)  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        program(["train", "SHD", "--models", "mine.py", "--help"])
    assert "How soft the margin is. (> 0)" in capsys.readouterr().out


def test_in_a_script() -> None:
    """It learns, and goes through JSON; engines in double precision, which are compiled quickly here."""
    models.LOSSES["any"] = Loss("other", compare="abs(y - target)", target="value", per_step=True)
    mn, p = made(FOLLOWED, LOSS_TYPE="any", WRITE_TO_DISK=False, N_EPOCH=3, PRECISION="double")
    mn.train(p)
    assert mn.history[-1]["train_loss"] < mn.history[0]["train_loss"]
    assert "train_mse" in mn.history[0] and mn.p["LOSSES"]["any"]["per_step"]
    there = json.loads(json.dumps({"copy": own_losses.plain(models.LOSSES["any"])}))
    own_losses.register(there)
    assert own_losses.plain(models.LOSSES["copy"]) == own_losses.plain(models.LOSSES["any"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("target - 1", "tarjet - 1"), "loss margin: compare: .* has 'tarjet'.*did you mean target"),
        (("exp(-2 * x)", "exp(-2 * x))"), "loss margin: weight: .* is no expression"),
        (("exp(-2 * x)", "open(x)"), r"weight: .* has open\(\); there are exp"),
        (("exp(-2 * x)", "traffic"), 'weight has traffic, which needs the parameter "tau_accumulator"'),
        (('"width": P', '"y": P'), "parameter 'y' has a name that is taken"),
        (('"width": P', '"name": P'), "parameter name would have the key NAME, which is something else|has 'width'"),
        (("Parameter(0.1,", "Parameter(-0.1,"), "default of parameter width must be above 0"),
        (('    weight="exp(-2 * x)",', '    target="value", compar="1",'), "compar"),
        (('    weight="exp(-2 * x)",', '    target="values",'), "target must be one of class, value, got 'values'"),
        (('    weight="exp(-2 * x)",', '    penalty="t",'), "penalty is for late first spikes, and goes with score"),
        (
            ('    weight="exp(-2 * x)",', '    score="-t",'),
            "compare is for losses of voltages, and score makes it one of",
        ),
        (('    weight="exp(-2 * x)",', '    impulse="x;",'), "impulse follows from the others"),
        (("LOSSES[", "dict()["), "declares no neuron and no loss"),
    ],
)
def test_a_wrong_declaration_is_one_line(
    change: tuple[str, str], said: str, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the file, the loss, the field and what would be right, and nothing is written."""
    Path("mine.py").write_text(FILE.replace(*change))
    words = ["train", "--models", "mine.py", f"DATA_DIR={small_data}", "LOSS_TYPE=margin", "OUT_DIR=out"]
    assert cli.main("SHD", words) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and error.startswith("train_SHD.py: error: mine.py"), error
    assert re.search(said, error), error
    assert not Path("out").exists()


def test_settings_never_run_code() -> None:
    """What is no expression is refused, and so are fields with code, before anything is compiled."""
    for declared in (
        {"read": "system();"},
        {"compare": "__import__('os')"},
        {"compare": "(y - target)**2;"},
        {"weight": [3]},
    ):
        with pytest.raises(ValueError, match=r"LOSSES: evil|loss evil"):
            own_losses.register({"evil": declared})
        assert "evil" not in models.LOSSES
