"""Rewiring: hidden neurons that were silent for a whole epoch get other feed-forward weights.

New weights come from the distribution that the projection's first weights came from, or the old ones are lifted by a
constant. Recurrent weights, weights onto other neurons and the optimiser's moments stay as they are, and so do synapses
that are not there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eventprop.masks import silenced
from eventprop.network import Network
from eventprop.streams import stream

__all__ = ["rewire"]


def rewire(
    network: Network, weights: Mapping[str, np.ndarray], silent: np.ndarray, lift: float, seed: int, epoch: int
) -> dict[str, np.ndarray]:
    """``weights`` with those onto silent neurons replaced, or lifted by ``lift`` (``REWIRE_LIFT``) where that is not 0.

    Args:
        weights: by synapse population, ``(n_pre, n_post)``; not changed.
        silent: whether each hidden neuron was silent, ``(hidden neurons,)``, layer after layer.
        seed, epoch: ``MODEL_SEED`` and the epoch that is over; with the projection they name the random stream.
    """
    rewired = dict(weights)
    ends = np.cumsum([layer.size for layer in network.hidden])[:-1]
    for layer, quiet in zip(network.hidden, np.split(silent, ends), strict=True):
        columns = np.flatnonzero(quiet)
        for projection in network.projections:
            if projection.target != layer.name or projection.source == layer.name or not columns.size:
                continue
            w, mask = weights[projection.name].copy(), network.masks.get(projection.name)
            if lift != 0.0:
                w[:, columns] += np.float32(lift)
            else:
                random = stream(seed, "rewiring", projection.name, epoch)
                w[:, columns] = random.normal(projection.mean, projection.sd, (w.shape[0], columns.size))
            rewired[projection.name] = silenced(w, mask)
    return rewired
