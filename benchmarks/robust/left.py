"""What a run left in its folder, without what may differ between one that was killed and one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import checkpoint, journal

__all__ = ["everything", "own_epochs"]


def everything(folder: Path) -> dict[str, Any]:
    """By the name of each file, hidden ones too: all that must be the same to the byte.

    Left out are seconds; of a checkpoint, where its lines and entries are; of a journal what no checkpoint speaks of.
    """
    return {
        path.relative_to(folder).as_posix(): _content(path) for path in sorted(folder.rglob("*")) if not path.is_dir()
    }


def _content(path: Path) -> Any:
    if path.suffix == ".npz":
        return _checkpoint(path)
    if path.name.endswith(("_results.txt", "_best.txt")):
        return [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
    if path.name.endswith("_results.csv"):
        return [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()]
    return b"" if path.name.endswith("_journal.bin") else path.read_bytes()


def _checkpoint(path: Path) -> list[Any]:
    state, p = checkpoint.load(path, None)
    with np.load(path) as file:
        arrays = {name: file[name].tobytes() for name in file.files if name != "meta"}
    assert state.mark is not None
    entries = [
        (e.kind, e.name, json.dumps({k: v for k, v in e.record.items() if k != "seconds"}), _bytes(e.array))
        for e in journal.read(path.parent, state.mark)
    ]
    return [arrays, entries, state.epoch, state.updates, state.best, state.rate, {**p, "LOAD_LAST": None}]


def _bytes(array: np.ndarray | None) -> bytes:
    return b"" if array is None else array.tobytes()


def own_epochs(folder: Path, eta: float) -> int:
    """Completed epochs of the run of that ``ETA``, by its checkpoints, which must all be whole; -1 where it has none."""
    found = [-1]
    for path in folder.glob("*_state_*.npz"):
        state, p = checkpoint.load(path, None)
        if state.mark is not None:
            list(journal.read(path.parent, state.mark))
        if p["ETA"] == eta:
            found.append(state.epoch)
    return max(found)
