"""NIR graphs of networks, and networks of NIR graphs: what is written runs, and what cannot be said is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from eventprop.__main__ import main
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.spikes import from_samples
from eventprop.derivation import derived
from eventprop.exchange import to_nir
from eventprop.exchange.from_nir import from_nir
from eventprop.network import Network, Population
from eventprop.simulators.records import network_of
from eventprop.simulators.registry import BENCHMARKS

nir = pytest.importorskip("nir", reason="NIR needs the package nir")

NEURONS = {"tau_syn": 5e-3, "tau_mem": 20e-3, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, "w_in": 5e-3}


def network(**p: Any) -> Network:
    given = {"NUM_HIDDEN": 12, "TRIAL_MS": 60.0, "LOSS_TYPE": "sum", "RECURRENT": True, "MODEL_SEED": 1, **p}
    given |= {"INPUT_HIDDEN_MEAN": 0.4, "INPUT_HIDDEN_STD": 0.3, "HIDDEN_HIDDEN_STD": 0.2}
    return network_of(BENCHMARKS["SHD"].resolve(given), 6, 3)


def samples(rng: np.random.Generator, channels: int, steps: int, dt: float, n: int = 1) -> list[dict[str, np.ndarray]]:
    found = [np.nonzero(rng.random((steps, channels)) < 0.15) for _ in range(n)]
    return [{"x": x, "t": dt * t} for t, x in found]


def cuba(size: int, kind: str = "CubaLIF", **values: Any) -> Any:
    """Neurons of a NIR graph."""
    given = {name: np.broadcast_to(v, size).astype(float) for name, v in {**NEURONS, **values}.items()}
    names = [n for n in given if kind == "CubaLIF" or n not in ("v_threshold", "v_reset")]
    return getattr(nir, kind)(**{n: given[n] for n in names})


def chain(*nodes: Any, cycles: tuple[tuple[str, str], ...] = (), channels: int = 6, size: int = 3, **more: Any) -> Any:
    """A graph of nodes "0", "1", ... between input and output, and of ``more`` in ``cycles``."""
    named = {str(i): node for i, node in enumerate(nodes)}
    path = ["input", *named, "output"]
    ends = {"input": nir.Input({"input": np.array([channels])}), "output": nir.Output({"output": np.array([size])})}
    return nir.NIRGraph(nodes={**ends, **named, **more}, edges=[*pairwise(path), *cycles], type_check=False)


def test_a_network_comes_back(tmp_path: Path) -> None:
    """Weights and time constants to the bit, and so spikes and voltages; a delay line and recurrence with them."""
    net = network(N_INPUT_DELAY=2, INPUT_DELAY=7.0, HIDDEN_NEURON_TYPE="hetLIF")
    arrays, constants = net.initial_weights(1), net.initial_time_constants()
    to_nir.write(tmp_path / "net.nir", to_nir.graph_of(net, arrays, constants))
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]
    back = from_nir(tmp_path / "net.nir", net.dt_ms, 60.0)
    assert all((back.weights[name] == w).all() for name, w in arrays.items())
    X = samples(np.random.default_rng(0), 6, 50, 1.0)
    engine = CpuEngine(net, 1)
    engine.set_weights(arrays)
    engine.run(from_samples(X, 6, 1.0, 60.0), np.array([0]), None, record={("output", "V")})
    (run,) = back.run(X, 1)
    assert len(run.spikes["hidden0.lif"][0]) > 20
    for ours, theirs in zip(engine.spike_times(0, "hidden0"), run.spikes["hidden0.lif"], strict=True):
        assert (ours == theirs).all()
    assert np.abs(engine.trace("output", "V")[0] - run.voltages["readout"]).max() < 1e-5


def test_units() -> None:
    """Seconds; a spike adds its weight to the current, whether it is a Dirac pulse or 1 for a step."""
    net = network(TAU_SYN=4.0, TAU_MEM=25.0, DT_MS=2.0, V_THRESH=0.7)
    arrays, constants = net.initial_weights(1), net.initial_time_constants()
    node = to_nir.graph_of(net, arrays, constants).nodes["hidden0.lif"]
    assert (node.tau_syn[0], node.tau_mem[0], node.v_threshold[0]) == pytest.approx((0.004, 0.025, 0.7))
    assert (node.r == 1.0).all() and not node.v_leak.any() and (node.w_in == node.tau_syn).all()
    steps = to_nir.graph_of(net, arrays, constants, "steps")
    assert steps.nodes["hidden0.lif"].w_in * 2e-3 == pytest.approx(node.w_in)
    back = from_nir(steps, 2.0, 60.0, "steps")
    assert all(back.weights[name] == pytest.approx(w, rel=1e-6) for name, w in arrays.items())


@pytest.mark.parametrize("per", ["source", "target"])
def test_fixed_delays_that_are_shared(per: str) -> None:
    """They come back as they were, in ms."""
    net = network(HIDDEN_HIDDEN_DELAY_MAX=20.0, HIDDEN_HIDDEN_DELAY_UNIFORM=[0.0, 20.0], DELAY_PER=per)
    arrays = net.initial_weights(1)
    back = from_nir(to_nir.graph_of(net, arrays, net.initial_time_constants()), 1.0, 60.0)
    assert arrays["hid_to_hid0.delay"].std() > 1.0
    assert back.weights["hid_to_hid0.delay"] == pytest.approx(arrays["hid_to_hid0.delay"], rel=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"HIDDEN_NEURON_TYPE": "ALIF"}, "NIR has no ALIF neurons (hidden0)"),
        ({"V_RESET": -0.1}, "starts a trial at v_reset"),
        (
            {"HIDDEN_HIDDEN_DELAY_MAX": 9.0, "TRAIN_DELAYS": ["HIDDEN_HIDDEN"]},
            "delays of hid_to_hid0 are learned, one for each synapse",
        ),
        (
            {"HIDDEN_HIDDEN_DELAY_MAX": 9.0, "HIDDEN_HIDDEN_DELAY_UNIFORM": [0.0, 9.0]},
            "delays of hid_to_hid0 differ between synapses",
        ),
    ],
)
def test_what_nir_cannot_say(given: dict[str, Any], said: str) -> None:
    net = network(**given)
    with pytest.raises(ValueError) as caught:
        to_nir.graph_of(net, net.initial_weights(1), net.initial_time_constants())
    assert said in str(caught.value)


FEED = {"weight": np.ones((3, 6))}


@pytest.mark.parametrize(
    ("graph", "given", "said"),
    [
        (lambda: chain(nir.Linear(**FEED), nir.IF(np.ones(3), np.ones(3))), {}, "node 1 is a IF"),
        (lambda: chain(nir.Linear(**FEED), cuba(3, "CubaLI")), {}, "without neurons that spike"),
        (
            lambda: chain(nir.Linear(**FEED), cuba(3), nir.Linear(np.ones((3, 3))), nir.LIF(*np.ones((4, 3)))),
            {},
            "3 is LIF without a current",
        ),
        (
            lambda: chain(nir.Linear(**FEED), cuba(3, "CubaLI"), nir.Linear(np.ones((3, 3))), cuba(3)),
            {},
            "never spikes",
        ),
        (lambda: chain(nir.Linear(**FEED), cuba(3), nir.Linear(np.ones((3, 3)))), {}, "leads to the output"),
        (lambda: chain(nir.Linear(**FEED), cuba(3, tau_mem=1e-3)), {"method": "euler"}, "tau_mem of 1 is 1 ms"),
        (lambda: chain(nir.Linear(**FEED), cuba(4)), {}, "weights to 1 have shape (6, 3)"),
        (lambda: chain(nir.Linear(**FEED), cuba(3)), {"spikes": "dirac"}, "spikes"),
    ],
)
def test_what_does_not_run_here(graph: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_nir(graph(), 1.0, 50.0, **given)
    assert said in str(caught.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    net = network()
    for call in (
        lambda: from_nir("net.nir", 1.0, 50.0),
        lambda: to_nir.graph_of(net, net.initial_weights(1), net.initial_time_constants()),
    ):
        with pytest.raises(ValueError, match="pip install"):
            call()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "net.nir").write_text("no graph")
    with pytest.raises(ValueError, match=r"net\.nir holds no NIR graph"):
        from_nir(tmp_path / "net.nir", 1.0, 50.0)


def test_graphs_within_graphs() -> None:
    """A recurrent layer as a graph of its own, as some programs have it, is the cycle that it stands for."""
    rng = np.random.default_rng(0)
    feed, back = nir.Linear(rng.normal(size=(3, 6))), nir.Linear(rng.normal(size=(3, 3)))
    ends = {"input": nir.Input({"input": np.array([3])}), "output": nir.Output({"output": np.array([3])})}
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    inner = nir.NIRGraph(nodes={**ends, "lif": cuba(3), "w_rec": back}, edges=edges, type_check=False)
    nested = from_nir(chain(feed, inner), 1.0, 50.0)
    flat = from_nir(chain(feed, cuba(3), cycles=(("1", "w_rec"), ("w_rec", "1")), w_rec=back), 1.0, 50.0)
    assert list(nested.weights) == ["in_to_hid", "hid_to_hid0", "hid_to_out"]
    assert all((nested.weights[name] == w).all() for name, w in flat.weights.items())
    assert nested.layers == {"hidden0": "1.lif"} and flat.layers == {"hidden0": "1"}


def test_delays_of_trains() -> None:
    """Four steps more before the first layer are four for both; six more between the two are six for the second."""
    rng = np.random.default_rng(0)
    feed, on = nir.Linear(rng.normal(0.6, 0.3, (5, 6))), nir.Linear(rng.normal(0.8, 0.4, (3, 5)))

    def spikes(first: float, second: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        delays = nir.Delay(np.full(6, first)), nir.Delay(np.full(5, second))
        net = from_nir(chain(delays[0], feed, cuba(5), delays[1], on, cuba(3)), 1.0, 120.0)
        return net.run(samples(np.random.default_rng(1), 6, 60, 1.0), 1)[0].spikes

    early, late = spikes(1e-3, 1e-3), spikes(5e-3, 7e-3)
    for layer, steps in (("2", 4.0), ("5", 10.0)):
        assert len(early[layer][0]) > 5 and (late[layer][1] == early[layer][1]).all()
        assert (late[layer][0] == early[layer][0] + steps).all()


def test_a_current_that_is_on_for_whole_steps() -> None:
    """LIF neurons without a current of their own, reset within steps, against the closed form: within rounding."""
    tau, dt, steps, threshold = 2.5, 0.1, 400, 0.1
    rng = np.random.default_rng(3)
    on = np.flatnonzero(rng.random(steps) < 0.12)
    node = nir.LIF(tau=np.array([2.5e-3]), r=np.ones(1), v_leak=np.zeros(1), v_threshold=np.array([threshold]))
    net = from_nir(chain(nir.Affine(np.ones((1, 1)), np.zeros(1)), node, channels=1, size=1), dt, dt * steps)
    (run,) = net.run([{"x": np.zeros_like(on), "t": dt * on}], 1)
    v, expected, ends = 0.0, [], []
    for step in range(steps):
        current = float(step in on)
        after = current + (v - current) * np.exp(-dt / tau)
        if after >= threshold:
            left = dt - tau * np.log((current - v) / (current - threshold))
            after = current * (1.0 - np.exp(-left / tau))
            ends.append((step + 1) * dt)
        v = after
        expected.append(v)
    assert len(ends) > 4 and run.spikes["1"][0] == pytest.approx(ends, abs=1e-6)
    assert run.voltages["1"][:, 0] == pytest.approx(expected, abs=1e-6)


def test_what_programs_compute_that_take_steps() -> None:
    """Method "euler": spikes and potentials of Euler's steps, with biases, recurrence and reset by subtraction."""
    rng = np.random.default_rng(1)
    n, steps, dt = 8, 120, 0.1
    w, b = rng.normal(0.1, 0.3, (n, 6)), rng.normal(0.0, 0.05, n)
    back, c = rng.normal(0.0, 0.3, (n, n)), rng.normal(0.0, 0.05, n)
    values = {"tau_syn": 2e-4, "tau_mem": 1e-3, "r": 10.0, "v_leak": 0.03, "w_in": 2.0}
    cycle = (("1", "w_rec"), ("w_rec", "1"))
    graph = chain(nir.Affine(w, b), cuba(n, **values), cycles=cycle, size=n, w_rec=nir.Affine(back, c))
    (sample,) = X = samples(rng, 6, steps - 1, dt)
    (run,) = from_nir(graph, dt, dt * steps, method="euler", reset="subtract").run(X, 1)
    x = np.zeros((steps, 6))
    x[np.round(sample["t"] / dt).astype(int) + 1, sample["x"]] = 1.0  # a spike takes a step to arrive
    current, v, z, found, potentials = np.zeros(n), np.zeros(n), np.zeros(n), [], []
    for now in x:
        current = current + 0.5 * (2.0 * (w @ now + b + back @ z + c) - current)
        v = v + 0.1 * (10.0 * current + 0.03 - v)
        z = (v >= 1.0).astype(float)
        v = v - z
        found.append(z)
        potentials.append(v)
    times, who = run.spikes["1"]
    spikes = np.zeros((steps, n))
    spikes[np.round(times / dt).astype(int) - 1, who] = 1.0
    assert spikes.sum() > 30 and (spikes[:-1] == np.array(found)[:-1]).all()  # in the last step nobody spikes
    assert run.voltages["1"][:-1] == pytest.approx(np.array(potentials)[:-1], abs=1e-4)


def test_a_constant_drive_of_the_variable_that_spikes_add_to() -> None:
    """It was left out of every step on the grid: the current stayed at 0."""
    driven = models.Neuron(
        "driven",
        parameters={**models.LI.parameters, "bias": models.Parameter(0.5)},
        state=models.LI.state,
        dynamics={**models.LI.dynamics, "Isyn": "(bias - Isyn) / tau_syn"},
    )
    values = {"tau_mem": 20.0, "tau_syn": 5.0, "v_reset": 0.0, "bias": 0.5}
    net = replace(network(TRIAL_MS=100.0, DT_MS=0.1), output=Population("output", 3, derived(driven), values))
    engine = CpuEngine(net, 1)
    engine.set_weights({name: np.zeros_like(w) for name, w in net.initial_weights(1).items()})
    engine.run(from_samples([{"x": [0], "t": [1.0]}], 6, 0.1, 100.0), np.array([0]), None, record={("output", "V")})
    t = 0.1 * np.arange(1, 1001)
    expected = 0.5 * (1.0 - (20.0 * np.exp(-t / 20.0) - 5.0 * np.exp(-t / 5.0)) / 15.0)
    assert engine.trace("output", "V")[0, :, 0] == pytest.approx(expected, abs=2e-3)


def test_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint's graph is that of the object that has just been trained."""
    from simulator_yinyang import yinyang

    p = {"N_TRAIN": 16, "N_TEST": 8, "N_EPOCH": 1, "N_BATCH": 8, "NUM_HIDDEN": 20, "NAME": "net", "MODEL_SEED": 1}
    p |= {"OUT_DIR": str(tmp_path)}
    mn = yinyang({**yinyang.defaults(), **p})
    mn.train({**yinyang.defaults(), **p})
    mn.to_nir(tmp_path / "a.nir")
    assert main(["export", str(tmp_path / "net_state_last.npz"), str(tmp_path / "b.nir")]) == 0
    assert (tmp_path / "a.nir").read_bytes() == (tmp_path / "b.nir").read_bytes()
    assert (from_nir(tmp_path / "b.nir", 0.1, 30.0).weights["in_to_hid"] == mn.weights()["in_to_hid"]).all()
    assert main(["export", str(tmp_path / "none.npz"), str(tmp_path / "c.nir")]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err
