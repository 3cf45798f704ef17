"""How many cores the CPU engine has work for: the longest way through a training step, from the times of its tasks.

A step is some loops over tasks, one after the other: gradients are cleared; samples are swept through and their
gradients gathered; sums, the norm, Adam. For each number of threads the engine is built with as many, however many
cores there are, and each task's time on a processor is taken. Threads take tasks in order: from that follows when a
loop would be over on as many cores, and what the longest way through the step is, with what lies between its loops.
What cores share, memory and clock rates, is not part of that: beside it stands what was measured, on the cores that are
there. Data as in speed.py. Run: python benchmarks/cores.py [--threads 1 2 4 8 16 32] [--batch 32] [--loops]
"""

from __future__ import annotations

import argparse
import heapq
import os
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from speed import KINDS, SIZES, firing_weights, network_of, spike_data, time_step

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.backends.cpu.tasks import task_times
from eventprop.data.spikes import SpikeSet

FIRST, LAST = ("clear gradients",), ("sums of blocks", "norm", "Adam")


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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--kind", default="LIF", choices=[k for k in KINDS if "delays" not in k])
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--loops", action="store_true", help="also each loop: tasks, all and longest")
    given = options.parse_args()
    print(f"batches of {given.batch}, {given.kind}, {len(os.sched_getaffinity(0))} cores here")
    for neurons, steps in SIZES:
        data = spike_data(max(64, given.batch), steps, np.random.default_rng(0))
        print(f"\n{neurons} neurons   threads  tasks  work ms  longest way ms  cores used  measured ms/sample")
        between = 0.0
        for threads in [1, *(t for t in given.threads if t > 1)]:
            engine = CpuEngine(network_of(neurons, steps, **KINDS[given.kind]), threads)
            firing_weights(engine, data, np.random.default_rng(1), 0.0)

            def step(number: int, engine: CpuEngine = engine, data: SpikeSet = data) -> float:
                return time_step(engine, data, 0.0, number, given.batch)

            measured = [step(number) for number in range(given.repeats)]
            tasks = median_tasks(
                [task_times(engine, lambda n=n, step=step: step(n)).loops for n in range(given.repeats)]
            )
            if threads == 1:
                between = time_between(engine, step, given.repeats)
            report(tasks, threads, between, statistics.median(measured[1:]), given.loops)


def report(tasks: list[np.ndarray], threads: int, between: float, measured: float, loops: bool) -> None:
    """A line of the table; ``between`` in seconds, ``measured`` in ms a sample."""
    work = between + sum(float(t.sum()) for t in tasks)
    way = between + sum(time_of_loop(t.tolist(), threads) for t in tasks)
    count = sum(map(len, tasks))
    print(
        f"{threads:21d} {count:6d} {work * 1e3:8.2f} {way * 1e3:15.2f} {work / way:11.1f} {measured:19.3f}", flush=True
    )
    if not loops:
        return
    print(f"    {'between loops':22s} {between * 1e3:20.3f} ms")
    for name, loop in zip(names_of(len(tasks)), tasks, strict=True):
        print(
            f"    {name:22s} {len(loop):5d} tasks {loop.sum() * 1e3:8.3f} ms, longest {loop.max() * 1e3:7.3f},",
            f"{loop.max() / loop.sum():5.1%} of it",
        )


if __name__ == "__main__":
    main()
