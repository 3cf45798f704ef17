"""Compiles generated C++ with the system's compiler and keeps the result under the user's cache folder.

The cache key covers the source, the engine's headers, the compiler and the processor, so a cached library is
used only where it would be built the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eventprop.backends.cache import CompilerError, cache_folder, check_cache

__all__ = ["CompilerError", "find_compiler", "load_library"]

_FLAGS = [
    "-std=c++17",
    "-O3",
    "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-fvisibility=hidden",  # engines of different networks in one process must not share each other's structs
    "-shared",
    "-pthread",
]


def find_compiler() -> str:
    """Path of the C++ compiler: ``CXX``, else ``c++``, ``g++`` or ``clang++``.

    Raises:
        CompilerError: none is installed; says how to install one.
    """
    named = os.environ.get("CXX")
    for name in [named] if named else ["c++", "g++", "clang++"]:
        path = shutil.which(name)
        if path:
            return path
    raise CompilerError(
        (
            f"the compiler named by CXX, {named!r}, was not found"
            if named
            else "no C++ compiler (c++, g++, clang++) was found"
        )
        + "; the CPU backend builds its engine with one. Install it with\n"
        "  Debian, Ubuntu:  sudo apt install g++\n"
        "  Fedora:          sudo dnf install gcc-c++\n"
        "  macOS:           xcode-select --install\n"
        "or name one in the environment variable CXX."
    )


def _processor() -> str:
    """What decides which instructions ``-march=native`` may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))


def load_library(source: str) -> ctypes.CDLL:
    """The library built from ``source``, compiled unless it is in the cache.

    Raises:
        CompilerError: no compiler, or it failed; the message ends with what it printed.
    """
    compiler = find_compiler()
    here = Path(__file__).parent
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    parts = [source, *(h.read_text() for h in sorted(here.glob("*.hpp"))), version, _processor(), " ".join(_FLAGS)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    library = cache_folder() / f"engine_{key}.so"
    if not library.exists():
        _build(compiler, source, library)
    return ctypes.CDLL(str(library))


def _build(compiler: str, source: str, library: Path) -> None:
    check_cache(library.parent)
    print("Building the CPU engine (once for this kind of network) ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        code = Path(folder) / "engine.cpp"
        code.write_text(source)
        built = Path(folder) / "engine.so"
        command = [compiler, *_FLAGS, "-I", str(Path(__file__).parent), str(code), "-o", str(built)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            print("failed", file=sys.stderr)
            raise CompilerError(f"{compiler} could not build the CPU engine:\n{result.stderr.strip()[-4000:]}")
        os.replace(built, library)
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
