"""Networks of this program, exported as NIR graphs, run by other programs; and graphs that others made, run here.

A reader takes Euler's steps, in which a spike is 1. Its spikes are compared with those of this program's own run, which
solves the equations, and with those of the same graph read back with method "euler", which are to be equal. Readers
that take no other graphs than with r = tau_mem / dt and w_in = tau_syn / dt get those numbers, and the threshold that
goes with them. No reader knows CubaLI, so the read-out is left out. --strangers: a folder with the NIR paper's LIF
neuron (lif_norse.nir, its traces lif_*.csv) and Braille networks.
Run: python benchmarks/nir_readers.py [--page docs/nir.md]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PEERS = Path(__file__).parent / "peers"
sys.path.append(str(PEERS))

import environments  # noqa: E402
from environments import ROOT, Failed, Tool  # noqa: E402
from shown import BEGIN, END  # noqa: E402

from eventprop.exchange import to_nir  # noqa: E402
from eventprop.exchange.from_nir import from_nir  # noqa: E402
from eventprop.exchange.units import MS, library  # noqa: E402
from eventprop.simulators.records import network_of  # noqa: E402
from eventprop.simulators.registry import BENCHMARKS  # noqa: E402

nir = library()

RESETS = {"norse": ("value", "subtract"), "spyx": ("subtract",), "snntorch": ("value",)}
"""By reader, how it resets its neurons."""

SCALED, ONE_STEP = ("spyx", "snntorch"), {"snntorch": 0.1}
"""Readers that need other numbers, and those that have one step (ms)."""


@dataclass(frozen=True)
class Network:
    """A graph up to its last layer of spiking neurons, whose name that is; steps in ms; ways to reset it."""

    name: str
    graph: Any
    layer: str
    channels: int
    dt: float
    resets: tuple[str, ...] = ("value", "subtract")


def ours() -> Iterator[Network]:
    """Networks of this program: recurrent ones with steps of 1 and of 0.1 ms, and one that is not."""
    for dt, recurrent in ((1.0, True), (0.1, True), (0.1, False)):
        p = {"NUM_HIDDEN": 64, "TRIAL_MS": 200.0, "DT_MS": dt, "LOSS_TYPE": "sum", "RECURRENT": recurrent}
        p |= {"INPUT_HIDDEN_MEAN": 0.25, "INPUT_HIDDEN_STD": 0.3, "HIDDEN_HIDDEN_MEAN": 0.0}
        p |= {"HIDDEN_HIDDEN_STD": 0.1}
        net = network_of(BENCHMARKS["SHD"].resolve(p), 20, 5)
        graph = to_nir.graph_of(net, net.initial_weights(1), net.initial_time_constants(), "steps")
        yield Network(
            f"ours{', recurrent' * recurrent}, steps of {dt:g} ms", cut(graph, "hidden0.lif"), "hidden0.lif", 20, dt
        )


def strangers(folder: Path) -> Iterator[Network]:
    for path in sorted(folder.glob("braille_*.nir")):
        graph = nir.read(str(path), type_check=False)
        name = " ".join(path.stem.split("_")[1:])
        reset = ("subtract",) if "subtract" in path.stem else ("value",)
        yield Network(f"Braille ({name}), recurrent layer", cut(graph, "lif1.lif"), "lif1.lif", 12, 0.1, reset)
        yield Network(f"Braille ({name}), whole", graph, "lif2", 12, 0.1, reset)


def cut(graph: Any, last: str) -> Any:
    """The graph up to the neurons ``last``."""
    kept = {"input", "output", last}
    while more := {a for a, b in graph.edges if b in kept - {"output"}} - kept:
        kept |= more
    nodes = {name: node for name, node in graph.nodes.items() if name in kept}
    nodes["output"] = nir.Output({"output": np.array(graph.nodes[last].v_threshold.shape)})
    edges = [(a, b) for a, b in graph.edges if {a, b} <= kept and b != "output"] + [(last, "output")]
    return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)


def scaled(graph: Any, dt: float) -> Any:
    """The same network with r = tau_mem / dt and w_in = tau_syn / dt."""
    nodes = {}
    for name, n in graph.nodes.items():
        nodes[name] = n
        if isinstance(n, nir.CubaLIF):
            r, w_in = n.tau_mem / (dt * MS), n.tau_syn / (dt * MS)
            factor = r * w_in / (n.r * n.w_in)
            nodes[name] = nir.CubaLIF(
                tau_syn=n.tau_syn,
                tau_mem=n.tau_mem,
                r=r,
                w_in=w_in,
                v_leak=n.v_leak * factor,
                v_threshold=n.v_threshold * factor,
                v_reset=n.v_reset * factor,
            )
    return nir.NIRGraph(nodes=nodes, edges=graph.edges, type_check=False)


def own_run(net: Network, data: np.ndarray, method: str, reset: str) -> np.ndarray:
    """Spikes ``(steps, size)`` of the last layer, later by a step for each layer and one for the input."""
    steps, neurons = len(data) + 3, int(np.prod(net.graph.nodes[net.layer].v_threshold.shape))
    read = from_nir(net.graph, net.dt, steps * net.dt, "steps", method, reset)
    t, x = np.nonzero(data[1:])
    (run,) = read.run([{"x": x, "t": net.dt * t}])
    found = np.zeros((steps, neurons), bool)
    times, who = run.spikes[net.layer]
    found[np.round(times / net.dt).astype(int) - 1, who] = True
    return found[len(read.layers) - 1 :][: len(data)]


def within(a: np.ndarray, b: np.ndarray, steps: int) -> float:
    """Share of the spikes of ``a`` that have one of ``b``, of the same neuron, in at most so many steps."""
    near = np.zeros_like(b)
    for shift in range(-steps, steps + 1):
        near[max(0, shift) : len(b) + min(0, shift)] |= b[max(0, -shift) : len(b) + min(0, -shift)]
    return float((a & near).sum() / a.sum())


def row(net: Network, reader: Tool, reset: str, folder: Path) -> str:
    """A line of the table."""
    rng = np.random.default_rng(0)
    steps = 200 if net.dt == 1.0 else 1000
    rate = 0.15 if "Braille" in net.name else 0.05 * net.dt
    data = (rng.random((steps, net.channels)) < rate).astype(np.float32)
    data[0] = 0.0  # a spike takes a step to arrive here; what is always there, biases, does not wait
    graph = scaled(net.graph, net.dt) if reader.name in SCALED else net.graph
    nir.write(folder / "net.nir", graph)
    np.save(folder / "data.npy", data)
    job = {"graph": folder / "net.nir", "data": folder / "data.npy", "out": folder / "found.npy"}
    exact, euler = (own_run(net, data, method, reset) for method in ("exact", "euler"))
    more = {"reset": reset, "layers": sum(isinstance(node, nir.CubaLIF) for node in graph.nodes.values())}
    start = f"| {net.name} | {reset} | {reader.called}"
    if ONE_STEP.get(reader.name, net.dt) != net.dt:
        return f"{start} | knows steps of {ONE_STEP[reader.name]:g} ms alone | | | |"
    try:
        told = reader.run({**{k: str(v) for k, v in job.items()}, "dt": net.dt * MS, **more}, 300.0, "read")
    except Failed as error:
        return f"{start} | {error} | | | |"
    found = np.load(folder / "found.npy") != 0
    equal = int((found[:-1] != euler[:-1]).sum())
    counts = f"{found.sum()} | {exact.sum()}, {within(exact, found, round(1.0 / net.dt)):.0%} within 1 ms of theirs"
    return f"{start} {told['version']} | {counts} | {euler.sum()} | {equal} |"


def traces(folder: Path) -> Iterator[str]:
    """How far each platform's potential of the LIF neuron is from the exact one, and ours."""
    exact = np.loadtxt(folder / "lif_exact.csv", delimiter=",")
    on = np.flatnonzero(exact[:, 0])
    read = from_nir(folder / "lif_norse.nir", 0.1, 0.1 * len(exact))
    (run,) = read.run([{"x": np.zeros_like(on), "t": 0.1 * on}])
    (layer,) = run.voltages
    spikes = np.zeros(len(exact), bool)
    spikes[np.round(run.spikes[layer][0] / 0.1).astype(int) - 1] = True
    found = {"this project": (run.voltages[layer][:, 0], spikes)}
    for path in sorted(folder.glob("lif_*.csv")):
        values = np.loadtxt(path, delimiter=",")
        if path.stem != "lif_exact":
            found[path.stem.removeprefix("lif_").replace("_", " ")] = values[:, 1], values[:, 2] != 0
    yield "| platform | distance of V from the exact trace | in the best unit and step | steps in which spikes differ |"
    yield "|---|---|---|---|"
    for name, (v, z) in sorted(found.items(), key=lambda item: nearest(item[1][0], exact[:, 1])):
        distances = f"{distance(v, exact[:, 1]):.2g} | {nearest(v, exact[:, 1]):.2g}"
        yield f"| {name} | {distances} | {int((z != (exact[:, 2] != 0)).sum())} |"


def distance(v: np.ndarray, exact: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean((v - exact) ** 2)))


def nearest(v: np.ndarray, exact: np.ndarray) -> float:
    """The distance with the factor and the step with which it is least: some platforms have other units, some tell of a
    step when the next one is over."""
    moved = [(v[max(0, s) : len(v) + min(0, s)], exact[max(0, -s) : len(v) + min(0, -s)]) for s in (-1, 0, 1)]
    return min(distance(a * (a @ b) / (a @ a), b) for a, b in moved)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", nargs="+", default=list(RESETS), choices=list(RESETS), metavar="READER")
    options.add_argument("--environments", type=Path, default=ROOT / ".peers", help="where the readers are installed")
    options.add_argument("--strangers", type=Path, help="folder of graphs that others made")
    options.add_argument("--page", type=Path, help="page whose part between the marks is renewed")
    given = options.parse_args()
    readers = environments.tools(given.environments.absolute(), given.only)
    nets = [*ours(), *(strangers(given.strangers) if given.strangers else ())]
    head = ("network", "reset", "reader", "its spikes", "ours, exact", "ours, Euler's steps", "spikes that differ")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    with tempfile.TemporaryDirectory() as name:
        for net in nets:
            for reader in readers:
                for reset in sorted(set(net.resets) & set(RESETS[reader.name])):
                    lines.append(row(net, reader, reset, Path(name)))
                    print(lines[-1], flush=True)
    if given.strangers:
        lines += ["", *traces(given.strangers)]
    text = "\n".join(lines)
    print(text)
    if given.page is not None:
        before, rest = given.page.read_text(encoding="utf-8").split(BEGIN)
        given.page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
