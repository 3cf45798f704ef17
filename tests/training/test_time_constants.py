"""Time constants of a user's runs: drawn, trained, set, saved, loaded, and their gradients."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from simulator_SHD import SHD_model


@pytest.fixture
def p(small_data: Path) -> dict[str, Any]:
    p = {**simulator_SHD.p, "DATA_DIR": str(small_data), "OUT_DIR": "out", "MODEL_SEED": 2, "LR_EASE_IN_FACTOR": None}
    p |= {"NUM_HIDDEN": 20, "DT_MS": 5.0, "TAU_SYN": 10.0, "MIN_TAU_M": 5.0, "MIN_TAU_SYN": 5.0, "MIN_TAU_B": 5.0}
    return {**p, "TRIAL_MS": 700.0, "N_TRAIN": 100, "N_VALIDATE": 20, "N_EPOCH": 2, "N_BATCH": 20}


HET = {"HIDDEN_NEURON_TYPE": "hetLIF", "OUTPUT_NEURON_TYPE": "hetLI"}
TRAINED = {"TRAIN_TAU": True, "TRAIN_TAU_OUTPUT": True}
X = [{"x": np.arange(0, 700, 7), "t": np.linspace(0, 400, 100)}, {"x": np.arange(0, 700, 3), "t": np.full(234, 90.0)}]


def same(a: dict[str, dict[str, np.ndarray]], b: dict[str, dict[str, np.ndarray]]) -> bool:
    return {(q, n): v.tobytes() for q in a for n, v in a[q].items()} == {
        (q, n): v.tobytes() for q in b for n, v in b[q].items()
    }


def test_shared_time_constants_are_those_of_p(p: dict[str, Any]) -> None:
    """All neurons at TAU_MEM and TAU_SYN; those of the p of a method call count, not those of the construction."""
    mn = SHD_model(p)
    found = mn.time_constants()
    assert {q: list(v) for q, v in found.items()} == {q: ["tau_mem", "tau_syn"] for q in ("hidden0", "output")}
    assert (found["hidden0"]["tau_mem"] == 20.0).all() and found["hidden0"]["tau_mem"].shape == (20,)
    assert (found["output"]["tau_syn"] == 10.0).all() and found["output"]["tau_syn"].dtype == np.float32
    other = {**p, "TAU_MEM": 30.0}
    assert np.array_equal(mn.predict(other, X).scores, SHD_model(other).predict(other, X).scores)
    assert not np.array_equal(mn.predict(other, X).scores, mn.predict(p, X).scores)
    mn.train({**p, "WRITE_TO_DISK": False})
    trained = mn.predict(other, X).scores
    mn.set_time_constants({q: {"tau_mem": 30.0, "tau_syn": 10.0} for q in ("hidden0", "output")})
    assert np.array_equal(mn.predict(p, X).scores, trained)


def test_heterogeneous_ones_are_drawn_from_the_model_seed(p: dict[str, Any]) -> None:
    """The reference draws them from a generator without a seed. Fails if a run cannot be repeated, layers share
    values, or the bounds are not kept."""
    p |= {**HET, "N_HID_LAYER": 2, "NUM_HIDDEN": 200}
    found = SHD_model(p).time_constants()
    assert same(found, SHD_model(p).time_constants())
    assert not same(found, SHD_model({**p, "MODEL_SEED": 3}).time_constants())
    assert not np.array_equal(found["hidden0"]["tau_mem"], found["hidden1"]["tau_mem"])
    for values in found.values():
        assert values["tau_mem"].min() >= 5.0 and values["tau_mem"].max() <= 60.0 and len(set(values["tau_mem"])) > 10
        assert values["tau_syn"].min() >= 5.0 and values["tau_syn"].max() <= 30.0
    assert found["hidden0"]["tau_mem"].mean() == pytest.approx(20.0, rel=0.15)


def test_all_of_them_are_trained_and_stay_above_their_bounds(p: dict[str, Any]) -> None:
    p |= {**TRAINED, "HIDDEN_NEURON_TYPE": "ALIF", "TRAIN_TAU_B": True, "ETA": 0.5, "TAU_MEM": 6.0, "TAU_B": 6.0}
    mn = SHD_model(p)
    before = mn.time_constants()
    mn.train(p)
    for q, values in mn.time_constants().items():
        for name, array in values.items():
            assert array.min() >= 5.0 and np.mean(array != before[q][name]) > 0.5, (q, name)
    assert any(a.min() == 5.0 for v in mn.time_constants().values() for a in v.values())


@pytest.mark.parametrize("which", ["TRAIN_TAU", "TRAIN_TAU_OUTPUT"])
def test_only_what_is_to_be_trained_is_trained(p: dict[str, Any], which: str) -> None:
    p |= {which: True, "WRITE_TO_DISK": False}
    mn = SHD_model(p)
    before = mn.time_constants()
    mn.train(p)
    moved = {q: not same({q: v}, {q: before[q]}) for q, v in mn.time_constants().items()}
    assert moved == {"hidden0": which == "TRAIN_TAU", "output": which == "TRAIN_TAU_OUTPUT"}


def test_gradient_clip_covers_time_constants(p: dict[str, Any]) -> None:
    """With a large ADAM_EPS an update is proportional to the gradient: its length is the bound, time constants
    included."""
    p |= {**TRAINED, "N_EPOCH": 1, "N_TRAIN": 20, "ADAM_EPS": 1e3, "ETA": 1e3, "GRAD_CLIP": 1e-3, "TAU_MEM": 30.0}
    p |= {"MIN_DENOMINATOR": 1.0, "LOSS_SCALE": "true", "WRITE_TO_DISK": False}
    mn = SHD_model(p)
    before = mn.weights(), mn.time_constants()
    mn.train(p)
    moved = sum(np.sum((w - before[0][k]).astype(float) ** 2) for k, w in mn.weights().items())
    part = sum(np.sum((a - before[1][q][n]) ** 2) for q, v in mn.time_constants().items() for n, a in v.items())
    assert part > 0 and np.sqrt(moved + part) == pytest.approx(1e-3, rel=0.05)


def test_BUG_19_output_time_constants_are_saved_and_loaded(p: dict[str, Any]) -> None:
    """The reference writes hidden ones into the output's files and saves where it should load."""
    p |= {**HET, **TRAINED}
    mn = SHD_model(p)
    mn.train(p)
    found = mn.time_constants()
    for q in ("hidden0", "output"):
        for short, name in (("taum", "tau_mem"), ("tausyn", "tau_syn")):
            assert np.array_equal(np.load(f"out/test_{short}_{q}_last.npy"), found[q][name])
    assert found["output"]["tau_mem"].shape == (20,) and not np.array_equal(*(v["tau_mem"] for v in found.values()))
    before = Path("out/test_tausyn_output_last.npy").read_bytes()
    other = SHD_model({**p, "MODEL_SEED": 9})
    loaded = {**p, "MODEL_SEED": 9, "LOAD_LAST": True}
    assert np.array_equal(other.predict(loaded, X).scores, mn.predict(p, X).scores)
    assert other.test(loaded).correct_eval == mn.test(p).correct_eval
    assert Path("out/test_tausyn_output_last.npy").read_bytes() == before
    later = {**loaded, "MODEL_SEED": 2, "N_EPOCH": 2}
    other.train(later)  # nothing is left to train
    assert same(other.time_constants(), found)


def test_the_trained_ones_are_used_after_training(p: dict[str, Any]) -> None:
    """Fails if a test or prediction runs with the initial ones, or with those of another seed."""
    for change in (HET, TRAINED):
        run = {**p, **change, "OUT_DIR": str(len(change)), "ETA": 0.02}
        mn = SHD_model(run)
        mn.train(run)
        fresh = SHD_model(run)
        fresh.set_weights(mn.weights())
        fresh.set_time_constants(mn.time_constants())
        expected = mn.predict(run, X).scores
        assert np.array_equal(fresh.predict(run, X).scores, expected)
        assert np.array_equal(mn.predict({**run, "MODEL_SEED": 77}, X).scores, expected)
        mn.set_weights(mn.weights())  # sets weights alone
        assert np.array_equal(mn.predict(run, X).scores, expected)


def test_training_starts_from_those_that_are_set(p: dict[str, Any]) -> None:
    """Also where neurons share them; the checkpoint keeps them."""
    for change in ({}, HET, TRAINED):
        run = {**p, **change, "ETA": 1e-9, "OUT_DIR": f"out{len(change)}{change.get('TRAIN_TAU')}"}
        mn = SHD_model(run)
        values = {q: {"tau_mem": 33.0, "tau_syn": 11.0} for q in ("hidden0", "output")}
        mn.set_time_constants(values)
        mn.train(run)
        for found in (mn, SHD_model(run)):
            if found is not mn:
                found.train({**run, "LOAD_LAST": True, "N_EPOCH": 3})
            for q in values:
                assert all(np.allclose(a, values[q][n], atol=1e-5) for n, a in found.time_constants()[q].items())


def test_setting_changes_nothing_of_the_callers(p: dict[str, Any]) -> None:
    mn = SHD_model({**p, **HET})
    values = mn.time_constants()
    values["hidden0"]["tau_mem"][:] = 12.0
    assert not (mn.time_constants()["hidden0"]["tau_mem"] == 12.0).any()
    mn.set_time_constants(values)
    values["hidden0"]["tau_mem"][:] = 13.0
    assert (mn.time_constants()["hidden0"]["tau_mem"] == 12.0).all()


INCOMPLETE: list[tuple[Any, str]] = [
    ({}, "time constants must be given for hidden0, output; missing: hidden0, output"),
    ({"hidden0": {}, "output": {}, "hidden1": {}}, "time constants must be given for .*; unknown: hidden1"),
    (
        {"hidden0": {"tau_mem": 20.0}, "output": {}},
        "time constants of hidden0 must be given for tau_mem, tau_syn",
    ),
]
BAD: list[tuple[dict[str, Any], str, Any, str]] = [
    (HET, "tau_mem of hidden0", np.ones(3), r"has shape \(3,\); this network needs \(20,\)"),
    ({}, "tau_mem of hidden0", -1.0, "must be above 0, got -1"),
    ({}, "tau_syn of hidden0", np.nan, "holds values that are not finite"),
    ({}, "tau_mem of output", np.linspace(10, 20, 20), "differs between neurons that share one value"),
    (TRAINED, "tau_syn of output", 4.0, "must be at least MIN_TAU_SYN=5, got 4"),
]


@pytest.mark.parametrize(("values", "message"), INCOMPLETE)
def test_incomplete_ones_are_refused_by_name(p: dict[str, Any], values: Any, message: str) -> None:
    mn = SHD_model(p)
    with pytest.raises(ValueError, match=message):
        mn.set_time_constants(values)


@pytest.mark.parametrize(("change", "which", "value", "message"), BAD)
def test_wrong_ones_are_refused_by_name(
    p: dict[str, Any], change: dict[str, Any], which: str, value: Any, message: str
) -> None:
    """Each message names time constant and population; what was set before stays."""
    mn = SHD_model({**p, **change})
    before, (name, q) = mn.time_constants(), which.split(" of ")
    with pytest.raises(ValueError, match=f"{which} {message}"):
        mn.set_time_constants({**before, q: {**before[q], name: value}})
    assert same(mn.time_constants(), before)


def test_those_of_another_network_are_refused_by_name(p: dict[str, Any]) -> None:
    """Keys that change between construction and call: never silently ignored."""
    mn = SHD_model({**p, **HET})
    mn.set_time_constants(mn.time_constants())
    with pytest.raises(ValueError, match="tau_mem of hidden0 differs between neurons that share one value"):
        mn.predict(p, X)
    with pytest.raises(ValueError, match=r"tau_mem of hidden0 has shape \(20,\); this network needs \(21,\)"):
        mn.train({**p, **HET, "NUM_HIDDEN": 21})
    run = {**p, "HIDDEN_NEURON_TYPE": "ALIF"}
    adaptive = SHD_model(run)
    adaptive.set_time_constants(adaptive.time_constants())
    with pytest.raises(
        ValueError, match="time constants of hidden0 must be given for tau_mem, tau_syn; unknown: tau_b"
    ):
        adaptive.predict(p, X)


def as_format_1(path: Path) -> None:
    """What the version before time constants wrote: the same without them."""
    with np.load(io.BytesIO(path.read_bytes())) as archive:
        arrays = {name: archive[name] for name in archive.files if not name.startswith("tau/")}
    meta = json.loads(str(arrays.pop("meta"))) | {"format": 1}
    for key in ("TRAIN_TAU_B", "MIN_TAU_B", "SPIKE_TIMING"):
        del meta["p"][key]
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)


def test_older_checkpoints_go_on_where_time_constants_are_those_of_p(p: dict[str, Any]) -> None:
    whole = {**p, "OUT_DIR": "whole"}
    expected = SHD_model(whole)
    expected.train(whole)
    SHD_model(p).train({**p, "N_EPOCH": 1})
    as_format_1(Path("out/test_state_last.npz"))
    resumed = SHD_model(p)
    resumed.train({**p, "LOAD_LAST": True})
    assert all(np.array_equal(w, expected.weights()[k]) for k, w in resumed.weights().items())
    as_format_1(Path("out/test_state_last.npz"))
    with pytest.raises(ValueError, match=r"hidden0\.tau_mem is absent there and \(20,\) here.*HIDDEN_NEURON_TYPE"):
        SHD_model(p).test({**p, **HET, "LOAD_LAST": True})


def test_gradients_of_output_time_constants_are_derivatives_of_the_loss(p: dict[str, Any]) -> None:
    """Against finite differences of the reported loss (spikes do not change), with time constants of their own for
    each output, and for the one value that outputs share."""
    for change in ({"OUTPUT_NEURON_TYPE": "hetLI"}, {}):
        run = {**p, **change, "DT_MS": 1.0, "TRAIN_TAU": True, "PDROP_INPUT": 0.5, "HIDDEN_OUTPUT_STD": 2.0}
        mn = SHD_model(run)
        rng = np.random.default_rng(0)
        samples = [{"x": rng.integers(0, 700, 3000), "t": rng.uniform(0, 600, 3000)} for _ in range(3)]
        labels = [0, 7, 19]
        found = mn.gradients(run, samples, labels)
        assert {q: list(v) for q, v in found.time_constants.items()} == {
            q: ["tau_mem", "tau_syn"] for q in ("hidden0", "output")
        }
        assert all(a.shape == (20,) and a.any() for v in found.time_constants.values() for a in v.values())
        for name in ("tau_mem", "tau_syn"):
            direction = rng.normal(size=20) if change else np.ones(20)
            values = []
            for sign in (1, -1):
                constants = SHD_model(run).time_constants()
                constants["output"][name] = constants["output"][name] + np.float32(0.05 * sign) * direction
                mn.set_time_constants(constants)
                values.append(mn.gradients(run, samples, labels).loss)
            gradient = found.time_constants["output"][name]
            difference = (values[0] - values[1]) / 0.1
            assert abs(difference - gradient @ direction) < 5e-3 * np.linalg.norm(gradient) * np.linalg.norm(direction)


def test_gradients_do_not_depend_on_what_is_trained(p: dict[str, Any]) -> None:
    """All are reported whatever TRAIN_TAU says, also below the bounds that training would keep."""
    p |= {"TAU_MEM": 6.0, "MIN_TAU_M": 7.0, "HIDDEN_NEURON_TYPE": "ALIF", "TAU_B": 50.0}
    found = SHD_model(p).gradients(p, X, [1, 2])
    assert list(found.time_constants["hidden0"]) == ["tau_mem", "tau_syn", "tau_b"]
    p |= {"MIN_TAU_M": 6.0}
    other = SHD_model({**p, **TRAINED}).gradients({**p, **TRAINED}, X, [1, 2])
    assert found.loss == other.loss and same(found.time_constants, other.time_constants)
