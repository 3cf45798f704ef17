"""Settings of the older program's scripts: each key and value is used, or a warning says what it does here.

The tables are those of its modules, key by key, with the values that its scripts, scans and published runs gave them.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import pytest

import simulator_MNIST
import simulator_SHD
import simulator_SMNIST
from eventprop.parameters import shared as keys
from eventprop.simulators import registry
from eventprop.simulators.registry import BENCHMARKS
from simulator_SHD import SHD_model

# What all of its modules had.
COMMON: dict[str, list[Any]] = {
    "NAME": ["test", "test106", "scan_SHD_final_0001"],
    "OUT_DIR": [".", "scan_1"],
    "BUILD": [True, False],
    "TIMING": [True, False],
    "TRAIN_DATA_SEED": [123, 372, None],
    "TEST_DATA_SEED": [456, 814, None],
    "MODEL_SEED": [None, 135],
    "N_MAX_SPIKE": [50, 400, 500, 1500, 18000],
    "N_BATCH": [32, 64, 128, 256, 512],
    "N_EPOCH": [10, 50, 300],
    "TAU_SYN": [5.0, 10, 2],
    "TAU_MEM": [20.0, 40, 8],
    "V_THRESH": [1.0],
    "V_RESET": [0.0],
    "ETA": [5e-3, 10**-2.5, 0, 0.0],
    "ADAM_BETA1": [0.9, 0.95],
    "ADAM_BETA2": [0.999, 0.9995, 0.99],
    "ADAM_EPS": [1e-8],
    "NUM_HIDDEN": [64, 100, 1024],
    "INPUT_HIDDEN_MEAN": [0.02, 1.5],
    "INPUT_HIDDEN_STD": [0.01, 0.78],
    "HIDDEN_OUTPUT_MEAN": [0.0, 1.2],
    "HIDDEN_OUTPUT_STD": [0.03, 0.6],
    "TAU_0": [0.5, 1, 2],
    "TAU_1": [6.4, 100, 30],
    "ALPHA": [3e-3, 3.6e-4],
    "SPK_REC_STEPS": [None],
    "REC_SPIKES": [[], ["input"], ("output",)],
    "REC_NEURONS": [[], [("output", "V")], [["output", "lambda_V"]]],
    "REC_SYNAPSES": [[], [("in_to_hid", "w")]],
    "WRITE_TO_DISK": [True, False],
    "LOAD_LAST": [False, True],
    "W_REPORT_INTERVAL": [100, 3000],
    "W_EPOCH_INTERVAL": [10, 100],
    "DATASET": ["SHD"],
    "DEBUG_HIDDEN_N": [False, True],
}
YINYANG: dict[str, list[Any]] = {
    "DT_MS": [0.1, 0.01],
    "TRIAL_MS": [30.0],
    "N_TRAIN": [32 * 1000, 10 * 512],
    "N_TEST": [32 * 25],
    "PDROP": [0.0, 0.1],
    "ETA_DECAY": [0.95, 1 - 10**-2.699],
    "TRAINING_PLOT": [False, True],
    "TRAINING_PLOT_INTERVAL": [10],
    "FANCY_PLOTS": [False, True],
    "N_EPOCHS": [10],
    "LOSS_TYPE": ["first_spike"],
}
# What MNIST and all that came after it had.
LATER: dict[str, list[Any]] = {
    "N_TRAIN": [1045, 7644, 55000],
    "N_VALIDATE": [0, 32, 512],
    "SHUFFLE": [True, False],
    "RECURRENT": [True, False],
    "HIDDEN_HIDDEN_MEAN": [0.0, 0.2],
    "HIDDEN_HIDDEN_STD": [0.02, 0.37],
    "PDROP_INPUT": [0.0, 0.1, 0.2],
    "PDROP_HIDDEN": [0.0],
    "REG_TYPE": ["none", "simple", "Thomas1"],
    "LBD_UPPER": [2e-9, 5e-12],
    "LBD_LOWER": [2e-9, 1e-3],
    "NU_UPPER": [2, 14, 100],
    "RHO_UPPER": [5000.0, 1e4],
    "GLB_UPPER": [1e-5, 1e-8],
    "W_OUTPUT_EPOCH_TRIAL": [[], [(0, 0), (9, 100)]],
    "REC_SPIKES_EPOCH_TRIAL": [[], [(0, 1)]],
    "REC_NEURONS_EPOCH_TRIAL": [[], [[0, 1]]],
    "REC_SYNAPSES_EPOCH_TRIAL": [[]],
    "EVALUATION": ["random", "speaker"],
    "SPEAKER_LEFT": [[0], 0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    "LOSS_TYPE": ["first_spike", "first_spike_exp", "max", "sum", "avg_xentropy"],
    "CUDA_VISIBLE_DEVICES": [True, False],
    "AVG_SNSUM": [False, True],
    "REDUCED_CLASSES": [None, [0, 1]],
    "COLLECT_CONFUSION": [False, True],
    "REC_PREDICTIONS": [False, True],
    "AUGMENTATION": [{}, [], None, (), {"NORMALISE_SPIKE_NUMBER": False}],
}
MNIST = {**LATER, "DT_MS": [1.0], "TRIAL_MS": [20.0], "N_TEST": [10000], "ETA_DECAY": [1.0]}
SHD: dict[str, list[Any]] = {
    **LATER,
    "DT_MS": [1.0, 2, 5, 10, 20],
    "TRIAL_MS": [1400.0, 1000.0, 140.0],
    "PROFILE": [False],
    "N_HID_LAYER": [1, 2],
    "N_INPUT_DELAY": [0, 10],
    "INPUT_DELAY": [50.0, 30.0],
    "HIDDEN_NEURON_TYPE": ["LIF", "hetLIF", "ALIF"],
    "OUTPUT_NEURON_TYPE": ["LI", "hetLI"],
    "TAU_B": [100.0],
    "B_INCR": [0.1],
    "B_INIT": [0.0],
    "HIDDEN_HIDDENFWD_MEAN": [0.02],
    "HIDDEN_HIDDENFWD_STD": [0.01],
    "HIDDEN_NOISE": [0.0],
    "REWIRE_SILENT": [False, True],
    "REWIRE_LIFT": [0.0, 0.002],
    "EMA_ALPHA1": [0.8, 0.2],
    "EMA_ALPHA2": [0.95, 0.85, 0.05],
    "EMA_WHICH": ["validation", "training"],
    "ETA_FAC": [0.5],
    "MIN_EPOCH_ETA_FIXED": [300, 50],
    "LR_EASE_IN_FACTOR": [1.05],
    "TRAIN_TAU": [False, True],
    "MIN_TAU_M": [3.0],
    "MIN_TAU_SYN": [1.0],
    "TRAIN_TAU_OUTPUT": [False, True],
    "TRAIN_W": [True, False],
    "TRAIN_W_OUTPUT": [True, False],
    "TAU_OUTPUT_EPOCH_TRIAL": [[], [[0, 1]]],
    "LOAD_BEST": [False, True],
    "CHECKPOINT": [True, False],
    "CHECKPOINT_BEST": ["neither", "validation", "training"],
    "CHECKPOINT_NAME": [None, "test"],
    "LOSS_TYPE": [*LATER["LOSS_TYPE"], *(f"sum_weigh_{w}" for w in ("linear", "exp", "sigmoid", "input"))],
    "TAU_ACCUMULATOR": [20.0, 5.0],
    "AUGMENTATION": [
        *LATER["AUGMENTATION"],
        {"random_shift": 40.0},
        {"random_shift": 20, "random_dilate": (0.9, 1.1), "ID_jitter": 5.0},
        {"blend": [0.5, 0.5]},
    ],
    "RESCALE_T": [1.0, 0.1],
    "RESCALE_X": [1.0, 0.1],
    "BALANCE_TRAIN_CLASSES": [False],
    "BALANCE_EVAL_CLASSES": [False],
    "DATA_SET": ["SHD", "SSC"],
    "DATASET": ["SHD", "SSC"],
    "DATA_BUFFER_NAME": ["./data/SSC/mySSC"],
    "TEST_ST_INTEGRITY": [False],
}
CAMERA = {**LATER, "DT_MS": [1], "TRIAL_MS": [18000.0], "TAU_ACCUMULATOR": [20.0], "REWIRE_SILENT": [True]}
CAMERA |= {"HIDDEN_NOISE": [0.0], "LOSS_TYPE": SHD["LOSS_TYPE"], "REDUCED_CLASSES": [None, list(range(10))]}
SMNIST = {**CAMERA, "DT_MS": [0.1, 1], "TRIAL_MS": [1500.0], "REDUCED_CLASSES": LATER["REDUCED_CLASSES"]}
# What scripts set and no module ever read.
UNREAD = {"TAU_MEM_OUTPUT": 20.0, "NU_LOWER": 5, "SUPER_BATCH": 1, "DEBUG": False, "READ_BUFFERED": False}
UNREAD |= {"DOWNLOAD_SHD": False, "ETA_FIDDELING": False, "ETA_REDUCE": 0.5, "ETA_REDUCE_PERIOD": 50, "TRAIN": True}
UNREAD |= {"ORIG_NAME": "test", "REGULARISATION": False, "TRAIN_TAUM": False, "TAUM_OUTPUT_EPOCH_TRIAL": []}
TABLES = {"yinyang": YINYANG, "MNIST": MNIST, "SHD": SHD, "SMNIST": SMNIST, "DVS_gesture": CAMERA}

# What goes with some values in any script, here as there.
NEEDS: dict[tuple[str, Any], dict[str, Any]] = {
    ("LOSS_TYPE", "first_spike_exp"): {"TAU_1": 250.0},
    ("DATA_SET", "SSC"): {"EVALUATION": "validation_set"},
    ("DATASET", "SSC"): {"EVALUATION": "validation_set"},
    ("OUTPUT_NEURON_TYPE", "hetLI"): {"LOSS_TYPE": "sum"},
}


def resolved(name: str, change: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The benchmark's ``p`` with a change, and what was said about it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = registry.find(name).resolve({**registry.find(name).load().defaults(), **change})
    return found, [str(warning.message) for warning in said]


@pytest.mark.parametrize(("name", "key"), [(n, k) for n, table in TABLES.items() for k in {**COMMON, **table}])
def test_each_key_and_value_is_used_or_said_to_have_no_effect(name: str, key: str) -> None:
    declared = {declared.name: declared for declared in registry.find(name).keys}
    aliases = {**keys.ALIASES, "PDROP": "PDROP_HIDDEN", **({"DATASET": "DATA_SET"} if name == "SHD" else {})}
    taken = declared.get(aliases.get(key, key))
    for value in {**COMMON, **TABLES[name]}[key]:
        needs = NEEDS.get((key, value if isinstance(value, str) else None), {})
        found, said = resolved(name, {**needs, key: value})
        if taken is not None and value not in taken.elsewhere:
            assert found[taken.name] == taken.check(value) or key == "SPK_REC_STEPS"
        else:
            assert any(key in text and "has no effect" in text for text in said), (value, said)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_key_of_any_benchmark_is_never_unknown(name: str) -> None:
    """With the other benchmark's value everything here stays as it is, and a warning says so."""
    values = {**UNREAD, **{k: own[0] for table in (COMMON, *TABLES.values()) for k, own in table.items()}}
    values |= {key.name: key.default for benchmark in BENCHMARKS.values() for key in benchmark.keys}
    mine = {key.name for key in registry.find(name).keys} | set(keys.ALIASES)
    mine |= {"DATASET"} if name == "SHD" else {"PDROP"} if name == "yinyang" else set()
    for key in set(values) - mine:
        found, said = resolved(name, {key: values[key]})
        assert found == resolved(name, {})[0]
        assert [text for text in said if text.startswith(f"{key} has no effect")], said


def test_a_key_that_nobody_has_is_refused() -> None:
    for name in BENCHMARKS:
        with pytest.raises(ValueError, match="unknown key 'W_REPORT_INTERVALS'; did you mean"):
            resolved(name, {"W_REPORT_INTERVALS": 3} if name == "yinyang" else {"W_REPORT_INTERVALS": 3, "ETA": 0.1})


# Settings of published runs, as dictionaries of their scripts.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "yinyang": (
        "yinyang",
        {"DT_MS": 0.01, "SPK_REC_STEPS": 3000, "N_BATCH": 512, "N_TRAIN": 5120, "N_TEST": 1024, "N_EPOCH": 300}
        | {"ETA": 10**-2.5, "ETA_DECAY": 1 - 10**-2.699, "ADAM_BETA2": 0.99, "ALPHA": 0.1, "PDROP": 0.0}
        | {"W_REPORT_INTERVAL": 3000, "W_EPOCH_INTERVAL": 100, "TRAINING_PLOT": True, "FANCY_PLOTS": True},
    ),
    "MNIST": (
        "MNIST",
        {"DATASET": "MNIST", "N_MAX_SPIKE": 500, "N_TRAIN": 60000, "N_VALIDATE": 0, "N_EPOCH": 50, "ETA": 5e-3}
        | {"HIDDEN_OUTPUT_MEAN": 0.9, "HIDDEN_OUTPUT_STD": 0.03, "REG_TYPE": "simple", "AVG_SNSUM": True, "TAU_0": 1}
        | {"LBD_UPPER": 1e-8, "LBD_LOWER": 1e-8, "NU_UPPER": 4, "NU_LOWER": 1, "TAU_1": 3, "ALPHA": 3.6e-4}
        | {"LOSS_TYPE": "first_spike_exp", "EVALUATION": "speaker", "SPEAKER_LEFT": 0, "AUGMENTATION": []}
        | {"W_REPORT_INTERVAL": 11000, "W_EPOCH_INTERVAL": 10, "SUPER_BATCH": 1, "REC_SPIKES_EPOCH_TRIAL": [(0, 1)]},
    ),
    "SMNIST": (
        "SMNIST",
        {"DT_MS": 1, "TRIAL_MS": 1500, "N_BATCH": 256, "N_EPOCH": 300, "RECURRENT": True, "HIDDEN_OUTPUT_STD": 0.03}
        | {"REG_TYPE": "simple", "NU_UPPER": 20, "ETA": 2e-3, "AVG_SNSUM": True, "DATASET": "SMNIST", "DEBUG": True},
    ),
    "DVS gesture": (
        "DVS_gesture",
        {"DT_MS": 1, "TRIAL_MS": 18000, "N_MAX_SPIKE": 18000, "N_EPOCH": 300, "NUM_HIDDEN": 512, "RECURRENT": True}
        | {"SPK_REC_STEPS": 200, "TAU_MEM_OUTPUT": 20.0, "NU_LOWER": 1, "SPEAKER_LEFT": 0, "DOWNLOAD_SHD": False}
        | {"LOSS_TYPE": "sum", "TAU_0": 2, "TAU_1": 25, "ALPHA": 1e-3, "W_REPORT_INTERVAL": 100, "AUGMENTATION": {}},
    ),
    "rescaled": (
        "SHD",
        {"RESCALE_T": 0.1, "TRIAL_MS": 140.0, "NUM_HIDDEN": 1024, "RECURRENT": True, "TAU_MEM": 8, "TAU_SYN": 2}
        | {"INPUT_HIDDEN_MEAN": 0.2, "INPUT_HIDDEN_STD": 0.1, "NU_UPPER": 6, "AUGMENTATION": {"random_shift": 4.0}}
        | {"ETA_FIDDELING": True, "ETA_REDUCE": 0.5, "ETA_REDUCE_PERIOD": 50, "EMA_ALPHA1": 0.2, "EMA_ALPHA2": 0.05},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_of_published_runs(name: str) -> None:
    benchmark, settings = PUBLISHED[name]
    found, _ = resolved(benchmark, settings)
    same = {k: found[k] for k in settings if k in found and found[k] == settings[k]}
    assert len(same) > len(settings) / 2 and found["N_EPOCH"] == settings.get("N_EPOCH", found["N_EPOCH"])


def test_the_published_sweep_of_steps_sizes_and_neurons() -> None:
    """Steps of 1 to 20 ms with a synaptic time constant of 5 ms, as in the ablation; 10 and 20 ms are warnings."""
    base = {"TRIAL_MS": 1000.0, "LOSS_TYPE": "sum_weigh_exp", "RECURRENT": True, "REG_TYPE": "simple", "NU_UPPER": 14}
    base |= {"REWIRE_SILENT": True, "REWIRE_LIFT": 0.002, "MIN_EPOCH_ETA_FIXED": 50, "SPEAKER_LEFT": list(range(10))}
    for dt_ms, neurons, trained, delays in itertools.product(
        (1, 2, 5, 10, 20), ("LIF", "hetLIF"), (False, True), (0, 10)
    ):
        if dt_ms == 20 and delays:
            continue  # copies of 30 ms do not fit steps of 20
        change = {"DT_MS": dt_ms, "HIDDEN_NEURON_TYPE": neurons, "TRAIN_TAU": trained, "SPIKE_TIMING": "grid"}
        found, said = resolved("SHD", {**base, **change, "N_INPUT_DELAY": delays, "INPUT_DELAY": 30.0})
        expected = [f"TAU_SYN=5 is below DT_MS={dt_ms}"] if dt_ms > 5 else []
        assert [text.split(":")[0] for text in said] == expected and found["DT_MS"] == dt_ms


def test_a_rate_of_zero_learns_nothing(small_data: Any) -> None:
    p = {
        **simulator_SHD.p,
        "DATA_DIR": str(small_data),
        "NUM_HIDDEN": 10,
        "N_TRAIN": 60,
        "N_VALIDATE": 20,
        "N_EPOCH": 2,
    }
    p |= {"DT_MS": 5.0, "TRIAL_MS": 700.0, "WRITE_TO_DISK": False, "ETA": 0, "INPUT_HIDDEN_MEAN": 0.1, "MODEL_SEED": 1}
    with pytest.warns(UserWarning, match="ETA=0: nothing is learned"):
        mn = SHD_model(p)
        before = mn.weights()
        mn.train(p)
    assert all((before[name] == weights).all() for name, weights in mn.weights().items())


def test_what_is_said_names_what_to_use_instead() -> None:
    assert (
        "W_REPORT_INTERVAL has no effect here; use W_OUTPUT_EPOCH_TRIAL"
        in resolved("MNIST", {"W_REPORT_INTERVAL": 1})[1]
    )
    assert "DATASET has no effect here" in resolved("MNIST", {"DATASET": "SHD"})[1]
    assert (
        'EVALUATION="speaker" has no effect here; "random" is taken' in resolved("SMNIST", {"EVALUATION": "speaker"})[1]
    )
    assert "PDROP has no effect here; use PDROP_HIDDEN" in resolved("SHD", {"PDROP": 0.1})[1]


def test_the_defaults_of_another_benchmark_are_not_taken_for_ones_own() -> None:
    """As after ``from simulator_SHD import *`` and then ``from simulator_MNIST import *``."""
    with pytest.raises(ValueError, match="this p is that of simulator_MNIST, and SHD_model has its own: from simul"):
        SHD_model(simulator_MNIST.p)
    with pytest.raises(ValueError, match=r"p as p_SMNIST, or p_SMNIST = SMNIST_model\.defaults"):
        simulator_SMNIST.SMNIST_model(simulator_MNIST.p)
