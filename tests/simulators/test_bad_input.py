"""Bad input: one clear error that names what is wrong, before anything is loaded, built or written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import simulator_SHD
from eventprop import cli
from simulator_SHD import SHD_model
from tests.support.places import ROOT

SCRIPT = str(ROOT / "train_SHD.py")

BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"NUM_HIDEN": 3}, "unknown key 'NUM_HIDEN'; did you mean NUM_HIDDEN?"),
    ({"num_hidden": 3}, "unknown key 'num_hidden'; did you mean NUM_HIDDEN?"),
    ({"LERNING": 1}, "unknown key 'LERNING'"),
    ({3: 1}, "unknown key 3"),
    ({"NUM_HIDDEN": "abc"}, "NUM_HIDDEN must be a whole number, got 'abc'"),
    ({"NUM_HIDDEN": 2.5}, "NUM_HIDDEN must be a whole number, got 2.5"),
    ({"NUM_HIDDEN": True}, "NUM_HIDDEN must be a whole number, got True"),
    ({"NUM_HIDDEN": 0}, "NUM_HIDDEN must be at least 1, got 0"),
    ({"NUM_HIDDEN": None}, "NUM_HIDDEN must not be None"),
    ({"NUM_HIDDEN": [256, [256]]}, "NUM_HIDDEN must be a whole number, got [256]"),
    ({"NUM_HIDDEN": [256, 64]}, "NUM_HIDDEN=[256, 64] must have an entry for each hidden layer, and N_HID_LAYER=1"),
    ({"MASKS": "nowhere.npz"}, "MASKS='nowhere.npz' cannot be read: No such file or directory"),
    ({"N_BATCH": 0}, "N_BATCH must be at least 1"),
    ({"N_EPOCH": 0}, "N_EPOCH must be at least 1"),
    ({"N_TRAIN": -1}, "N_TRAIN must be at least 1"),
    ({"NUM_THREADS": 0}, "NUM_THREADS must be at least 1"),
    ({"ETA": float("nan")}, "ETA must be finite, got nan"),
    ({"ETA": float("inf")}, "ETA must be finite, got inf"),
    ({"ETA": -1e-9}, "ETA must be at least 0, got -1e-09"),
    ({"ETA": "1e-3"}, "ETA must be a number, got '1e-3'"),
    ({"DT_MS": -1.0}, "DT_MS must be above 0, got -1"),
    ({"TRIAL_MS": 100.5}, "TRIAL_MS=100.5 is no whole multiple of DT_MS=1; 100 would be"),
    ({"DT_MS": 1e-3}, "make 1400000 steps; 3 to 65535 are possible"),
    ({"TAU_MEM": 0.0}, "TAU_MEM must be above 0"),
    ({"TAU_SYN": -5}, "TAU_SYN must be above 0"),
    ({"V_RESET": 1.5}, "V_RESET=1.5 must be below V_THRESH=1"),
    ({"PDROP_INPUT": 1.0}, "PDROP_INPUT must be below 1"),
    ({"PDROP_INPUT": -0.1}, "PDROP_INPUT must be at least 0"),
    ({"ADAM_BETA1": 1.0}, "ADAM_BETA1 must be below 1"),
    ({"RECURRENT": "yes"}, "RECURRENT must be True or False, got 'yes'"),
    ({"RECURRENT": 1}, "RECURRENT must be True or False, got 1"),
    ({"LOSS_TYPE": "sum_wiegh_exp"}, "LOSS_TYPE='sum_wiegh_exp' is not one of"),
    ({"LOSS_TYPE": "sum_wiegh_exp"}, "did you mean 'sum_weigh_exp'?"),
    ({"HIDDEN_NEURON_TYPE": "alif"}, "HIDDEN_NEURON_TYPE='alif' is not one of 'LIF', 'hetLIF', 'ALIF'"),
    ({"OUTPUT_NEURON_TYPE": "hetLIF"}, "OUTPUT_NEURON_TYPE='hetLIF' is not one of 'LI', 'hetLI', 'LIF'"),
    ({"SPIKE_TIMING": "exakt"}, "SPIKE_TIMING='exakt' is not one of 'grid', 'exact', 'substep'; did you mean 'exact'?"),
    ({"N_HID_LAYER": 0}, "N_HID_LAYER must be at least 1, got 0"),
    ({"N_INPUT_DELAY": -1}, "N_INPUT_DELAY must be at least 0, got -1"),
    ({"INPUT_DELAY": 0.0}, "INPUT_DELAY must be above 0"),
    ({"PDROP_HIDDEN": 1.0}, "PDROP_HIDDEN must be below 1"),
    ({"HIDDEN_NOISE": -0.1}, "HIDDEN_NOISE must be at least 0"),
    ({"TAU_0": 0.0}, "TAU_0 must be above 0"),
    ({"TAU_ACCUMULATOR": 0.0}, "TAU_ACCUMULATOR must be above 0"),
    ({"ALPHA": -1.0}, "ALPHA must be at least 0"),
    ({"RHO_UPPER": -1.0}, "RHO_UPPER must be at least 0"),
    ({"MIN_TAU_M": 0.0}, "MIN_TAU_M must be above 0"),
    ({"TRAIN_TAU": 1}, "TRAIN_TAU must be True or False, got 1"),
    ({"LOSS_TYPE": "first_spike", "OUTPUT_NEURON_TYPE": "hetLI"}, 'OUTPUT_NEURON_TYPE="hetLI" never spikes'),
    ({"SPIKE_TIMING": "exact", "HIDDEN_NOISE": 0.1}, 'SPIKE_TIMING="exact": HIDDEN_NOISE=0.1 must be 0'),
    ({"AUGMENTATION": {"shift": 40}}, "AUGMENTATION has 'shift'; there are: random_shift"),
    ({"REC_SPIKES": "hidden"}, "REC_SPIKES must be a list of names"),
    (
        {"BACKEND": "gpu"},
        "BACKEND='gpu' is not one of 'auto', 'cpu', 'cuda', 'hip', 'single_threaded_cpu'",
    ),
    ({"DATA_SET": "SHDD"}, "DATA_SET='SHDD' is not one of"),
    ({"DATA_BUFFER_NAME": ""}, "DATA_BUFFER_NAME='' must end in the beginning of a file name"),
    ({"RESCALE_T": 0.0}, "RESCALE_T must be above 0, got 0"),
    ({"RESCALE_X": 1.5}, "RESCALE_X must be at most 1, got 1.5"),
    ({"RESCALE_X": 0}, "RESCALE_X must be above 0, got 0"),
    ({"EVALUATION": "validation_set"}, 'EVALUATION="validation_set" needs DATA_SET="SSC": SHD has no validation file'),
    ({"EVALUATION": "validation_set", "DATA_SET": "DEMO"}, "DEMO has no validation file"),
    ({"EVALUATION": "speaker", "DATASET": "SSC"}, 'EVALUATION="speaker" is not for DATA_SET="SSC"'),
    ({"DATASET": "DEMO", "DATA_SET": "SSC"}, "mean the same key"),
    ({"LR_EASE_IN_FACTOR": 1.0}, "LR_EASE_IN_FACTOR must be above 1"),
    ({"MODEL_SEED": -3}, "MODEL_SEED must be at least 0"),
    ({"SPEAKER_LEFT": []}, "SPEAKER_LEFT=[] must hold different whole numbers"),
    ({"SPEAKER_LEFT": ["a"]}, "each entry of SPEAKER_LEFT must be a whole number"),
    ({"SPEAKER_LEFT": [1, 1]}, "SPEAKER_LEFT=[1, 1] must hold different"),
    ({"REDUCED_CLASSES": []}, "REDUCED_CLASSES=[] must hold different"),
    ({"NAME": "a/b"}, "NAME='a/b' must be a file name without slashes"),
    ({"NAME": ""}, "NAME='' must be a file name"),
    ({"SPK_REC_STEPS": 3}, "SPK_REC_STEPS=3 does not divide the 1400 steps"),
    ({"OUT_DIR": 7}, "OUT_DIR must be text, got 7"),
]


@pytest.mark.parametrize(("change", "message"), BAD_KEYS, ids=[str(c) for c, _ in BAD_KEYS])
def test_bad_keys(change: dict[Any, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at construction, by name, before any data is looked for (DATA_DIR does not exist)."""
    monkeypatch.setattr(SHD_model, "load_data", lambda *_: pytest.fail("data was loaded"))
    p = {**simulator_SHD.p, "DATA_DIR": "nowhere"} | change
    if "DATASET" in change and "DATA_SET" not in change:
        del p["DATA_SET"]
    with pytest.raises(ValueError) as error:
        SHD_model(p)
    assert message in str(error.value)
    assert os.listdir(".") == []


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError) as error:
        SHD_model({"NUM_HIDDEN": 0, "ETA": "x", "TRAIL_TIME": 3})
    assert len(str(error.value).split("\n")) == 3


def rewrite(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Replace a dataset of an HDF5 file by a changed one."""
    with h5py.File(path, "r+") as file:
        values = file[name][:]
        kind = file[name].dtype
        del file[name]
        new = change(values)
        if new is not None:
            file.create_dataset(name, data=new, dtype=kind if new.dtype == object else None)


def edit(index: int, at: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[index] = values[index].copy()
        values[index][at] = value
        return values

    return change


BAD_FILES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("empty", lambda f: f.write_bytes(b""), "is empty; it may be a broken download"),
    ("text", lambda f: f.write_text("hello"), "is not a readable HDF5 file"),
    ("truncated", lambda f: f.write_bytes(f.read_bytes()[:20000]), "is not a readable HDF5 file"),
    ("no labels", lambda f: rewrite(f, "labels", lambda v: None), "has no dataset 'labels'"),
    ("no units", lambda f: rewrite(f, "spikes/units", lambda v: None), "has no dataset 'spikes/units'"),
    ("fewer labels", lambda f: rewrite(f, "labels", lambda v: v[:-1]), "has 119 labels but 120 entries"),
    ("no samples", lambda f: rewrite(f, "labels", lambda v: v[:0]), "holds no samples"),
    ("label", lambda f: rewrite(f, "labels", lambda v: v + 1), "is not one of 0 to 19"),
    ("label sign", lambda f: rewrite(f, "labels", lambda v: v.astype(int) - 1), "'labels' must be whole numbers"),
    ("unit", lambda f: rewrite(f, "spikes/units", edit(7, 3, 700)), "sample 7: unit 700 is not one of 0 to 699"),
    ("nan", lambda f: rewrite(f, "spikes/times", edit(5, 9, np.nan)), "sample 5: time nan s is not finite"),
    ("negative", lambda f: rewrite(f, "spikes/times", edit(5, 0, -0.5)), "sample 5: time -0.5 s is negative"),
    ("unsorted", lambda f: rewrite(f, "spikes/times", edit(4, 9, 0.9)), "sample 4: times run backwards"),
    (
        "lengths",
        lambda f: rewrite(f, "spikes/times", lambda v: np.array([v[0][:-1], *v[1:]], dtype=object)),
        "sample 0 has",
    ),
    ("speakers", lambda f: rewrite(f, "extra/speaker", lambda v: v[:3]), "has 120 labels but 3 entries"),
]


@pytest.mark.parametrize(("damage", "message"), [x[1:] for x in BAD_FILES], ids=[x[0] for x in BAD_FILES])
def test_bad_data_files(small_data: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    """Each names the file; nothing is written."""
    shutil.copytree(small_data / "SHD", tmp_path / "data" / "SHD")
    damage(tmp_path / "data" / "SHD" / "shd_train.h5")
    with pytest.raises(ValueError) as error:
        SHD_model({**simulator_SHD.p, "DATA_DIR": "data"})
    assert message in str(error.value) and "shd_train.h5" in str(error.value)
    assert os.listdir(".") == ["data"]


def test_missing_data_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names file, folder, where to get it and what needs no download."""
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    with pytest.raises(FileNotFoundError) as error:
        SHD_model({**simulator_SHD.p, "DATA_DIR": "here"})
    for part in ("shd_train.h5 is missing in here/SHD", "zenkelab.org", "DATA_DIR", "tonic", 'DATA_SET="DEMO"'):
        assert part in str(error.value)
    assert os.listdir(".") == []


def p_small(small_data: Path, **change: Any) -> dict[str, Any]:
    p = {**simulator_SHD.p, "DATA_DIR": str(small_data), "NUM_HIDDEN": 8, "DT_MS": 10.0, "TRIAL_MS": 700.0}
    p |= {"TAU_SYN": 10.0}
    return {**p, "N_TRAIN": 100, "N_VALIDATE": 20, "N_EPOCH": 1, "MODEL_SEED": 1, "OUT_DIR": "out", **change}


BAD_RUNS: list[tuple[dict[str, Any], str]] = [
    ({"N_TRAIN": 110}, "need 130 samples, but the training data has 120"),
    ({"EVALUATION": "speaker", "SPEAKER_LEFT": [10]}, "SPEAKER_LEFT has 10, but the training data has 10 speakers"),
    ({"REDUCED_CLASSES": [3, 25]}, "REDUCED_CLASSES has [25], but the data holds the classes"),
    ({"LOAD_LAST": True}, "there is no checkpoint out/test_state_last.npz"),
    ({"LOAD_BEST": True, "CHECKPOINT_NAME": "old"}, "there is no checkpoint out/old_state_best.npz"),
]


@pytest.mark.parametrize(("change", "message"), BAD_RUNS, ids=[str(c) for c, _ in BAD_RUNS])
def test_bad_runs(small_data: Path, change: dict[str, Any], message: str) -> None:
    """What only the data or the disk can tell is refused before anything is written."""
    p = p_small(small_data, **change)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        SHD_model(p).train(p)
    assert message in str(error.value)
    assert os.listdir(".") == []


def test_cross_validation_checks_all_speakers_first(small_data: Path) -> None:
    """A speaker that does not exist is refused before the first fold is trained."""
    p = p_small(small_data, SPEAKER_LEFT=[0, 11])
    with pytest.raises(ValueError, match="SPEAKER_LEFT has 11, but the training data has 10 speakers"):
        SHD_model(p).cross_validate_SHD(p)
    assert os.listdir(".") == []


def test_data_keys_cannot_change_after_construction(small_data: Path) -> None:
    p = p_small(small_data)
    mn = SHD_model(p)
    with pytest.raises(ValueError, match=r"DT_MS was 10.0 when the data was loaded and is 5.0 now"):
        mn.train({**p, "DT_MS": 5.0})


def test_a_checkpoint_of_another_shape(small_data: Path) -> None:
    """Refused, with what differs, and the old files stay as they are."""
    p = p_small(small_data)
    SHD_model(p).train(p)
    before = {f.name: f.read_bytes() for f in Path("out").iterdir()}
    wrong = {**p, "NUM_HIDDEN": 9, "LOAD_LAST": True, "N_EPOCH": 2}
    with pytest.raises(ValueError, match=r"in_to_hid is \(700, 8\) there and \(700, 9\) here"):
        SHD_model(wrong).train(wrong)
    assert {f.name: f.read_bytes() for f in Path("out").iterdir()} == before


BAD_SAMPLES: list[tuple[Any, str]] = [
    ({"x": [1, 2], "t": [1.0]}, "sample 1: x and t must be lists of one length"),
    ({"x": [1]}, 'sample 1 must be a dictionary with "x" (channels) and "t"'),
    ([1, 2], "sample 1 must be a dictionary"),
    ({"x": [700], "t": [1.0]}, "sample 1: channel 700 is not one of 0 to 699"),
    ({"x": [-1], "t": [1.0]}, "sample 1: channel -1 is not one of 0 to 699"),
    ({"x": [1.5], "t": [1.0]}, "sample 1: channels must be whole numbers"),
    ({"x": [1], "t": [-2.0]}, "sample 1: times must not be negative, got -2 ms"),
    ({"x": [1], "t": [np.nan]}, "sample 1: times must be finite numbers"),
    ({"x": [1], "t": ["a"]}, "sample 1: times must be finite numbers"),
]


@pytest.mark.parametrize(("sample", "message"), BAD_SAMPLES, ids=[str(s) for s, _ in BAD_SAMPLES])
def test_bad_samples(small_data: Path, sample: Any, message: str) -> None:
    p = p_small(small_data)
    mn = SHD_model(p)
    good = {"x": [1, 2], "t": [5.0, 3.0]}
    with pytest.raises(ValueError) as error:
        mn.predict(p, [good, sample])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([20], "from 0 to 19"), ([-1], "from 0 to 19"), ([1, 2], "one label for each of the 1 samples"), ([0.5], "whole")],
)
def test_bad_labels(small_data: Path, labels: list[Any], message: str) -> None:
    p = p_small(small_data)
    with pytest.raises(ValueError, match=message):
        SHD_model(p).gradients(p, [{"x": [1], "t": [2.0]}], labels)


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=120)


BAD_COMMANDS: list[tuple[list[str], str]] = [
    (["NUM_HIDEN=3"], "unknown key 'NUM_HIDEN'; did you mean NUM_HIDDEN?"),
    (["train", "ETA=abc"], "ETA must be a number, got 'abc'"),
    (["trian"], "there is no mode 'trian'; there are: train, test, train_test, cross_validate"),
    (["train", "ETA"], "'ETA' is not of the form KEY=VALUE"),
    (["--recipe", "dmeo"], "did you mean demo?"),
    (["--params", "none.json"], "none.json"),
    (["--params", "bad.json"], "bad.json is not a JSON file"),
    (["--params", "list.json"], "must hold one JSON object"),
    (["--recipe", "bad.toml"], "bad.toml: "),
    (["--recipe", "more.toml"], "unknown: tune"),
    (["DATA_SET=DEMO", "OUT_DIR=bad.json/x"], "cannot be written"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_COMMANDS, ids=[" ".join(a) for a, _ in BAD_COMMANDS])
def test_bad_command_lines(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], small_data: Path
) -> None:
    """One line on standard error, no traceback, exit status 1."""
    Path("bad.json").write_text("{")
    Path("list.json").write_text("[1]")
    Path("bad.toml").write_text("[p\n")
    Path("more.toml").write_text("tune = 1\n[p]\n")
    extra = [
        f"{k}={json.dumps(v)}" for k, v in p_small(small_data).items() if k in ("DATA_DIR", "N_TRAIN", "NUM_HIDDEN")
    ]
    if "OUT_DIR=bad.json/x" in arguments:
        arguments = ["OUT_DIR=bad.json/x", "N_VALIDATE=0", "N_EPOCH=1", *extra]
    status = cli.main("SHD", arguments)
    captured = capsys.readouterr()
    assert status == 1
    assert captured.err.startswith("train_SHD.py: error: ") and message in captured.err
    assert captured.err.count("\n") == 1


def test_the_script_fails_without_a_traceback() -> None:
    result = run_script("train", "DATA_SET=DEMO", "NUM_HIDDEN=-1")
    assert result.returncode == 1
    assert result.stderr == "train_SHD.py: error: NUM_HIDDEN must be at least 1, got -1\n"
    assert os.listdir(".") == []


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what to install where."""
    from eventprop.backends.cpu import compiler

    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(compiler.CompilerError, match=r"(?s)apt install g\+\+.*dnf install.*xcode-select") as error:
        compiler.find_compiler()
    assert "no C++ compiler" in str(error.value)
    monkeypatch.setenv("CXX", "nonsense++")
    with pytest.raises(compiler.CompilerError, match="named by CXX, 'nonsense"):
        compiler.find_compiler()


def test_a_cache_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names the folder and the variable that names another."""
    from eventprop.backends.cpu import compiler

    Path("file").write_text("")
    monkeypatch.setenv("EVENTPROP_CACHE", "file/x")
    with pytest.raises(compiler.CompilerError, match=r"cannot be kept in /.*file/x .*EVENTPROP_CACHE"):
        compiler.load_library("int main() {}")


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Shows what the compiler printed and leaves nothing in the cache."""
    from eventprop.backends.cpu import compiler

    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    with pytest.raises(compiler.CompilerError, match=r"(?s)could not build the CPU engine:.*nonsense"):
        compiler.load_library("nonsense")
    assert os.listdir("cache") == []
