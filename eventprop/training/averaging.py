"""A running average of what is trained (``AVERAGE_WEIGHTS``), which is evaluated and saved in its place.

With decay ``beta`` the average after u updates is ``sum_k beta^(u - k) w_k / sum_k beta^(u - k)``, k from 1 to u: an
exponential moving average without the weights that training began with (Polyak & Juditsky 1992; as of Adam's moments,
Kingma & Ba 2015). ``w_k`` is read every some updates only, twenty times in the ``1 / (1 - beta)`` updates that the
average is over, and after an epoch's last one; it then stands for those since the last reading. Training goes on with
the live weights, delays and time constants, which the engine has during an epoch's training and at no other time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from eventprop.backends import Engine
from eventprop.network import DELAY
from eventprop.training.checkpoint import Live, TrainingState

__all__ = ["Average"]

_READINGS = 20  # in the time that the average is over; weights hardly change in a twentieth of it
_TimeConstants = dict[str, dict[str, np.ndarray]]


class Average:
    """The average that a run carries on, and the live values that training goes on with.

    Args:
        decay: by update; 0 for no average: then nothing is done here.
        state: what the run goes on from.
    """

    def __init__(self, decay: float, state: TrainingState) -> None:
        self.decay, self.live = decay, state.live
        self._every = max(1, round(1.0 / (1.0 - decay) / _READINGS))
        self._updates = self.live.updates if decay and self.live is not None else 0
        self._since = 0
        self._weights = {name: w.copy() for name, w in state.weights.items()} if decay else {}
        self._time_constants: _TimeConstants = {}

    def begin(self, engine: Engine) -> None:
        """Before an epoch's training: give the engine the live values."""
        if not self.decay and self.live is None:
            return
        if not self._time_constants:
            self._time_constants = engine.time_constants()
        if self.live is not None:
            own = self.live.time_constants
            engine.set_weights(self.live.weights)
            engine.set_time_constants({q: {**a, **own.get(q, {})} for q, a in self._time_constants.items()})
            self.live = None

    def after_update(self, engine: Engine) -> None:
        """Count an update, and read what the engine has where that is due."""
        if self.decay:
            self._since += 1
            if self._since == self._every:
                self._read(engine.weights(), engine.time_constants())

    def _read(self, weights: Mapping[str, np.ndarray], time_constants: _TimeConstants) -> None:
        self._updates += self._since
        old, all_of_it = (-math.expm1(n * math.log(self.decay)) for n in (self._since, self._updates))
        self._since = 0
        for name, mean, w in _pairs(self._weights, self._time_constants, weights, time_constants):
            if old == all_of_it:
                mean[:] = w
                continue
            moved = mean + w.dtype.type(old / all_of_it) * (w - mean)
            bounded = name.endswith(DELAY) or name not in weights
            mean[:] = np.clip(moved, np.minimum(mean, w), np.maximum(mean, w)) if bounded else moved

    def end(self, engine: Engine, state: TrainingState) -> None:
        """After an epoch's training: keep the live values, and give the engine the average."""
        if not self.decay:
            return
        weights, time_constants = engine.weights(), engine.time_constants()
        if self._since:
            self._read(weights, time_constants)
        own = {q: {n: time_constants[q][n] for n in values} for q, values in state.time_constants.items()}
        self.live = Live(weights, own, self._updates)
        engine.set_weights(self._weights)
        engine.set_time_constants(self._time_constants)

    def weights(self, engine: Engine) -> dict[str, np.ndarray]:
        """The live weights, after an epoch's training."""
        return engine.weights() if self.live is None else self.live.weights

    def set_weights(self, engine: Engine, weights: Mapping[str, np.ndarray]) -> None:
        """``weights`` are the live ones from now on; what is new in them is so in the average, too."""
        if self.live is None:
            engine.set_weights(weights)
            return
        for name, w in weights.items():
            new = w != self.live.weights[name]
            self._weights[name][new] = w[new]
        self.live = replace(self.live, weights=dict(weights))
        engine.set_weights(self._weights)


def _pairs(
    means: Mapping[str, np.ndarray], taus: _TimeConstants, weights: Mapping[str, np.ndarray], now: _TimeConstants
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, average and what there is now of all arrays."""
    yield from ((name, mean, weights[name]) for name, mean in means.items())
    yield from ((f"{q} {n}", mean, now[q][n]) for q, values in taus.items() for n, mean in values.items())
