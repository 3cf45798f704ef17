"""Rewiring of silent hidden neurons: which weights change, to what, and in whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.data.splits import random_split
from eventprop.network import Network
from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.records import Records, network_of
from eventprop.training.rewiring import rewire
from eventprop.training.trainer import LoopSettings
from simulator_SHD import SHD_model

MEANS = {"INPUT_HIDDEN_MEAN": 1.0, "HIDDEN_HIDDENFWD_MEAN": -20.0, "HIDDEN_HIDDEN_MEAN": 300.0}
SDS = {"INPUT_HIDDEN_STD": 0.1, "HIDDEN_HIDDENFWD_STD": 0.5, "HIDDEN_HIDDEN_STD": 9.0}
SIZE, N_IN = 200, 500
SILENT = np.zeros(2 * SIZE, bool)
SILENT[[3, 7, SIZE + 5, SIZE + 6, SIZE + 9]] = True
COLUMNS = {"in_to_hid": [3, 7], "hid_to_hidfwd0": [5, 6, 9]}


def network(**change: Any) -> tuple[LoopSettings, Network, dict[str, np.ndarray]]:
    p = {"NUM_HIDDEN": SIZE, "N_HID_LAYER": 2, "RECURRENT": True, "MODEL_SEED": 4, "REWIRE_SILENT": True}
    p = resolve_shd({**p, **MEANS, **SDS, **change})
    n = network_of(p, N_IN, 3)
    return Records.of(p).loop, n, n.initial_weights(1)


def test_only_columns_of_silent_neurons_change() -> None:
    """Fails if other neurons, recurrent or read-out weights are touched, or the caller's arrays are changed."""
    for lift in (0.0, 0.25):
        s, n, weights = network(REWIRE_LIFT=lift)
        before = {k: w.copy() for k, w in weights.items()}
        found = rewire(n, weights, SILENT, s.rewire_lift, s.model_seed, 0)
        for name, w in found.items():
            changed = np.flatnonzero((w != before[name]).any(axis=0))
            assert changed.tolist() == COLUMNS.get(name, []), name
            assert w.dtype == np.float32 and np.array_equal(weights[name], before[name])


def test_BUG_17_new_weights_are_of_the_layers_own_distribution_and_seeded() -> None:
    """The reference draws deeper layers' from the input's distribution, from a generator without a seed."""
    s, n, weights = network()
    found = rewire(n, weights, SILENT, 0.0, s.model_seed, 3)
    for name, mean, sd in (("in_to_hid", 1.0, 0.1), ("hid_to_hidfwd0", -20.0, 0.5)):
        drawn = found[name][:, COLUMNS[name]].astype(float)
        assert abs(drawn.mean() - mean) < 5 * sd / np.sqrt(drawn.size)
        assert drawn.std() == pytest.approx(sd, rel=0.1)
        assert len({column.tobytes() for column in drawn.T}) == drawn.shape[1]
    again = rewire(n, weights, SILENT, 0.0, s.model_seed, 3)
    assert all(np.array_equal(found[k], again[k]) for k in found)
    for other in (
        rewire(n, weights, SILENT, 0.0, s.model_seed, 4),
        rewire(n, weights, SILENT, 0.0, s.model_seed + 1, 3),
    ):
        assert all(not np.array_equal(found[k], other[k]) for k in COLUMNS)


def test_BUG_18_only_silent_neurons_are_lifted() -> None:
    """The reference adds REWIRE_LIFT to every weight, each epoch."""
    s, n, weights = network(REWIRE_LIFT=0.25)
    found = rewire(n, weights, SILENT, s.rewire_lift, s.model_seed, 0)
    for name, columns in COLUMNS.items():
        lift = np.zeros_like(weights[name])
        lift[:, columns] = 0.25
        assert np.allclose(found[name] - weights[name], lift, atol=1e-6)


@pytest.fixture
def p(small_data: Path) -> dict[str, Any]:
    """A run of two small layers."""
    p = {**simulator_SHD.p, "DATA_DIR": str(small_data), "OUT_DIR": "out", "MODEL_SEED": 2, "LR_EASE_IN_FACTOR": None}
    p |= {"NUM_HIDDEN": 20, "N_HID_LAYER": 2, "DT_MS": 5.0, "TRIAL_MS": 700.0, "N_TRAIN": 60, "N_VALIDATE": 20}
    return {**p, "N_EPOCH": 1, "HIDDEN_HIDDENFWD_MEAN": 0.3, "REWIRE_SILENT": True}


def with_silent_neurons(p: dict[str, Any]) -> SHD_model:
    mn = SHD_model(p)
    weights = mn.weights()
    weights["in_to_hid"][:, [2, 11, 17]] = -1.0
    weights["hid_to_hidfwd0"][:, [0, 19]] = -1.0
    mn.set_weights(weights)
    return mn


def silent_of(mn: SHD_model, p: dict[str, Any]) -> np.ndarray:
    """Hidden neurons without a spike in training and validation, by the spikes of each sample."""
    training, validation = random_split(mn.training_file(mn.p), 60, 20, mn.p["TRAIN_DATA_SEED"])
    counts = np.zeros((2, 20))
    for subset in (training, validation):
        for layer in range(2):
            for _, ids in mn.spikes(p, subset, f"hidden{layer}"):
                counts[layer] += np.bincount(ids, minlength=20)
    return (counts == 0).ravel()


@pytest.mark.parametrize("regulariser", ["none", "simple", "Thomas1"])
@pytest.mark.parametrize("lift", [0.0, 0.3])
def test_silent_neurons_are_rewired_after_the_epoch(
    p: dict[str, Any], regulariser: str, lift: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """BUG-16: the reference needs REG_TYPE "simple" for it. Fails if a neuron that spiked is rewired, or a silent one
    is not, or the checkpoint holds the weights from before."""
    p |= {"REG_TYPE": regulariser, "REWIRE_LIFT": lift, "ETA": 1e-12, "PDROP_INPUT": 0.0}
    mn = with_silent_neurons(p)
    before, silent = mn.weights(), silent_of(mn, p)
    mn.train(p)
    after = mn.weights()
    assert mn.history[0]["silent_neurons"] == silent.sum() and 5 <= silent.sum() < 35
    assert [layer["silent_neurons"] for layer in mn.history[0]["layers"]] == silent.reshape(2, 20).sum(axis=1).tolist()
    assert f"{silent.sum()} silent neurons, rewired" in capsys.readouterr().out
    for name, quiet in (("in_to_hid", silent[:20]), ("hid_to_hidfwd0", silent[20:])):
        moved = np.abs(after[name] - before[name]).max(axis=0) > 1e-6
        assert np.array_equal(moved, quiet)
        if lift:
            assert np.allclose((after[name] - before[name])[:, quiet], lift, atol=1e-6)
    flat = np.load("out/test_w_hidden0_hidden1_last.npy")
    assert np.array_equal(flat, after["hid_to_hidfwd0"].ravel())


def test_rewired_weights_are_so_in_the_average(p: dict[str, Any]) -> None:
    """Fails if a silent neuron's old weights come back, as what is evaluated or what training goes on with."""
    p |= {"AVERAGE_WEIGHTS": 0.9, "ETA": 1e-12, "REWIRE_LIFT": 0.3}
    mn = with_silent_neurons(p)
    before = mn.weights()
    mn.train(p)
    for live in (False, True):
        lifted = mn.weights(live)["in_to_hid"] - before["in_to_hid"]
        assert np.allclose(lifted[:, [2, 11, 17]], 0.3, atol=1e-6)
        assert np.abs(np.delete(lifted, np.flatnonzero(lifted.max(axis=0) > 0.1), axis=1)).max() < 1e-6


def test_moments_and_the_accuracy_of_the_epoch_stay(p: dict[str, Any]) -> None:
    """Fails if rewiring resets Adam's moments, or happens before the epoch is evaluated."""
    from eventprop.training import checkpoint

    found = {}
    for rewired in (False, True):
        run = {**p, "REWIRE_SILENT": rewired, "OUT_DIR": f"out{rewired}"}
        mn = with_silent_neurons(run)
        mn.train(run)
        state, _ = checkpoint.load(Path(f"out{rewired}/test_state_last.npz"), mn.network(run))
        found[rewired] = state, {k: v for k, v in mn.history[0].items() if k not in ("seconds", "rewired")}
    assert {**found[False][1], "settings": ""} == {**found[True][1], "settings": ""}
    for role, moments in found[False][0].moments.items():
        assert all(np.array_equal(a, found[True][0].moments[role][name]) for name, a in moments.items())
    assert not np.array_equal(found[False][0].weights["in_to_hid"], found[True][0].weights["in_to_hid"])
