"""``PRECISION="double"``: all that is computed and kept is in double precision, also across a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator_SHD import SHD_model


def run(data: Path, **changes: Any) -> dict[str, np.ndarray]:
    p = SHD_model.defaults() | {"DATA_DIR": str(data), "NUM_HIDDEN": 6, "N_TRAIN": 24, "N_VALIDATE": 8, "N_BATCH": 8}
    p |= {"TRAIN_TAU": True, "MODEL_SEED": 1, "TRAIN_DATA_SEED": 2, "PRECISION": "double", "N_EPOCH": 2, **changes}
    SHD_model(p).train(p)
    with np.load(f"{p['NAME']}_state_last.npz") as found:
        return {name: found[name] for name in found.files if name != "meta"}


def test_a_resume_gives_the_same_bits(small_data: Path) -> None:
    """Fails if weights, time constants or moments lose digits in a checkpoint."""
    whole = run(small_data, NAME="whole")
    run(small_data, NAME="part", N_EPOCH=1)
    resumed = run(small_data, NAME="part", LOAD_LAST=True)
    assert {array.dtype for array in whole.values()} == {np.dtype(np.float64)}
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
        assert name.startswith("v/") or (array != array.astype(np.float32)).any(), name


def test_both_start_with_the_same_weights(small_data: Path) -> None:
    """So that what differs is the computation; a checkpoint of one goes on in the other, with a warning."""
    double, single = (run(small_data, NAME=name, PRECISION=name, N_EPOCH=1) for name in ("double", "float"))
    for name in ("w/in_to_hid", "w/hid_to_out"):
        np.testing.assert_allclose(double[name], single[name], rtol=2e-3, atol=2e-3)
        assert (double[name] != single[name]).any()
    with pytest.warns(UserWarning, match="PRECISION 'float' -> 'double'"):
        assert run(small_data, NAME="float", LOAD_LAST=True)["w/in_to_hid"].dtype == np.float64
