"""What a newcomer types: every command of the README and of ``--help``, as printed, in a fresh clone."""

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
ENTER = ". .venv/bin/activate"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.M)


def commands() -> list[str]:
    """The README's, those of a line apart, without comments, each once."""
    typed = [line for language, block in BLOCKS if not language for line in block.splitlines()]
    typed += re.findall(r"`(python [^`]*)`", README)
    parts = [part.strip() for line in typed for part in re.sub(r"\s+#.*", "", line).split(" && ")]
    return list(dict.fromkeys(part for part in parts if re.match(r"python |make \w+$", part)))


USAGE = [command for command in commands() if "[" in command]
BENCHMARKS = [command for command in commands() if command.startswith("python benchmarks/")]
WITHOUT_DATA = [
    command for command in commands() if re.search("shd_|ssc_|digits", command) and command not in BENCHMARKS
]
COMMANDS = [command for command in commands() if command not in {*USAGE, *BENCHMARKS, *WITHOUT_DATA}]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, whose virtual environment is that of the tests."""
    folder = tmp_path_factory.mktemp("clone") / "genn_eventprop"

    def ignored(at: str, names: list[str]) -> set[str]:
        everywhere = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")(at, names)
        return everywhere | ({"build", "dist", "data", "runs"} if Path(at) == ROOT else set())

    shutil.copytree(ROOT, folder, ignore=ignored)
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (binaries / "python").chmod(0o755)
    (binaries / "activate").write_text('PATH="$PWD/.venv/bin:$PATH"; export PATH\n')
    (folder / ".venv" / ".ready").touch()
    return folder


def typed(clone: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    command = command if command.startswith("make ") else f"{ENTER}\n{command}"
    return subprocess.run(["sh", "-c", command], cwd=clone, env=environment, capture_output=True, text=True)


def test_the_readme_says_how_to_enter_the_environment_first() -> None:
    """Without it the first command with python ends in a ModuleNotFoundError."""
    assert README.index("make train") < README.index(f"\n{ENTER}\n") < README.index("python ")
    assert len(COMMANDS) >= 6 and len(WITHOUT_DATA) == 5 and len(USAGE) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme(clone: Path, command: str) -> None:
    done = typed(clone, command)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    if command == "make train":
        printed = next(block for _, block in BLOCKS if "test accuracy" in block)
        assert [line.split()[0] for line in done.stdout.split("In runs/demo:\n")[1].splitlines()] == [
            line.split()[0] for line in printed.split("In runs/demo:\n")[1].splitlines()
        ]
        assert float(re.findall(r"^test accuracy ([\d.]+)%", done.stdout, re.M)[0]) > 93.0


@pytest.mark.parametrize("command", WITHOUT_DATA)
def test_a_command_that_needs_data(clone: Path, command: str) -> None:
    """It says which file is missing, and where to put it."""
    done = typed(clone, command)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert re.search(r"train_SHD.py: error: .*(shd|ssc)_train.h5 is missing", error), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", BENCHMARKS)
def test_a_benchmark_is_there_and_knows_its_options(command: str) -> None:
    words = command.split()
    source = (ROOT / words[1]).read_text(encoding="utf-8")
    assert all(f'"{word}"' in source for word in words if word.startswith("--"))


def test_the_usage_is_that_of_help(clone: Path) -> None:
    (usage,) = USAGE
    assert f"usage: {usage.removeprefix('python ')}\n" in typed(clone, "python train_SHD.py --help").stdout


@pytest.mark.parametrize("number", range(2))
def test_python_of_the_readme(clone: Path, number: int) -> None:
    block = [block for language, block in BLOCKS if language == "python"][number]
    (clone / "mine.py").write_text(block, encoding="utf-8")
    done = typed(clone, "python mine.py")
    assert done.returncode == 0 and "epoch 5/5" in done.stdout, done.stderr


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
    for script, recipe in (("yinyang", "quick"), ("SHD", "demo")):
        command = f"python train_{script}.py --recipe {recipe}"
        assert command in README or command in (ROOT / "Makefile").read_text()
