"""What a scan file says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventprop.simulators import registry

__all__ = ["CLUSTER_OPTIONS", "Condition", "Dimension", "Scan", "Study", "assign", "lookup"]

CLUSTER_OPTIONS = {
    "partition": ("slurm_partition", str),
    "time": ("timeout_min", int),
    "gpus": ("gpus_per_node", int),
    "cpus": ("cpus_per_task", int),
    "memory_gb": ("mem_gb", int),
    "parallel": ("slurm_array_parallelism", int),
}
"""Options of [cluster]: submitit's name, and type; names that begin with ``slurm_`` are passed on as they are."""


@dataclass(frozen=True)
class Condition:
    """Overrides ``then`` of the runs whose settings are those of ``when``."""

    when: dict[str, Any]
    then: dict[str, Any]


@dataclass(frozen=True)
class Dimension:
    """What a study chooses a key's value from: ``choices``, or numbers from ``low`` to ``high``."""

    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Study:
    """``trials`` points chosen by Optuna from ``space``."""

    trials: int
    sampler_seed: int
    space: dict[str, Dimension]


@dataclass(frozen=True)
class Scan:
    """A scan file.

    Attributes:
        path: of the file.
        benchmark, mode: what runs, and how.
        base: the benchmark's defaults with the recipe and the fixed overrides [p].
        axes: values by scanned key, of [grid].
        entries: overrides, of [[runs]]; at least one, maybe empty.
        conditions: of [[when]].
        seeds, folds: what each point is repeated with; no folds outside mode "cross_validate".
        out: folder of the scan.
        workers: runs at once on this machine.
        launcher: words in front of each run's command, such as those that start several processes by MPI.
        cluster: options of [cluster].
        study: None for a scan of all points.
        measure: what is measured when a run has trained, and in which epoch, as the table of results has them; None
            where that is left to the run's own files.
    """

    path: Path
    benchmark: registry.Benchmark
    mode: str
    base: dict[str, Any]
    axes: dict[str, list[Any]] = field(default_factory=dict)
    entries: tuple[dict[str, Any], ...] = ({},)
    conditions: tuple[Condition, ...] = ()
    seeds: tuple[int, ...] = (1,)
    folds: tuple[int, ...] = ()
    out: Path = Path()
    workers: int = 1
    launcher: tuple[str, ...] = ()
    cluster: dict[str, Any] = field(default_factory=dict)
    study: Study | None = None
    measure: tuple[str, str] | None = None

    @property
    def scanned(self) -> list[str]:
        """The keys that differ between points, in the order of the file."""
        space = self.study.space if self.study else {}
        return list(dict.fromkeys([*self.axes, *(key for entry in self.entries for key in entry), *space]))

    @property
    def evaluated(self) -> str:
        """What accuracy each epoch is evaluated by."""
        return "test" if self.mode == "train_test" else "validation"


def assign(p: dict[str, Any], key: str, value: Any) -> None:
    """Set ``key`` in ``p``; ``OUTER.inner`` sets an entry of the dictionary ``OUTER`` and keeps its others."""
    outer, dot, inner = key.partition(".")
    p[outer] = {**(p.get(outer) or {}), inner: copy.deepcopy(value)} if dot else copy.deepcopy(value)


def lookup(p: Mapping[str, Any], key: str) -> Any:
    """The value of ``key``, also of ``OUTER.inner``; None where there is no such entry."""
    outer, dot, inner = key.partition(".")
    return p[outer].get(inner) if dot else p[outer]
