"""Settings that people write, and what scans keep and read back."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from eventprop.registry import Benchmark

from eventprop import cli, ending, registry
from eventprop.scans import command, points, reader, run, study, table
from eventprop.scans.spec import Scan

from .kinds import Kind, Refused, quiet
from .mutants import edited, updated
from .runs import PARAMETERS
from .runs import run as trained

__all__ = ["KINDS"]

_YINYANG = registry.find("yinyang")
_FIXED = ("N_TRAIN", "N_TEST", "NUM_HIDDEN", "N_BATCH", "N_EPOCH", "DT_MS", "NUM_THREADS")
_SIZES = [f"{key}={json.dumps(PARAMETERS[key])}" for key in _FIXED] + ["N_VALIDATE=0", "TRIAL_MS=30.0"]
_KEYS = tuple(key.name for key in _YINYANG.keys)
_SCAN = """# Two runs of some milliseconds
simulator = "yinyang"
mode = "train"
seeds = [1, 2]
out = "scan"
workers = 2

[p]
N_TRAIN = 20
N_VALIDATE = 10
N_TEST = 10
NUM_HIDDEN = 6
N_EPOCH = 2
DT_MS = 1.0
HIDDEN_OUTPUT_MEAN = 1.5
TRAINING_PLOT = false
FANCY_PLOTS = false
CHECKPOINT_BEST = "validation"
"""
_GRID = """N_BATCH = 10

[grid]
ETA = [0.001, 0.002]
REG_TYPE = ["none", "simple"]

[[when]]
if = {REG_TYPE = "simple"}
then = {LBD_UPPER = 1e-9, LBD_LOWER = 1e-9}
"""
_STUDY = """
[study]
trials = 2
sampler_seed = 1

[study.space]
ETA = {low = 1e-3, high = 3e-2, log = true}
N_BATCH = {choices = [5, 10]}
"""
_RECIPE = """why = "To be damaged."
expect = "nothing"
source = "nowhere"
method = "train"

[p]
ETA = 0.002
N_HID_LAYER = 1
LOSS_TYPE = "first_spike"
REG_TYPE = "simple"
LBD_UPPER = 1e-9
LR_EASE_IN_FACTOR = "None"
SHUFFLE = true
REC_SPIKES = ["hidden"]
W_OUTPUT_EPOCH_TRIAL = [[0, 0], [1, 1]]
"""


def _settings(option: str, path: Path) -> list[Any]:
    """The settings that the command line makes of a file; the run itself is left out."""
    taken: list[Any] = []

    def only_look(simulator: Any, p: dict[str, Any]) -> None:
        taken.append(simulator._for_run(p))

    with (
        mock.patch.object(Benchmark, "modes", lambda self: dict.fromkeys(self.methods, only_look)),
        mock.patch.object(ending, "tell", lambda *_: None),
        quiet() as said,
    ):
        status = cli.main("yinyang", [option, str(path), *_SIZES])
    if status:
        errors = [line for line in said.getvalue().splitlines() if "warning: " not in line]
        raise Refused("\n".join(errors))
    return [json.dumps(taken, sort_keys=True)]


def _recipe() -> Path:
    Path("mine.toml").write_text(_RECIPE)
    return Path("mine.toml")


def _scan_file(rest: str) -> Path:
    Path("mine.toml").write_text(_SCAN + rest)
    return Path("mine.toml")


def _read_scan(path: Path) -> list[Any]:
    """All runs of a scan, or the space of a study, as they would be started."""
    scan = reader.read(path)
    if scan.study is not None:
        study.check(scan)
    runs = [] if scan.study is not None else points.expand(scan)
    settings = [scan.base, [[one.id, one.p] for one in runs], repr(scan.study)]
    return [str(scan.out), scan.workers, scan.mode, json.dumps(settings, sort_keys=True)]


def _done(scan: Scan) -> list[Path]:
    """Begin the scan, and do here what its processes would do; the runs' folders."""
    runs = points.expand(scan)
    folders = command.begin(scan, runs)
    for folder in folders:
        if run.status(folder)["state"] != run.FINISHED:
            run.main([str(folder), "--threads", "1"])
            state = run.status(folder)
            if state["state"] != run.FINISHED:
                raise Refused(str(state["message"]))
    return folders


def _scan(name: str, rest: str = _GRID) -> Path:
    """A scan whose runs are finished; a file of the first one."""
    scan = reader.read(_scan_file(rest))
    return _done(scan)[0] / name


def _scanned(_: Path) -> list[Any]:
    """The table that the command would end with, without seconds."""
    scan = reader.read("mine.toml")
    _done(scan)
    rows = csv.reader(io.StringIO(table.to_csv(scan, table.rows(scan, points.expand(scan)))))
    return [[row[:-1] for row in rows]]


def _begun() -> Path:
    """Settings of a run that was stopped before its first epoch was complete."""
    path = _scan("settings.json")
    for left in path.parent.iterdir():
        if left != path:
            left.unlink()
    return path


def _half_done() -> Path:
    """State of a run that was stopped behind its first epoch."""
    scan = reader.read(_scan_file(_GRID))
    folder = command.begin(scan, points.expand(scan))[0]
    settings = json.loads((folder / "settings.json").read_text())
    p = {**settings["p"], "OUT_DIR": str(folder), "NUM_THREADS": 1, "N_EPOCH": 1}
    _YINYANG.load()(p).train(p)
    run._set(folder, run.RUNNING, "", 0.1)
    _done_but(scan, folder)
    return folder / "status.json"


def _done_but(scan: Scan, folder: Path) -> None:
    for one in points.expand(scan):
        other = points.folder_of(scan.out, one)
        if other != folder:
            run.main([str(other), "--threads", "1"])


def _study() -> Path:
    scan = reader.read(_scan_file(_STUDY))
    command.begin(scan, [])
    with mock.patch.object(run, "launch", _here):
        study.work(scan, 1, 1, lambda _: None)
    return Path("scan/study.db")


class _Ended:
    """A process that has ended."""

    def poll(self) -> int:
        return 0


def _here(folder: Path, threads: int) -> Any:
    run.main([str(folder), "--threads", str(threads)])
    return _Ended()


def _studied(_: Path) -> list[Any]:
    """The runs of all trials, and the table."""
    scan = reader.read("mine.toml")
    study.check(scan)
    runs = study.runs_so_far(scan)
    return [[one.id for one in runs], [row.last for row in table.rows(scan, runs)]]


KINDS = {
    "settings, --params NAME.json": Kind(
        partial(trained, "k.json"), partial(_settings, "--params"), mutate=edited, also=_KEYS
    ),
    "recipe, .toml": Kind(_recipe, partial(_settings, "--recipe"), mutate=edited, also=_KEYS),
    "scan, .toml": Kind(partial(_scan_file, _GRID), _read_scan, mutate=edited, lines=True),
    "scan with a study, .toml": Kind(partial(_scan_file, _STUDY), _read_scan, mutate=edited, lines=True),
    "a scan's settings.json": Kind(_begun, _scanned, checked=True, mutate=edited),
    "a scan's status.json, finished": Kind(partial(_scan, "status.json"), _scanned, checked=True, mutate=edited),
    "a scan's status.json, stopped": Kind(_half_done, _scanned, checked=True, mutate=edited),
    "a scan's results, .csv": Kind(partial(_scan, "run_results.csv"), _scanned, mutate=edited),
    "a study, SQLite": Kind(_study, _studied),
    "a study, changed inside": Kind(_study, _studied, mutate=updated),
}
"""The kinds by name."""
