"""Access to the arrays of a loaded GeNN model, on the host and on its device."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from eventprop.backends.genn.model import GennModel

__all__ = ["Memory", "pulled", "pushed"]


def pulled(array: Any) -> np.ndarray:
    """The host's view of one of pygenn's arrays, brought up to date from the device."""
    array.pull_from_device()
    return array.view


def pushed(array: Any, values: Any) -> None:
    """Set one of pygenn's arrays, on the host and on the device."""
    array.view[:] = values
    array.push_to_device()


class Memory:
    """Variables, arrays and constants of a model by the names of populations and synapses.

    Args:
        made: the model, loaded.
    """

    def __init__(self, made: GennModel) -> None:
        self.made, self.network, self.layout = made, made.network, made.layout
        self._set_before: dict[tuple[str, str], float] = {}

    def array(self, population: str, name: str) -> np.ndarray:
        return self.made.populations[population].extra_global_params[name].view

    def push(self, population: str, name: str) -> None:
        self.made.populations[population].extra_global_params[name].push_to_device()

    def push_half(self, population: str, name: str, half: int) -> None:
        """Push one of the ``layout.halves`` parts of an array: that of the batch that runs forwards."""
        array = self.made.populations[population].extra_global_params[name]
        length = array.view.size // self.layout.halves
        array._array.push_slice_1d_to_device(half * length, length)

    def pull_array(self, population: str, name: str) -> np.ndarray:
        return pulled(self.made.populations[population].extra_global_params[name])

    def pull_half(self, population: str, name: str, half: int) -> np.ndarray:
        """One of the ``layout.halves`` parts of an array, flat, brought up to date from the device."""
        array = self.made.populations[population].extra_global_params[name]
        length = array.view.size // self.layout.halves
        array._array.pull_slice_1d_from_device(half * length, length)
        return array.view[half * length : (half + 1) * length]

    def pull(self, population: str, name: str) -> np.ndarray:
        return pulled(self.made.populations[population].vars[name])

    def set(self, population: str, name: str, value: Any) -> None:
        pushed(self.made.populations[population].vars[name], value)

    def of_samples(self, population: str, name: str, n: int) -> np.ndarray:
        """A variable of each sample's neurons, ``(n, size)``."""
        return self.pull(population, name).reshape(self.layout.batch, -1)[:n].copy()

    def set_samples(self, population: str, name: str, values: np.ndarray) -> None:
        variable = self.made.populations[population].vars[name]
        variable.view.reshape(self.layout.batch, -1)[: len(values)] = values
        variable.push_to_device()

    def set_dynamic(self, population: str, name: str, value: float) -> None:
        if self._set_before.get((population, name)) != value:
            self.made.populations[population].set_dynamic_param_value(name, value)
            self._set_before[population, name] = value

    def synaptic(self, name: str, variable: str) -> np.ndarray:
        """A variable of synapses that all samples share, ``(n_pre, n_post)``."""
        shape = next(p.shape for p in self.network.projections if p.name == name)
        return pulled(self.made.synapses[name].vars[variable]).reshape(shape)

    def reduced(self, name: str) -> np.ndarray:
        """A gradient, summed over the batch."""
        return pulled(self.made.reduced[name].vars["reduced"])

    def all_reduced_below(self, norm: float) -> bool:
        """Whether the device finds all gradients so small that their norm is at most this; none is pulled."""
        if not self.made.checks:
            return True
        size = sum(group.vars["reduced"].view.size for group in self.made.reduced.values())
        for check in self.made.checks.values():
            check.set_dynamic_param_value("limit", norm / np.sqrt(size))
        self.array("input", "large")[:] = 0
        self.push("input", "large")
        self.made.genn.custom_update("Check")
        return not self.pull_array("input", "large")[0]

    def report_lost(self) -> None:
        """Warn of spikes that found no place in the rings since the last report."""
        for population in self.network.populations:
            if not population.model.threshold:
                continue
            lost = int(self.pull(population.name, "lost").sum())
            if lost:
                most = int(self.pull(population.name, "most").max())
                warnings.warn(
                    f"{lost} spikes of {population.name} found no place in GeNN's buffer and have no gradient: "
                    f"N_MAX_SPIKE={self.layout.max_spikes} is too small, {most} would do",
                    stacklevel=3,
                )
            for name in ("lost", "most"):
                self.set(population.name, name, 0)
