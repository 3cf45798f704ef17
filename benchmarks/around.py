"""Where the time of a run goes: how much of an epoch is the engine, and what the rest is, for every benchmark.

Each recipe runs for a few epochs as anybody runs it: files are written (to a folder that is deleted), a bar is drawn
(on a terminal that nobody looks at), pictures are made. Of an epoch every function below counts what is spent in it
but not in others of them, on the thread that trains; what a second one prepares meanwhile is in brackets. The first
epoch is left out. What comes once is beside it, as a share of a run with all epochs of the recipe: loading (again with
what the first time has kept), building the engine, the first epoch's look at the network, the end.
Run: python benchmarks/around.py [--mnist DIR] [--digits DIR] [--nmnist DIR] [--only NAME ...] [--json FILE]
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
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.presentation import Preparation, Presentation
from eventprop.reports.progress import Progress
from eventprop.reports.recording import Recorder
from eventprop.simulators import simulator
from eventprop.simulators.recipes import load_recipe
from eventprop.simulators.registry import find
from eventprop.training import trainer
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
ENGINE, REST = ("sweeps", "update"), "loop"
PHASES = (*ENGINE, "call", "presenting", "evaluation", "its rest", "records", "files", "pictures", "progress", REST)
LIMIT = 0.05  # of an epoch; what is above it, and not the engine, is marked


class Watch:
    """Seconds of the thread that trains by phase, each without those within it, and seconds of other threads."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.seconds: dict[str, float] = defaultdict(float)
        self.beside = 0.0
        self._stack, self._since = [REST], time.perf_counter()

    def take(self) -> dict[str, float]:
        """What there was since the last time."""
        self._charge()
        taken, self.seconds = dict(self.seconds), defaultdict(float)
        taken["beside"], self.beside = self.beside, 0.0
        return taken

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def within(self, phase: str) -> Iterator[None]:
        if threading.get_ident() != self.thread:
            start = time.perf_counter()
            yield
            self.beside += time.perf_counter() - start
            return
        self._charge()
        if "its rest" in self._stack and phase != "progress":
            phase = "evaluation" if phase in ENGINE else "its rest"
        self._stack.append(phase)
        try:
            yield
        finally:
            self._charge()
            self._stack.pop()

    def call(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.within(phase):
                return function(*args, **kwargs)

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
    calls += [(trainer, "evaluate", "its rest"), (Presentation, "_changed", "presenting")]
    calls += [(Preparation, name, "presenting") for name in ("training", "evaluation")]
    names = ("_said", "_take", "_outcome", "epoch_record", "collect", "silent_neurons", "warn_of_silence")
    calls += [(trainer, name, "records") for name in names]
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
    if setting.data == "digits":
        p["DATA_BUFFER_NAME"] = str(folder / "kept")
    taken: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(Terminal()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
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


def row(setting: Setting, found: Found) -> str:
    """A line of the table."""
    whole = sum(found.epoch[phase] for phase in PHASES)
    cells = []
    for phase in PHASES:
        share = found.epoch[phase] / whole
        mark = "!" if share > LIMIT and phase not in (*ENGINE, "evaluation") else ""
        cells.append(f"{mark}{share:.1%}")
    beside = f"({found.epoch['beside'] / whole:.0%})" if found.epoch["beside"] else ""
    once = [f"{value:.2f}" for value in found.once.values()]
    later = sum(value for name, value in found.once.items() if name != "loading")
    once.append(f"{later / (whole * found.epochs):.1%}")
    cells[PHASES.index("presenting")] += beside
    return " | ".join([f"{setting.benchmark} {setting.recipe}", f"{whole:.2f}", *cells, *once])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--mnist", type=Path, help="folder with MNIST/")
    options.add_argument("--digits", type=Path, help="folder with SHD/, of SHD or in its layout")
    options.add_argument("--nmnist", type=Path, help="folder of N-MNIST")
    options.add_argument("--only", nargs="+", help='"BENCHMARK RECIPE"')
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--json", type=Path, help="also write the seconds to this file")
    given = options.parse_args()
    settings: dict[str, Any] = {"NUM_THREADS": given.threads, "MODEL_SEED": 1, "TRAIN_DATA_SEED": 1}
    once = ("loading s", "again", "before", "first", "end", "once but loading, of a run")
    print(" | ".join(["recipe", "epoch s", *PHASES, *once]))
    table = {}
    for setting in SETTINGS:
        name, data = f"{setting.benchmark} {setting.recipe}", getattr(given, setting.data) if setting.data else None
        if (given.only and name not in given.only) or (setting.data and data is None):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = profile(setting, Path(folder), data, settings)
        print(row(setting, found), flush=True)
        table[name] = found._asdict()
    if given.json:
        given.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
