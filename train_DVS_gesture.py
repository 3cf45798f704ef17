"""Train on gestures or N-MNIST from the command line; ``python train_DVS_gesture.py --help``."""

from __future__ import annotations

import sys

from eventprop import cli

if __name__ == "__main__":
    sys.exit(cli.main("DVS_gesture"))
