"""What was not measured is no number, and silence, random weights and scores that are not finite are said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eventprop import cli
from eventprop.simulators.records import Records
from eventprop.training import checkpoint
from simulator_yinyang import yinyang
from tests.training.test_going_on import p, run, words


def test_what_was_not_measured_is_no_number() -> None:
    """Without validation, and in a test: no accuracy of 0 in results, tables of seeds, and what is returned."""
    mn = yinyang(p())
    trained = mn.train(p())
    tested = mn.test(p())
    assert len(trained) == len(tested) == 5
    assert trained[4] == trained.correct == mn_accuracy("train", 1) and np.isnan(trained.correct_eval)
    assert tested[4] == tested.correct_eval == mn_accuracy("test", 3) and np.isnan(tested.correct)
    rows = [line.split() for line in Path("out/k_results.txt").read_text().splitlines()]
    assert [row[3] for row in rows[:2]] == ["nan", "nan"] and rows[2][1] == "nan"
    assert cli.main("yinyang", ["train", *words(NAME="s"), "--seeds", "1", "2"]) == 0
    table = [line.split(",") for line in Path("out/s_seeds.csv").read_text().splitlines()]
    columns = {name: [row[i] for row in table[1:]] for i, name in enumerate(table[0])}
    for name in ("eval_accuracy", "best_eval_accuracy", "best_epoch", "eval_accuracy_at_best_training"):
        assert columns[name] == [""] * 4, name
    assert all(0 < float(value) < 1 for value in columns["train_accuracy"][:3])


def mn_accuracy(which: str, column: int) -> float:
    """Accuracy of the last line of the CSV that "train" or "test" wrote."""
    lines = [line for line in Path("out/k_results.csv").read_text().splitlines() if line.startswith(f"{which},")]
    return pytest.approx(float(lines[-1].split(",")[column + 1]))  # type: ignore[no-any-return]


def test_scores_that_are_not_finite_have_no_class() -> None:
    """Fails if the largest of them counts as class 0, in prediction, tests and evaluation alike."""
    settings = p(LOSS_TYPE="sum", V_THRESH=0.01)
    mn = yinyang(settings)
    weights = mn.weights()
    signs = np.where(np.arange(20) % 2, 1, -1)[:, None] * np.array([1, -1, 1])
    mn.set_weights({**weights, "hid_to_out": (3e38 * signs).astype(np.float32)})
    X = [{"x": [0, 1, 2, 3, 4] * 4, "t": np.repeat([2.0, 4.0, 6.0, 8.0], 5)}]
    with pytest.raises(ArithmeticError, match=r"scores of 1 of 1 samples are not finite \(number 0 is the first\)"):
        mn.predict(settings, X)
    with pytest.raises(ArithmeticError, match="evaluation samples are not finite"):
        mn.test(settings)
    assert not Path("out").exists() or not list(Path("out").glob("*results*"))


def test_a_test_needs_trained_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights are not tested: in the shell without LOAD_LAST, of a checkpoint without a complete epoch."""
    assert cli.main("yinyang", ["test", *words()]) == 1
    assert "no trained weights to test: LOAD_LAST=True" in capsys.readouterr().err
    assert not Path("out").exists()
    with pytest.raises(ValueError, match="no trained weights to test"):
        yinyang(p()).test(p())
    mn = yinyang(p())
    checkpoint.save(Path("k_state_last.npz"), mn._fresh(Records.of(mn.p).loop, mn._network), p())
    with pytest.raises(ValueError, match=r"no epoch of k_state_last\.npz is complete"):
        yinyang(p(OUT_DIR=".")).test(p(OUT_DIR=".", LOAD_LAST=True))
    run()
    assert cli.main("yinyang", ["test", *words(LOAD_LAST=True)]) == 0
    mn = yinyang(p())
    mn.set_weights(mn.weights())
    assert np.isfinite(mn.test(p()).correct_eval)


def test_silence_in_training_is_counted_and_said() -> None:
    """Neurons that spike in evaluation only are silent for training; a layer without any spike is a warning."""
    change = {"N_VALIDATE": 20, "PDROP_INPUT": 0.9999, "N_EPOCH": 1}
    with pytest.warns(UserWarning) as caught:
        mn = run(**change)
    assert "none of the 20 neurons of hidden0 spiked in training (40 samples)" in str(caught[0].message)
    assert mn.history[0]["silent_neurons"] == 20
    with pytest.warns(UserWarning) as caught:
        run(INPUT_HIDDEN_MEAN=-1.0, N_EPOCH=1)
    said = [str(w.message) for w in caught]
    assert any("hidden0 spiked" in x and "INPUT_HIDDEN_MEAN" in x for x in said)
    assert any("no output neuron spiked in training" in x for x in said)
