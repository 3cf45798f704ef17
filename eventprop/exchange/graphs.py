"""A NIR graph read as layers: what feeds each group of neurons, by which weights, delays and biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.exchange.units import MS, library
from eventprop.files import check_regular

__all__ = ["Layer", "Way", "layers", "read"]

NEURONS = ("LIF", "CubaLIF", "CubaLI")
"""Nodes that run here."""


@dataclass(frozen=True)
class Way:
    """From the input, or a group of neurons, to one.

    Attributes:
        source: "input", or a node.
        weights: ``(n_pre, n_post)``.
        bias: ``(n_post,)``, what arrives at all times.
        before, behind: delays (ms) of each source and of each target.
    """

    source: str
    weights: np.ndarray
    bias: np.ndarray
    before: np.ndarray
    behind: np.ndarray


@dataclass
class Layer:
    """A group of neurons: its name, node, and the ways to it."""

    name: str
    node: Any
    ways: list[Way] = field(default_factory=list)

    @property
    def size(self) -> int:
        return int(np.prod(self.node.output_type["output"]))

    @property
    def kind(self) -> str:
        return type(self.node).__name__


def read(source: str | Path | Any) -> Any:
    """The graph of a file; one that is a graph already is itself.

    Raises:
        ValueError: it is no such file; names it.
        OSError: as of any file.
    """
    nir = library()
    if isinstance(source, nir.NIRGraph):
        return source
    path = Path(source)
    check_regular(path)
    try:
        return nir.read(str(path), type_check=False)
    except Exception as error:  # whatever HDF5 and the package find wrong
        raise ValueError(f"{path} holds no NIR graph: {error}") from None


def layers(graph: Any) -> tuple[int, list[Layer]]:
    """Number of input channels, and groups of neurons from the input to the output.

    Raises:
        ValueError: names the node that does not run here, or how the graph differs from a chain of layers.
    """
    nodes, edges = _flat(graph)
    inputs = [name for name, node in nodes.items() if type(node).__name__ == "Input"]
    outputs = [name for name, node in nodes.items() if type(node).__name__ == "Output"]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"a graph with {len(inputs)} inputs and {len(outputs)} outputs; one of each runs here")
    found = {name: Layer(name, node) for name, node in nodes.items() if type(node).__name__ in NEURONS}
    for name, node in nodes.items():
        kind = type(node).__name__
        if kind not in (*NEURONS, "Linear", "Affine", "Delay", "Input", "Output"):
            raise ValueError(
                f"node {name} is a {kind}, which does not run here; {', '.join(NEURONS)}, Linear, Affine and Delay do"
            )
    size = int(np.prod(nodes[inputs[0]].input_type["input"]))
    for source in (*inputs, *found):
        width = size if source in inputs else found[source].size
        for path in _paths(source, nodes, edges, found):
            found[path[-1]].ways.append(_way("input" if source in inputs else source, width, path, nodes, found))
    return size, _ordered(found, edges, outputs[0])


def _flat(graph: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges of a graph without graphs in it: inputs and outputs of those are passed through."""
    nodes: dict[str, Any] = {}
    edges = [(str(a), str(b)) for a, b in dict.fromkeys(map(tuple, graph.edges))]
    for name, node in graph.nodes.items():
        if type(node).__name__ != "NIRGraph":
            nodes[name] = node
            continue
        inner, links = _flat(node)
        own = {n: n if n.startswith(f"{name}.") else f"{name}.{n}" for n in inner}
        kinds = {n: type(inner[n]).__name__ for n in inner}
        into = [own[b] for a, b in links if kinds[a] == "Input"]
        out = [own[a] for a, b in links if kinds[b] == "Output"]
        nodes |= {own[n]: node for n, node in inner.items() if kinds[n] not in ("Input", "Output")}
        edges += [(own[a], own[b]) for a, b in links if kinds[a] != "Input" and kinds[b] != "Output"]
        edges = [
            (a, b)
            for edge in edges
            for a in (out if edge[0] == name else [edge[0]])
            for b in (into if edge[1] == name else [edge[1]])
        ]
    return nodes, edges


def _paths(
    source: str, nodes: Mapping[str, Any], edges: list[tuple[str, str]], found: Mapping[str, Layer]
) -> list[list[str]]:
    """Ways from a source to the next neurons, without it."""
    ended, open_ = [], [[b] for a, b in edges if a == source]
    while open_:
        path = open_.pop(0)
        if path[-1] in found:
            ended.append(path)
        elif type(nodes[path[-1]]).__name__ != "Output":
            if len(path) > len(nodes):
                raise ValueError(f"node {path[-1]} is in a cycle without neurons")
            open_ += [[*path, b] for a, b in edges if a == path[-1]]
        elif len(path) > 1:
            raise ValueError(f"node {path[-2]} leads to the output; neurons do that here")
    return ended


def _way(source: str, width: int, path: list[str], nodes: Mapping[str, Any], found: Mapping[str, Layer]) -> Way:
    weights: np.ndarray | None = None
    bias: float | np.ndarray = 0.0
    before: float | np.ndarray = 0.0
    behind: float | np.ndarray = 0.0
    for name in path[:-1]:
        node = nodes[name]
        if type(node).__name__ == "Delay":
            delay = np.ravel(node.delay) / MS
            before, behind = (before + delay, behind) if weights is None else (before, behind + delay)
            continue
        matrix = np.asarray(node.weight, np.float64).T
        own = np.ravel(node.bias) if type(node).__name__ == "Affine" else 0.0
        if weights is not None and np.any(behind):
            raise ValueError(f"node {name} follows a delay that follows weights; one of them runs here")
        weights, bias = (matrix, own) if weights is None else (weights @ matrix, bias @ matrix + own)
    size = found[path[-1]].size
    weights = np.eye(width, size) if weights is None else weights
    if weights.shape != (width, size):
        raise ValueError(
            f"weights to {path[-1]} have shape {weights.shape}; {width} sources and {size} neurons do not fit"
        )
    full = [np.broadcast_to(a, n).astype(np.float64) for a, n in ((bias, size), (before, width), (behind, size))]
    return Way(source, weights, *full)


def _ordered(found: Mapping[str, Layer], edges: list[tuple[str, str]], output: str) -> list[Layer]:
    """The chain of layers.

    Raises:
        ValueError: it is none.
    """
    chain: list[Layer] = []
    before = "input"
    while len(chain) < len(found):
        following = [x for x in found.values() if x not in chain and any(w.source == before for w in x.ways)]
        if len(following) != 1:
            raise ValueError(f"{before} feeds {len(following)} new groups of neurons; layers are a chain here")
        chain.append(following[0])
        before = chain[-1].name
    if not chain or (before, output) not in edges:
        raise ValueError("the output is not what the last group of neurons gives")
    for i, layer in enumerate(chain):
        for way in layer.ways:
            expected = (layer.name, chain[i - 1].name if i else "input")
            if way.source not in expected:
                raise ValueError(f"{way.source} feeds {layer.name} past what is between; layers are a chain here")
    return chain
