"""Differences of small circuits against the event-driven oracle's adjoint, which knows nothing of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import models
from eventprop.certificate.circuits import INPUT, OUTPUT, RECURRENT, Circuit, ReadOut, hidden_layer
from eventprop.certificate.differences import Differences, IllConditioned, differentiate
from eventprop.certificate.drawing import circuits, scale_of
from eventprop.certificate.expressions import Array
from tests.support import oracle
from tests.support.small import relative


def first(name: str, alike: bool = False) -> tuple[Circuit, Differences]:
    """The first circuit of a neuron that has all gradients; alike: its neurons differ in time constants alone."""
    scale = scale_of(models.NEURONS[name])
    for circuit in itertools.islice(circuits(models.NEURONS[name], 1.0), 40):
        if isinstance(circuit, str):
            continue
        if alike:
            read_outs = tuple(replace(r, parameters=uniform(r.parameters)) for r in circuit.read_outs)
            circuit = replace(circuit, hidden=uniform(circuit.hidden), read_outs=read_outs)
        try:
            found = differentiate(circuit, scale)
        except IllConditioned:
            continue
        if len(found.gradients) == 3:
            return circuit, found
    raise AssertionError("no such circuit")


def uniform(values: Mapping[str, Array]) -> dict[str, Array]:
    return {n: v if n.startswith("tau") else np.full_like(v, v[0]) for n, v in values.items()}


def in_oracle(circuit: Circuit, read_out: ReadOut) -> oracle.Network:
    """The same network; the oracle has one threshold and one reset for a layer."""
    own = {n: v for n, v in circuit.hidden.items() if n.startswith("tau")}
    rest = {n: float(v[0]) for n, v in circuit.hidden.items() if not n.startswith("tau")}
    hidden = oracle.Layer(circuit.weights[INPUT], w_rec=circuit.weights[RECURRENT], **own, **rest)
    outputs = {n: v if n.startswith("tau") else float(v[0]) for n, v in read_out.parameters.items()}
    return oracle.Network(
        (hidden,), oracle.Layer(read_out.weights, **{"v_thresh": np.inf, **outputs}), circuit.trial_ms
    )


@pytest.mark.parametrize("name", ["LIF", "ALIF"])
def test_gradients_are_the_oracles(name: str) -> None:
    """Fails if a loss, a spike or a difference is another one: all weights and time constants agree to 1e-7."""
    circuit, found = first(name, alike=True)
    events = list(zip(circuit.times, circuit.sources, strict=True))
    for read_out in circuit.read_outs:
        network = in_oracle(circuit, read_out)
        for loss in read_out.losses:
            exact = oracle.gradients(network, events, read_out.label, loss, dict(read_out.loss_parameters))[1]
            own, hidden = found.gradients[loss], exact["hidden0"]
            assert relative(own[INPUT], hidden["w"]) < 1e-7 and relative(own[RECURRENT], hidden["w_rec"]) < 1e-7
            assert relative(own[OUTPUT], exact["output"]["w"]) < 1e-7
            for tau in (n for n in circuit.hidden if n.startswith("tau")):
                assert relative(own[tau], hidden[tau]) < 1e-7, tau


def test_threshold_and_weights_scale_together() -> None:
    """Spikes of a LIF neuron do not change if weights, threshold and reset grow alike: Euler's identity for all groups.
    Fails if thresholds and resets are varied for other neurons, or not at all."""
    circuit, found = first("LIF")
    for gradients in found.gradients.values():
        terms = np.zeros(3)
        for name in (INPUT, RECURRENT):
            terms += (gradients[name] * circuit.weights[name]).sum(axis=0)
        for name in ("v_thresh", "v_reset"):
            terms += gradients[name] * circuit.hidden[name]
        size = np.abs(gradients["v_thresh"]).max()
        np.testing.assert_allclose(terms, 0.0, atol=1e-7 * size)


def test_a_spike_that_comes_or_goes_is_told() -> None:
    """Fails if a circuit whose neuron only just spikes would pass as one that has a gradient."""
    circuit, scale = first("LIF")[0], scale_of(models.LIF)
    weights = {**circuit.weights, RECURRENT: 0 * circuit.weights[RECURRENT]}
    low, high = 0.0, 1.0
    for _ in range(40):  # until the weights onto all neurons make one of them just spike or just not
        middle = 0.5 * (low + high)
        shrunk = replace(circuit, weights={**weights, INPUT: middle * weights[INPUT]})
        low, high = (low, middle) if hidden_layer(shrunk, {}).counts.any() else (middle, high)
    with pytest.raises(IllConditioned):
        differentiate(replace(circuit, weights={**weights, INPUT: high * weights[INPUT]}), scale)


@pytest.mark.parametrize("name", ["alphaLIF", "Izhikevich"])
def test_circuits_fit_their_neurons(name: str) -> None:
    """Fails if a neuron's own scale gives no network whose neurons spike one to five times, and differ."""
    drawn = [c for c in itertools.islice(circuits(models.NEURONS[name], 1.0, seed=3), 4) if isinstance(c, Circuit)]
    assert drawn
    for circuit in drawn:
        assert 60.0 <= circuit.trial_ms <= 100.0 and len(set(circuit.times)) == len(circuit.times) == 12
        assert (np.rint(circuit.times) == circuit.times).all()
        assert all(np.float32(v).astype(float) == v for own in circuit.groups.values() for v in own.ravel())
