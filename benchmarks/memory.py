"""Peak memory of training on data of SHD's size: 8156 samples of 9,000 spikes, through the simulator.

Writes synthetic files in SHD's layout to a temporary folder (about 650 MB), then trains some epochs in a process of
its own and prints its peak memory after loading and after each epoch. Run: python benchmarks/memory.py [KEY=VALUE ...]
With --published: the paper's sizes and steps, with and without its delay line and shifts, an epoch of each.
With --ssc: data of SSC's size, see memory_ssc.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import memory_ssc
import numpy as np

from eventprop.data.shd import write_shd
from eventprop.parameters.declaration import parse_settings

SAMPLES, SPIKES = 8156, 9000

CHILD = """
import json, resource, sys, time
from simulator_SHD import SHD_model, p
from eventprop.reports.progress import Progress

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)

class Told(Progress):
    def epoch(self, record):
        print(f"epoch {record['epoch'] + 1}: {record['seconds']:6.1f} s, peak {peak():.0f} MB", flush=True)

import eventprop.simulators.simulator
eventprop.simulators.simulator.Progress = Told
p |= dict(DATA_DIR=sys.argv[1], OUT_DIR=sys.argv[1], RECURRENT=True)
p |= dict(N_VALIDATE=0, MODEL_SEED=1, INPUT_HIDDEN_MEAN=0.02, INPUT_HIDDEN_STD=0.01)
p |= dict(HIDDEN_HIDDEN_MEAN=0.0, HIDDEN_HIDDEN_STD=0.02)
p |= json.loads(sys.argv[2])
start = time.perf_counter()
mn = SHD_model(p)
spikes = len(mn.data.train.spikes.steps)
seconds = time.perf_counter() - start
print(f"loaded {spikes / 1e6:.1f} million spikes in {seconds:.1f} s, peak {peak():.0f} MB", flush=True)
mn.train(p)
"""


PLAIN = {"N_EPOCH": 1, "TRIAL_MS": 1000.0, "REG_TYPE": "simple", "LBD_UPPER": 5e-10, "LBD_LOWER": 5e-10}
DELAY = {"N_INPUT_DELAY": 10, "INPUT_DELAY": 30.0, "INPUT_HIDDEN_MEAN": 0.002, "INPUT_HIDDEN_STD": 0.001}
SHIFT = {"AUGMENTATION": {"random_shift": 40.0}}
PUBLISHED = {
    f"{neurons} neurons, {dt_ms:g} ms{more}": {**PLAIN, "NUM_HIDDEN": neurons, "DT_MS": dt_ms, **change}
    for neurons in (256, 512)
    for dt_ms in (1.0, 2.0)
    for more, change in (("", {}), (", shift", SHIFT), (", delay line, shift", {**DELAY, **SHIFT}))
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the run; default: 256 neurons, 3 epochs")
    options.add_argument("--published", action="store_true", help="an epoch of each of the paper's sizes and steps")
    options.add_argument("--ssc", action="store_true", help="data of SSC's size instead")
    options.add_argument("--samples", type=int, help="training samples of --ssc; default: all 75,466")
    given = options.parse_intermixed_args()
    changes = {"NUM_HIDDEN": 256, "N_EPOCH": 3, **parse_settings(given.settings)}
    if given.ssc:
        memory_ssc.run(given.samples, changes["NUM_HIDDEN"])
        return
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
        for what, run in (PUBLISHED if given.published else {"": changes}).items():
            print(what, flush=True)
            subprocess.run([sys.executable, "-c", CHILD, folder, json.dumps(run)], check=True)


if __name__ == "__main__":
    main()
