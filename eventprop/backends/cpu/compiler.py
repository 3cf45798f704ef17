"""Compiles generated C++ with the system's compiler and keeps the result under the user's cache folder.

A library is named by what it was made from (the source, the engine's headers, the processor, the flags), by the
compiler that made it, and by its own checksum: what is loaded is whole, and was built as it would be here. Where there
is no compiler, that of any other will do. ``CXX`` names the compiler, with options; ``CXXFLAGS`` is not read.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from eventprop.backends.building import alone_with, build_folder, run
from eventprop.backends.cache import CompilerError, cache_folder, check_cache
from eventprop.terminal import note

__all__ = ["CompilerError", "find_compiler", "load_library", "version_of"]

_FLAGS = [
    "-std=c++17",
    "-O3",
    "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-fvisibility=hidden",  # engines of different networks in one process must not share each other's structs
    "-pthread",
]
# C++'s own library, which a compiler for C (CXX=gcc) does not add.
_CPP_LIBRARIES: tuple[list[str], ...] = ([], ["-lstdc++"], ["-lc++"])


def find_compiler() -> list[str]:
    """Words of the command of the C++ compiler: ``CXX``, else ``c++``, ``g++`` or ``clang++``, else that of the package
    ``ziglang``.

    Raises:
        CompilerError: none is installed; says how to install one.
    """
    named = os.environ.get("CXX", "").strip()
    for name in [named] if named else ["c++", "g++", "clang++"]:
        path = shutil.which(name)  # a path with spaces, as it is
        if path:
            return [path]
    with contextlib.suppress(ValueError):  # quotes without an end
        words = shlex.split(named)
        path = shutil.which(words[0]) if words else None
        if path:
            return [path, *words[1:]]
    if not named and importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "c++"]
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
        "from PyPI, without rights of an administrator:  pip install ziglang\n"
        "or name one in the environment variable CXX."
    )


def version_of(compiler: list[str]) -> str:
    """What a compiler says of its version, in some lines.

    Raises:
        CompilerError: it cannot be run.
    """
    try:
        shown = subprocess.run(
            [*compiler, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"the compiler {shlex.join(compiler)} cannot be run: {error}") from None
    return shown.stdout


def _processor() -> str:
    """What decides which instructions ``-march=native`` may use, and what a library may call."""
    system = f"{platform.machine()} {sys.platform} {' '.join(platform.libc_ver())}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{system} {platform.processor()}"
    return "\n".join([system, *sorted({x for x in lines if x.startswith(("flags", "model name", "Features"))})])


def _digest(*parts: str | bytes, size: int) -> str:
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()[:size]


def load_library(source: str) -> ctypes.CDLL:
    """The library built from ``source``, compiled unless it is in the cache.

    Raises:
        CompilerError: it is not there, and there is no compiler, or it failed; the message ends with what it
            printed, from its first error on.
    """
    headers = [h.read_bytes() for h in sorted(Path(__file__).parent.glob("*.hpp"))]
    place = cache_folder() / f"engine_{_digest(source, *headers, _processor(), *_FLAGS, size=24)}"
    try:
        compiler = find_compiler()
        mark = _digest(*compiler, version_of(compiler), size=8)
    except CompilerError:
        for library in _cached(place, "*"):
            return _loaded(library)
        raise
    for library in _cached(place, mark):
        return _loaded(library)
    check_cache(place.parent)
    with alone_with(place):
        for library in _cached(place, mark):  # meanwhile another process has built it
            return _loaded(library)
        return _build(compiler, source, place, mark)


def _cached(place: Path, mark: str) -> Iterator[Path]:
    """Whole libraries made from the same, the last one first; damaged ones are removed."""
    found: list[Path] = []
    with contextlib.suppress(OSError):  # of a folder that cannot be, which is told where it is made
        found = list(place.parent.glob(f"{place.name}_{mark}_*.so"))
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        try:
            if _digest(path.read_bytes(), size=24) == path.stem.rpartition("_")[2]:
                yield path
                continue
        except OSError:
            continue
        note(f"{path.name} in {path.parent} is damaged and is not used")
        with contextlib.suppress(OSError):
            path.unlink()


def _loaded(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompilerError(
            f"the CPU engine cannot be loaded from the cache: {error}. If its folder may not hold code that is run, "
            f"name another in the environment variable EVENTPROP_CACHE; else remove {library}"
        ) from None


def _build(compiler: list[str], source: str, place: Path, mark: str) -> ctypes.CDLL:
    note("Building the CPU engine (once for this kind of network) ...", end=" ")
    start = time.perf_counter()
    try:
        with build_folder(place) as folder:
            built, library = _compile(compiler, source, folder)
            with built.open("rb") as file:
                checksum = _digest(file.read(), size=24)
                os.fsync(file.fileno())
            os.replace(built, place.with_name(f"{place.name}_{mark}_{checksum}.so"))
    except CompilerError:
        note("failed")
        raise
    except OSError as error:
        note("failed")
        raise CompilerError(
            f"the CPU engine could not be built in {place.parent}: {error.strerror or error}; the environment variable "
            "EVENTPROP_CACHE names another folder"
        ) from None
    note(f"{time.perf_counter() - start:.1f} s")
    return library


def _compile(compiler: list[str], source: str, folder: Path) -> tuple[Path, ctypes.CDLL]:
    """The library's file in ``folder``, and the library, which is loaded before it is trusted."""
    code, made, built = (folder / f"engine.{ending}" for ending in ("cpp", "o", "so"))
    code.write_text(source)
    _call([*compiler, *_FLAGS, "-I", str(Path(__file__).parent), "-c", str(code), "-o", str(made)], made)
    problems: list[Exception] = []
    for libraries in _CPP_LIBRARIES:
        try:
            _call([*compiler, *_FLAGS, "-shared", str(made), "-o", str(built), *libraries], built)
            return built, ctypes.CDLL(str(built))
        except (OSError, CompilerError) as error:
            problems.append(error)
    if isinstance(problems[0], CompilerError):
        raise problems[0]
    raise CompilerError(
        f"the CPU engine that {shlex.join(compiler)} built cannot be loaded: {problems[0]}. CXX must name a "
        "compiler for C++ and for this machine"
    )


def _call(command: list[str], result: Path) -> None:
    """Run the compiler, which is to write ``result``."""
    try:
        done = run(command, result.parent)
    except OSError as error:
        raise CompilerError(f"the compiler {command[0]} cannot be run: {error.strerror or error}") from None
    said = done.stdout.strip()
    first = said.find("error:")  # what follows from it are often many more
    printed = said[-4000:] if first < 0 else said[said.rfind("\n", 0, first) + 1 :][:4000]
    if done.returncode:
        raise CompilerError(f"{command[0]} could not build the CPU engine:\n{printed}")
    if not result.exists():
        raise CompilerError(f"{command[0]} ended without an error, but wrote nothing to {result.name}:\n{printed}")
