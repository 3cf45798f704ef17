"""What comes of mutants, one after another, in a process that others watch.

``python -m robust.worker KIND FIRST LAST``: a line says of each that it is being read, and another what came of it, so that whoever watches knows which one a crash
or a hang was at.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from eventprop.trainer import TrainingDiverged

from . import data, runs, settings
from .kinds import Different, Kind, Refused, as_values, quiet
from .mutants import mutant

__all__ = ["GOOD", "KINDS", "Outcome", "outcomes"]

KINDS: dict[str, Kind] = {**data.KINDS, **runs.KINDS, **settings.KINDS}
"""Every kind of file that is read, by name."""
SAME, READ, REFUSED = "same", "read", "clear error"
GOOD = (SAME, READ, REFUSED)
"""Outcomes that are right: as of the whole file, other values where nothing can tell, one clear line."""
_CLEAR = (ValueError, FileNotFoundError, PermissionError, TrainingDiverged, Refused)
_LONGEST = 1500  # characters of a line that is still clear
_SLOW_S = 10.0  # of CPU time; whole files take some milliseconds
_MOST_MEMORY = 4 << 30


@dataclass(frozen=True)
class Outcome:
    """What came of a mutant: ``result`` is one of GOOD, or names a fault; ``text`` is what was said of it."""

    kind: str
    number: int
    how: str
    result: str
    text: str = ""


def outcomes(name: str, first: int, last: int) -> Iterator[Outcome]:
    """The outcomes of the mutants ``first`` to ``last`` - 1 of a kind; before each, one without a result."""
    kind = KINDS[name]
    root = Path(tempfile.mkdtemp(prefix="robust_")).resolve()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # what a run tells of settings and the like
            stack.enter_context(runs.fast())
            (root / "whole").mkdir()
            with contextlib.chdir(root / "whole"), quiet():
                target = kind.make()
            whole = (root / "whole" / target).read_bytes()
            expected = _read(kind, root, "read", target)
            for number in range(first, last):
                changed, how = mutant(name, number, whole, kind.mutate)
                yield Outcome(name, number, how, "")
                start = time.process_time()
                result, text = _result(kind, root, f"m{number}", target, changed, expected)
                if time.process_time() - start > _SLOW_S:
                    result = f"SLOW {result}"
                yield Outcome(name, number, how, result, " ".join(text.split())[:400])
                shutil.rmtree(root / f"m{number}")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _read(kind: Kind, root: Path, folder: str, target: Path, changed: bytes | None = None) -> list[np.ndarray]:
    """What the program makes of a copy of the whole files, with other bytes in the target."""
    shutil.copytree(root / "whole", root / folder)  # times of change stay
    if changed is not None:
        (root / folder / target).write_bytes(changed)
    with contextlib.chdir(root / folder), quiet():
        return as_values(kind.read(target))


def _result(
    kind: Kind, root: Path, folder: str, target: Path, changed: bytes, expected: list[np.ndarray]
) -> tuple[str, str]:
    try:
        found = _read(kind, root, folder, target, changed)
    except _CLEAR as error:
        return _of_error(kind, root, folder, target, error)
    except Different as error:
        return "DIFFERENT", str(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"TRACEBACK {type(error).__name__}", str(error)
    if len(found) == len(expected) and all(map(_equal, found, expected)):
        return SAME, ""
    return ("DIFFERENT" if kind.checked else READ), ""


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind != b.dtype.kind:
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _of_error(kind: Kind, root: Path, folder: str, target: Path, error: Exception) -> tuple[str, str]:
    """Whether an error is clear, and left everything else as it was."""
    text, words = str(error), (target.name, *kind.also)
    lines = text.split("\n")
    clear = (kind.lines or len(lines) == 1) and all(len(x) <= _LONGEST and any(w in x for w in words) for x in lines)
    if not clear:
        return f"UNCLEAR {type(error).__name__}", text
    for path in (root / "whole").rglob("*"):
        here = root / folder / path.relative_to(root / "whole")
        if (
            path.is_file()
            and here.name != target.name
            and (not here.is_file() or here.read_bytes() != path.read_bytes())
        ):
            return "LOST", f"{here.name} is not as it was; {text}"
    return REFUSED, text


def _limit_memory() -> None:
    """A damaged length must not take all memory of the machine."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


def main() -> None:
    name, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit_memory()
    told = os.fdopen(os.dup(1), "w")  # whatever else is printed must not come between
    os.dup2(2, 1)
    for outcome in outcomes(name, first, last):
        print(json.dumps(asdict(outcome)), file=told, flush=True)


if __name__ == "__main__":
    main()
