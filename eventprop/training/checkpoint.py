"""Checkpoints: one file with everything that a run needs to go on as if it had never stopped.

The file is a NumPy archive without pickled objects: weights, time constants that are not simply those of ``p``,
optimiser moments, and a JSON text with epoch, update count, learning rate, averages and the resolved ``p``. Where
weights are a running average (``AVERAGE_WEIGHTS``), what training goes on with is there, too, as ``live/...``. Its size
does not depend on the epoch: history, collected arrays and recordings are in the run's journal
(:mod:`eventprop.training.journal`), and the checkpoint says which part of it. Random streams follow from the seeds in
``p`` and the epoch, so they need no state. Beside it weights are exported as flat float32 arrays (element
``pre * n_post + post``), one file per synapse population, and time constants ``(size,)``, one file per population and
time constant.
"""

from __future__ import annotations

import io
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files, masks, models
from eventprop.network import DELAY, PRECISIONS, Network, flat_file, synaptic
from eventprop.reports.results import Place
from eventprop.training import journal
from eventprop.training.journal import Mark
from eventprop.training.schedule import LearningRate

__all__ = ["Live", "TrainingState", "checkpoint_path", "load", "load_flat", "save", "save_flat", "trained_epochs"]

_FORMAT = 4  # 1 had no time constants: they were those of p; 2 had history and collected arrays in it, and no journal
_PLAIN = 3  # what is written where there are neither averages nor masks
_FLAT_TIME_CONSTANTS = {"tau_mem": "taum", "tau_syn": "tausyn", "tau_b": "taub"}
_DELAY_KEYS = "the keys ..._DELAY_MAX, and DELAY_PER"


@dataclass(frozen=True)
class Live:
    """What training goes on with where a state's weights and time constants are a running average, under the same
    names; ``updates`` is how many the average is of."""

    weights: dict[str, np.ndarray]
    time_constants: dict[str, dict[str, np.ndarray]]
    updates: int


@dataclass
class TrainingState:
    """What a run carries from one epoch to the next.

    Attributes:
        weights: by synapse population, ``(n_pre, n_post)``, of the network's precision; delays as
            ``<population>.delay``.
        moments: by moment, then by what it belongs to, as :meth:`Network.trained_shapes` names it.
        rate: the learning rate's schedule.
        epoch: epochs completed.
        updates: optimiser steps taken.
        best: best monitored accuracy so far, or minus the least mean square error.
        seconds: time spent in completed epochs.
        history: one record per completed epoch, for the results files.
        places: where the run's lines are in the results files, by file name.
        collected: confusion matrices and predictions, one array per epoch, by name.
        recorded: what was recorded in completed epochs, by name, in order; of a state that was loaded.
        time_constants: those that were drawn, trained or set, by population and name, ``(size,)``; all others
            are those of ``p``.
        mark: where history, collected and recorded arrays are kept; None where they are not.
        masks: which synapses are there, of synapse populations that lack some.
        live: what training goes on with, where that is not ``weights`` and ``time_constants``.
        done: share of the run's epochs that was over before the last update; not saved.
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
    recorded: list[tuple[str, np.ndarray]] = field(default_factory=list)
    time_constants: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    mark: Mark | None = None
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    live: Live | None = None
    done: float = 0.0

    def held(self) -> list[TrainingState | Live]:
        """What has weights and time constants: itself and, where there is one, what training goes on with."""
        return [self] if self.live is None else [self, self.live]


def checkpoint_path(folder: str | Path, name: str, label: str) -> Path:
    """``<folder>/<name>_state_<label>.npz``."""
    return Path(folder) / f"{name}_state_{label}.npz"


def save(path: Path, state: TrainingState, saved: Mapping[str, Any], flat_prefix: str = "") -> None:
    """Write the checkpoint and, with ``flat_prefix`` (``NAME``), the flat arrays beside it.

    Args:
        saved: the run's parameters, kept with it.
    """
    meta = {
        "format": _PLAIN if state.live is None and not state.masks else _FORMAT,
        "p": dict(saved),
        "rate": asdict(state.rate),
        "places": {name: asdict(place) for name, place in state.places.items()},
        "journal": None if state.mark is None else asdict(state.mark),
        **{name: getattr(state, name) for name in _NUMBERS},
    }
    if state.live is not None:
        meta["live"] = state.live.updates
    arrays: dict[str, np.ndarray] = {"meta": np.array(json.dumps(meta))}
    for prefix, held in zip(("", "live/"), state.held(), strict=False):
        arrays |= {f"{prefix}w/{name}": w for name, w in held.weights.items()}
        arrays |= {f"{prefix}tau/{q}/{n}": a for q, values in held.time_constants.items() for n, a in values.items()}
    arrays |= {f"mask/{name}": mask for name, mask in state.masks.items()}
    arrays |= {f"{role}/{name}": a for role, values in state.moments.items() for name, a in values.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(path, buffer.getvalue())
    if flat_prefix:
        save_flat(path, state, flat_prefix)


def checksum(state: TrainingState) -> int:
    """CRC-32 of weights, time constants, live ones as well, and moments."""
    value = 0
    for held in state.held():
        for own in (held.weights, *held.time_constants.values()):
            for array in own.values():
                value = zlib.crc32(np.ascontiguousarray(array).data, value)
    for array in (a for own in state.moments.values() for a in own.values()):
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return value


def save_flat(path: Path, state: TrainingState, prefix: str) -> None:
    """Write the flat arrays that belong beside the checkpoint ``path``, named ``prefix`` (``NAME``) and so on."""
    label = path.stem.rsplit("_", 1)[1]
    for name, array in _flat(state).items():
        files.write_array(path.with_name(f"{prefix}_{name}_{label}.npy"), array)


def _flat(state: TrainingState) -> dict[str, np.ndarray]:
    """Weights and time constants as flat arrays, by the names of their files."""
    arrays = {flat_file(name): w.ravel() for name, w in state.weights.items()}
    return arrays | {
        f"{_FLAT_TIME_CONSTANTS.get(name, name)}_{q}": a
        for q, values in state.time_constants.items()
        for name, a in values.items()
    }


def load(path: Path, network: Network | None, *, to_train: bool = True) -> tuple[TrainingState, dict[str, Any]]:
    """The state in ``path`` and the parameters that were saved with it.

    Args:
        network: what weights and moments must fit; None to look at the parameters alone.
        to_train: whether training is to go on from it: moments must fit then, too, and the journal is read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no whole checkpoint, one of another network, or what belongs to it is damaged; names the file.
    """
    try:
        arrays = files.read_archive(path)
        meta = json.loads(str(arrays.pop("meta")))
        state = _state(meta, arrays)
        p = meta["p"]
        if not isinstance(p, dict):
            raise ValueError("its parameters are no dictionary")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no checkpoint {path}") from None
    except PermissionError:
        raise
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error).removeprefix(f"{path} ")
        raise ValueError(f"{path} is not a whole checkpoint of this program: {what}") from None
    if network is not None:
        _check(path, state, network, to_train)
    if network is not None and to_train and state.mark is not None:
        _recall(path.parent, state, state.mark)
    return state, p


def trained_epochs(path: Path) -> int:
    """Completed epochs of a checkpoint; 0 where there is no file, 1 where it cannot be read, so that it is kept."""
    try:
        return load(path, None)[0].epoch
    except FileNotFoundError:
        return 0
    except (OSError, ValueError):
        return 1


_MAY_BE_NEGATIVE = ("best", "fast", "slow")  # of mean square errors, of which less is better
_NUMBERS: dict[str, type[int] | type[float]] = {"epoch": int, "updates": int, "best": float, "seconds": float}


def _state(meta: Any, arrays: Mapping[str, np.ndarray]) -> TrainingState:
    """The state of what a file holds.

    Raises:
        LookupError, TypeError, ValueError, ArithmeticError: something is missing or has another form.
    """
    if not isinstance(meta["format"], int) or not 1 <= meta["format"] <= _FORMAT:
        raise ValueError(f"it has format {meta['format']!r}, and this version reads 1 to {_FORMAT}")
    groups: dict[str, dict[str, np.ndarray]] = {"w": {}, "m": {}, "v": {}, "tau": {}, "mask": {}, "collected": {}}
    live: dict[str, dict[str, np.ndarray]] = {"w": {}, "tau": {}}
    for name, array in arrays.items():
        where, name = (live, name.removeprefix("live/")) if name.startswith("live/") else (groups, name)
        group, slash, rest = name.partition("/")
        if slash:  # numpy 1.26 left an array "allow_pickle" of an option that it did not know
            where.setdefault(group, {})[rest] = array
    averaged = meta.get("live")
    if averaged is None and any(live.values()):
        raise ValueError("of how many updates its average is, is missing")
    history = meta.get("history", [])
    if not isinstance(history, list) or not all(isinstance(record, dict) for record in history):
        raise ValueError("its history is no list of records")
    mark = meta.get("journal")
    collected = {name: list(rows) for name, rows in groups.pop("collected").items()}
    tau = groups.pop("tau")
    return TrainingState(
        weights=groups.pop("w"),
        masks=groups.pop("mask"),
        moments=groups,
        rate=LearningRate(**{name: _number(name, value) for name, value in meta["rate"].items()}),
        places={
            name: Place(**{what: int(_number(what, value)) for what, value in place.items()})
            for name, place in meta["places"].items()
        },
        history=history,
        collected=collected,
        time_constants=_by_population(tau),
        live=None if averaged is None else Live(live["w"], _by_population(live["tau"]), int(_number("live", averaged))),
        mark=None if mark is None else Mark.of(mark),
        **{name: kind(_number(name, meta[name])) for name, kind in _NUMBERS.items()},  # type: ignore[arg-type]
    )


def _by_population(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays called ``<population>/<time constant>``."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        population, _, rest = name.partition("/")
        found.setdefault(population, {})[rest] = array
    return found


def _number(name: str, value: Any) -> Any:
    """``value``, a number that is finite and, but for some, not negative."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}")
    if value < 0 and name not in _MAY_BE_NEGATIVE:
        raise ValueError(f"{name} is {value!r}")
    return value


def _recall(folder: Path, state: TrainingState, mark: Mark) -> None:
    """Give ``state`` what its journal holds."""
    for entry in journal.read(folder, mark):
        if entry.kind == "history":
            state.history.append(dict(entry.record))
        elif entry.array is not None and entry.kind == "collected":
            state.collected.setdefault(entry.name, []).append(entry.array)
        elif entry.array is not None:
            state.recorded.append((entry.name, entry.array))


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
    shapes = network.synaptic_shapes()
    wanted = {flat_file(what): shape for what, shape in shapes.items()}
    paths = {what: _first(path, [f"{name}_{n}_{label}.npy" for n in _names(what)]) for what in wanted}
    if not any(at.exists() for at in paths.values()):
        return None
    print(f"There is no {path.name}; taking the flat arrays {name}_*_{label}.npy beside it")
    weights = {what: _read_flat(paths[flat_file(what)], shape) for what, shape in shapes.items()}
    others = [n + DELAY for q in network.projections if (n := q.name) + DELAY not in shapes]
    extra = [at for what in others if (at := path.with_name(f"{name}_{flat_file(what)}_{label}.npy")).exists()]
    if extra:
        raise ValueError(f"{extra[0]} is of another network: this one has no such delays (check {_DELAY_KEYS})")
    _check_delays({what: paths[flat_file(what)] for what in shapes}, weights, network)
    taus: dict[str, dict[str, np.ndarray]] = {}
    for q in network.populations:
        for tau in q.time_constants:
            at = path.with_name(f"{name}_{_FLAT_TIME_CONSTANTS.get(tau, tau)}_{q.name}_{label}.npy")
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
    """Numbers of an array, flat or of the right shape; a transposed one has as many, and other ones in each place."""
    number = math.prod(shape)
    try:
        array = files.read_array(path)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; it should hold {number} numbers") from None
    right = array.shape in ((number,), shape)
    if not right or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(
            f"{path} must hold {number} finite numbers, in one row or as {' x '.join(map(str, shape))}, but has "
            f"{' x '.join(map(str, array.shape))} of type {array.dtype} (check {_keys_to_check([])})"
        )
    return array.reshape(shape).astype(np.float32)


def _check(path: Path, state: TrainingState, network: Network, to_train: bool) -> None:
    """Weights, moments and time constants are there for all that the network has, of its shapes, and finite."""
    moments = {role: state.moments.get(role, {}) for role in (*models.ADAM.state, *state.moments)} if to_train else {}
    for arrays in moments.values():
        _check_shapes(path, arrays, network.trained_shapes())
    _check_finite(path, moments)
    for held in state.held() if to_train else [state]:
        _check_held(path, held, network)
        masks.check_file(path, state.masks, network.weight_shapes(), held.weights)


def _check_held(path: Path, held: TrainingState | Live, network: Network) -> None:
    """As :func:`_check`, of weights and time constants."""
    _check_shapes(path, held.weights, dict(network.synaptic_shapes()))
    _check_delays(dict.fromkeys(held.weights, path), held.weights, network)
    needed = {f"{q.name}.{n}": (q.size,) for q in network.populations for n in q.per_neuron if n in q.time_constants}
    own = {f"{q}.{n}": a for q, values in held.time_constants.items() for n, a in values.items()}
    shared = {f"{q.name}.{n}": (q.size,) for q in network.populations for n in q.time_constants}
    _check_shapes(path, own, needed | {name: shape for name, shape in shared.items() if name in own})
    _check_finite(path, {"w": held.weights, "tau": own})


def _check_finite(path: Path, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Arrays are floats, and finite."""
    for role, arrays in found.items():
        for name, array in arrays.items():
            if array.dtype not in PRECISIONS.values():
                raise ValueError(f"{path} holds {array.dtype} and not float32 or float64 in {role}/{name}")
            if not np.isfinite(array).all():
                raise ValueError(f"{path} holds values that are not finite in {role}/{name}")


def _check_delays(paths: Mapping[str, Path], weights: Mapping[str, np.ndarray], network: Network) -> None:
    """Delays are within this network's bounds, and alike where it shares them."""
    for name, (_, delay) in network.delays.items():
        if problem := delay.problem(weights[name]):
            raise ValueError(f"{paths[name]}: {synaptic(name)} {problem} (check {_DELAY_KEYS})")


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
    if differing and all(name.split(" ")[0].endswith(DELAY) for name in differing):
        return _DELAY_KEYS
    return "NUM_HIDDEN, N_HID_LAYER, N_INPUT_DELAY, RECURRENT and the data set"
