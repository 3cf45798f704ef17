"""Speed and memory of the CPU engine on SHD-like data: ms per sample, seconds per epoch of 8156, peak memory.

The whole training step is timed: forward sweep, loss, backward sweep, gradients, Adam. Data: 700 channels, 9,000
spikes a sample within the first 700 ms, weights such that a hidden neuron fires about 9 times. The calibration line
says how fast the machine is at what the engine is bound by. With --kinds, neuron types, trained time constants, delays
and exact spike times are compared with plain LIF, each in turn within every repeat: other load falls on all alike.
Run: python benchmarks/speed.py [--kinds] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.backends import Engine
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.spikes import SpikeSet
from eventprop.network import Network, Randomness
from eventprop.simulators.records import network_of as described
from eventprop.simulators.registry import BENCHMARKS
from eventprop.training.optimiser import AdamSettings, adam_parameters

BATCH, SPIKES, CHANNELS, EPOCH = 32, 9000, 700, 8156
SIZES = ((256, 1400), (1024, 1000))  # neurons, steps of 1 ms


def _delays(projection: str) -> dict[str, Any]:
    """A delay of 0 to 62 steps for each synapse."""
    given = {f"{projection}_DELAY_MAX": 63.0, f"{projection}_DELAY_UNIFORM": [0.0, 62.0]}
    return {**given, "TRAIN_DELAYS": [projection]}


KINDS: dict[str, dict[str, Any]] = {
    "LIF": {},
    "hetLIF": {"HIDDEN_NEURON_TYPE": "hetLIF"},
    "ALIF": {"HIDDEN_NEURON_TYPE": "ALIF", "B_INCR": 0.02},
    "LIF, TRAIN_TAU": {"TRAIN_TAU": True},
    "LIF, TRAIN_TAU, TRAIN_TAU_OUTPUT": {"TRAIN_TAU": True, "TRAIN_TAU_OUTPUT": True},
    "ALIF, TRAIN_TAU, TRAIN_TAU_B": {
        "HIDDEN_NEURON_TYPE": "ALIF",
        "B_INCR": 0.02,
        "TRAIN_TAU": True,
        "TRAIN_TAU_B": True,
    },
    "LIF, avg_xentropy": {"LOSS_TYPE": "avg_xentropy"},
    "QIF": {"HIDDEN_NEURON_TYPE": "QIF"},
    "AdEx": {"HIDDEN_NEURON_TYPE": "AdEx"},
    "Izhikevich": {"HIDDEN_NEURON_TYPE": "Izhikevich"},
    "LIF, line of ten delayed copies": {"N_INPUT_DELAY": 10, "INPUT_DELAY": 30.0},
    "LIF, trained delays of input": _delays("INPUT_HIDDEN"),
    "LIF, trained recurrent delays": _delays("HIDDEN_HIDDEN"),
    "LIF, substep": {"SPIKE_TIMING": "substep"},
    "LIF, exact": {"SPIKE_TIMING": "exact"},
    "ALIF, exact": {"HIDDEN_NEURON_TYPE": "ALIF", "B_INCR": 0.02, "SPIKE_TIMING": "exact"},
    "hetLIF, exact": {"HIDDEN_NEURON_TYPE": "hetLIF", "SPIKE_TIMING": "exact"},
    "LIF, TRAIN_TAU, exact": {"TRAIN_TAU": True, "SPIKE_TIMING": "exact"},
}
TARGETS = {(256, 1): 1.0, (256, 2): 0.5, (1024, 1): 8.5, (1024, 2): 5.4}


def spike_data(
    samples: int, num_steps: int, rng: np.random.Generator, spikes: int = SPIKES, within: int = 700
) -> SpikeSet:
    """Random spikes, one at most per channel and step, in the steps before ``within``."""
    cells = [np.sort(rng.choice(within * CHANNELS, spikes, replace=False)) for _ in range(samples)]
    flat = np.concatenate(cells)
    return SpikeSet(
        offsets=np.arange(samples + 1, dtype=np.int64) * spikes,
        steps=(flat // CHANNELS).astype(np.uint16),
        channels=(flat % CHANNELS).astype(np.uint16),
        num_channels=CHANNELS,
        num_steps=num_steps,
    )


def firing_weights(
    engine: CpuEngine, data: SpikeSet, rng: np.random.Generator, dropout: float, wanted: float = 9.0
) -> float:
    """Scale the input weights until hidden neurons fire about ``wanted`` times; the rate that was reached."""
    weights = engine.network.initial_weights(1)
    base = rng.normal(0.02, 0.03, weights["in_to_hid"].shape).astype(np.float32)
    low, high = 0.2 / engine.network.copies, 100.0
    for _ in range(16):
        scale = math.sqrt(low * high)
        engine.set_weights({**weights, "in_to_hid": scale * base})
        counts = engine.run(data, np.arange(8), None, randomness=Randomness(input_dropout=dropout)).spike_counts
        rate = float(counts.mean())
        low, high = (scale, high) if rate < wanted else (low, scale)
    return rate


def time_step(engine: Engine, data: SpikeSet, dropout: float, step: int, batch: int = BATCH) -> float:
    """Milliseconds per sample of training step number ``step``."""
    rng = np.random.default_rng((2, step))
    samples, labels = rng.permutation(len(data))[:batch], rng.integers(0, 20, batch)
    start = time.perf_counter()
    random = Randomness(input_dropout=dropout, input_seed=step)
    engine.run(data, samples, labels, learn=True, randomness=random)
    if engine.has_gradient:
        engine.gradient_norm()
        engine.update(adam_parameters(AdamSettings(), 1e-9, step + 1), delay_rate=1e-9)
    return (time.perf_counter() - start) / batch * 1e3


def time_steps(engine: CpuEngine, data: SpikeSet, dropout: float, repeats: int) -> list[float]:
    """Milliseconds per sample of each training step, after three that warm up."""
    return [time_step(engine, data, dropout, step) for step in range(repeats + 3)][3:]


def network_of(neurons: int, steps: int, **overrides: Any) -> Network:
    p = {"NUM_HIDDEN": neurons, "TRIAL_MS": float(steps), "MODEL_SEED": 1, "RECURRENT": True}
    p |= {"HIDDEN_HIDDEN_MEAN": 0.0, "HIDDEN_HIDDEN_STD": 0.02, **overrides}
    return described(BENCHMARKS["SHD"].resolve(p), CHANNELS, 20)


def compare_kinds(threads: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """A table of all kinds: medians, and medians of each repeat's ratio to plain LIF."""
    rows = []
    print("neurons steps threads kind                                spikes/neuron  ms/sample  ratio to LIF (median)")
    for neurons, steps in SIZES:
        data = spike_data(64, steps, np.random.default_rng(0))
        for count in threads:
            engines = {kind: CpuEngine(network_of(neurons, steps, **given), count) for kind, given in KINDS.items()}
            rates = {kind: firing_weights(e, data, np.random.default_rng(1), 0.0) for kind, e in engines.items()}
            times = [
                {kind: time_step(e, data, 0.0, step) for kind, e in engines.items()} for step in range(repeats + 1)
            ]
            for kind, rate in rates.items():
                median = statistics.median(t[kind] for t in times[1:])
                ratio = statistics.median(t[kind] / t["LIF"] for t in times[1:])
                print(
                    f"{neurons:7d} {steps:5d} {count:7d} {kind:36s} {rate:12.1f} {median:10.3f} {ratio:10.2f}",
                    flush=True,
                )
                rows.append(
                    {"neurons": neurons, "threads": count, "kind": kind, "ms_per_sample": median, "ratio": ratio}
                )
    return rows


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
    options.add_argument("--kinds", action="store_true", help="compare neuron types and spike timing instead")
    given = options.parse_args()
    rows = []
    machine = calibrate(2)
    add, sgemm = machine["add_GB_s"], machine["sgemm_GFLOP_s"]
    print(f"calibration, 2 threads: vector add {add:.1f} GB/s; sgemm {sgemm:.0f} GFLOP/s")
    if given.kinds:
        rows = compare_kinds([t for t in given.threads if t <= 2], given.repeats)
        if given.json:
            given.json.write_text(json.dumps({"calibration": machine, "rows": rows}, indent=1) + "\n")
        return
    print("neurons steps threads dropout spikes/neuron  ms/sample (median, least)  s/epoch  target ms")
    for neurons, steps in SIZES:
        network = network_of(neurons, steps)
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
