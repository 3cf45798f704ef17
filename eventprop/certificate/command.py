"""``python -m eventprop check NEURON``."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import sys
from pathlib import Path

from eventprop import models

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("neuron", metavar="NEURON", help="a neuron of models.NEURONS")
    parser.add_argument("--models", type=Path, metavar="FILE", help="a Python file that adds its own neurons to them")
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
        if options.models is not None:
            load(options.models)
        neuron = _neuron(options.neuron)
        found = certify(neuron, options.networks, options.seed, _tell)
    except (ImportError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
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


def load(path: Path) -> None:
    """Run a file that adds neurons to ``models.NEURONS``.

    Raises:
        ValueError: it is not there, or is no Python file.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ValueError(f"--models {path}: there is no such Python file")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _neuron(name: str) -> models.Neuron:
    if name in models.NEURONS:
        return _spiking(models.NEURONS[name])
    near = difflib.get_close_matches(name, models.NEURONS, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"there is no neuron {name!r} among {', '.join(models.NEURONS)}{hint}")


def _spiking(neuron: models.Neuron) -> models.Neuron:
    if not neuron.threshold:
        raise ValueError(f"{neuron.name} has no threshold: hidden neurons are checked, which spike")
    return neuron
