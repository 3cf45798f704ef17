"""Sparse projections in runs: drawn, given by a file or by the object; silent synapses stay silent, come what may."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.training.rewiring import rewire
from simulator_yinyang import yinyang
from tests.simulators import test_layers
from tests.simulators.test_layers import equal, state

SPARSE: dict[str, Any] = {
    "INPUT_HIDDEN_P": 0.6,
    "HIDDEN_HIDDEN_P": 0.3,
    "HIDDEN_HIDDENFWD_P": 0.5,
    "HIDDEN_OUTPUT_P": 0.7,
}
SPARSE |= {"NUM_HIDDEN": 30, "REWIRE_SILENT": True, "WEIGHT_DECAY": 0.01, "AVERAGE_WEIGHTS": 0.9}


def p(**change: Any) -> dict[str, Any]:
    """Of a network that half of its synapses keep awake."""
    return test_layers.p(**{"INPUT_HIDDEN_MEAN": 3.5, "HIDDEN_HIDDENFWD_MEAN": 1.2, **change})


def trained(**change: Any) -> yinyang:
    mn = yinyang(p(**change))
    mn.train(p(**change))
    return mn


def silent(mn: yinyang) -> bool:
    """Whether all weights are 0 where no synapse is, and most are not where one is."""
    found = ((w[name], mask) for w in (mn.weights(), mn.weights(live=True)) for name, mask in mn.masks().items())
    return all(not w[~mask].any() and w[mask].all() for w, mask in found)


def test_drawn_synapses(capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if there are more or fewer than asked for, if training or going on wakes one, or if bits differ then."""
    mn = trained(NAME="whole", N_EPOCH=3, **SPARSE)
    share = {name: mask.mean() for name, mask in mn.masks().items()}
    assert set(share) == set(mn.weights()) and silent(mn)
    assert share["hid_to_hid0"] == pytest.approx(0.3, abs=0.05) and share["hid_to_hidfwd0"] == pytest.approx(
        0.5, abs=0.05
    )
    assert not np.array_equal(mn.masks()["hid_to_hid0"], mn.masks()["hid_to_hid1"])
    trained(NAME="parts", N_EPOCH=1, **SPARSE)
    trained(NAME="parts", N_EPOCH=3, LOAD_LAST=True, **SPARSE)
    assert equal(state("whole"), state("parts"))
    assert equal(
        {n: w != 0 for n, w in trained(N_EPOCH=1, **SPARSE, WRITE_TO_DISK=False).weights().items()}, mn.masks()
    )
    capsys.readouterr()
    mn.summary()
    there = {name: int(mask.sum()) for name, mask in mn.masks().items()}
    said = capsys.readouterr().out
    assert f"{there['hid_to_hid1']} of 900" in said and f"{sum(there.values()):,} trained parameters" in said
    again = yinyang(p(**{**SPARSE, "MODEL_SEED": 7}, NAME="whole", LOAD_LAST=True))
    accuracy = again.test(p(**{**SPARSE, "MODEL_SEED": 7}, NAME="whole", LOAD_LAST=True)).correct_eval
    assert accuracy == mn.test(p(**SPARSE, NAME="whole")).correct_eval


def halves(mn: yinyang) -> dict[str, np.ndarray]:
    """Half of the synapses of two projections."""
    random = np.random.default_rng(0)
    return {name: random.random(mn.weights()[name].shape) < 0.5 for name in ("in_to_hid", "hid_to_hid1")}


def test_masks_that_are_set() -> None:
    """Fails if weights that were set, or trained, survive a mask, or a run without one takes up a checkpoint's as if it
    were dense."""
    mn = yinyang(p())
    before, there = mn.weights(), halves(mn)
    mn.set_masks(there)
    assert equal(mn.weights(), {n: np.where(there.get(n, True), w, 0).astype(w.dtype) for n, w in before.items()})
    with pytest.raises(ValueError, match="weights of in_to_hid are not 0 at"):
        mn.set_weights(before)
    with pytest.raises(ValueError, match=r"in_to_hid must be a boolean array .n_pre, n_post., and its rows differ"):
        mn.set_masks({"in_to_hid": [[True], [True, False]]})
    mn.train(p())
    assert silent(mn) and equal(mn.masks(), there)
    gradients = mn.gradients(p(), [{"x": [0, 1, 2, 3, 4], "t": [1.0, 5.0, 10.0, 15.0, 20.0]}], [0]).grads
    assert all(not gradients[n][~mask].any() for n, mask in there.items()) and gradients["in_to_hid"].any()
    shutil.copytree("out", "kept")
    mn = trained(LOAD_LAST=True, N_EPOCH=3)
    assert silent(mn) and equal(mn.masks(), there)
    whole = yinyang(p(NAME="whole"))
    whole.set_masks(there)
    whole.train(p(NAME="whole", N_EPOCH=3))
    assert equal(state("whole"), state("k"))
    mn.set_weights(mn.weights())
    assert silent(mn) and mn.test(p()).correct_eval == whole.test(p()).correct_eval
    mn.set_masks({"hid_to_out": np.eye(12, 3) + np.eye(12, 3, -5) > 0})
    assert silent(mn) and set(mn.masks()) == {*there, "hid_to_out"}
    with pytest.raises(ValueError, match=r"state_last\.npz has other synapses than MASKS or set_masks ask for"):
        mn.train(p(LOAD_LAST=True, N_EPOCH=4))
    mn.set_masks({name: np.ones(w.shape, bool) for name, w in mn.weights().items()})
    mn.train(p(NAME="awake", N_EPOCH=1, REWIRE_SILENT=False))
    assert not equal({n: w != 0 for n, w in mn.weights().items()}, there)
    assert (mn.weights()["in_to_hid"][~there["in_to_hid"]] != 0).any()


def test_masks_of_a_file() -> None:
    """Fails if they are others than those that are set, or if a wrong file is taken or found late."""
    mn = yinyang(p(NAME="set"))
    mn.set_masks(halves(mn))
    mn.train(p(NAME="set"))
    np.savez("masks.npz", **halves(mn))
    trained(NAME="file", MASKS="masks.npz")
    assert equal(state("file"), state("set"))
    assert trained(NAME="file", MASKS="masks.npz", LOAD_LAST=True, N_EPOCH=3).masks().keys() == halves(mn).keys()
    np.savez("wrong.npz", in_to_hid=np.ones((5, 3), bool))
    Path("text.npz").write_text("text")
    for name, message in (
        ("absent.npz", r"MASKS='absent.npz' cannot be read: No such file or directory"),
        ("wrong.npz", r"MASKS='wrong.npz': in_to_hid has shape \(5, 3\); this network needs \(5, 12\)"),
        ("text.npz", r"text.npz is no readable .npz file"),
    ):
        with pytest.raises(ValueError, match=message):
            yinyang(p(MASKS=name))


def test_a_damaged_checkpoint_with_masks_is_refused() -> None:
    trained(N_EPOCH=1, INPUT_HIDDEN_P=0.5)
    arrays = dict(np.load("out/k_state_last.npz"))
    arrays["mask/in_to_hid"] = ~arrays["mask/in_to_hid"]
    np.savez("out/k_state_last.npz", **arrays)
    with pytest.raises(ValueError, match=r"k_state_last\.npz: weights of in_to_hid are not 0 at"):
        trained(N_EPOCH=2, INPUT_HIDDEN_P=0.5, LOAD_LAST=True)


@pytest.mark.parametrize("lift", [0.0, 0.3])
def test_rewiring_leaves_silent_synapses_alone(lift: float) -> None:
    network = yinyang(p()).network(p(**SPARSE))
    before = network.initial_weights(1)
    after = rewire(network, before, np.ones(60, bool), lift, 1, 0)
    assert all(not after[name][~mask].any() for name, mask in network.masks.items())
    assert (after["in_to_hid"] != before["in_to_hid"])[network.masks["in_to_hid"]].all()
