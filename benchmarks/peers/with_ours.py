"""This project's CPU engine: SHD on the grid of 1 ms, first spikes at their exact times in steps of 1 ms."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import work

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.spikes import SpikeSet, from_samples
from eventprop.network import Network
from eventprop.simulators.records import network_of
from eventprop.simulators.registry import BENCHMARKS
from eventprop.training.optimiser import AdamSettings, adam_parameters


def shd(data: work.Data) -> Any:
    steps, channels = int(data["num_steps"]), len(data["in_to_hid"])
    p = {"NUM_HIDDEN": data["hid_to_hid"].shape[0], "TRIAL_MS": float(steps), "RECURRENT": True, "LOSS_TYPE": "sum"}
    p |= {"TAU_MEM": float(data["tau_mem"]), "TAU_SYN": float(data["tau_syn"])}
    network = network_of(BENCHMARKS["SHD"].resolve(p), channels, data["hid_to_out"].shape[1])
    spikes = SpikeSet(data["offsets"], data["steps"], data["channels"], channels, steps)
    return _step(network, spikes, data)


def first_spikes_network(data: work.Data, **overrides: Any) -> Network:
    p = {"NUM_HIDDEN": data["hid_to_out"].shape[0], "TRIAL_MS": float(data["trial"]), "DT_MS": 1.0}
    p |= {
        "SPIKE_TIMING": "exact",
        "INPUT_TIMES": "true",
        "LOSS_TYPE": "first_spike",
        "RECURRENT": "hid_to_hid0" in data,
    }
    p |= {n.upper(): float(data[n]) for n in ("tau_mem", "tau_syn", "tau_0", "alpha")}
    return network_of(BENCHMARKS["yinyang"].resolve({**p, **overrides}), 5, 3, plain=bool(overrides))


def input_spikes(data: work.Data) -> SpikeSet:
    samples = [{"x": np.arange(5), "t": times} for times in data["times"]]
    return from_samples(samples, 5, 1.0, float(data["trial"]), True)


def first_spikes(data: work.Data) -> Any:
    return _step(first_spikes_network(data), input_spikes(data), data)


def gradients(data: work.Data) -> dict[str, np.ndarray]:
    """By every weight, in double precision, of the mean loss; and the loss."""
    network, spikes = first_spikes_network(data, PRECISION="double"), input_spikes(data)
    engine = CpuEngine(network, 1)
    engine.set_weights({p.name: data[p.name].astype(float) for p in network.projections})
    result = engine.run(spikes, np.arange(len(spikes)), data["labels"], learn=True)
    return {"loss": result.loss.mean(), **engine.gradients()}


def _step(network: Network, spikes: SpikeSet, data: work.Data) -> Any:
    engine = CpuEngine(network)
    engine.set_weights({p.name: data[p.name if p.name in data else "hid_to_hid"] for p in network.projections})
    number = 0

    def step() -> tuple[float, float]:
        nonlocal number
        number += 1
        result = engine.run(spikes, np.arange(len(spikes)), data["labels"], learn=True)
        engine.gradient_norm()
        engine.update(adam_parameters(AdamSettings(), work.RATE, number))
        return float(result.loss.mean()), float(result.spike_counts.mean())

    return step


if __name__ == "__main__":
    work.main(version("genn-eventprop"), **{"SHD": shd, "first spikes": first_spikes, "gradients": gradients})
