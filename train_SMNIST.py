"""Train on sequential MNIST from the command line; ``python train_SMNIST.py --help``."""

from __future__ import annotations

import sys

import simulator_SMNIST
from eventprop import cli, registry, smnist_parameters

MODES = registry.find("SMNIST").modes()

if __name__ == "__main__":
    sys.exit(
        cli.main("train_SMNIST.py", simulator_SMNIST.SMNIST_model, smnist_parameters.KEYS, MODES, simulator="SMNIST")
    )
