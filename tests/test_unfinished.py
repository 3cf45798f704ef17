"""A run that is stopped between two of its files: when it goes on, what was not written yet is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_yinyang
from eventprop import files
from eventprop.training import checkpoint
from simulator_yinyang import yinyang

TINY: dict[str, Any] = {"N_TRAIN": 40, "N_TEST": 10, "NUM_HIDDEN": 20, "N_BATCH": 20, "MODEL_SEED": 1, "DT_MS": 1.0}
TINY |= {"NUM_THREADS": 1, "TIMING": False, "OUT_DIR": "out", "NAME": "k", "N_EPOCH": 2, "HIDDEN_OUTPUT_MEAN": 1.5}


class Stop(Exception):
    pass


def run(**change: Any) -> None:
    p = {**simulator_yinyang.p, **TINY, **change}
    yinyang(p).train(p)


def arrays(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.npy")}


def stopped(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, stops: Callable[..., bool], **change: Any) -> None:
    """A run that is stopped before a call of this function for which ``stops`` is true."""
    usual = getattr(owner, name)

    def stopping(*arguments: Any, **more: Any) -> Any:
        if stops(*arguments):
            raise Stop
        return usual(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping)
        with pytest.raises(Stop):
            run(**change)


@pytest.mark.parametrize("name", ["k_w_input_hidden_last.npy", "k_w_hidden_output_last.npy"])
def test_flat_weights_are_those_of_the_checkpoint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the last checkpoint and the flat weights beside it. Fails if those of an earlier epoch stay."""
    run(OUT_DIR="whole")
    written: list[str] = []

    def second(path: Path, _: np.ndarray) -> bool:
        written.append(path.name)
        return written.count(name) == 2

    stopped(monkeypatch, files, "write_array", second)
    assert checkpoint.trained_epochs(Path("out/k_state_last.npz")) == 2
    assert arrays("out")[name] != arrays("whole")[name]
    run(LOAD_LAST=True)
    assert arrays("out") == arrays("whole")


@pytest.mark.parametrize(
    ("owner", "call", "name"),
    [(Path, "unlink", "k_state_start.npz"), (Path, "replace", "k_state_best.npz"), (files, "write_json", "k.json")],
)
def test_a_start_goes_when_an_epoch_is_complete(
    owner: Any, call: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new run is stopped between the two checkpoints of an earlier one, which it renames, or behind them, or just
    before it removes that from before its first epoch. Fails if this one, which is no use any more, stays, or an
    earlier run's does not."""
    change = {"CHECKPOINT_BEST": "training"}
    run(**change)
    kept = {path.read_bytes() for path in Path("out").glob("*.npz")}
    stopped(monkeypatch, owner, call, lambda path, *_: path.name == name, ETA=0.002, **change)
    assert Path("out/k_state_start.npz").exists()
    run(ETA=0.002, LOAD_LAST=True, **change)
    there = {path.name: path.read_bytes() for path in Path("out").glob("*.npz")}
    assert set(there) == {f"k_state_{which}{old}.npz" for which in ("last", "best") for old in ("", "_previous_1")}
    assert kept <= set(there.values())
    run(ETA=0.002, OUT_DIR="whole", **change)
    assert arrays("out") == arrays("whole")
