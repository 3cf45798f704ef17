"""What GeNN builds and is kept: a folder for each network, whole or not to be used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eventprop.backends.building import FINISHED
from eventprop.files import write_json

__all__ = ["facts_of_builds", "finish_build", "is_damaged", "is_finished", "output_to"]

_CHECKSUMS = "checksums"


def _checksums(folder: Path) -> dict[str, str]:
    """Of the libraries that will be loaded, by their place in ``folder``."""
    found = {str(path.relative_to(folder)): path for path in sorted(_libraries(folder))}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def _libraries(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in (".so", ".dylib", ".dll"))


def finish_build(folder: Path, facts: Mapping[str, Any]) -> None:
    """Say that all of a build is there: its libraries are on the disk before the file that tells of them."""
    for library in _libraries(folder):
        with library.open("rb") as file:
            os.fsync(file.fileno())
    write_json(folder / FINISHED, {**facts, _CHECKSUMS: _checksums(folder)})


def is_finished(folder: Path) -> bool:
    """Whether a whole build is there."""
    try:
        facts = _facts(folder)
        return bool(facts and facts.get(_CHECKSUMS) and facts[_CHECKSUMS] == _checksums(folder))
    except OSError:
        return False


def is_damaged(folder: Path) -> bool:
    """Whether a build was there that is not whole any more."""
    return (folder / FINISHED).exists() and not is_finished(folder)


def facts_of_builds(cache: Path) -> list[dict[str, Any]]:
    """What is known of all builds that are kept."""
    found = (_facts(path.parent) for path in cache.glob(f"genn_*/{FINISHED}"))
    return [facts for facts in found if facts is not None]


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads((folder / FINISHED).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


@contextlib.contextmanager
def output_to(path: Path) -> Iterator[None]:
    """What this process and its children print goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with path.open("w") as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for descriptor in kept:
                os.close(descriptor)
