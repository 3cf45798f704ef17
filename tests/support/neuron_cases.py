"""Small recurrent networks of two hidden layers, of any neuron on board, as both backends take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import models
from eventprop.data.spikes import SpikeSet
from eventprop.derivation import derived
from eventprop.network import Network, Population, Projection
from tests.support.small import PARAMETERS, spike_set

__all__ = ["BOUNDS", "DRIVES", "SIMPLE", "SPIKING", "Drive", "batch_of", "network_of", "weights_of"]

SIZES = {"input": 12, "hidden0": 15, "hidden1": 10, "output": 4}
STEPS, DT_MS, SAMPLES = 100, 0.5, 2
ENDS = {
    "in_to_hid": ("input", "hidden0"),
    "hid_to_hid0": ("hidden0", "hidden0"),
    "hid_to_hidfwd0": ("hidden0", "hidden1"),
    "hid_to_hid1": ("hidden1", "hidden1"),
    "hid_to_out": ("hidden1", "output"),
}
"""Source and target by projection."""

BOUNDS = {"tau_syn": (4.99, 1e9), "v_thresh": (-1e9, 1.0), "e_inh": (-0.5, -0.49), "izh_c": (-66.0, -65.0)}
SIMPLE = {"lbd_upper": 0.01, "lbd_lower": 0.02, "nu_upper": 6.0}


@dataclass(frozen=True)
class Drive:
    """Weights that make neurons of a type spike some times in a trial.

    Attributes:
        mean, sd: of the input's weights.
        recurrent: standard deviation within a layer; ``forward``, ``forward_mean``: from the first to the second.
    """

    mean: float = 1.2
    sd: float = 1.5
    recurrent: float = 1.0
    forward_mean: float = 0.3
    forward: float = 1.0
    seed: int = 0


DRIVES = {
    "alphaLIF": Drive(4.0, 4.0, 1.5, 1.2, 2.0),
    "RF": Drive(3.0, 4.0, 3.0, 1.0, 3.0),
    # With V in mV, single precision holds the gradients of most networks to 1e-4 or 2e-4 only; of this one, to 5e-5.
    "Izhikevich": Drive(8.0, 5.0, 0.5, 6.0, 2.0, seed=24),
    "COBA": Drive(0.15, 0.25, 0.1, 0.05, 0.15),
}
"""By name of the neuron, where it is not that by default."""

SPIKING = [name for name, neuron in models.NEURONS.items() if neuron.threshold]


def network_of(
    neuron: models.Neuron,
    trained: str = "all",
    bounds: Mapping[str, tuple[float, float]] | None = None,
    loss: str = "sum_weigh_exp",
    regulariser: Mapping[str, float] | None = None,
) -> Network:
    """A network whose parameters differ from neuron to neuron by some per cent.

    Args:
        trained: "all": every parameter; "some": all but the first, and in the first layer none: there, the others have
            one value for all neurons.
        bounds: least and largest value of trained parameters.
        regulariser: parameters of "simple", where that is wanted.
    """
    rng, limits = np.random.default_rng(7), bounds or {}
    populations = []
    for name, size in list(SIZES.items())[1:]:
        out = models.LIF if models.LOSSES[loss].spiking else models.LI
        kind = out if name == "output" else neuron
        model = derived(kind)
        own: dict[str, float | np.ndarray] = {"min_denominator": 0.05} if kind.threshold else {}
        shared = trained == "some" and name == "hidden0"
        learned = [] if shared else list(kind.parameters)[trained == "some" :]
        for number, (n, parameter) in enumerate(kind.parameters.items()):
            mean = parameter.default
            drawn = mean * rng.uniform(0.97, 1.03, size) + 0.01 * rng.uniform(0, 1, size)
            drawn = np.clip(drawn, *limits.get(n, (-1e9, 1e9))).astype(np.float32)
            own[n] = float(np.float32(mean)) if shared and number > 0 else drawn
        populations.append(Population(name, size, model, own, tuple(learned)))
    return Network(
        num_input=SIZES["input"],
        hidden=tuple(populations[:-1]),
        output=populations[-1],
        projections=tuple(Projection(p, a, b, (SIZES[a], SIZES[b]), 0.0, 0.0, True) for p, (a, b) in ENDS.items()),
        loss=models.LOSSES[loss],
        regulariser=models.REGULARISERS["simple" if regulariser else "none"],
        regulariser_parameters=regulariser or {},
        loss_parameters={n: PARAMETERS[n] for n in models.LOSSES[loss].parameters},
        average_counts=False,
        loss_scale=0.7,
        dt_ms=DT_MS,
        num_steps=STEPS,
        bounds={n: low for n, (low, _) in limits.items()},
        upper_bounds={n: high for n, (_, high) in limits.items()},
    )


def weights_of(drive: Drive) -> dict[str, np.ndarray]:
    """Normal weights, float32, by projection."""
    rng = np.random.default_rng(drive.seed)
    spread = {"in_to_hid": (drive.mean, drive.sd), "hid_to_hid0": (0.0, drive.recurrent)}
    spread |= {"hid_to_hidfwd0": (drive.forward_mean, drive.forward), "hid_to_hid1": (0.0, drive.recurrent)}
    spread |= {"hid_to_out": (0.0, 0.3)}
    return {p: rng.normal(*spread[p], (SIZES[a], SIZES[b])).astype(np.float32) for p, (a, b) in ENDS.items()}


def batch_of(seed: int) -> tuple[SpikeSet, np.ndarray, np.ndarray]:
    """Input, numbers of all samples, and labels."""
    rng = np.random.default_rng(1000 + seed)
    fired = rng.random((SAMPLES, STEPS, SIZES["input"])) < 0.04
    samples = [[(int(k), int(c)) for k, c in np.argwhere(own)] for own in fired]
    labels = rng.integers(0, SIZES["output"], SAMPLES).astype(np.int32)
    return spike_set(samples, SIZES["input"], STEPS), np.arange(SAMPLES), labels
