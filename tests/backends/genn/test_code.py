"""GeNN's code as it is built, damaged and killed, and runs that change the backend; skipped without pygenn."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.backends import Settings, build
from tests.support.small import (
    random_case,
    relative,
)

pytest.importorskip("pygenn", reason="pygenn 5.4 is not installed: the GeNN backend is not tested")

from eventprop.backends.genn.engine import say_slow
from tests.backends.genn.test_engine import BACKEND


def test_code_that_was_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """BUILD=False: the code must be there; if not, the error says what differs. Nothing lands in this folder."""
    monkeypatch.setenv("EVENTPROP_CACHE", str(tmp_path / "cache"))
    network = random_case(sizes=(6,), n_in=4, steps=20).network()
    settings = Settings(backend=BACKEND, batch=1, build=False)
    with pytest.raises(ValueError, match=r"BUILD=False.*nothing has been built yet in .*Set BUILD=True"):
        build(network, settings)
    build(network, replace(settings, build=True))
    build(network, settings)
    other = random_case(sizes=(7,), n_in=4, steps=20).network()
    with pytest.raises(ValueError, match=r"BUILD=False.*neurons was .*6.* is .*7"):
        build(other, settings)
    with pytest.raises(ValueError, match=r"N_MAX_SPIKE was 1500, is 77"):
        build(network, replace(settings, max_spikes=77))
    assert [path.name for path in Path().iterdir()] == ["cache"]


@pytest.mark.parametrize("damage", ["library", "cut off", "facts", "nothing"])
def test_damaged_code_is_built_again(
    damage: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Fails if a library that is not whole is loaded, which ends Python, or one that is whole is built again."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    case = random_case(sizes=(6,), n_in=4, steps=20)
    settings = Settings(backend=BACKEND, batch=1)
    build(case.network(), settings)
    shutil.copytree("cache", "other")  # this process runs the first one's code
    monkeypatch.setenv("EVENTPROP_CACHE", "other")
    (library,), (facts,) = Path("other").rglob("librunner*"), Path("other").rglob("built.json")
    whole = library.read_bytes()
    contents = {"library": whole[:-1] + bytes([whole[-1] ^ 1]), "cut off": whole[: len(whole) // 2]}
    library.write_bytes(contents.get(damage, whole))
    if damage == "facts":
        facts.write_text(facts.read_text()[:100])
    if damage != "nothing":
        with pytest.raises(ValueError, match=r"BUILD=False.* is damaged. Set BUILD=True"):
            build(case.network(), replace(settings, build=False))
    capfd.readouterr()
    engine = build(case.network(), settings)
    assert ("is damaged and is not used\nBuilding" in capfd.readouterr().err) is (damage != "nothing")
    assert engine.run(case.spikes, case.numbers[:1], case.labels[:1], learn=True).loss > 0
    assert len(list(Path("other").iterdir())) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_build(how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if GeNN's make goes on, or the next build does not begin anew."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    code = f"import sys; sys.path[:] = {sys.path!r}\nfrom {__name__} import small_build; small_build()"
    Path("bin").mkdir()
    os.mkfifo("alive")  # make, and a process that it started, hold it open as long as they live
    Path("bin/make").write_text(f"#!/bin/sh\nexec 8>{Path('alive').absolute()}\nsleep 1000 &\necho x >&8\nwait\n")
    Path("bin/make").chmod(0o755)
    path = {"PATH": f"{Path('bin').absolute()}:{os.environ['PATH']}"}
    alive = os.open("alive", os.O_RDONLY | os.O_NONBLOCK)
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **path}, stderr=subprocess.DEVNULL)
    for expected in (b"x\n", b""):
        assert select.select([alive], [], [], 60)[0]
        assert os.read(alive, 2) == expected
        child.send_signal(how)
        child.wait()
    os.close(alive)
    small_build()
    (folder,) = Path("cache").glob("genn_*")
    assert (folder / "built.json").exists()


def small_build() -> None:
    build(random_case(sizes=(6,), n_in=4, steps=20).network(), Settings(backend=BACKEND, batch=1))


def test_spikes_within_steps_are_refused() -> None:
    network = random_case(spike_timing="exact").network()
    with pytest.raises(ValueError, match='SPIKE_TIMING="exact" needs BACKEND="cpu"'):
        build(network, Settings(backend=BACKEND))
    assert build(network).name == "cpu"


def test_one_sample_at_a_time_is_said_to_be_slow() -> None:
    network = random_case(sizes=(6,), n_in=4, steps=20).network()
    say_slow.cache_clear()
    with pytest.warns(UserWarning, match="one sample at a time.*N_BATCH=32"):
        build(network, Settings(backend="single_threaded_cpu"))


@pytest.mark.filterwarnings("ignore:GeNN's CPU backend takes one sample")
@pytest.mark.parametrize("neurons", ["LIF", "ALIF"])
def test_training_goes_on_with_another_backend(small_data: Path, neurons: str) -> None:
    """Fails if a checkpoint of one backend is not the same training for the other."""
    p: dict[str, Any] = {**simulator_SHD.p, "DATA_DIR": str(small_data), "NUM_HIDDEN": 12, "DT_MS": 10.0}
    p |= {"TAU_SYN": 10.0, "TRIAL_MS": 500.0, "N_TRAIN": 40, "N_VALIDATE": 10, "N_BATCH": 8, "MODEL_SEED": 3}
    p |= {"HIDDEN_NEURON_TYPE": neurons, "TRAIN_TAU": neurons == "ALIF", "REG_TYPE": "simple", "NAME": "ours"}
    p |= {"MIN_TAU_M": 10.0, "MIN_TAU_SYN": 10.0, "ETA": 0.01, "INPUT_HIDDEN_MEAN": 0.2, "LR_EASE_IN_FACTOR": 2.0}
    if neurons == "ALIF":  # spikes that are made batch by batch
        p |= {"AUGMENTATION": {"random_shift": 20.0, "blend": [0.5, 0.5]}, "N_TRAIN": 120}
    mn = simulator_SHD.SHD_model({**p, "BACKEND": "cpu"})
    mn.train({**p, "BACKEND": "cpu", "N_EPOCH": 3})
    expected, history = mn.weights(), mn.history
    for epochs, backend in ((1, BACKEND), (2, "cpu"), (3, BACKEND)):
        mn = simulator_SHD.SHD_model(p)
        mn.train(
            {**p, "NAME": "mixed", "BACKEND": backend, "N_EPOCH": epochs, "LOAD_LAST": epochs > 1, "PIPELINE": False}
        )
    for name, w in mn.weights().items():
        assert relative(w, expected[name]) < 1e-3
    for own, other in zip(mn.history, history, strict=True):
        assert own["train_accuracy"] == other["train_accuracy"] and own["eval_accuracy"] == other["eval_accuracy"]
    assert history[0]["train_loss"] != history[2]["train_loss"]
    gradients = [mn.gradients({**p, "BACKEND": b}, *_samples()) for b in (BACKEND, "cpu")]
    assert relative(gradients[0].grads["in_to_hid"], gradients[1].grads["in_to_hid"]) < 1e-4


def _samples() -> tuple[list[dict[str, Any]], list[int]]:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.integers(0, 700, 300), "t": rng.uniform(0, 450, 300)} for _ in range(3)]
    return samples, [0, 1, 2]
