"""Train on the Spiking Heidelberg Digits from the command line; ``python train_SHD.py --help``."""

from __future__ import annotations

import sys

import simulator_SHD
from eventprop import cli, shd_parameters

MODES = {
    "train": simulator_SHD.SHD_model.train,
    "test": simulator_SHD.SHD_model.test,
    "train_test": simulator_SHD.SHD_model.train_test,
    "cross_validate": simulator_SHD.SHD_model.cross_validate_SHD,
}

if __name__ == "__main__":
    sys.exit(cli.main("train_SHD.py", simulator_SHD.SHD_model, shd_parameters.KEYS, MODES))
