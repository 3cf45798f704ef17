"""Every neuron on board learns the synthetic digits: test accuracy of recipe ``demo_delays`` with each.

Neurons differ in how strongly an input spike moves them, so each has weights of its own, found on validation samples
(``N_VALIDATE`` of the recipe) by one rule: hidden neurons spike about ten times a trial at the start. All 2,000 samples
train, the last epoch counts, and the test samples are looked at once. Run:
python benchmarks/neurons.py [NEURON ...] [--seeds 1 2 3]
"""

from __future__ import annotations

import argparse
from typing import Any

from accuracy import accuracies, mean_sd

import models


def input_weights(mean: float, sd: float) -> dict[str, Any]:
    return {"INPUT_HIDDEN_MEAN": mean, "INPUT_HIDDEN_STD": sd}


SETTINGS: dict[str, dict[str, Any]] = {
    "LIF": {},
    "ALIF": {},
    "alphaLIF": input_weights(0.075, 0.04) | {"ETA": 0.01},
    "refLIF": input_weights(0.05, 0.025),
    "adLIF": {},
    "RF": input_weights(0.03, 0.03) | {"OMEGA": 0.05, "TAU_SYN": 15.0},
    "QIF": input_weights(0.06, 0.03),
    "EIF": input_weights(0.025, 0.0125),
    "AdEx": input_weights(0.035, 0.017) | {"W_INCR": 0.02, "W_COUPLING": 0.1},
    "Izhikevich": input_weights(0.1, 0.08)
    | {"V_PEAK": -35.0, "IZH_D": 30.0, "TAU_SYN": 40.0, "SPIKE_TIMING": "substep"}
    | {"ETA": 0.015, "GRAD_CLIP": 0.01, "LBD_UPPER": 1e-10, "LBD_LOWER": 1e-10},
    "COBA": input_weights(0.01, 0.007) | {"ETA": 0.002},
}
"""Overrides of the recipe by neuron."""


def main() -> None:
    spiking = [name for name in models.ON_BOARD if models.NEURONS[name].threshold]
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("neurons", nargs="*", metavar="NEURON", help="all, if none is named")
    options.add_argument("--seeds", type=int, nargs="+", default=[1])
    given = options.parse_intermixed_args()
    if unknown := set(given.neurons) - set(spiking):
        options.error(f"no neuron on board: {', '.join(sorted(unknown))}; there are {', '.join(spiking)}")
    for name in given.neurons or spiking:
        runs = list(accuracies("SHD", "demo_delays", {"HIDDEN_NEURON_TYPE": name, **SETTINGS[name]}, given.seeds))
        mean, sd = mean_sd([accuracy for accuracy, _ in runs])
        spread = f" +- {sd:.1%}" if len(runs) > 1 else ""
        print(f"{name:10s} {mean:.1%}{spread}, {runs[0][1]:.0f} s a run", flush=True)


if __name__ == "__main__":
    main()
