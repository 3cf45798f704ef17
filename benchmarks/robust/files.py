"""Mutants of all kinds of files, in processes of their own: what comes of each, also where one crashes or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .worker import GOOD, KINDS, Outcome

__all__ = ["faults", "table", "try_all"]

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 60.0  # that nothing is heard from a worker


def try_all(number: int, kinds: Sequence[str], jobs: int, told: Callable[[str], None]) -> list[Outcome]:
    """``number`` mutants of each kind.

    Args:
        jobs: workers at once.
        told: called with a line when a kind is done.
    """

    def one(kind: str) -> list[Outcome]:
        found = _try(kind, number)
        told(f"{kind}: {', '.join(f'{n} {result}' for result, n in _counts(found).items())}")
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return [outcome for found in pool.map(one, kinds) for outcome in found]


def _try(kind: str, number: int) -> list[Outcome]:
    """The outcomes of a kind; a worker that crashes or hangs is followed by another, behind the mutant it was at."""
    found: list[Outcome] = []
    first = 0
    while first < number:
        now = _watched(kind, first, number)
        found += now
        if not now or not now[-1].how:  # not even the whole files could be read
            break
        first = now[-1].number + 1
    return found


def _watched(kind: str, first: int, last: int) -> list[Outcome]:
    """What one worker says, and how it ended."""
    command = [sys.executable, "-m", "robust.worker", kind, str(first), str(last)]
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert worker.stdout is not None and worker.stderr is not None
    said = {worker.stdout.fileno(): b"", worker.stderr.fileno(): b""}
    open_ends, hangs = set(said), False
    while open_ends:
        ready, _, _ = select.select(list(open_ends), [], [], _PATIENCE_S)
        if not ready:
            hangs = True
            worker.kill()
        for end in ready:
            piece = os.read(end, 1 << 16)
            said[end] += piece
            open_ends -= set() if piece else {end}
    worker.wait()
    lines, errors = said.values()
    found: dict[int, Outcome] = {}
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):  # a line cut short
            outcome = Outcome(**json.loads(line))
            found[outcome.number] = outcome
    how = "HANG" if hangs else f"CRASH {worker.returncode}"
    text = " ".join(errors.decode(errors="replace").split())[-400:]
    if not found:
        return [Outcome(kind, first, "", how, text)]
    return [o if o.result else Outcome(kind, o.number, o.how, how, text) for o in found.values()]


def _counts(found: Sequence[Outcome]) -> dict[str, int]:
    return dict(sorted(Counter(outcome.result for outcome in found).items()))


def faults(found: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes that are not right."""
    return [outcome for outcome in found if outcome.result not in GOOD]


def table(found: Sequence[Outcome]) -> str:
    """A row for each kind, as Markdown."""
    lines = [f"| file | mutants | {' | '.join(GOOD)} | faults |", "|---" * (len(GOOD) + 3) + "|"]
    kinds = [kind for kind in KINDS if any(outcome.kind == kind for outcome in found)]
    for kind in [*kinds, "all"]:
        own = [outcome for outcome in found if kind in (outcome.kind, "all")]
        counts = _counts(own)
        good = " | ".join(str(counts.get(result, 0)) for result in GOOD)
        lines.append(f"| {kind} | {len(own)} | {good} | {len(faults(own))} |")
    return "\n".join(lines)
