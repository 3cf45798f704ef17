"""Checkpoints, files that are whole, results files, learning rate."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import files
from eventprop.network import Network
from eventprop.parameters.shd import resolve_shd
from eventprop.reports import results
from eventprop.reports.results import Place
from eventprop.simulators.records import network_of
from eventprop.training import checkpoint
from eventprop.training.checkpoint import TrainingState
from eventprop.training.journal import Journal, Mark
from eventprop.training.schedule import LearningRate, RateSettings

SHAPES = {"in_to_hid": (3, 4), "hid_to_out": (4, 2)}
TRAINED = {"hidden0.tau_mem": (4,), "hidden0.tau_syn": (4,)}


def network(**change: Any) -> Network:
    return network_of(resolve_shd({"NUM_HIDDEN": 4, "TRAIN_TAU": True, "MODEL_SEED": 1, **change}), 3, 2)


def state(epoch: int = 2) -> TrainingState:
    rng = np.random.default_rng(epoch)
    shapes = SHAPES | TRAINED
    m, v, values = ({k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()} for _ in range(3))
    return TrainingState(
        weights={k: values[k] for k in SHAPES},
        moments={"m": m, "v": v},
        time_constants={"hidden0": {k: 9 + abs(values[f"hidden0.{k}"]) for k in ("tau_mem", "tau_syn")}},
        rate=LearningRate(0.1 + epoch, 1 / 3),
        epoch=epoch,
        updates=7,
        best=0.5,
        seconds=1.25,
        places={"a.txt": Place(3, 1)},
    )


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Fails if anything that a resumed run needs is lost or rounded."""
    path, s = tmp_path / "x_state_last.npz", state()
    journal = Journal(tmp_path, Mark("x_journal.bin"))
    journal.add("history", "", {"epoch": 0, "train_loss": float("nan"), "eval_loss": 0.1})
    for predicted in ([1, 2], [2, 2]):
        journal.add("collected", "predictions_eval", np.array(predicted, np.int32))
    s.mark = journal.commit()
    checkpoint.save(path, s, {"ETA": 0.1, "NAME": "x"}, "x")
    found, p = checkpoint.load(path, network())
    assert p == {"ETA": 0.1, "NAME": "x"}
    for a, b in (
        (found.weights, s.weights),
        (found.moments["m"], s.moments["m"]),
        (found.moments["v"], s.moments["v"]),
        (found.time_constants["hidden0"], s.time_constants["hidden0"]),
    ):
        assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == np.float32 for k in b)
    assert (found.rate, found.epoch, found.updates, found.best, found.seconds) == (s.rate, 2, 7, 0.5, 1.25)
    assert found.places == s.places and np.isnan(found.history[0]["train_loss"])
    assert np.array_equal(np.stack(found.collected["predictions_eval"]), [[1, 2], [2, 2]])
    flat = np.load(tmp_path / "x_w_input_hidden_last.npy")
    assert flat.dtype == np.float32 and np.array_equal(flat, s.weights["in_to_hid"].ravel())


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    changed = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "text": b"hello",
        "bits": data[:300] + b"\xff" * 40 + data[340:],
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "bits"])
def test_a_broken_checkpoint_is_named(tmp_path: Path, how: str) -> None:
    """Fails if a damaged file is loaded, or fails without saying which file it is."""
    path = tmp_path / "x_state_last.npz"
    checkpoint.save(path, state(), {})
    damaged(path, how)
    with pytest.raises(ValueError, match=r"x_state_last\.npz is not a whole checkpoint"):
        checkpoint.load(path, network())


def test_a_checkpoint_is_never_unpickled(tmp_path: Path) -> None:
    """Fails if a file could run code when it is loaded."""
    path = tmp_path / "x_state_last.npz"
    np.savez(path, meta=np.array([{"format": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        checkpoint.load(path, network())


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    """Fails if weights of another shape are taken, or the message does not name what differs."""
    path = tmp_path / "x_state_last.npz"
    checkpoint.save(path, state(), {})
    changes: dict[str, dict[str, Any]] = {
        r"in_to_hid is \(3, 4\) there and \(3, 5\) here.*check NUM_HIDDEN, N_HID_LAYER": {"NUM_HIDDEN": 5},
        r"in_to_hid is \(3, 4\) there and \(9, 4\) here.*N_INPUT_DELAY": {"N_INPUT_DELAY": 2},
        "hid_to_hid0 is absent there.*RECURRENT": {"RECURRENT": True},
        "hid_to_hidfwd0 is absent there": {"N_HID_LAYER": 2},
        r"hidden0.tau_mem is \(4,\) there and absent here; .*check TRAIN_TAU": {"TRAIN_TAU": False},
        r"output.tau_mem is absent there and \(2,\) here.*TRAIN_TAU_OUTPUT": {"TRAIN_TAU_OUTPUT": True},
        r"hidden0.tau_b is absent there and \(4,\) here": {"HIDDEN_NEURON_TYPE": "ALIF", "TRAIN_TAU_B": True},
    }
    for message, change in changes.items():
        with pytest.raises(ValueError, match=message):
            checkpoint.load(path, network(**change))
    with pytest.raises(ValueError, match=r"output.tau_mem is absent there and \(2,\) here.*OUTPUT_NEURON_TYPE"):
        checkpoint.load(path, network(OUTPUT_NEURON_TYPE="hetLI"), to_train=False)
    with pytest.raises(FileNotFoundError, match=r"y_state_last\.npz"):
        checkpoint.load(tmp_path / "y_state_last.npz", network())


def test_a_checkpoint_with_nan_is_refused(tmp_path: Path) -> None:
    path, s = tmp_path / "x_state_last.npz", state()
    s.weights["in_to_hid"][0, 0] = np.nan
    checkpoint.save(path, s, {})
    with pytest.raises(ValueError, match="not finite in w/in_to_hid"):
        checkpoint.load(path, network())
    s = state()
    s.time_constants["hidden0"]["tau_syn"][0] = np.inf
    checkpoint.save(path, s, {})
    with pytest.raises(ValueError, match=r"not finite in tau/hidden0\.tau_syn"):
        checkpoint.load(path, network())


def test_a_checkpoint_of_later_training_can_be_tested_without(tmp_path: Path) -> None:
    """Moments of time constants that are not trained any more are no obstacle where nothing is trained."""
    path = tmp_path / "x_state_last.npz"
    checkpoint.save(path, state(), {})
    found, _ = checkpoint.load(path, network(HIDDEN_NEURON_TYPE="hetLIF", TRAIN_TAU=False), to_train=False)
    assert found.time_constants.keys() == {"hidden0"}


def test_flat_arrays_have_the_older_programs_names(tmp_path: Path) -> None:
    """Its users' scripts read these files: every layer's weights, and time constants that neurons do not share."""
    p = resolve_shd({"NUM_HIDDEN": 4, "N_HID_LAYER": 3, "RECURRENT": True, "MODEL_SEED": 1})
    weights = network_of(p, 3, 2).initial_weights(1)
    constants = {
        q: {n: np.full(2, 7, np.float32) for n in ("tau_mem", "tau_syn", "tau_b")} for q in ("hidden1", "output")
    }
    s = TrainingState(weights=weights, moments={}, rate=LearningRate(1.0, 1.0), time_constants=constants)
    checkpoint.save(tmp_path / "x_state_best.npz", s, {}, "x")
    layers = ["input_hidden", "hidden_output", "hidden0_hidden1", "hidden1_hidden2"]
    layers += [f"hidden{i}_hidden{i}" for i in range(3)]
    taus = [f"{t}_{q}" for t in ("taum", "tausyn", "taub") for q in ("hidden1", "output")]
    names = [*(f"x_w_{name}_best.npy" for name in layers), *(f"x_{name}_best.npy" for name in taus)]
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "x_state_best.npz"])
    forward = np.load(tmp_path / "x_w_hidden1_hidden2_best.npy")
    assert np.array_equal(forward, weights["hid_to_hidfwd1"].ravel()) and forward.dtype == np.float32
    assert np.array_equal(np.load(tmp_path / "x_w_hidden2_hidden2_best.npy"), weights["hid_to_hid2"].ravel())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A full disk or a stop in the middle of writing: the old file stays, nothing else is left behind."""
    path = tmp_path / "x_state_last.npz"
    checkpoint.save(path, state(1), {})
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(path, state(2), {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"OUT_DIR=.*file/x.* cannot be written"):
        files.check_folder(tmp_path / "file" / "x")


def record(epoch: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(results.COLUMNS[1:], 0.5)
    return {**row, "epoch": epoch, "train_loss": float("nan"), "silent_neurons": 3, "seconds": 1.0 + epoch}


def test_results_are_appended_and_a_resumed_run_repeats_no_line(tmp_path: Path) -> None:
    """Fails if an earlier run's lines are lost, or a line of a killed run is there twice or missing."""
    first = results.RunFiles(tmp_path, "x", "train", activity=False)
    start = first.begin()
    first.write(start, [record(0), record(1)])
    second = results.RunFiles(tmp_path, "x", "train", activity=False)
    start = second.begin()
    second.write(start, [record(0)])
    second.write(start, [record(0), record(1), record(2)])
    second.write(start, [record(0), record(1)])  # resumed from the checkpoint of epoch 1
    lines = (tmp_path / "x_results.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "0", "1"]
    assert lines[1] == "1 0.5 nan 0.5 0.5 2.000"
    assert np.loadtxt(tmp_path / "x_results.txt").shape == (4, 6)
    with (tmp_path / "x_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["0", "1", "0", "1"] and rows[0]["silent_neurons"] == "3"


def test_activity_columns() -> None:
    """DEBUG_HIDDEN_N's nine columns, worked out by hand for three samples in batches of two."""
    counts = np.array([[1, 3], [3, 5], [0, 0]], np.float32)
    found = results.activity_columns(counts, 2, 0)
    assert (
        found["hidden_spikes_mean"] == 4.0 and found["hidden_spikes_max"] == 8.0 and found["hidden_spikes_min"] == 0.0
    )
    assert found["neuron_spikes_mean"] == 1.5 and found["neuron_spikes_max"] == 4.0
    classic = results.RunFiles(Path("."), "x", "train", activity=True)._text_rows([record(0)], False)
    assert len(classic.split()) == 15


def test_activity_columns_of_several_layers() -> None:
    """The classic file has nine columns for each layer, the CSV nine for all; without DEBUG_HIDDEN_N there are six."""
    layers = [dict.fromkeys(results.ACTIVITY_COLUMNS, value) for value in (1.5, 2.5)]
    row = {**record(0), "layers": layers}
    text = {a: results.RunFiles(Path("."), "x", "train", activity=a)._text_rows([row], False) for a in (True, False)}
    assert text[True].split()[5:-1] == [b"1.5"] * 9 + [b"2.5"] * 9 and len(text[False].split()) == 6
    table = results.RunFiles(Path("."), "x", "train", activity=True)._table_rows([row], True).decode().splitlines()
    assert [len(line.split(",")) for line in table] == [len(results.COLUMNS)] * 2


RATE = RateSettings(eta=0.1, lr_ease_in_factor=2.0, ema_alpha1=0.5, ema_alpha2=0.9, eta_fac=0.5, min_epoch_eta_fixed=2)


def test_learning_rate_eases_in_and_is_reduced_on_a_plateau() -> None:
    """The schedule by hand. Fails if ease-in never ends, if the averages are swapped, or the wait is not kept."""
    rate = LearningRate.start(RATE)
    assert rate.working == pytest.approx(1e-4)
    for _ in range(9):
        rate.after_update(RATE)
    assert rate.working == pytest.approx(1e-4 * 2**9)
    rate.after_update(RATE)
    assert rate.working == 0.1
    assert not rate.after_epoch(RATE, 0, 0.8)
    assert (rate.fast, rate.slow) == pytest.approx((0.4, 0.08))
    for epoch in range(1, 4):
        assert not rate.after_epoch(RATE, epoch, 0.8)  # fast above slow
    dropped = [epoch for epoch in range(4, 12) if rate.after_epoch(RATE, epoch, 0.0)]
    assert dropped and np.all(np.diff(dropped) > 2)
    assert rate.nominal == rate.working == pytest.approx(0.1 * 0.5 ** len(dropped))


def test_learning_rate_stays_where_there_is_nothing_to_go_by() -> None:
    """The reference halves the rate without evaluation data. Here the schedule waits."""
    rate = LearningRate.start(replace(RATE, lr_ease_in_factor=None))
    assert rate.working == 0.1
    assert not any(rate.after_epoch(RATE, epoch, None) for epoch in range(20))
