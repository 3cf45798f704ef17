"""How many cores the CPU engine has work for: the longest way through a training step, from the times of its tasks.

A step is some loops over tasks, one after the other: gradients are cleared; samples are swept through and their
gradients gathered; sums, the norm, Adam. For each number of threads the engine is built with as many, however many
cores there are, and each task's time on a processor is taken. Threads take tasks in order: from that follows when a
loop would be over on as many cores, and what the longest way through the step is, with what lies between its loops.
What cores share, memory and clock rates, is not part of that: beside it stands what was measured, on the cores that are
there; there is a speed-up for as many threads as there are cores. Data as in speed.py. Less than a minute.
Run: python benchmarks/cores.py [--threads 1 2 4 8 16 32] [--batch 32] [--loops] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from speed import KINDS, SIZES, firing_weights, network_of, spike_data, time_step

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.backends.cpu.tasks import task_times

FIRST, LAST = ("clear gradients",), ("sums of blocks", "norm", "Adam")


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: times of a training step on a number of threads.

    Attributes:
        tasks: how many tasks its loops have.
        work_ms: of processors, all together.
        way_ms: the longest way through the step on as many cores, the model's time.
        step_ms: measured on the cores that are there: median, and ``least_ms``.
        modelled: the model's speed-up over one thread; ``measured``: the true one, None with more threads than cores.
    """

    neurons: int
    threads: int
    tasks: int
    work_ms: float
    way_ms: float
    step_ms: float
    least_ms: float
    modelled: float
    measured: float | None


def time_of_loop(tasks: Sequence[float], threads: int) -> float:
    """When the last of some tasks ends that ``threads`` take in their order, each when it is free."""
    free = [0.0] * threads
    for seconds in tasks:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def names_of(loops: int) -> list[str]:
    """What the loops of a step do."""
    return [*FIRST, *["sweeps and gradients"] * (loops - len(FIRST) - len(LAST)), *LAST]


def time_between(engine: CpuEngine, step: Callable[[int], object], repeats: int) -> float:
    """What a step of an engine with one thread takes (s of a processor) outside its loops."""
    spent: list[float] = []

    def timed(number: int) -> None:
        start = time.process_time()
        step(number)
        spent.append(time.process_time() - start)

    calling = [task_times(engine, lambda n=number: timed(n)).calling for number in range(repeats)]
    return statistics.median(whole - own for whole, own in zip(spent, calling, strict=True))


def median_tasks(steps: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Each task's median over several steps with the same loops."""
    return [np.median(np.stack(loop), axis=0) for loop in zip(*steps, strict=True)]


def rows_of(neurons: int, steps: int, threads: Sequence[int], given: argparse.Namespace) -> list[Row]:
    """Lines of the table for one size, printed as they are made; ``threads`` begins with 1."""
    data = spike_data(max(64, given.batch), steps, np.random.default_rng(0))
    cores, between = len(os.sched_getaffinity(0)), 0.0
    rows: list[Row] = []
    print(f"\n{neurons} neurons   threads  tasks  work ms  way ms  step ms (least)  speed-up: modelled  measured")
    for count in threads:
        engine = CpuEngine(network_of(neurons, steps, **KINDS[given.kind]), count)
        firing_weights(engine, data, np.random.default_rng(1), 0.0)

        def step(number: int, engine: CpuEngine = engine) -> float:
            return time_step(engine, data, 0.0, number, given.batch) * given.batch

        measured = [step(number) for number in range(given.repeats + 2)][2:]
        tasks = median_tasks([task_times(engine, lambda n=n, step=step: step(n)).loops for n in range(5)])
        if count == 1:
            between = time_between(engine, step, 5)
        work = between + sum(float(t.sum()) for t in tasks)
        way = between + sum(time_of_loop(t.tolist(), count) for t in tasks)
        median, least = statistics.median(measured), min(measured)
        alone = rows[0] if rows else None
        rows.append(
            Row(
                neurons,
                count,
                sum(map(len, tasks)),
                work * 1e3,
                way * 1e3,
                median,
                least,
                alone.way_ms / 1e3 / way if alone else 1.0,
                None if count > cores else alone.step_ms / median if alone else 1.0,
            )
        )
        print_row(rows[-1])
        if given.loops:
            print_loops(tasks, between)
    return rows


def print_row(row: Row) -> None:
    measured = "-" if row.measured is None else f"{row.measured:.1f}"
    print(
        f"{row.threads:21d} {row.tasks:6d} {row.work_ms:8.2f} {row.way_ms:7.2f} {row.step_ms:8.2f}",
        f"({row.least_ms:.2f})".rjust(8) + f" {row.modelled:18.1f} {measured:>9s}",
        flush=True,
    )


def print_loops(tasks: list[np.ndarray], between: float) -> None:
    """Each loop of a step: its tasks, all and the longest; ``between`` in seconds."""
    print(f"    {'between loops':22s} {between * 1e3:20.3f} ms")
    for name, loop in zip(names_of(len(tasks)), tasks, strict=True):
        print(
            f"    {name:22s} {len(loop):5d} tasks {loop.sum() * 1e3:8.3f} ms, longest {loop.max() * 1e3:7.3f},",
            f"{loop.max() / loop.sum():5.1%} of it",
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--kind", default="LIF", choices=[k for k in KINDS if "delays" not in k])
    options.add_argument("--repeats", type=int, default=12, help="steps that are measured, after two that warm up")
    options.add_argument("--loops", action="store_true", help="also each loop: tasks, all and longest")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = options.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"batches of {given.batch}, {given.kind}, {cores} cores here")
    threads = sorted({1, *given.threads})
    rows = [row for neurons, steps in SIZES for row in rows_of(neurons, steps, threads, given)]
    if given.json:
        table = {
            "cores": cores,
            "kind": given.kind,
            "batch": given.batch,
            "rows": [dataclasses.asdict(r) for r in rows],
        }
        given.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
