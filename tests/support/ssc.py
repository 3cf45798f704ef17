"""Small files in SSC's layout, and what is kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import simulator_SHD
from eventprop.data import shd
from eventprop.data.dataset import Dataset, Part
from eventprop.data.shd import Grid

SIZES = {"train": 70, "valid": 35, "test": 36}
NAMES = [f"word {c}" for c in range(35)]
Samples = list[tuple[np.ndarray, np.ndarray]]


def recordings(n: int, seed: int) -> Samples:
    """Random recordings of 0 to 59 spikes; the first one is empty."""
    rng = np.random.default_rng(seed)
    counts = [0, *rng.integers(1, 60, n - 1)]
    return [(np.sort(rng.uniform(0, 0.4, k)).astype(np.float16), rng.integers(0, 700, k)) for k in counts]


def p_ssc(**change: Any) -> dict[str, Any]:
    p = {**simulator_SHD.p, "DATA_SET": "SSC", "NUM_HIDDEN": 4, "DT_MS": 10.0, "TRIAL_MS": 300.0, "TAU_SYN": 10.0}
    p |= {"N_TRAIN": 40, "N_VALIDATE": 10, "N_EPOCH": 1, "MODEL_SEED": 1, "OUT_DIR": "out", "INPUT_HIDDEN_MEAN": 1.0}
    return p | {"EVALUATION": "validation_set", "WRITE_TO_DISK": False, **change}


def tree() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def caches(prefix: str = "data/SSC/mySSC") -> list[Path]:
    return sorted(Path().glob(f"{prefix}_*"))


def same(a: Part | None, b: Part | None) -> bool:
    assert a is not None and b is not None
    names = ("offsets", "steps", "channels")
    return np.array_equal(a.labels, b.labels) and all(
        np.array_equal(getattr(a.spikes, name), getattr(b.spikes, name)) for name in names
    )


def load(grid: Grid = Grid(10.0, 300.0), cache: str | None = "data/SSC/mySSC") -> Dataset:  # noqa: B008
    return shd.load_ssc("data", grid, None if cache is None else Path(cache))


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
