"""The engine built under AddressSanitizer with UBSan, and under ThreadSanitizer, on small networks of every kind."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from eventprop.backends.cpu.compiler import find_compiler

__all__ = ["EXTENTS", "Watched", "table", "watch_all"]

EXTENTS = {"full": {"address": 1, "thread": 1}, "quick": {"address": 7, "thread": 5}, "none": {}}
"""Which sanitizers watch, and every how many networks."""
_SHARES = 2  # processes for the networks of a sanitizer
_ROOT = Path(__file__).parents[2]
_LONGEST_S = 3600.0
_NAMES = {"address": "AddressSanitizer, UBSan", "thread": "ThreadSanitizer"}
_FLAGS = {
    "address": "-fsanitize=address,undefined,float-cast-overflow -D_GLIBCXX_ASSERTIONS",
    "thread": "-fsanitize=thread",
}
_RUNTIMES = {
    "address": ("libasan.so", "libubsan.so", "libstdc++.so.6"),
    "thread": ("libtsan.so", "libstdc++.so.6"),
}
_REPORT = re.compile(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:).*")
# The checks are the same without optimisation, and compiling takes a seventh of the time. The compiler itself must not
# have the libraries that are loaded into Python.
_COMPILER = """#!/bin/sh
unset LD_PRELOAD
for word; do shift; [ "$word" = -O3 ] && word=-O0; set -- "$@" "$word"; done
exec {compiler} "$@" {flags} -fno-omit-frame-pointer -g
"""


@dataclass(frozen=True)
class Watched:
    """What a sanitizer found: how many networks it watched, and its reports; ``skipped`` says why it did not."""

    sanitizer: str
    networks: int = 0
    reports: tuple[str, ...] = ()
    skipped: str = ""


def watch_all(extent: str, folder: Path, jobs: int, told: Callable[[str], None]) -> list[Watched]:
    """Both sanitizers, where the compiler has them.

    Args:
        extent: one of EXTENTS.
        folder: for what is built.
        jobs: processes at once.
        told: called with a line when one has ended.
    """
    shares = [(which, every, share) for which, every in EXTENTS[extent].items() for share in range(_SHARES)]
    for which in EXTENTS[extent]:
        (folder / which).mkdir(parents=True)
        _write_compiler(which, folder / which / "cxx")
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(lambda one: _watch(*one, folder / one[0], told), shares))
    return [_joined([found for found in done if found.sanitizer == _NAMES[which]]) for which in EXTENTS[extent]]


def _joined(shares: Sequence[Watched]) -> Watched:
    reports = tuple([report for share in shares for report in share.reports])
    return replace(shares[0], networks=sum(share.networks for share in shares), reports=reports)


def _write_compiler(which: str, path: Path) -> None:
    path.write_text(_COMPILER.format(compiler=shlex.join(find_compiler()), flags=_FLAGS[which]))
    path.chmod(0o755)


def _watch(which: str, every: int, share: int, folder: Path, told: Callable[[str], None]) -> Watched:
    libraries = _libraries(which)
    if libraries is None:
        return Watched(_NAMES[which], skipped="skipped, as the compiler does not have it")
    environment = {**os.environ, "CXX": str(folder / "cxx"), "EVENTPROP_CACHE": str(folder / "cache")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "benchmarks")])}
    environment |= {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    environment |= {"LD_PRELOAD": " ".join(libraries), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "robust.matrix", which, str(share * every), str(_SHARES * every)]
    with (folder / f"said{share}").open("w") as said:
        status = subprocess.run(command, env=environment, stdout=said, stderr=said, timeout=_LONGEST_S).returncode
    text = (folder / f"said{share}").read_text(errors="replace")
    reports = [found[0] for found in _REPORT.finditer(text)]
    ended = re.search(r"^(\d+) networks$", text, re.M)
    if status or ended is None:
        reports.append(f"ended with status {status}: {text[-500:]}")
    networks = int(ended[1]) if ended else 0
    told(f"{_NAMES[which]}, share {share + 1} of {_SHARES}: {networks} networks, {len(reports)} reports")
    return Watched(_NAMES[which], networks, tuple(reports))


def _libraries(which: str) -> list[str] | None:
    """The libraries that Python must load first; None where the compiler cannot name them."""
    found = []
    for name in _RUNTIMES[which]:
        command = [*find_compiler(), f"-print-file-name={name}"]
        path = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        if not os.path.isabs(path):
            return None
        found.append(path)
    return found


def table(found: Sequence[Watched]) -> str:
    """A row for each sanitizer, as Markdown."""
    lines = ["| sanitizer | networks | reports |", "|---|---|---|"]
    lines += [f"| {w.sanitizer} | {w.skipped or w.networks} | {len(w.reports)} |" for w in found]
    return "\n".join(lines)
