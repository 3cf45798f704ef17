"""Which backends can be used here: what is installed, and the devices that are there."""

from __future__ import annotations

import ctypes
import importlib.util

__all__ = [
    "BACKENDS",
    "GENN_BACKENDS",
    "choose",
    "devices_of",
    "genn_backends",
    "genn_version",
    "missing",
    "problem_with",
]

GENN_BACKENDS = ("cuda", "hip", "single_threaded_cpu")
"""GeNN's own backends, under its names."""

BACKENDS = ("auto", "cpu", *GENN_BACKENDS)
"""All values of ``BACKEND``."""

TESTED = "5.4"
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
    if backend == "cuda":
        return _cuda_devices()
    if backend == "hip":
        return _hip_devices()
    return []


def choose(backend: str, spike_timing: str = "grid", delays: bool = False) -> str:
    """The backend that ``backend`` stands for: "auto" is GeNN with a GPU where both are there and can do it, else the
    CPU backend."""
    if backend != "auto":
        return backend
    if spike_timing == "grid" and not delays:
        for name in ("cuda", "hip"):
            if devices_of(name) and name in genn_backends():
                return name
    return "cpu"


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
    return None


def problem_with(backend: str, spike_timing: str = "grid", delays: bool = False) -> str | None:
    """Why ``backend`` cannot be used here, as an error message with its key; None where it can."""
    if backend not in BACKENDS:
        return f"BACKEND={backend!r} is not there; there are: {', '.join(map(repr, BACKENDS))}"
    if backend in GENN_BACKENDS and spike_timing != "grid":
        return f'BACKEND="{backend}" has spikes on the grid; SPIKE_TIMING="{spike_timing}" needs BACKEND="cpu"'
    if backend in GENN_BACKENDS and delays:
        return f'BACKEND="{backend}" has no delays of synapses (..._DELAY_MAX above 0); they need BACKEND="cpu"'
    lack = missing(backend)
    return f'BACKEND="{backend}": {lack}. {_INSTALL}' if lack else None


def _cuda_devices() -> list[str]:
    for library in ("libcuda.so.1", "nvcuda.dll", "libcuda.dylib"):
        try:
            cuda = ctypes.CDLL(library)
        except OSError:
            continue
        count = ctypes.c_int()
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
            return []
        names = []
        for number in range(count.value):
            device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
            if not cuda.cuDeviceGet(ctypes.byref(device), number) and not cuda.cuDeviceGetName(name, 256, device):
                names.append(name.value.decode(errors="replace"))
        return names
    return []


def _hip_devices() -> list[str]:
    for library in ("libamdhip64.so", "amdhip64.dll"):
        try:
            hip = ctypes.CDLL(library)
        except OSError:
            continue
        count = ctypes.c_int()
        if hip.hipGetDeviceCount(ctypes.byref(count)):
            return []
        return [f"HIP device {number}" for number in range(count.value)]
    return []
