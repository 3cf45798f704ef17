"""Weights that start from the data: potentials fluctuate as wanted, by the published formula and the data's sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import models
from eventprop.data.demo_spikes import demo
from eventprop.description import hidden_neurons
from eventprop.training.potential import by_layer, distance
from simulator_MNIST import mnist_model
from simulator_SHD import SHD_model
from simulator_spikes import p, spikes_model
from simulator_yinyang import yinyang
from tests.simulators.test_mnist import write

FLUCTUATION = {"WEIGHT_INIT": "fluctuation", "WRITE_TO_DISK": False, "MODEL_SEED": 3, "TIMING": False}
TAU_MEM, TAU_SYN = 20.0, 5.0


def model(change: dict[str, Any] | None = None, n: int = 150, data: Any = None) -> spikes_model:
    return spikes_model({**p, **FLUCTUATION, "NUM_HIDDEN": 64, **(change or {})}, train=data or demo("train", n)[:2])


def response(steps: int, dt: float = 1.0) -> np.ndarray:
    """Potential of a LIF neuron at the ends of steps after a spike through a weight of 1."""
    t = dt * np.arange(1, steps + 1)
    return TAU_SYN / (TAU_MEM - TAU_SYN) * (np.exp(-t / TAU_MEM) - np.exp(-t / TAU_SYN))


def potentials(mn: spikes_model) -> np.ndarray:
    """What would be without spikes of hidden neurons, ``(samples, steps, neurons)``, in units of the threshold."""
    spikes, w = mn.data.train.spikes, mn.weights()["in_to_hid"]
    kernel, found = response(spikes.num_steps), []
    for number in range(len(spikes)):
        current = np.zeros((spikes.num_steps, w.shape[1]))
        steps, channels = spikes.sample(number)
        np.add.at(current, steps, w[channels])
        found.append([np.convolve(current[:, k], kernel)[: spikes.num_steps] for k in range(w.shape[1])])
    return np.transpose(found, (0, 2, 1))


def moments(v: np.ndarray) -> tuple[float, float]:
    """Mean and s.d. over samples, times and neurons, each time with its mean square as weight."""
    weight = (v**2).mean(axis=2)
    mean = (weight * v.mean(axis=2)).sum() / weight.sum()
    return float(mean), float(np.sqrt((weight * (v**2).mean(axis=2)).sum() / weight.sum() - mean**2))


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.0, 0.6), (0.5, 0.8)])
def test_potentials_start_as_wanted(mean: float, sd: float) -> None:
    """Fails if the sums are those of other samples, times or weights than a run begins with."""
    mn = model({"FLUCTUATION_MEAN": mean, "FLUCTUATION_STD": sd, "NUM_HIDDEN": 256})
    found = moments(potentials(mn))
    assert found == pytest.approx((mean, sd), abs=0.12 * max(mean, sd))


@pytest.mark.parametrize(("n", "rate", "share"), [(1000, 0.001, 1.0), (100, 0.02, 1.0), (2000, 0.001, 0.5)])
def test_of_poisson_spikes_it_is_the_published_formula(n: int, rate: float, share: float) -> None:
    """m n r int(e), and s^2 n r int(e^2) with what neurons differ in, which hardly counts at the lower rate; int(e) =
    tau_syn, int(e^2) = tau_syn^2 / 2 / (tau_syn + tau_mem) of LIF neurons (Rossbroich et al. 2022). Of sparse synapses
    n is the number of those of a neuron."""
    rng, trial = np.random.default_rng(1), 600.0
    counts = rng.poisson(rate * trial, (60, n))
    X = [{"x": np.repeat(np.arange(n), c), "t": rng.uniform(0, trial, c.sum())} for c in counts]
    data = X, np.arange(60) % 2
    mn = model({"TRIAL_MS": trial, "INPUT_HIDDEN_P": share}, data=data)
    n = round(n * share)
    below = mn._start(mn.p).projections[0]
    published = 1 / np.sqrt(n * rate * TAU_SYN**2 / 2 / (TAU_SYN + TAU_MEM))
    between = (rate * TAU_SYN) ** 2 / (rate * TAU_SYN**2 / 2 / (TAU_SYN + TAU_MEM))
    assert below.mean == 0.0 and below.sd == pytest.approx(published / np.sqrt(1 + between), rel=0.07)
    assert (abs(float(below.sd / published) - 1.0) < 0.07) is (rate < 0.01)
    mn = model({"TRIAL_MS": trial, "FLUCTUATION_MEAN": 0.5, "INPUT_HIDDEN_P": share}, data=data)
    assert mn.weights()["in_to_hid"].astype(bool).mean() == pytest.approx(share, abs=0.02)
    assert mn._start(mn.p).projections[0].mean == pytest.approx(0.5 / (n * rate * TAU_SYN), rel=0.07)


def test_every_layer_spikes_from_the_start() -> None:
    """Three recurrent layers: none silent, none always on, and the read-out moves as wanted."""
    mn = model({"N_HID_LAYER": 3, "RECURRENT": True})
    network = mn._start(mn.p)
    assert {q.name for q in network.projections if q.sd > 0 and q.mean == 0.0} == {q.name for q in network.projections}
    engine = mn._ready(mn.p)
    result = engine.run(mn.data.train.spikes, np.arange(100), None, record=[("output", "V")])
    for counts in by_layer(network, result.spike_counts):
        assert (counts.sum(axis=0) == 0).mean() < 0.5 and counts.mean() < 0.2 * network.num_steps
    v = engine.trace("output", "V")
    assert moments(v)[1] == pytest.approx(1.0, rel=0.5)  # of two neurons alone


def test_part_of_the_variance_is_the_layers_own() -> None:
    plain, split = model(), model({"RECURRENT": True, "FLUCTUATION_RECURRENT": 0.3})
    (below, _), (ours, own, _) = plain._start(plain.p).projections, split._start(split.p).projections
    assert ours.sd / below.sd == pytest.approx(np.sqrt(0.7), rel=1e-3) and own.sd > 0.0
    none = model({"RECURRENT": True, "FLUCTUATION_RECURRENT": 0.0})
    assert none._start(none.p).projections[1].sd == 0.0
    sparse = model({"RECURRENT": True, "FLUCTUATION_RECURRENT": 0.3, "HIDDEN_HIDDEN_P": 0.25})
    assert sparse._start(sparse.p).projections[1].sd == pytest.approx(2.0 * own.sd, rel=0.05)


def test_what_is_told_gives_the_same_weights_as_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """A line says means and standard deviations, with all their digits."""
    mn = model()
    weights = mn.weights()
    (told,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("Initial weights from the data")
    ]
    by_hand = {"WEIGHT_INIT": "normal"}
    for part in told.split(": ")[1].split("; "):
        _, mean, sd = part.split()
        key = mean.split("_MEAN=")[0]
        by_hand |= {f"{key}_MEAN": float(mean.split("=")[1].rstrip(",")), f"{key}_STD": float(sd.split("=")[1])}
    assert all((w == weights[name]).all() for name, w in model(by_hand).weights().items())


def test_outputs_that_spike_answer_from_the_start() -> None:
    """With a first-spike loss nearly all samples that reach the outputs have a class."""
    mn = model({"LOSS_TYPE": "first_spike", "N_EPOCH": 1})
    engine = mn._ready(mn.p)
    result = engine.run(mn.data.train.spikes, np.arange(100), None)
    assert (result.predictions[result.spike_counts.any(axis=1)] >= 0).mean() >= 0.8


def test_rewired_neurons_get_weights_of_the_same_kind() -> None:
    """They are drawn as at the start, and not as the keys would have it."""
    change = {"REWIRE_SILENT": True, "N_EPOCH": 1, "ETA": 1e-9, "FLUCTUATION_MEAN": 0.0, "V_THRESH": 1.0}
    mn = model({**change, "PDROP_INPUT": 0.99})  # so that many are silent
    before = mn.weights()["in_to_hid"]
    mn.train(mn.p)
    after = mn.weights()["in_to_hid"]
    new = (np.abs(after - before) > 1e-3).all(axis=0)
    assert new.any() and after[:, new].std() == pytest.approx(mn._start(mn.p).projections[0].sd, rel=0.1)


@pytest.mark.parametrize("name", models.ON_BOARD)
def test_how_far_the_threshold_is(name: str) -> None:
    """Of every neuron the potential that is needed, from its own start."""
    if not models.NEURONS[name].threshold:
        return
    mn = model({"HIDDEN_NEURON_TYPE": name, "WEIGHT_INIT": "normal", "NUM_HIDDEN": 4}, n=30)
    layer = mn.network(mn.p).hidden[0]
    start = {"Izhikevich": 30.0 + 65.0}.get(name, 1.0)
    assert distance(layer) == pytest.approx(start, rel=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("name", [*hidden_neurons(), "exact", "substep"])
def test_each_kind_of_neuron_starts_awake(name: str) -> None:
    kind = {"SPIKE_TIMING": name} if name in ("exact", "substep") else {"HIDDEN_NEURON_TYPE": name}
    mn = model(kind)
    counts = mn._ready(mn.p).run(mn.data.train.spikes, np.arange(100), None).spike_counts
    assert (counts.sum(axis=0) == 0).mean() < 0.5 and counts.mean() < 0.2 * mn.network(mn.p).num_steps


def awake(mn: Any, n: int) -> None:
    counts = mn._ready(mn.p).run(mn.data.train.spikes, np.arange(n), None).spike_counts
    assert (counts.sum(axis=0) == 0).mean() < 0.5 and counts.mean() < 0.2 * mn.network(mn.p).num_steps


def test_other_simulators(small_data: Path) -> None:
    """Digits, images and points start awake, whatever their keys for weights say."""
    none = {"INPUT_HIDDEN_MEAN": 0.0, "INPUT_HIDDEN_STD": 0.0, "NUM_HIDDEN": 32}
    sizes = {"DATA_DIR": str(small_data), "N_TRAIN": 90, "N_VALIDATE": 20, "DT_MS": 5.0, "TRIAL_MS": 700.0}
    awake(SHD_model({**SHD_model.defaults(), **FLUCTUATION, **none, **sizes}), 90)
    awake(yinyang({**yinyang.defaults(), **FLUCTUATION, **none, "N_TRAIN": 120, "DT_MS": 0.5}), 100)
    write(Path("data/MNIST"), 60, 10)
    images = {"N_TRAIN": 8, "N_VALIDATE": 2, "N_TEST": 2, "REDUCED_CLASSES": [1, 3]}
    awake(mnist_model({**mnist_model.defaults(), **FLUCTUATION, **none, **images}), 60)
