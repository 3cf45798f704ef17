"""Which backend is chosen, what is said where one cannot be used, the report for bug reports, values of snippets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import models
import simulator_SHD
from eventprop import backends, snippets
from eventprop.__main__ import main
from eventprop.backends import Settings, build, devices
from eventprop.derivation import values
from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.records import Records
from tests.support.small import random_case


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    built: tuple[str, ...],
    gpus: tuple[str, ...],
    toolkit: Path | None = Path("cuda"),
) -> None:
    """As if pygenn were installed, or not, and these GPUs and CUDA's compiler were there."""
    monkeypatch.setattr(devices, "cuda_toolkit", lambda: toolkit)
    monkeypatch.setattr(devices, "genn_version", lambda: version)
    monkeypatch.setattr(devices, "genn_backends", lambda: built)
    monkeypatch.setattr(devices, "devices_of", lambda backend: ["a GPU"] if backend in gpus else [])


@pytest.mark.parametrize(
    ("built", "gpus", "chosen"),
    [
        ((), (), "cpu"),
        ((), ("cuda",), "cpu"),
        (("single_threaded_cpu",), ("cuda",), "cpu"),
        (("cuda", "single_threaded_cpu"), (), "cpu"),
        (("cuda", "single_threaded_cpu"), ("cuda",), "cuda"),
        (("hip", "single_threaded_cpu"), ("hip",), "hip"),
    ],
)
def test_auto(built: tuple[str, ...], gpus: tuple[str, ...], chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """GeNN where it and a GPU are there, and never for what it cannot do."""
    pretend(monkeypatch, "5.4.0" if built else None, built, gpus)
    assert devices.choose("auto") == chosen
    assert devices.choose("auto", "exact") == devices.choose("cpu") == "cpu"


def test_a_gpu_without_a_compiler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if "auto" takes a GPU that GeNN cannot compile for, or does not say why it takes none; `info` says it."""
    pretend(monkeypatch, "5.4.0", ("cuda", "single_threaded_cpu"), ("cuda",), None)
    assert devices.choose("auto") == "cpu"
    backends.say_once.cache_clear()
    for _ in range(2):
        assert build(random_case().network()).name == "cpu"
    said = capsys.readouterr().err
    assert said.count('BACKEND="auto" takes the CPU backend and not a GPU: nvcc, the compiler') == 1
    assert "CUDA_PATH" in said
    with pytest.raises(ValueError, match=r'BACKEND="cuda": nvcc, the compiler that GeNN needs.*CUDA_PATH'):
        build(random_case().network(), Settings(backend="cuda"))
    main(["info"])
    assert "cuda: no, nvcc, the compiler" in capsys.readouterr().out


def test_where_the_compiler_for_gpus_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fails if nvcc that is only on the PATH, as it mostly is, or where CUDA_PATH says, is not found."""
    for name in ("own", "other"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "nvcc").write_text("#!/bin/sh\n")
        (tmp_path / name / "bin" / "nvcc").chmod(0o755)
    monkeypatch.setattr(devices, "USUAL_TOOLKIT", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path / "other" / "bin"))
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "own"))
    assert devices.cuda_toolkit() == tmp_path / "own"
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "gone"))
    assert devices.cuda_toolkit() == tmp_path / "other"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.cuda_toolkit() is None


def test_a_backend_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named at construction, with the key and what to do; "cpu" needs nothing."""
    monkeypatch.setattr(simulator_SHD.SHD_model, "load_data", lambda *_: pytest.fail("data was loaded"))

    def message(backend: str) -> str:
        with pytest.raises(ValueError) as error:
            simulator_SHD.SHD_model({**simulator_SHD.p, "BACKEND": backend})
        with pytest.raises(ValueError) as again:
            build(random_case().network(), Settings(backend=backend))
        assert str(again.value) == str(error.value)
        return str(error.value)

    pretend(monkeypatch, None, (), ())
    for backend in devices.GENN_BACKENDS:
        text = message(backend)
        assert text.startswith(f'BACKEND="{backend}": pygenn 5.4, GeNN\'s Python package, is not installed')
        assert "https://genn-team.github.io/genn/" in text and 'extra "genn"' in text
        assert 'BACKEND="cpu" needs nothing' in text
    pretend(monkeypatch, "5.4.0", ("single_threaded_cpu",), ("cuda",))
    assert "pygenn 5.4.0 was built without it (with single_threaded_cpu)" in message("cuda")
    pretend(monkeypatch, "5.4.0", ("cuda", "single_threaded_cpu"), ())
    assert "there is no GPU" in message("cuda")
    assert devices.problem_with("single_threaded_cpu") is None is devices.problem_with("cpu")


def test_exact_times_are_the_cpu_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "5.4.0", ("cuda",), ("cuda",))
    with pytest.raises(
        ValueError, match='BACKEND="cuda" has no exact spike times; SPIKE_TIMING="exact" needs BACKEND="cpu"'
    ):
        simulator_SHD.SHD_model({**simulator_SHD.p, "BACKEND": "cuda", "SPIKE_TIMING": "exact"})


def test_settings_are_those_of_p() -> None:
    """Fails if a key of the GeNN backend does not reach it."""
    p = {**simulator_SHD.p, "NUM_THREADS": 3, "N_BATCH": 7, "N_MAX_SPIKE": 99, "PIPELINE": False, "BUILD": False}
    p |= {"TIMING": False, "SPK_REC_STEPS": 50, "CUDA_VISIBLE_DEVICES": False, "BACKEND": "cpu"}
    assert Records.of(p).backend == Settings("cpu", 3, 7, 99, False, False, False, 50, False)
    assert Records.of(resolve_shd({})).backend.pipeline


def test_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bug report needs: versions, backends, compiler, threads, folders, data sets, also those not whole."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    folder = Path("data/SHD")
    folder.mkdir(parents=True)
    (folder / "shd_train.h5").write_text("")
    pretend(monkeypatch, "5.4.0", ("cuda",), ("cuda",))
    assert main(["info", "--data-dir", "data"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "genn-eventprop  0.1.0",
        f"numpy {np.__version__}",
        "cpu: yes",
        "cuda: yes (a GPU)",
        "hip: no, pygenn 5.4.0 was built without it (with cuda)",
        "auto takes cuda",
        f"{Path('cache').absolute()} (not made yet)",
        "SHD: missing SHD/shd_test.h5",
        "DEMO: missing DEMO/shd_train.h5, DEMO/shd_test.h5",
        "MNIST: missing MNIST/train-images-idx3-ubyte.gz, ",
    ):
        assert text in shown
    assert not Path("cache").exists()


def test_values_of_snippets() -> None:
    """The host's values of a model's constants: in closed form, and where two time constants meet."""
    z = np.array([0.0, 0.5])
    assert np.allclose(values.evaluate("phi(z)", {"z": z}), [1.0, np.expm1(0.5) / 0.5])
    slope = values.evaluate("phi_slope(z)", {"z": np.array([0.0, 0.2999, 0.3001])})
    assert slope[0] == 0.5 and abs(slope[2] - slope[1]) < 1e-4
    with pytest.raises(ValueError, match="is not a constant's expression"):
        values.evaluate("a if b else c", {"a": 1.0, "b": 1.0, "c": 1.0})
    assert snippets.renamed("Isyn *= x; x_Isyn += Isyn;", {"Isyn": "I"}) == "I *= x; x_Isyn += I;"
    assert snippets.added("lambda_V += a / b;", "lambda_V") == "a / b"
    for code in ("lambda_I += a;", "lambda_V = a;", "lambda_V += a; b = c;"):
        with pytest.raises(ValueError, match="is not a sum to lambda_V"):
            snippets.added(code, "lambda_V")
    for loss in models.LOSSES.values():
        if loss.phantom:
            assert snippets.added(loss.phantom, "lambda_V")
