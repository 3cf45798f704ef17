"""Train on the Spiking Heidelberg Digits from the command line; ``python train_SHD.py --help``."""

from __future__ import annotations

import sys

from eventprop import cli

if __name__ == "__main__":
    sys.exit(cli.main("SHD"))
