"""Train on the Yin-Yang task from the command line; ``python train_yinyang.py --help``."""

from __future__ import annotations

import sys

import simulator_yinyang
from eventprop import cli, registry, yinyang_parameters

MODES = registry.find("yinyang").modes()

if __name__ == "__main__":
    sys.exit(
        cli.main("train_yinyang.py", simulator_yinyang.yinyang, yinyang_parameters.KEYS, MODES, simulator="yinyang")
    )
