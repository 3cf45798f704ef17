"""The same training step on every backend that is installed: ms per sample and batch, seconds per epoch of 8156.

Data and network as in ``speed.py``: 700 channels, 9,000 spikes a sample, recurrent hidden neurons that fire about 9
times. Forward and backward pass, gradients, their norm and Adam; the median of some batches, after two that warm up.
GeNN on a GPU is timed with and without its pipeline, the CPU backend with one thread and with all. GeNN's CPU backend
takes one sample at a time and is given few of them. What a GPU needs is built first, all at once.
Run: python benchmarks/backends.py [--backends cpu cuda] [--batches 32 128 512] [--substep] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from speed import EPOCH, SIZES, firing_weights, network_of, spike_data, time_step

from eventprop.backends import Engine, Settings, build, devices
from eventprop.backends.cpu.engine import available_threads
from eventprop.data.spikes import SpikeSet
from eventprop.network import Network

MAX_SPIKES, FEW = 200, 4
HEAD = f"{'backend':>20s} neurons steps batch threads pipeline  timing  ms/batch ms/sample  s/epoch  batches"


@dataclass(frozen=True)
class Setting:
    """A line of the table."""

    backend: str
    neurons: int
    steps: int
    batch: int
    threads: int | None = None
    pipeline: bool = False
    timing: str = "grid"

    def network(self) -> Network:
        return network_of(self.neurons, self.steps, SPIKE_TIMING=self.timing)

    def settings(self) -> Settings:
        at_once = 1 if self.backend == "single_threaded_cpu" else self.batch
        return Settings(self.backend, self.threads, at_once, max_spikes=MAX_SPIKES, pipeline=self.pipeline, timing=True)

    def shown(self, times: list[float]) -> str:
        each = statistics.median(times)
        return (
            f"{self.backend:>20s} {self.neurons:7d} {self.steps:5d} {self.batch:5d} {self.threads or '':>7} "
            f"{self.pipeline!s:>8s} {self.timing:>7s} {each * self.batch:9.1f} {each:9.3f} {each * EPOCH / 1e3:8.1f} "
            f"{len(times):8d}"
        )


def lines(backends: list[str], batches: list[int], neurons: int, steps: int, substep: bool) -> Iterator[Setting]:
    for backend in backends:
        if backend == "single_threaded_cpu":
            yield Setting(backend, neurons, steps, FEW)
        elif backend == "cpu":
            for threads in sorted({1, available_threads()}):
                for batch in batches if threads > 1 else batches[:1]:
                    yield Setting(backend, neurons, steps, batch, threads)
                if substep:
                    yield Setting(backend, neurons, steps, batches[0], threads, timing="substep")
        else:
            for batch in batches:
                for pipeline in (False, True):
                    yield Setting(backend, neurons, steps, batch, pipeline=pipeline)
                if substep:
                    yield Setting(backend, neurons, steps, batch, pipeline=True, timing="substep")


def build_all(settings: list[Setting]) -> None:
    """Build what is not there yet, as many at once as there are cores."""
    from eventprop.backends.genn.builder import Layout
    from eventprop.backends.genn.built import prepare
    from eventprop.backends.genn.model import GennModel, preferences

    made = [
        GennModel(
            s.network(),
            s.backend,
            Layout(s.settings().batch, 2 if s.pipeline else 1, MAX_SPIKES),
            options=preferences(s.backend, True),
        )
        for s in settings
        if s.backend in ("cuda", "hip")
    ]
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
        list(pool.map(prepare, made))


def timed(engine: Engine, data: SpikeSet, batch: int, seconds: float) -> list[float]:
    """Milliseconds per sample of each batch: three at least, and 15 at most, while there is time."""
    for step in range(2):
        time_step(engine, data, 0.0, step, batch)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (len(times) < 15 and time.perf_counter() < end):
        times.append(time_step(engine, data, 0.0, 2 + len(times), batch))
    return times


def measure(setting: Setting, weights: dict[str, np.ndarray], data: SpikeSet, seconds: float) -> dict[str, Any]:
    """Print a line, and return what it says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = build(setting.network(), setting.settings())
        engine.set_weights(weights)
        times = timed(engine, data, setting.batch, seconds)
        engine.flush()
    print(setting.shown(times), flush=True)
    batches = len(times) + 2
    parts = {name: round(1e3 * value / batches, 2) for name, value in engine.times().items()}
    return {**asdict(setting), "ms_per_sample": times, "parts_ms_per_batch": parts}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    installed = ["cpu", *(b for b in devices.GENN_BACKENDS if devices.problem_with(b) is None)]
    options.add_argument("--backends", nargs="+", default=installed, help=f"default: {' '.join(installed)}")
    options.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512])
    options.add_argument("--seconds", type=float, default=10.0, help="for each line")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("--build", action="store_true", help="only build what a GPU needs")
    options.add_argument("--substep", action="store_true", help='also SPIKE_TIMING="substep"')
    given = options.parse_args()
    sizes = [(size, list(lines(given.backends, given.batches, *size, given.substep))) for size in SIZES]
    build_all([line for _, own in sizes for line in own])
    if given.build:
        return
    print(f"GeNN {devices.genn_version()}; GPUs: {', '.join(devices.devices_of('cuda') + devices.devices_of('hip'))}")
    print(HEAD)
    found = []
    for size, own in sizes:
        network, data = network_of(*size), spike_data(max(given.batches), size[1], np.random.default_rng(0))
        ours = build(network, Settings(backend="cpu"))
        firing_weights(ours, data, np.random.default_rng(1), 0.0)
        for line in own:
            found.append(measure(line, ours.weights(), data, given.seconds))
            if given.json:
                given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
