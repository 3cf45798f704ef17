"""``python -m eventprop info``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eventprop import info


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eventprop", description="Tools around the training scripts.")
    commands = parser.add_subparsers(dest="command", required=True)
    about = commands.add_parser("info", help="what is installed and found here, to be pasted into a bug report")
    about.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of data sets (default: ./data)")
    options = parser.parse_args(arguments)
    print(info.report(options.data_dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
