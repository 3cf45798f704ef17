"""The weights that a simulator's network starts with, where they are scaled from the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eventprop import backends, masks
from eventprop.data.splits import everything, reduce_classes
from eventprop.network import Network
from eventprop.simulators.inspection import Inspection
from eventprop.simulators.records import Records
from eventprop.simulators.resuming import Loaded
from eventprop.training import fluctuation

__all__ = ["Starting"]


class Starting(Inspection):
    """The part of a simulator that knows how its weights begin."""

    def _with_masks_of(self, loaded: Loaded, network: Network, p: Mapping[str, Any], *, trained: bool) -> Network:
        """The network with the synapses that a loaded state is of.

        Args:
            trained: whether weights that this object has trained are taken where nothing was loaded, with theirs.

        Raises:
            ValueError: ``MASKS`` or ``set_masks`` ask for others than the state's.
        """
        if loaded.state is None:
            return replace(network, masks=self._network.masks) if trained and self._current else network
        asked = network.masks if p["MASKS"] else {name: network.masks[name] for name in self._given_masks}
        if not masks.are_equal(asked, {name: there for name, there in loaded.state.masks.items() if name in asked}):
            raise ValueError(
                f"{loaded.path or 'what is loaded'} has other synapses than MASKS or set_masks ask for; without these "
                "it goes on with its own"
            )
        return replace(network, masks=loaded.state.masks)

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
