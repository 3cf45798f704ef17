"""Cases whose synapses have delays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from eventprop.network import DELAY, Delay, Network
from tests.support import grid_numpy
from tests.support.small import Case, places

__all__ = ["DelayedCase", "delayed", "spread"]


@dataclass(frozen=True)
class DelayedCase(Case):
    """As :class:`Case`.

    Attributes:
        delays: in ms, ``(n_pre, n_post)`` by synapse population, of those that have some.
        most: their bound (ms).
        per: which synapses have one delay.
        fixed: populations whose delays are not trained.
    """

    delays: Mapping[str, np.ndarray] = field(default_factory=dict)
    most: float = 20.0
    per: str = "synapse"
    fixed: tuple[str, ...] = ()

    def steps(self) -> grid_numpy.Delays:
        steps: dict[str, dict[str, np.ndarray]] = {}
        for key, (name, parameter) in places(self.net).items():
            if key in self.delays:
                rounded = np.floor(self.delays[key].astype(float) / self.dt_ms + 0.5)
                steps.setdefault(name, {})[parameter] = rounded.astype(int)
        return steps

    @property
    def synaptic(self) -> dict[str, np.ndarray]:
        """Weights and delays under the engine's names."""
        return {**self.weights, **{name + DELAY: d for name, d in self.delays.items()}}

    def network(self) -> Network:
        made = super().network()
        projections = [
            replace(p, delay=Delay(0.0, 0.0, None, self.most, p.name not in self.fixed, self.per))
            if p.name in self.delays
            else p
            for p in made.projections
        ]
        return replace(made, projections=tuple(projections))

    def load(self, engine: Any) -> None:
        engine.set_weights(self.synaptic)
        engine.set_time_constants(self.time_constants)


def spread(
    case: Case, names: tuple[str, ...] | None = None, seed: int = 0, most: float = 20.0, per: str = "synapse"
) -> dict[str, np.ndarray]:
    """Delays (ms) from 0 to ``most``, float32, of synapse populations (None: of all)."""
    rng, drawn = np.random.default_rng(seed), {}
    for name, w in case.weights.items():
        shape = {"synapse": w.shape, "source": (len(w), 1), "target": (1, w.shape[1])}[per]
        drawn[name] = np.broadcast_to(rng.uniform(0.0, most, shape), w.shape).astype(np.float32)
    return {name: d for name, d in drawn.items() if names is None or name in names}


def delayed(case: Case, delays: Mapping[str, np.ndarray] | None = None, **options: Any) -> DelayedCase:
    """The case with delays, of all synapses unless told otherwise."""
    own = {f.name: getattr(case, f.name) for f in fields(case)}
    return DelayedCase(**{**own, "delays": spread(case) if delays is None else delays, **options})
