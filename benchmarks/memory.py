"""Peak memory of training on data of SHD's size: 8156 samples of 9,000 spikes, through the simulator.

Writes synthetic files in SHD's layout to a temporary folder (about 650 MB), then trains some epochs in a process of
its own and prints its peak memory after loading and after each epoch. Run: python benchmarks/memory.py
With --ssc: data of SSC's size, see memory_ssc.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import memory_ssc
import numpy as np

SAMPLES, SPIKES = 8156, 9000

CHILD = """
import resource, sys, time
from simulator_SHD import SHD_model, p
from eventprop.progress import Progress

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)

class Told(Progress):
    def epoch(self, record):
        print(f"epoch {record['epoch'] + 1}: {record['seconds']:6.1f} s, peak {peak():.0f} MB", flush=True)

import eventprop.simulator
eventprop.simulator.Progress = Told
p |= dict(DATA_DIR=sys.argv[1], OUT_DIR=sys.argv[1], NUM_HIDDEN=int(sys.argv[2]), N_EPOCH=int(sys.argv[3]))
p |= dict(RECURRENT=True)
p |= dict(N_VALIDATE=0, MODEL_SEED=1, INPUT_HIDDEN_MEAN=0.02, INPUT_HIDDEN_STD=0.01)
p |= dict(HIDDEN_HIDDEN_MEAN=0.0, HIDDEN_HIDDEN_STD=0.02)
start = time.perf_counter()
mn = SHD_model(p)
spikes = len(mn.data.train.spikes.steps)
seconds = time.perf_counter() - start
print(f"loaded {spikes / 1e6:.1f} million spikes in {seconds:.1f} s, peak {peak():.0f} MB", flush=True)
mn.train(p)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--hidden", type=int, default=256)
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--ssc", action="store_true", help="data of SSC's size instead")
    options.add_argument("--samples", type=int, help="training samples of --ssc; default: all 75,466")
    given = options.parse_args()
    if given.ssc:
        memory_ssc.run(given.samples, given.hidden)
        return
    from eventprop.shd import write_shd

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "SHD").mkdir()
        for part, n in (("train", SAMPLES), ("test", 64)):
            start = time.perf_counter()
            samples = [
                (
                    np.sort(rng.uniform(0, 0.7, SPIKES)).astype(np.float16),
                    rng.integers(0, 700, SPIKES).astype(np.uint16),
                )
                for _ in range(n)
            ]
            names = [str(c) for c in range(20)]
            write_shd(Path(folder) / "SHD" / f"shd_{part}.h5", samples, rng.integers(0, 20, n), np.zeros(n), names)
            print(f"wrote {n} samples in {time.perf_counter() - start:.0f} s", flush=True)
        del samples
        subprocess.run([sys.executable, "-c", CHILD, folder, str(given.hidden), str(given.epochs)], check=True)


if __name__ == "__main__":
    main()
