"""Training by several processes: seconds per epoch of SHD's 8156 samples, and what of it the exchange takes.

A training step on SHD-like data as in ``speed.py``, by each number of processes and threads in turn, so that other load
falls on all alike; the least of the repeats. The exchange of gradients is timed once more by itself, all processes
having waited for each other: the least, too. Run: python benchmarks/ranks.py [--mpirun COMMAND] [--ways 1x1 1x2 2x1]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from speed import EPOCH, SIZES, firing_weights, network_of, spike_data, time_step

from eventprop.backends import Settings, build
from eventprop.ranks import world


def measure(neurons: int, steps: int, batch: int, threads: int, repeats: int) -> tuple[float, float]:
    """Milliseconds per batch, and of an exchange of gradients."""
    ranks = world()
    data = spike_data(2 * batch, steps, np.random.default_rng(0))
    engine: Any = build(network_of(neurons, steps), Settings(backend="cpu", num_threads=threads, batch=batch), ranks)
    firing_weights(engine, data, np.random.default_rng(1), 0.0)
    found, exchanges = [], []
    for step in range(repeats + 2):
        ranks.wait()
        found.append(time_step(engine, data, 0.0, step, batch) * batch)
        for _ in range(5):
            ranks.wait()
            start = time.perf_counter()
            engine._finish_gradients(batch)
            exchanges.append((time.perf_counter() - start) * 1e3)
    return min(found[2:]), min(exchanges)


def way_of(word: str) -> tuple[int, int]:
    """Processes and threads of each, from ``2x1``."""
    ranks, _, threads = word.partition("x")
    if not (ranks.isdecimal() and threads.isdecimal()):
        raise argparse.ArgumentTypeError(f"{word!r} is not processes x threads, as in 2x1")
    return int(ranks), int(threads)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mpirun", default="mpirun", help="the launcher, with words of its own")
    options.add_argument(
        "--ways",
        type=way_of,
        nargs="+",
        default=[(1, 1), (1, 2), (2, 1)],
        help="processes x threads of each, as in 2x1",
    )
    options.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    options.add_argument("--repeats", type=int, default=8)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--one", type=int, nargs=5, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        found = measure(*chosen.one)
        if world().rank == 0:
            print(json.dumps(found))
        return
    print("neurons steps batch  processes x threads  ms/batch  ms/exchange  s/epoch")
    for neurons, steps in SIZES:
        for batch in chosen.batch:
            best = dict.fromkeys(chosen.ways, (float("inf"), float("inf")))
            for _ in range(chosen.rounds):
                for way in chosen.ways:
                    ranks, threads = way
                    sizes = map(str, (neurons, steps, batch, threads, chosen.repeats))
                    command = [*chosen.mpirun.split(), "-n", str(ranks), sys.executable, __file__, "--one", *sizes]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                    if done.returncode:
                        sys.exit(f"{ranks} processes of {threads} threads ended with status {done.returncode}")
                    total, exchange = map(min, zip(best[way], json.loads(done.stdout), strict=True))
                    best[way] = (total, exchange if ranks > 1 else 0.0)
            for (ranks, threads), (total, exchange) in best.items():
                row = f"{neurons:>7} {steps:>5} {batch:>5} {f'{ranks}x{threads}':>20} {total:>9.1f} {exchange:>12.2f}"
                print(f"{row} {total * EPOCH / batch / 1e3:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
