"""Folds, repeated seeds, one writer at a time, weights of the older program, and what is reported of a run."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop import cli
from eventprop.training.lock import alone
from simulator_SHD import SHD_model
from tests.support.places import ROOT


@pytest.fixture
def p(small_data: Path) -> dict[str, Any]:
    own = {"DATA_DIR": str(small_data), "OUT_DIR": "out", "TRIAL_MS": 700.0, "DT_MS": 5.0, "NUM_HIDDEN": 40}
    own |= {"N_TRAIN": 100, "N_VALIDATE": 20, "N_BATCH": 16, "N_EPOCH": 3, "MODEL_SEED": 3, "RECURRENT": True}
    return {**simulator_SHD.p, **own, "INPUT_HIDDEN_MEAN": 0.05, "HIDDEN_HIDDEN_STD": 0.02}


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def shell(*words: str) -> int:
    return cli.main("SHD", words)


# Folds


def test_folds_have_a_summary(p: dict[str, Any]) -> None:
    mn = SHD_model(p)
    accuracies, seconds = mn.cross_validate_SHD({**p, "SPEAKER_LEFT": [0, 3]})
    found = table(Path("out/test_folds.csv"))
    assert list(found) == ["0", "3", "mean", "s.d."] and len(seconds) == 2
    for number, fold in enumerate("03"):
        rows = np.loadtxt("out/test_results.txt")[3 * number : 3 * number + 3]
        row = found[fold]
        assert float(row["eval_accuracy"]) == pytest.approx(accuracies[number][1], abs=1e-6)
        assert float(row["best_eval_accuracy"]) == pytest.approx(rows[:, 3].max(), abs=1e-6)
        assert int(row["best_epoch"]) == rows[:, 3].argmax() and row["epochs"] == "3"
        assert float(row["eval_accuracy_at_best_training"]) == pytest.approx(rows[rows[:, 1].argmax(), 3], abs=1e-6)
        assert int(row["training"]) + int(row["validation"]) == 120 or int(row["training"]) == 100
    values = [a[1] for a in accuracies]
    assert float(found["mean"]["eval_accuracy"]) == pytest.approx(np.mean(values), abs=1e-6)
    assert float(found["s.d."]["eval_accuracy"]) == pytest.approx(np.std(values, ddof=1), abs=1e-6)


def test_killed_folds_go_on_to_the_same_summary(p: dict[str, Any]) -> None:
    """One fold is done, one half done, one not begun."""
    p["SPEAKER_LEFT"] = [0, 1, 2]
    SHD_model(p).cross_validate_SHD({**p, "OUT_DIR": "whole"})
    SHD_model(p).cross_validate_SHD({**p, "SPEAKER_LEFT": [0]})
    SHD_model(p).cross_validate_SHD({**p, "SPEAKER_LEFT": [1], "N_EPOCH": 1})
    SHD_model(p).cross_validate_SHD({**p, "LOAD_LAST": True})
    whole, resumed = table(Path("whole/test_folds.csv")), table(Path("out/test_folds.csv"))
    for row in (*whole.values(), *resumed.values()):
        del row["seconds"]
    assert whole == resumed and list(whole) == ["0", "1", "2", "mean", "s.d."]


# Seeds


def test_seeds_are_repeated_and_go_on(p: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.json").write_text(json.dumps(p))
    assert shell("train_test", "--params", "p.json", "--seeds", "4", "7") == 0
    found = table(Path("out/test_seeds.csv"))
    assert list(found) == ["4", "7", "mean", "s.d."]
    saved = json.loads(Path("out/test_s7.json").read_text())
    assert (saved["MODEL_SEED"], saved["TRAIN_DATA_SEED"], saved["TEST_DATA_SEED"]) == (7, 7, 456)
    alone_ = SHD_model({**p, "MODEL_SEED": 7, "TRAIN_DATA_SEED": 7})
    result = alone_.train_test({**p, "MODEL_SEED": 7, "TRAIN_DATA_SEED": 7, "WRITE_TO_DISK": False})
    assert float(found["7"]["eval_accuracy"]) == pytest.approx(result.correct_eval, abs=1e-6)
    assert "test accuracy of the last epoch, 2 seeds: mean" in capsys.readouterr().out
    assert shell("train_test", "--params", "p.json", "LOAD_LAST=true", "--seeds", "4", "7", "9") == 0
    more = table(Path("out/test_seeds.csv"))
    assert more["7"] == found["7"] and list(more) == ["4", "7", "9", "mean", "s.d."]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("test", "--seeds", "1"), "--seeds repeats train and train_test, not test"),
        (("train", "--seeds", "1", "1"), "--seeds must be different whole numbers from 0, got 1 1"),
        (("train", "--seeds", "-1"), "--seeds must be different"),
    ],
)
def test_seeds_that_make_no_sense(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell(*words) == 1
    assert message in capsys.readouterr().err


# One writer at a time


def test_two_runs_of_one_name_are_kept_apart(p: dict[str, Any]) -> None:
    """Another process holds the name: training and testing stop before anything is written; other names do not."""
    Path("out").mkdir()
    code = "import sys; from pathlib import Path; from eventprop.training.lock import alone\n"
    code += "with alone(Path('out'), 'test'): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    try:
        mn = SHD_model(p)
        mn.set_weights(mn.weights())
        for call in (mn.train, mn.test, mn.cross_validate_SHD):
            with pytest.raises(BlockingIOError, match=r'another run .* NAME="test" in OUT_DIR="out"'):
                call(p)
        assert [path.name for path in Path("out").iterdir()] == [".test.lock"]
        mn.test({**p, "NAME": "mine"})
        mn.test({**p, "WRITE_TO_DISK": False})
    finally:
        other.kill()
        other.wait()
        other.stdin.close()  # type: ignore[union-attr]
        other.stdout.close()
    mn.test(p)


def test_a_process_can_hold_a_name_twice() -> None:
    """Cross-validation holds it around its folds."""
    Path("out").mkdir()
    with alone(Path("out"), "a"):
        with alone(Path("out"), "a"):
            pass
        assert [path.name for path in Path("out").iterdir()] == [".a.lock"]
    assert not any(Path("out").iterdir())


# Weights of the older program


def flat(p: dict[str, Any], mn: SHD_model, folder: str, label: str = "last") -> None:
    names = {"in_to_hid": "input_hidden", "hid_to_out": "hidden_output", "hid_to_hid0": "hidden0_hidden0"}
    Path(folder).mkdir()
    for name, w in mn.weights().items():
        np.save(f"{folder}/test_w_{names[name]}_{label}.npy", w.ravel())


def test_flat_weights_without_a_checkpoint_are_taken(p: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    mn = SHD_model(p)
    mn.train({**p, "WRITE_TO_DISK": False})
    expected = mn.test({**p, "WRITE_TO_DISK": False}).correct_eval
    flat(p, mn, "old")
    fresh = SHD_model({**p, "OUT_DIR": "old", "MODEL_SEED": 99})
    found = fresh.test({**p, "OUT_DIR": "old", "LOAD_LAST": True}).correct_eval
    assert found == expected
    assert "taking the flat arrays test_*_last.npy" in capsys.readouterr().out
    fresh.train({**p, "OUT_DIR": "old", "LOAD_LAST": True, "N_EPOCH": 1})
    again = SHD_model(p)
    again.set_weights(mn.weights())
    again.train({**p, "WRITE_TO_DISK": False, "N_EPOCH": 1})
    for name, w in again.weights().items():
        assert w.tobytes() == fresh.weights()[name].tobytes()


def test_flat_time_constants_are_taken(p: dict[str, Any]) -> None:
    p |= {"HIDDEN_NEURON_TYPE": "hetLIF", "LOAD_BEST": True}
    mn = SHD_model(p)
    flat(p, mn, "out", "best")
    with pytest.raises(ValueError, match=r"test_taum_hidden0_best.npy is missing; it should hold 40 numbers"):
        mn.test(p)
    taus = {"taum": np.linspace(5, 50, 40), "tausyn": np.linspace(2, 9, 40)}
    for name, values in taus.items():
        np.save(f"out/test_{name}_hidden0_best.npy", values)
    mn.train({**p, "N_EPOCH": 1, "ETA": 1e-12})
    hidden = mn.time_constants()["hidden0"]
    assert np.allclose(hidden["tau_mem"], taus["taum"]) and np.allclose(hidden["tau_syn"], taus["tausyn"])


@pytest.mark.parametrize("kind", ["short", "text", "missing", "nan"])
def test_wrong_flat_weights_are_named(p: dict[str, Any], kind: str) -> None:
    mn = SHD_model(p)
    flat(p, mn, "out")
    path = Path("out/test_w_hidden_output_last.npy")
    values = np.load(path)
    if kind == "short":
        np.save(path, values[:-1])
    elif kind == "nan":
        np.save(path, np.append(values[:-1], np.nan))
    elif kind == "text":
        path.write_text("no array")
    else:
        path.unlink()
    before = {f: f.read_bytes() for f in Path("out").iterdir()}
    with pytest.raises(
        ValueError, match=r"test_w_hidden_output_last.npy (must hold 800 finite|is no readable|is missing)"
    ):
        mn.train({**p, "LOAD_LAST": True})
    assert {f: f.read_bytes() for f in Path("out").iterdir() if f.suffix == ".npy"} == before


def test_without_any_file_the_checkpoint_is_named(p: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint out/test_state_last.npz"):
        SHD_model(p).test({**p, "LOAD_LAST": True})


# What is reported


def test_the_best_epochs_line(p: dict[str, Any]) -> None:
    mn = SHD_model(p)
    mn.train({**p, "CHECKPOINT_BEST": "training"})
    lines = Path("out/test_results.txt").read_text().splitlines()
    best = int(np.argmax([record["train_accuracy"] for record in mn.history]))
    assert Path("out/test_best.txt").read_text() == lines[best] + "\n"


def test_profile_reports_building_input_and_memory(p: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    mn = SHD_model(p)
    mn.train({**p, "PROFILE": True, "WRITE_TO_DISK": False})
    spikes = mn.data.train.spikes
    assert mn.timing["input_mb"] == (spikes.offsets.nbytes + 4 * spikes.steps.size) / 2**20
    assert 0 < mn.timing["building"] < mn.timing["seconds"] and 0.05 < mn.timing["peak_gb"] < 20
    assert "peak memory of the process" in capsys.readouterr().out
    quiet = SHD_model(p)
    quiet.train({**p, "WRITE_TO_DISK": False})
    assert "building" not in quiet.timing
    for name, w in mn.weights().items():
        assert w.tobytes() == quiet.weights()[name].tobytes()


@pytest.mark.parametrize("change", [{}, {"N_INPUT_DELAY": 2, "INPUT_DELAY": 30.0}])
def test_integrity_is_checked(
    p: dict[str, Any], change: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    p |= {"TEST_ST_INTEGRITY": True, "WRITE_TO_DISK": False, "N_EPOCH": 1, **change}
    SHD_model(p).train(p)
    assert "has the input spikes of 16 samples as they are in the data" in capsys.readouterr().out
    from eventprop.backends.cpu.engine import CpuEngine

    right = CpuEngine.spike_times
    wrong = lambda self, index, name: tuple(a[:-1] for a in right(self, index, name))  # noqa: E731
    monkeypatch.setattr(CpuEngine, "spike_times", wrong)
    with pytest.raises(RuntimeError, match=r"input spikes of sample .* are not those of the data"):
        SHD_model(p).train(p)


# Test data choose nothing


def test_the_rate_never_follows_the_test_data(p: dict[str, Any]) -> None:
    """The older program's train_test ran its schedule on test accuracy."""
    p |= {"EMA_WHICH": "validation", "MIN_EPOCH_ETA_FIXED": 0, "EMA_ALPHA1": 0.8, "EMA_ALPHA2": 0.1, "N_EPOCH": 4}
    p["WRITE_TO_DISK"] = False
    mn = SHD_model(p)
    with pytest.warns(UserWarning, match="goes by training accuracy"):
        mn.train_test(p)
    rates = [record["learning_rate"] for record in mn.history]
    other = SHD_model(p)
    other.data.test.labels[:] = 0
    with pytest.warns(UserWarning, match="goes by training accuracy"):
        other.train_test(p)
    assert [record["learning_rate"] for record in other.history] == rates
    assert len(set(rates)) > 1
    assert other.history[-1]["eval_accuracy"] != mn.history[-1]["eval_accuracy"]


def test_the_best_epoch_is_never_chosen_by_test_data(p: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='CHECKPOINT_BEST="validation" would choose the best epoch by test data'):
        SHD_model(p).train_test({**p, "CHECKPOINT_BEST": "validation"})
    assert not Path("out").exists()
