"""Each key of the Yin-Yang and MNIST tables does something: with another value a small run ends otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_MNIST
import simulator_SHD
import simulator_yinyang
from eventprop.reports import plots
from tests.parameters.test_parameters import MNIST, SEED, YINYANG
from tests.simulators.test_mnist import write

pytestmark = pytest.mark.long


# Read by the GeNN backend alone (tests/backends/), or printed.
ELSEWHERE = {"BUILD", "TIMING", "N_MAX_SPIKE", "SPK_REC_STEPS", "CUDA_VISIBLE_DEVICES", "EVALUATION"}
TAKEN_AS_IT_IS = {"TEST_DATA_SEED"}  # SHD's test file; the key's sentence says so

SIMPLE = {"REG_TYPE": "simple", "LBD_UPPER": 1e-3, "LBD_LOWER": 1e-3, "NU_UPPER": 0.5}
THOMAS = {**SIMPLE, "REG_TYPE": "Thomas1", "RHO_UPPER": 1.0, "GLB_UPPER": 1e-3}
SPIKES = {"LOSS_TYPE": "first_spike_exp", "HIDDEN_OUTPUT_MEAN": 2.0, "ALPHA": 0.1}
RECORD = {"REC_SPIKES": ["hidden"], "REC_NEURONS": [["hidden", "V"]], "REC_SYNAPSES": [["in_to_hid", "w"]]}
WHEN = {f"{key}_EPOCH_TRIAL": [[0, 0]] for key in RECORD}

ADAPTIVE = {"HIDDEN_NEURON_TYPE": "ALIF"}
TAUS = {"TRAIN_TAU": True, "TAU_SYN": 5.0, "ETA": 0.05}
SCHEDULE = {"N_EPOCH": 4, "EMA_ALPHA1": 0.8, "EMA_ALPHA2": 0.1, "MIN_EPOCH_ETA_FIXED": 0, "ETA_FAC": 0.5}

# By key: another value, and what it takes for it to matter.
COMMON: dict[str, tuple[Any, dict[str, Any]]] = {
    "OUT_DIR": ("out", {}),
    "DT_MS": (0.5, {}),
    "TRAIN_DATA_SEED": (5, {}),
    "TEST_DATA_SEED": (5, {}),
    "TRIAL_MS": (24.0, {}),
    "N_BATCH": (7, {}),
    "N_TRAIN": (50, {}),
    "N_EPOCH": (1, {}),
    "N_TEST": (19, {}),
    "NUM_HIDDEN": (20, {}),
    "TAU_SYN": (6.0, {}),
    "TAU_MEM": (15.0, {}),
    "V_THRESH": (0.9, {}),
    "V_RESET": (-0.1, {}),
    "TAU_0": (1.5, SPIKES),
    "TAU_1": (3.0, SPIKES),
    "ALPHA": (0.5, SPIKES),
    "INPUT_HIDDEN_MEAN": (0.25, {}),
    "INPUT_HIDDEN_STD": (0.1, {}),
    "HIDDEN_OUTPUT_MEAN": (0.5, {}),
    "HIDDEN_OUTPUT_STD": (0.5, {}),
    "ETA": (0.001, {}),
    "ADAM_BETA1": (0.5, {}),
    "ADAM_BETA2": (0.9, {}),
    "ADAM_EPS": (1e-3, {}),
    "REC_SPIKES": (["input"], WHEN),
    "REC_NEURONS": ([["output", "V"]], WHEN),
    "REC_SYNAPSES": ([["hid_to_out", "w"]], WHEN),
    "WRITE_TO_DISK": (False, {}),
    "LOAD_LAST": (True, {}),
}
OF_MNIST: dict[str, tuple[Any, dict[str, Any]]] = {
    **COMMON,
    "NAME": ("other", {}),
    "DEBUG_HIDDEN_N": (True, {}),
    "MODEL_SEED": (9, {}),
    "N_VALIDATE": (15, {}),
    "SHUFFLE": (False, {}),
    "RECURRENT": (True, {}),
    "HIDDEN_HIDDEN_MEAN": (0.1, {"RECURRENT": True}),
    "HIDDEN_HIDDEN_STD": (0.1, {"RECURRENT": True}),
    "PDROP_INPUT": (0.5, {}),
    "PDROP_HIDDEN": (0.3, {}),
    "REG_TYPE": ("simple", {"LBD_LOWER": 1e-3, "NU_UPPER": 5.0}),
    "LBD_UPPER": (0.1, SIMPLE),
    "LBD_LOWER": (0.1, {**SIMPLE, "NU_UPPER": 5.0}),
    "NU_UPPER": (5.0, SIMPLE),
    "RHO_UPPER": (20.0, THOMAS),
    "GLB_UPPER": (0.1, THOMAS),
    "W_OUTPUT_EPOCH_TRIAL": ([[0, 0]], {}),
    "REC_SPIKES_EPOCH_TRIAL": ([[1, 0]], {**RECORD, **WHEN}),
    "REC_NEURONS_EPOCH_TRIAL": ([[1, 0]], {**RECORD, **WHEN}),
    "REC_SYNAPSES_EPOCH_TRIAL": ([[1, 0]], {**RECORD, **WHEN}),
    "LOSS_TYPE": ("max", {}),
    "AVG_SNSUM": (True, SIMPLE),
    "REDUCED_CLASSES": (list(range(2, 9)), {}),
    "AUGMENTATION": ({"random_shift_xy": 2}, {}),
}
OF_YINYANG: dict[str, tuple[Any, dict[str, Any]]] = {
    **{key: (value, {}) for key, (value, _) in COMMON.items()},
    "DT_MS": (1.0, {}),
    "V_THRESH": (0.8, {}),
    "TAU_1": (3.0, {"LOSS_TYPE": "first_spike_exp"}),
    "INPUT_HIDDEN_MEAN": (2.5, {}),
    "INPUT_HIDDEN_STD": (0.3, {}),
    "ETA_DECAY": (0.5, {}),
    "TRAINING_PLOT": (True, {}),
    "TRAINING_PLOT_INTERVAL": (1, {"TRAINING_PLOT": True}),
    "FANCY_PLOTS": (True, {}),
    "W_REPORT_INTERVAL": (1, {}),
    "W_EPOCH_INTERVAL": (1, {}),
}


OF_SHD: dict[str, tuple[Any, dict[str, Any]]] = {
    **{key: entry for key, entry in OF_MNIST.items() if key not in ("N_TEST", "TEST_DATA_SEED")},
    "DATA_SET": ("DEMO", {}),
    "DT_MS": (10.0, {}),
    "LBD_LOWER": (0.1, {**SIMPLE, "NU_UPPER": 100.0}),
    "REDUCED_CLASSES": (list(range(10)), {"N_TRAIN": 30, "N_VALIDATE": 10}),
    "TRIAL_MS": (350.0, {}),
    "N_TRAIN": (50, {}),
    "TAU_0": (3.0, SPIKES),
    "TAU_1": (30.0, SPIKES),
    "INPUT_HIDDEN_MEAN": (0.08, {}),
    "INPUT_HIDDEN_STD": (0.03, {}),
    "EVALUATION": ("speaker", {}),
    "SPEAKER_LEFT": ([2], {"EVALUATION": "speaker"}),
    "N_HID_LAYER": (2, {}),
    "HIDDEN_HIDDENFWD_MEAN": (0.1, {"N_HID_LAYER": 2}),
    "HIDDEN_HIDDENFWD_STD": (0.1, {"N_HID_LAYER": 2}),
    "N_INPUT_DELAY": (1, {}),
    "INPUT_DELAY": (30.0, {"N_INPUT_DELAY": 1}),
    "HIDDEN_NEURON_TYPE": ("hetLIF", {}),
    "OUTPUT_NEURON_TYPE": ("hetLI", {}),
    "TAU_B": (50.0, ADAPTIVE),
    "B_INCR": (0.3, ADAPTIVE),
    "B_INIT": (0.2, ADAPTIVE),
    "HIDDEN_NOISE": (0.1, {}),
    "REWIRE_SILENT": (True, {"INPUT_HIDDEN_MEAN": 0.001}),
    "REWIRE_LIFT": (0.1, {"INPUT_HIDDEN_MEAN": 0.001, "REWIRE_SILENT": True}),
    "EMA_ALPHA1": (0.0, SCHEDULE),
    "EMA_ALPHA2": (0.99, SCHEDULE),
    "EMA_WHICH": ("training", {"N_VALIDATE": 0, **SCHEDULE}),
    "ETA_FAC": (0.1, SCHEDULE),
    "MIN_EPOCH_ETA_FIXED": (10, SCHEDULE),
    "LR_EASE_IN_FACTOR": (1.5, {}),
    "ETA_SCHEDULE": ("cosine", {}),
    "ETA_END": (0.5, {"ETA_SCHEDULE": "cosine"}),
    "AVERAGE_WEIGHTS": (0.5, {}),
    "WEIGHT_DECAY": (0.1, {}),
    "LABEL_SMOOTHING": (0.1, {}),
    "TRAIN_TAU": (True, {}),
    "TRAIN_TAU_OUTPUT": (True, {}),
    "MIN_TAU_M": (19.99, TAUS),
    "MIN_TAU_SYN": (4.99, TAUS),
    "TRAIN_W": (False, {}),
    "TRAIN_W_OUTPUT": (False, {}),
    "TAU_OUTPUT_EPOCH_TRIAL": ([[0, 0]], {"TRAIN_TAU": True}),
    "LOAD_BEST": (True, {"CHECKPOINT_BEST": "training"}),
    "CHECKPOINT_BEST": ("training", {}),
    "TAU_ACCUMULATOR": (5.0, {"LOSS_TYPE": "sum_weigh_input"}),
    "AUGMENTATION": ({"random_shift": 20.0}, {}),
    "COLLECT_CONFUSION": (True, {}),
    "REC_PREDICTIONS": (True, {}),
}


def outcome(module: Any, model: Any, p: dict[str, Any], folder: str) -> dict[str, str]:
    """What a training and a test leave behind, as digests: weights, history, recordings, names of files, columns."""
    mn = model(p)
    if p["LOAD_LAST"] or p.get("LOAD_BEST"):  # a longer run, which is what is there then
        anew = {**p, "LOAD_LAST": False, "N_EPOCH": 3} | ({"LOAD_BEST": False} if "LOAD_BEST" in p else {})
        model(anew).train(anew)
    trained = mn.train(p)
    weights = mn.weights()
    history = [{k: v for k, v in record.items() if k != "seconds"} for record in mn.history]
    mn.test(p)
    tested = mn.evaluated[1].loss.tobytes()
    files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
    text = next(Path(folder).rglob("*_results.txt"), None)
    found = {"weights": [w.tobytes() for w in weights.values()], "history": history, "test": tested, "files": files}
    found["recorded"] = [{name: np.nan_to_num(a).sum() for name, a in part.items()} for part in trained[:4]]
    found["columns"] = len(text.read_text().split("\n")[0].split()) if text else 0
    return {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in found.items()}


BEFORE: dict[str, dict[str, str]] = {}


def in_folder(module: Any, model: Any, p: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    Path(name).mkdir()
    with monkeypatch.context() as patch:  # pictures take longer than all the rest; no key here is of one
        patch.chdir(name)
        patch.setattr(plots, "learning_curves", lambda *_, **__: None)
        patch.setattr(plots, "save", lambda _, path: path.touch())
        return outcome(module, model, p, ".")


def check(
    module: Any, model: Any, table: Mapping[str, Any], key: str, base: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    value, needs = table[key]
    plain = {**module.p, **base, **needs}
    which = model.__name__ + repr({k: v for k, v in plain.items() if k != "DATA_DIR"})
    if which not in BEFORE:  # what most keys are compared with is the same
        BEFORE[which] = in_folder(module, model, plain, "before", monkeypatch)
    assert in_folder(module, model, {**plain, key: value}, "after", monkeypatch) != BEFORE[which]


@pytest.mark.parametrize("key", sorted(OF_MNIST))
def test_mnist(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("data/MNIST"), 120, 40)
    base = {"DATA_DIR": str(Path("data").absolute()), "N_TRAIN": 64, "N_VALIDATE": 20, "N_TEST": 20, "N_EPOCH": 2}
    base |= {"NUM_HIDDEN": 30, "N_BATCH": 16, "MODEL_SEED": 1, "TIMING": False, "INPUT_HIDDEN_MEAN": 0.2}
    check(simulator_MNIST, simulator_MNIST.mnist_model, OF_MNIST, key, {**base, "LOSS_TYPE": "sum"}, monkeypatch)


@pytest.mark.parametrize("key", sorted(OF_YINYANG))
def test_yinyang(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {
        "N_TRAIN": 64,
        "N_TEST": 20,
        "N_EPOCH": 2,
        "NUM_HIDDEN": 40,
        "N_BATCH": 16,
        "MODEL_SEED": 1,
        "TIMING": False,
    }
    base |= {"DT_MS": 0.5, "HIDDEN_OUTPUT_MEAN": 1.5}
    check(simulator_yinyang, simulator_yinyang.yinyang, OF_YINYANG, key, base, monkeypatch)


@pytest.mark.parametrize("key", sorted(OF_SHD))
def test_shd(key: str, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"DATA_DIR": str(small_data), "N_TRAIN": 64, "N_VALIDATE": 20, "N_EPOCH": 2, "NUM_HIDDEN": 30}
    base |= {"N_BATCH": 16, "MODEL_SEED": 1, "TIMING": False, "INPUT_HIDDEN_MEAN": 0.1, "LOSS_TYPE": "sum"}
    base |= {"DT_MS": 5.0, "TRIAL_MS": 700.0, "LR_EASE_IN_FACTOR": None, "TAU_SYN": 10.0}
    check(simulator_SHD, simulator_SHD.SHD_model, OF_SHD, key, base, monkeypatch)


@pytest.mark.parametrize(("promised", "tried"), [(MNIST, OF_MNIST), (YINYANG, OF_YINYANG), (SEED, OF_SHD)])
def test_every_promised_key_is_tried(promised: dict[str, Any], tried: dict[str, Any]) -> None:
    assert set(promised) <= set(tried) | ELSEWHERE | (TAKEN_AS_IT_IS if tried is OF_SHD else set())
