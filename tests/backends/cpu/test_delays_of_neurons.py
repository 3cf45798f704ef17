"""Delays with every neuron on board: those of 0 change nothing; with two inputs, gradients are slopes of the loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import DELAY, Delay, Network
from tests.support.neuron_cases import DRIVES, SPIKING, Drive, batch_of, network_of, weights_of
from tests.support.small import gradients_of, relative

USUAL = ("LIF", "COBA")
NEURONS = [pytest.param(name, marks=[] if name in USUAL else [pytest.mark.long]) for name in SPIKING]


def with_delays(network: Network, most: float = 5.0) -> Network:
    """The network with delays of all synapses."""
    delay = Delay(0.0, 0.0, None, most, True)
    return replace(network, projections=tuple(replace(p, delay=delay) for p in network.projections))


@pytest.mark.parametrize("timing", ["grid", "substep"])
@pytest.mark.parametrize("name", NEURONS)
def test_delays_of_zero_are_none(name: str, timing: str) -> None:
    """Fails if what a neuron's synapses bring by their sign, or what goes back through them, changes with a delay; or
    if lanes behind the last neuron get what is not finite, which weights of 0 do not silence."""
    if timing == "substep" and models.NEURONS[name].refractory:
        pytest.skip("keys refuse it")
    network = replace(network_of(models.NEURONS[name], trained="some"), spike_timing=timing)
    engines = CpuEngine(network, 2, "double"), CpuEngine(with_delays(network), 2, "double")
    weights = weights_of(DRIVES.get(name, Drive()))
    engines[0].set_weights(weights)
    engines[1].set_weights({**weights, **{n + DELAY: np.zeros_like(w) for n, w in weights.items()}})
    batch = batch_of(0)
    results = [e.run(*batch, learn=True) for e in engines]
    assert np.array_equal(results[0].spike_counts, results[1].spike_counts) and results[0].spike_counts.mean() > 0.5
    assert relative(results[1].loss, results[0].loss) < 1e-10
    expected, found = map(gradients_of, engines)
    for n, g in expected.items():
        assert g.any() and relative(found[n], g) < 1e-7, n
    assert all(found[n + DELAY].any() for n in weights)


def test_gradients_of_two_inputs_are_slopes() -> None:
    """Differences of the loss along the gradient by the delays of each projection, on steps so short that spikes' times
    move as in continuous time. Fails if a sign is wrong, of the two that weights may have, or if a part is missing."""
    weights = weights_of(DRIVES["COBA"])
    network = replace(with_delays(network_of(models.COBA, trained="some")), dt_ms=0.002, num_steps=20_000)
    engine = CpuEngine(network, 2, "double")
    spikes, numbers, labels = batch_of(0)
    spikes = replace(spikes, steps=(spikes.steps.astype(int) * 200 + 199).astype(np.uint16), num_steps=20_000)
    delays = {n + DELAY: np.full_like(w, 2.0) for n, w in weights.items()}

    def run(moved: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
        engine.set_weights({**weights, **delays, **moved})
        result = engine.run(spikes, numbers, labels, learn=True)
        return float(result.loss.mean()) * network.loss_scale, result.spike_counts

    _, counts = run({})
    assert counts.mean() > 0.5
    gradients = engine.gradients()
    for n, d in delays.items():
        way = gradients[n] / np.abs(gradients[n]).max()
        ends = [run({n: (d + ms * way).astype(np.float32)}) for ms in (-0.1, 0.1)]
        assert all(np.array_equal(counts, own) for _, own in ends)
        assert (ends[1][0] - ends[0][0]) / 0.2 == pytest.approx((gradients[n] * way).sum(), rel=0.08), n
