"""What a newcomer types: commands of the README, the page of the command line and ``--help``, as printed, in a clone.

Other pages: ``tests/test_docs.py``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eventprop.simulators import registry
from tests.support.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
START, SHELL, PAPER, BENCHMARKS = (
    (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("index", "shell", "paper", "benchmarks")
)
ENTER = ". .venv/bin/activate"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.M)


def blocks(text: str, language: str) -> list[str]:
    return [block for found, block in FENCE.findall(text) if found == language]


def commands(text: str) -> list[str]:
    """Those of a page's blocks, one for each part of ``a && b``, without comments, each once."""
    typed = [line for block in blocks(text, "sh") for line in block.replace("\\\n", "").splitlines()]
    parts = [part.strip() for line in typed for part in re.sub(r"\s+#.*", "", line).split(" && ")]
    return list(dict.fromkeys(part for part in parts if re.match(r"python |make \w+$", part)))


DEMO = "python train_SHD.py --recipe demo"  # which `make train` runs
COMMANDS = list(dict.fromkeys(c for c in commands(README) + commands(SHELL) if c != DEMO))
"""In this order: some go on with what others left."""
WITHOUT_DATA = [
    command
    for command in commands(PAPER) + commands(BENCHMARKS)
    if re.match(r"python train_SHD.*(shd_|ssc_|digits)", command)
]
"""Commands of other pages whose data is not here."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, whose virtual environment is that of the tests."""
    folder = tmp_path_factory.mktemp("clone") / "genn_eventprop"

    def ignored(at: str, names: list[str]) -> set[str]:
        everywhere = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")(at, names)
        return everywhere | ({"build", "dist", "data", "runs", "site"} if Path(at) == ROOT else set())

    shutil.copytree(ROOT, folder, ignore=ignored)
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (binaries / "python").chmod(0o755)
    (binaries / "activate").write_text('PATH="$PWD/.venv/bin:$PATH"; export PATH\n')
    (folder / ".venv" / ".ready").touch()
    return folder


LONG = pytest.mark.long


def typed(clone: Path, command: str) -> subprocess.CompletedProcess[str]:
    others = ("PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # where make runs the tests
    environment = {key: value for key, value in os.environ.items() if key not in others}
    command = command if command.startswith("make ") else f"{ENTER}\n{command}"
    return subprocess.run(["sh", "-c", command], cwd=clone, env=environment, capture_output=True, text=True)


def test_the_readme_says_how_to_enter_the_environment_first() -> None:
    """Without it the first command with python ends in a ModuleNotFoundError."""
    assert README.index("make train") < README.index(f"\n{ENTER}\n") < README.index("\npython ")
    assert (
        commands(README) == ["make train", "python train_yinyang.py --recipe quick"]
        and len(COMMANDS) == 14
        and len(WITHOUT_DATA) == 9
    )


@pytest.mark.parametrize("command", [c if c == "make train" else pytest.param(c, marks=LONG) for c in COMMANDS])
def test_a_command_of_readme_and_command_line(clone: Path, command: str) -> None:
    done = typed(clone, command)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    if command == "make train":
        assert float(re.findall(r"^test accuracy ([\d.]+)%", done.stdout, re.M)[0]) > 93.0
        said = without_numbers(done.stdout)
        shown = [line for line in blocks(README, "text")[0].splitlines() if line != "..."]
        assert shown and all(without_numbers(line) in said for line in shown)
        told = next(block for block in blocks(START, "text") if "test accuracy" in block)
        assert files_of(done.stdout) == files_of(told)


def without_numbers(text: str) -> str:
    return re.sub(r" *[\d.]+", " #", text)


def files_of(text: str) -> list[list[str]]:
    """Names and meanings that a run ends with."""
    return [line.split(maxsplit=1) for line in text.split("In runs/demo:\n")[1].splitlines()]


@pytest.mark.parametrize("command", WITHOUT_DATA)
def test_a_command_that_needs_data(clone: Path, command: str) -> None:
    """It says which file is missing, and where to put it."""
    done = typed(clone, command)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert re.search(r"train_SHD.py: error: .*(shd|ssc)_train.h5 is missing", error), done.stderr
    assert "Traceback" not in done.stderr


def test_the_usage_is_that_of_help(clone: Path) -> None:
    """As on the page of the command line, which has it in several lines."""
    usage = " ".join(blocks(SHELL, "text")[0].split())
    assert usage.startswith("usage: train_SHD.py ")
    assert f"{usage}\n" in typed(clone, "python train_SHD.py --help").stdout


def test_python_of_the_readme(clone: Path) -> None:
    (block,) = blocks(README, "python")
    (clone / "mine.py").write_text(block, encoding="utf-8")
    done = typed(clone, "python mine.py")
    assert done.returncode == 0 and "epoch 5/5" in done.stdout, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("name", registry.BENCHMARKS)
def test_the_examples_of_help(clone: Path, name: str) -> None:
    """One after the other, as each goes on with what the one before it left."""
    told = typed(clone, f"python train_{name}.py --help").stdout
    examples = [line.strip() for line in told.split("examples:\n")[1].split("\n\n")[0].splitlines()]
    assert len(examples) == 4 and all(example.startswith(f"python train_{name}.py ") for example in examples)
    for example in examples[1:] if name in ("SHD", "yinyang") else examples:  # the first is the README's
        done = typed(clone, example)
        assert "Traceback" not in done.stderr, done.stderr
        if "MNIST" in name:  # whose data is not here
            assert done.returncode == 1 and re.search("is missing|No such file", done.stderr)
        else:
            assert done.returncode == 0 and re.search(r"% of \d+ samples|accuracy \d", done.stdout), done.stderr


def test_the_first_example_of_help_is_in_the_readme() -> None:
    assert "python train_yinyang.py --recipe quick" in commands(README)
    assert f"$(BIN)/{DEMO}\n" in (ROOT / "Makefile").read_text()
