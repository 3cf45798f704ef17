"""Small random networks and inputs for the tests of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grid_numpy
import numpy as np
import oracle

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Network, Population, Projection
from eventprop.spikes import SpikeSet

TAU_MEM, TAU_SYN = 20.0, 5.0


@dataclass(frozen=True)
class Case:
    """A network, its weights, input spikes of some samples and their labels."""

    network: Network
    weights: dict[str, np.ndarray]
    spikes: SpikeSet
    labels: np.ndarray

    def engine(self, num_threads: int = 1, real: str = "float") -> CpuEngine:
        engine = CpuEngine(self.network, num_threads, real)
        engine.set_weights(self.weights)
        return engine

    @property
    def samples(self) -> np.ndarray:
        return np.arange(len(self.labels))

    def oracle_network(self) -> oracle.Network:
        """The same network for the NumPy version and the event-driven oracle."""
        n = self.network
        return oracle.Network(
            w_in=self.weights["in_to_hid"].astype(float),
            w_rec=self.weights["hid_to_hid0"].astype(float) if "hid_to_hid0" in self.weights else None,
            w_out=self.weights["hid_to_out"].astype(float),
            tau_mem=np.full(n.hidden[0].size, TAU_MEM),
            tau_syn=np.full(n.hidden[0].size, TAU_SYN),
            tau_mem_out=np.full(n.output.size, TAU_MEM),
            tau_syn_out=np.full(n.output.size, TAU_SYN),
            v_thresh=1.0,
            v_reset=n.hidden[0].parameters["v_reset"],
            trial_ms=n.num_steps * n.dt_ms,
            v_start_out=n.output.parameters["v_reset"],
        )

    def stamps(self, sample: int) -> list[tuple[int, int]]:
        part = slice(self.spikes.offsets[sample], self.spikes.offsets[sample + 1])
        return list(zip(self.spikes.steps[part].tolist(), self.spikes.channels[part].tolist(), strict=True))

    def numpy_result(self, sample: int, **options: Any) -> grid_numpy.GridResult:
        return grid_numpy.run(
            self.oracle_network(),
            self.stamps(sample),
            int(self.labels[sample]),
            self.network.dt_ms,
            self.network.loss.name,
            **options,
        )


def spike_set(samples: list[list[tuple[int, int]]], num_channels: int, num_steps: int) -> SpikeSet:
    """A spike set from (step, channel) pairs."""
    flat = [pair for sample in samples for pair in sorted(sample)]
    return SpikeSet(
        offsets=np.cumsum([0, *(len(s) for s in samples)], dtype=np.int64),
        steps=np.array([s for s, _ in flat], dtype=np.uint16),
        channels=np.array([c for _, c in flat], dtype=np.uint16),
        num_channels=num_channels,
        num_steps=num_steps,
    )


def case(
    seed: int = 0,
    *,
    n_in: int = 12,
    n_hid: int = 40,
    n_out: int = 4,
    n: int = 5,
    steps: int = 120,
    dt_ms: float = 0.5,
    rate: float = 0.04,
    recurrent: bool = True,
    loss: str = "sum_weigh_exp",
    regulariser: dict[str, float] | None = None,
    average_counts: bool = False,
    v_reset: float = 0.0,
    min_denominator: float = 0.0,
    loss_scale: float = 1.0,
    trained: tuple[bool, bool] = (True, True),
) -> Case:
    """A random case; hidden neurons fire about ten times in a trial."""
    rng = np.random.default_rng(seed)
    shapes = {"in_to_hid": (n_in, n_hid), "hid_to_hid0": (n_hid, n_hid), "hid_to_out": (n_hid, n_out)}
    moments = {"in_to_hid": (1.2, 1.5), "hid_to_hid0": (0.0, 0.6), "hid_to_out": (0.0, 0.5)}
    weights = {k: rng.normal(*moments[k], shapes[k]).astype(np.float32) for k in shapes}
    if not recurrent:
        del weights["hid_to_hid0"]
    ends = {
        "in_to_hid": ("input", "hidden0"),
        "hid_to_hid0": ("hidden0", "hidden0"),
        "hid_to_out": ("hidden0", "output"),
    }
    projections = tuple(Projection(k, *ends[k], shapes[k], *moments[k], trained[k == "hid_to_out"]) for k in weights)
    neuron = {"tau_mem": TAU_MEM, "tau_syn": TAU_SYN, "v_reset": v_reset}
    hidden = {**neuron, "v_thresh": 1.0, "min_denominator": min_denominator or -1e30}
    network = Network(
        num_input=n_in,
        hidden=(Population("hidden0", n_hid, models.LIF, hidden),),
        output=Population("output", n_out, models.LI, neuron),
        projections=projections,
        loss=models.LOSSES[loss],
        regulariser=models.REGULARISERS["simple" if regulariser else "none"],
        regulariser_parameters=regulariser or {},
        average_counts=average_counts,
        loss_scale=loss_scale,
        dt_ms=dt_ms,
        num_steps=steps,
    )
    fired = rng.random((n, steps - 1, n_in)) < rate
    samples = [[(int(k), int(c)) for k, c in np.argwhere(f)] for f in fired]
    return Case(network, weights, spike_set(samples, n_in, steps), rng.integers(0, n_out, n).astype(np.int32))
