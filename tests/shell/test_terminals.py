"""Terminals without Unicode, readers that have gone, drives that are full, and pictures that cannot be drawn."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import cli, files, terminal
from tests.shell.test_cli import PLAIN, SMALL, shell
from tests.support.places import ROOT


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text(""), 'OUT_DIR="place" cannot be written: it is a file, not a folder'),
        (lambda path: path.symlink_to("gone"), 'OUT_DIR="place" cannot be written: it is a link to gone, which is not'),
        (lambda path: path.symlink_to(path), 'OUT_DIR="place" cannot be written: it is a link to place, which is not'),
    ],
    ids=["file", "dangling link", "loop"],
)
def test_places_that_cannot_be_written(
    make: Callable[[Path], Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path("place"))
    assert cli.main("yinyang", ["train", *SMALL, "OUT_DIR=place"]) == 1
    error = capsys.readouterr().err
    assert message in error and "epoch" not in error


def test_a_file_system_that_cannot_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network drives refuse fsync; a disk that fails in it does not go unnoticed."""
    refused = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
    for number, fails in (*((number, False) for number in refused), (errno.EIO, True), (errno.ENOSPC, True)):

        def refuse(_: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("os.fsync", refuse)
        if fails:
            with pytest.raises(OSError, match=r"out\.bin"):
                files.write_bytes(Path("out.bin"), b"new")
        else:
            files.write_bytes(Path("out.bin"), b"old")
    assert Path("out.bin").read_bytes() == b"old"


@pytest.mark.parametrize(
    "environment", [PLAIN, *({"PYTHONIOENCODING": e} for e in ("ascii", "latin-1", "cp437"))], ids=str
)
def test_help_in_terminals_without_unicode(environment: dict[str, str]) -> None:
    for script, words in (
        ("train_SHD.py", ["--help"]),
        ("train_SHD.py", ["--list-recipes"]),
        ("eventprop", ["keys"]),
        ("eventprop", ["info"]),
    ):
        done = shell(*words, script=script, **environment)
        assert done.returncode == 0 and done.stderr == b"", done.stderr
        spelt = "≥ 1 and ≤ 1024".encode("cp437") if "cp437" in environment.values() else b">= 1 and <= 1024"
        assert spelt in done.stdout or words not in (["--help"], ["keys"])


def test_a_run_in_a_terminal_without_unicode() -> None:
    """Names of one's own are printed as far as the terminal goes; an error is one, too."""
    done = shell("train", *SMALL, "NAME=größe-数据", "OUT_DIR=ö", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and b"gr??e-??_results.csv" in done.stdout, done.stderr
    done = shell("train", *SMALL, "OUT_DIR=ö", **PLAIN)
    assert done.returncode == 0 and "In ö:".encode() in done.stdout, done.stderr  # the bytes of the folder's name
    done = shell("--recipe", "größe", PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and b"there is no recipe 'gr??e'" in done.stderr


def test_a_script_of_ones_own_in_a_terminal_without_unicode() -> None:
    """What is printed in training has the folder's name in it."""
    settings = {"N_TRAIN": 64, "N_TEST": 20, "N_EPOCH": 1, "NUM_HIDDEN": 8, "DT_MS": 1.0, "OUT_DIR": "数"}
    script = f"from simulator_yinyang import *\np |= {settings!r}\nfor _ in 'ab': yinyang(p).train(p)\n"
    Path("mine.py").write_text(script, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "mine.py"], env=env, capture_output=True)
    assert done.returncode == 0 and b"is now ?/test_state_last_previous_1.npz" in done.stdout, done.stderr


def test_characters_that_an_encoding_lacks() -> None:
    error = UnicodeEncodeError("ascii", "5 ≥数\udcff…\u00b5s", 2, 7, "no")
    assert terminal._spelt(error) == (b">=?\xff...u", 7)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train_SHD.py", ["--help"]),
        ("train_SHD.py", ["--list-recipes"]),
        ("train_yinyang.py", ["train", *SMALL]),
        ("eventprop", ["keys"]),
        ("eventprop", ["scan", str(ROOT / "scans" / "demo.toml"), "--list"]),
    ],
    ids=["help", "recipes", "run", "keys", "scan"],
)
def test_a_reader_that_has_gone(script: str, words: list[str]) -> None:
    """As with ``| head -1``: silent, with the status of a program that a broken pipe ends."""
    read, write = os.pipe()
    os.close(read)
    done = shell(*words, script=script, stdout=write)
    os.close(write)
    assert done.stderr.replace(b"Building the CPU engine", b"").count(b"rror") == 0, done.stderr
    assert done.returncode == (0 if words == ["--help"] else 141)  # argparse does not look whether help was printed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_an_output_that_is_full() -> None:
    with open("/dev/full", "wb") as full:
        done = shell("train", *SMALL, stdout=full)
    assert done.returncode == 1 and b"error: the output cannot be written: No space left on device" in done.stderr


def test_outputs_that_are_closed() -> None:
    """As of a program without a terminal."""
    command = f'exec "$0" "{ROOT / "train_yinyang.py"}" train {" ".join(SMALL)} >&- 2>&-'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(["sh", "-c", command, sys.executable], env=env).returncode == 0
    assert Path("out/test_state_last.npz").exists()


BACKENDS = ["module://matplotlib_inline.backend_inline", "module://nowhere", "inline", "tkagg", "nonsense"]


@pytest.mark.parametrize("backend", [BACKENDS[0], *(pytest.param(b, marks=pytest.mark.long) for b in BACKENDS[1:])])
def test_no_backend_of_matplotlibs_is_needed(backend: str) -> None:
    """A notebook's shell commands get its MPLBACKEND, without the package it is from."""
    done = shell("train", *SMALL, "N_VALIDATE=20", MPLBACKEND=backend)
    assert done.returncode == 0 and b"has failed" not in done.stderr, done.stderr
    for what in ("learning", "raster", "confusion"):
        assert Path(f"out/test_{what}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_broken_matplotlib_ends_no_run() -> None:
    """Each picture is a line with its file and why; all seeds are trained."""
    Path("broken/matplotlib").mkdir(parents=True)
    Path("broken/matplotlib/__init__.py").write_text(
        "raise ImportError('libfreetype.so.6: cannot open\\nshared object')"
    )
    path = os.pathsep.join([os.path.abspath("broken"), str(ROOT)])
    done = shell("train", *SMALL, "N_VALIDATE=20", "TRAINING_PLOT=true", "FANCY_PLOTS=true", PYTHONPATH=path)
    lines = [line for line in done.stderr.decode().splitlines() if "has failed" in line]
    assert done.returncode == 0 and len(lines) == 5, done.stderr
    names = ("epoch1_classes", "epoch1_first_spikes", "learning", "raster", "confusion")
    why = "ImportError: libfreetype.so.6: cannot open shared object"
    assert lines == [f"warning: the picture out/test_{name}.png has failed: {why}" for name in names]
    done = shell("train", *SMALL, "NAME=s", "--seeds", "1", "2", PYTHONPATH=path)
    assert done.returncode == 0 and len(list(Path("out").glob("s_s?_state_last.npz"))) == 2, done.stderr


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("no font"), MemoryError()])
def test_a_picture_that_fails_ends_no_run(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from eventprop.reports import plots

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(plots, "save", fail)
    assert cli.main("yinyang", ["train_test", *SMALL, "TRAINING_PLOT=true"]) == 0
    lines = capsys.readouterr().err.splitlines()
    failed = [line for line in lines if line.startswith("warning: the picture out/test_")]
    assert len(failed) == 4 and all(type(error).__name__ in line for line in failed), lines
    assert Path("out/test_state_last.npz").exists()


def test_stopping_is_no_picture_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from eventprop.reports import plots

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plots, "save", stop)
    assert cli.main("yinyang", ["train", *SMALL]) == 130


def test_a_curve_with_gaps() -> None:
    """Epochs without an evaluation are no zeros, and a last one without has no label."""
    from eventprop.reports import plots

    nan = float("nan")
    history = [
        {"epoch": i, "train_accuracy": 0.5, "train_loss": 1.0, "eval_accuracy": accuracy, "eval_loss": accuracy}
        for i, accuracy in enumerate((0.25, nan))
    ]
    axes = plots.learning_curves(history).axes[0]
    assert np.isnan(axes.lines[1].get_ydata()[1]) and not axes.texts
