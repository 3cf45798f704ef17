"""Own spikes from data to a trained network: only where weights start has to be set, and runs go on as others."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop import cli
from eventprop.data import demo_spikes
from eventprop.data.demo_spikes import demo
from simulator_spikes import p, spikes_model
from tests.support.places import SHARED_DATA

FSDD = SHARED_DATA / "fsdd_spikes"
QUICK = {"WRITE_TO_DISK": False, "MODEL_SEED": 1, "TIMING": False}
SMALL = {"NUM_HIDDEN": 16, "N_EPOCH": 2, "WEIGHT_INIT": "fluctuation", "MODEL_SEED": 1, "TIMING": False}


def test_nothing_but_the_start_of_weights_has_to_be_set() -> None:
    """3,000 trains of 5 to 30 spikes in 100 channels: silent with the defaults, at least 95 % with ``WEIGHT_INIT``."""
    X, Y, _ = demo("train")
    spikes = [x["t"].size for x in X]
    assert (len(X), min(spikes), max(spikes)) == (3000, 5, 30) and max(x["x"].max() for x in X) < 100
    silent = spikes_model({**p, **QUICK, "N_EPOCH": 1}, train=(X, Y))
    with pytest.warns(UserWarning, match="none of the 256 neurons of hidden0 spiked|no better than chance"):
        silent.train({**p, **QUICK, "N_EPOCH": 1})
    assert silent.history[0]["silent_neurons"] == 256
    settings = {**p, **QUICK, "WEIGHT_INIT": "fluctuation", "N_EPOCH": 8}  # of 30
    mn = spikes_model(settings, train=(X, Y))
    mn.train(settings)
    assert len(mn.data.test.labels) == 600 and mn.test(settings).correct_eval >= 0.95


@pytest.mark.long
def test_the_defaults_alone_for_all_their_epochs() -> None:
    settings = {**p, **QUICK, "WEIGHT_INIT": "fluctuation"}
    mn = spikes_model(settings, train=demo("train")[:2], test=demo("test")[:2])
    mn.train(settings)
    assert mn.test(settings).correct_eval >= 0.98


def same_as_shd(folder: Path, change: dict[str, Any]) -> None:
    """Data, splits, weights and history of ``spikes_model`` and ``SHD_model`` at equal settings."""
    shared = {"WRITE_TO_DISK": False, "MODEL_SEED": 1, "TIMING": False, "RECURRENT": True, "DT_MS": 2.0, **change}
    shared |= {"HIDDEN_HIDDEN_MEAN": 0.0, "HIDDEN_HIDDEN_STD": 0.02, "ETA": 0.01, "LR_EASE_IN_FACTOR": None}
    ours, theirs = {**p, **shared, "NUM_INPUT": 700}, {**simulator_SHD.p, **shared, "DATA_DIR": str(folder)}
    mn = spikes_model({**ours, "DATA_SET": str(folder / "SHD")})
    shd = simulator_SHD.SHD_model(theirs)
    mn.train(ours | {"DATA_SET": str(folder / "SHD")})
    shd.train(theirs)
    for one, other in zip(mn.history, shd.history, strict=True):
        assert {**one, "seconds": 0.0, "settings": ""} == {**other, "seconds": 0.0, "settings": ""}
    weights = shd.weights()
    assert all((w == weights[name]).all() for name, w in mn.weights().items())
    tested = mn.test(ours | {"DATA_SET": str(folder / "SHD")})
    assert tested.correct_eval == shd.test(theirs).correct_eval


def test_the_very_bits_of_the_shd_simulator(small_data: Path) -> None:
    sizes = {"N_TRAIN": 80, "N_VALIDATE": 20, "N_EPOCH": 2, "NUM_HIDDEN": 16, "TRIAL_MS": 600.0}
    same_as_shd(small_data, {**sizes, "RESCALE_T": 0.9, "AUGMENTATION": {"ID_jitter": 3.0}})
    same_as_shd(small_data, {**sizes, "EVALUATION": "speaker", "SPEAKER_LEFT": [1], "N_EPOCH": 1})


@pytest.mark.long
@pytest.mark.skipif(not FSDD.is_dir(), reason="the recorded digits are not here")
def test_the_very_bits_with_recorded_digits() -> None:
    same_as_shd(FSDD, {"N_TRAIN": 1500, "N_VALIDATE": 200, "N_EPOCH": 2, "NUM_HIDDEN": 64, "TRIAL_MS": 1000.0})


def given(n: int = 200) -> tuple[Any, Any, Any]:
    return demo("train", n)


def test_a_run_goes_on_with_the_same_data_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Two epochs in one are the bits of one, a new object and another; other data are refused by name."""
    settings = {**p, **SMALL}
    whole = spikes_model({**settings, "NAME": "whole"}, train=given())
    whole.train({**settings, "NAME": "whole"})
    spikes_model({**settings, "N_EPOCH": 1}, train=given()).train({**settings, "N_EPOCH": 1})
    further = {**settings, "LOAD_LAST": True}
    again = spikes_model(further, train=given())
    again.train(further)
    assert all((w == again.weights()[name]).all() for name, w in whole.weights().items())
    X, Y, groups = given()
    X[17]["t"][0] += 3.0
    other = spikes_model(further, train=(X, Y, groups))
    with pytest.raises(ValueError, match=r"test_state_last.npz is of a run on other training data \(DATA_FINGERPRINT"):
        other.train({**further, "N_EPOCH": 3})
    saved = json.loads(Path("test.json").read_text())
    assert spikes_model(saved, train=given()).p["DATA_FINGERPRINT"] == saved["DATA_FINGERPRINT"]
    with pytest.raises(ValueError, match="is that of a run on other training data, and these have"):
        spikes_model(saved, train=(X, Y, groups))


def test_folds_leave_out_the_groups_that_are_given() -> None:
    settings = {**p, **SMALL, "WRITE_TO_DISK": False, "N_EPOCH": 1, "SPEAKER_LEFT": [0, 3]}
    mn = spikes_model(settings, train=given(), test=demo("test", 20))
    accuracies, seconds = mn.cross_validate(settings)
    assert np.shape(accuracies) == (2, 2) and len(seconds) == 2
    assert mn.evaluated is not None and len(mn.evaluated[0]) == 50  # of 200; 150 train
    with pytest.raises(ValueError, match="names no speakers or users"):
        spikes_model(settings, train=given()[:2]).cross_validate(settings)


def test_the_command_line_takes_a_file(small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["NUM_HIDDEN=16", "N_EPOCH=1", "OUT_DIR=runs", "TRIAL_MS=600", "WEIGHT_INIT=fluctuation"]
    assert cli.main("spikes", [str(small_data / "SHD"), "train_test", *words]) == 0
    said = capsys.readouterr().out
    assert "120 samples to train and validate with, 40 to test with" in said and "test accuracy" in said
    assert Path("runs/test_raster.png").exists()
    assert cli.main("spikes", [str(small_data / "none.h5")]) == 1
    assert "none.h5': there is no such file or folder" in capsys.readouterr().err
    assert cli.main("spikes", []) == 1
    assert "there are no data: spikes_model(p, train=(X, Y))" in capsys.readouterr().err


def test_the_demonstration_is_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_spikes, "SIZES", {"train": 60, "test": 20})
    one, other = (spikes_model({**p, "DATA_SET": "DEMO"}) for _ in range(2))
    assert (one.data.train.spikes.steps == other.data.train.spikes.steps).all() and len(one.data.test.labels) == 20


def test_a_copy_in_another_process_has_its_samples() -> None:
    mn = spikes_model({**p, **QUICK, "NUM_HIDDEN": 16, "INPUT_HIDDEN_STD": 2.0}, train=given(60))
    copy = pickle.loads(pickle.dumps(mn))
    assert (copy.data.train.spikes.steps == mn.data.train.spikes.steps).all()
    X = given(60)[0][:5]
    assert (copy.predict(mn.p, X).scores == mn.predict(mn.p, X).scores).all()


def test_rescaled_times_and_channels() -> None:
    """Half the times make half the trial; what the trial is, is told of all samples."""
    whole, half = (spikes_model({**p, **QUICK, "RESCALE_T": f}, train=given(60)) for f in (1.0, 0.5))
    assert half.p["TRIAL_MS"] - 20.0 == pytest.approx(0.5 * (whole.p["TRIAL_MS"] - 20.0), abs=1.0)
    narrow = spikes_model({**p, **QUICK, "RESCALE_X": 0.5}, train=given(60))
    assert narrow.p["NUM_INPUT"] == whole.p["NUM_INPUT"] == 100
    assert narrow.data.train.spikes.channels.max() == whole.data.train.spikes.channels.max() // 2
