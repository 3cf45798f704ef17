"""The same work by other tools, beside this project's engine: time a sample, memory, and the exact ones' gradients.

Each tool has an environment of its own under --environments, built at the first run; pinned in peers/tools.toml. In
each case every tool is run in turn, ours just before it, and its ratio is to that run: other load falls on both. A
tool that cannot be installed, fails or is too slow is a line that says so. Run: python benchmarks/beside.py [--quick]
[--only TOOL ...] [--out docs] [--page docs/speed.md]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PEERS = Path(__file__).parent / "peers"
sys.path.append(str(PEERS))

import cases  # noqa: E402
import environments  # noqa: E402
import shown  # noqa: E402
from environments import ROOT, Failed, Tool  # noqa: E402

OURS = Tool("ours", "this project", ("SHD", "first spikes", "gradients"), sys.executable)


def median(told: dict[str, Any], batch: int) -> float:
    """Milliseconds a sample."""
    return 1e3 * statistics.median(told["seconds"]) / batch


class Clock:
    """How long a tool may still take: ``longest`` seconds, and not past the end of all the minutes that there are."""

    def __init__(self, longest: float, minutes: float) -> None:
        self.longest, self.minutes, self.end = longest, minutes, time.monotonic() + 60.0 * minutes

    def left(self) -> float:
        """Seconds.

        Raises:
            Failed: hardly any are left.
        """
        left = min(self.longest, self.end - time.monotonic())
        if left < 10.0:
            raise Failed(f"was not tried: the {self.minutes:g} minutes of --minutes were over")
        return left


def measured(case: cases.Case, tools: list[Tool], seconds: float, clock: Clock) -> list[dict[str, Any]]:
    """A row for each tool that can do the task, and for each of its ways."""
    rows: list[dict[str, Any]] = []
    size = {"task": case.task, "neurons": case.neurons, "steps": case.steps or "", "batch": case.batch}
    job = {"data": str(case.data), "seconds": seconds}
    ours: list[dict[str, Any]] = []
    for tool in tools:
        for task in tool.tasks:
            if not task.startswith(case.task) or (task != case.task and case.batch > 32):
                continue
            if tool.python or not ours:
                ours.append(OURS.run({**job, "task": case.task, "seconds": min(3.0, seconds)}, clock.longest))
            row = {**size, "tool": tool.called + task.removeprefix(case.task), "note": ""}
            try:
                told = tool.run({**job, "task": task}, clock.left())
                row |= result(told, case.batch) | {"ratio": median(told, case.batch) / median(ours[-1], case.batch)}
            except Failed as error:
                row |= {"note": str(error)}
            rows.append(row)
            print(shown.line(row), flush=True)
    if ours:
        together = {**ours[0], "seconds": [s for told in ours for s in told["seconds"]]}
        rows.insert(0, {**size, "tool": OURS.called, "note": "", **result(together, case.batch), "ratio": 1.0})
        print(shown.line(rows[0]), flush=True)
    return rows


def result(told: dict[str, Any], batch: int) -> dict[str, Any]:
    return {
        "version": told["version"],
        "ms_per_sample": median(told, batch),
        "steps_timed": len(told["seconds"]),
        "first_step_s": told["first"],
        "loss": told["loss"],
        "spikes_per_neuron": told["spikes"],
        "peak_GB": told["peak_GB"],
    }


def compared(tools: list[Tool], folder: Path, seeds: int, clock: Clock) -> list[dict[str, Any]]:
    """Largest difference of each tool's gradients from ours, over the largest of ours, by network and weights."""
    rows = []
    for recurrent in (False, True):
        for seed in range(1, seeds + 1):
            path, out = folder / "network.npz", folder / "gradients.npz"
            np.savez(path, **cases.first_spikes(8, 4, seed, recurrent))
            job = {"task": "gradients", "data": str(path), "out": str(out)}
            OURS.run(job, clock.longest)
            with np.load(out) as file:
                ours = dict(file)
            for tool in tools:
                if "gradients" not in tool.tasks:
                    continue
                row = {"network": f"{'recurrent' if recurrent else 'feed-forward'}, seed {seed}", "tool": tool.called}
                try:
                    row["version"] = tool.run(job, clock.left())["version"]
                    with np.load(out) as file:
                        row |= {name: float(abs(file[name] - g).max() / abs(g).max()) for name, g in ours.items()}
                except Failed as error:
                    row["note"] = str(error)
                rows.append(row)
                print(shown.line(row), flush=True)
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small sizes and short trials: whether all of it works")
    options.add_argument("--only", nargs="+", default=[], metavar="TOOL", help="of tools.toml")
    options.add_argument("--environments", type=Path, default=ROOT / ".peers", help="where the tools are installed")
    options.add_argument("--out", type=Path, default=Path("peers"), help="folder of the table and the picture")
    options.add_argument("--page", type=Path, help="page whose part between the marks is renewed")
    options.add_argument("--seconds", type=float, default=10.0, help="for which a tool's step is repeated")
    options.add_argument("--steps", type=int, help="of task SHD's trials, if fewer than they have")
    options.add_argument("--cores", type=int, help="on how many (default: all that this process may use)")
    options.add_argument("--minutes", type=float, default=15.0, help="after which nothing more is tried")
    options.add_argument("--longest", type=float, default=240.0, help="seconds after which a tool is given up")
    given = options.parse_args()
    if given.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])  # all that is started has it
    seconds = 2.0 if given.quick else given.seconds
    tools = environments.tools(given.environments.absolute(), given.only)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clock = Clock(given.longest, given.minutes)
        gradients = compared(tools, folder, 1 if given.quick else 2, clock)
        for case in cases.made(folder, given.quick, given.steps):
            rows += measured(case, tools, seconds, clock)
    rows.sort(key=lambda row: row["task"], reverse=True)  # small cases came first
    given.out.mkdir(parents=True, exist_ok=True)
    shown.write(given.out, rows, gradients, given.page)


if __name__ == "__main__":
    main()
