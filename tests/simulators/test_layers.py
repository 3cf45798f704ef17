"""Runs whose hidden layers differ: by lists, from the shell and in scans, and what goes on from their checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_yinyang
from eventprop import cli
from simulator_yinyang import yinyang
from tests.support.scanning import expand, write

SMALL: dict[str, Any] = {"N_TRAIN": 96, "N_VALIDATE": 32, "N_TEST": 32, "N_EPOCH": 2, "NUM_HIDDEN": 12, "DT_MS": 1.0}
SMALL |= {"MODEL_SEED": 1, "NUM_THREADS": 1, "TIMING": False, "NAME": "k", "OUT_DIR": "out", "ETA": 0.01}
SMALL |= {"N_HID_LAYER": 2, "RECURRENT": True, "REG_TYPE": "Thomas1", "RHO_UPPER": 3.0, "GLB_UPPER": 1e-3}
SMALL |= {"PDROP_HIDDEN": 0.1, "HIDDEN_NOISE": 0.01, "HIDDEN_HIDDENFWD_MEAN": 0.7, "HIDDEN_HIDDENFWD_STD": 0.5}
SMALL |= {"LOSS_TYPE": "sum", "TRAIN_DATA_SEED": 1, "TEST_DATA_SEED": 2}
UNLIKE: dict[str, Any] = {
    "NUM_HIDDEN": [12, 9],
    "HIDDEN_NEURON_TYPE": ["LIF", "ALIF"],
    "RECURRENT": [False, True],
    "PDROP_HIDDEN": [0.0, 0.2],
    "LBD_UPPER": [1e-3, 0.0],
    "B_INIT": 0.05,
}


def p(**change: Any) -> dict[str, Any]:
    return {**simulator_yinyang.p, **SMALL, **change}


def trained(**change: Any) -> yinyang:
    mn = yinyang(p(**change))
    mn.train(p(**change))
    return mn


def state(name: str) -> dict[str, np.ndarray]:
    """All of a run's last checkpoint but its settings."""
    found = np.load(f"out/{name}_state_last.npz")
    return {key: found[key] for key in found.files if key != "meta"}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_lists_of_equal_entries_are_the_plain_keys() -> None:
    """The same bits; and the checkpoint of one is that of the other, without a word of other settings."""
    trained(NAME="plain")
    lists = [
        *(key for key in UNLIKE if key != "B_INIT"),
        "HIDDEN_NOISE",
        "LBD_LOWER",
        "NU_UPPER",
        "RHO_UPPER",
        "GLB_UPPER",
    ]
    change = {key: [p()[key]] * 2 for key in lists}
    trained(NAME="lists", **change)
    assert equal(state("lists"), state("plain"))
    mn = yinyang(p(NAME="plain", LOAD_LAST=True, **change))
    assert np.isfinite(mn.test(p(NAME="plain", LOAD_LAST=True, **change)).correct_eval)


def test_one_entry_that_differs_changes_its_layer_alone() -> None:
    """Fails if dropout of one layer is that of another, or of both."""
    dropouts = {"none": 0.0, "first": [0.6, 0.0], "second": [0.0, 0.6]}
    runs = {name: trained(NAME=name, N_EPOCH=1, PDROP_HIDDEN=dropout) for name, dropout in dropouts.items()}
    rates = {name: [own["hidden_spikes_mean"] for own in mn.history[0]["layers"]] for name, mn in runs.items()}
    assert rates["first"][0] < 0.6 * rates["none"][0]
    assert rates["second"][0] > 0.9 * rates["none"][0] and rates["second"][1] < 0.6 * rates["none"][1]


def test_unlike_layers_learn_and_go_on_from_the_shell() -> None:
    """Lists as they are typed; what is trained moves, and a run in two parts has the bits of a whole one."""
    words = [f"{key}={json.dumps(value)}" for key, value in SMALL.items() if key not in UNLIKE]
    typed = {key: str(value).replace(" ", "").replace("'", "") for key, value in UNLIKE.items()}
    words += [f"{key}={value}" for key, value in typed.items()]
    assert "HIDDEN_NEURON_TYPE=[LIF,ALIF]" in words
    words += ["TRAIN_TAU_B=true"]
    assert cli.main("yinyang", ["train", *words]) == 0
    assert json.loads(Path("out/k.json").read_text())["NUM_HIDDEN"] == [12, 9]
    assert cli.main("yinyang", ["train", "--params", "out/k.json", "LOAD_LAST=true", "N_EPOCH=3"]) == 0
    mn = trained(N_EPOCH=3, NAME="whole", TRAIN_TAU_B=True, **UNLIKE)
    assert equal(state("k"), state("whole"))
    before = mn.network(mn.p).initial_weights(1)
    assert all((w != before[name]).any() for name, w in mn.weights().items())
    assert np.ptp(mn.time_constants()["hidden1"]["tau_b"]) > 0 and "hid_to_hid0" not in mn.weights()
    assert "12 LIF -> 9 ALIF" in repr(mn)


def test_a_checkpoint_of_other_layers_is_refused() -> None:
    trained(N_EPOCH=1)
    with pytest.raises(ValueError, match=r"hid_to_hidfwd0 is \(12, 12\) there and \(12, 9\) here.*NUM_HIDDEN"):
        yinyang(p(NUM_HIDDEN=[12, 9])).train(p(NUM_HIDDEN=[12, 9], LOAD_LAST=True, N_EPOCH=2))


def test_scans_go_over_lists(small_data: Path) -> None:
    """Fails if a scan takes a list of sizes for sizes to go through, or finds a wrong length only when it runs."""
    grid = '[grid]\nHIDDEN_NEURON_TYPE = [["LIF", "ALIF"], ["ALIF", "LIF"], "LIF"]\nN_HID_LAYER = [2]'
    _, runs = expand(write(small_data, p="N_EPOCH = 1", tables=grid))
    assert [run.p["HIDDEN_NEURON_TYPE"] for run in runs] == [["LIF", "ALIF"], ["ALIF", "LIF"], "LIF"]
    with pytest.raises(ValueError, match=r"HIDDEN_NEURON_TYPE=\['LIF', 'ALIF'\] must have an entry for each hidden"):
        expand(write(small_data, p="N_EPOCH = 1", tables=grid.replace("[2]", "[1]")))
