"""The declared parameters against the seed's table; aliases, conversion, help."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import simulator_MNIST
import simulator_SHD
import simulator_yinyang
from eventprop.__main__ import keys_page
from eventprop.backends.devices import problem_with
from eventprop.parameters import declaration as parameters
from eventprop.parameters import shd as shd_parameters
from eventprop.parameters.mnist import resolve_mnist
from eventprop.parameters.shd import KEYS, resolve_shd
from eventprop.parameters.yinyang import resolve_yinyang
from eventprop.simulators import recipes, registry
from tests.support.places import ROOT

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


def test_help_lists_every_key() -> None:
    text = parameters.describe(KEYS)
    for key in KEYS:
        assert f"  {key.name} = {key.default!r}" in text and key.sentence in text
        assert f"| `{key.name}` |" in parameters.markdown({"SHD": KEYS})


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


# What some choices need.
NEEDS: dict[tuple[str, Any], dict[str, Any]] = {
    ("OUTPUT_NEURON_TYPE", "LIF"): {"LOSS_TYPE": "first_spike"},
    ("EVALUATION", "validation_set"): {"DATA_SET": "SSC"},
    ("INPUT_TIMES", "true"): {"SPIKE_TIMING": "exact"},
}


def test_each_choice_is_accepted() -> None:
    for key in KEYS:
        for value in key.values() or ():
            problem = problem_with(value) if key.name == "BACKEND" else None
            if key.name == "LOSS_TYPE" and models.LOSSES[value].of_values:
                problem = f'LOSS_TYPE="{value}" compares values, and this benchmark has classes'
            if problem:
                with pytest.raises(ValueError, match=re.escape(problem)):
                    resolve_shd({key.name: value})
            else:
                needs = NEEDS.get((key.name, value), {})
                assert resolve_shd({key.name: value} | needs)[key.name] == value


OTHERS = {
    "MNIST": (resolve_mnist, simulator_MNIST.p),
    "yinyang": (resolve_yinyang, simulator_yinyang.p),
}


@pytest.mark.parametrize("simulator", OTHERS)
def test_recipes_of_other_simulators(simulator: str) -> None:
    """Listed under their own simulator alone, accepted by it, with reason, expectation and source."""
    resolve, p = OTHERS[simulator]
    names = recipes.list_recipes(simulator)
    assert {"quick", "best"} <= set(names)
    assert not {f"{simulator}_{name}" for name in names} & set(recipes.list_recipes())
    for name in names:
        recipe = recipes.load_recipe(name, simulator)
        assert recipe.name == name and len(recipe.reason) > 20 and len(recipe.expect) > 20 and recipe.source
        resolve(recipes.apply(p, recipe))
    with pytest.raises(ValueError, match="there is no recipe 'digits'"):
        recipes.load_recipe("digits", simulator)


# The tables of the Yin-Yang and MNIST benchmarks that users were promised: what differs from SHD's, or is not there.
YINYANG: dict[str, Any] = {
    **{"OUT_DIR": ".", "DT_MS": 0.1, "BUILD": True, "TIMING": True, "TRAIN_DATA_SEED": 123, "TEST_DATA_SEED": 456},
    **{"TRIAL_MS": 30.0, "N_MAX_SPIKE": 400, "N_BATCH": 32, "N_TRAIN": 32000, "N_EPOCH": 10, "N_TEST": 800},
    **{"NUM_HIDDEN": 200, "TAU_SYN": 5.0, "TAU_MEM": 20.0, "V_THRESH": 1.0, "V_RESET": 0.0, "TAU_0": 0.5},
    **{"TAU_1": 6.4, "ALPHA": 3e-3, "INPUT_HIDDEN_MEAN": 1.5, "INPUT_HIDDEN_STD": 0.78, "HIDDEN_OUTPUT_MEAN": 0.93},
    **{"HIDDEN_OUTPUT_STD": 0.1, "ETA": 5e-3, "ADAM_BETA1": 0.9, "ADAM_BETA2": 0.999, "ADAM_EPS": 1e-8},
    **{"ETA_DECAY": 0.95, "SPK_REC_STEPS": None, "REC_SPIKES": [], "REC_NEURONS": [], "REC_SYNAPSES": []},
    **{"WRITE_TO_DISK": True, "TRAINING_PLOT": False, "TRAINING_PLOT_INTERVAL": 10, "FANCY_PLOTS": False},
    **{"LOAD_LAST": False, "W_REPORT_INTERVAL": 100, "W_EPOCH_INTERVAL": 10},
}
MNIST: dict[str, Any] = {
    **{"NAME": "test", "DEBUG_HIDDEN_N": False, "OUT_DIR": ".", "DT_MS": 1.0, "BUILD": True, "TIMING": True},
    **{"TRAIN_DATA_SEED": 123, "TEST_DATA_SEED": 456, "MODEL_SEED": None, "TRIAL_MS": 20.0, "N_MAX_SPIKE": 50},
    **{"N_TRAIN": 55000, "N_VALIDATE": 5000, "SHUFFLE": True, "N_TEST": 10000, "NUM_HIDDEN": 128, "RECURRENT": False},
    **{"TAU_SYN": 5.0, "TAU_MEM": 20.0, "V_THRESH": 1.0, "V_RESET": 0.0, "INPUT_HIDDEN_MEAN": 0.078},
    **{"INPUT_HIDDEN_STD": 0.045, "HIDDEN_OUTPUT_MEAN": 0.2, "HIDDEN_OUTPUT_STD": 0.37, "HIDDEN_HIDDEN_MEAN": 0.2},
    **{"HIDDEN_HIDDEN_STD": 0.37, "PDROP_INPUT": 0.2, "PDROP_HIDDEN": 0.0, "REG_TYPE": "none", "LBD_UPPER": 5e-6},
    **{"LBD_LOWER": 1e-3, "NU_UPPER": 2.0, "RHO_UPPER": 5000.0, "GLB_UPPER": 1e-5, "ETA": 5e-3, "ADAM_BETA1": 0.9},
    **{"ADAM_BETA2": 0.999, "ADAM_EPS": 1e-8, "W_OUTPUT_EPOCH_TRIAL": [], "SPK_REC_STEPS": None},
    **{"REC_SPIKES_EPOCH_TRIAL": [], "REC_SPIKES": [], "REC_NEURONS_EPOCH_TRIAL": [], "REC_NEURONS": []},
    **{"REC_SYNAPSES_EPOCH_TRIAL": [], "REC_SYNAPSES": [], "WRITE_TO_DISK": True, "LOAD_LAST": False},
    **{
        "EVALUATION": "random",
        "LOSS_TYPE": "avg_xentropy",
        "CUDA_VISIBLE_DEVICES": True,
        "AVG_SNSUM": False,
        "REDUCED_CLASSES": None,
    },
    **{"TAU_0": 0.5, "TAU_1": 6.4, "ALPHA": 3e-3},
}


@pytest.mark.parametrize(("p", "promised"), [(simulator_yinyang.p, YINYANG), (simulator_MNIST.p, MNIST)])
def test_promised_defaults(p: dict[str, Any], promised: dict[str, Any]) -> None:
    assert {key: p.get(key, "missing") for key in promised} == promised


ODD: list[tuple[Any, list[str]]] = [
    (None, ["p must be a dictionary of parameters, got None"]),
    ([("ETA", 1.0)], ["p must be a dictionary of parameters"]),
    ({("a",): 1}, ["unknown key ('a',)"]),
    ({"ETA": 10**400}, ["ETA is too large for a floating-point number"]),
    ({"ETA": 10**5000}, ["ETA is too large for a floating-point number"]),
    ({"ETA": 1j}, ["ETA must be a number, got 1j"]),
    ({"ETA": np.float32("nan")}, ["ETA must be finite, got"]),
    ({"ETA": np.array([1e-3, 1e-2])}, ["ETA must be a number, got array"]),
    ({"NUM_HIDDEN": np.float64(2.5)}, ["NUM_HIDDEN must be a whole number"]),
    ({"NUM_HIDDEN": np.bool_(True)}, ["NUM_HIDDEN must be a whole number"]),
    ({"SPEAKER_LEFT": np.array(3)}, ["SPEAKER_LEFT must be a list of whole numbers, got array(3)"]),
    ({"SPEAKER_LEFT": [-1]}, ["SPEAKER_LEFT=[-1] must hold different whole numbers from 0"]),
    ({"REC_SPIKES": "hidden"}, ["REC_SPIKES must be a list of names, got 'hidden'"]),
    ({"REC_NEURONS": ["V"]}, ["each entry of REC_NEURONS must be a list of population, variable, got 'V'"]),
    ({"REC_SPIKES_EPOCH_TRIAL": [[1]]}, ["each entry of REC_SPIKES_EPOCH_TRIAL must be a pair"]),
    ({"AUGMENTATION": {1: 2}}, ["AUGMENTATION must be a dictionary with names as keys"]),
    ({"AUGMENTATION": {"NORMALISE_SPIKE_NUMBER": np.array([1, 2])}}, ["AUGMENTATION=", "it takes True or False"]),
    ({"TRIAL_MS": 1e9, "DT_MS": 1e-9}, ["make 1e+18 steps; 3 to 65535 are possible"]),
    (
        {"TRIAL_MS": 1e308, "DT_MS": 5e-324},
        ["TRIAL_MS must be at most 1e+09", "DT_MS must be at least 1e-09, got 5e-324"],
    ),
    ({"TRIAL_MS": 2.0}, ["make 2 steps; 3 to 65535 are possible"]),
    ({"TRIAL_MS": 1400.25}, ["TRIAL_MS=1400.25 is no whole multiple of DT_MS=1; 1400 would be"]),
    ({"TRAIL_MS": np.array([1.0, 2.0])}, ["TRIAL_MS must be a number, got array"]),
    ({"N_EPOCHS": 7, "N_EPOCH": 9}, ["N_EPOCHS=7 and N_EPOCH=9 mean the same key"]),
    ({"CHECKPOINT_NAME": "../old"}, ["CHECKPOINT_NAME='../old' must be a file name without slashes"]),
    ({"ETA": "x", "V_RESET": 3.0, "NAME": ""}, ["ETA must be a number", "V_RESET=3 must be below", "NAME=''"]),
]


@pytest.mark.filterwarnings("ignore:TRAIL_MS is taken")
@pytest.mark.parametrize(("p", "parts"), ODD, ids=[f"{i}-{parts[0][:30]}" for i, (_, parts) in enumerate(ODD)])
def test_odd_values_are_refused_by_name(p: Any, parts: list[str]) -> None:
    """Fails if a value makes the check itself crash, or hides what else is wrong."""
    with pytest.raises(ValueError) as error:
        resolve_shd(p)
    for part in parts:
        assert part in str(error.value)


def test_a_bad_key_brings_no_complaint_about_its_default() -> None:
    """DT_MS is wrong by itself; TRIAL_MS must not be measured against DT_MS's default."""
    with pytest.raises(ValueError) as error:
        resolve_shd({"DT_MS": "x", "TRIAL_MS": 100.5})
    assert str(error.value) == "DT_MS must be a number, got 'x'"


def test_numpy_and_paths_become_plain() -> None:
    """The resolved p is saved as JSON."""
    given = {"NUM_HIDDEN": 256.0, "N_EPOCH": np.int32(3), "RECURRENT": np.bool_(True), "NAME": np.str_("a")}
    given |= {"OUT_DIR": Path("runs") / "a", "SPEAKER_LEFT": np.array([0, 2]), "TAU_MEM": 20}
    given |= {"AUGMENTATION": {"NORMALISE_SPIKE_NUMBER": np.bool_(False)}}
    resolved = resolve_shd(given)
    assert json.loads(json.dumps(resolved)) == resolved
    assert [type(resolved[k]) for k in ("NUM_HIDDEN", "N_EPOCH", "RECURRENT", "NAME", "OUT_DIR", "TAU_MEM")] == [
        *[int, int, bool, str, str, float]
    ]


def test_short_population_names_stand_for_the_first_layer() -> None:
    """ "hidden" and "hid_to_hid" of older scripts; tuples as pairs."""
    free = {k.name: k for k in KEYS}
    assert free["REC_SPIKES"].check(["input", "hidden"]) == ["input", "hidden0"]
    assert free["REC_NEURONS"].check([("hidden", "V"), ["hidden0", "V"]]) == [["hidden0", "V"], ["hidden0", "V"]]
    assert free["REC_SYNAPSES"].check([("hid_to_hid", "w")]) == [["hid_to_hid0", "w"]]
    assert free["REC_SPIKES_EPOCH_TRIAL"].check([(0, 1)]) == [[0, 1]]


@pytest.mark.parametrize("name", sorted(shd_parameters.DEAD))
def test_each_dead_key_warns_and_names_its_successor(name: str) -> None:
    instead = shd_parameters.DEAD[name]
    with pytest.warns(UserWarning, match=f"{name} has no effect" + (f"; use {instead}" if instead else "")):
        assert resolve_shd({name: 1}) == resolve_shd({})
    assert not instead or instead in simulator_SHD.p


def test_choosing_by_an_accuracy_that_does_not_exist_warns() -> None:
    with pytest.warns(UserWarning, match='CHECKPOINT_BEST="validation" with N_VALIDATE=0'):
        resolve_shd({"CHECKPOINT_BEST": "validation", "N_VALIDATE": 0})


def test_lifting_without_rewiring_warns() -> None:
    with pytest.warns(UserWarning, match=r"REWIRE_LIFT=0\.002 has no effect without REWIRE_SILENT"):
        resolve_shd({"REWIRE_LIFT": 0.002})
    assert resolve_shd({"REWIRE_LIFT": 0.002, "REWIRE_SILENT": True})["REWIRE_LIFT"] == 0.002


@pytest.mark.parametrize("name", registry.BENCHMARKS)
def test_defaults_know_whose_they_are(name: str) -> None:
    """Copies made for changes are plain dicts; whole copies know it still; all of them are taken."""
    model, benchmark = registry.find(name).load(), registry.find(name)
    p = model.defaults()
    assert p == importlib.import_module(benchmark.module).p == parameters.defaults(benchmark.keys)
    assert (
        p is not model.defaults()
        and p["SPEAKER_LEFT" if "SPEAKER_LEFT" in p else "REC_SPIKES"]
        is not (model.defaults()["SPEAKER_LEFT" if "SPEAKER_LEFT" in p else "REC_SPIKES"])
    )
    for plain in ({**p}, p | {}, p.copy(), dict(p), json.loads(json.dumps(p))):
        assert type(plain) is dict and plain == p and benchmark.resolve(plain) == benchmark.resolve(p)
    p |= {"N_EPOCH": 3}
    for whole in (p, copy.copy(p), copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert whole == p and whole.owner == (benchmark.module, benchmark.model)
        assert benchmark.resolve(whole)["N_EPOCH"] == 3
        for other in registry.BENCHMARKS.values():
            if other is not benchmark:
                with pytest.raises(ValueError, match=f"this p is that of {benchmark.module}, and {other.model} has"):
                    other.resolve(whole)
    assert parameters.Defaults.fromkeys(["ETA"], 0.1) == {"ETA": 0.1}


def test_a_call_with_another_benchmarks_p(small_data: Path) -> None:
    """Two simulators imported with * overwrite each other's p: methods say it, too."""
    mn = simulator_SHD.SHD_model({**simulator_SHD.p, "DATA_DIR": str(small_data), "N_TRAIN": 80, "N_VALIDATE": 20})
    with pytest.raises(ValueError, match="from simulator_SHD import SHD_model, p as p_SHD"):
        mn.train(simulator_MNIST.p)


def test_the_page_of_keys_is_up_to_date() -> None:
    """``python -m eventprop keys > docs/keys.md`` makes it."""
    assert (ROOT / "docs" / "keys.md").read_text(encoding="utf-8") == keys_page()
