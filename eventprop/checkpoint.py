"""Checkpoints: one file with everything that a run needs to go on as if it had never stopped.

The file is a NumPy archive without pickled objects: weights, time constants that are not simply those of ``p``,
optimiser moments, collected arrays, and a JSON text with epoch, update count, learning rate, averages, history and the
resolved ``p``. Random streams follow from the seeds in ``p`` and the epoch, so they need no state. Beside it weights
are exported as flat float32 arrays (element ``pre * n_post + post``), one file per synapse population, and time
constants ``(size,)``, one file per population and time constant.
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
from eventprop.network import Network
from eventprop.results import Place
from eventprop.schedule import LearningRate

__all__ = ["TrainingState", "checkpoint_path", "flat_name", "load", "load_flat", "save"]

_FORMAT = 2  # 1 had no time constants: they were those of p
_PLAIN = ("epoch", "updates", "best", "seconds", "history")
_FLAT_TIME_CONSTANTS = {"tau_mem": "taum", "tau_syn": "tausyn", "tau_b": "taub"}


@dataclass
class TrainingState:
    """What a run carries from one epoch to the next.

    Attributes:
        weights: by synapse population, ``(n_pre, n_post)`` float32.
        moments: by moment, then by what it belongs to, as :meth:`Network.trained_shapes` names it.
        rate: the learning rate's schedule.
        epoch: epochs completed.
        updates: optimiser steps taken.
        best: best monitored accuracy so far.
        seconds: time spent in completed epochs.
        history: one record per completed epoch, for the results files.
        places: where the run's lines are in the results files, by file name.
        collected: confusion matrices and predictions, one array per epoch, by name.
        time_constants: those that were drawn, trained or set, by population and name, ``(size,)`` float32; all others
            are those of ``p``.
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
    time_constants: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def checkpoint_path(p: Mapping[str, Any], name: str, label: str) -> Path:
    """``<OUT_DIR>/<name>_state_<label>.npz``."""
    return Path(p["OUT_DIR"]) / f"{name}_state_{label}.npz"


def save(path: Path, state: TrainingState, p: Mapping[str, Any], flat_prefix: str = "") -> None:
    """Write the checkpoint and, with ``flat_prefix`` (``NAME``), the flat arrays beside it."""
    meta = {
        "format": _FORMAT,
        "p": dict(p),
        "rate": asdict(state.rate),
        "places": {name: asdict(place) for name, place in state.places.items()},
        **{k: getattr(state, k) for k in _PLAIN},
    }
    arrays: dict[str, np.ndarray] = {"meta": np.array(json.dumps(meta))}
    arrays |= {f"w/{name}": w for name, w in state.weights.items()}
    arrays |= {f"tau/{q}/{name}": a for q, values in state.time_constants.items() for name, a in values.items()}
    arrays |= {f"{role}/{name}": a for role, values in state.moments.items() for name, a in values.items()}
    arrays |= {f"collected/{name}": np.stack(rows) for name, rows in state.collected.items() if rows}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    files.write_bytes(path, buffer.getvalue())
    if flat_prefix:
        label = path.stem.rsplit("_", 1)[1]
        for name, array in _flat(state).items():
            files.write_array(path.with_name(f"{flat_prefix}_{name}_{label}.npy"), array)


def _flat(state: TrainingState) -> dict[str, np.ndarray]:
    """Weights and time constants as flat arrays, by the names of their files."""
    arrays = {f"w_{flat_name(name)}": w.ravel() for name, w in state.weights.items()}
    return arrays | {
        f"{_FLAT_TIME_CONSTANTS[name]}_{q}": a
        for q, values in state.time_constants.items()
        for name, a in values.items()
    }


def flat_name(projection: str) -> str:
    """What the older program calls a synapse population in its files, e.g. ``hidden0_hidden1``."""
    for prefix, step in (("hid_to_hidfwd", 1), ("hid_to_hid", 0)):
        layer = projection.removeprefix(prefix)
        if layer.isdecimal():
            return f"hidden{layer}_hidden{int(layer) + step}"
    return {"in_to_hid": "input_hidden", "hid_to_out": "hidden_output"}[projection]


def load(path: Path, network: Network | None, *, to_train: bool = True) -> tuple[TrainingState, dict[str, Any]]:
    """The state in ``path`` and the ``p`` it was made with.

    Args:
        network: what will take it; None for no check.
        to_train: whether the optimiser's moments must fit, too.

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
        if meta["format"] not in range(1, _FORMAT + 1):
            raise ValueError(f"it has format {meta['format']}, this version reads 1 to {_FORMAT}")
        groups: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = array
        time_constants: dict[str, dict[str, np.ndarray]] = {}
        for name, array in groups.pop("tau", {}).items():
            population, _, rest = name.partition("/")
            time_constants.setdefault(population, {})[rest] = array
        collected = {name: list(rows) for name, rows in groups.pop("collected", {}).items()}
        state = TrainingState(
            weights=groups.pop("w"),
            moments=groups,
            rate=LearningRate(**meta["rate"]),
            places={name: Place(**place) for name, place in meta["places"].items()},
            collected=collected,
            time_constants=time_constants,
            **{k: meta[k] for k in _PLAIN},
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a whole checkpoint of this program: {error}") from None
    if network is not None:
        _check(path, state, network, to_train)
    return state, meta["p"]


def load_flat(path: Path, network: Network) -> dict[str, Any] | None:
    """Weights and time constants from flat arrays, where there is no checkpoint: ``<NAME>_w_input_hidden_last.npy``
    and so on, as the older program left them.

    Args:
        path: of the checkpoint that is not there.

    Returns:
        ``weights`` and ``time_constants`` as in :class:`TrainingState`; None where there are no such files.

    Raises:
        ValueError: some of the arrays are missing, broken or of another network; names the file.
    """
    name, _, label = path.stem.rsplit("_", 2)
    wanted = {f"w_{flat_name(q.name)}": q.shape for q in network.projections}
    paths = {what: _first(path, [f"{name}_{n}_{label}.npy" for n in _names(what)]) for what in wanted}
    if not any(at.exists() for at in paths.values()):
        return None
    print(f"There is no {path.name}; taking the flat arrays {name}_*_{label}.npy beside it")
    weights = {q.name: _read_flat(paths[f"w_{flat_name(q.name)}"], q.shape) for q in network.projections}
    taus: dict[str, dict[str, np.ndarray]] = {}
    for q in network.populations:
        for tau in q.time_constants:
            at = path.with_name(f"{name}_{_FLAT_TIME_CONSTANTS[tau]}_{q.name}_{label}.npy")
            if at.exists() or tau in q.per_neuron:
                taus.setdefault(q.name, {})[tau] = _read_flat(at, (q.size,))
    return {"weights": weights, "time_constants": taus}


def _names(what: str) -> tuple[str, ...]:
    """What MNIST's recurrent weights are called, too."""
    return (what, "w_hidden_hidden") if what == "w_hidden0_hidden0" else (what,)


def _first(path: Path, names: list[str]) -> Path:
    """The first of these files beside ``path`` that is there, else the first."""
    paths = [path.with_name(name) for name in names]
    return next((p for p in paths if p.exists()), paths[0])


def _read_flat(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    number = int(np.prod(shape))
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; it should hold {number} numbers") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an array of numbers: {error}") from None
    if array.size != number or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(
            f"{path} must hold {number} finite numbers ({' x '.join(map(str, shape))}), but has "
            f"{array.size} of type {array.dtype} (check {_keys_to_check([])})"
        )
    return array.reshape(shape).astype(np.float32)


def _check(path: Path, state: TrainingState, network: Network, to_train: bool) -> None:
    """Weights, moments and time constants are there for all that the network has, of its shapes, and finite."""
    found = {"w": state.weights, **(state.moments if to_train else {})}
    weights: dict[str, tuple[int, ...]] = {q.name: q.shape for q in network.projections}
    for role, arrays in found.items():
        _check_shapes(path, arrays, weights if role == "w" else network.trained_shapes())
    needed = {f"{q.name}.{n}": (q.size,) for q in network.populations for n in q.per_neuron if n in q.time_constants}
    own = {f"{q}.{n}": a for q, values in state.time_constants.items() for n, a in values.items()}
    shared = {f"{q.name}.{n}": (q.size,) for q in network.populations for n in q.time_constants}
    _check_shapes(path, own, needed | {name: shape for name, shape in shared.items() if name in own})
    for role, arrays in {**found, "tau": own}.items():
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{path} holds values that are not finite in {role}/{name}")


def _check_shapes(path: Path, arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> None:
    found = {name: array.shape for name, array in arrays.items()}
    differing = [
        f"{name} is {found.get(name, 'absent')} there and {expected.get(name, 'absent')} here"
        for name in sorted(set(found) | set(expected))
        if found.get(name) != expected.get(name)
    ]
    if differing:
        raise ValueError(f"{path} is of another network: {'; '.join(differing)} (check {_keys_to_check(differing)})")


def _keys_to_check(differing: list[str]) -> str:
    if differing and all("tau_" in name.split(" ")[0] for name in differing):
        return "TRAIN_TAU, TRAIN_TAU_B, TRAIN_TAU_OUTPUT, HIDDEN_NEURON_TYPE, OUTPUT_NEURON_TYPE and NUM_HIDDEN"
    return "NUM_HIDDEN, N_HID_LAYER, N_INPUT_DELAY, RECURRENT and the data set"
