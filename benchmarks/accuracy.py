"""Test accuracy of a recipe of any benchmark, by seed: mean and standard deviation.

All ``N_TRAIN`` samples train, the last epoch counts, and the test samples are looked at once, after it. A seed is that
of the model and of the training data; the test data stays. Run for example:
python benchmarks/accuracy.py yinyang quick --seeds 1 2 3 [KEY=VALUE ...]
python benchmarks/accuracy.py MNIST best DATA_DIR=data --seeds 1 2 3 4 5
python benchmarks/accuracy.py SMNIST best DATA_DIR=data PERMUTE=1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eventprop.parameters.declaration import defaults, parse_settings
from eventprop.simulators import registry
from eventprop.simulators.recipes import load_recipe


def accuracies(
    simulator: str, recipe: str, changes: Mapping[str, Any], seeds: Sequence[int]
) -> Iterator[tuple[float, float]]:
    """Test accuracy and seconds of training of each seed; ``recipe`` may be "none"."""
    benchmark = registry.find(simulator)
    model, default = benchmark.load(), defaults(benchmark.keys)
    overrides = {} if recipe == "none" else load_recipe(recipe, simulator).overrides
    base = {**default, **overrides, "WRITE_TO_DISK": False, "TRAINING_PLOT": False, "FANCY_PLOTS": False}
    base = {key: value for key, value in base.items() if key in default} | {"N_VALIDATE": 0, **changes}
    for seed in seeds:
        p = {**base, "MODEL_SEED": seed, "TRAIN_DATA_SEED": seed}
        start = time.perf_counter()
        mn = model(p)
        mn.train(p)
        seconds = time.perf_counter() - start
        mn.test(p)
        yield mn.evaluated[1].accuracy, seconds


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 of a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=min(1, len(values) - 1)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("simulator", choices=tuple(registry.BENCHMARKS))
    options.add_argument("recipe", help='a recipe\'s name, or "none" for the defaults')
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = options.parse_intermixed_args()
    found = []
    runs = accuracies(given.simulator, given.recipe, parse_settings(given.overrides), given.seeds)
    for seed, (accuracy, seconds) in zip(given.seeds, runs, strict=True):
        found.append(accuracy)
        print(f"{given.simulator} {given.recipe} seed {seed}: {accuracy:.2%} in {seconds:.0f} s", flush=True)
    print("mean {:.2%}, s.d. {:.2%}".format(*mean_sd(found)))


if __name__ == "__main__":
    main()
