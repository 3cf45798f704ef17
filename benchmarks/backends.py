"""The same training step on every backend that is installed: ms per sample, seconds per epoch of 8156.

Data and network as in ``speed.py``: 700 channels, 9,000 spikes a sample, recurrent hidden neurons that fire about 9
times. Forward and backward pass, gradients, their norm and Adam. GeNN on a GPU is timed with and without its pipeline.
GeNN's CPU backend takes one sample at a time and is given few of them.
Run: python benchmarks/backends.py [--backends cpu cuda single_threaded_cpu] [--batches 32 128]
"""

from __future__ import annotations

import argparse
import statistics
import warnings

import numpy as np
from speed import EPOCH, SIZES, firing_weights, network_of, spike_data, time_step

from eventprop.backends import Settings, build, devices


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    installed = ["cpu", *(b for b in devices.GENN_BACKENDS if devices.problem_with(b) is None)]
    options.add_argument("--backends", nargs="+", default=installed, help=f"default: {' '.join(installed)}")
    options.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    options.add_argument("--repeats", type=int, default=15)
    given = options.parse_args()
    print(f"GeNN {devices.genn_version()}; GPUs: {', '.join(devices.devices_of('cuda') + devices.devices_of('hip'))}")
    print("neurons steps batch backend              pipeline  ms/sample (median)  s/epoch")
    for neurons, steps in SIZES:
        network, data = network_of(neurons, steps), spike_data(max(given.batches), steps, np.random.default_rng(0))
        ours = build(network, Settings(backend="cpu"))
        firing_weights(ours, data, np.random.default_rng(1), 0.0)
        for backend in given.backends:
            alone = backend == "single_threaded_cpu"
            for batch in [4] if alone else given.batches:
                for pipeline in (False,) if alone or backend == "cpu" else (False, True):
                    settings = Settings(backend=backend, batch=1 if alone else batch, pipeline=pipeline, max_spikes=200)
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        engine = build(network, settings)
                    engine.set_weights(ours.weights())
                    repeats = 5 if alone else given.repeats
                    times = [time_step(engine, data, 0.0, step, batch) for step in range(repeats + 2)][2:]
                    median = statistics.median(times)
                    print(
                        f"{neurons:7d} {steps:5d} {batch:5d} {backend:20s} {pipeline!s:>8s} {median:12.3f}",
                        f"{median * EPOCH / 1e3:15.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
