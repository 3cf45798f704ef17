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

import numpy as np

from eventprop.parameters.declaration import defaults, parse_settings
from eventprop.simulators import registry
from eventprop.simulators.recipes import load_recipe


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("simulator", choices=tuple(registry.BENCHMARKS))
    options.add_argument("recipe", help='a recipe\'s name, or "none" for the defaults')
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = options.parse_intermixed_args()
    changes = parse_settings(given.overrides)
    benchmark = registry.find(given.simulator)
    model, default = benchmark.load(), defaults(benchmark.keys)
    recipe = {} if given.recipe == "none" else load_recipe(given.recipe, given.simulator).overrides
    base = {**default, **recipe, "WRITE_TO_DISK": False, "TRAINING_PLOT": False, "FANCY_PLOTS": False, "N_VALIDATE": 0}
    base = {key: value for key, value in base.items() if key in default} | changes
    accuracies = []
    for seed in given.seeds:
        p = {**base, "MODEL_SEED": seed, "TRAIN_DATA_SEED": seed}
        start = time.perf_counter()
        mn = model(p)
        mn.train(p)
        seconds = time.perf_counter() - start
        mn.test(p)
        accuracies.append(mn.evaluated[1].accuracy)
        print(f"{given.simulator} {given.recipe} seed {seed}: {accuracies[-1]:.2%} in {seconds:.0f} s", flush=True)
    print(f"mean {np.mean(accuracies):.2%}, s.d. {np.std(accuracies, ddof=min(1, len(accuracies) - 1)):.2%}")


if __name__ == "__main__":
    main()
