"""Eventprop: exact gradients in spiking neural networks. What the benchmarks share."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

__version__ = "0.1.0"

# Modules that scripts and notebooks name, by where they were before there were rooms.
_MOVED = {
    "dataset": "data.dataset",
    "keys": "parameters.shared",
    "plots": "reports.plots",
    "recipes": "simulators.recipes",
    "simulator": "simulators.simulator",
    "spikes": "data.spikes",
    "splits": "data.splits",
}


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the module itself under its former name, too."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != __name__ or name not in _MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = importlib.import_module(f"{__name__}.{_MOVED[name.rpartition('.')[2]]}")


sys.meta_path.insert(0, _Moved())
