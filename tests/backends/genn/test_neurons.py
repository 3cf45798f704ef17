"""Every neuron on board, and neurons of one's own, on GeNN as on the CPU backend: both run what is derived from the
same equations. Skipped where pygenn is not installed."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import models
from eventprop.backends import Engine
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.backends.genn.builder import Layout
from eventprop.backends.genn.neurons import neurons
from eventprop.grammar import TAKEN
from eventprop.network import Network, Randomness
from eventprop.snippets import names_in
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.backends.genn.test_engine import BACKEND  # skips this file, too, where there is no pygenn
from tests.support.neuron_cases import BOUNDS, DRIVES, SIMPLE, SPIKING, Drive, batch_of, network_of, weights_of
from tests.support.small import gradients_of, relative

from eventprop.backends.genn.engine import GennEngine  # isort: skip

ADAM = AdamSettings(0.9, 0.999, 1e-8)
RANDOM = Randomness(0.2, 0.1, 0.05, input_seed=2**32 - 1, hidden_seed=2**31, noise_seed=3)
# Every function and method, a reset that reads what it changes, a threshold that moves with a variable.
OWN = models.Neuron(
    "own",
    parameters={
        "tau": models.Parameter(15.0, "ms", above=0.0),
        "tau_syn": models.Parameter(5.0, "ms", above=0.0),
        "v_thresh": models.Parameter(1.0),
        "share": models.Parameter(0.1),
        "pull": models.Parameter(0.3),
        "start": models.Parameter(-0.1),
    },
    state={"u": "0.1", "V": "start", "Isyn": "0"},
    dynamics={
        "u": "(tanh(V) + 0.1 * sin(V) - 0.1 * cos(u) - u * sqrt(1 + V ** 2)) / 30",
        "V": "(Isyn - V - pull * u * exp(-(V ** 2)) + 0.1 * log(1 + abs(u))) / tau",
        "Isyn": "-Isyn / tau_syn",
    },
    threshold="V - v_thresh - 0.2 * u",
    reset={"V": "share * V - 0.1 * u", "u": "0.9 * u + 0.1 * V"},
)
METHODS = {f"own {method}": replace(OWN, method=method) for method in ("exponential_euler", "rk2", "rk4")}
METHODS["own halves"] = replace(OWN, method="exponential_euler", substeps=2)


def engines(neuron: models.Neuron, network: Network, real: str, **options: bool) -> list[Engine]:
    """The network on GeNN, one sample at a time where it cannot do more, and on the CPU backend."""
    batch = 1 if BACKEND == "single_threaded_cpu" or options.get("pipeline") else 2
    both: list[Engine] = [
        GennEngine(network, BACKEND, batch=batch, max_spikes=300, real=real, **options),
        CpuEngine(network, 1, real),
    ]
    weights = weights_of(DRIVES.get(neuron.name, Drive()))
    for e in both:
        e.set_weights(weights)
    return both


def check(both: list[Engine], bound: float, seed: int = 0, random: Randomness | None = None) -> None:
    """Present the same batch to both: spikes the same, gradients and losses within ``bound``, none of them 0."""
    spikes, numbers, labels = batch_of(seed)
    found, expected = (e.run(spikes, numbers, labels, learn=True, randomness=random, first=5) for e in both)
    assert np.array_equal(found.spike_counts, expected.spike_counts)
    assert expected.spike_counts.mean() > 3 and (expected.spike_counts > 0).mean() > 0.8
    assert relative(found.loss, expected.loss) < bound
    assert np.array_equal(found.predictions, expected.predictions)
    genn, ours = (gradients_of(e) for e in both)
    off = {n: relative(genn[n], g) for n, g in ours.items()}
    assert all(o < bound for o in off.values()), off
    unused = {n for n, g in ours.items() if not g.any()}
    assert not unused, unused


@pytest.mark.parametrize("name", [*SPIKING, *METHODS])
def test_all_gradients_in_double_precision(name: str) -> None:
    """Fails if any term of a neuron's step, jump or gradients is another one on GeNN: all weights and parameters, with
    regularisation, noise and dropout, and after updates that meet the bounds of some parameters."""
    neuron = METHODS.get(name) or models.NEURONS[name]
    both = engines(neuron, network_of(neuron, bounds=BOUNDS, regulariser=SIMPLE), "double")
    check(both, 1e-9)
    check(both, 1e-9, 1, RANDOM)
    for step in (1, 2, 3):
        for e in both:
            e.update(adam_parameters(ADAM, 0.003, step))
        check(both, 1e-9, step)
    at_bounds = 0
    for population, own in both[1].time_constants().items():
        for parameter, value in own.items():
            assert relative(both[0].time_constants()[population][parameter], value) < 1e-6
            least, most = BOUNDS.get(parameter, (-1e9, 1e9))
            assert np.float32(least) <= value.min() and value.max() <= np.float32(most)
            at_bounds += int(np.isin(value, np.float32([least, most])).sum())
    assert at_bounds > 0


@pytest.mark.parametrize("name", [*SPIKING, "own exponential_euler"])
def test_spikes_and_gradients_in_single_precision(name: str) -> None:
    """Fails if spikes are not those of the CPU backend, or gradients not the same to 1e-4; parameters are shared, own
    or trained."""
    neuron = METHODS.get(name) or models.NEURONS[name]
    network = network_of(neuron, "some")
    both = engines(neuron, network, "float")
    check(both, 1e-4)
    spikes, numbers, _ = batch_of(0)
    for number in numbers:
        for e in both:
            e.run(spikes, numbers[number : number + 1], None)
        for layer in ("input", "hidden0", "hidden1"):
            own, other = ({*zip(*map(np.ndarray.tolist, e.spikes(0, layer)), strict=True)} for e in both)
            assert own == other and own
    values = both[0].time_constants()
    first = next(iter(neuron.parameters))
    for layer in ("hidden0", "hidden1"):  # not trained, but trained ones' constants depend on it
        values[layer][first] = (values[layer][first] * np.float32(1.03)).astype(np.float32)
    for e in both:
        e.set_time_constants(values)
        e.update(adam_parameters(ADAM, 0.0, 1))  # nothing moves, but constants are computed anew
    check(both, 1e-4)


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize("name", ["refLIF", "RF", "AdEx", "COBA"])
def test_recorded_variables_and_the_pipeline(name: str, pipeline: bool) -> None:
    """Fails if a variable is another one or a step off, or if what one batch keeps is read by another one's."""
    neuron = models.NEURONS[name]
    network = network_of(neuron)
    both = engines(neuron, network, "double", pipeline=pipeline)
    genn, ours = both
    names = [(q.name, v) for q in network.populations for v in (*q.model.state, *q.model.adjoint)]
    spikes, numbers, labels = batch_of(0)
    before = None
    for part in [numbers[i : i + 1] for i in numbers] if pipeline else [numbers]:
        for e in both:
            e.run(spikes, part, labels[part], learn=True, record=names)
        for variable in names:
            assert relative(genn.trace(*variable), ours.trace(*variable)) < 1e-6, variable
        if before is not None:
            assert all(relative(gradients_of(genn)[n], g) < 1e-9 for n, g in before.items())
        before = {n: g.copy() for n, g in gradients_of(ours).items()}
    assert genn.flush() is pipeline
    assert before is not None
    assert all(relative(gradients_of(genn)[n], g) < 1e-9 for n, g in before.items())


@pytest.mark.parametrize("loss", ["max", "first_spike"])
def test_signs_of_weights_beside_other_twins(loss: str) -> None:
    """Fails if conductances' own synapses, those of a maximum's cusp or weights that are not trained get in each
    other's way, or if weights that are set, or learned, do not reach both kinds of synapses."""
    neuron = models.COBA
    network = network_of(neuron, loss=loss)
    frozen = tuple(replace(p, trained=p.name != "hid_to_hid0") for p in network.projections)
    both = engines(neuron, replace(network, projections=frozen), "double")
    spikes, numbers, labels = batch_of(0)
    for step in (1, 2):
        for e in both:
            e.run(spikes, numbers, labels, learn=True)
        genn, ours = (gradients_of(e) for e in both)
        assert all(relative(genn[n], g) < 1e-9 for n, g in ours.items())
        assert not ours["hid_to_hid0"].any() and ours["in_to_hid"].any()
        for e in both:
            e.update(adam_parameters(ADAM, 0.02, step))
    passed = np.sign(both[1].weights()["in_to_hid"]) != np.sign(weights_of(DRIVES["COBA"])["in_to_hid"])
    assert passed.any()


def test_names_that_this_backend_uses_are_refused() -> None:
    """Fails if a neuron's variable or parameter may have the name of one of GeNN's code: one would be read for the
    other."""
    for loss in models.LOSSES:
        for regulariser in models.REGULARISERS:
            strengths = dict.fromkeys(models.REGULARISERS[regulariser].parameters, 1.0)
            network = replace(
                network_of(models.LIF, loss=loss),
                regulariser=models.REGULARISERS[regulariser],
                regulariser_parameters=strengths,
            )
            for q in network.populations:
                d = neurons(network, q, Layout(1, 1, 10))
                used = {*d.sizes, *d.constants, *d.dynamic, *d.variables, *d.arrays, *d.inputs}
                used |= set(re.findall(r"(?:scalar|int|uint32_t) (\w+) =", d.sim_code))
                follow = {n for n in used if re.match("lambda_|d_|keep_|ring_|.*(_then|_spike|_after|_new)$", n)}
                own = used - follow - names_in(repr(q.model)) | {"back_spike"}
                assert own <= TAKEN, own - TAKEN
