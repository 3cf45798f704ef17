"""Memory and time of data of SSC's size: 75,466 training and 9,981 validation samples of 8,000 spikes.

Writes synthetic files in SSC's layout to a temporary folder (2.8 GB, and as much again for the binned spikes), then
prints seconds and peak memory of binning, of loading what was binned, of an epoch of training with validation, and of
binning in memory (WRITE_TO_DISK=False), each in a process of its own. "mapped" are pages of files, which the system
takes back when it needs room. Linux only. Run: python benchmarks/memory.py --ssc [--samples 10000]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SAMPLES = {"train": 75466, "valid": 9981, "test": 64}
SPIKES = 8000
PHASES = ("bin", "load", "train", "no cache")

CHILD = """
import sys, threading, time
folder, phase, hidden = sys.argv[1], sys.argv[2], int(sys.argv[3])

def status():
    rows = dict(line.split(":") for line in open("/proc/self/status"))
    return [int(rows[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon", "RssFile")]

peaks, over = [0.0] * 3, threading.Event()

def watch():
    while not over.wait(0.01):
        peaks[:] = map(max, peaks, status())

thread = threading.Thread(target=watch, daemon=True)
thread.start()
from simulator_SHD import SHD_model, p
p |= dict(DATA_SET="SSC", DATA_DIR=folder, OUT_DIR=folder, EVALUATION="validation_set", TRIAL_MS=1000.0)
p |= dict(NUM_HIDDEN=hidden, N_EPOCH=1, N_BATCH=256, MODEL_SEED=1, INPUT_HIDDEN_MEAN=0.02, INPUT_HIDDEN_STD=0.01)
p |= dict(WRITE_TO_DISK=phase != "no cache")
start = time.perf_counter()
mn = SHD_model(p)
parts = mn.data.train, mn.data.validation
samples, spikes = (sum(len(f(part)) for part in parts) for f in (lambda x: x.labels, lambda x: x.spikes.steps))
if phase == "train":
    start = time.perf_counter()
    mn.train(p)
seconds = time.perf_counter() - start
over.set()
thread.join()
print(
    f"{phase:<9}{samples} samples, {spikes / 1e6:.0f} million spikes: {seconds:.1f} s, "
    f"{seconds / samples * 1e4:.2f} s per 10,000; peak MB: {peaks[0]:.0f} in all, {peaks[1]:.0f} anonymous, "
    f"{peaks[2]:.0f} mapped",
    flush=True,
)
"""


class Synthetic(Sequence[tuple[np.ndarray, np.ndarray]]):
    """Samples made when they are asked for, from a few hundred that are shifted by some channels each."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        self.n = n
        self.times = np.sort(rng.uniform(0, 1, (300, SPIKES)).astype(np.float16), axis=1)
        self.units = rng.integers(0, 700, (300, SPIKES)).astype(np.uint16)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if not 0 <= index < self.n:
            raise IndexError(index)
        return self.times[index % 300], (self.units[index % 300] + np.uint16(index // 300)) % np.uint16(700)


def run(samples: int | None, hidden: int) -> None:
    """Write the files and measure each phase.

    Args:
        samples: of training; those of validation in proportion. None for all.
    """
    from eventprop.data.shd import write_shd

    share = 1.0 if samples is None else samples / SAMPLES["train"]
    sizes = {part: max(64, round(n * share)) for part, n in SAMPLES.items()}
    needed = sum(sizes.values()) * SPIKES * 8 * 1.1
    names = [str(c) for c in range(35)]
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < needed:
            sys.exit(f"{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed")
        (Path(folder) / "SSC").mkdir()
        for part, n in sizes.items():
            start = time.perf_counter()
            write_shd(Path(folder) / "SSC" / f"ssc_{part}.h5", Synthetic(n), np.arange(n) % 35, np.zeros(n), names)
            print(f"wrote {n} samples in {time.perf_counter() - start:.0f} s", flush=True)
        for phase in PHASES:
            subprocess.run([sys.executable, "-c", CHILD, folder, phase, str(hidden)], check=True)
