"""What must hold between networks: models that reduce to others, linearity, symmetry, silence.

Where both sides compute the same operations in the same order their bits are the same, else they differ by rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Randomness
from eventprop.training.optimiser import adam_parameters
from tests.backends.cpu.test_engine import ADAM, same
from tests.support import oracle
from tests.support.few_spikes import few_spikes_case
from tests.support.small import KINDS, SIMPLE, THOMAS1, Case, clear, differences, gradients_of, random_case, relative

TIMINGS = ("grid", "exact")


def shared_gradients(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Largest relative difference of the gradients that both have; those of all weights are among them."""
    names = found.keys() & expected.keys()
    assert {name for name in expected if "." not in name} <= names
    return max(relative(found[name], expected[name]) for name in names)


def plain(timing: str) -> Case:
    """LIF neurons that share time constants, none trained."""
    if timing == "grid":
        return random_case(3, "LIF", "sum_weigh_exp", sizes=(40, 20), v_reset=-0.2)
    return few_spikes_case(3, "LIF", sizes=(8, 4), v_reset=-0.2, taus="shared", spike_timing="exact")


def adaptive(case: Case, **values: float) -> Case:
    for number, layer in enumerate(case.net.hidden):
        case = case.edited(f"hidden{number}", tau_b=np.full(layer.size, 40.0), **values)
    return case


@pytest.mark.parametrize("timing", TIMINGS)
def test_equal_time_constants_of_their_own(timing: str) -> None:
    """hetLIF with equal time constants, trained (at any rate) or not, is LIF: fails if a constant per neuron is rounded
    or used otherwise than a shared one, or if collecting gradients of time constants changes anything else."""
    case = plain(timing)
    expected = case.gradients()
    for taus in ("trained", "own") if timing == "grid" else ("trained",):
        found = replace(case, taus=taus).gradients()
        assert shared_gradients(found, expected) < (1e-12 if timing == "exact" else 1e-300)


def test_training_time_constants_at_rate_zero() -> None:
    """Fails if an update at rate 0 moves anything."""
    case = replace(plain("grid"), taus="trained")
    engine = case.engine()
    expected = case.gradients(engine)
    engine.update(adam_parameters(ADAM, 0.0, 1))
    assert same(case.gradients(engine), expected)


@pytest.mark.parametrize("timing", TIMINGS)
def test_adaptation_without_increment(timing: str) -> None:
    """ALIF with b_incr = b_init = 0 is LIF: fails if a term of the adaptive threshold does not vanish with it."""
    case = replace(plain(timing), taus="trained")
    expected = case.gradients()
    assert shared_gradients(adaptive(case).gradients(), expected) < 1e-12
    assert shared_gradients(adaptive(case, b_incr=0.15, b_init=0.05).gradients(), expected) > 0.1


def test_no_noise_and_no_dropout() -> None:
    """Amplitude 0 is no noise, whatever the seeds: fails if the generator is used, or the way around it differs."""
    case = plain("grid")
    engine = case.engine()
    expected = case.gradients(engine)
    assert same(case.gradients(engine, randomness=Randomness(input_seed=1, hidden_seed=2, noise_seed=3)), expected)
    tiny = Randomness(noise=1e-14, noise_seed=3)
    assert shared_gradients(case.gradients(engine, randomness=tiny), expected) < 1e-10


@pytest.mark.parametrize("regulariser", ["simple", "Thomas1"])
def test_regularisers_of_strength_zero(regulariser: str) -> None:
    """Fails if a regulariser does something where its strengths are 0."""
    case = plain("grid")
    strengths = {**dict.fromkeys(THOMAS1, 0.0), "nu_upper": 6.0}
    strengths = strengths if regulariser == "Thomas1" else {k: strengths[k] for k in SIMPLE}
    found = replace(case, regulariser=regulariser, strengths=strengths).gradients()
    assert same(found, case.gradients())


def test_thomas1_below_its_target_is_simple() -> None:
    """Fails if the term of the layer acts where the layer spikes less than rho_upper."""
    case = replace(plain("grid"), regulariser="simple", strengths=SIMPLE)
    strengths = {**THOMAS1, "rho_upper": 1e6}
    assert same(replace(case, regulariser="Thomas1", strengths=strengths).gradients(), case.gradients())


def test_constant_traffic_is_a_sum() -> None:
    """sum_weigh_input with a constant weight c is sum with read-out weights times c: fails if the weight is taken at
    another step forwards than backwards, or scaled."""
    tau, spikes = 1e12, 64
    case = random_case(1, "LIF", "sum", sizes=(40,), n=1, n_in=spikes)
    stamps = [(0, i) for i in range(spikes)]  # all in the first step: constant from step 1 on, and V = 0 at step 0
    case = replace(case, samples=(stamps,)).edited("hidden0", w=np.abs(case.net.hidden[0].w))
    engine = case.engine()
    result, expected = case.learn(engine), gradients_of(engine)
    network = replace(replace(case, loss="sum_weigh_input").network(), loss_parameters={"tau_accumulator": tau})
    weighted, c = CpuEngine(network, 1, "double"), 0.01 / tau * spikes
    weighted.set_weights({**case.weights, "hid_to_out": case.weights["hid_to_out"].astype(float) / c})
    found = case.learn(weighted)
    assert result.spike_counts.sum() > 100
    assert np.allclose(found.scores, result.scores, rtol=1e-6)
    for name, g in gradients_of(weighted).items():
        assert relative(g / (c if name == "hid_to_out" else 1.0), expected[name]) < 1e-6


def test_cross_entropy_of_constant_voltages() -> None:
    """avg_xentropy of voltages that do not change is the loss of their means: fails if the errors of the steps are
    summed or scaled otherwise than that of the trial."""
    found = []
    for loss in ("sum", "avg_xentropy"):
        case = random_case(4, "LIF", loss, sizes=(40,), v_reset=-0.5)
        case = case.edited("output", tau_mem=np.full(5, 1e30), w=np.zeros((40, 5)))
        engine = case.engine()
        found.append((case.learn(engine), gradients_of(engine)["hid_to_out"]))
    (total, by_total), (mean, by_step) = found
    assert np.allclose(mean.scores, -0.5) and np.allclose(mean.loss, total.loss) and np.allclose(mean.loss, np.log(5))
    assert relative(by_step, by_total) < 1e-6
    assert np.linalg.norm(by_step) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timing", TIMINGS)
def test_gradients_are_linear_in_the_scale_of_the_loss(timing: str, kind: str) -> None:
    """Fails if anything but the drive enters the gradient of the task: a power of two scales it to the bit."""
    make = random_case if timing == "grid" else few_spikes_case
    case = make(5, kind, "sum", sizes=(20, 8), spike_timing=timing)
    case = replace(case, taus="trained" if kind != "LIF" else "shared")
    found, expected = replace(case, loss_scale=0.25).gradients(), case.gradients()
    assert same(found, {name: 0.25 * g for name, g in expected.items()})
    assert all(g.any() for g in expected.values())


def test_silent_network_has_no_gradient() -> None:
    """Fails if a gradient appears without any spike, regularised or not."""
    for timing in TIMINGS:
        case = replace(plain(timing), regulariser="simple", strengths=SIMPLE)
        case = case.edited("hidden0", w=np.zeros_like(case.net.hidden[0].w))
        engine = case.engine()
        assert not case.learn(engine).spike_counts.any()
        assert not any(g.any() for g in gradients_of(engine).values())
        assert engine.gradient_norm() == 0.0


def test_synapses_without_a_spike_have_no_gradient() -> None:
    """Fails if a gradient is gathered for another source or target than the one that spiked, or before anything that it
    could change: an input that comes after the last hidden spike cannot have moved it."""
    case = random_case(8, "hetLIF", "sum", sizes=(40,), recurrent=False, n=1)
    w = case.net.hidden[0].w.copy()
    w[:, 7] = -1.0  # never spikes
    w[11, :] = -1.0  # comes last, and lets nothing spike
    late = [(k, 11) for k in (100, 110)]
    stamps = [(k, c) for k, c in case.samples[0] if c not in (3, 11) and k < 60]
    case = replace(case, samples=([*stamps, *late],)).edited("hidden0", w=w)
    engine = case.engine()
    result, g = case.learn(engine), gradients_of(engine)
    assert result.spike_counts[0, 7] == 0 and engine.spikes(0, "hidden0")[0].max() < 100
    assert not g["in_to_hid"][3].any() and not g["in_to_hid"][11].any()
    assert not g["in_to_hid"][:, 7].any() and not g["hid_to_out"][7].any()
    assert not g["hidden0.tau_mem"][7] and not g["hidden0.tau_syn"][7]
    assert np.count_nonzero(g["in_to_hid"]) > 300


@pytest.mark.parametrize("timing", TIMINGS)
def test_no_error_reaches_hidden_neurons_where_all_classes_are_alike(timing: str) -> None:
    """Softmax sum rule: the errors of the classes cancel. Fails if one class's drive is off."""
    case = plain(timing)
    w = case.net.output.w.copy()
    w[:] = w[:, :1]
    g = case.edited("output", w=w).gradients()
    assert np.abs(g["hid_to_out"]).max() > 1e-3
    assert np.abs(g["in_to_hid"]).max() < 1e-12 * np.abs(g["hid_to_out"]).max()


def test_regularisation_pushes_towards_the_target() -> None:
    """Fails if the sign or size of the regularisation is wrong: with silent read-out weights and one spike it is the
    whole gradient, tau_mem f(lag) jump, with f the response of V to a unit of current."""
    hidden = oracle.Layer(np.array([[10.0]]), 20.0, 5.0)
    net = oracle.Network((hidden,), oracle.Layer(np.zeros((1, 2)), 20.0, 5.0, v_thresh=np.inf), 100.0)
    for nu, lbd in ((0.25, 2.0), (3.0, 0.5)):
        strengths = {"lbd_upper": 2.0, "lbd_lower": 0.5, "nu_upper": nu}
        case = Case(net, ([(9, 0)],) * 4, np.zeros(4, np.int32), 0.5, "sum", "shared", "simple", strengths)
        engine = case.engine()
        found = case.gradients(engine)["in_to_hid"][0, 0]
        lag = 0.5 * (int(engine.spikes(0, "hidden0")[0][0]) - 10)  # to the step in which it spikes, where it jumps
        assert found == pytest.approx(20.0 * oracle.response(lag, 20.0, 5.0) * lbd * (1 - nu), rel=1e-12)
        assert np.sign(found) == np.sign(1 - nu)


def test_untrained_time_constants_of_their_own() -> None:
    """Fails if constants of one neuron are used for another where nothing is collected (hetLIF, hetLI)."""
    case, expected = clear(lambda seed: random_case(seed, "hetLIF", "max", sizes=(70, 40), taus="own"), 1e-9)
    engine = case.engine()
    found = differences(expected, engine, case.learn(engine))
    assert max(found.values()) < 2e-7, found


def test_adaptation_with_shared_time_constants() -> None:
    """Fails if ALIF neurons need time constants of their own to be right."""
    case, expected = clear(
        lambda seed: adaptive(replace(plain("grid"), samples=random_case(seed).samples), b_incr=0.2), 1e-9
    )
    engine = case.engine()
    found = differences(expected, engine, case.learn(engine))
    assert max(found.values()) < 2e-7, found


def test_delayed_copies_are_more_inputs() -> None:
    """Fails if a copy of the input differs, to the bit, from an input of its own that comes later."""
    case = random_case(9, "LIF", "sum", sizes=(40,), copies=3, delay_steps=11)
    ends = case.num_steps - 1
    samples = [
        sorted((k + 11 * i, 12 * i + c) for k, c in own for i in range(3) if k + 11 * i < ends) for own in case.samples
    ]
    expanded = replace(case, samples=tuple(samples), copies=1, delay_steps=0)
    found, expected = case.gradients(), expanded.gradients()
    assert max(relative(found[name], g) for name, g in expected.items()) < 1e-13
