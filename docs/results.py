"""Tables of accuracies on the pages, from ``recipes/results.toml``: ``python docs/results.py`` renews them.

They stand between marks; a test holds them equal to the table.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from eventprop.simulators import measured, recipes, registry  # noqa: E402
from eventprop.simulators.measured import Entry, Table  # noqa: E402

COLUMNS = {
    "test": "test samples",
    "seen": "speakers of the training file",
    "new": "new speaker",
    "validation": "validation samples",
    "left_out": "left out",
}
README = {
    "yinyang_best": "Yin-Yang, decided by first spikes",
    "MNIST_best": "MNIST, one volley of spikes an image",
    "SMNIST_best": "sequential MNIST, row by row, with a delay line",
    "SMNIST_delays": "the same, remembered by recurrence and delays: no delay line",
    "SMNIST_permuted": "its pixels in a random order, 28 at a time, with a delay line",
    "SMNIST_pixels_delays": "sequential MNIST, pixel by pixel: no delay line",
    "DVS_gesture_nmnist": "N-MNIST, 1,000 recordings",
    "DVS_gesture_gestures": "synthetic gestures, new users",
    "digits": "real spoken digits in SHD's layout",
    "digits_speakers": "the same, for speakers who were never heard",
    "demo": "synthetic spoken digits",
    "demo_delays": "the same, a [learned delay](docs/delays.md) for each input synapse in the place of recurrence",
}
"""Rows of the README's table, and what they are of."""

_BLOCK = re.compile(r"(<!-- docs/results\.py: ([\w ]+) -->\n).*?(<!-- to here -->)", re.DOTALL)


def setting(key: str, value: Any) -> str:
    """As on a command line."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def overrides(entry: Entry, without: tuple[str, ...] = ()) -> str:
    """Those of an entry in code, or nothing."""
    found = " ".join(setting(key, value) for key, value in entry.overrides.items() if key not in without)
    return f"`{found}`" if found else ""


def epochs(entry: Entry) -> int:
    """Of its training."""
    benchmark = registry.find(entry.simulator)
    default = next(key.default for key in benchmark.keys if key.name == "N_EPOCH")
    recipe = recipes.load_recipe(entry.recipe, entry.simulator).overrides if entry.recipe else {}
    return int({"N_EPOCH": default, **recipe, **entry.overrides}["N_EPOCH"])


def protocol(entry: Entry) -> str:
    """Seeds, folds and epoch."""
    seeds = f"{len(entry.seeds)} seed{'s' if len(entry.seeds) > 1 else ''}"
    folds = f"{len(entry.folds)} folds, " if entry.folds else ""
    epoch = {"last": "last", "training": "best in training", "validation": "best in validation"}[entry.epoch]
    return f"{folds}{seeds}, {epoch} of {epochs(entry)} epochs"


def spread(number: measured.Number | None) -> str:
    """A number, with its least and largest where more than one is known."""
    if number is None:
        return ""
    if not number.values or not number.sd:
        return str(number)
    least, most = (f"{end:.{number.digits}f}" for end in (min(number.values), max(number.values)))
    return f"{number} ({least} to {most})"


def results(table: Table) -> Iterator[str]:
    """The page: a section for each task, with what others have published."""
    machines = list(dict.fromkeys(e.machine for e in table.entries.values() if e.machine))
    letters = dict(zip(machines, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
    for task in table.tasks():
        entries = [entry for entry in table.entries.values() if entry.task == task]
        yield from section(task, entries, letters)
        for other in (other for other in table.published if other.task == task):
            by = "Eventprop" if other.eventprop else "any spiking network"
            yield f"* Published, {by}: **{other.value}** ({other.what}; {other.source})."
        yield ""
    yield "Machines: " + "; ".join(f"{letter}: {machine}" for machine, letter in letters.items()) + "."


def section(task: str, entries: list[Entry], letters: dict[str, str]) -> Iterator[str]:
    """Heading and table of a task."""
    columns = [name for name in COLUMNS if any(name in measured.ON[entry.on] for entry in entries)]
    head = ["number", "recipe", "network", *(COLUMNS[name] for name in columns), "protocol", "parameters", "time a run"]
    yield from (f"## {task}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|")
    for entry in entries:
        recipe = " ".join(filter(None, [f"`{entry.recipe}`" if entry.recipe else "defaults", overrides(entry)]))
        numbers = [spread(entry.numbers.get(name)) for name in columns]
        if not entry.numbers:
            numbers[columns.index(measured.ON[entry.on][0])] = "not measured yet"
        letter = f" ({letters[entry.machine]})" if entry.machine else ""
        time = "" if entry.seconds is None else measured.duration(entry) + letter
        size = "" if entry.parameters is None else f"{entry.parameters:,}"
        what = f"{entry.what}; {entry.note}" if entry.note else entry.what
        yield "| " + " | ".join([f"`{entry.name}`", recipe, what, *numbers, protocol(entry), size, time]) + " |"
    yield ""


def readme(table: Table) -> Iterator[str]:
    """The README's table."""
    yield from ("| script, recipe | task | test accuracy | effort |", "|---|---|---|---|")
    for name, task in README.items():
        entry = table.entries[name]
        numbers = ", new speaker ".join(str(number) for number in entry.numbers.values())
        n = len(entry.seeds)
        effort = f"{entry.what}, {measured.duration(entry)}"
        script = f"`train_{entry.simulator}.py`, `{entry.recipe}`"
        yield f"| {script} | {task} | **{numbers}** ({n} seed{'s' if n > 1 else ''}) | {effort} |"


def neurons(table: Table) -> Iterator[str]:
    """What every neuron learns the synthetic digits with."""
    weights = ("INPUT_HIDDEN_MEAN", "INPUT_HIDDEN_STD")
    yield from ("| neuron | `INPUT_HIDDEN_MEAN`, `_STD` | other settings | accuracy |", "|---|---|---|---|")
    usual = recipes.load_recipe("demo_delays").overrides
    for entry in (e for e in table.entries.values() if (e.recipe, e.data) == ("demo_delays", "none")):
        mean, sd = (entry.overrides.get(key, usual[key]) for key in weights)
        other = overrides(entry, (*weights, "HIDDEN_NEURON_TYPE"))
        neuron = entry.overrides.get("HIDDEN_NEURON_TYPE", "LIF")
        yield f"| {neuron} | {mean:g}, {sd:g} | {other} | {entry.numbers['test']} |"


def timing(table: Table) -> Iterator[str]:
    """Spikes on the grid, at exact times and with sub-steps, by step."""
    kinds = {"grid": "grid", "exact": "exact", "substep": "sub-step"}
    yield from (f"| step | {' | '.join(kinds.values())} |", "|---" * (1 + len(kinds)) + "|")
    for step in (1, 2, 5):
        found = (table.entries.get(f"digits_{kind}_{step}ms") for kind in kinds)
        cells = [", ".join(map(str, entry.numbers.values())) if entry else "" for entry in found]
        yield f"| {step} ms | {' | '.join(cells)} |"


def beginnings(table: Table) -> Iterator[str]:
    """Initial weights from the data beside the usual ones."""
    yield from ("| | accuracy with `WEIGHT_INIT=normal` | `fluctuation` |", "|---|---|---|")
    pairs = {
        "`python train_spikes.py --recipe demo`: 3,000 trains of 5 to 30 spikes, 100 channels, 2 classes": (
            "spikes_demo_normal",
            "spikes_demo",
        ),
        "`python train_DVS_gesture.py DATA_SET=DEMO N_TRAIN=300 N_VALIDATE=60 N_EPOCH=10 LR_EASE_IN_FACTOR=None`: "
        "gestures, 11 classes": ("DVS_gesture_normal", "DVS_gesture_fluctuation"),
    }
    for what, names in pairs.items():
        numbers = (next(iter(table.entries[name].numbers.values())) for name in names)
        yield f"| {what} | {' | '.join(map(str, numbers))} |"


BLOCKS: dict[str, Callable[[Table], Iterator[str]]] = {
    "results": results,
    "readme": readme,
    "neurons": neurons,
    "timing": timing,
    "beginnings": beginnings,
}
PAGES = (*(ROOT / "docs" / f"{name}.md" for name in ("results", "models", "own_data")), ROOT / "README.md")


def renewed(text: str, table: Table) -> str:
    """A page's text with the tables between its marks made anew."""
    return _BLOCK.sub(lambda m: m[1] + "\n" + "\n".join(BLOCKS[m[2]](table)).strip() + "\n\n" + m[3], text)


def main() -> None:
    table = measured.read(recipes.results_file())
    for page in PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main()
