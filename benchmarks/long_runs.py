"""What an epoch costs as a run gets long: CPU time per epoch and the checkpoint's size, of a tiny network.

    python benchmarks/long_runs.py [--epochs 2000]

The cost of the last hundred epochs over that of the first hundred should be 1: history is appended, not written anew.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import simulator_yinyang
from eventprop.backends import Engine
from eventprop.data.splits import everything, first_and_last


def measured(epochs: int, collect: bool, folder: Path) -> tuple[list[float], list[int]]:
    """CPU seconds of each epoch, and bytes of the checkpoint behind it."""
    p: dict[str, Any] = {**simulator_yinyang.p, "N_TRAIN": 20, "N_TEST": 10, "N_EPOCH": epochs, "NUM_HIDDEN": 10}
    p |= {"N_BATCH": 20, "MODEL_SEED": 1, "DT_MS": 1.0, "OUT_DIR": str(folder), "NAME": "long", "NUM_THREADS": 1}
    p |= {"TIMING": False, "ETA_DECAY": 1.0, "COLLECT_CONFUSION": collect, "REC_PREDICTIONS": collect}
    mn = simulator_yinyang.yinyang(p | {"HIDDEN_OUTPUT_MEAN": 2.0})
    run = mn._for_run(p | {"HIDDEN_OUTPUT_MEAN": 2.0})
    at: list[float] = [time.process_time()]
    sizes: list[int] = []

    def each(_: Engine, __: int) -> None:
        at.append(time.process_time())
        sizes.append(os.path.getsize(folder / "long_state_last.npz"))

    training, _ = first_and_last(everything(mn.data.train), 20, 0)
    mn._train(run, training, everything(mn.data.test), "test", each_epoch=each)
    return [b - a for a, b in itertools.pairwise(at[1:])], sizes[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=2000)
    options = parser.parse_args()
    rows = []
    for collect in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            seconds, sizes = measured(options.epochs, collect, Path(folder))
            first, last = (1e3 * statistics.median(part) for part in (seconds[:100], seconds[-100:]))
            journal = (Path(folder) / "long_journal.bin").stat().st_size
            rows.append((collect, first, last, sizes[0], sizes[-1], journal))
    print(
        "\n| confusion and predictions collected | first 100 epochs, ms CPU | last 100 | ratio | checkpoint | journal |"
    )
    print("|---|---|---|---|---|---|")
    for collect, first, last, start, end, journal in rows:
        kept = f"{start / 1e3:.1f} -> {end / 1e3:.1f} kB"
        print(f"| {collect} | {first:.2f} | {last:.2f} | {last / first:.2f} | {kept} | {journal / 1e3:.0f} kB |")


if __name__ == "__main__":
    main()
