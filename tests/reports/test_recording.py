"""Recordings: the variables of the equations at every step, spikes on one axis, weights of chosen trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from simulator_SHD import SHD_model
from tests.support import grid_numpy
from tests.support.small import KINDS, clear, random_case, relative

BASE: dict[str, Any] = {"NUM_HIDDEN": 10, "DT_MS": 10.0, "TAU_SYN": 10.0, "TRIAL_MS": 300.0, "N_TRAIN": 22}
BASE |= {"N_VALIDATE": 10, "N_BATCH": 8, "MODEL_SEED": 1, "TIMING": False, "N_EPOCH": 2, "INPUT_HIDDEN_MEAN": 0.1}
BASE |= {"LR_EASE_IN_FACTOR": None}


def params(small_data: Path, **change: Any) -> dict[str, Any]:
    return {**simulator_SHD.p, "DATA_DIR": str(small_data), **BASE, **change}


@pytest.mark.parametrize("loss", ["sum_weigh_exp", "max", "first_spike"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_at_every_step(kind: str, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a recorded variable is another one than that of the equations, of another neuron, or a step off; also
    where a layer is silent at the end of the trial, and for more samples than a thread takes at a time."""
    adjoints: list[tuple[np.ndarray, ...]] = []  # of the output, then of the hidden layers
    adjoint = grid_numpy._adjoints
    monkeypatch.setattr(grid_numpy, "_adjoints", lambda *args: adjoints.append(adjoint(*args)) or adjoints[-1])
    case, _ = clear(lambda seed: random_case(seed, kind, loss, sizes=(40, 30), n=10, v_reset=-0.2), 1e-7)
    adjoints.clear()
    expected = case.expected()
    engine = case.engine(2)
    names = [(q.name, v) for q in engine.network.populations for v in ("Isyn", *q.model.state, *q.model.adjoint)]
    result = engine.run(case.spikes, case.numbers, case.labels, learn=True, record=names)
    assert relative(result.loss, expected.losses) < 1e-6
    steps = case.num_steps
    for i, record in enumerate(expected.records):
        for number, population in enumerate(("output", "hidden1", "hidden0")):
            trace = record.layers[population]
            found = {v: engine.trace(population, v)[i] for q, v in names if q == population}
            assert relative(found["Isyn"], trace.i) < 1e-6
            assert relative(found["V"][:-1], trace.v[1:]) < 1e-6
            if "B" in found:
                assert relative(found["B"][:-1], trace.b[1:]) < 1e-6
            by_hand = dict(zip(("lambda_V", "lambda_I", "lambda_B"), adjoints[3 * i + number], strict=True))
            for v, values in by_hand.items():
                if v in found:
                    assert relative(found[v][:-1], values[1:steps]) < 1e-6, (population, v)
                    assert not found[v][-1].any()
        assert len(engine.spike_times(i, "hidden0")[0]) == record.fired["hidden0"].sum()
    engine.run(case.spikes, case.numbers[:2], case.labels[:2], record=[("hidden0", "lambda_V")])
    assert np.isnan(engine.trace("hidden0", "lambda_V")).all()


def test_what_is_returned_and_written(small_data: Path, tmp_path: Path) -> None:
    """Shapes, times, names as the user gave them, the trials that were asked for (as tuples, too), and the files."""
    p = params(small_data, REC_SPIKES=["input", "hidden"], REC_SPIKES_EPOCH_TRIAL=[(0, 1), [1, 4]], NAME="r")
    p |= {"REC_NEURONS": [("hidden", "V"), ("output", "lambda_V")], "REC_NEURONS_EPOCH_TRIAL": [[1, 0], [1, 2], [1, 3]]}
    p |= {
        "REC_SYNAPSES": [["in_to_hid", "w"], ["hid_to_out", "gradient"]],
        "REC_SYNAPSES_EPOCH_TRIAL": [[0, 0], [1, 2]],
    }
    p |= {"W_OUTPUT_EPOCH_TRIAL": [[0, 0], [1, 2]], "TAU_OUTPUT_EPOCH_TRIAL": [[0, 1]], "TRAIN_TAU": True}
    p |= {"MIN_TAU_M": 10.0, "MIN_TAU_SYN": 10.0}
    mn = SHD_model(p)
    result = mn.train(p)
    assert set(result.spike_t) == {"input", "hidden"} and set(result.rec_vars_n) == {"Vhidden", "lambda_Voutput"}
    steps = 30
    assert result.rec_vars_n["Vhidden"].shape == (3 * steps, 8, 10)
    recorded = result.rec_vars_n["lambda_Voutput"]
    assert np.isfinite(recorded[:steps]).all() and np.abs(recorded[:steps]).max() > 0
    assert np.isnan(recorded[steps : 2 * steps, 6:]).all() and np.isfinite(recorded[steps : 2 * steps, :6]).all()
    assert np.isnan(recorded[2 * steps :]).all()  # an evaluation trial: nothing goes back
    t, ids = result.spike_t["hidden"], result.spike_ID["hidden"]
    assert t.shape == ids.shape and ids.max() < 10 and result.spike_ID["input"].max() < 700
    trials = np.unique(t // (8 * 300.0))
    assert set(trials) <= {1.0, 4.0} and 1.0 in trials
    weights = result.rec_vars_s["win_to_hid"]
    assert weights.shape == (2, 7000) and not np.array_equal(*weights)
    assert np.array_equal(weights[0], np.load("r_w_input_hidden_e0_t0.npy"))
    assert np.array_equal(weights[1], mn.weights()["in_to_hid"].ravel())  # the last update of the run
    assert np.load("r_tau_m_hidden0_e0_t1.npy").shape == (10,)
    for name, values in {**result.rec_vars_n, **result.rec_vars_s}.items():
        assert np.array_equal(np.load(f"r_{name}.npy"), values, equal_nan=True)
    assert np.array_equal(np.load("r_hidden_spike_t.npy"), t) and np.array_equal(np.load("r_hidden_spike_ID.npy"), ids)
    assert np.allclose(np.load("r_n_t.npy")[[0, steps, -1]], [10.0, 610.0, 1200.0])
    assert np.load("r_n_lbl.npy").shape == (3, 8) and np.load("r_n_lbl.npy")[1, 6:].tolist() == [-1, -1]
    assert np.load("r_spk_pred.npy").shape == (2, 8) and np.load("r_s_t.npy").tolist() == [300.0, 900.0]


def test_recording_changes_nothing_else(small_data: Path) -> None:
    """Weights are the same to the bit with everything recorded, and nothing is returned without."""
    plain = SHD_model(params(small_data, WRITE_TO_DISK=False))
    assert plain.train(params(small_data, WRITE_TO_DISK=False))[:4] == ({}, {}, {}, {})
    p = params(small_data, REC_SPIKES=["hidden0"], REC_SPIKES_EPOCH_TRIAL=None, WRITE_TO_DISK=False)
    p |= {"REC_NEURONS": [["hidden0", "V"]], "REC_NEURONS_EPOCH_TRIAL": None, "REC_SYNAPSES": [["hid_to_out", "w"]]}
    recorded = SHD_model(p)
    result = recorded.train({**p, "REC_SYNAPSES_EPOCH_TRIAL": None})
    assert all(np.array_equal(w, recorded.weights()[name]) for name, w in plain.weights().items())
    assert (
        result.rec_vars_n["Vhidden0"].shape == (2 * 5 * 30, 8, 10) and result.rec_vars_s["whid_to_out"].shape[0] == 10
    )
    assert not list(Path().glob("test_*"))
    one = {**p, "N_BATCH": 1, "N_VALIDATE": 0, "N_EPOCH": 1}  # all 120 samples train
    assert SHD_model(one).train(one).rec_vars_n["Vhidden0"].shape == (120 * 30, 10)


def test_recorded_in_a_test(small_data: Path) -> None:
    p = params(small_data, REC_SPIKES=["hidden"], REC_SPIKES_EPOCH_TRIAL=[[0, 0]], REC_NEURONS=[["output", "V"]])
    p |= {"REC_NEURONS_EPOCH_TRIAL": [[0, 4]]}
    mn = SHD_model(p)
    mn.set_weights(mn.weights())
    result = mn.test(p)
    assert result.rec_vars_n["Voutput"].shape == (30, 8, 20) and result.spike_t["hidden"].max() <= 8 * 300.0


@pytest.mark.parametrize("timing", ["grid", "exact"])
def test_spikes_alone_of_a_large_batch(timing: str, small_data: Path) -> None:
    """Fails if only the samples that a thread had last are held: with exact times this stopped the run."""
    p = params(small_data, REC_SPIKES=["hidden"], REC_SPIKES_EPOCH_TRIAL=[[0, 0]], SPIKE_TIMING=timing)
    p |= {"N_BATCH": 40, "N_TRAIN": 40, "N_EPOCH": 1, "NUM_THREADS": 1}
    t = SHD_model(p).train(p).spike_t["hidden"]
    assert np.unique(t // 300.0).size > 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"REC_NEURONS": [["hidden0", "v"]]},
            ["REC_NEURONS has [hidden0, v]", "hidden0: Isyn, V, lambda_V, lambda_I;"],
        ),
        ({"REC_NEURONS": [["hidden1", "V"]]}, ["[hidden1, V]", "output: Isyn, V, lambda_V, lambda_I"]),
        (
            {"REC_NEURONS": [["hidden0", "C"]], "HIDDEN_NEURON_TYPE": "ALIF"},
            ["Isyn, V, B, lambda_V, lambda_I, lambda_B"],
        ),
        ({"REC_SYNAPSES": [["hid_to_hid", "w"]]}, ["in_to_hid: w, gradient; hid_to_out: w, gradient"]),
        ({"REC_SPIKES": ["output"]}, ["REC_SPIKES has output, which does not spike; there are input, hidden0"]),
        ({"REC_NEURONS": [["output", "V"]], "SPIKE_TIMING": "exact"}, ['needs SPIKE_TIMING="grid"']),
        ({"REC_NEURONS_EPOCH_TRIAL": [[0]]}, ["each entry of REC_NEURONS_EPOCH_TRIAL must be a pair [epoch, trial]"]),
    ],
)
def test_what_cannot_be_recorded(change: dict[str, Any], words: list[str], small_data: Path) -> None:
    """Named at construction, with what could be, before data is looked for."""
    with pytest.raises(ValueError) as error:
        SHD_model({**params(small_data, **change), "DATA_DIR": "nowhere"})
    assert all(word in str(error.value) for word in words), error.value
