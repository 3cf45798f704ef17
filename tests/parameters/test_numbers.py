"""Numbers at the edges of single precision: whatever a key may be gives finite results, or an error that names it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import models
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.parameters.declaration import LARGEST, Key
from eventprop.parameters.shd import resolve_shd
from eventprop.parameters.yinyang import KEYS
from eventprop.training.optimiser import AdamSettings, adam_parameters
from eventprop.training.trainer import TrainingDiverged
from simulator_yinyang import p as YINYANG
from simulator_yinyang import yinyang
from tests.backends.cpu.test_engine import same
from tests.support.small import Case, gradients_of, random_case

BETAS = [
    (0.9, 0.999),
    (0.0, 0.0),
    (1e-20, 5e-324),
    (0.9999999, 0.9999999),
    (0.99999999, 0.99999999),
    (0.9, 1.0 - 1e-12),
    (math.nextafter(1.0, 0.0), math.nextafter(1.0, 0.0)),
]
EPSILONS = [1e-8, 0.0, 1e-50, 1e-42, 1e9]


def adam(
    values: dict[str, np.ndarray], gradients: dict[str, np.ndarray], s: AdamSettings, rate: float, updates: int
) -> dict[str, np.ndarray]:
    """Values after some updates with the same gradients, in double precision; where there is no gradient none."""
    expected = {}
    one = np.longdouble(1.0)
    rest1, rest2 = one - np.longdouble(s.adam_beta1), one - np.longdouble(s.adam_beta2)
    for name, w in values.items():
        w, g = w.astype(np.longdouble), gradients[name].astype(np.longdouble)
        m, v = np.zeros_like(g), np.zeros_like(g)
        for number in range(1, updates + 1):
            m, v = (one - rest1) * m + rest1 * g, (one - rest2) * v + rest2 * g * g
            left1, left2 = _left(rest1, number), _left(rest2, number)
            with np.errstate(invalid="ignore"):
                step = rate * (m / left1) / (np.sqrt(v / left2) + np.longdouble(s.adam_eps))
            w = w - np.where(g == 0, 0, step)
        expected[name] = w.astype(float)
    return expected


def _left(rest: np.longdouble, s: int) -> np.longdouble:
    """1 - (1 - rest)^s, without cancellation."""
    return rest * sum((np.longdouble(1.0) - rest) ** i for i in range(s))


def case_with_silence() -> Case:
    """One whose first input never spikes."""
    own = random_case(3, "LIF", sizes=(9,), n=3)
    return replace(own, samples=tuple([(k, i) for k, i in sample if i != 0] for sample in own.samples))


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize(("beta1", "beta2"), BETAS)
def test_adam_for_any_decay_and_epsilon(beta1: float, beta2: float, epsilon: float) -> None:
    """Fails if 1 - beta is taken in single precision: the first step is 8 % too small for 0.9999999 and 84 times too
    large for another 9; or if there are updates, or 0 / 0, where there never was a gradient."""
    own = case_with_silence()
    engine = own.engine(1, "float")
    own.learn(engine)
    before, gradients = engine.weights(), gradients_of(engine)
    settings = AdamSettings(beta1, beta2, epsilon)
    rate = 1e-2 * max(1.0, epsilon)
    for s in range(1, 6):
        engine.update(adam_parameters(settings, rate, s))
        for name, w in adam(before, gradients, settings, rate, s).items():
            found = engine.weights()[name]
            large = np.abs(gradients[name]) > 1e-10  # the squares of others vanish in single precision
            assert np.allclose(found[large], w[large], rtol=1e-6, atol=1e-6 * 1e-2), (s, name)
            assert np.isfinite(found).all() and np.abs(found - before[name]).max() < 1.1e-2 * s
            assert np.array_equal(found[gradients[name] == 0], before[name][gradients[name] == 0])
    assert (gradients["in_to_hid"][0] == 0).all() and (gradients["in_to_hid"] != 0).any()
    assert not same(engine.weights(), before)


def test_adams_averages_over_many_updates() -> None:
    """Fails if its averages stay, or run away, where a decay is rounded to 1: after as many updates as their memory is
    long they are at 1 - 1/e of what they tend to."""
    own = case_with_silence()
    engine = own.engine(1, "float")
    own.learn(engine)
    gradients = gradients_of(engine)["hid_to_out"].astype(float)
    for s in range(1, 10001):
        engine.update(adam_parameters(AdamSettings(1 - 1e-4, 1 - 1e-4, 1e-8), 0.0, s))
    state = engine.optimiser_state()
    assert np.allclose(state["m"]["hid_to_out"], (1 - np.exp(-1)) * gradients, rtol=2e-3)
    assert np.allclose(state["v"]["hid_to_out"], (1 - np.exp(-1)) * gradients**2, rtol=2e-3)


def test_corrections() -> None:
    """Both to the last digits, near 1 and for late updates."""
    for beta, step in ((0.9, 1), (0.9, 1000), (0.0, 3), (1 - 1e-12, 5), (math.nextafter(1.0, 0.0), 7)):
        rest = 1.0 - beta
        values = adam_parameters(AdamSettings(beta, beta, 0.0), 1.0, step)
        expected = 1.0 / float(_left(np.longdouble(rest), step))
        assert values["rest1"] == values["rest2"] == rest
        assert values["correction1"] == values["correction2"] == pytest.approx(expected, rel=1e-14)
    assert set(values) == set(models.ADAM.parameters)


SMALL: dict[str, Any] = {"N_TRAIN": 24, "N_VALIDATE": 8, "N_TEST": 8, "N_BATCH": 8, "N_EPOCH": 3, "NUM_HIDDEN": 12}
SMALL |= {"NUM_THREADS": 1, "BACKEND": "cpu", "MODEL_SEED": 1, "TIMING": False, "WRITE_TO_DISK": False, "DT_MS": 0.5}
SMALL |= {"EMA_WHICH": "training", "MIN_EPOCH_ETA_FIXED": 0, "INPUT_HIDDEN_MEAN": 3.0}
ALL_TRAINED = {"TRAIN_TAU": True, "TRAIN_TAU_B": True, "TRAIN_TAU_OUTPUT": True}
EVERYTHING = {"HIDDEN_NEURON_TYPE": "ALIF", "LOSS_TYPE": "first_spike_exp", "REG_TYPE": "Thomas1", "N_HID_LAYER": 2}
EVERYTHING |= {"RECURRENT": True, "N_INPUT_DELAY": 2, "HIDDEN_NOISE": 0.1, "PDROP_HIDDEN": 0.1, "REWIRE_SILENT": True}
EVERYTHING |= {**ALL_TRAINED, "LR_EASE_IN_FACTOR": 1.5, "HIDDEN_HIDDENFWD_MEAN": 1.0}
EXACT = {**ALL_TRAINED, "SPIKE_TIMING": "exact", "HIDDEN_NEURON_TYPE": "ALIF", "LOSS_TYPE": "sum_weigh_input"}
EXACT |= {"REG_TYPE": "Thomas1", "GRAD_CLIP": 1.0, "REWIRE_SILENT": True}
FLOATS = [key for key in KEYS if key.kind == "float"]


def extremes(key: Key) -> Iterator[float]:
    """The ends of what is allowed, and numbers that single precision does not have."""
    yield from (1e300, -1e300, 5e-324, 1e-40, 1e-20, LARGEST, -LARGEST, 1.0 / LARGEST)
    for end, inwards in ((key.least, 0), (key.most, 0), (key.above, math.inf), (key.below, -math.inf)):
        if end is not None:
            yield math.nextafter(end, inwards) if inwards else end


@pytest.mark.filterwarnings("ignore::UserWarning")  # of networks in which nothing spikes
@pytest.mark.parametrize("base", [EVERYTHING, pytest.param(EXACT, marks=pytest.mark.long)], ids=["grid", "exact"])
@pytest.mark.parametrize("key", FLOATS, ids=lambda key: key.name)
def test_every_number_at_its_extremes(key: Key, base: dict[str, Any]) -> None:
    """Fails if a number that is declared valid makes results that are not finite, or is an error that does not name it,
    or, where it is activity or gradients that run away, one that does not say what may help."""
    for value in extremes(key):
        try:
            p = {**YINYANG, **SMALL, **base, key.name: value}
            mn = yinyang(p)
            mn.train(p)
        except TrainingDiverged as error:
            assert "may help" in str(error)
            continue
        except ValueError as error:
            assert key.name in str(error), value
            continue
        assert all(np.isfinite(row["train_loss"]) and np.isfinite(row["learning_rate"]) for row in mn.history), value
        assert all(np.isfinite(w).all() for w in mn.weights().values()), value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"V_RESET": -1e300}, "V_RESET must be at least -1e+09, got -1e+300"),
        ({"MIN_DENOMINATOR": 1e300}, "MIN_DENOMINATOR must be at most 1e+09, got 1e+300"),
        ({"MIN_DENOMINATOR": 1e-300}, "MIN_DENOMINATOR=1e-300 is too small; it must be 0, for none, or at least 1e-09"),
        ({"GRAD_CLIP": 1e-300}, "GRAD_CLIP=1e-300 is too small"),
        ({"ADAM_EPS": 1e30}, "ADAM_EPS must be at most 1e+09"),
        ({"INPUT_HIDDEN_MEAN": -1e38}, "INPUT_HIDDEN_MEAN must be at least -1e+09"),
        ({"TAU_MEM": 1e39}, "TAU_MEM must be at most 1e+09"),
        ({"TAU_0": 1e-39}, "TAU_0 must be at least 1e-09"),
        ({"TRAIN_TAU": True, "MIN_TAU_SYN": 0.019}, "MIN_TAU_SYN=0.019 is far below DT_MS=1; it must be at least 0.02"),
        ({"LOSS_TYPE": "first_spike_exp", "TAU_1": 20.0}, "TAU_1=20 makes the penalty exp(TRIAL_MS / TAU_1) too large"),
        (
            {"LOSS_TYPE": "first_spike", "TRIAL_MS": 3e-5, "DT_MS": 1e-5, "ALPHA": 1.0},
            "ALPHA=1 is too large for a trial",
        ),
    ],
)
def test_what_single_precision_does_not_hold_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        resolve_shd(change)
    assert str(error.value).startswith(message)


def test_a_rate_that_grows_beyond_all_numbers() -> None:
    """A decay above 1 is for those who know how many epochs it is for."""
    p = {**YINYANG, "ETA_DECAY": 2.0, "N_EPOCH": 30}
    assert yinyang(p).p["ETA_DECAY"] == 2.0
    with pytest.raises(ValueError, match=r"ETA_DECAY=2 makes ETA=0.005 larger than 1e\+09 within N_EPOCH=100 epochs"):
        yinyang({**p, "N_EPOCH": 100})


def test_a_gradient_whose_square_overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if it is learned from: Adam's mean of squares would be infinite, and these weights never learn again."""
    asked = []
    monkeypatch.setattr(CpuEngine, "gradient_norm", lambda _, enough: asked.append(enough) or 1e19)
    monkeypatch.setattr(CpuEngine, "update", lambda *_: pytest.fail("it was learned"))
    p = {**YINYANG, **SMALL}
    with pytest.raises(TrainingDiverged, match=r"norm is 1e\+19 in epoch 0, batch 0.*GRAD_CLIP"):
        yinyang(p).train(p)
    assert asked.pop() == 1e18  # without GRAD_CLIP any norm up to this one is as good as another
    monkeypatch.setattr(CpuEngine, "update", lambda self, parameters, factor, rate: pytest.approx(1e-19, factor))
    p["GRAD_CLIP"] = 1.0
    yinyang(p).train(p)
    assert set(asked) == {0.0}
