"""Output that survives terminals without Unicode, readers that are gone and disks that are full."""

from __future__ import annotations

import codecs
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec

__all__ = ["blame", "entry", "note", "prepare", "spoken", "stoppable"]

_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ends
_ERRORS = "eventprop.spelt"
_PLAIN = {"≥": ">=", "≤": "<=", "…": "...", "±": "+-", "×": "x", "–": "-", "—": "-", "→": "->"}
_PLAIN |= dict.fromkeys("\u00b5\u03bc", "u")

P = ParamSpec("P")
_silent = False  # whether nothing is to be said


def entry(main: Callable[P, int]) -> Callable[P, int]:
    """``main`` of a program, which returns its exit status, so that what it prints cannot end it with a traceback.

    Where the reader of its output has gone, as ``head`` does, it ends without a word.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        prepare()
        try:
            try:
                return main(*args, **kwargs)
            finally:  # --help leaves through an exception
                sys.stdout.flush()
        except BrokenPipeError:
            _discard()
            return _BROKEN_PIPE
        except OSError as error:
            _discard()
            with contextlib.suppress(OSError):
                print(f"error: the output cannot be written: {error.strerror or error}", file=sys.stderr)
            return 1

    return run


def prepare() -> None:
    """Let characters that an output's encoding lacks be spelt in ASCII, or be question marks, instead of errors; and
    let outputs that are closed take what is printed."""
    codecs.register_error(_ERRORS, _spelt)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and stream.errors != _ERRORS:  # a notebook's has not, and takes everything
            stream.reconfigure(errors=_ERRORS)


@contextlib.contextmanager
def spoken(verbose: int) -> Iterator[None]:
    """Let nothing be said where ``verbose`` (``VERBOSE``) is 0; warnings and errors are, always."""
    global _silent
    if verbose:
        yield
        return
    before, _silent = _silent, True
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        _silent = before


def note(text: str, end: str = "\n") -> None:
    """Say on stderr what takes its time, unless nothing is to be said."""
    if not _silent:
        print(text, end=end, file=sys.stderr, flush=True)


def blame(error: BaseException) -> None:
    """Raise an error again, for :func:`entry` to tell, if it is that of an output, which names no file.

    Raises:
        OSError: the output's.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        print(flush=True)  # fails once more


def stoppable(name: str, command: Callable[[], int], wrong: int) -> int:
    """The exit status of a command of many runs, which goes on where it was when it is given again.

    Args:
        name: of the command, for messages.
        wrong: the status where it cannot be done, which is told; 130 where it was stopped, by SIGTERM as by Ctrl-C.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command()
    except (ValueError, OSError, ModuleNotFoundError) as error:
        blame(error)
        for line in str(error).split("\n"):
            print(f"{name}: error: {line}", file=sys.stderr)
        return wrong
    except KeyboardInterrupt:
        print(f"\n{name}: stopped; the same command goes on", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _spelt(error: UnicodeError) -> tuple[bytes | str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"".join(map(_character, error.object[error.start : error.end])), error.end


def _character(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no text
        return bytes([ord(character) - 0xDC00])
    return _PLAIN.get(character, "?").encode()


def _discard() -> None:
    """Let what is still to be written to outputs that cannot be written go nowhere, also at the end of Python."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
