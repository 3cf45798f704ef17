"""Kills: a run is killed, goes on with ``LOAD_LAST=true``, is killed again, and must end as if it never had been."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import demo, shd

from .left import everything, own_epochs
from .victim import BEGUN

__all__ = ["THIRDS", "Scenario", "Series", "kill_all", "scenarios", "table"]

THIRDS = ("during compilation", "while files are written", "anywhere")
_ROOT = Path(__file__).parents[2]
_SIGNALS, _SHARES = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (0.7, 0.15, 0.15)
_ENDED_BY = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGALRM, 130}
_IN_A_ROW = 3  # kills of one run
_LONGEST_S = 300.0  # a run takes some seconds
_FEW = {"N_TRAIN": 20, "NUM_HIDDEN": 6, "N_BATCH": 10, "MODEL_SEED": 1, "NUM_THREADS": 1, "OUT_DIR": "out", "NAME": "k"}
_ETA, _EARLIER_ETA = 0.004, 0.003


@dataclass
class Scenario:
    """A run that can be killed.

    Attributes:
        name: for the table.
        words: of its command line.
        folder: where what it begins with is, and later what it leaves when it is not killed.
        environment: that of its process; the cache of engines is in it.
        seconds, building, operations: what it takes, for how long its engine is compiled, and how often it changes a
            file.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    seconds: float = 0.0
    building: float = 2.0
    operations: int = 0

    def start(self, place: Path, log: Path, *more: str, **environment: str) -> subprocess.Popen[bytes]:
        """The process, in a folder; what it says goes to a file."""
        command = [sys.executable, "-m", "robust.victim", *self.words, *more]
        path = os.pathsep.join([str(_ROOT), str(_ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "PYTHONPATH": path, **self.environment, **environment}
        with log.open("ab") as file:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=place, env=env)

    def prepare(self, place: Path) -> None:
        """What the run begins with."""
        shutil.copytree(self.folder / "before", place)  # times of change stay

    @cached_property
    def whole(self) -> dict[str, Any]:
        """What is there in the end when nothing was killed."""
        return everything(self.folder / "whole")


def scenarios(folder: Path, environment: dict[str, str]) -> list[Scenario]:
    """A run with recordings, pictures and an earlier one of its name; one that keeps binned spikes; one that makes its
    data. Each is done once, unbroken."""
    small = [f"{key}={json.dumps(value)}" for key, value in {**_FEW, "ETA": _ETA}.items()]
    spoken = [*small, "N_VALIDATE=10", "N_EPOCH=3", "DT_MS=5.0", "TRIAL_MS=1000.0", "INPUT_HIDDEN_MEAN=0.1"]
    points = [*small, "N_TEST=20", "N_EPOCH=6", "DT_MS=1.0", "HIDDEN_OUTPUT_MEAN=1.5", "CHECKPOINT_BEST=training"]
    points += ["COLLECT_CONFUSION=true", "REC_PREDICTIONS=true", 'REC_SPIKES=["hidden"]', "W_EPOCH_INTERVAL=2"]
    found = [
        Scenario("Yin-Yang", ("yinyang", "train_test", *points), folder / "points", environment),
        Scenario("SHD", ("SHD", "train", "DATA_SET=SHD", "DATA_DIR=data", *spoken), folder / "kept", environment),
        Scenario("DEMO", ("SHD", "train", "DATA_SET=DEMO", "DATA_DIR=data", *spoken), folder / "made", environment),
    ]
    for scenario in found:
        (scenario.folder / "before").mkdir(parents=True)
    _earlier(found[0])
    _spoken(found[1].folder / "before" / "data" / "SHD")
    for scenario in found:
        _unbroken(scenario)
    return found


def _run(scenario: Scenario, place: Path, *more: str, **environment: str) -> float:
    """Do it where it is not killed; its seconds without those for which it compiled."""
    log = scenario.folder / "log"
    start, said = time.monotonic(), log.stat().st_size if log.exists() else 0
    if scenario.start(place, log, *more, **environment).wait(_LONGEST_S):
        raise RuntimeError(log.read_text())
    seconds = time.monotonic() - start
    built = re.search(rb"Building the CPU engine .* ([0-9.]+) s", log.read_bytes()[said:])
    if built:
        scenario.building = float(built[1])
    return seconds - (float(built[1]) if built else 0.0)


def _earlier(scenario: Scenario) -> None:
    """An earlier run of the same name, whose checkpoint must never be lost."""
    _run(scenario, scenario.folder / "before", f"ETA={_EARLIER_ETA}", "N_EPOCH=2")


def _spoken(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part, n in (("train", 40), ("test", 20)):
        shd.write_shd(folder / f"shd_{part}.h5", *demo.make_part(part, n), demo.class_names())


def _unbroken(scenario: Scenario) -> None:
    """Do the run where it is not killed, and see how long it takes."""
    place, count = scenario.folder / "whole", scenario.folder / "count"
    scenario.prepare(place)
    scenario.seconds = _run(scenario, place, ROBUST_COUNT=str(count))
    scenario.operations = int(count.read_text())


@dataclass
class Series:
    """A run that is killed some times, and ends.

    Attributes:
        third: when it is killed, one of THIRDS.
        number: draws the moments and signals.
        most: kills.
        folder: its own.
    """

    scenario: Scenario
    third: str
    number: int
    most: int
    folder: Path
    kills: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([THIRDS.index(self.third), self.number])
        self.place, self.log = self.folder / "run", self.folder / "log"
        self.environment: dict[str, str] = {}
        if self.third == THIRDS[0]:
            self.environment["EVENTPROP_CACHE"] = str(self.folder / "cache")

    def do(self) -> Series:
        """Do it, and see after each kill, and in the end, that all is as it must be."""
        self.folder.mkdir(parents=True)
        self.scenario.prepare(self.place)
        self.earlier = {path.read_bytes() for path in self.place.rglob("*_state_*.npz")}
        self.done = -1
        try:
            ended = False
            while not ended and self.kills < self.most:
                ended = self._once(kill=True)
            if not ended and not self._once(kill=False):
                self.faults.append("it was killed by nobody")
            self._compare()
        except subprocess.TimeoutExpired:
            self.faults.append("HANG")
        except Exception as error:
            self.faults.append(f"{type(error).__name__}: {error}")
        if not self.faults:
            shutil.rmtree(self.folder)
        return self

    def _once(self, kill: bool) -> bool:
        """Start it, or let it go on; whether it ended by itself."""
        how = self._planned() if kill else {}
        more = [f"LOAD_LAST={json.dumps(self.done >= 0)}"]
        said = self.log.stat().st_size if self.log.exists() else 0
        process = self.scenario.start(self.place, self.log, *more, **self.environment, **how.get("environment", {}))
        try:
            if "wait" in how:
                how["wait"](process, said)
                process.send_signal(how["signal"])
            status = process.wait(_LONGEST_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
        text = self.log.read_bytes()[said:].decode(errors="replace")
        if "Traceback" in text or (status and status not in _ENDED_BY):
            self.faults.append(f"status {status}: {text[-1000:]}")
        self.kills += status != 0
        self._check()
        return status == 0

    def _planned(self) -> dict[str, Any]:
        """A moment and a signal."""
        which = int(self.rng.choice(_SIGNALS, p=_SHARES))
        if self.third == THIRDS[1]:
            at = int(self.rng.integers(self.scenario.operations * 2 // 3))
            delay = float(self.rng.uniform(1e-5, 2e-3)) if self.rng.random() < 0.5 else 0.0
            return {"environment": {"ROBUST_KILL": json.dumps({"at": at, "signal": which, "delay": delay})}}
        compiles = self.third == THIRDS[0]
        after = float(self.rng.uniform(0.0, self.scenario.building if compiles else self.scenario.seconds))
        mark = b"Building" if compiles else BEGUN.encode() if which == signal.SIGINT else b""

        def wait(process: subprocess.Popen[bytes], said: int) -> None:
            while mark not in self.log.read_bytes()[said:] and process.poll() is None:
                time.sleep(0.005)
            time.sleep(after)

        return {"wait": wait, "signal": which}

    def _check(self) -> None:
        """Nothing that was trained is lost, and no compiler goes on."""
        now = own_epochs(self.place / "out", _ETA) if (self.place / "out").exists() else -1
        if now < self.done:
            self.faults.append(f"LOST: {self.done} epochs were done, and {now} are there")
        self.done = now
        there = {path.read_bytes() for path in self.place.rglob("*_state_*.npz")}
        if not self.earlier <= there:
            self.faults.append("LOST: the checkpoint of an earlier run")
        if cache := self.environment.get("EVENTPROP_CACHE"):
            deadline = time.monotonic() + 20.0
            while _processes_with(cache) and time.monotonic() < deadline:
                time.sleep(0.05)
            self.faults += [f"COMPILER: {line}" for line in _processes_with(cache)]

    def _compare(self) -> None:
        found = everything(self.place)
        for name in sorted({*found, *self.scenario.whole}):
            if name not in found or name not in self.scenario.whole:
                self.faults.append(f"DIFFERENT: {name} is {'left over' if name in found else 'missing'}")
            elif found[name] != self.scenario.whole[name]:
                self.faults.append(f"DIFFERENT: {name}")
        if cache := self.environment.get("EVENTPROP_CACHE"):
            left = sorted(os.listdir(cache))
            if len(left) != 1 or not left[0].endswith(".so"):
                self.faults.append(f"LEFT OVER in the cache: {left}")


def _processes_with(word: str) -> list[str]:
    """Command lines that have this word in them."""
    listed = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, errors="replace", check=True)
    return [line for line in listed.stdout.splitlines() if word in line]


def kill_all(
    number: int, folder: Path, environment: dict[str, str], jobs: int, told: Callable[[str], None]
) -> list[Series]:
    """At least ``number`` kills, a third of them of each kind.

    Args:
        folder: for all runs.
        environment: of their processes.
        jobs: runs at once.
        told: called with a line when a series has ended.
    """
    runs = scenarios(folder / "scenarios", environment)
    done: list[Series] = []

    def do(series: Series) -> Series:
        series.do()
        faults = "".join(f"\n  {fault}" for fault in series.faults)
        told(f"{series.scenario.name}, {series.kills} kills {series.third}{faults}")
        return series

    with ThreadPoolExecutor(jobs) as pool:
        for which, third in enumerate(THIRDS):
            own: list[Series] = []
            while (missing := (number + which) // len(THIRDS) - sum(series.kills for series in own)) > 0:
                numbers = range(len(own), len(own) + -(-missing // _IN_A_ROW))
                of = runs[:1] if third == THIRDS[0] else runs
                next_ones = [
                    Series(of[i % len(of)], third, i, min(_IN_A_ROW, missing), folder / f"{which}_{i}") for i in numbers
                ]
                own += pool.map(do, next_ones)
            done += own
    return done


def table(done: Sequence[Series]) -> str:
    """A row for each third, as Markdown."""
    lines = ["| killed | runs | kills | runs that ended otherwise, or lost something |", "|---|---|---|---|"]
    for third in (*THIRDS, "all"):
        own = [series for series in done if third in (series.third, "all")]
        faults = sum(bool(series.faults) for series in own)
        lines.append(f"| {third} | {len(own)} | {sum(series.kills for series in own)} | {faults} |")
    return "\n".join(lines)
