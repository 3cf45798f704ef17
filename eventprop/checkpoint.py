"""Checkpoints: one file with everything that a run needs to go on as if it had never stopped.

The file is a NumPy archive without pickled objects: weights, optimiser moments, collected arrays, and a JSON text
with epoch, update count, learning rate, averages, history and the resolved ``p``. Random streams follow from
the seeds in ``p`` and the epoch, so they need no state. Beside it the weights are exported as flat float32
arrays (element ``pre * n_post + post``), one file per synapse population.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.results import Place
from eventprop.schedule import LearningRate

__all__ = ["TrainingState", "checkpoint_path", "load", "save"]

_FORMAT = 1
_PLAIN = ("epoch", "updates", "best", "seconds", "history")
_FLAT_NAMES = {"in_to_hid": "input_hidden", "hid_to_hid0": "hidden0_hidden0", "hid_to_out": "hidden_output"}


@dataclass
class TrainingState:
    """What a run carries from one epoch to the next.

    Attributes:
        weights, moments: by synapse population (and moment), ``(n_pre, n_post)`` float32.
        rate: the learning rate's schedule.
        epoch: epochs completed.
        updates: optimiser steps taken.
        best: best monitored accuracy so far.
        seconds: time spent in completed epochs.
        history: one record per completed epoch, for the results files.
        places: where the run's lines are in the results files, by file name.
        collected: confusion matrices and predictions, one array per epoch, by name.
    """

    weights: dict[str, np.ndarray]
    moments: dict[str, dict[str, np.ndarray]]
    rate: LearningRate
    epoch: int = 0
    updates: int = 0
    best: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    collected: dict[str, list[np.ndarray]] = field(default_factory=dict)


def checkpoint_path(p: Mapping[str, Any], name: str, label: str) -> Path:
    """``<OUT_DIR>/<name>_state_<label>.npz``."""
    return Path(p["OUT_DIR"]) / f"{name}_state_{label}.npz"


def save(path: Path, state: TrainingState, p: Mapping[str, Any], flat_prefix: str = "") -> None:
    """Write the checkpoint and, with ``flat_prefix`` (``NAME``), the flat weight arrays beside it."""
    meta = {
        "format": _FORMAT,
        "p": dict(p),
        "rate": asdict(state.rate),
        "places": {name: asdict(place) for name, place in state.places.items()},
        **{k: getattr(state, k) for k in _PLAIN},
    }
    arrays: dict[str, np.ndarray] = {"meta": np.array(json.dumps(meta))}
    arrays |= {f"w/{name}": w for name, w in state.weights.items()}
    arrays |= {f"{role}/{name}": a for role, values in state.moments.items() for name, a in values.items()}
    arrays |= {f"collected/{name}": np.stack(rows) for name, rows in state.collected.items() if rows}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    files.write_bytes(path, buffer.getvalue())
    if flat_prefix:
        label = path.stem.rsplit("_", 1)[1]
        for name, w in state.weights.items():
            flat = path.with_name(f"{flat_prefix}_w_{_FLAT_NAMES.get(name, name)}_{label}.npy")
            files.write_array(flat, w.ravel())


def load(path: Path, shapes: Mapping[str, tuple[int, int]] | None) -> tuple[TrainingState, dict[str, Any]]:
    """The state in ``path`` and the ``p`` it was made with.

    Args:
        shapes: shape of each synapse population of the network that will take it; None for no check.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is broken, or of a network of another shape; names the file and what differs.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"there is no checkpoint {path}; a training run of the same OUT_DIR and NAME writes it "
            "(the last with CHECKPOINT true, the best with CHECKPOINT_BEST set)"
        )
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(str(arrays.pop("meta")))
        if meta["format"] != _FORMAT:
            raise ValueError(f"it has format {meta['format']}, this version reads {_FORMAT}")
        groups: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = array
        collected = {name: list(rows) for name, rows in groups.pop("collected", {}).items()}
        state = TrainingState(
            weights=groups.pop("w"),
            moments=groups,
            rate=LearningRate(**meta["rate"]),
            places={name: Place(**place) for name, place in meta["places"].items()},
            collected=collected,
            **{k: meta[k] for k in _PLAIN},
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a whole checkpoint of this program: {error}") from None
    if shapes is not None:
        _check_shapes(path, state, shapes)
    return state, meta["p"]


def _check_shapes(path: Path, state: TrainingState, shapes: Mapping[str, tuple[int, int]]) -> None:
    for role, values in {"w": state.weights, **state.moments}.items():
        found = {name: array.shape for name, array in values.items()}
        if found != dict(shapes):
            differing = [
                f"{name} is {found.get(name, 'absent')} there and {shapes.get(name, 'absent')} here"
                for name in sorted(set(found) | set(shapes))
                if found.get(name) != shapes.get(name)
            ]
            raise ValueError(
                f"{path} is of another network: {'; '.join(differing)} (check NUM_HIDDEN, RECURRENT and the data set)"
            )
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{path} holds values that are not finite in {role}/{name}")
