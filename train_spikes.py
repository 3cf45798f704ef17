"""Train on spikes of one's own from the command line; ``python train_spikes.py --help``."""

from __future__ import annotations

import sys

from eventprop import cli

if __name__ == "__main__":
    sys.exit(cli.main("spikes"))
