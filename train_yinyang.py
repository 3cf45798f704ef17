"""Train on the Yin-Yang task from the command line; ``python train_yinyang.py --help``."""

from __future__ import annotations

import sys

from eventprop import cli

if __name__ == "__main__":
    sys.exit(cli.main("yinyang"))
