"""What the table says of a run, done when the run has trained: ``measured.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files, texts
from eventprop.data.splits import speakers_of
from eventprop.simulators.about import num_trained

__all__ = ["FILE", "after", "measured"]

FILE = "measured.json"


def after(folder: Path, simulator: Any, p: Mapping[str, Any], on: str, epoch: str) -> None:
    """Measure a run that has trained, and write what came out.

    Args:
        simulator: the object that trained; ``p`` its parameters.
        on, epoch: as the table has them; test samples are looked at here, once, and nowhere else.
    """
    trained = simulator.history[-1]["seconds"]
    if on in ("validation", "left out"):
        subset, outcome = simulator.evaluated
        parts = {on.replace(" ", "_"): outcome.predictions == outcome.labels}
    else:
        simulator.test({**p, "LOAD_LAST": False, "LOAD_BEST": epoch != "last"})
        subset, outcome = simulator.evaluated
        correct = outcome.predictions == outcome.labels
        parts = {"test": correct}
        if on == "speakers":
            seen = np.isin(subset.part.speakers[subset.indices], speakers_of(simulator.data.train))
            parts = {"seen": correct[seen], "new": correct[~seen]}
    if empty := [name for name, each in parts.items() if not len(each)]:
        raise ValueError(f"there are no samples for the number {empty[0]!r} in {simulator.data.name}: another on=...")
    numbers = {n: {"percent": round(100.0 * float(c.mean()), 4), "samples": len(c)} for n, c in parts.items()}
    told = {"numbers": numbers, "parameters": num_trained(simulator.network(simulator.p)), "seconds": round(trained, 1)}
    files.write_json(folder / FILE, told)


def measured(folder: Path) -> dict[str, Any]:
    """What a run wrote.

    Raises:
        FileNotFoundError: it has not come to that.
        ValueError: the file is damaged; names it.
    """
    path = folder / FILE
    found = texts.read_json(path)
    try:
        numbers = {name: (float(said["percent"]), int(said["samples"])) for name, said in found["numbers"].items()}
        return {"numbers": numbers, "parameters": int(found["parameters"]), "seconds": float(found["seconds"])}
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ValueError(f"{path} is damaged; delete its folder, and the run is done again") from None
