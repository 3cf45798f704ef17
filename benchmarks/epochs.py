"""Seconds per epoch of Yin-Yang and MNIST on every backend that is installed, at the defaults of ``p``.

Whole epochs of training are timed, from the simulator's own record: shuffling, forward and backward pass, gradients,
Adam. The first epoch is left out, medians are taken over the others. GeNN's CPU backend takes one sample at a time and
is given few of them; its time is scaled to the epoch. MNIST needs its files; without DATA_DIR only Yin-Yang is timed.
Run: python benchmarks/epochs.py [DATA_DIR] [--backends cpu single_threaded_cpu] [--threads 1 2] [--epochs 4]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import warnings
from typing import Any

import numpy as np

import simulator_MNIST
import simulator_yinyang
from eventprop.backends import devices

EPOCH = {"Yin-Yang": 32000, "MNIST": 60000}
FEW = 1024  # samples for backends that take one at a time


def seconds_per_epoch(name: str, p: dict[str, Any], epochs: int) -> float:
    """Median over all epochs but the first."""
    model = simulator_yinyang.yinyang if name == "Yin-Yang" else simulator_MNIST.mnist_model
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mn = model({**p, "WRITE_TO_DISK": False, "N_EPOCH": epochs, "N_VALIDATE": 0})
        mn.train({**p, "WRITE_TO_DISK": False, "N_EPOCH": epochs, "N_VALIDATE": 0})
    return statistics.median(np.diff([record["seconds"] for record in mn.history]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    installed = ["cpu", *(b for b in devices.GENN_BACKENDS if devices.problem_with(b) is None)]
    options.add_argument("data_dir", nargs="?", help="folder with MNIST/")
    options.add_argument("--backends", nargs="+", default=installed, help=f"default: {' '.join(installed)}")
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options.add_argument("--epochs", type=int, default=4)
    given = options.parse_args()
    tasks: dict[str, dict[str, Any]] = {"Yin-Yang": {**simulator_yinyang.p, "ALPHA": 0.1}}
    if given.data_dir:
        tasks["MNIST"] = {**simulator_MNIST.p, "DATA_DIR": given.data_dir}
    print("task      hidden steps backend              threads samples  s/epoch (median)  ms/sample")
    for task, base in tasks.items():
        for backend in given.backends:
            alone = backend == "single_threaded_cpu"
            samples = FEW if alone else EPOCH[task]
            for threads in given.threads if backend == "cpu" else [1]:
                p = {**base, "BACKEND": backend, "NUM_THREADS": threads, "N_TRAIN": samples, "MODEL_SEED": 1}
                seconds = seconds_per_epoch(task, p, given.epochs) * EPOCH[task] / samples
                print(
                    f"{task:9s} {p['NUM_HIDDEN']:6d} {round(p['TRIAL_MS'] / p['DT_MS']):5d} {backend:20s}"
                    f" {threads:7d} {samples:7d} {seconds:17.2f} {seconds / EPOCH[task] * 1e3:10.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
