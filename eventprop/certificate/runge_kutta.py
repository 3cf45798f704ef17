"""One step of Dormand and Prince's method of order 8 (Hairer, Nørsett & Wanner 1993, II.5) for many systems at once,
each with its own length; the coefficients are SciPy's.

States have the shape ``(variable, system, neuron)``, lengths ``(system,)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from eventprop.certificate.expressions import Array

__all__ = ["Method", "Step", "method"]

Slope = Callable[[Array], Array]


@dataclass(frozen=True)
class Method:
    """Coefficients, of stages, end, both error estimates and of what the interpolation adds."""

    a: Array
    b: Array
    e3: Array
    e5: Array
    a_extra: Array
    d: Array

    def advance(self, slope: Slope, x: Array, first: Array, length: Array) -> Step:
        """A step; ``first`` is the slope at its start."""
        stages = len(self.b)
        k = np.empty((stages + 1 + len(self.a_extra), *x.shape))
        k[0] = first
        flat = k.reshape(len(k), -1)
        h = length[:, None]
        for s in range(1, stages):
            k[s] = slope(x + h * (self.a[s, :s] @ flat[:s]).reshape(x.shape))
        end = x + h * (self.b @ flat[:stages]).reshape(x.shape)
        k[stages] = slope(end)
        return Step(self, slope, x, end, h, k)


@dataclass(frozen=True)
class Step:
    """A step that was taken: start, end, length ``(system, 1)`` and slopes of all stages."""

    method: Method
    slope: Slope
    start: Array
    end: Array
    length: Array
    k: Array

    def error(self, size: Array) -> Array:
        """(system,) estimate of the error, as a multiple of ``size`` (variable, system, neuron)."""
        stages = len(self.method.b) + 1
        flat = self.k[:stages].reshape(stages, -1)
        fifth = (self.method.e5 @ flat).reshape(self.end.shape) / size
        third = (self.method.e3 @ flat).reshape(self.end.shape) / size
        fifth, third = np.square(fifth).sum(axis=(0, 2)), np.square(third).sum(axis=(0, 2))
        count = self.end.shape[0] * self.end.shape[2]
        bottom = np.sqrt((fifth + 0.01 * third) * count)
        return self.length[:, 0] * fifth / np.where(bottom == 0, 1.0, bottom)

    def between(self, fractions: Array) -> Array:
        """States inside the step, ``(fraction, variable, system, neuron)``."""
        m, x, h = self.method, self.start, self.length
        stages = len(m.b)
        flat = self.k.reshape(len(self.k), -1)
        for s, row in enumerate(m.a_extra, start=stages + 1):
            self.k[s] = self.slope(x + h * (row[:s] @ flat[:s]).reshape(x.shape))
        change = self.end - x
        old, new = h * self.k[0], h * self.k[stages]
        parts = [change, old - change, 2.0 * change - (new + old)]
        parts += list(h * (m.d @ flat).reshape(len(m.d), *x.shape))
        basis = np.empty((len(fractions), len(parts)))  # Horner's scheme, multiplied out
        value = np.ones_like(fractions)
        for i in range(len(parts)):
            value = value * (fractions if i % 2 == 0 else 1.0 - fractions)
            basis[:, i] = value
        return x + (basis @ np.array(parts).reshape(len(parts), -1)).reshape(len(fractions), *x.shape)


@cache
def method() -> Method:
    """The coefficients.

    Raises:
        ImportError: SciPy is not installed.
    """
    try:
        from scipy.integrate import DOP853
    except ImportError:
        raise ImportError('the certificate needs SciPy: pip install "genn-eventprop[check]"') from None
    return Method(DOP853.A, DOP853.B, DOP853.E3, DOP853.E5, DOP853.A_EXTRA, DOP853.D)
