"""The code of a GeNN model: built once, in a process of its own, and loaded for each engine that runs it.

GeNN ends its process where nvcc fails, so the one that trains is not the one that builds.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventprop.backends.building import alone_with, build_folder, run
from eventprop.backends.cache import CompilerError, cache_folder, check_cache
from eventprop.backends.devices import cuda_toolkit
from eventprop.backends.genn.kept import facts_of_builds, finish_build, is_damaged, is_finished, output_to
from eventprop.backends.genn.model import GennModel
from eventprop.terminal import note

__all__ = ["load", "prepare"]

_SHOWN = 4000  # characters of what a build that failed has printed
_ORDER = "order.pickle"
_LIVE: weakref.WeakValueDictionary[Path, object] = weakref.WeakValueDictionary()
"""By folder, whose library this process has loaded: one library has one set of arrays."""


def load(made: GennModel, build: bool, record_steps: int) -> None:
    """Get a model ready to run.

    Args:
        build: whether code may be built; if not, it must have been built before.
        record_steps: size of GeNN's buffer of recorded spikes.

    Raises:
        ValueError: ``build`` is False and the code of this network has not been built; says what differs.
        CompilerError: GeNN or the compiler failed.
    """
    folder = prepare(made, build)
    with _not_in_use(folder) as place:
        with output_to(Path(os.devnull)):
            made.genn.build(str(place), never_rebuild=True)
        made.genn.load(num_recording_timesteps=record_steps)
        if place == folder:
            _LIVE[folder] = made.genn


def find_toolkit() -> None:
    """GeNN looks for nvcc by the environment alone."""
    toolkit = cuda_toolkit()
    if toolkit:
        os.environ["CUDA_PATH"] = str(toolkit)


@contextmanager
def _not_in_use(folder: Path) -> Iterator[Path]:
    """The folder, or a copy where an engine of this process has loaded its library and still runs."""
    if folder not in _LIVE:
        yield folder
        return
    with alone_with(folder), build_folder(folder) as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        yield copy


def prepare(made: GennModel, build: bool = True) -> Path:
    """The folder with a model's code, which is built where it is not there; raises what :func:`load` does."""
    find_toolkit()
    folder = cache_folder() / f"genn_{made.key}"
    if is_finished(folder):
        return folder
    check_cache(folder.parent)
    with alone_with(folder):
        if not is_finished(folder):  # else another process has built it meanwhile
            if not build:
                raise ValueError(f"BUILD=False, but there is no code for this network: {_why_not(made, folder)}")
            _build_anew(made, folder)
    return folder


def _build_anew(made: GennModel, folder: Path) -> None:
    if is_damaged(folder):
        note(f"{folder.name} in {folder.parent} is damaged and is not used")
    shutil.rmtree(folder, ignore_errors=True)
    note("Building GeNN code (once for this network) ...", end=" ")
    start, log = time.perf_counter(), folder / "build.log"
    folder.mkdir()
    (folder / _ORDER).write_bytes(pickle.dumps((made.key, made.arguments)))
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import build_in; build_in({str(folder)!r})"
    try:
        done = run([sys.executable, "-c", code], folder)
        log.write_text(done.stdout)
    except OSError as error:
        note("failed")
        raise CompilerError(f"GeNN could not build this network in {folder}: {error}") from error
    if done.returncode:
        note("failed")
        raise CompilerError(
            f"GeNN could not build this network (its process ended with {done.returncode}); {log} ends with\n"
            + done.stdout.strip()[-_SHOWN:]
        )
    (folder / _ORDER).unlink()
    finish_build(folder, made.facts)
    note(f"{time.perf_counter() - start:.1f} s")


def build_in(folder: str) -> None:
    """Build the model that another process has ordered."""
    find_toolkit()
    # GeNN's own flags for a CPU are either none or -ffast-math, which moves spikes.
    compiler = os.environ.get("CXX") or ("c++" if shutil.which("c++") else "g++")
    os.environ["CXX"] = f"{compiler} -O2"
    key, (given, options) = pickle.loads((Path(folder) / _ORDER).read_bytes())
    model = GennModel(*given, **options)
    if model.key != key:  # it would be loaded as something else
        sys.exit("the code of this package is not what it was when the process that builds was started")
    try:
        model.genn.build(folder)
    except subprocess.CalledProcessError as error:  # the compiler has said what was wrong
        sys.exit(f"{error.cmd[0]} ended with {error.returncode}")


def _why_not(made: GennModel, folder: Path) -> str:
    if is_damaged(folder):
        return f"what is there, {folder}, is damaged. Set BUILD=True"
    others = facts_of_builds(cache_folder())
    if not others:
        return f"nothing has been built yet in {cache_folder()}. Set BUILD=True"
    changes = [{k: o.get(k) for k in made.facts if o.get(k) != made.facts[k]} for o in others]
    nearest = min(changes, key=len)
    words = [f"{k} was {v!r}, is {made.facts[k]!r}" for k, v in nearest.items()]
    return f"what was built is other in {'; '.join(words) or 'its parameters'}. Set BUILD=True"
