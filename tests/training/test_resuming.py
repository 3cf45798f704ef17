"""Runs that are stopped, killed or gone on with: the same bits as those that never stopped, and no file is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.parameters.delays import PROJECTIONS
from simulator_SHD import SHD_model
from tests.support.places import ROOT


def bits(weights: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {k: w.tobytes() for k, w in weights.items()}


def without_seconds(path: Path) -> list[list[str]]:
    return [line.split()[:-1] for line in path.read_text().splitlines()]


# All that a run can have at once, with each kind of spiking output.
EVERYTHING: dict[str, Any] = {
    **{"HIDDEN_NEURON_TYPE": "ALIF", "N_HID_LAYER": 2, "HIDDEN_HIDDENFWD_MEAN": 0.1, "HIDDEN_HIDDENFWD_STD": 0.6},
    **{"TRAIN_TAU": True, "TRAIN_TAU_B": True, "TRAIN_TAU_OUTPUT": True},
    **{"MIN_TAU_SYN": 5.0, "MIN_TAU_M": 5.0, "MIN_TAU_B": 5.0, "HIDDEN_NOISE": 0.02, "PDROP_HIDDEN": 0.1},
    **{"N_INPUT_DELAY": 2, "INPUT_DELAY": 30.0, "INPUT_HIDDEN_MEAN": 0.02, "N_TRAIN": 50},
    **{"REG_TYPE": "Thomas1", "RHO_UPPER": 100.0, "GLB_UPPER": 1e-6, "REWIRE_SILENT": True},
}
DELAYS: dict[str, Any] = {f"{name}_DELAY_MAX": 60.0 for name in PROJECTIONS} | {"TRAIN_DELAYS": list(PROJECTIONS)}
DELAYS |= {"INPUT_HIDDEN_DELAY_UNIFORM": [0.0, 60.0], "HIDDEN_HIDDEN_DELAY_MEAN": 10.0, "HIDDEN_HIDDEN_DELAY_STD": 8.0}
DELAYS |= {"ETA_DELAY": 2.0}
VOLTAGES = {**EVERYTHING, **DELAYS, "OUTPUT_NEURON_TYPE": "hetLI", "LOSS_TYPE": "sum_weigh_input"}
PLAIN_SPIKES = {**EVERYTHING, "LOSS_TYPE": "first_spike_exp", "HIDDEN_OUTPUT_MEAN": 0.6, "REWIRE_LIFT": 0.01}
SPIKES = {**PLAIN_SPIKES, **DELAYS, "DELAY_PER": "source"}
EXACT = {**PLAIN_SPIKES, "HIDDEN_NOISE": 0.0, "SPIKE_TIMING": "exact"}
KINDS = pytest.mark.parametrize("change", [VOLTAGES, SPIKES, EXACT], ids=["voltages", "spikes", "exact"])


def all_bits(mn: SHD_model) -> dict[str, bytes]:
    """Weights, delays and time constants, to the bit."""
    constants = {f"{q}.{n}": a.tobytes() for q, values in mn.time_constants().items() for n, a in values.items()}
    delays = {f"delays of {name}": d for name, d in bits(mn.delays()).items()}
    return {**bits(mn.weights()), **delays, **constants}


@KINDS
def test_same_bits_for_any_number_of_threads_with_everything_on(p: dict[str, Any], change: dict[str, Any]) -> None:
    """Fails if a random stream, a regulariser's count or a sum of time constants' gradients depends on threads."""
    runs = []
    for n in (1, 2, 3):
        run = {**p, **change, "NUM_THREADS": n, "N_EPOCH": 2, "OUT_DIR": f"out{n}"}
        mn = SHD_model(run)
        mn.train(run)
        runs.append((all_bits(mn), without_seconds(Path(f"out{n}/test_results.txt"))))
    assert runs[0] == runs[1] == runs[2]


@KINDS
def test_resuming_with_everything_on(p: dict[str, Any], change: dict[str, Any]) -> None:
    """Fails if time constants or their moments, an epoch's noise, dropout or rewiring is lost or repeated at a stop."""
    p |= {**change, "COLLECT_CONFUSION": True, "DEBUG_HIDDEN_N": True}
    whole = SHD_model({**p, "OUT_DIR": "whole"})
    whole.train({**p, "OUT_DIR": "whole"})
    assert sum(r.get("rewired", False) for r in whole.history) > 1
    SHD_model(p).train({**p, "N_EPOCH": 1})
    SHD_model(p).train({**p, "N_EPOCH": 3, "LOAD_LAST": True})
    part = SHD_model(p)
    part.train({**p, "LOAD_LAST": True})
    assert all_bits(part) == all_bits(whole)
    assert without_seconds(Path("out/test_results.txt")) == without_seconds(Path("whole/test_results.txt"))
    assert len(without_seconds(Path("out/test_results.txt"))[0]) == 5 + 18
    assert np.array_equal(np.load("out/test_confusion_train.npy"), np.load("whole/test_confusion_train.npy"))
    for path in Path("whole").glob("*_last.npy"):
        assert path.read_bytes() == Path("out", path.name).read_bytes()


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_same_bits_for_any_number_of_threads(p: dict[str, Any], threads: int) -> None:
    """Fails if a whole run's weights or results depend on NUM_THREADS."""
    runs = []
    for n in (1, threads):
        mn = SHD_model({**p, "NUM_THREADS": n, "N_EPOCH": 2, "OUT_DIR": f"out{n}"})
        mn.train({**p, "NUM_THREADS": n, "N_EPOCH": 2, "OUT_DIR": f"out{n}"})
        runs.append((bits(mn.weights()), without_seconds(Path(f"out{n}/test_results.txt"))))
    assert runs[0] == runs[1]


def test_resuming_is_as_if_never_stopped(p: dict[str, Any]) -> None:
    """Fails if anything (moments, step, rate, averages, order of samples, dropout, results) is lost at a stop."""
    p |= {"COLLECT_CONFUSION": True}
    whole = SHD_model({**p, "OUT_DIR": "whole"})
    whole.train({**p, "OUT_DIR": "whole"})
    SHD_model(p).train({**p, "N_EPOCH": 1})
    SHD_model(p).train({**p, "N_EPOCH": 3, "LOAD_LAST": True})
    part = SHD_model(p)
    result = part.train({**p, "LOAD_LAST": True})
    assert bits(part.weights()) == bits(whole.weights())
    assert without_seconds(Path("out/test_results.txt")) == without_seconds(Path("whole/test_results.txt"))
    assert np.array_equal(np.load("out/test_confusion_train.npy"), np.load("whole/test_confusion_train.npy"))
    again = SHD_model(p).train({**p, "LOAD_LAST": True})  # nothing is left to do
    assert again == result
    assert len(without_seconds(Path("out/test_results.txt"))) == 4


COMMAND = [sys.executable, str(ROOT / "train_SHD.py"), "train", "--params", "p.json"]


def test_a_killed_run_goes_on_to_the_same_bits(p: dict[str, Any]) -> None:
    """SIGKILL at several moments, then LOAD_LAST: weights and results of an unbroken run, to the bit."""
    p |= {"N_EPOCH": 6}
    whole = SHD_model({**p, "OUT_DIR": "whole"})
    whole.train({**p, "OUT_DIR": "whole"})
    Path("p.json").write_text(json.dumps(p))
    last = Path("out/test_state_last.npz")
    for kill, wait in enumerate((0.0, 0.03, 0.11)):
        process = subprocess.Popen([*COMMAND, f"LOAD_LAST={json.dumps(kill > 0)}"], stdout=subprocess.DEVNULL)
        before = last.stat().st_mtime_ns if last.exists() else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not last.exists() or last.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert last.exists()
    subprocess.run([*COMMAND, "LOAD_LAST=true"], check=True, stdout=subprocess.DEVNULL)
    assert without_seconds(Path("out/test_results.txt")) == without_seconds(Path("whole/test_results.txt"))
    for name in ("input_hidden", "hidden0_hidden0", "hidden_output"):
        file = f"test_w_{name}_last.npy"
        assert Path("out", file).read_bytes() == Path("whole", file).read_bytes()


def test_going_on_loses_no_line_of_the_results(p: dict[str, Any]) -> None:
    """Lines that were added since (a test, a run from the best epoch) stay; new epochs follow behind them."""
    p |= {"CHECKPOINT_BEST": "training", "N_EPOCH": 2}
    SHD_model(p).train(p)
    SHD_model(p).test({**p, "LOAD_LAST": True})
    SHD_model(p).train({**p, "LOAD_LAST": True, "N_EPOCH": 3})
    epochs = [(row[0], row[2] == "nan") for row in without_seconds(Path("out/test_results.txt"))]
    assert epochs == [("0", False), ("1", False), ("0", True), ("2", False)]
    before = Path("out/test_results.txt").read_text()
    with_best = SHD_model(p)
    with_best.train({**p, "LOAD_BEST": True, "N_EPOCH": 5})
    after = Path("out/test_results.txt").read_text()
    assert after.startswith(before) and after.splitlines()[-1].startswith("4 ")
    assert Path("out/test_state_last_previous_1.npz").exists()
    other = {**p, "NAME": "other", "CHECKPOINT_NAME": "test", "LOAD_LAST": True, "N_EPOCH": 6}
    Path("out/other_results.txt").write_text("mine\n")
    SHD_model(p).train(other)
    assert Path("out/other_results.txt").read_text().startswith("mine\n5 ")


def test_going_on_with_other_settings_warns(p: dict[str, Any]) -> None:
    SHD_model(p).train({**p, "N_EPOCH": 1})
    with pytest.warns(UserWarning, match=r"settings differ from those of .*: ETA 0.005 -> 0.001"):
        SHD_model(p).train({**p, "N_EPOCH": 2, "LOAD_LAST": True, "ETA": 0.001})


def test_drawn_seeds_are_taken_over_when_going_on(p: dict[str, Any]) -> None:
    """With seeds of None a resumed run must go on with the seeds of its first part, not draw new ones."""
    p |= {"MODEL_SEED": None, "TRAIN_DATA_SEED": None}
    SHD_model(p).train({**p, "N_EPOCH": 2})
    saved = json.loads(Path("out/test.json").read_text())
    resumed = SHD_model(p)
    resumed.train({**p, "LOAD_LAST": True})
    whole = SHD_model({**saved, "N_EPOCH": 4, "OUT_DIR": "whole"})
    whole.train({**saved, "N_EPOCH": 4, "OUT_DIR": "whole"})
    assert bits(resumed.weights()) == bits(whole.weights())


def test_cross_validation_goes_on(p: dict[str, Any]) -> None:
    """Folds that are complete are not run again, others go on or start."""
    p |= {"SPEAKER_LEFT": [0, 3], "N_EPOCH": 2}
    whole = SHD_model({**p, "OUT_DIR": "whole"})
    expected, _ = whole.cross_validate_SHD({**p, "OUT_DIR": "whole"})
    SHD_model(p).cross_validate_SHD({**p, "SPEAKER_LEFT": [0]})
    found, _ = SHD_model(p).cross_validate_SHD({**p, "LOAD_LAST": True})
    assert found == expected
    assert without_seconds(Path("out/test_results.txt")) == without_seconds(Path("whole/test_results.txt"))


def test_an_earlier_checkpoint_of_the_name_is_kept(p: dict[str, Any]) -> None:
    """A new run under an old NAME must not lose the old run's checkpoint."""
    p |= {"N_EPOCH": 1}
    SHD_model(p).train(p)
    old = Path("out/test_state_last.npz").read_bytes()
    SHD_model(p).train(p)
    assert Path("out/test_state_last_previous_1.npz").read_bytes() == old
    assert len(without_seconds(Path("out/test_results.txt"))) == 2
