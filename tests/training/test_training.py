"""Whole runs: what a user's script sees, resuming, repeating, and the files that are left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.data.splits import random_split
from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.records import Records
from eventprop.streams import stream_seed
from eventprop.training import checkpoint, trainer
from simulator_SHD import SHD_model
from tests.training.test_resuming import EXACT, SPIKES, bits, without_seconds


def test_returns_and_files_of_a_run(p: dict[str, Any]) -> None:
    """What the seed's users unpack and find: fails if a return value, column or file is missing or misshaped."""
    p |= {"COLLECT_CONFUSION": True, "REC_PREDICTIONS": True, "DEBUG_HIDDEN_N": True, "CHECKPOINT_BEST": "validation"}
    before = dict(p)
    mn = SHD_model(p)
    spike_t, spike_ID, rec_n, rec_s, correct, correct_eval = mn.train(p)
    assert p == before
    assert spike_t == spike_ID == rec_n == rec_s == {}
    table = np.loadtxt("out/test_results.txt")
    assert (
        table.shape == (4, 15)
        and table[-1, 1] == pytest.approx(correct)
        and table[-1, 3] == pytest.approx(correct_eval)
    )
    assert {n: w.shape for n, w in mn.weights().items()} == {
        "in_to_hid": (700, 40),
        "hid_to_hid0": (40, 40),
        "hid_to_out": (40, 20),
    }
    confusion = np.load("out/test_confusion_train.npy")
    assert confusion.shape == (4, 20, 20) and (confusion.sum(axis=(1, 2)) == 100).all()
    predictions, labels = np.load("out/test_predictions_eval.npy"), np.load("out/test_labels_eval.npy")
    assert predictions.shape == labels.shape == (4, 20)
    assert (predictions[-1] == labels[-1]).mean() == pytest.approx(correct_eval)
    assert np.trace(np.load("out/test_confusion_eval.npy")[-1]) / 20 == pytest.approx(correct_eval)
    saved = json.loads(Path("out/test.json").read_text())
    assert saved["MODEL_SEED"] == 3 and saved["SPK_REC_STEPS"] == 140
    for name in ("state_last.npz", "state_best.npz", "learning.png", "results.csv", "w_input_hidden_last.npy"):
        assert Path(f"out/test_{name}").stat().st_size > 100
    assert sorted(os.listdir(".")) == ["out"]


def test_write_to_disk_false_writes_nothing(p: dict[str, Any]) -> None:
    mn = SHD_model({**p, "WRITE_TO_DISK": False, "N_EPOCH": 1})
    mn.train({**p, "WRITE_TO_DISK": False, "N_EPOCH": 1})
    mn.test({**p, "WRITE_TO_DISK": False})
    assert os.listdir(".") == []


def test_each_use_of_randomness_has_its_own_stream() -> None:
    """Fails if two share a stream, if an epoch repeats another's, or if input dropout is not what it was in runs of
    earlier versions."""
    changed = {"MODEL_SEED": 3, "PDROP_INPUT": 0.1, "PDROP_HIDDEN": 0.2, "HIDDEN_NOISE": 0.3}
    found = [trainer._randomness(Records.of(resolve_shd(changed)).loop, epoch) for epoch in (0, 1)]
    assert (found[0].input_dropout, found[0].hidden_dropout, found[0].noise) == (0.1, 0.2, 0.3)
    seeds = [s for r in found for s in (r.input_seed, r.hidden_seed, r.noise_seed)]
    assert len(set(seeds)) == 6 and seeds[0] == stream_seed(3, "input dropout", 0)


@pytest.mark.parametrize("change", [{"HIDDEN_NOISE": 0.1}, {"PDROP_HIDDEN": 0.5}, {"PDROP_INPUT": 0.5}])
def test_nothing_is_random_outside_of_training(p: dict[str, Any], change: dict[str, Any]) -> None:
    """Fails if noise or dropout reaches validation, or has no effect in training."""
    p |= {"PDROP_INPUT": 0.0, "ETA": 1e-12, "N_EPOCH": 1, "WRITE_TO_DISK": False}
    losses = []
    for run in (p, p | change):
        mn = SHD_model(run)
        mn.train(run)
        losses.append((mn.history[0]["train_loss"], mn.history[0]["eval_loss"]))
    assert losses[0][0] != losses[1][0] and losses[0][1] == losses[1][1]


def test_samples_without_an_output_spike_are_never_correct(p: dict[str, Any]) -> None:
    """The reference takes them for class 0. They are recorded as -1 and are in no confusion matrix."""
    p |= {"LOSS_TYPE": "first_spike", "HIDDEN_OUTPUT_MEAN": 0.0, "HIDDEN_OUTPUT_STD": 0.001, "N_EPOCH": 1, "ETA": 1e-12}
    p |= {"COLLECT_CONFUSION": True, "REC_PREDICTIONS": True}
    mn = SHD_model(p)
    with pytest.warns(UserWarning, match=r"no output neuron spiked in training \(100 samples\)"):
        result = mn.train(p)
    assert result.correct == result.correct_eval == 0.0 and np.isfinite(mn.history[0]["train_loss"])
    assert (mn.collected["predictions_eval"] == -1).all() and not mn.collected["confusion_train"].any()
    subset = mn.test_file(mn.p)
    assert (mn.predictions(p, subset) == -1).all()
    found = mn.predict(p, [{"x": [3], "t": [1.0]}])
    assert found.classes.tolist() == [-1] and found.scores.shape == (1, 20)
    assert all(t.size == ids.size == 0 for t, ids in mn.spikes(p, subset, "output"))


def test_first_spikes_decide(p: dict[str, Any]) -> None:
    """The prediction is the output whose first spike is the earliest, in training, testing and prediction alike."""
    p |= {"LOSS_TYPE": "first_spike", "HIDDEN_OUTPUT_MEAN": 0.3, "REC_PREDICTIONS": True, "N_EPOCH": 1}
    mn = SHD_model(p)
    mn.train(p)
    assert mn.test(p).correct_eval == mn.history[0]["eval_accuracy"]
    predictions, subset = mn.collected["predictions_eval"][0], mn.test_file(mn.p)
    assert np.array_equal(predictions, mn.predictions(p, subset)) and (predictions >= 0).any()
    for prediction, (times, ids) in zip(predictions, mn.spikes(p, subset, "output"), strict=True):
        assert prediction == (min(zip(times, ids, strict=True))[1] if ids.size else -1)


def test_spikes_of_each_population(p: dict[str, Any]) -> None:
    """Every hidden layer's, and the outputs' where they spike; others are refused by name."""
    p |= {"N_HID_LAYER": 2, "HIDDEN_HIDDENFWD_MEAN": 0.1, "HIDDEN_OUTPUT_MEAN": 0.3}
    mn = SHD_model(p)
    few = simulator_SHD.Subset(mn.data.test, np.arange(3))
    for population in ("input", "hidden0", "hidden1"):
        assert any(t.size for t, _ in mn.spikes(p, few, population))
    with pytest.raises(
        ValueError, match="population 'hidden2' is not there; there are spikes of input, hidden0, hidden1"
    ):
        mn.spikes(p, few, "hidden2")
    with pytest.raises(ValueError, match="population 'output' does not spike; there are spikes of input, hidden0"):
        mn.spikes(p, few, "output")
    with pytest.raises(ValueError, match=r"population 'hidden1' is not there; there are spikes of input, hidden0$"):
        mn.spikes({**p, "N_HID_LAYER": 1}, few, "hidden1")
    first_spike = {**p, "LOSS_TYPE": "first_spike"}
    assert any(t.size for t, _ in mn.spikes(first_spike, few, "output"))


def test_times_of_spikes(p: dict[str, Any]) -> None:
    """On the grid the ends of steps, exact ones within them, in order; the earliest output is the prediction."""
    for change, on_grid in ((SPIKES, True), (EXACT, False)):
        run = {**p, **change}
        mn = SHD_model(run)
        few = simulator_SHD.Subset(mn.data.test, np.arange(5))
        times, _ = zip(*mn.spikes(run, few, "hidden1"), strict=True)
        assert sum(t.size for t in times) > 20
        for t in times:
            assert ((t > 0) & (t <= 700.0)).all() and (np.diff(t) >= 0).all()
            assert (t % 5.0 == 0.0).all() == on_grid or not t.size
        assert all((t % 5.0 == 0.0).all() for t, _ in mn.spikes(run, few, "input"))
        for prediction, (t, ids) in zip(mn.predictions(run, few), mn.spikes(run, few, "output"), strict=True):
            assert prediction == (min(zip(t, ids, strict=True))[1] if ids.size else -1)


def test_the_p_of_a_call_counts(p: dict[str, Any]) -> None:
    """Keys may change after construction: as long as nothing was trained or set, the same as a new object gives."""
    mn, X = SHD_model(p), [{"x": np.arange(0, 700, 5), "t": np.linspace(0, 300, 140)}]
    for change in ({"N_HID_LAYER": 2}, {"RECURRENT": False}, {"NUM_HIDDEN": 21}, {"INPUT_HIDDEN_MEAN": 0.08}):
        other = {**p, **change}
        assert np.array_equal(mn.predict(other, X).scores, SHD_model(other).predict(other, X).scores), change
    with pytest.warns(UserWarning, match="none of the 40 neurons of hidden1 spiked in training"):
        mn.train({**p, "N_HID_LAYER": 2, "N_EPOCH": 1})
    mn.set_weights(mn.weights())
    assert "hid_to_hidfwd0" in mn.weights()
    with pytest.raises(ValueError, match="unknown: hid_to_hid1, hid_to_hidfwd0"):
        mn.predict(p, X)


def test_activity_of_each_layer(p: dict[str, Any]) -> None:
    """DEBUG_HIDDEN_N: nine columns for each layer in the classic file; the CSV has those of all neurons."""
    p |= {"N_HID_LAYER": 2, "HIDDEN_HIDDENFWD_MEAN": 0.1, "DEBUG_HIDDEN_N": True, "N_EPOCH": 1, "PDROP_INPUT": 0.0}
    p |= {"ETA": 1e-12, "SHUFFLE": False}
    mn = SHD_model(p)
    mn.train(p)
    training, _ = random_split(mn.training_file(mn.p), 100, 20, mn.p["TRAIN_DATA_SEED"])
    row = np.loadtxt("out/test_results.txt")
    assert row.shape == (6 + 18,)
    totals, silent = [], []
    for layer in ("hidden0", "hidden1"):
        spikes = [ids for _, ids in mn.spikes(p, training, layer)]
        totals.append(np.array([ids.size for ids in spikes]))
        silent.append(40 - len(set(np.concatenate(spikes).tolist())))
    for layer in range(2):
        columns = row[5 + 9 * layer : 14 + 9 * layer]
        found = (totals[layer].mean(), totals[layer].std(), totals[layer].min(), totals[layer].max())
        assert columns[:4] == pytest.approx(found, rel=1e-6) and columns[8] == silent[layer]
    record = mn.history[0]
    assert record["hidden_spikes_mean"] == pytest.approx(sum(totals).mean(), rel=1e-6)
    assert record["silent_neurons"] == sum(silent)


def test_seeds_of_none_are_drawn_and_saved(p: dict[str, Any]) -> None:
    """A run without seeds must be repeatable from the parameters that it saved."""
    p |= {"MODEL_SEED": None, "TRAIN_DATA_SEED": None, "N_EPOCH": 1}
    first = SHD_model(p)
    first.train(p)
    saved = json.loads(Path("out/test.json").read_text())
    assert saved["MODEL_SEED"] is not None and saved["TRAIN_DATA_SEED"] is not None
    again = SHD_model({**saved, "OUT_DIR": "again"})
    again.train({**saved, "OUT_DIR": "again"})
    assert bits(again.weights()) == bits(first.weights())
    other = SHD_model({**p, "OUT_DIR": "other"})
    assert bits(other.weights()) != bits(SHD_model(saved).weights())


def test_an_unrelated_option_does_not_shift_another_random_stream(p: dict[str, Any]) -> None:
    """Fails if, say, switching recurrence on draws other input weights or another split."""
    with_r, without = SHD_model(p), SHD_model({**p, "RECURRENT": False, "SHUFFLE": False, "PDROP_INPUT": 0.0})
    assert np.array_equal(with_r.weights()["in_to_hid"], without.weights()["in_to_hid"])
    assert np.array_equal(with_r.weights()["hid_to_out"], without.weights()["hid_to_out"])


def test_set_weights_is_where_training_starts(p: dict[str, Any]) -> None:
    mn = SHD_model({**p, "ETA": 1e-12, "N_EPOCH": 1})
    weights = {k: w + 0.001 for k, w in mn.weights().items()}
    mn.set_weights(weights)
    mn.train({**p, "ETA": 1e-12, "N_EPOCH": 1})
    for k, w in mn.weights().items():
        assert np.abs(w - weights[k]).max() < 1e-6
    with pytest.raises(ValueError, match=r"weights of in_to_hid have shape \(3, 3\); this network needs \(700, 40\)"):
        mn.set_weights({**weights, "in_to_hid": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="missing: hid_to_out"):
        mn.set_weights({k: w for k, w in weights.items() if k != "hid_to_out"})


def test_test_uses_the_trained_weights_or_a_checkpoint(p: dict[str, Any]) -> None:
    """Fails if testing runs on other weights than were trained, learns, or overwrites the checkpoint."""
    mn = SHD_model(p)
    mn.train(p)
    trained, state = bits(mn.weights()), Path("out/test_state_last.npz").read_bytes()
    here = mn.test(p)
    assert bits(mn.weights()) == trained
    loaded = SHD_model({**p, "MODEL_SEED": 99}).test({**p, "MODEL_SEED": 99, "LOAD_LAST": True})
    assert here.correct_eval == loaded.correct_eval and np.isnan([here.correct, loaded.correct]).all()
    assert Path("out/test_state_last.npz").read_bytes() == state
    assert [line[:3] for line in without_seconds(Path("out/test_results.txt"))[-1:]] == [["0", "nan", "nan"]]


def test_best_checkpoint_is_of_the_best_epoch(p: dict[str, Any]) -> None:
    p |= {"CHECKPOINT_BEST": "validation"}
    mn = SHD_model(p)
    mn.train(p)
    best = max(r["eval_accuracy"] for r in mn.history)
    reloaded = SHD_model(p)
    training, validation = random_split(reloaded.training_file(mn.p), 100, 20, mn.p["TRAIN_DATA_SEED"])
    found = reloaded._test(reloaded._for_run({**p, "LOAD_BEST": True}), validation).correct_eval
    assert found == best and len(training) == 100


def test_cross_validation_leaves_one_speaker_out(p: dict[str, Any]) -> None:
    """Fails if a left-out speaker is trained on, or a fold overwrites another's files."""
    p |= {"SPEAKER_LEFT": [1, 4], "N_EPOCH": 1, "REC_PREDICTIONS": True}
    mn = SHD_model(p)
    accuracies, seconds = mn.cross_validate_SHD(p)
    assert len(accuracies) == len(seconds) == 2 and len(accuracies[0]) == 2
    assert len(without_seconds(Path("out/test_results.txt"))) == 2
    speakers = mn.data.train.speakers
    assert speakers is not None
    for fold in (1, 4):
        assert Path(f"out/test_f{fold}_state_last.npz").exists()
        labels = np.load(f"out/test_f{fold}_labels_eval.npy")[0]
        assert np.array_equal(labels, mn.data.train.labels[speakers == fold])


def test_divergence_stops_the_run_and_keeps_the_checkpoint(p: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that is not finite must stop the run with layer, epoch and batch; the checkpoint stays finite."""
    from eventprop.backends.cpu.engine import CpuEngine

    run, calls = CpuEngine.run, []

    def poisoned(self: CpuEngine, *args: Any, learn: bool = False, **options: Any) -> Any:
        result = run(self, *args, learn=learn, **options)
        calls.append(learn)
        if learn and sum(calls) == 10:
            self._arrays["hid_to_hid0"]["g"][0, 0, 0] = np.nan
        return result

    with monkeypatch.context() as patch:
        patch.setattr(CpuEngine, "run", poisoned)
        with pytest.raises(trainer.TrainingDiverged, match=r"hid_to_hid0 is not finite in epoch 1, batch 2"):
            SHD_model(p).train(p)
    assert np.isfinite(SHD_model(p).test({**p, "LOAD_LAST": True}).correct_eval)


def test_divergence_of_a_time_constant_is_named(p: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradient, and time constants at the end of an epoch: name and population, and no checkpoint with them."""
    from eventprop.backends.cpu.engine import CpuEngine

    p |= {"TRAIN_TAU": True, "MIN_TAU_SYN": 5.0, "MIN_TAU_M": 5.0, "N_EPOCH": 1}
    for role, step, message in (
        ("g", "gradient_norm", r"the gradient of tau_syn of hidden0 is not finite in epoch 0, batch 0"),
        ("w", "time_constants", r"time constants tau_syn of hidden0 are not finite after epoch 0"),
    ):
        original = getattr(CpuEngine, step)

        def poisoned(self: CpuEngine, original: Any = original, role: str = role, **options: float) -> Any:
            self._trained["hidden0.tau_syn"][role][3] = np.nan
            return original(self, **options)

        with monkeypatch.context() as patch:
            patch.setattr(CpuEngine, step, poisoned)
            with pytest.raises(trainer.TrainingDiverged, match=message):
                SHD_model(p).train(p)
    state, _ = checkpoint.load(Path("out/test_state_last.npz"), SHD_model(p)._network)
    assert state.epoch == 0 and np.isfinite(state.time_constants["hidden0"]["tau_syn"]).all()


def test_spikes_without_end_stop_the_run(p: dict[str, Any]) -> None:
    """With exact times a neuron may spike ever faster: the run stops with epoch and batch, and nothing is lost."""
    p |= {"SPIKE_TIMING": "exact", "N_EPOCH": 1, "HIDDEN_HIDDEN_MEAN": 5.0}
    with pytest.raises(trainer.TrainingDiverged, match=r"spike without end.* \(epoch 0, batch 0\)"):
        SHD_model(p).train(p)
    assert Path("out/test_state_last.npz").exists()


def test_gradient_clip_bounds_the_step(p: dict[str, Any]) -> None:
    """GRAD_CLIP must reach the optimiser: with a large ADAM_EPS an update is proportional to the gradient."""
    p |= {"N_EPOCH": 1, "N_TRAIN": 16, "ADAM_EPS": 1e3, "ETA": 1e3, "LR_EASE_IN_FACTOR": None}
    moved = []
    for clip in (0.0, 1e-4):
        mn = SHD_model({**p, "GRAD_CLIP": clip})
        start = mn.weights()
        mn.train({**p, "GRAD_CLIP": clip, "WRITE_TO_DISK": False})
        moved.append(np.sqrt(sum(np.sum((w - start[k]).astype(float) ** 2) for k, w in mn.weights().items())))
    assert moved[1] == pytest.approx(1e-4, rel=0.02) and moved[0] > 2 * moved[1]


def test_gradients_are_the_derivative_of_the_loss(p: dict[str, Any]) -> None:
    """mn.gradients against finite differences of its own loss by read-out weights (spikes do not change), with all
    that training adds switched on: none of it may take part."""
    p |= {"DT_MS": 1.0, "NU_UPPER": 0.0, "LBD_UPPER": 1.0, "PDROP_INPUT": 0.5, "AVG_SNSUM": True, "TRAIN_W": False}
    mn = SHD_model(p)
    rng = np.random.default_rng(0)
    X = [{"x": rng.integers(0, 700, 3000), "t": rng.uniform(0, 600, 3000)} for _ in range(3)]
    Y = [0, 7, 19]
    found = mn.gradients(p, X, Y)
    weights = mn.weights()
    prediction = mn.predict(p, X)
    assert prediction.classes.shape == (3,) and prediction.scores.shape == (3, 20)
    log_p = prediction.scores - np.log(np.exp(prediction.scores).sum(axis=1, keepdims=True))
    assert found.loss == pytest.approx(-log_p[np.arange(3), Y].mean(), rel=1e-5)
    assert all(found.grads[k].shape == w.shape and found.grads[k].any() for k, w in weights.items())
    for _ in range(3):
        direction = rng.normal(size=(40, 20)).astype(np.float32)
        values = []
        for sign in (1, -1):
            mn.set_weights({**weights, "hid_to_out": weights["hid_to_out"] + np.float32(0.02 * sign) * direction})
            values.append(mn.gradients(p, X, Y).loss)
        expected = np.sum(found.grads["hid_to_out"] * direction)
        scale = np.linalg.norm(found.grads["hid_to_out"]) * np.linalg.norm(direction)
        assert abs((values[0] - values[1]) / 0.04 - expected) < 1e-3 * scale


def test_training_follows_the_scaled_gradient(p: dict[str, Any]) -> None:
    """LOSS_SCALE (BUG-7): training divides the loss's gradient by the nominal TAU_MEM, or not; nothing else."""
    p |= {"PDROP_INPUT": 0.0, "REG_TYPE": "none", "MIN_DENOMINATOR": 0.0, "SHUFFLE": False, "WRITE_TO_DISK": False}
    p |= {"N_TRAIN": 16, "N_VALIDATE": 1, "N_EPOCH": 1, "ADAM_EPS": 1e3, "ETA": 1e3, "LR_EASE_IN_FACTOR": None}
    steps = {}
    for scale in ("reference", "true"):
        mn = SHD_model({**p, "LOSS_SCALE": scale})
        start = mn.weights()
        mn.train({**p, "LOSS_SCALE": scale})
        steps[scale] = (mn.weights()["hid_to_out"] - start["hid_to_out"]).astype(float)
    ratio = np.linalg.norm(steps["true"]) / np.linalg.norm(steps["reference"])
    assert ratio == pytest.approx(p["TAU_MEM"], rel=1e-2)


def test_loading_the_simulator_is_cheap() -> None:
    """Importing must touch neither the disk nor a compiler, and no heavy library."""
    code = (
        "import sys, simulator_SHD; "
        "print([m for m in ('h5py', 'matplotlib', 'tonic', 'scipy', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]" and os.listdir(".") == []
