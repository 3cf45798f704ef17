"""Defects of the older program that users of its simulators know, each with us doing it right.

Those of the models are in ``backends/cpu/test_defects.py`` under their numbers, those of rewiring in
``test_rewiring.py``, of saved time constants in ``test_time_constants.py``; here are those of whole runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.data.splits import random_split
from simulator_SHD import SHD_model


@pytest.fixture
def p(small_data: Path) -> dict[str, Any]:
    settings = {"NUM_HIDDEN": 20, "DT_MS": 5.0, "TRIAL_MS": 700.0, "N_TRAIN": 100, "N_VALIDATE": 20, "N_EPOCH": 1}
    p = {**simulator_SHD.p, "DATA_DIR": str(small_data), "OUT_DIR": "out", "MODEL_SEED": 2, **settings}
    return {**p, "LR_EASE_IN_FACTOR": None}


def trained(p: dict[str, Any]) -> SHD_model:
    mn = SHD_model(p)
    mn.train(p)
    return mn


def test_BUG_6_the_default_of_hidden_dropout_is_there(p: dict[str, Any]) -> None:
    """The reference's Yin-Yang script reads a setting that its defaults lack. A p without the key runs as with 0."""
    expected = trained({**p, "PDROP_HIDDEN": 0.0}).weights()
    del p["PDROP_HIDDEN"]
    found = trained({**p, "OUT_DIR": "again"}).weights()
    assert all(np.array_equal(found[k], expected[k]) for k in expected)


@pytest.mark.parametrize("regulariser", ["none", "simple", "Thomas1"])
def test_BUG_20_neuron_types_and_noise_go_with_every_regulariser(p: dict[str, Any], regulariser: str) -> None:
    """The reference silently trains plain LIF neurons, or crashes, without REG_TYPE "simple"."""
    p |= {"REG_TYPE": regulariser, "MIN_TAU_M": 5.0, "MIN_TAU_SYN": 5.0, "TAU_SYN": 10.0, "WRITE_TO_DISK": False}
    plain = trained(p)
    changes: list[dict[str, Any]] = [
        {"TRAIN_TAU": True},
        {"HIDDEN_NEURON_TYPE": "hetLIF"},
        {"HIDDEN_NEURON_TYPE": "ALIF"},
    ]
    for change in (*changes, {"HIDDEN_NOISE": 0.1}, {**changes[2], **changes[0], "HIDDEN_NOISE": 0.1}):
        mn = trained({**p, **change})
        assert mn.history[0]["train_loss"] != plain.history[0]["train_loss"], change
        assert mn.history[0]["silent_neurons"] < 20
        assert all(np.isfinite(w).all() for w in mn.weights().values())
        different = len(set(mn.time_constants()["hidden0"]["tau_mem"].tolist())) > 10
        assert different == (change.get("TRAIN_TAU", False) or change.get("HIDDEN_NEURON_TYPE") == "hetLIF")
        assert ("tau_b" in mn.time_constants()["hidden0"]) == (change.get("HIDDEN_NEURON_TYPE") == "ALIF")


@pytest.mark.filterwarnings("ignore:no(ne of the .* neurons of hidden0| output neuron) spiked")
def test_silent_neurons_are_counted_without_regularisation(p: dict[str, Any]) -> None:
    """BUG-16: with REG_TYPE "none" the reference reports one silent neuron whatever happens."""
    counts = {}
    for mean in (-5.0, 0.078):
        mn = trained({**p, "INPUT_HIDDEN_MEAN": mean, "DEBUG_HIDDEN_N": True, "OUT_DIR": f"out{mean}"})
        counts[mean] = mn.history[-1]["silent_neurons"]
        table = np.loadtxt(f"out{mean}/test_results.txt")
        assert table.shape == (15,) and table[13] == counts[mean]
    assert counts == {-5.0: 20, 0.078: 0}


def test_helpers_use_the_dict_that_is_passed(p: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's optimiser reads the module's p behind the caller's back."""
    expected = trained(p).weights()
    for key, value in (("ADAM_BETA1", 0.1), ("TAU_MEM", 3.0), ("ETA", 1.0), ("TRIAL_MS", 100.0)):
        monkeypatch.setitem(simulator_SHD.p, key, value)
    found = trained({**p, "OUT_DIR": "again"}).weights()
    assert all(np.array_equal(found[k], expected[k]) for k in expected)


def test_without_shuffling_labels_are_those_of_the_samples(p: dict[str, Any]) -> None:
    """Without SHUFFLE the reference's MNIST trains everything towards label 0."""
    mn = trained({**p, "SHUFFLE": False, "REC_PREDICTIONS": True})
    labels = mn.collected["labels_train"][0]
    samples = random_split(mn.training_file(mn.p), 100, 20, 123)[0]
    assert np.array_equal(labels, samples.labels) and len(set(labels.tolist())) > 10


def test_a_single_batch_is_learned(p: dict[str, Any]) -> None:
    """The reference never learns the last batch of an epoch; with one batch it learns nothing."""
    p |= {"N_BATCH": 200, "WRITE_TO_DISK": False}
    mn = SHD_model(p)
    before = mn.weights()
    mn.train(p)
    assert all(not np.array_equal(w, before[k]) for k, w in mn.weights().items())


def test_reduced_classes_reach_every_part(p: dict[str, Any]) -> None:
    """The reference leaves classes in its validation and test data, or crashes."""
    p |= {"REDUCED_CLASSES": [1, 11], "N_TRAIN": 8, "N_VALIDATE": 4, "REC_PREDICTIONS": True}
    mn = trained(p)
    assert set(mn.collected["labels_train"].ravel()) | set(mn.collected["labels_eval"].ravel()) <= {1, 11}
    mn.test(p)
    assert set(mn.collected["labels_eval"].ravel()) == {1, 11}
    assert mn.weights()["hid_to_out"].shape == (20, 20)


@pytest.mark.parametrize("batch", [1, 7])
def test_batch_sizes_that_do_not_divide(p: dict[str, Any], batch: int) -> None:
    """A batch of one, and a last batch that is short: every sample counts once."""
    mn = trained({**p, "N_BATCH": batch, "REC_PREDICTIONS": True})
    assert mn.collected["predictions_train"].shape == (1, 100) and mn.collected["predictions_eval"].shape == (1, 20)
    accuracy = np.mean(mn.collected["predictions_train"] == mn.collected["labels_train"])
    assert mn.history[-1]["train_accuracy"] == pytest.approx(accuracy)


def test_loss_is_the_mean_over_samples(p: dict[str, Any]) -> None:
    """A short last batch must not weigh as much as a full one."""
    losses = []
    for batch in (100, 64):
        mn = SHD_model({**p, "N_BATCH": batch, "PDROP_INPUT": 0.0, "WRITE_TO_DISK": False, "ETA": 1e-15})
        mn.train({**p, "N_BATCH": batch, "PDROP_INPUT": 0.0, "WRITE_TO_DISK": False, "ETA": 1e-15})
        losses.append(mn.history[-1]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_folder_for_results_is_made_and_results_are_closed(p: dict[str, Any]) -> None:
    """OUT_DIR need not exist; phases without samples are nan without a warning."""
    mn = trained({**p, "OUT_DIR": "a/b/c", "N_VALIDATE": 0})
    row = Path("a/b/c/test_results.txt").read_text().split()
    assert row[3:5] == ["nan", "nan"]
    assert mn.evaluated is None and sorted(os.listdir(".")) == ["a"]


def test_the_rate_stays_without_evaluation_data(p: dict[str, Any]) -> None:
    """The reference halves the rate whenever it may where there is nothing to validate on."""
    mn = trained({**p, "N_VALIDATE": 0, "MIN_EPOCH_ETA_FIXED": 0, "N_EPOCH": 4, "WRITE_TO_DISK": False})
    assert {r["learning_rate"] for r in mn.history} == {p["ETA"]}


def test_two_simulators_in_one_process(p: dict[str, Any]) -> None:
    """One simulator must not disturb another."""
    a, b = SHD_model(p), SHD_model({**p, "NUM_HIDDEN": 33, "LOSS_TYPE": "sum"})
    X = [{"x": [5, 9], "t": [1.0, 2.0]}]
    first = a.predict(p, X).scores
    b.train({**p, "NUM_HIDDEN": 33, "LOSS_TYPE": "sum"})
    assert np.array_equal(a.predict(p, X).scores, first)
