"""Files of training runs that later runs read: checkpoints, journals, weights, results, compiled engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import simulator_yinyang
from eventprop import checkpoint, plots
from eventprop.backends.cpu import compiler, engine

from .kinds import Different, Kind
from .mutants import edited, repacked

__all__ = ["KINDS", "PARAMETERS", "fast"]

EPOCHS = 2
PARAMETERS: dict[str, Any] = {
    **{"N_TRAIN": 20, "N_TEST": 20, "NUM_HIDDEN": 6, "N_BATCH": 10, "N_EPOCH": EPOCHS, "DT_MS": 1.0},
    **{"MODEL_SEED": 1, "NUM_THREADS": 1, "TIMING": False, "OUT_DIR": "out", "NAME": "k", "HIDDEN_OUTPUT_MEAN": 1.5},
    **{"COLLECT_CONFUSION": True, "REC_PREDICTIONS": True, "REC_SPIKES": ["hidden"], "CHECKPOINT_BEST": "training"},
    **{"W_EPOCH_INTERVAL": 100, "TRAINING_PLOT": False, "FANCY_PLOTS": False},
}
"""Of a run of some milliseconds that leaves files of every kind."""
OUT = Path("out")
_OTHER_RUN = ("N_BATCH", "TRIAL_MS", "DT_MS", "single precision", "not finite")
"""Words of errors that are not about the file: of a run with other settings, and of weights far from all others."""


@contextmanager
def fast() -> Iterator[None]:
    """Pictures, which read no file, are not drawn, an engine is looked up once, and nothing waits for the disk."""
    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    with (
        mock.patch.multiple(plots, learning_curves=nothing, save=nothing),
        mock.patch.object(engine, "load_library", cache(compiler.load_library)),
        mock.patch.object(os, "fsync", nothing),
    ):
        yield


def _train(**change: Any) -> tuple[Any, Any]:
    p = {**simulator_yinyang.p, **PARAMETERS, **change}
    mn = simulator_yinyang.yinyang(p)
    return mn, mn.train(p)


def run(name: str, without: str = "") -> Path:
    """A run; ``without`` is a pattern of files that are then taken away."""
    _train()
    for path in OUT.glob(without) if without else ():
        path.unlink()
    return OUT / name


def _resumed(_: Path) -> list[Any]:
    """What the run returns, and leaves, after another epoch."""
    mn, result = _train(N_EPOCH=EPOCHS + 1, LOAD_LAST=True)
    state, _ = checkpoint.load(OUT / "k_state_last.npz", None)
    history = [{name: value for name, value in record.items() if name != "seconds"} for record in mn.history]
    arrays = {path.name: np.load(path) for path in sorted(OUT.glob("*.npy"))}
    return [history, arrays, mn.collected, dict(result.spike_t), state.moments, state.updates, state.best]


def _tested(which: str, _: Path) -> list[Any]:
    """What a test finds with the weights that the folder holds."""
    p = {**simulator_yinyang.p, **PARAMETERS, which: True, "WRITE_TO_DISK": False}
    mn = simulator_yinyang.yinyang(p)
    result = mn.test(p)
    return [result.correct_eval, mn.collected, dict(result.spike_t)]


def _with_results(name: str) -> Path:
    """The results of two runs, of which the second one goes on."""
    _train(ETA=0.002)
    before = (OUT / name).read_bytes()
    path = run(name)
    Path("before").write_bytes(before)
    Path("own").write_bytes(path.read_bytes().removeprefix(before))
    return path


def _results(path: Path) -> list[Any]:
    """Goes on where a results file is not as the runs left it. No line of it is lost, none is changed but one that was
    cut short, and all lines of the run are there in the end, in their order."""
    there, own = path.read_bytes().split(b"\n"), Path("own").read_bytes().split(b"\n")[:-1]
    _train(N_EPOCH=EPOCHS + 1, LOAD_LAST=True)
    *after, end = path.read_bytes().split(b"\n")
    if end:
        raise Different(f"it ends in {end!r}")
    rest = iter(after)
    if not all(line in rest for line in (*own, after[-1])):
        raise Different("lines of the run are missing")
    heading = Path("before").read_bytes().split(b"\n")[0]
    lost = [line for line in there[:-1] if line not in after]
    if not any(line.startswith(there[-1]) for line in own):
        lost += [line for line in there[-1:] if line not in after]
    new = [line for line in after[:-1] if line not in there and line not in (heading, *own)]
    twice = there[-len(own) - 1 :] == [*own, b""] and after[:-1] != there[:-1]  # whatever was before them
    if lost or new or twice:
        raise Different(f"lost: {lost}; written by nobody: {new}; again: {twice}")
    return [after[-1].rsplit(b"," if path.suffix == ".csv" else b" ", 1)[0]]


def _engine() -> Path:
    """A library in a cache, and in the place of the compiler, which takes seconds, a script that copies a whole one."""
    run("")
    source = _source()
    compiler.load_library(source)
    good = Path("good.so").absolute()
    good.write_bytes(Path(compiler.load_library(source)._name).read_bytes())
    script = Path("compiler").absolute()
    script.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\n'
        f'while [ $# -gt 0 ]; do [ "$1" = -o ] && cp "{good}" "$2"; shift; done\n'
    )
    script.chmod(0o755)
    Path("CXX").write_text(str(script))
    with _own_cache():
        _tested("LOAD_LAST", Path())
    return next(Path("cache").glob("engine_*.so"))


def _source() -> str:
    """The source of the engine of these runs."""
    seen: list[str] = []

    def noting(source: str) -> Any:
        seen.append(source)
        return compiler.load_library(source)

    with mock.patch.object(engine, "load_library", noting):
        _tested("LOAD_LAST", Path())
    return seen[0]


@contextmanager
def _own_cache() -> Iterator[None]:
    """Engines are looked up each time, in the current folder."""
    with (
        mock.patch.dict(os.environ, {"EVENTPROP_CACHE": "cache", "CXX": Path("CXX").read_text()}),
        mock.patch.object(engine, "load_library", compiler.load_library),
    ):
        yield


def _with_engine(path: Path) -> list[Any]:
    """A test with the library in this folder's cache, which is whole afterwards."""
    with _own_cache():
        found = _tested("LOAD_LAST", path)
    left = sorted(os.listdir("cache"))
    if len(left) != 1 or Path("cache", left[0]).read_bytes() != Path("good.so").read_bytes():
        raise Different(f"the cache holds {left}")
    return found


KINDS = {
    "checkpoint, training goes on": Kind(partial(run, "k_state_last.npz"), _resumed, checked=True),
    "checkpoint, tested": Kind(partial(run, "k_state_last.npz"), partial(_tested, "LOAD_LAST"), checked=True),
    "checkpoint of the best epoch, tested": Kind(
        partial(run, "k_state_best.npz"), partial(_tested, "LOAD_BEST"), checked=True
    ),
    "checkpoint, changed inside": Kind(partial(run, "k_state_last.npz"), _resumed, mutate=repacked, also=_OTHER_RUN),
    "journal": Kind(partial(run, "k_journal.bin"), _resumed, checked=True),
    "flat weights": Kind(partial(run, "k_w_input_hidden_last.npy", "k_state_*.npz"), partial(_tested, "LOAD_LAST")),
    "results, .txt": Kind(partial(_with_results, "k_results.txt"), _results, checked=True, mutate=edited),
    "results, .csv": Kind(partial(_with_results, "k_results.csv"), _results, checked=True, mutate=edited),
    "compiled engine, .so": Kind(_engine, _with_engine, checked=True),
}
"""The kinds by name."""
