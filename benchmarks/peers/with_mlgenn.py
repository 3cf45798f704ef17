"""mlGeNN: Eventprop on GeNN, on whatever GeNN finds. A step is an epoch of one batch, its transfer included."""

from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise

import numpy as np
import work
from ml_genn import Connection, Network, Population
from ml_genn.compilers import EventPropCompiler
from ml_genn.connectivity import Dense
from ml_genn.neurons import LeakyIntegrate, LeakyIntegrateFire, SpikeInput
from ml_genn.optimisers import Adam
from ml_genn.synapses import Exponential
from ml_genn.utils.data import preprocess_spikes


def shd(data: work.Data) -> object:
    taus = float(data["tau_mem"]), float(data["tau_syn"])
    channels, neurons = data["in_to_hid"].shape
    offsets, labels = data["offsets"], data["labels"]
    spikes = [
        preprocess_spikes(data["steps"][a:b].astype(float), data["channels"][a:b], channels)
        for a, b in pairwise(offsets)
    ]
    network = Network()
    with network:
        source = Population(SpikeInput(max_spikes=int(offsets[-1]) + 1), channels)
        hidden = Population(LeakyIntegrateFire(v_thresh=1.0, tau_mem=taus[0], tau_refrac=None), neurons)
        out = Population(LeakyIntegrate(tau_mem=taus[0], readout="avg_var"), data["hid_to_out"].shape[1])
        Connection(source, hidden, Dense(data["in_to_hid"]), Exponential(taus[1]))
        Connection(hidden, hidden, Dense(data["hid_to_hid"]), Exponential(taus[1]))
        Connection(hidden, out, Dense(data["hid_to_out"]), Exponential(taus[1]))
    compiler = EventPropCompiler(
        example_timesteps=int(data["num_steps"]),
        losses="sparse_categorical_crossentropy",
        optimiser=Adam(work.RATE),
        batch_size=len(labels),
        max_spikes=100,
    )
    compiled = compiler.compile(network)
    compiled.__enter__()

    def step() -> tuple[float, float]:
        metrics, _ = compiled.train({source: spikes}, {out: labels}, num_epochs=1, shuffle=False)
        return 1.0 - metrics[out].result, float(np.nan)

    return step


if __name__ == "__main__":
    work.main(version("ml_genn"), SHD=shd)
