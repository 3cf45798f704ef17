"""Where the time of a run goes: how much of an epoch is the engine, and what the rest is, for every benchmark.

Each recipe runs for a few epochs as anybody runs it: files are written (to a folder that is deleted), a bar is drawn
(on a terminal that nobody looks at), pictures are made. Of an epoch every function below counts what is spent in it
but not in others of them, on the thread that trains; what a second one prepares meanwhile is in brackets. The first
epoch is left out. What comes once is beside it in seconds, and as a share of a run with all epochs of the recipe:
loading (again with what the first time has kept, which is what the share is of), what comes before the first epoch
(the engine's code, where it was not built before), what the first one takes longer (pictures load their library), the
end. The recipes without data to download: 30 s; all: three minutes.
Run: python benchmarks/around.py [--mnist DIR] [--digits DIR] [--nmnist DIR] [--only NAME ...] [--page docs/speed.md]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pages

from eventprop import files
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.presentation import Preparation, Presentation
from eventprop.reports.progress import Progress
from eventprop.reports.recording import Recorder
from eventprop.simulators import simulator
from eventprop.simulators.recipes import load_recipe
from eventprop.simulators.registry import find
from eventprop.training import trainer
from eventprop.training.outcome import Outcome
from eventprop.training.outputs import Outputs


class Setting(NamedTuple):
    """A recipe, for how many epochs it runs here, and which option names the folder of its data."""

    benchmark: str
    recipe: str
    epochs: int
    data: str = ""


SETTINGS = (
    Setting("yinyang", "quick", 6),
    Setting("MNIST", "quick", 3, "mnist"),
    Setting("SMNIST", "quick", 2, "mnist"),
    Setting("SMNIST", "pixels", 2, "mnist"),
    Setting("SHD", "demo", 5),
    Setting("SHD", "digits", 5, "digits"),
    Setting("SHD", "digits_delays", 3, "digits"),
    Setting("SHD", "digits_speakers", 3, "digits"),
    Setting("DVS_gesture", "gestures", 6),
    Setting("DVS_gesture", "nmnist", 5, "nmnist"),
    Setting("spikes", "demo", 6),
)
ENGINE, EVALUATION, REST = ("sweeps", "update"), "its rest", "loop"
PHASES = (*ENGINE, "call", "presenting", "evaluation", EVALUATION, "records", "files", "pictures", "progress", REST)
LIMIT = 0.05  # of an epoch; what is above it, and not the engine, is marked


class Watch:
    """Seconds of the thread that trains by phase, each without those within it, and seconds of other threads."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.beside = 0.0
        self._phase, self._evaluates, self._since = REST, False, time.perf_counter()

    def take(self) -> dict[str, float]:
        """What there was since the last time."""
        self._enter(self._phase)
        taken, self.seconds = self.seconds | {"beside": self.beside}, dict.fromkeys(PHASES, 0.0)
        self.beside = 0.0
        return taken

    def _enter(self, phase: str) -> None:
        """From now on another phase."""
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def call(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """A function that tells what it takes; called some ten times a batch, it has to be light itself."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self.thread:
                start = time.perf_counter()
                result = function(*args, **kwargs)
                self.beside += time.perf_counter() - start
                return result
            outer, evaluates = self._phase, self._evaluates
            self._evaluates = evaluates or phase == EVALUATION
            if evaluates and phase != "progress":
                self._enter("evaluation" if phase in ENGINE else EVALUATION)
            else:
                self._enter(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self._enter(outer)
                self._evaluates = evaluates

        return watched

    def items(self, function: Callable[..., Iterator[Any]], phase: str) -> Callable[..., Iterator[Any]]:
        """Of a generator, what it takes to get to the next item."""

        def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
            items = iter(function(*args, **kwargs))
            end = object()
            while (item := self.call(next, phase)(items, end)) is not end:
                yield item

        return watched


class Compiled:
    """An engine's library whose functions tell what they take."""

    def __init__(self, library: Any, watch: Watch) -> None:
        self._library, self._watch = library, watch

    def __getattr__(self, name: str) -> Any:
        phase = "update" if name in ("engine_gradient_norm2", "engine_update") else "sweeps"
        function = self._watch.call(getattr(self._library, name), phase)
        setattr(self, name, function)
        return function


def watched(watch: Watch, model: type, stack: contextlib.ExitStack) -> None:
    """Let the functions that make up an epoch tell what they take."""
    made = CpuEngine.__init__

    def make(engine: CpuEngine, *args: Any, **kwargs: Any) -> None:
        made(engine, *args, **kwargs)
        engine._lib = Compiled(engine._lib, watch)

    stack.enter_context(mock.patch.object(CpuEngine, "__init__", make))
    calls: list[tuple[Any, str, str]] = [(CpuEngine, name, "call") for name in ("run", "gradient_norm", "update")]
    calls += [(trainer, "evaluate", EVALUATION), (Presentation, "_changed", "presenting")]
    calls += [(Preparation, name, "presenting") for name in ("training", "evaluation")]
    names = ("_said", "_take", "epoch_record", "collect", "silent_neurons", "warn_of_silence")
    calls += [(trainer, name, "records") for name in names]
    calls += [(Outcome, "of", "records")]
    calls += [(Recorder, name, "records") for name in ("wanted", "take")]
    calls += [(Outputs, name, "files") for name in ("begin", "epoch", "finish")]
    calls += [(Progress, name, "progress") for name in ("running", "epoch", "tell")]
    if hasattr(model, "_draw"):
        calls.append((model, "_draw", "pictures"))
    for owner, name, phase in calls:
        stack.enter_context(mock.patch.object(owner, name, watch.call(getattr(owner, name), phase)))
    for owner, phase in ((Presentation, "presenting"), (Progress, "progress")):
        stack.enter_context(mock.patch.object(owner, "batches", watch.items(owner.batches, phase)))


class Terminal(io.StringIO):
    """One that nobody looks at."""

    def isatty(self) -> bool:
        return True


class Found(NamedTuple):
    """Seconds: of an epoch by phase; once: loading, loading again, all before the first epoch and all after the last.

    ``epochs`` are those of the recipe.
    """

    epoch: dict[str, float]
    once: dict[str, float]
    epochs: int


def profile(setting: Setting, folder: Path, data: Path | None, settings: dict[str, Any]) -> Found:
    """Run a recipe. Its data are loaded twice; what the first time keeps is new."""
    benchmark, recipe = find(setting.benchmark), load_recipe(setting.recipe, setting.benchmark)
    model = benchmark.load()
    p = {**model.defaults(), **recipe.overrides, "OUT_DIR": str(folder / "run")}
    p |= {"DATA_DIR": str(data or folder / "data")} if "DATA_DIR" in p else {}
    epochs, p = p["N_EPOCH"], {**p, "N_EPOCH": setting.epochs, **settings}
    run = benchmark.modes()[recipe.method or "train"]
    taken: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(Terminal()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(mock.patch.object(files, "cache_folder", lambda: folder / "cache"))  # of spikes
        loading = []
        for _ in range(2):
            start = time.perf_counter()
            mn = model(p)
            _ = mn.data.test
            loading.append(time.perf_counter() - start)
        watch = Watch()
        watched(watch, model, stack)
        train_alone, after = simulator.trainer.train, simulator.Simulator._after_epoch

        def train(*args: Any, **kwargs: Any) -> Any:
            taken.append(watch.take())
            return train_alone(*args, **kwargs)

        def after_epoch(*args: Any, **kwargs: Any) -> Any:
            ended = after(*args, **kwargs)
            taken.append(watch.take())
            return ended

        stack.enter_context(mock.patch.object(trainer, "train", train))
        stack.enter_context(mock.patch.object(simulator.Simulator, "_after_epoch", after_epoch))
        run(mn, p)
        taken.append(watch.take())
    before, first, *others, end = taken
    epoch = {phase: sum(each.get(phase, 0.0) for each in others) / len(others) for phase in (*PHASES, "beside")}
    whole = {
        name: sum(each[phase] for phase in each if phase != "beside")
        for name, each in (("before", before), ("first", first), ("end", end))
    }
    usual = sum(epoch[phase] for phase in PHASES)
    once = {"loading": loading[0], "again": loading[1], "before": whole["before"]}
    return Found(epoch, once | {"first": max(0.0, whole["first"] - usual), "end": whole["end"]}, epochs)


COLUMNS = ["recipe", "epoch s", "engine", "evaluation", "calls", "presenting (beside)", "records", "files", "pictures"]
COLUMNS += ["progress", "loop", "loading s, again", "before", "first epoch", "end", "of a run"]


def row(setting: Setting, found: Found) -> list[str]:
    """A line of the table."""
    whole = sum(found.epoch[phase] for phase in PHASES)
    share = {phase: found.epoch[phase] / whole for phase in PHASES}

    def cell(phase: str) -> str:
        return f"**{share[phase]:.1%}**" if share[phase] > LIMIT else f"{share[phase]:.1%}"

    beside = f" ({found.epoch['beside'] / whole:.0%})" if found.epoch["beside"] else ""
    first, again, *once = (f"{value:.2f}" for value in found.once.values())
    later = sum(value for name, value in found.once.items() if name != "loading")
    return [
        f"{setting.benchmark} `{setting.recipe}`",
        f"{whole:.2f}",
        f"{sum(share[phase] for phase in ENGINE):.1%}",
        f"{share['evaluation'] + share[EVALUATION]:.1%}",
        cell("call"),
        cell("presenting") + beside,
        *map(cell, PHASES[PHASES.index("records") :]),
        f"{first}, {again}",
        *once,
        f"{later / (whole * found.epochs + later):.1%}",
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--mnist", type=Path, help="folder with MNIST/")
    options.add_argument("--digits", type=Path, help="folder with SHD/, of SHD or in its layout")
    options.add_argument("--nmnist", type=Path, help="folder of N-MNIST")
    options.add_argument("--only", nargs="+", help='"BENCHMARK RECIPE"')
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--json", type=Path, help="also write the seconds to this file")
    options.add_argument("--page", type=Path, help="also put the table into this page (docs/speed.md)")
    given = options.parse_args()
    settings: dict[str, Any] = {"NUM_THREADS": given.threads, "MODEL_SEED": 1, "TRAIN_DATA_SEED": 1}
    print(pages.table(COLUMNS, []), end="")
    profiles, rows = {}, []
    for setting in SETTINGS:
        name, data = f"{setting.benchmark} {setting.recipe}", getattr(given, setting.data) if setting.data else None
        if (given.only and name not in given.only) or (setting.data and data is None):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = profile(setting, Path(folder), data, settings)
        rows.append(row(setting, found))
        print(f"| {' | '.join(rows[-1])} |", flush=True)
        profiles[name] = found._asdict()
    if given.json:
        given.json.write_text(json.dumps(profiles, indent=1) + "\n")
    if given.page:
        threads = f"{given.threads} thread{'s' * (given.threads > 1)}"
        pages.put(given.page, "around", f"{pages.where()}, {threads}:\n\n{pages.table(COLUMNS, rows)}")


if __name__ == "__main__":
    main()
