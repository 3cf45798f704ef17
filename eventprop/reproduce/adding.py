"""A new entry of the table, from the words of ``--add``."""

from __future__ import annotations

import argparse
import re
from typing import Any

from eventprop.parameters import declaration as parameters
from eventprop.reproduce.data_sets import DATA_SETS
from eventprop.simulators import recipes, registry
from eventprop.simulators.measured import EPOCHS, ON, Entry, Number, Table

__all__ = ["OPTIONS", "added"]

OPTIONS = ("task", "on", "epoch", "folds", "needs", "what", "found", "took")
"""Options that go with ``--add``."""


def added(table: Table, options: argparse.Namespace) -> tuple[Table, str]:
    """The table with one entry more, or with another one in the place of that of the same name; and its name.

    What is not said is as in the recipe's other entries, or in the one that was there.

    Raises:
        ValueError: says which word is wrong, and what would be right.
    """
    if len(options.add) < 3:
        raise ValueError("--add takes NAME SIMULATOR RECIPE [KEY=VALUE ...]")
    name, simulator, recipe, *words = options.add
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(f"--add {name!r}: a name is of letters, digits, _, ., + and -")
    benchmark = registry.find(simulator)
    if recipe != "none":
        recipes.load_recipe(recipe, simulator)
    overrides = parameters.parse_settings(words, benchmark.keys)
    there = table.entries.get(name)
    near = [e for e in table.entries.values() if (e.simulator, e.recipe) == (simulator, recipe)]
    said: dict[str, Any] = {"on": "left out" if options.folds else "test"}
    for like in near[:1] if there is None else [there]:
        said |= {
            "task": like.task,
            "data": like.data,
            **({} if options.folds else {"on": like.on, "epoch": like.epoch}),
        }
        said |= {} if there is None else {"what": like.what}
    said |= {f: getattr(options, f) for f in ("task", "on", "epoch", "what") if getattr(options, f) is not None}
    said |= {"data": options.needs} if options.needs else {}
    if not options.seeds:
        raise ValueError("--add needs --seeds")
    if "task" not in said:
        raise ValueError(f"--add needs --task: a heading, such as {', '.join(table.tasks())}")
    for key, known in (("on", ON), ("epoch", EPOCHS), ("data", DATA_SETS)):
        if key in said and said[key] not in known:
            raise ValueError(f"--{'needs' if key == 'data' else key} must be one of {', '.join(known)}")
    if bool(options.folds) != (said["on"] == "left out"):
        raise ValueError("--folds and --on 'left out' go together")
    entry = Entry(
        name=name,
        simulator=simulator,
        recipe=None if recipe == "none" else recipe,
        overrides=overrides,
        seeds=tuple(options.seeds),
        folds=tuple(options.folds or ()),
        numbers=_found(options.found, said["on"], len(options.seeds) * max(1, len(options.folds or ()))),
        seconds=options.took,
        **said,
    )
    return Table({**table.entries, name: entry}, table.published), name


def _found(words: list[list[str]] | None, on: str, runs: int) -> dict[str, Number]:
    """Numbers that are known already."""
    numbers: dict[str, Number] = {}
    for name, *values in words or ():
        try:
            numbers[name] = Number.of(map(float, values), None)
        except (ValueError, ArithmeticError):
            raise ValueError(f"--found {name} {' '.join(values)}: accuracies in % must follow the name") from None
        if len(values) != runs:
            raise ValueError(f"--found {name} has {len(values)} accuracies, but there are {runs} runs")
    if numbers and set(numbers) != set(ON[on]):
        raise ValueError(f"--found must be given for {' and for '.join(ON[on])}")
    return numbers
