"""Runs whose synapses have delays: trained, saved, gone on with, recorded, rewired; files that do not fit are named."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.network import Delay
from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.about import num_trained
from eventprop.simulators.records import network_of
from eventprop.streams import stream
from simulator_SHD import SHD_model
from tests.support.scanning import expand, write
from tests.training.test_resuming import bits

Delays = dict[str, np.ndarray]


@pytest.fixture
def delays(p: dict[str, Any]) -> dict[str, Any]:
    """The run with delays onto hidden neurons, of which those of the input are trained."""
    p |= {"INPUT_HIDDEN_DELAY_MAX": 60.1, "INPUT_HIDDEN_DELAY_UNIFORM": [0.0, 60.1], "TRAIN_DELAYS": ["INPUT_HIDDEN"]}
    p |= {"HIDDEN_HIDDEN_DELAY_MAX": 30.0, "HIDDEN_HIDDEN_DELAY_MEAN": 10.0, "HIDDEN_HIDDEN_DELAY_STD": 8.0}
    return p | {"N_EPOCH": 2, "ETA_DELAY": 2.0, "N_TRAIN": 48}


def samples(mn: SHD_model, number: int) -> list[dict[str, Any]]:
    """The first ones of the training file."""
    found = [mn.data.train.spikes.sample(i) for i in range(number)]
    return [{"x": channels, "t": steps * 5.0} for steps, channels in found]


def test_what_is_trained_moves_between_bounds(delays: dict[str, Any]) -> None:
    """Fails if a delay leaves its bounds, or one that is not trained moves; or if none reaches a bound."""
    delays |= {"ETA_DELAY": 20.0}
    mn = SHD_model(delays)
    before = mn.delays()
    assert before.keys() == {"in_to_hid", "hid_to_hid0"} and mn.weights().keys() == {*before, "hid_to_out"}
    assert before["in_to_hid"].min() >= 0.0 and 20.0 < before["in_to_hid"].mean() < 40.0
    assert (before["hid_to_hid0"] == 0.0).any() and 8.0 < before["hid_to_hid0"].mean() < 13.0
    mn.train(delays)
    after = mn.delays()
    assert np.array_equal(after["hid_to_hid0"], before["hid_to_hid0"])
    assert (after["in_to_hid"] != before["in_to_hid"]).mean() > 0.3
    assert after["in_to_hid"].min() == 0.0 and after["in_to_hid"].max() == np.float32(60.1)


@pytest.mark.filterwarnings("ignore:settings differ")
@pytest.mark.parametrize("precision", ["float", "double"])
def test_a_bound_that_single_precision_rounds_up(delays: dict[str, Any], precision: str) -> None:
    """Fails if delays drawn at the bound, or loaded from a run in single precision, are beyond it in double."""
    assert float(np.float32(20.1)) > 20.1
    delays |= {"INPUT_HIDDEN_DELAY_MAX": 20.1, "INPUT_HIDDEN_DELAY_UNIFORM": [20.1, 20.1], "N_EPOCH": 1}
    delays |= {"ETA_DELAY": 0.0}
    SHD_model(delays).train(delays)
    again = {**delays, "PRECISION": precision, "LOAD_LAST": True, "N_EPOCH": 2}
    mn = SHD_model(again)
    assert mn.delays()["in_to_hid"] == pytest.approx(np.full((700, 40), 20.1))
    mn.train(again)
    assert mn.delays()["in_to_hid"] == pytest.approx(np.full((700, 40), 20.1))


def test_the_rate_follows_the_schedule(delays: dict[str, Any]) -> None:
    """Fails if delays learn at full rate while weights ease in: an update is the rate in size, and in the first it is a
    thousandth."""
    delays |= {"N_EPOCH": 1, "N_TRAIN": 16, "LR_EASE_IN_FACTOR": 1.05, "ETA": 1e-3, "ETA_DELAY": 5.0}
    delays |= {"ADAM_EPS": 1e-30}
    mn = SHD_model(delays)
    before = mn.delays()["in_to_hid"]
    mn.train(delays)
    moved = np.abs(mn.delays()["in_to_hid"] - before)
    assert moved.max() == pytest.approx(5.0 / 1000, rel=1e-2)


def test_the_files_are_the_network(delays: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if delays are rounded or cut where they are saved or loaded, from a checkpoint or from flat arrays; or if a
    copy of the object, or another that is given them, computes another network."""
    mn = SHD_model(delays)
    mn.train(delays)
    for name, population in (("input_hidden", "in_to_hid"), ("hidden0_hidden0", "hid_to_hid0")):
        flat = np.load(f"out/test_delay_{name}_last.npy")
        assert flat.dtype == np.float32 and np.array_equal(flat, mn.delays()[population].ravel())
    shown = samples(mn, 2)
    assert mn.predict(delays, shown).scores.any()
    load = {**delays, "LOAD_LAST": True}
    expected = mn.predict(delays, shown).scores
    given = SHD_model(delays)
    given.set_weights(mn.weights())
    given.set_delays(mn.delays())
    copy = pickle.loads(pickle.dumps(mn))
    for other in (SHD_model(load).predict(load, shown), given.predict(delays, shown), copy.predict(delays, shown)):
        assert np.array_equal(other.scores, expected)
    accuracy = SHD_model(load).test(load).correct_eval
    assert accuracy == mn.test(delays).correct_eval
    Path("out/test_state_last.npz").unlink()
    assert np.array_equal(SHD_model(load).predict(load, shown).scores, expected)
    assert "taking the flat arrays" in capsys.readouterr().out
    given.set_delays({name: np.zeros_like(d) for name, d in mn.delays().items()})
    assert not np.array_equal(given.predict(delays, shown).scores, expected)


def test_gradients_by_delays(delays: dict[str, Any]) -> None:
    """Fails if those of delays that are not trained are left out, or if they are among those of weights."""
    mn = SHD_model(delays)
    found = mn.gradients(delays, samples(mn, 1), [int(mn.data.train.labels[0])])
    assert found.grads.keys() == {"in_to_hid", "hid_to_hid0", "hid_to_out"}
    assert found.delays.keys() == {"in_to_hid", "hid_to_hid0"} and all(g.any() for g in found.delays.values())
    plain = SHD_model({k: v for k, v in delays.items() if "DELAY" not in k})
    assert plain.delays() == {} and plain.gradients(plain.p, [{"x": [1], "t": [1.0]}], [0]).delays == {}


def change(**more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda p: {**p, **more}


NO_ROOM = {"INPUT_HIDDEN_DELAY_MAX": 20.0, "INPUT_HIDDEN_DELAY_UNIFORM": None}
NONE = {"INPUT_HIDDEN_DELAY_MAX": 0.0, "HIDDEN_HIDDEN_DELAY_MAX": 0.0, "HIDDEN_HIDDEN_DELAY_MEAN": 0.0}
NONE |= {"HIDDEN_HIDDEN_DELAY_STD": 0.0, "INPUT_HIDDEN_DELAY_UNIFORM": None, "TRAIN_DELAYS": []}
OTHERS: list[tuple[dict[str, Any], str]] = [
    (NONE, r"in_to_hid.delay is \(700, 40\) there and absent here \(check the keys \.\.\._DELAY_MAX"),
    (NO_ROOM, r"test_state_last.npz: delays of in_to_hid must be from 0 to 20 ms, got 6"),
    ({"DELAY_PER": "source"}, r"delays of in_to_hid differ between synapses of one source.*DELAY_PER"),
    ({"NUM_HIDDEN": 30}, r"in_to_hid is \(700, 40\) there and \(700, 30\) here.*check NUM_HIDDEN"),
]


def test_a_checkpoint_of_other_delays_is_refused(delays: dict[str, Any]) -> None:
    """Fails if one is taken, files are touched, or the message does not name what to change."""
    SHD_model(delays).train(delays)
    before = {f.name: f.read_bytes() for f in Path("out").iterdir()}
    for other, message in OTHERS:
        wrong = {**delays, **other, "LOAD_LAST": True, "N_EPOCH": 3}
        with pytest.raises(ValueError, match=message):
            SHD_model(wrong).train(wrong)
    assert {f.name: f.read_bytes() for f in Path("out").iterdir()} == before
    plain = {**delays, **NONE, "NAME": "plain"}
    SHD_model(plain).train(plain)
    wrong = {**delays, "NAME": "plain", "LOAD_LAST": True}
    with pytest.raises(
        ValueError, match=r"in_to_hid.delay is absent there and \(700, 40\) here \(check the keys \.\.\."
    ):
        SHD_model(wrong).test(wrong)


def test_flat_files_of_other_delays_are_refused(delays: dict[str, Any]) -> None:
    """Fails if flat arrays are taken that are no delays of this network, or left out where it has none."""
    mn = SHD_model(delays)
    mn.train(delays)
    Path("out/test_state_last.npz").unlink()
    load, flat = {**delays, "LOAD_LAST": True}, Path("out/test_delay_input_hidden_last.npy")
    d = np.load(flat)
    bad = {r"must be from 0 to 60.1 ms, got -": d - 100, r"must be from 0 to 60.1 ms, got 16": d + 100}
    bad |= {"must hold 28000 finite numbers": d[:-1], "28000 finite numbers": np.where(d > 9, np.nan, d)}
    for message, values in bad.items():
        np.save(flat, values)
        with pytest.raises(ValueError, match=f"test_delay_input_hidden_last.npy.*{message}"):
            mn.test(load)
    flat.unlink()
    with pytest.raises(ValueError, match=r"test_delay_input_hidden_last\.npy is missing"):
        mn.test(load)
    np.save(flat, d)
    none = {**load, **NONE}
    with pytest.raises(ValueError, match=r"delay_hidden0_hidden0_last\.npy is of another network|delay_input_hidden"):
        SHD_model(none).test(none)


def test_bad_delays_are_refused(delays: dict[str, Any]) -> None:
    """Fails if ``set_delays`` takes what is no delay, or ``set_weights`` what is none of its own."""
    mn = SHD_model(delays)
    now = mn.delays()
    bad: dict[str, Delays] = {
        "delays must be given for in_to_hid, hid_to_hid0; missing: hid_to_hid0": {"in_to_hid": now["in_to_hid"]},
        "unknown: hid_to_out": {**now, "hid_to_out": np.zeros((40, 20))},
        "delays of in_to_hid must be from 0 to 60.1 ms, got -0.5": {**now, "in_to_hid": np.full((700, 40), -0.5)},
        "delays of in_to_hid must be from 0 to 60.1 ms, got 61": {**now, "in_to_hid": np.full((700, 40), 61.0)},
        r"delays of in_to_hid have shape \(40, 700\); this network needs \(700, 40\)": {
            **now,
            "in_to_hid": now["in_to_hid"].T,
        },
        "delays of hid_to_hid0 hold values that are not finite": {**now, "hid_to_hid0": np.full((40, 40), np.nan)},
    }
    for message, values in bad.items():
        with pytest.raises(ValueError, match=message):
            mn.set_delays(values)
    with pytest.raises(ValueError, match=r"unknown: in_to_hid\.delay"):
        mn.set_weights({**mn.weights(), "in_to_hid.delay": now["in_to_hid"]})
    assert bits(mn.delays()) == bits(now)
    with pytest.raises(ValueError, match="this network has no delays"):
        SHD_model({**delays, **NONE}).set_delays(now)


@pytest.mark.filterwarnings("ignore:no")
def test_rewiring_keeps_delays(delays: dict[str, Any]) -> None:
    """Fails if delays onto silent neurons are drawn anew, with their weights, or lost."""
    delays |= {"REWIRE_SILENT": True, "TRAIN_DELAYS": [], "N_EPOCH": 1}
    mn = SHD_model(delays)
    weights, before = mn.weights(), mn.delays()
    weights["in_to_hid"][:, :5] = -1.0
    mn.set_weights(weights)
    mn.train(delays)
    assert mn.history[0]["rewired"] and (mn.weights()["in_to_hid"][:, :5] > -0.9).all()
    assert bits(mn.delays()) == bits(before)


def test_recorded_and_saved_by_trial(delays: dict[str, Any]) -> None:
    """Fails if what is recorded of delays is of weights, or a file of delays is missing beside those of weights."""
    delays |= {"N_EPOCH": 1, "REC_SYNAPSES": [["in_to_hid", "delay"], ["in_to_hid", "delay_gradient"]]}
    delays |= {"REC_SYNAPSES_EPOCH_TRIAL": [[0, 0], [0, 2]], "W_OUTPUT_EPOCH_TRIAL": [[0, 0]]}
    mn = SHD_model(delays)
    found = mn.train(delays).rec_vars_s
    assert found["delayin_to_hid"].shape == found["delay_gradientin_to_hid"].shape == (2, 28000)
    assert np.array_equal(found["delayin_to_hid"][1], mn.delays()["in_to_hid"].ravel())
    assert np.array_equal(found["delayin_to_hid"][0], np.load("out/test_delay_input_hidden_e0_t0.npy"))
    moved = found["delayin_to_hid"][0] - SHD_model(delays).delays()["in_to_hid"].ravel()
    g = found["delay_gradientin_to_hid"][0]
    assert (np.abs(moved) > 1e-6).any() and (np.sign(moved) == -np.sign(g))[np.abs(moved) > 1e-6].all()
    wrong = {**delays, "REC_SYNAPSES": [["hid_to_out", "delay"]]}
    with pytest.raises(ValueError, match="REC_SYNAPSES"):
        SHD_model(wrong).train(wrong)


def test_scans_go_over_delays(small_data: Path) -> None:
    """Fails if a scan file cannot have delays, or does not check them before anything starts."""
    p = 'N_EPOCH = 1\nTRAIN_DELAYS = ["INPUT_HIDDEN"]\nINPUT_HIDDEN_DELAY_UNIFORM = [0.0, 20.0]'
    grid = '[grid]\nINPUT_HIDDEN_DELAY_MAX = [40.0, 80.0]\nDELAY_PER = ["synapse", "target"]'
    _, runs = expand(write(small_data, p=p, tables=grid))
    assert len(runs) == 4
    with pytest.raises(ValueError, match="INPUT_HIDDEN_DELAY_MAX=10"):
        expand(write(small_data, p=p, tables=grid.replace("40.0", "10.0")))


@pytest.mark.parametrize("per", ["synapse", "source", "target"])
def test_initial_delays(per: str) -> None:
    """Fails if they are of another distribution than is asked for, beyond the bounds, or of the weights' stream."""
    keys = {"INPUT_HIDDEN_DELAY_MAX": 30.0, "INPUT_HIDDEN_DELAY_MEAN": 5.0, "INPUT_HIDDEN_DELAY_STD": 4.0}
    network = network_of(resolve_shd({**keys, "NUM_HIDDEN": 50, "DELAY_PER": per, "MODEL_SEED": 1}), 60, 20)
    weights = network.initial_weights(1)
    plain = network_of(resolve_shd({"NUM_HIDDEN": 50, "MODEL_SEED": 1}), 60, 20).initial_weights(1)
    assert all(np.array_equal(weights[name], w) for name, w in plain.items())
    d = weights["in_to_hid.delay"]
    assert d.shape == (60, 50) and d.dtype == np.float32 and network.delays["in_to_hid.delay"][1].problem(d) is None
    different = {"synapse": 3000, "source": 60, "target": 50}[per]
    assert d.min() == 0.0 and different * 0.7 < len(np.unique(d)) <= different
    assert np.median(d) == pytest.approx(5.0, abs=1.5)
    there = np.arange(3000).reshape(60, 50) % 7 == 0
    there[:, 3] = there[4] = False
    synapses = 60 * 50 + 50 * 20 + np.count_nonzero(there) - there.size
    ways = {"synapse": np.count_nonzero(there), "source": 59, "target": 49}
    sparse = {"MODEL_SEED": 1, "NUM_HIDDEN": 50, "DELAY_PER": per, **keys}
    for train, number in (([], synapses), (["INPUT_HIDDEN"], synapses + ways[per])):
        assert (
            num_trained(
                network_of(resolve_shd(sparse | {"TRAIN_DELAYS": train}), 60, 20).with_masks({"in_to_hid": there})
            )
            == number
        )
    fixed = network_of(resolve_shd(sparse | {"TRAIN_W": False, "TRAIN_TAU": True}), 60, 20)
    assert num_trained(fixed) == 50 * 20 + 2 * 50
    uniform = Delay(0.0, 0.0, (10.0, 20.0), 30.0, True, per).drawn(stream(1, "delays", "x"), (60, 50))
    assert 10.0 <= uniform.min() < 11.0 and 19.0 < uniform.max() <= 20.0
