"""The benchmarks: where each one's keys and simulator are, and what can be run.

A new one is an entry of :data:`BENCHMARKS`; training scripts and scans take it from here. Simulator modules are
imported when a class is asked for, not before.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from eventprop.parameters import dvs as dvs_parameters
from eventprop.parameters import mnist as mnist_parameters
from eventprop.parameters import shd as shd_parameters
from eventprop.parameters import smnist as smnist_parameters
from eventprop.parameters import spikes as spikes_parameters
from eventprop.parameters import yinyang as yinyang_parameters
from eventprop.parameters.declaration import Key
from eventprop.parameters.neurons import with_own_neurons

__all__ = ["BENCHMARKS", "Benchmark", "find"]

_MODES = {"train": "train", "test": "test", "train_test": "train_test"}


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: as recipes and scans call it; ``title``: as people do.
        module, model: the module of its simulator and the class in it.
        declared, resolve: its declared parameters, and what completes and checks a ``p``.
        methods: method of the class by mode; the first mode is the default.
        fold_key: the key that lists the folds of mode "cross_validate", where there is that mode.
        file_key: the key that a path alone on the command line stands for, where there is one.
    """

    name: str
    title: str
    module: str
    model: str
    declared: tuple[Key, ...]
    resolve: Callable[[Mapping[str, Any]], dict[str, Any]]
    methods: Mapping[str, str] = field(default_factory=lambda: _MODES)
    fold_key: str | None = None
    file_key: str | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Its parameters, with those of neurons that were declared since."""
        return with_own_neurons(self.declared)

    def load(self) -> Any:
        """The simulator's class; its module is the one beside this package, whatever else is called so."""
        file = Path(__file__).parents[2] / f"{self.module}.py"
        return getattr(
            _beside(self.module, file) if file.exists() else importlib.import_module(self.module), self.model
        )

    def modes(self) -> dict[str, Callable[[Any, dict[str, Any]], Any]]:
        """What can be run, by name, as functions of a simulator and ``p``."""
        model = self.load()
        return {mode: getattr(model, method) for mode, method in self.methods.items()}


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "SHD",
            "SHD, SSC",
            *shd_parameters.OWNER,
            shd_parameters.KEYS,
            shd_parameters.resolve_shd,
            {**_MODES, "cross_validate": "cross_validate_SHD"},
            "SPEAKER_LEFT",
        ),
        Benchmark("MNIST", "MNIST", *mnist_parameters.OWNER, mnist_parameters.KEYS, mnist_parameters.resolve_mnist),
        Benchmark(
            "SMNIST",
            "sequential MNIST",
            *smnist_parameters.OWNER,
            smnist_parameters.KEYS,
            smnist_parameters.resolve_smnist,
        ),
        Benchmark(
            "yinyang",
            "Yin-Yang",
            *yinyang_parameters.OWNER,
            yinyang_parameters.KEYS,
            yinyang_parameters.resolve_yinyang,
        ),
        Benchmark(
            "DVS_gesture",
            "DVS gesture",
            *dvs_parameters.OWNER,
            dvs_parameters.KEYS,
            dvs_parameters.resolve_dvs,
            {**_MODES, "cross_validate": "cross_validate"},
            "SPEAKER_LEFT",
        ),
        Benchmark(
            "spikes",
            "own spikes",
            *spikes_parameters.OWNER,
            spikes_parameters.KEYS,
            spikes_parameters.resolve_spikes,
            {**_MODES, "cross_validate": "cross_validate"},
            "SPEAKER_LEFT",
            "DATA_SET",
        ),
    )
}


def _beside(name: str, file: Path) -> ModuleType:
    """The module of that file, where it exists: imported as usual, unless ``name`` means another file here."""
    if not file.exists():
        return importlib.import_module(name)
    usual = importlib.util.find_spec(name)
    if usual is not None and usual.origin is not None and Path(usual.origin).exists() and file.samefile(usual.origin):
        return importlib.import_module(name)
    own = f"eventprop.{name}"
    if own not in sys.modules:
        spec = importlib.util.spec_from_file_location(own, file)
        assert spec is not None and spec.loader is not None
        sys.modules[own] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[own])
    return sys.modules[own]


def find(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ValueError: there is none; names those there are and the nearest.
    """
    if name not in BENCHMARKS:
        by_lower = {known.lower(): known for known in BENCHMARKS}
        near = difflib.get_close_matches(str(name).lower(), by_lower, 1)
        hint = f"; did you mean {by_lower[near[0]]}?" if near else ""
        raise ValueError(f"there is no simulator {name!r}; there are: {', '.join(BENCHMARKS)}{hint}")
    return BENCHMARKS[name]
