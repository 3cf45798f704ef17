"""What is installed and found here, as text to be pasted into a bug report."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eventprop import __version__
from eventprop.backends import devices
from eventprop.backends.cache import CompilerError, cache_folder
from eventprop.backends.cpu.compiler import find_compiler, version_of
from eventprop.backends.cpu.engine import available_threads
from eventprop.data import dvs, mnist, shd
from eventprop.files import why
from eventprop.reports.provenance import processor

__all__ = ["report"]

_PACKAGES = ("numpy", "h5py", "matplotlib", "tonic", "mpi4py", "pygenn", "ziglang")
# Files of the data sets, by folder under DATA_DIR.
_DATA = {name: [f"{name}/{file}" for file in files.values()] for name, files in shd.FILES.items()}
_DATA["DEMO"] = [f"DEMO/{file}" for file in shd.FILES["SHD"].values()]


def report(data_dir: Path) -> str:
    """Versions, backends with their devices, compiler, threads, folders and data sets.

    Args:
        data_dir: folder of data sets, ``DATA_DIR``.
    """
    return "\n".join(_lines(data_dir))


def _lines(data_dir: Path) -> Iterator[str]:
    yield f"genn-eventprop  {__version__}"
    yield f"system          {platform.platform()}, Python {platform.python_version()}"
    yield "packages        " + ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    yield f"processor       {processor()}, {available_threads()} of {os.cpu_count()} cores usable (NUM_THREADS)"
    yield f"compiler        {_compiler()}"
    yield "backends        cpu: yes"
    for name in devices.GENN_BACKENDS:
        lack = devices.missing(name)
        found = ", ".join(devices.devices_of(name))
        yield f"                {name}: " + (f"no, {lack}" if lack else f"yes{found and f' ({found})'}")
    yield f"                auto takes {devices.choose('auto')}"
    yield f"cache           {cache_folder().absolute()}{_size(cache_folder())}"
    yield f"data            {data_dir.absolute()}"
    for name in (*_DATA, "MNIST", *dvs.SETS):
        try:
            missing = _missing(data_dir, name)
            said = f"missing {', '.join(missing)}" if missing else "complete"
        except OSError as error:
            said = f"cannot be looked at: {why(error)}"
        yield f"                {name}: {said}"


def _missing(data_dir: Path, name: str) -> list[str]:
    """Files of a data set that are not there."""
    if name in dvs.SETS:
        return dvs.missing(data_dir, name)
    if name == "MNIST":
        return [f"MNIST/{file}.gz" for file in mnist.FILES if mnist.find(data_dir, file) is None]
    return [file for file in _DATA[name] if not (data_dir / file).is_file()]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _compiler() -> str:
    try:
        words = find_compiler()
        shown = version_of(words)
    except CompilerError as error:
        return str(error).partition(";")[0]
    return f"{' '.join(words)}: {shown.partition(chr(10))[0]}"


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return " (not made yet)"
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f" ({len(list(folder.glob('*.so'))) + len(list(folder.glob('genn_*/')))} builds, {sum(sizes) / 1e6:.0f} MB)"
