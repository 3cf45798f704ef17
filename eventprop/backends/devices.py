"""Which backends can be used here: what is installed, and the devices that are there."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "BACKENDS",
    "GENN_BACKENDS",
    "architectures",
    "choose",
    "cuda_toolkit",
    "devices_of",
    "genn_backends",
    "genn_version",
    "missing",
    "passed_over",
    "problem_with",
    "say_slow",
]

GENN_BACKENDS = ("cuda", "hip", "single_threaded_cpu")
"""GeNN's own backends, under its names."""

BACKENDS = ("auto", "cpu", *GENN_BACKENDS)
"""All values of ``BACKEND``."""

TESTED = "5.4"
USUAL_TOOLKIT = "/usr/local/cuda"
_GUIDE = "https://genn-team.github.io/genn/"
_INSTALL = (
    f'GeNN\'s guide ({_GUIDE}) says how to install it with its backends, and the extra "genn" of this package does so; '
    'BACKEND="cpu" needs nothing'
)


def genn_version() -> str | None:
    """Version of pygenn; None where it is not installed."""
    if importlib.util.find_spec("pygenn") is None:
        return None
    from importlib.metadata import version

    return version("pygenn")


def genn_backends() -> tuple[str, ...]:
    """Backends that pygenn was built with; empty where it is not installed."""
    if genn_version() is None:
        return ()
    from pygenn.genn_model import backend_modules

    return tuple(name for name in GENN_BACKENDS if name in backend_modules)


def devices_of(backend: str) -> list[str]:
    """Names of the GPUs that "cuda" or "hip" can use, by the driver's own library; empty where there is none."""
    return [name for name, _ in _found(backend)]


def architectures(backend: str) -> list[str]:
    """What code for each of these GPUs is compiled for: code for one does not run on another."""
    return [kind for _, kind in _found(backend)]


def cuda_toolkit() -> Path | None:
    """The folder that ``CUDA_PATH`` should name: that, or where nvcc is found; None where there is no nvcc."""
    found = shutil.which("nvcc")
    places = [os.environ.get("CUDA_PATH"), USUAL_TOOLKIT, found and Path(found).resolve().parents[1]]
    return next((Path(place) for place in places if place and _has_nvcc(Path(place))), None)


def _has_nvcc(folder: Path) -> bool:
    return any((folder / "bin" / name).is_file() for name in ("nvcc", "nvcc.exe"))


def choose(backend: str, spike_timing: str = "grid") -> str:
    """The backend that ``backend`` stands for: "auto" is GeNN with a GPU where both are there and can do it, else the
    CPU backend."""
    if backend != "auto":
        return backend
    if spike_timing != "exact":
        for name in ("cuda", "hip"):
            if devices_of(name) and name in genn_backends() and missing(name) is None:
                return name
    return "cpu"


def passed_over() -> str | None:
    """Why "auto" does not take a GPU although GeNN is installed for it; None where there is nothing to be said."""
    for name in ("cuda", "hip"):
        if devices_of(name) and name in genn_backends():
            lack = missing(name)
            return lack and f'BACKEND="auto" takes the CPU backend and not {", ".join(devices_of(name))}: {lack}'
    return None


def missing(backend: str) -> str | None:
    """What ``backend`` lacks here; None where it lacks nothing."""
    version = genn_version()
    if backend not in GENN_BACKENDS:
        return None
    if version is None:
        return f"pygenn {TESTED}, GeNN's Python package, is not installed"
    if backend not in genn_backends():
        return f"pygenn {version} was built without it (with {', '.join(genn_backends())})"
    if backend != "single_threaded_cpu" and not devices_of(backend):
        return "there is no GPU that it could use"
    if backend == "cuda" and cuda_toolkit() is None:
        return (
            "nvcc, the compiler that GeNN needs for a GPU, is not found: install CUDA's toolkit, or name its folder in "
            "the environment variable CUDA_PATH"
        )
    return None


def problem_with(backend: str, spike_timing: str = "grid") -> str | None:
    """Why ``backend`` cannot be used here, as an error message with its key; None where it can."""
    if backend not in BACKENDS:
        return f"BACKEND={backend!r} is not there; there are: {', '.join(map(repr, BACKENDS))}"
    if backend in GENN_BACKENDS and spike_timing == "exact":
        return f'BACKEND="{backend}" has no exact spike times; SPIKE_TIMING="exact" needs BACKEND="cpu"'
    lack = missing(backend)
    return f'BACKEND="{backend}": {lack}. {_INSTALL}' if lack else None


def _found(backend: str) -> list[tuple[str, str]]:
    """Name and kind of each GPU."""
    if backend == "cuda":
        return _cuda_devices()
    if backend == "hip":
        return _hip_devices()
    return []


def _library(names: Sequence[str]) -> Any:
    """The first of the libraries that is there; None if none is."""
    for name in names:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    return None


_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...


def _cuda_devices() -> list[tuple[str, str]]:
    cuda = _library(("libcuda.so.1", "nvcuda.dll", "libcuda.dylib"))
    count = ctypes.c_int()
    if cuda is None or cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for number in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        if cuda.cuDeviceGet(ctypes.byref(device), number) or cuda.cuDeviceGetName(name, 256, device):
            continue
        version = [ctypes.c_int(), ctypes.c_int()]
        for value, attribute in zip(version, (_MAJOR, _MINOR), strict=True):
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        found.append((name.value.decode(errors="replace"), f"sm_{version[0].value}{version[1].value}"))
    return found


def _hip_devices() -> list[tuple[str, str]]:
    hip = _library(("libamdhip64.so", "amdhip64.dll"))
    count = ctypes.c_int()
    if hip is None or hip.hipGetDeviceCount(ctypes.byref(count)):
        return []
    found = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(256)
        hip.hipDeviceGetName(name, 256, number)
        shown = name.value.decode(errors="replace") or f"HIP device {number}"
        found.append((shown, shown))
    return found


@functools.cache
def say_slow(batch: int) -> None:
    """Warn, once in a process, of GeNN's CPU backend."""
    warnings.warn(
        f"GeNN's CPU backend takes one sample at a time: each of the N_BATCH={batch} samples of a batch is a trial of "
        'its own, and PIPELINE has no effect. BACKEND="cpu" is many times faster',
        stacklevel=3,
    )
