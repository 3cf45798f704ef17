"""What a network consists of: populations, projections, loss and regulariser, without saying who computes it.

Populations are named ``input``, ``hidden0``, ``output``; synapse populations ``in_to_hid``, ``hid_to_hid0``
(recurrent, all-to-all, self connections included) and ``hid_to_out``. Weights are ``(n_pre, n_post)`` arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import models
from eventprop.streams import stream

__all__ = ["Network", "Population", "Projection", "adam_parameters", "describe"]


@dataclass(frozen=True)
class Population:
    """A group of neurons of one type; ``parameters`` maps each parameter of the model to its value."""

    name: str
    size: int
    model: models.NeuronModel
    parameters: Mapping[str, float]


@dataclass(frozen=True)
class Projection:
    """All-to-all synapses; initial weights are normal with ``mean`` and ``sd``."""

    name: str
    source: str
    target: str
    shape: tuple[int, int]
    mean: float
    sd: float
    trained: bool


@dataclass(frozen=True)
class Network:
    """Description of a network that a backend can build.

    Attributes:
        num_input: input channels.
        hidden: hidden populations, from the input to the output.
        output: the read-out.
        projections: feed-forward and recurrent synapse populations.
        loss, regulariser: declarations from :mod:`models`.
        regulariser_parameters: value of each of the regulariser's parameters.
        average_counts: whether the regulariser sees spike counts averaged over the batch.
        loss_scale: factor on the read-out's drive in training (1: the plain derivative of the loss).
        dt_ms, num_steps: the time step and the steps of a trial.
    """

    num_input: int
    hidden: tuple[Population, ...]
    output: Population
    projections: tuple[Projection, ...]
    loss: models.Loss
    regulariser: models.Regulariser
    regulariser_parameters: Mapping[str, float]
    average_counts: bool
    loss_scale: float
    dt_ms: float
    num_steps: int

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Weights drawn from each projection's normal distribution, float32, ``(n_pre, n_post)``.

        Each projection has its own random stream: adding one does not change the others.
        """
        return {
            p.name: stream(seed, "weights", p.name).normal(p.mean, p.sd, p.shape).astype(np.float32)
            for p in self.projections
        }

    def check_weights(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``weights`` as contiguous float32 arrays, complete and of the right shapes.

        Raises:
            ValueError: names the synapse population that is missing, unknown, misshaped or not finite.
        """
        shapes = {p.name: p.shape for p in self.projections}
        unknown = sorted(set(weights) - set(shapes))
        missing = sorted(set(shapes) - set(weights))
        if unknown or missing:
            raise ValueError(
                f"weights must be given for {', '.join(shapes)}"
                + (f"; unknown: {', '.join(unknown)}" if unknown else "")
                + (f"; missing: {', '.join(missing)}" if missing else "")
            )
        checked = {}
        for name, shape in shapes.items():
            array = np.asarray(weights[name])
            if array.shape != shape:
                raise ValueError(f"weights of {name} have shape {array.shape}; this network needs {shape}")
            with np.errstate(over="ignore"):
                array = np.array(array, dtype=np.float32, order="C")
            if not np.isfinite(array).all():
                raise ValueError(f"weights of {name} hold values that are not finite")
            checked[name] = array
        return checked


def adam_parameters(p: Mapping[str, float], rate: float, step: int) -> dict[str, float]:
    """Values of :data:`models.ADAM`'s parameters for update number ``step`` (1, 2, ...)."""
    beta1, beta2 = p["ADAM_BETA1"], p["ADAM_BETA2"]
    return {
        "rate": rate,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": p["ADAM_EPS"],
        "correction1": 1.0 / (1.0 - beta1**step),
        "correction2": 1.0 / (1.0 - beta2**step),
    }


def describe(p: Mapping[str, Any], num_input: int, num_output: int, *, plain: bool = False) -> Network:
    """The network that ``p`` asks for.

    Args:
        plain: without what training adds to the loss's own gradient: regularisation, the bound of the jump's
            denominator and the scale of the read-out's drive; every synapse population has its gradient.
    """
    neuron = {"tau_mem": p["TAU_MEM"], "tau_syn": p["TAU_SYN"], "v_reset": p["V_RESET"]}
    bound = p["MIN_DENOMINATOR"] if not plain and p["MIN_DENOMINATOR"] > 0 else -1e30
    n = p["NUM_HIDDEN"]
    hidden = Population("hidden0", n, models.LIF, {**neuron, "v_thresh": p["V_THRESH"], "min_denominator": bound})
    projections = [
        _projection("in_to_hid", "input", "hidden0", (num_input, n), p, "INPUT_HIDDEN", plain or p["TRAIN_W"])
    ]
    if p["RECURRENT"]:
        projections.append(
            _projection("hid_to_hid0", "hidden0", "hidden0", (n, n), p, "HIDDEN_HIDDEN", plain or p["TRAIN_W"])
        )
    projections.append(
        _projection(
            "hid_to_out",
            "hidden0",
            "output",
            (n, num_output),
            p,
            "HIDDEN_OUTPUT",
            plain or p["TRAIN_W_OUTPUT"],
        )
    )
    regulariser = models.REGULARISERS["none" if plain else p["REG_TYPE"]]
    return Network(
        num_input=num_input,
        hidden=(hidden,),
        output=Population("output", num_output, models.LI, neuron),
        projections=tuple(projections),
        loss=models.LOSSES[p["LOSS_TYPE"]],
        regulariser=regulariser,
        regulariser_parameters={name: p[name.upper()] for name in regulariser.parameters},
        average_counts=bool(p["AVG_SNSUM"]) and regulariser.name != "none",
        loss_scale=1.0 if plain or p["LOSS_SCALE"] == "true" else 1.0 / p["TAU_MEM"],
        dt_ms=p["DT_MS"],
        num_steps=round(p["TRIAL_MS"] / p["DT_MS"]),
    )


def _projection(
    name: str, source: str, target: str, shape: tuple[int, int], p: Mapping[str, Any], key: str, trained: bool
) -> Projection:
    return Projection(name, source, target, shape, p[f"{key}_MEAN"], p[f"{key}_STD"], trained)
