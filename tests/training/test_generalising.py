"""Means of generalisation: a rate that falls by a cosine, averages of what is trained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eventprop.network import DELAY
from eventprop.training import checkpoint, trainer
from eventprop.training.averaging import Average
from eventprop.training.checkpoint import TrainingState
from eventprop.training.schedule import LearningRate, RateSettings
from simulator_SHD import SHD_model
from simulator_yinyang import yinyang
from tests.training.test_going_on import changed, files_of, run
from tests.training.test_going_on import p as tiny

UPDATES = 2  # of an epoch of these runs
AVERAGED = {"AVERAGE_WEIGHTS": 0.8, "ETA": 0.02}
COSINE = {"ETA_SCHEDULE": "cosine", "ETA_END": 0.1, "LR_EASE_IN_FACTOR": None}

Arrays = dict[str, np.ndarray]


def same(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def share(update: int, updates: int) -> float:
    """The cosine by hand, with a tenth left."""
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * update / updates))


def noting(monkeypatch: pytest.MonkeyPatch, note: Callable[[Any, Any], None]) -> None:
    """Call ``note`` with the engine and what it is told, after each update of a run."""
    learn = trainer._learn

    def then(engine: Any, settings: Any, state: Any, where: str) -> None:
        update, told = engine.update, []
        engine.update = lambda *given: (told.append(given), update(*given))
        learn(engine, settings, state, where)
        del engine.update
        note(engine, told[0])

    monkeypatch.setattr(trainer, "_learn", then)


# The cosine


def test_the_cosine_by_hand() -> None:
    """From all of the rate to the share that it ends with; ease-in and cuts stay what they are. Other schedules: 1."""
    s = RateSettings(1.0, 2.0, 0.8, 0.9, 0.5, 300, eta_delay=3.0, eta_schedule="cosine", eta_end=0.2)
    assert [s.share(x) for x in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.6, 0.2])
    rate = LearningRate(nominal=1.0, working=0.25)
    assert (rate.at(s, 0.5), rate.of_delays(s, 0.5)) == pytest.approx((0.15, 0.45))
    assert RateSettings(1.0, 2.0, 0.8, 0.9, 0.5, 300).share(0.7) == 1.0


def test_the_rate_falls_update_by_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if it is that of whole epochs, of another number of updates, or does not come down to its end."""
    rates: list[float] = []
    noting(monkeypatch, lambda engine, told: rates.append(told[0]["rate"]))
    mn = run(N_EPOCH=3, **COSINE)
    expected = [tiny()["ETA"] * share(k, 3 * UPDATES) for k in range(3 * UPDATES)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert [r["learning_rate"] for r in mn.history] == rates[UPDATES - 1 :: UPDATES]


def test_a_run_that_goes_on_follows_the_curve_that_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same N_EPOCH, the bits of an unbroken run; with another, also by CONTINUE, a warning, and from there on
    the curve of a run that is as long as all of it."""
    run(N_EPOCH=4, OUT_DIR="whole", **COSINE)
    learn: Any = trainer._learn

    def stops(engine: Any, settings: Any, state: Any, where: str) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt
        learn(engine, settings, state, where)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_learn", stops)
        with pytest.raises(KeyboardInterrupt):
            run(N_EPOCH=4, **COSINE)
    run(N_EPOCH=4, LOAD_LAST=True, NUM_THREADS=2, **COSINE)
    assert files_of("out") == files_of("whole")
    mn = yinyang(tiny(**COSINE, NAME="on"))
    mn.train(tiny(**COSINE, NAME="on"))
    with pytest.warns(UserWarning, match="N_EPOCH 2 -> 3"):
        mn.train(tiny(**COSINE, NAME="on", N_EPOCH=1, CONTINUE=True))
    last = tiny()["ETA"] * share(3 * UPDATES - 1, 3 * UPDATES)
    assert mn.history[-1]["learning_rate"] == pytest.approx(last)
    with pytest.warns(UserWarning, match="N_EPOCH 3 -> 6"):
        mn = run(**COSINE, NAME="on", N_EPOCH=6, LOAD_LAST=True)
    assert mn.history[3]["learning_rate"] == pytest.approx(tiny()["ETA"] * share(4 * UPDATES - 1, 6 * UPDATES))


def test_the_end_of_no_cosine_is_told() -> None:
    with pytest.warns(UserWarning, match='ETA_END=0.5 has no effect without ETA_SCHEDULE="cosine"'):
        yinyang(tiny(ETA_END=0.5))


# Averages


def test_the_average_by_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each update weighs 0.8 times what the next one does, and what training began with nothing. Fails, too, if
    training goes on with the average, or anything else than that is evaluated or saved."""
    live: list[Arrays] = []
    noting(monkeypatch, lambda engine, _: live.append(engine.weights()))
    mn = run(N_EPOCH=3, **AVERAGED)
    plain = run(N_EPOCH=3, NAME="plain", ETA=AVERAGED["ETA"])
    assert same(mn.weights(live=True), plain.weights()) and same(plain.weights(live=True), plain.weights())
    ages = np.arange(3 * UPDATES)[::-1]
    for name, w in mn.weights().items():
        every = np.stack([weights[name] for weights in live[: 3 * UPDATES]]).astype(float)
        expected = np.average(every, axis=0, weights=0.8**ages)
        np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-6)
        assert np.abs(w - plain.weights()[name]).max() > 1e-3
    assert np.array_equal(np.load("out/k_w_input_hidden_last.npy"), mn.weights()["in_to_hid"].ravel())


def test_evaluations_are_of_the_average(p: dict[str, Any]) -> None:
    """Fails if validation, a test of the object or one of its checkpoint see the live weights."""
    p |= {**AVERAGED, "N_EPOCH": 2, "CHECKPOINT_BEST": "validation", "N_TRAIN": 48, "TIMING": False}
    mn = SHD_model(p)
    mn.train(p)
    validated = mn.evaluated
    assert validated is not None
    scores = mn.scores(p, validated[0])
    given = SHD_model(p)
    given.set_weights(mn.weights())
    assert np.array_equal(given.scores(p, validated[0]), scores)
    given.set_weights(mn.weights(live=True))
    assert not np.array_equal(given.scores(p, validated[0]), scores)
    assert np.array_equal(validated[1].predictions, scores.argmax(axis=1))
    for load in ({}, {"LOAD_LAST": True}):
        mn.test({**p, **load})
        assert mn.evaluated is not None
        mine = mn.evaluated[1].loss
        given.set_weights(mn.weights())
        given.test(p)
        assert given.evaluated is not None and np.array_equal(given.evaluated[1].loss, mine)


DELAYED = {"INPUT_HIDDEN_DELAY_MAX": 60.1, "INPUT_HIDDEN_DELAY_UNIFORM": [0.0, 60.1], "TRAIN_DELAYS": ["INPUT_HIDDEN"]}
DELAYED |= {"HIDDEN_HIDDEN_DELAY_MAX": 30.0, "HIDDEN_HIDDEN_DELAY_MEAN": 10.0, "HIDDEN_HIDDEN_DELAY_STD": 8.0}
TAUS = {"TRAIN_TAU": True, "TRAIN_TAU_OUTPUT": True, "NUM_HIDDEN": 20, "RECURRENT": False, "TAU_SYN": 10.0}


@pytest.mark.parametrize("change", [{**DELAYED, "ETA_DELAY": 20.0}, TAUS], ids=["delays", "time constants"])
def test_all_that_is_trained_is_averaged_and_goes_on(p: dict[str, Any], change: dict[str, Any]) -> None:
    """One epoch, a stop, and another one: the bits of an unbroken run, by any number of threads, and live those of a
    run without an average. Delays and time constants keep their bounds."""
    p |= {**change, **AVERAGED, **COSINE, "N_TRAIN": 48, "TIMING": False, "NUM_THREADS": 1, "ETA": 0.05}
    whole, plain, parts = (SHD_model({**p, "NAME": name}) for name in ("whole", "plain", "parts"))
    whole.train({**p, "NAME": "whole", "N_EPOCH": 2})
    plain.train({**p, "NAME": "plain", "N_EPOCH": 2, "AVERAGE_WEIGHTS": 0.0})
    parts.on_epoch = [lambda *_: True]
    parts.train({**p, "NAME": "parts", "N_EPOCH": 2})
    parts = SHD_model(p)
    parts.train({**p, "NAME": "parts", "N_EPOCH": 2, "LOAD_LAST": True, "NUM_THREADS": 2})
    for live in (False, True):
        assert same(parts._synaptic(live), whole._synaptic(live)) and same(parts.delays(live), whole.delays(live))
        for q, values in whole.time_constants(live).items():
            assert same(parts.time_constants(live)[q], values)
    assert same(whole._synaptic(live=True), plain._synaptic())
    assert [r["eval_loss"] for r in parts.history] == [r["eval_loss"] for r in whole.history]
    trained = {name: (d, whole.delays(live=True)[name]) for name, d in whole.delays().items()}
    taus = whole.time_constants(live=True)
    trained |= {f"{q} {n}": (a, taus[q][n]) for q, v in whole.time_constants().items() for n, a in v.items()}
    moved = {name for name, (mean, now) in trained.items() if not np.array_equal(mean, now)}
    assert moved == ({f"{q} tau_{n}" for q in taus for n in ("mem", "syn")} if change is TAUS else {"in_to_hid"})


class Weights:
    """An engine that has weights and time constants alone, and is not asked for anything else."""

    def __init__(self, w: float, tau: float) -> None:
        self.set_weights({"a": np.full(3, w, np.float32), f"a{DELAY}": np.full(3, tau, np.float32)})
        self.set_time_constants({"q": {"tau": np.full(3, tau, np.float32)}})

    def set_weights(self, weights: Arrays) -> None:
        self._weights = {name: w.copy() for name, w in weights.items()}

    def set_time_constants(self, values: dict[str, Arrays]) -> None:
        self._values = {q: {n: a.copy() for n, a in own.items()} for q, own in values.items()}

    def weights(self) -> Arrays:
        return {name: w.copy() for name, w in self._weights.items()}

    def time_constants(self) -> dict[str, Arrays]:
        return {q: {n: a.copy() for n, a in own.items()} for q, own in self._values.items()}


def of(engine: Any) -> TrainingState:
    return TrainingState(engine.weights(), {}, LearningRate(1.0, 1.0), time_constants=engine.time_constants())


def test_what_is_read_stands_for_the_updates_since_the_last_reading() -> None:
    """With a decay of 0.99 weights are read after each fifth update and after the last one of an epoch; what lies at a
    bound does not leave it by rounding."""
    engine: Any = Weights(100.0, 3.3)
    state, read = of(engine), [(5, 1.0), (10, 4.0), (12, 9.0)]
    average = Average(0.99, state)
    average.begin(engine)
    for update in range(1, 13):
        engine.set_weights({**engine.weights(), "a": np.full(3, dict(read).get(update, 1e9), np.float32)})
        average.after_update(engine)
    average.end(engine, state)
    weights = [0.99**7 * (1 - 0.99**5), 0.99**2 * (1 - 0.99**5), 1 - 0.99**2]
    expected = np.average([w for _, w in read], weights=weights)
    assert engine.weights()["a"] == pytest.approx(np.full(3, expected))
    assert average.live is not None and (average.live.weights["a"] == 9.0).all() and average.live.updates == 12
    assert (engine.weights()[f"a{DELAY}"] == np.float32(3.3)).all()
    assert (engine.time_constants()["q"]["tau"] == np.float32(3.3)).all()


def test_without_an_average_weights_are_not_even_read() -> None:
    """Fails if a run that does not ask for it pays for it."""
    average = Average(0.0, of(Weights(1.0, 2.0)))
    nothing: Any = SimpleNamespace()
    average.begin(nothing)
    average.after_update(nothing)
    average.end(nothing, of(Weights(1.0, 2.0)))
    assert average.live is None


def test_it_can_be_switched_on_and_off_when_going_on() -> None:
    """A warning says so; the average begins with the first update that it sees, and ends with the last one."""
    plain = run(N_EPOCH=3, ETA=0.02, NAME="plain")
    run(N_EPOCH=1, ETA=0.02)
    with pytest.warns(UserWarning, match="AVERAGE_WEIGHTS 0.0 -> 0.8"):
        on = run(N_EPOCH=2, LOAD_LAST=True, **AVERAGED)
    state, _ = checkpoint.load(Path("out/k_state_last.npz"), on._network)
    assert state.live is not None and state.live.updates == UPDATES and same(state.live.weights, on.weights(live=True))
    with pytest.warns(UserWarning, match="AVERAGE_WEIGHTS 0.8 -> 0.0"):
        off = run(N_EPOCH=3, ETA=0.02, LOAD_LAST=True)
    assert same(off.weights(), plain.weights())
    assert checkpoint.load(Path("out/k_state_last.npz"), off._network)[0].live is None


def test_the_same_object_goes_on_with_the_live_weights() -> None:
    """Fails if CONTINUE takes the average for them, or what was set is taken for trained."""
    whole = run(N_EPOCH=3, NAME="whole", **AVERAGED)
    mn = run(N_EPOCH=2, **AVERAGED)
    mn.train(tiny(N_EPOCH=1, CONTINUE=True, **AVERAGED))
    assert same(mn.weights(), whole.weights()) and same(mn.weights(live=True), whole.weights(live=True))
    mn.set_weights(mn.weights())
    assert same(mn.weights(live=True), mn.weights())


def test_a_checkpoint_without_an_average_is_what_it_was() -> None:
    run(N_EPOCH=1)
    with np.load("out/k_state_last.npz") as file:
        meta = json.loads(str(file["meta"]))
        assert meta["format"] == 3 and "live" not in meta and not [n for n in file.files if n.startswith("live")]


@pytest.mark.parametrize(
    "code",
    [
        "meta.pop('live')",
        "meta.update(live='2')",
        "meta.update(live=-2)",
        "arrays.pop('live/w/in_to_hid')",
        "arrays.update({'live/w/in_to_hid': arrays['w/in_to_hid'].T})",
        "arrays.update({'live/w/in_to_hid': arrays['w/in_to_hid'] * np.nan})",
        "arrays.update({'live/w/in_to_hid': arrays['w/in_to_hid'].astype(int)})",
    ],
)
def test_live_weights_of_another_form_are_named(code: str) -> None:
    """One error with the file's name, and nothing is written; the average that is there can still be tested."""
    mn = run(N_EPOCH=1, **AVERAGED)
    path = Path("out/k_state_last.npz")
    changed(path, lambda meta, arrays: exec(code, {"meta": meta, "arrays": arrays, "np": np}))
    before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
    with pytest.raises(ValueError, match=r"^out/k_state_last\.npz"):
        run(N_EPOCH=2, LOAD_LAST=True, **AVERAGED)
    assert {file.name: file.read_bytes() for file in Path("out").iterdir()} == before
    if code.startswith("arrays"):
        mn.test(tiny(LOAD_LAST=True, WRITE_TO_DISK=False))


# Decay of weights


@pytest.mark.parametrize("change", [DELAYED, TAUS, {**TAUS, "TRAIN_W": False}], ids=["delays", "taus", "frozen"])
def test_an_update_takes_its_share_of_each_trained_weight(p: dict[str, Any], change: dict[str, Any]) -> None:
    """One update: the rate times the decay of what a weight was, besides what Adam makes of it. Fails if Adam sees it,
    or if delays, time constants or weights that are not trained decay."""
    p |= {**change, "N_EPOCH": 1, "N_TRAIN": 16, "N_VALIDATE": 1, "ETA": 0.01, "LR_EASE_IN_FACTOR": None}
    p |= {"WRITE_TO_DISK": False, "TIMING": False}
    mn = SHD_model(p)
    start = mn.weights()
    mn.train(p)
    weights, delays, taus = mn.weights(), mn.delays(), mn.time_constants()
    mn.train({**p, "WEIGHT_DECAY": 0.5})
    assert same(mn.delays(), delays) and all(same(own, taus[q]) for q, own in mn.time_constants().items())
    for name, w in mn.weights().items():
        share = 0.5 * 0.01 if p["TRAIN_W"] or name == "hid_to_out" else 0.0
        np.testing.assert_allclose(w - weights[name], -share * start[name], rtol=1e-4, atol=3e-7)
        assert (np.abs(w - weights[name]).max() > 1e-5) == (share > 0.0)


def test_a_decay_that_takes_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"WEIGHT_DECAY=200 times ETA=0\.01 takes all of a weight off.*below 100"):
        yinyang(tiny(WEIGHT_DECAY=200, ETA=0.01))
