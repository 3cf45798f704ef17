"""The object as people know it from other libraries: it goes on, calls back, stops early, shows itself, can be sent."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventprop
import simulator_yinyang
from eventprop.backends.cpu import compiler
from eventprop.data.splits import Subset
from eventprop.simulators.choosing import is_done
from eventprop.simulators.registry import BENCHMARKS
from simulator_yinyang import yinyang

SMALL: dict[str, Any] = {"N_TRAIN": 96, "N_VALIDATE": 32, "N_TEST": 32, "N_EPOCH": 2, "NUM_HIDDEN": 10, "DT_MS": 1.0}
SMALL |= {"MODEL_SEED": 1, "NUM_THREADS": 1, "TIMING": False, "NAME": "k", "OUT_DIR": "out", "ETA": 0.01}
X = [{"x": [0, 1, 2, 3, 4], "t": [1.0, 5.0, 10.0, 15.0, 20.0]}]


def p(**change: Any) -> dict[str, Any]:
    return {**simulator_yinyang.p, **SMALL, **change}


def trained(**change: Any) -> yinyang:
    mn = yinyang(p(**change))
    mn.train(p(**change))
    return mn


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def rows(name: str = "k", folder: str = "out") -> list[list[str]]:
    """The lines of the results, but for the time."""
    lines = [line.split(",") for line in Path(folder, f"{name}_results.csv").read_text().splitlines()]
    time = lines[0].index("seconds")
    return [[cell for n, cell in enumerate(line) if n != time] for line in lines]


# Another training of the same object


@pytest.mark.parametrize("kept", [{}, {"WRITE_TO_DISK": False}, {"CHECKPOINT": False}])
def test_a_second_train_goes_on(kept: dict[str, Any]) -> None:
    """N_EPOCH epochs more, to the bits, the recordings and the files of an unbroken run; fails if moments, the rate or
    the streams of epochs start anew."""
    record = {"REC_SPIKES": ["hidden"], "REC_SPIKES_EPOCH_TRIAL": [[0, 0], [3, 1]], **kept}
    mn = trained(**record)
    result = mn.train(p(CONTINUE=True, **record))
    whole = yinyang(p(N_EPOCH=4, OUT_DIR="whole", **record))
    expected = whole.train(p(N_EPOCH=4, OUT_DIR="whole", **record))
    assert equal(mn.weights(), whole.weights()) and [r["epoch"] for r in mn.history] == [0, 1, 2, 3]
    assert equal(result.spike_t, expected.spike_t) and result.correct == expected.correct
    if not kept:
        assert rows() == rows(folder="whole")
        saved = json.loads(Path("out/k.json").read_text())
        assert (saved["N_EPOCH"], saved["CONTINUE"]) == (4, False)  # which repeats the whole run


def test_without_continue_it_starts_anew() -> None:
    mn = trained()
    first = mn.weights()
    mn.train(p())
    assert equal(mn.weights(), first) and len(mn.history) == 2


def test_other_weights_end_what_would_go_on() -> None:
    mn = trained()
    given = {name: w + 0.25 for name, w in mn.weights().items()}
    mn.set_weights(given)
    mn.train(p(CONTINUE=True, ETA=1e-9, N_EPOCH=1))
    assert len(mn.history) == 1 and all(np.allclose(w, given[name], atol=1e-6) for name, w in mn.weights().items())


def test_going_on_with_others_settings_is_told_and_with_another_network_refused() -> None:
    mn = trained()
    with pytest.warns(UserWarning, match=r"those of this object's last training.*ETA 0.01 -> 0.02"):
        mn.train(p(CONTINUE=True, ETA=0.02, NAME="other"))
    assert [row[1] for row in rows("other")[1:]] == ["2", "3"] and len(rows()) == 3
    with pytest.raises(ValueError, match=r"another network.*make a new object"):
        mn.train(p(CONTINUE=True, NUM_HIDDEN=11))


def test_what_was_stopped_can_go_on() -> None:
    """Ctrl-C in a notebook: the object has the last whole epoch."""

    def stop(mn: Any, record: dict[str, Any]) -> None:
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    mn = yinyang(p(N_EPOCH=9))
    mn.on_epoch.append(stop)
    with pytest.raises(KeyboardInterrupt):
        mn.train(p(N_EPOCH=9))
    mn.on_epoch.clear()
    mn.train(p(CONTINUE=True))
    assert equal(mn.weights(), trained(N_EPOCH=4, OUT_DIR="whole").weights())


# What is called after each epoch, and an early end


def test_on_epoch_sees_each_epoch_and_can_end_it() -> None:
    seen: list[tuple[int, float, int]] = []

    def watch(mn: Any, record: dict[str, Any]) -> bool:
        seen.append((record["epoch"], float(np.abs(mn.weights()["in_to_hid"]).sum()), len(rows()) - 1))
        assert mn.predict(p(), X).scores.shape == (1, 3)
        return record["epoch"] == 2

    mn = yinyang(p(N_EPOCH=9))
    mn.on_epoch.append(watch)
    mn.train(p(N_EPOCH=9))
    assert [(epoch, lines) for epoch, _, lines in seen] == [(0, 1), (1, 2), (2, 3)] and len(mn.history) == 3
    assert len({weights for _, weights, _ in seen}) == 3  # those of its epoch
    assert equal(mn.weights(), trained(N_EPOCH=3, OUT_DIR="whole").weights())


def test_early_stopping(capsys: pytest.CaptureFixture[str]) -> None:
    """Ends when validation has not been better for so many epochs; a resumed run ends where an unbroken one does."""
    mn = trained(N_EPOCH=20, EARLY_STOPPING=2, ETA=1e-9)
    assert len(mn.history) == 3 and "EARLY_STOPPING=2" in capsys.readouterr().out
    mn = trained(N_EPOCH=20, EARLY_STOPPING=2, ETA=1e-9, LOAD_LAST=True)
    assert len(mn.history) == 3 and "(EARLY_STOPPING) are done" in capsys.readouterr().out
    history = [{"eval_accuracy": a} for a in (0.5, 0.7, 0.7, 0.6)]
    assert [is_done(history[:n], 2) for n in range(5)] == [False, False, False, False, True]
    assert not is_done(history, None) and not is_done([{"eval_accuracy": float("nan")}] * 9, 1)
    with pytest.raises(ValueError, match="EARLY_STOPPING=1 would choose the last epoch by test data"):
        mn.train_test(p(EARLY_STOPPING=1))
    with pytest.raises(ValueError, match="EARLY_STOPPING=1 needs validation samples"):
        trained(EARLY_STOPPING=1, N_VALIDATE=0)


# What it says and shows


def test_verbose(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """0: nothing, not even that an engine is built; 1: lines without a bar on a terminal; warnings are always there."""
    monkeypatch.setenv("EVENTPROP_CACHE", "empty")
    monkeypatch.setattr(compiler, "_FLAGS", [flag.replace("-O3", "-O0") for flag in compiler._FLAGS])  # quickly
    mn = trained(VERBOSE=0, NUM_HIDDEN=9)
    mn.test(p(VERBOSE=0, NUM_HIDDEN=9))
    assert capfd.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="nothing is learned"):
        trained(VERBOSE=0, ETA=0.0)
    for verbose, bar in ((1, False), (2, True)):
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        with redirect_stderr(terminal):
            trained(VERBOSE=verbose)
        assert bool(re.search(r"\d%", terminal.getvalue())) is bar and "epoch 2/2" in capfd.readouterr().out


def test_summary_and_repr(capsys: pytest.CaptureFixture[str]) -> None:
    change = {"N_HID_LAYER": 2, "HIDDEN_NEURON_TYPE": "ALIF", "TRAIN_TAU": True, "HIDDEN_HIDDENFWD_MEAN": 5.0}
    mn = yinyang(p(**change))
    parts = "5 channels -> 10 ALIF -> 10 ALIF -> 3 LIF"
    assert repr(mn) == f"<yinyang on Yin-Yang: {parts}, loss first_spike; not trained; out/k>"
    mn.train(p(**change))
    capsys.readouterr()
    mn.summary()
    shown = capsys.readouterr().out
    assert re.search(r"2 epochs, accuracy: training [\d.]+%, evaluation [\d.]+%;", repr(mn))
    assert re.search(r"\nhidden1 +10 +ALIF +.*tau_mem [\d.]+ ± [\d.]+\*.* [\d.]+, \d+ silent\n", shown), shown
    assert re.search(r"\nhid_to_out +hidden1 +output +30 +[\d.]+ ± [\d.]+\*\n", shown), shown
    n = 5 * 10 + 10 * 10 + 10 * 3 + 4 * 10
    assert f"{n} trained parameters" in shown and "engine cpu (1 threads)" in shown


def test_spikes_and_voltages_of_samples_of_ones_own() -> None:
    """The same for samples of the data set and for what they are made of; V below the threshold but for resets."""
    mn = trained()
    one = Subset(mn.data.test, np.arange(1))
    spikes = mn.data.test.spikes
    own = [{"x": spikes.sample(0)[1], "t": spikes.times(0, 1.0)}]
    for population in ("input", "hidden0", "output"):
        for a, b in zip(mn.spikes(p(), one, population)[0], mn.spikes(p(), own, population)[0], strict=True):
            np.testing.assert_array_equal(a, b)
    for population, size in (("hidden0", 10), ("output", 3)):
        v = mn.voltages(p(), own, population)
        assert v.shape == (1, 30, size) and v.max() < 1.0 and v.max() > 0.1
        np.testing.assert_array_equal(v, mn.voltages(p(), one, population))
    times, neurons = mn.spikes(p(), own)[0]
    v = mn.voltages(p(), own)[0]
    assert times.size and (v[np.round(times).astype(int) - 1, neurons] == 0.0).all()  # after the reset
    assert mn.voltages(p(), own, "output", "Isyn").shape == (1, 30, 3)
    with pytest.raises(ValueError, match="'B' of 'hidden0' is not there; there are hidden0: "):
        mn.voltages(p(), own, "hidden0", "B")


# Sent elsewhere


def test_it_can_be_pickled_and_sent_to_processes() -> None:
    """Fails if the data set goes with it, or weights, history, the last evaluation or what it goes on from do not."""
    mn = trained()
    mn.on_epoch.append(lambda _, record: False)  # stays here
    sent = pickle.dumps(mn)
    assert len(sent) < 40_000
    copy = pickle.loads(sent)
    assert equal(copy.weights(), mn.weights()) and copy.history == mn.history and copy.on_epoch == []
    assert copy.evaluated[0].part is copy.data.train and copy.evaluated[1].subset is copy.evaluated[0]
    np.testing.assert_array_equal(copy.evaluated[1].predictions, mn.evaluated[1].predictions)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        _, scores = pool.submit(mn.predict, p(), X).result()
    np.testing.assert_array_equal(scores, mn.predict(p(), X).scores)
    copy.train(p(CONTINUE=True, OUT_DIR="copy"))
    mn.on_epoch.clear()
    mn.train(p(CONTINUE=True))
    assert equal(copy.weights(), mn.weights())


FIELDS = {"spike_t", "spike_ID", "rec_vars_n", "rec_vars_s", "correct", "correct_eval"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_methods_return_the_same_named_fields(name: str) -> None:
    """By what each is declared to return, which the type checker holds it to."""
    for mode, method in BENCHMARKS[name].modes().items():
        returned = method.__annotations__["return"]
        names = {"FoldsResult"} if mode == "cross_validate" else {"RunResult", "YinyangResult"}
        assert returned in names, (name, mode)


def test_the_five_values_of_yinyang_have_the_names_of_all() -> None:
    result = yinyang(p()).train(p())
    assert all(hasattr(result, field) for field in FIELDS) and len(result) == 5 and result.accuracy == result.correct
    assert pickle.loads(pickle.dumps(result)).correct_eval == result.correct_eval


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", eventprop.__version__)
