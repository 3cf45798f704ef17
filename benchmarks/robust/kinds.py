"""What a kind of file is: how whole ones are made, and what the program makes of one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .mutants import Mutate, damaged

__all__ = ["Different", "Kind", "Refused", "as_values", "quiet"]


class Refused(Exception):
    """What the command line, or a scan, says of a file in place of an exception."""


class Different(Exception):
    """A file was read, and something came of it that must not."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: writes whole files into the current folder, and returns the path in it of the one to damage.
        read: takes that path and returns all that the program makes of the files in the current folder.
        checked: whether the program can tell that the file is not as it was written, so that anything but an error or
            what the whole file gives is a fault.
        mutate: how it is damaged.
        also: words of which a clear error may have one in the place of the file's name.
        lines: whether an error may have several lines, of which each names the file.
    """

    make: Callable[[], Path]
    read: Callable[[Path], Sequence[Any]]
    checked: bool = False
    mutate: Mutate = damaged
    also: tuple[str, ...] = ()
    lines: bool = False


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Nothing is printed; gives what would have been."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        yield said


def as_values(found: Any) -> list[Any]:
    """Arrays, texts and numbers in whatever was found, in an order of their own, for a comparison."""
    if isinstance(found, Mapping):
        return [value for key in sorted(found) for value in (np.asarray(key), *as_values(found[key]))]
    if isinstance(found, list | tuple):
        return [value for each in found for value in as_values(each)]
    return [np.asarray(found)]
