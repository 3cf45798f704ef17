"""The declared parameters against the seed's table; aliases, conversion, help."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import simulator_SHD
from eventprop import parameters, recipes, shd_parameters
from eventprop.shd_parameters import KEYS, resolve_shd

# The tables of the SHD/SSC benchmark that users were promised, row by row.
SEED: dict[str, Any] = {
    **{"NAME": "test", "DEBUG_HIDDEN_N": False, "OUT_DIR": ".", "DT_MS": 1.0, "BUILD": True, "TIMING": True},
    **{"TRAIN_DATA_SEED": 123, "TEST_DATA_SEED": 456, "MODEL_SEED": None, "TRIAL_MS": 1400.0, "N_MAX_SPIKE": 1500},
    **{"N_TRAIN": 7644, "N_VALIDATE": 512, "SHUFFLE": True, "NUM_HIDDEN": 256, "RECURRENT": False, "N_HID_LAYER": 1},
    **{"TAU_SYN": 5.0, "TAU_MEM": 20.0, "V_THRESH": 1.0, "V_RESET": 0.0, "HIDDEN_NEURON_TYPE": "LIF"},
    **{"OUTPUT_NEURON_TYPE": "LI", "TAU_B": 100.0, "B_INCR": 0.1, "B_INIT": 0.0},
    **{"INPUT_HIDDEN_MEAN": 0.078, "INPUT_HIDDEN_STD": 0.045, "HIDDEN_OUTPUT_MEAN": 0.2, "HIDDEN_OUTPUT_STD": 0.37},
    **{"HIDDEN_HIDDEN_MEAN": 0.2, "HIDDEN_HIDDEN_STD": 0.37, "HIDDEN_HIDDENFWD_MEAN": 0.02},
    **{"HIDDEN_HIDDENFWD_STD": 0.01, "PDROP_INPUT": 0.2, "PDROP_HIDDEN": 0.0, "REG_TYPE": "none"},
    **{"LBD_UPPER": 0.000005, "LBD_LOWER": 0.001, "NU_UPPER": 2, "RHO_UPPER": 5000.0, "GLB_UPPER": 1e-5},
    **{"REWIRE_SILENT": False, "REWIRE_LIFT": 0.0, "ETA": 5e-3, "ADAM_BETA1": 0.9, "ADAM_BETA2": 0.999},
    **{"ADAM_EPS": 1e-8, "EMA_ALPHA1": 0.8, "EMA_ALPHA2": 0.95, "ETA_FAC": 0.5, "MIN_EPOCH_ETA_FIXED": 300},
    **{"TRAIN_TAU": False, "MIN_TAU_M": 3.0, "MIN_TAU_SYN": 1.0, "TRAIN_TAU_OUTPUT": False, "TRAIN_W": True},
    **{"TRAIN_W_OUTPUT": True, "W_OUTPUT_EPOCH_TRIAL": [], "TAU_OUTPUT_EPOCH_TRIAL": []},
    **{"REC_SPIKES_EPOCH_TRIAL": [], "REC_SPIKES": [], "REC_NEURONS_EPOCH_TRIAL": [], "REC_NEURONS": []},
    **{"REC_SYNAPSES_EPOCH_TRIAL": [], "REC_SYNAPSES": [], "WRITE_TO_DISK": True, "LOAD_LAST": False},
    **{"LOAD_BEST": False, "LOSS_TYPE": "sum_weigh_exp", "EVALUATION": "random", "SPEAKER_LEFT": [0]},
    **{"CUDA_VISIBLE_DEVICES": True, "AVG_SNSUM": False, "REDUCED_CLASSES": None, "TAU_0": 1.0, "TAU_1": 100.0},
    **{"ALPHA": 5e-5, "AUGMENTATION": {}, "COLLECT_CONFUSION": False, "REC_PREDICTIONS": False},
}


@pytest.mark.parametrize("name", sorted(SEED))
def test_defaults_are_the_seeds(name: str) -> None:
    """Fails if a promised key is missing or has another default."""
    assert simulator_SHD.p[name] == SEED[name]


def test_spk_rec_steps_follows_trial_and_step() -> None:
    """The seed's default is TRIAL_MS/DT_MS, also where those were changed."""
    assert resolve_shd({"TRIAL_MS": 1000.0, "DT_MS": 2.0})["SPK_REC_STEPS"] == 500
    assert resolve_shd({"SPK_REC_STEPS": 700})["SPK_REC_STEPS"] == 700


def test_round_trip_through_json() -> None:
    """Scripts dump p with json and read it back."""
    assert resolve_shd(json.loads(json.dumps(simulator_SHD.p))) == resolve_shd(simulator_SHD.p)


def test_resolving_changes_nothing_of_the_callers() -> None:
    given: dict[str, Any] = {"SPEAKER_LEFT": (1, 2), "ETA": np.float32(0.5), "NUM_HIDDEN": np.int64(3), "DT_MS": 1}
    before = dict(given)
    resolved = resolve_shd(given)
    assert given == before
    assert resolved["SPEAKER_LEFT"] == [1, 2] and type(resolved["ETA"]) is float and type(resolved["NUM_HIDDEN"]) is int
    resolved["SPEAKER_LEFT"].append(5)
    assert simulator_SHD.p["SPEAKER_LEFT"] == [0] and parameters.defaults(KEYS)["SPEAKER_LEFT"] == [0]


def test_the_seeds_own_spellings_work() -> None:
    """TRAIL_MS of the seed's example, DATASET of its text, a bare speaker number of old scripts."""
    with pytest.warns(UserWarning, match="TRAIL_MS is taken for TRIAL_MS"):
        assert resolve_shd({**simulator_SHD.p, "TRAIL_MS": 100})["TRIAL_MS"] == 100.0
    assert resolve_shd({**simulator_SHD.p, "DATASET": "DEMO"})["DATA_SET"] == "DEMO"
    assert resolve_shd({**simulator_SHD.p, "DATASET": "SHD", "DATA_SET": "DEMO"})["DATA_SET"] == "DEMO"
    assert resolve_shd({"N_EPOCHS": 7})["N_EPOCH"] == 7
    assert resolve_shd({"SPEAKER_LEFT": 4})["SPEAKER_LEFT"] == [4]
    assert resolve_shd({"AUGMENTATION": {"NORMALISE_SPIKE_NUMBER": False}})["AUGMENTATION"] == {
        "NORMALISE_SPIKE_NUMBER": False
    }


def test_keys_that_never_had_an_effect_warn() -> None:
    with pytest.warns(UserWarning, match="TRAIN_TAUM has no effect; use TRAIN_TAU"):
        resolve_shd({"TRAIN_TAUM": True})


class Watched(dict[str, Any]):
    """A dict that remembers which keys were read."""

    read: ClassVar[set[str]] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)


# Read by the GeNN backend alone, or made for data that has them; the sentence of each says so.
WITHOUT_EFFECT_HERE = {"BUILD", "N_MAX_SPIKE", "SPK_REC_STEPS", "CUDA_VISIBLE_DEVICES", "TEST_DATA_SEED"}


def test_every_key_is_read_or_refused(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key may be ignored: a few runs must read each of them, or only its default is accepted."""
    monkeypatch.setattr(Watched, "read", set())
    monkeypatch.setattr(shd_parameters, "resolve_shd", lambda p: Watched(resolve_shd(p)))
    p = {
        **simulator_SHD.p,
        "DATA_DIR": str(small_data),
        "NUM_HIDDEN": 8,
        "DT_MS": 10.0,
        "TRIAL_MS": 700.0,
        "N_EPOCH": 1,
    }
    p |= {"N_TRAIN": 90, "N_VALIDATE": 20, "REG_TYPE": "simple", "RECURRENT": True}
    p |= {"MIN_EPOCH_ETA_FIXED": 0, "EMA_ALPHA1": 0.95, "EMA_ALPHA2": 0.5}
    mn = simulator_SHD.SHD_model(p)
    mn.train(p)
    mn.train({**p, "EVALUATION": "speaker", "LOAD_LAST": True, "N_EPOCH": 2})
    for key in KEYS:
        refused = key.available == (key.default,) or key.name == "AUGMENTATION"
        assert key.name in Watched.read or refused or key.name in WITHOUT_EFFECT_HERE, key.name
    for name in WITHOUT_EFFECT_HERE:
        assert re.search("GeNN|test file", next(k.sentence for k in KEYS if k.name == name))


def test_help_lists_every_key() -> None:
    text = parameters.describe(KEYS)
    for key in KEYS:
        assert f"  {key.name} = {key.default!r}" in text and key.sentence in text
        assert f"| `{key.name}` |" in parameters.markdown_table(KEYS, key.group)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("3", 3), ("1e-3", 1e-3), ("true", True), ("True", True), ("None", None), ("null", None), ("abc", "abc")],
        *[("[0, 1]", [0, 1]), ('{"a": 1}', {"a": 1}), ("./x", "./x"), ("NaN", "NaN"), ("", "")],
    ],
)
def test_values_of_the_command_line(text: str, value: Any) -> None:
    assert parameters.parse_value(text) == value


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_recipes_are_valid_and_say_why(name: str) -> None:
    """A recipe's overrides must be accepted, and it must say why and what to expect."""
    recipe = recipes.load_recipe(name)
    assert resolve_shd(recipes.apply(simulator_SHD.p, recipe))["NAME"] == name
    assert len(recipe.reason) > 20 and len(recipe.expect) > 20 and recipe.source
    assert {"demo", "digits"} <= set(recipes.list_recipes())


def test_declarations_are_consistent() -> None:
    """Each default passes its own check; names are unique."""
    assert len({k.name for k in KEYS}) == len(KEYS)
    for key in KEYS:
        assert key.check(key.default) == key.default
    assert set(shd_parameters.ALIASES.values()) <= {k.name for k in KEYS}
