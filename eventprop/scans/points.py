"""From a scan to its runs: all combinations, conditions applied, each with an id that says and settles what it is."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventprop import files, texts
from eventprop.scans.spec import Scan, assign, lookup

__all__ = ["NAME", "NOT_SETTINGS", "Run", "expand", "folder_of", "plain", "prepare", "runs_of", "short"]

NAME = "run"
"""``NAME`` of every run; its folder tells runs apart."""
NOT_SETTINGS = (
    "NAME",
    "OUT_DIR",
    "LOAD_LAST",
    "LOAD_BEST",
    "CHECKPOINT",
    "CHECKPOINT_NAME",
    "WRITE_TO_DISK",
    "NUM_THREADS",
    "TIMING",
    "BUILD",
    "CUDA_VISIBLE_DEVICES",
    "METHOD",
)
"""Keys of which none changes what is computed; most are set by the scan."""
_LONGEST = 120


@dataclass(frozen=True)
class Run:
    """One run of a scan.

    Attributes:
        p: all settings, complete and checked, but those that the scan sets (folder, threads, checkpoints).
        point: values by scanned key.
        seed, fold: which repetition of the point it is; no fold outside mode "cross_validate".
        digest: of all settings that are not defaults, and of benchmark and mode.
        id: the folder's name: the scanned keys, seed, fold and digest.
    """

    p: dict[str, Any]
    point: dict[str, Any]
    seed: int
    fold: int | None
    digest: str
    id: str

    @property
    def label(self) -> str:
        """What sets it apart, for people."""
        parts = [f"{key}={short(value)}" for key, value in self.point.items()] + [f"seed {self.seed}"]
        return ", ".join(parts if self.fold is None else [*parts, f"fold {self.fold}"])


def plain(value: Any) -> str:
    """``value`` as text: bare words as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def short(value: Any) -> str:
    """``value`` as text, numbers to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else plain(value)


def expand(scan: Scan) -> list[Run]:
    """All runs of a scan without a study: points in the order of the file, its last axis fastest, then seeds and folds.

    Raises:
        ValueError: lists what is wrong with settings that only runs have; two runs that are the same; a condition
            that no run meets.
    """
    runs: list[Run] = []
    met: set[int] = set()
    for entry in scan.entries:
        for values in itertools.product(*scan.axes.values()):
            runs += runs_of(scan, {**entry, **dict(zip(scan.axes, values, strict=True))}, met)
    problems = [f"{scan.path}: [[when]] {i + 1} is met by no run" for i in range(len(scan.conditions)) if i not in met]
    seen: dict[str, Run] = {}
    for run in runs:
        if run.digest in seen:
            problems.append(f"{scan.path}: two runs are the same: {seen[run.digest].label} and {run.label}")
        seen[run.digest] = run
    if problems:
        raise ValueError("\n".join(problems))
    return runs


def runs_of(scan: Scan, overrides: Mapping[str, Any], met: set[int] | None = None) -> list[Run]:
    """The runs of one point, one for each seed and fold.

    Args:
        overrides: of the point.
        met: takes the numbers of the conditions that it meets.

    Raises:
        ValueError: its settings do not go together.
    """
    return list(_repetitions(scan, _settings(scan, overrides, set() if met is None else met)))


def _settings(scan: Scan, overrides: Mapping[str, Any], met: set[int]) -> dict[str, Any]:
    """The settings of a point; conditions look at them as they are before any condition."""
    p = copy.deepcopy(scan.base)
    for key, value in overrides.items():
        assign(p, key, value)
    before = copy.deepcopy(p)
    by: dict[str, int] = {}
    for i, condition in enumerate(scan.conditions):
        if all(lookup(before, key) == value for key, value in condition.when.items()):
            met.add(i)
            for key, value in condition.then.items():
                if key in by:
                    where = ", ".join(f"{k}={plain(v)}" for k, v in overrides.items())
                    raise ValueError(f"{scan.path}: [[when]] {by[key] + 1} and {i + 1} both set {key} ({where})")
                assign(p, key, value)
                by[key] = i
    return p


def _repetitions(scan: Scan, p: dict[str, Any]) -> Iterator[Run]:
    folds: tuple[int | None, ...] = scan.folds or (None,)
    for seed, fold in itertools.product(scan.seeds, folds):
        own = {**p, "MODEL_SEED": seed, "TRAIN_DATA_SEED": seed, "NAME": NAME, "OUT_DIR": ".", "CHECKPOINT": True}
        own |= {"LOAD_LAST": False, "LOAD_BEST": False, "CHECKPOINT_NAME": None, "WRITE_TO_DISK": True}
        if fold is not None and scan.benchmark.fold_key:
            own[scan.benchmark.fold_key] = [fold]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the run says it, in its log
                resolved = scan.benchmark.resolve(own)
        except ValueError as error:
            lines = str(error).split("\n")
            point = ", ".join(f"{key}={plain(lookup(p, key))}" for key in scan.scanned) or "every run"
            raise ValueError("\n".join(f"{scan.path}: {line} ({point})" for line in lines)) from None
        point_values = {key: lookup(resolved, key) for key in scan.scanned}
        digest = _digest(scan, resolved)
        yield Run(resolved, point_values, seed, fold, digest, _id(point_values, seed, fold, digest))


def _digest(scan: Scan, resolved: Mapping[str, Any]) -> str:
    default = {key.name: key.default for key in scan.benchmark.keys}
    own = {k: v for k, v in resolved.items() if k not in NOT_SETTINGS and v != default[k]}
    steps = own.get("SPK_REC_STEPS")
    if steps is not None and steps == round(
        (resolved["TRIAL_MS"] or 0.0) / resolved["DT_MS"]
    ):  # None: as data are long
        del own["SPK_REC_STEPS"]
    text = json.dumps([scan.benchmark.name, scan.mode, own], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _id(point: Mapping[str, Any], seed: int, fold: int | None, digest: str) -> str:
    parts = [f"{key}={plain(value)}" for key, value in point.items()] + [f"seed={seed}"]
    text = ",".join(parts if fold is None else [*parts, f"fold={fold}"])
    return f"{re.sub('[^A-Za-z0-9=,._+-]', '', text)[:_LONGEST]}-{digest}"


def folder_of(out: Path, run: Run) -> Path:
    """Where the run is or will be; one of the same settings under another scanned key's name counts."""
    there = sorted(out.glob(f"*-{run.digest}")) if out.is_dir() else []
    return there[0] if there else out / run.id


def prepare(scan: Scan, run: Run) -> Path:
    """The run's folder, with its settings in ``settings.json``, which is written again where it says something else of
    what changes nothing, or lacks something.

    Raises:
        ValueError: there are other settings in it, as after a change of a default, or it is damaged.
    """
    folder = folder_of(scan.out, run)
    path = folder / "settings.json"
    settings = {"simulator": scan.benchmark.name, "mode": scan.mode, "p": run.p}
    if scan.launcher:
        settings["launcher"] = list(scan.launcher)
    if scan.measure:
        settings["measure"] = list(scan.measure)
    if path.exists():
        found = texts.read_json(path)
        if not isinstance(found, dict) or not isinstance(found.get("p"), dict):
            raise ValueError(f"{path} is damaged; delete it, and it is written again")
        other = [k for k in run.p if k not in NOT_SETTINGS and k in found["p"] and found["p"][k] != run.p[k]]
        if other:
            raise ValueError(
                f"{path} has other values of {', '.join(other)}: defaults have changed; choose another out"
            )
        if found == settings:
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(path, settings)
    return folder
