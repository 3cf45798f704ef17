"""A declared neuron's equations as functions of arrays: states ``(variable, copy, neuron)``, parameters
``(copy, neuron)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from eventprop.certificate.expressions import Array, expression, names
from eventprop.declarations import Neuron

__all__ = ["Equations"]

Copies = NDArray[np.int64] | slice
ALL = slice(None)


class Equations:
    """The equations of copies of a layer.

    Args:
        neuron: its type.
        parameters: ``(copy, neuron)`` value of each parameter.
    """

    def __init__(self, neuron: Neuron, parameters: Mapping[str, Array]) -> None:
        self.neuron, self.parameters = neuron, parameters
        self.variables = list(neuron.state)
        self.voltage = self.variables.index("V")
        self.refractory = bool(neuron.refractory)
        self.inputs = [self.variables.index(name) for name in neuron.inputs]
        self._dynamics = [expression(neuron.dynamics[x]) for x in self.variables]
        self._threshold = expression(neuron.threshold or "-1.0")
        self._reset = [(self.variables.index(x), expression(text)) for x, text in neuron.reset.items()]
        self.jumps = bool(neuron.threshold) and bool(names(neuron.threshold) & set(neuron.inputs))
        """Whether what arrives changes the threshold's expression at once."""
        self._shape = next(iter(parameters.values())).shape

    def _values(self, x: Array, copies: Copies) -> dict[str, Array]:
        everywhere = isinstance(copies, slice)
        values = self.parameters if everywhere else {n: p[copies] for n, p in self.parameters.items()}
        return {**values, **dict(zip(self.variables, x, strict=True))}

    def start(self) -> Array:
        """The state at the start of a trial."""
        own = [expression(self.neuron.state[x])(self.parameters) for x in self.variables]
        return np.stack([np.broadcast_to(value, self._shape) for value in own])

    def slope(self, x: Array, held: NDArray[np.bool_], copies: Copies = ALL) -> Array:
        """dx/dt; the voltage of neurons that are held stands still."""
        values = self._values(x, copies)
        found = np.empty_like(x)
        for row, function in zip(found, self._dynamics, strict=True):
            row[...] = function(values)
        if self.refractory:
            found[self.voltage][held] = 0.0
        return found

    def excess(self, x: Array, copies: Copies = ALL) -> Array:
        """(copy, neuron) the expression g that rises through 0 at a spike."""
        return np.broadcast_to(self._threshold(self._values(x, copies)), x.shape[1:])

    def rate(self, x: Array, slope: Array, copies: Copies = ALL) -> Array:
        """(copy, neuron) dg/dt, to about nine digits."""
        size = np.abs(x).max(axis=0) + 1e-3
        eps = 1e-6 * size / (np.abs(slope).max(axis=0) + 1e-300)
        return (self.excess(x + eps * slope, copies) - self.excess(x - eps * slope, copies)) / (2.0 * eps)

    def after_reset(self, x: Array, copies: Copies) -> Iterator[tuple[int, Array]]:
        """Variables that a spike changes, and their new values, all of the state before."""
        values = self._values(x, copies)
        found = [(variable, np.broadcast_to(f(values), x.shape[1:])) for variable, f in self._reset]
        return iter(found)

    def arrivals(self, amount: Array) -> Iterator[tuple[int, Array]]:
        """Variables that weights arrive at, and what is added to them."""
        if len(self.inputs) == 1:
            yield self.inputs[0], amount
        else:
            yield self.inputs[0], np.maximum(amount, 0.0)
            yield self.inputs[1], np.maximum(-amount, 0.0)
