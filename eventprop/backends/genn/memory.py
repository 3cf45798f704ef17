"""Access to the arrays of a loaded GeNN model, on the host and on its device."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventprop.backends.genn.model import GennModel

__all__ = ["Memory"]


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

    def pull(self, population: str, name: str) -> np.ndarray:
        variable = self.made.populations[population].vars[name]
        variable.pull_from_device()
        return variable.view

    def set(self, population: str, name: str, value: Any) -> None:
        variable = self.made.populations[population].vars[name]
        variable.view[:] = value
        variable.push_to_device()

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
        group = self.made.synapses[name]
        group.vars[variable].pull_from_device()
        shape = next(p.shape for p in self.network.projections if p.name == name)
        return group.vars[variable].view.reshape(shape)

    def reduced(self, name: str) -> np.ndarray:
        variable = self.made.reduced[name].vars["reduced"]
        variable.pull_from_device()
        return variable.view
