"""The numbers of the table ``recipes/results.toml`` run again; ``docs/results.md`` describes it.

``data_sets`` says which data an entry needs and where they are, ``work`` makes runs of an entry, ``measure`` does in a
run what the table says of it, ``compare`` has the rule by which a number has moved, ``command`` is the command line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``eventprop reproduce``, which imports the rest only when it is called."""
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone; 'digits*': all that begin so")
    parser.add_argument("--list", action="store_true", help="names, runs, time and data, and stop")
    parser.add_argument("--table", action="store_true", help="start nothing: compare what is there so far")
    parser.add_argument("--data", nargs="+", type=Path, metavar="DATA_DIR", help="folders of data sets (default: data)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="in the place of the table's")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at once, which share the cores")
    parser.add_argument("--update", action="store_true", help="write what came out into the table")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of the runs (default: one for this code)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="another table than the program's own")
    new = parser.add_argument_group("a new number (then --seeds, and what is not the default)")
    new.add_argument(
        "--add", nargs="+", metavar="WORD", help="NAME SIMULATOR RECIPE [KEY=VALUE ...]; RECIPE none: the defaults"
    )
    new.add_argument("--task", help="heading below which it stands; default: that of the recipe's other numbers")
    new.add_argument("--on", help="test (default), speakers, validation or left out")
    new.add_argument("--epoch", help="last (default), training or validation: of the best accuracy there")
    new.add_argument("--folds", nargs="+", type=int, metavar="N", help="with --on 'left out'")
    new.add_argument("--needs", metavar="DATA", help="the data set, as --list has them")
    new.add_argument("--what", help="the network, in a few words")
    new.add_argument(
        "--found",
        nargs="+",
        action="append",
        metavar="WORD",
        help="NUMBER PERCENT [PERCENT ...]: what was measured already, for each seed; nothing is run",
    )
    new.add_argument("--took", type=float, metavar="SECONDS", help="with --found: of a run's training")
