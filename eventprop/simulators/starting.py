"""The weights that a simulator's network starts with, where they are scaled from the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from eventprop import backends, masks
from eventprop.data.splits import everything, reduce_classes
from eventprop.network import Network
from eventprop.simulators.inspection import Inspection
from eventprop.simulators.records import Records
from eventprop.simulators.resuming import Loaded
from eventprop.training import fluctuation

__all__ = ["Starting"]


class Starting(Inspection):
    """The part of a simulator that knows how its weights begin, and which synapses there are."""

    _started: tuple[Any, Network] | None = None

    def masks(self) -> dict[str, np.ndarray]:
        """Which synapses are there, boolean ``(n_pre, n_post)``, by synapse population, of those that lack some: of the
        last training, else as set, else as ``MASKS`` has them or as drawn (``..._P``) from ``MODEL_SEED``."""
        return {name: mask.copy() for name, mask in self._network.masks.items()}

    def set_masks(self, given: Mapping[str, np.ndarray]) -> None:
        """Let only these synapses be there from now on: the weights of all others are 0 and stay so in training.

        Args:
            given: boolean ``(n_pre, n_post)`` by synapse population, as :meth:`weights` names them, of some or all; an
                array that is True everywhere brings all synapses back, those that were silent with a weight of 0.

        Raises:
            ValueError: a synapse population is unknown, or its mask has another shape or type, or is False everywhere.
        """
        new = self._network.with_masks(given).masks
        network = replace(self._network, masks={**self._network.masks, **new})
        synaptic = self._current or self._given
        self._network, self._given_masks, self._started = network, {**self._given_masks, **new}, None
        if synaptic is not None:
            self._given_masks, self._given, self._current = network.masks, network.living(synaptic), None

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
