"""Accuracy of a recipe on spoken digits in SHD's layout, by seed: speakers of the training file and new ones apart.

The whole training file trains, the last epoch counts, and the test file is looked at once, after it. Run for example:
python benchmarks/digits.py DATA_DIR --recipe digits_tau --seeds 1 2 3 [--csv FILE]; KEY=VALUE follow DATA_DIR
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import mean_sd

import simulator_SHD
from eventprop.data.splits import speakers_of
from eventprop.parameters.declaration import parse_settings
from eventprop.simulators.recipes import load_recipe


def accuracies(p: dict[str, Any]) -> dict[str, float]:
    """Train once; test accuracy on the speakers of the training file and on the others, and seconds of training."""
    mn = simulator_SHD.SHD_model(p)
    start = time.perf_counter()
    mn.train(p)
    seconds = time.perf_counter() - start
    mn.test(p)
    assert mn.evaluated is not None
    subset, outcome = mn.evaluated
    seen = np.isin(subset.part.speakers[subset.indices], speakers_of(mn.data.train))
    correct = outcome.predictions == outcome.labels
    return {
        "seen": float(correct[seen].mean()),
        "new": float(correct[~seen].mean()) if (~seen).any() else float("nan"),
        "seconds": seconds,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data_dir")
    options.add_argument("--recipe", default="digits")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options.add_argument("--csv", type=Path, help="append a line for each run to this file")
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = options.parse_intermixed_args()
    changes = parse_settings(given.overrides)
    base = {**simulator_SHD.p, **load_recipe(given.recipe).overrides, "DATA_DIR": given.data_dir}
    base |= {"N_VALIDATE": 0, "WRITE_TO_DISK": False, **changes}
    rows = []
    for seed in given.seeds:
        found = accuracies({**base, "MODEL_SEED": seed, "TRAIN_DATA_SEED": seed})
        rows.append(found)
        print(f"{given.recipe} {' '.join(given.overrides)} seed {seed}: {found}", flush=True)
        if given.csv:
            with given.csv.open("a", newline="") as file:
                csv.writer(file).writerow([given.recipe, " ".join(given.overrides), seed, *found.values()])
    for what in ("seen", "new"):
        mean, sd = mean_sd([row[what] for row in rows])
        print(f"{what} speakers: mean {mean:.1%}, s.d. {sd:.1%}")


if __name__ == "__main__":
    main()
