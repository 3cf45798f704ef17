"""Train on gestures or N-MNIST from the command line; ``python train_DVS_gesture.py --help``."""

from __future__ import annotations

import sys

import simulator_DVS_gesture
from eventprop import cli, dvs_parameters, registry

MODES = registry.find("DVS_gesture").modes()

if __name__ == "__main__":
    model = simulator_DVS_gesture.DVSG_model
    sys.exit(cli.main("train_DVS_gesture.py", model, dvs_parameters.KEYS, MODES, simulator="DVS_gesture"))
