"""The weights that a simulator's network starts with, where they are scaled from the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eventprop import backends
from eventprop.data.splits import everything, reduce_classes
from eventprop.network import Network
from eventprop.simulators.inspection import Inspection
from eventprop.simulators.records import Records
from eventprop.training import fluctuation

__all__ = ["Starting"]


class Starting(Inspection):
    """The part of a simulator that knows how its weights begin."""

    _started: tuple[Any, Network] | None = None

    def _start(self, p: Mapping[str, Any]) -> Network:
        """The network of resolved parameters, with initial weights as ``WEIGHT_INIT`` has them.

        Those that are scaled from the data go by samples of the training file, whoever validates; they are measured
        once for the same settings, and told then.
        """
        network, settings = self.network(p), Records.of(p)
        if settings.start.weight_init == "normal":
            return network
        asked = settings.network, settings.start, p.get("REDUCED_CLASSES")
        if self._started is None or self._started[0] != asked:
            samples = reduce_classes(everything(self.data.train), p.get("REDUCED_CLASSES"))
            on_grid = replace(network, spike_timing="grid") if network.spike_timing == "exact" else network
            engine = backends.build(on_grid, replace(settings.backend, pipeline=False))
            batch, seed = settings.loop.n_batch, p["MODEL_SEED"]
            found = fluctuation.fluctuating(
                network, engine, samples.part.spikes, samples.indices, settings.start, seed, batch
            )
            print(f"Initial weights from the data: {fluctuation.described(found)}")
            self._started = asked, found
        return self._started[1]
