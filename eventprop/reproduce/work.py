"""The runs of an entry of the table: a scan of one point, over its seeds and folds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eventprop import __version__, own_neurons
from eventprop.parameters.declaration import defaults
from eventprop.reproduce.measure import measured
from eventprop.scans import points
from eventprop.scans.run import FINISHED, status
from eventprop.scans.spec import Scan, assign
from eventprop.simulators import recipes, registry
from eventprop.simulators.measured import Entry, Number

__all__ = ["default_folder", "folders_of", "numbers_of", "scan_of"]


def scan_of(entry: Entry, table: Path, data_dir: Path, out: Path) -> Scan:
    """What is to be run, in a folder of its own below ``out``.

    All training samples train, unless validation samples choose the epoch or are what is measured.

    Raises:
        ValueError: the entry's simulator, recipe or overrides are wrong; names table, entry and what would be right.
    """
    where = f"{table}: [result.{entry.name}]"
    try:
        benchmark = registry.find(entry.simulator)
        mode = "cross_validate" if entry.on == "left out" else "train"
        if mode not in benchmark.methods:
            raise ValueError(f"on={entry.on!r} needs speakers, which {entry.simulator} has not")
        base, keys = defaults(benchmark.keys), {key.name: key for key in benchmark.keys}
        overrides = {} if entry.recipe is None else recipes.load_recipe(entry.recipe, entry.simulator).overrides
        none = {key for key, value in entry.overrides.items() if value == "None" and key in keys and keys[key].optional}
        overrides = {**overrides, **entry.overrides, **dict.fromkeys(none)}
        own_neurons.register(overrides.get("NEURONS", {}))
        if entry.on in ("test", "speakers") and entry.epoch != "validation":
            overrides["N_VALIDATE"] = entry.overrides.get("N_VALIDATE", 0)
        if entry.epoch != "last":
            overrides["CHECKPOINT_BEST"] = entry.epoch
        always = {"DATA_DIR": str(data_dir), "TRAINING_PLOT": False, "FANCY_PLOTS": False}
        overrides |= {key: value for key, value in always.items() if key in keys}
        for key, value in overrides.items():
            assign(base, key, value)
        scan = Scan(table, benchmark, mode, base, seeds=entry.seeds, folds=entry.folds, out=out / entry.name)
        return replace(scan, measure=(entry.on, entry.epoch))
    except ValueError as error:
        raise ValueError("\n".join(f"{where}: {line}" for line in str(error).split("\n"))) from None


def folders_of(scan: Scan) -> list[Path]:
    """The folders of the runs, with what they need to be started; those of finished ones are as they are.

    Raises:
        ValueError: settings do not go together.
    """
    return [points.prepare(scan, one) for one in points.expand(scan)]


def numbers_of(entry: Entry, folders: Iterable[Path]) -> Entry | None:
    """The entry with what its finished runs have measured; None where none has finished."""
    found = [measured(folder) for folder in folders if status(folder)["state"] == FINISHED]
    if not found:
        return None
    names = list(found[0]["numbers"])
    numbers = {
        name: Number.of([one["numbers"][name][0] for one in found], found[0]["numbers"][name][1]) for name in names
    }
    seconds = sum(one["seconds"] for one in found) / len(found)
    return replace(entry, numbers=numbers, parameters=found[0]["parameters"], seconds=round(seconds, 1))


def default_folder() -> Path:
    """Of this version of the code, so that runs of another do not count as its own."""
    return Path("runs") / "reproduce" / f"{__version__}-{_digest(_sources())}"


def _sources() -> list[Path]:
    package = Path(__file__).parents[1]
    beside = [package.parent / f"{name}.py" for name in ("models", *(b.module for b in registry.BENCHMARKS.values()))]
    return [*sorted([*package.rglob("*.py"), *package.rglob("*.hpp")]), *(path for path in beside if path.is_file())]


def _digest(paths: Sequence[Path]) -> str:
    sums: Any = hashlib.sha256()
    for path in paths:
        sums.update(path.read_bytes())
    return str(sums.hexdigest()[:8])
