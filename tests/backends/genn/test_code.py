"""GeNN's code as it is built, damaged and killed, and runs that change the backend; skipped without pygenn."""

from __future__ import annotations

import gc
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.backends import Settings, build
from eventprop.backends.cache import CompilerError
from eventprop.backends.genn.builder import Layout
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.support.small import Case, random_case, relative

pytest.importorskip("pygenn", reason="pygenn 5.4 is not installed: the GeNN backend is not tested")

from eventprop.backends.genn import engine, model
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
    again = build(case.network(), settings)
    assert ("is damaged and is not used\nBuilding" in capfd.readouterr().err) is (damage != "nothing")
    assert again.run(case.spikes, case.numbers[:1], case.labels[:1], learn=True).loss > 0
    assert len(list(Path("other").glob("genn_*"))) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_build(how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if GeNN's make goes on, or the next build does not begin anew."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    # Python heeds SIGINT only where it is not ignored from the start, as it is in a shell's background.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"sys.path[:] = {sys.path!r}\nfrom {__name__} import small_build; small_build()"
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


def test_two_engines_of_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if they share GeNN's arrays, or if one that is gone takes the other one's with it."""
    monkeypatch.setenv("EVENTPROP_CACHE", str(Path("cache").absolute()))
    cases = [random_case(seed, sizes=(6,), n_in=4, steps=20) for seed in (0, 1)]
    settings = Settings(backend=BACKEND, batch=1)

    def learned(engine: Any, case: Case) -> np.ndarray:
        case.learn(engine)
        return engine.gradients()["in_to_hid"].copy()

    engines, expected = [], []
    for case in cases:
        alone = build(case.network(), settings)
        case.load(alone)
        expected.append(learned(alone, case))
        del alone
        gc.collect()
    assert relative(*expected) > 0.1
    for case in cases:
        engines.append(build(case.network(), settings))
        case.load(engines[-1])
    assert all(np.array_equal(w, cases[0].weights[name]) for name, w in engines[0].weights().items())
    for own_engine, case, own in zip(engines, cases, expected, strict=True):
        assert relative(learned(own_engine, case), own) < 1e-6
    del engines[1], own_engine
    gc.collect()
    assert relative(learned(engines[0], cases[0]), expected[0]) < 1e-6
    assert not list(Path("cache").glob("*.building"))


def script(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path.absolute())


@pytest.mark.parametrize("what", ["fails", "dies"])
def test_a_compiler_that_fails(what: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Fails if Python ends with a build, as with GeNN's own for a GPU, or if the reason is not shown."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    if what == "fails":
        monkeypatch.setenv("CXX", script(Path("bin/c++"), "echo line 7 is wrong >&2; exit 3"))
    else:
        script(Path("bin/make"), "echo line 7 is wrong; kill -ABRT $PPID")
        monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:{os.environ['PATH']}")
    network = random_case(sizes=(6,), n_in=4, steps=20).network()
    for _ in range(2):
        with pytest.raises(
            CompilerError, match=r"its process ended with \d+\); .*cache.*build.log ends with\n"
        ) as error:
            build(network, Settings(backend="single_threaded_cpu", batch=1))
        assert "line 7 is wrong" in str(error.value)
        (log,) = Path("cache").rglob("build.log")
        assert "line 7 is wrong" in log.read_text()
    assert capfd.readouterr().err.count("failed\n") == 2
    monkeypatch.undo()


def test_a_package_that_changes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if code that another version of the package builds is loaded as that of this one, and runs as something
    else."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    usual = model.input_neurons

    def other(network: Any, layout: Any) -> Any:
        made = usual(network, layout)
        return replace(made, sim_code=f"{made.sim_code} ")

    monkeypatch.setattr(model, "input_neurons", other)
    with pytest.raises(CompilerError, match="not what it was when the process that builds was started"):
        small_build()


def test_genns_cpu_backend_is_optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if it is built without -O2, a third as fast, or with -ffast-math, which moves spikes."""
    monkeypatch.setenv("EVENTPROP_CACHE", str(Path("cache").absolute()))
    used = Path("used").absolute()
    monkeypatch.setenv("CXX", script(Path("bin/c++"), f'echo "$@" >>{used}; exec c++ "$@"'))
    build(random_case(sizes=(6,), n_in=4, steps=20).network(), Settings(backend="single_threaded_cpu", batch=1))
    compiled = [line for line in used.read_text().splitlines() if " -c " in line]
    assert len(compiled) > 3 and all("-O2" in line and "fast-math" not in line for line in compiled)


def test_code_for_another_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a home that machines share gives one the code for another one's GPU."""
    network = random_case().network()
    keys = set()
    for chips in ([], ["sm_80"], ["sm_90"], ["sm_90", "sm_80"]):
        monkeypatch.setattr(model, "architectures", lambda _, chips=chips: chips)
        for options in ({}, {"manual_device_id": 0}):
            keys.add(model.GennModel(network, "single_threaded_cpu", Layout(1, 1, 10), options=options).key)
    assert len(keys) == 2 * 3 + 2 - 1  # without a choice of its own the first GPU alone counts


def test_the_best_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if CUDA_VISIBLE_DEVICES=False is the first GPU, which is what GeNN takes where it is told nothing."""
    select = SimpleNamespace(MANUAL="manual", OPTIMAL="optimal")
    monkeypatch.setitem(sys.modules, "pygenn.cuda_backend", SimpleNamespace(DeviceSelect=select))
    assert model.preferences("cuda", True) == {"device_select_method": "manual", "manual_device_id": 0}
    assert model.preferences("cuda", False) == {"device_select_method": "optimal"}


def test_times_are_taken_by_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if GeNN waits for a GPU in each step because of TIMING, or if nothing is reported."""
    asked: dict[str, bool] = {}

    def made(network: Any, backend: str, layout: Any, *, timing: bool, **_: Any) -> Any:
        asked[backend] = timing
        return model.GennModel(network, "single_threaded_cpu", layout, timing=timing)

    monkeypatch.setattr(engine, "GennModel", made)
    monkeypatch.setattr(engine, "preferences", lambda *_: {})
    case = random_case(sizes=(6,), n_in=4, steps=20)
    for backend, parts in (("cuda", {"input", "trials", "updates"}), ("single_threaded_cpu", {"neurons", "synapses"})):
        own = engine.GennEngine(case.network(), backend, batch=1, timing=True)
        case.learn(own)
        own.update(adam_parameters(AdamSettings(), 0.1, 1))
        assert parts <= own.times().keys() and all(seconds > 0 for seconds in own.times().values())
        assert not engine.GennEngine(case.network(), backend, batch=1).times()
    assert asked == {"cuda": False, "single_threaded_cpu": False}


def test_spikes_within_steps_are_refused() -> None:
    network = random_case(spike_timing="exact").network()
    with pytest.raises(ValueError, match='SPIKE_TIMING="exact" needs BACKEND="cpu"'):
        build(network, Settings(backend=BACKEND))
    assert build(network).name == "cpu"


def test_one_sample_at_a_time_is_said_to_be_slow() -> None:
    network = random_case(sizes=(6,), n_in=4, steps=20).network()
    engine.say_slow.cache_clear()
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
