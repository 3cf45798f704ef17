"""Every combination of neuron types, losses, regularisers, trained time constants, layers, noise and spike timing.

Each trains two batches or is refused by name: none may silently mean something else, crash, or give nonsense.
Combinations that share a compiled engine make one test; the engines are compiled with little optimisation. With exact
spike times there is one for each kind of hidden and output neurons, not for each pair of them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import simulator_SHD
from eventprop.backends.cpu import compiler, engine
from eventprop.backends.cpu.codegen import generate
from eventprop.data.splits import Subset
from eventprop.network import Network
from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.records import network_of
from simulator_SHD import SHD_model

pytestmark = pytest.mark.long


HIDDEN = ("LIF", "hetLIF", "ALIF")
OUTPUT = ("LI", "hetLI", "LIF")
TIMING = ("grid", "exact")
LOSSES = [name for name, loss in models.LOSSES.items() if not loss.of_values]  # the data have classes
SPIKING = {name for name, loss in models.LOSSES.items() if loss.spiking}
TRAIN_TAU = ("TRAIN_TAU", "TRAIN_TAU_OUTPUT", "TRAIN_TAU_B")
EXACT_ENGINES = {f"{name}-exact" for name in ("LIF-LI", "hetLIF-hetLI", "ALIF-LI", "hetLIF-LIF", "LIF-LI-taus")}
EXACT_ENGINES |= {"ALIF-LIF-taus-exact"}
RANDOM = {"HIDDEN_NOISE": 0.05, "PDROP_HIDDEN": 0.1}


def base(small_data: Path) -> dict[str, Any]:
    p = {**simulator_SHD.p, "DATA_DIR": str(small_data), "WRITE_TO_DISK": False, "MODEL_SEED": 1, "NUM_THREADS": 1}
    p |= {"NUM_HIDDEN": 10, "DT_MS": 10.0, "TRIAL_MS": 300.0, "N_BATCH": 2, "N_EPOCH": 1, "LR_EASE_IN_FACTOR": None}
    p |= {"TAU_SYN": 12.0, "MIN_TAU_M": 10.0, "MIN_TAU_SYN": 10.0, "MIN_TAU_B": 10.0, "TIMING": False}
    p |= {"INPUT_HIDDEN_MEAN": 0.02, "INPUT_HIDDEN_STD": 0.01, "HIDDEN_HIDDENFWD_MEAN": 0.25, "B_INIT": 0.05}
    p |= {"HIDDEN_HIDDENFWD_STD": 0.1, "HIDDEN_OUTPUT_MEAN": 0.2, "HIDDEN_OUTPUT_STD": 0.2, "TAU_B": 30.0}
    return {**p, "RHO_UPPER": 20.0, "ALPHA": 1e-3, "ADAM_EPS": 1e-20}  # an update however small the gradient is


def combinations() -> Iterator[dict[str, Any]]:
    """All of them, allowed or not."""
    for hidden, output, loss, reg, taus, layers, random, timing in itertools.product(
        HIDDEN, OUTPUT, LOSSES, models.REGULARISERS, (False, True), (1, 2), (False, True), TIMING
    ):
        combination = {"HIDDEN_NEURON_TYPE": hidden, "OUTPUT_NEURON_TYPE": output, "LOSS_TYPE": loss, "REG_TYPE": reg}
        combination |= dict.fromkeys(TRAIN_TAU[:2], taus) | {"TRAIN_TAU_B": taus and hidden == "ALIF"}
        yield {**combination, "N_HID_LAYER": layers, **(RANDOM if random else {}), "SPIKE_TIMING": timing}


def refusal(c: dict[str, Any]) -> str:
    """What the combination is refused with, worked out by hand; "" where it is allowed."""
    loss, output = c["LOSS_TYPE"], c["OUTPUT_NEURON_TYPE"]
    if (output == "hetLI" and loss in SPIKING) or (output == "LIF" and loss not in SPIKING):
        return f'OUTPUT_NEURON_TYPE="{output}"'
    if c["SPIKE_TIMING"] == "exact" and c.get("HIDDEN_NOISE"):
        return 'SPIKE_TIMING="exact": HIDDEN_NOISE'
    if c["SPIKE_TIMING"] == "exact" and loss in ("max", "avg_xentropy"):
        return f'SPIKE_TIMING="exact": LOSS_TYPE="{loss}"'
    return ""


def library(c: dict[str, Any]) -> str:
    """What is compiled in: the rest is decided at run time."""
    taus = c["TRAIN_TAU"]
    hidden = c["HIDDEN_NEURON_TYPE"] if not taus else "ALIF" if c["HIDDEN_NEURON_TYPE"] == "ALIF" else "LIF"
    output = "LIF" if c["LOSS_TYPE"] in SPIKING else "LI" if taus else c["OUTPUT_NEURON_TYPE"]
    return f"{hidden}-{output}{'-taus' if taus else ''}-{c['SPIKE_TIMING']}"


ALLOWED: dict[str, list[dict[str, Any]]] = {}
REFUSED: list[dict[str, Any]] = []
for _c in combinations():
    if _c["SPIKE_TIMING"] == "exact" and _c.get("HIDDEN_NOISE"):
        REFUSED.append(dict(_c))
        del _c["HIDDEN_NOISE"]
    if refusal(_c):
        REFUSED.append(_c)
    elif _c["SPIKE_TIMING"] == "grid" or library(_c) in EXACT_ENGINES:
        ALLOWED.setdefault(library(_c), []).append(_c)


@pytest.fixture(scope="module")
def simulator(small_data: Path) -> Iterator[tuple[SHD_model, Subset, dict[str, Any]]]:
    """One simulator for all, its training samples and p; engines compiled quickly, two at a time, and loaded once."""
    p = base(small_data)
    sources: dict[Any, str] = {}

    def source(network: Network, real: str) -> str:
        built_in = [(q.model.name, q.per_neuron, q.trained) for q in (network.hidden[0], network.output)]
        key = (*built_in, network.loss.spiking, network.spike_timing)
        if key not in sources:
            sources[key] = generate(network, real)
        return sources[key]

    with pytest.MonkeyPatch.context() as patch:
        load = functools.cache(compiler.load_library)
        patch.setattr(engine, "load_library", load)
        patch.setattr(engine, "generate", source)
        flags = compiler._FLAGS
        networks = [network_of(resolve_shd({**p, **cs[0]}), 700, 20) for cs in ALLOWED.values()]
        for timing, level in (("grid", "-O0"), ("exact", "-O1")):
            patch.setattr(compiler, "_FLAGS", [flag.replace("-O3", level) for flag in flags])
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(load, [source(n, "float") for n in networks if n.spike_timing == timing]))
        mn = SHD_model(p)
        yield mn, Subset(mn.data.train, np.arange(4)), p


@pytest.mark.filterwarnings("ignore:no(ne of the .* neurons of hidden0| output neuron) spiked")
@pytest.mark.parametrize("name", ALLOWED)
def test_each_combination_trains(name: str, simulator: tuple[SHD_model, Subset, dict[str, Any]]) -> None:
    """Fails if a combination crashes, gives a loss, weight or time constant that is not finite, or trains only part of
    what it should."""
    mn, training, p = simulator
    for combination in ALLOWED[name]:
        run = mn._for_run({**p, **combination})
        mn._train(run, training, None, "")
        weights = mn.weights()
        before = mn.network(run).initial_weights(1)
        assert np.isfinite(mn.history[0]["train_loss"]) and mn.history[0]["hidden_spikes_mean"] > 0, combination
        for key, w in weights.items():
            assert np.isfinite(w).all() and (w != before[key]).any(), (combination, key)
        initial = mn.network(run).initial_time_constants()
        for q, values in mn.time_constants().items():
            for n, a in values.items():
                assert np.isfinite(a).all() and a.min() >= 10.0, (combination, q, n)
                assert (a != initial[q][n]).any() == run["TRAIN_TAU"], (combination, q, n)


def test_the_others_are_refused_by_name() -> None:
    """Fails if one is taken silently, or the message does not begin with the key to change."""
    assert len(REFUSED) > 500
    for combination in REFUSED:
        with pytest.raises(ValueError) as error:
            resolve_shd(combination)
        assert str(error.value).startswith(refusal(combination)), combination


def test_all_engines_were_counted(simulator: tuple[SHD_model, Subset, dict[str, Any]]) -> None:
    """Fails if two combinations that should share an engine do not: users would wait for a compiler again."""
    _, _, p = simulator
    for combinations_ in ALLOWED.values():
        sources = {generate(network_of(resolve_shd({**p, **c}), 700, 20), "float") for c in combinations_[::11]}
        assert len(sources) == 1, combinations_[0]
