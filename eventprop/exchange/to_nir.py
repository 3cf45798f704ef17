"""A network as a NIR graph.

``Linear`` nodes are projections, recurrent ones in a cycle with their layer; LIF neurons are ``CubaLIF`` with r = 1,
v_leak = 0 and w_in = tau_syn, so that a spike adds its weight to the current; the read-out is ``CubaLI``. A delay line
is one ``Delay`` and one ``Linear`` for each copy, fixed delays of synapses are a ``Delay`` before or behind the
``Linear`` where all synapses of a source, or onto a target, share theirs. What NIR cannot say is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.exchange.units import MS, area, library
from eventprop.files import write_bytes
from eventprop.network import DELAY, Network, Population, Projection

__all__ = ["graph_of", "problems", "write"]

_PLAIN = ("tau_mem", "tau_syn", "v_thresh", "v_reset")
"""Parameters of neurons that NIR has."""


def problems(network: Network, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What of a network NIR cannot say, in words.

    Args:
        arrays: its weights, and delays, by name.
    """
    for kind, names in {
        q.model.name: [p.name for p in network.populations if p.model.name == q.model.name] for q in network.populations
    }.items():
        if kind not in ("LIF", "LI"):
            yield f"NIR has no {kind} neurons ({', '.join(names)}); it has LIF with a current, and the read-out LI"
    for q in network.populations:
        if "v_reset" in q.parameters and np.any(q.parameters["v_reset"]):
            yield f"{q.name} starts a trial at v_reset, and NIR's neurons start at 0; V_RESET=0 can be said"
    for name, (p, delay) in network.delays.items():
        if delay.trained:
            yield f"delays of {p.name} are learned, one for each synapse; NIR delays whole spike trains"
        elif _shared_delays(arrays[name]) is None:
            yield (
                f"delays of {p.name} differ between synapses of one source and onto one target; NIR delays whole spike "
                'trains (DELAY_PER="source" or "target" can be said)'
            )


def graph_of(
    network: Network,
    arrays: Mapping[str, np.ndarray],
    time_constants: Mapping[str, Mapping[str, np.ndarray]],
    spikes: str = "delta",
) -> Any:
    """The graph, a ``nir.NIRGraph``.

    Args:
        network: what it consists of.
        arrays: weights by projection, ``(n_pre, n_post)``, and delays (ms) as ``<projection>.delay``.
        time_constants: values of neurons that have their own, by population and name, ``(size,)``.
        spikes: what a spike is to who reads it, see :mod:`eventprop.exchange.units`.

    Raises:
        ValueError: lists what NIR cannot say; or ``nir`` is not installed.
    """
    if wrong := list(problems(network, arrays)):
        raise ValueError("\n".join(wrong))
    nir, pulse = library(), area(spikes, network.dt_ms)
    nodes = {"input": nir.Input({"input": np.array([network.num_input])})}
    edges: list[tuple[str, str]] = []
    for q in network.populations:
        nodes[_node(q.name)] = _neuron(nir, q, time_constants.get(q.name, {}), pulse)
    for p in network.projections:
        source, target = ("input" if p.source == "input" else _node(p.source)), _node(p.target)
        for made in _branches(nir, network, p, arrays):
            path = [source, *made, target]
            nodes |= made
            edges += pairwise(path)
    nodes["output"] = nir.Output({"output": np.array([network.output.size])})
    edges.append((_node("output"), "output"))
    metadata = {"made_by": "genn-eventprop", "dt": network.dt_ms * MS, "spikes": spikes}
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata)


def write(path: str | Path, graph: Any) -> None:
    """The graph as a file, whole or not at all."""
    import io

    buffer = io.BytesIO()
    library().write(buffer, graph)
    write_bytes(Path(path), buffer.getvalue())


def _node(population: str) -> str:
    """What a population's node is called; some readers find a recurrent layer by the part before the dot."""
    return "readout" if population == "output" else f"{population}.lif"


def _neuron(nir: Any, q: Population, own: Mapping[str, np.ndarray], pulse: float) -> Any:
    def values(name: str) -> np.ndarray:
        return np.full(q.size, own.get(name, q.parameters[name]), dtype=np.float64)

    tau_mem, tau_syn, zeros = values("tau_mem") * MS, values("tau_syn") * MS, np.zeros(q.size)
    common = {"tau_mem": tau_mem, "tau_syn": tau_syn, "r": np.ones(q.size), "v_leak": zeros, "w_in": tau_syn / pulse}
    if not q.model.threshold:
        return nir.CubaLI(**common)
    return nir.CubaLIF(**common, v_threshold=values("v_thresh"), v_reset=values("v_reset"))


def _branches(nir: Any, network: Network, p: Projection, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Nodes on the way from a projection's source to its target, in this order: one way for each copy of the input."""
    name = f"{p.target}.w_rec" if p.source == p.target else p.name
    copies = network.copies if p.source == "input" else 1
    for copy, weights in enumerate(np.split(arrays[p.name], copies)):
        suffix = f"_{copy}" if copies > 1 else ""
        linear = {f"{name}{suffix}": nir.Linear(weight=np.ascontiguousarray(weights.T))}
        own = np.split(arrays.get(p.name + DELAY, np.zeros(arrays[p.name].shape)), copies)
        shared = _shared_delays(own[copy] + copy * network.delay_steps * network.dt_ms)
        assert shared is not None  # else it was refused
        where, values = shared
        node = {f"{name}{suffix}_delay": nir.Delay(delay=values * MS)} if values.any() else {}
        yield {**node, **linear} if where == "source" else {**linear, **node}


def _shared_delays(delays: np.ndarray) -> tuple[str, np.ndarray] | None:
    """Of delays ``(n_pre, n_post)``, whether those of a "source" or a "target" are equal, and these; or None."""
    if (delays == delays[:, :1]).all():
        return "source", delays[:, 0].astype(np.float64)
    if (delays == delays[:1]).all():
        return "target", delays[0].astype(np.float64)
    return None
