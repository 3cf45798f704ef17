"""A short run on few samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simulator_SHD


@pytest.fixture
def p(small_data: Path) -> dict[str, Any]:
    return {
        **simulator_SHD.p,
        "DATA_DIR": str(small_data),
        "OUT_DIR": "out",
        "TRIAL_MS": 700.0,
        "DT_MS": 5.0,
        "NUM_HIDDEN": 40,
        "RECURRENT": True,
        "N_TRAIN": 100,
        "N_VALIDATE": 20,
        "N_BATCH": 16,
        "N_EPOCH": 4,
        "MODEL_SEED": 3,
        "INPUT_HIDDEN_MEAN": 0.05,
        "HIDDEN_HIDDEN_MEAN": 0.0,
        "HIDDEN_HIDDEN_STD": 0.02,
        "REG_TYPE": "simple",
        "LBD_LOWER": 1e-9,
        "LBD_UPPER": 1e-9,
        "NU_UPPER": 14.0,
        "EMA_WHICH": "training",
        "MIN_EPOCH_ETA_FIXED": 1,
    }
