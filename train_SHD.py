"""Train on the Spiking Heidelberg Digits from the command line; ``python train_SHD.py --help``."""

from __future__ import annotations

import sys

import simulator_SHD
from eventprop import cli, registry, shd_parameters

MODES = registry.find("SHD").modes()

if __name__ == "__main__":
    sys.exit(cli.main("train_SHD.py", simulator_SHD.SHD_model, shd_parameters.KEYS, MODES))
