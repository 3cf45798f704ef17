"""Train on MNIST from the command line; ``python train_MNIST.py --help``."""

from __future__ import annotations

import sys

import simulator_MNIST
from eventprop import cli, mnist_parameters, registry

MODES = registry.find("MNIST").modes()

if __name__ == "__main__":
    sys.exit(cli.main("train_MNIST.py", simulator_MNIST.mnist_model, mnist_parameters.KEYS, MODES, simulator="MNIST"))
