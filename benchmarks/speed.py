"""Speed and memory of the CPU engine on SHD-like data: ms per sample, seconds per epoch of 8156, peak memory.

The whole training step is timed: forward sweep, loss, backward sweep, gradients, Adam. Data: 700 channels, 9,000
spikes a sample within the first 700 ms, weights such that a hidden neuron fires about 9 times. The calibration line
says how fast the machine is at what the engine is bound by. Run: python benchmarks/speed.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np

from eventprop import parameters, shd_parameters
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Randomness, adam_parameters, describe
from eventprop.spikes import SpikeSet

BATCH, SPIKES, CHANNELS, EPOCH = 32, 9000, 700, 8156
SIZES = ((256, 1400), (1024, 1000))  # neurons, steps of 1 ms
TARGETS = {(256, 1): 1.0, (256, 2): 0.5, (1024, 1): 8.5, (1024, 2): 5.4}


def spike_data(samples: int, num_steps: int, rng: np.random.Generator) -> SpikeSet:
    """Random spikes, one at most per channel and step."""
    cells = [np.sort(rng.choice(700 * CHANNELS, SPIKES, replace=False)) for _ in range(samples)]
    flat = np.concatenate(cells)
    return SpikeSet(
        offsets=np.arange(samples + 1, dtype=np.int64) * SPIKES,
        steps=(flat // CHANNELS).astype(np.uint16),
        channels=(flat % CHANNELS).astype(np.uint16),
        num_channels=CHANNELS,
        num_steps=num_steps,
    )


def firing_weights(engine: CpuEngine, data: SpikeSet, rng: np.random.Generator, dropout: float) -> float:
    """Scale the input weights until hidden neurons fire about 9 times; the rate that was reached."""
    weights = engine.network.initial_weights(1)
    base = rng.normal(0.02, 0.03, weights["in_to_hid"].shape).astype(np.float32)
    low, high = 0.2, 2.0
    for _ in range(12):
        scale = (low + high) / 2
        engine.set_weights({**weights, "in_to_hid": scale * base})
        counts = engine.run(data, np.arange(8), None, randomness=Randomness(input_dropout=dropout)).spike_counts
        rate = float(counts.mean())
        low, high = (scale, high) if rate < 9 else (low, scale)
    return rate


def time_steps(engine: CpuEngine, data: SpikeSet, dropout: float, repeats: int) -> list[float]:
    """Milliseconds per sample of each training step."""
    rng = np.random.default_rng(2)
    adam = {"ADAM_BETA1": 0.9, "ADAM_BETA2": 0.999, "ADAM_EPS": 1e-8}
    times = []
    for step in range(repeats + 3):
        samples, labels = rng.permutation(len(data))[:BATCH], rng.integers(0, 20, BATCH)
        start = time.perf_counter()
        engine.run(data, samples, labels, learn=True, randomness=Randomness(input_dropout=dropout, input_seed=step))
        engine.gradient_norm()
        engine.update(adam_parameters(adam, 1e-9, step + 1))
        times.append((time.perf_counter() - start) / BATCH * 1e3)
    return times[3:]


def calibrate(threads: int) -> dict[str, float]:
    """GB/s of a vector add that does not fit the caches, on this many threads, and GFLOP/s of a matrix product."""
    n = 8_000_000
    parts = [tuple(np.ones(n, np.float32) for _ in range(3)) for _ in range(threads)]

    def add(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        for _ in range(5):
            np.add(a, b, out=out)

    best = np.inf
    for _ in range(3):
        workers = [threading.Thread(target=add, args=part) for part in parts]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - start)
    x = np.random.default_rng(0).random((1024, 1024), np.float32)
    products = []
    for _ in range(5):
        start = time.perf_counter()
        x @ x
        products.append(time.perf_counter() - start)
    return {"add_GB_s": threads * 5 * 12 * n / best / 1e9, "sgemm_GFLOP_s": 2 * 1024**3 / min(products) / 1e9}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("--repeats", type=int, default=25)
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    given = options.parse_args()
    rows = []
    machine = calibrate(2)
    add, sgemm = machine["add_GB_s"], machine["sgemm_GFLOP_s"]
    print(f"calibration, 2 threads: vector add {add:.1f} GB/s; sgemm {sgemm:.0f} GFLOP/s")
    print("neurons steps threads dropout spikes/neuron  ms/sample (median, least)  s/epoch  target ms")
    for neurons, steps in SIZES:
        p = parameters.defaults(shd_parameters.KEYS) | {"NUM_HIDDEN": neurons, "TRIAL_MS": float(steps)}
        p |= {"RECURRENT": True}
        p |= {"HIDDEN_HIDDEN_MEAN": 0.0, "HIDDEN_HIDDEN_STD": 0.02}
        network = describe(shd_parameters.resolve_shd(p), CHANNELS, 20)
        data = spike_data(64, steps, np.random.default_rng(0))
        for threads in given.threads:
            engine = CpuEngine(network, threads)
            for dropout in (0.0, 0.2):
                rate = firing_weights(engine, data, np.random.default_rng(1), dropout)
                times = time_steps(engine, data, dropout, given.repeats)
                median = statistics.median(times)
                target = TARGETS.get((neurons, threads), float("nan"))
                print(
                    f"{neurons:7d} {steps:5d} {threads:7d} {dropout:7.1f} {rate:13.1f} {median:12.3f}",
                    f"{min(times):12.3f} {median * EPOCH / 1e3:8.2f} {target:10.2f}",
                    flush=True,
                )
                rows.append(
                    {
                        "neurons": neurons,
                        "steps": steps,
                        "threads": threads,
                        "dropout": dropout,
                        "ms_per_sample": median,
                    }
                )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(f"peak memory of this process: {peak:.0f} MB")
    if given.json:
        given.json.write_text(json.dumps({"calibration": machine, "peak_MB": peak, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
