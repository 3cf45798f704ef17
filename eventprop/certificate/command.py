"""``python -m eventprop check NEURON``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from eventprop import own_neurons
from eventprop.backends.cache import CompilerError
from eventprop.choice import meaning
from eventprop.description import named_neurons
from eventprop.terminal import blame

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("neuron", metavar="NEURON", help="a neuron of models.NEURONS")
    parser.add_argument("--models", metavar="FILE.py", help="a Python file with neurons of your own")
    parser.add_argument("--networks", type=int, default=20, metavar="N", help="random networks (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="which networks (default: 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the table and a picture there")


def main(options: argparse.Namespace) -> int:
    """Check a neuron and tell; 0 if its gradients are right, 1 if not, 2 if nothing could be checked."""
    from eventprop.certificate import report
    from eventprop.certificate.certify import certify

    try:
        if options.networks < 1:
            raise ValueError(f"--networks must be at least 1, got {options.networks}")
        if options.models:
            own_neurons.load_file(options.models)
        neuron = meaning("NEURON", options.neuron, named_neurons())
        if not neuron.threshold:
            raise ValueError(f"{neuron.name} has no threshold; what is checked are hidden neurons, which spike")
        found = certify(neuron, options.networks, options.seed, _tell)
    except (CompilerError, ImportError, ValueError, OSError) as error:
        blame(error)
        print(f"check: error: {error}", file=sys.stderr)
        return 2
    print(report.table(found))
    if options.out is not None:
        for path in report.write(found, options.out):
            print(f"wrote {path}")
    print(report.verdict(found))
    return 1 if any(found.complaints()) else 0


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{line:<40}", end="", file=sys.stderr, flush=True)
