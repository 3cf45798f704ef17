"""The command line that the training scripts share."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import ending, own_losses, own_neurons, texts
from eventprop.backends.cpu.compiler import CompilerError
from eventprop.parameters import declaration as parameters
from eventprop.parameters.shared import ALIASES, OF_OTHERS
from eventprop.ranks import Ranks, quiet, world
from eventprop.reports import summary
from eventprop.simulators import recipes, registry
from eventprop.simulators.registry import Benchmark
from eventprop.terminal import blame, entry, spoken

__all__ = ["main"]

_EXAMPLES = """examples:
  {train}{recipe}
  {train} train{recipe} ETA=0.002 N_EPOCH=5 NAME=mine
  {train} --params {folder}/mine.json N_EPOCH=6 LOAD_LAST=true
  {test} --params {folder}/mine.json LOAD_LAST=true"""


@entry
def main(simulator: str, arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run a benchmark from the command line; the exit status.

    Args:
        simulator: the benchmark's name, as the registry and recipes have it.
        arguments: the command line; None for the program's own.
        program: what it is called in messages; None for the benchmark's script.
    """
    benchmark = registry.find(simulator)
    script, ranks = program or f"train_{benchmark.name}.py", Ranks()
    try:
        ranks = world()
        with quiet() if ranks.rank else nullcontext():
            _run(benchmark, script, arguments, speaks=ranks.rank == 0)
    except (ValueError, OSError, ArithmeticError, MemoryError, CompilerError) as error:
        blame(error)
        text = str(error) if isinstance(error, CompilerError) else "; ".join(str(error).split("\n"))
        return _failed(ranks, 1, f"{script}: error: ", text or type(error).__name__)
    except KeyboardInterrupt:
        text = "stopped; the same command with LOAD_LAST=true goes on from the last epoch"
        return _failed(ranks, 130, f"\n{script}: ", text)
    return 0


def _failed(ranks: Ranks, status: int, head: str, text: str) -> int:
    """Say what has ended the program, once if it has ended all of its processes; otherwise end the others, too."""
    alone = ranks.fails_alone()
    if alone or ranks.rank == 0:
        print(f"{head}{f'rank {ranks.rank}: ' if alone else ''}{text}", file=sys.stderr)
    if alone:
        ranks.end(status)
    return status


def _run(benchmark: Benchmark, script: str, arguments: Sequence[str] | None, *, speaks: bool) -> None:
    """Do what the command line says.

    Args:
        speaks: whether this process is the one that tells what came out.
    """

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        print(f"{script}: warning: {message}", file=sys.stderr)

    for path in _models_named(arguments):
        own_neurons.load_file(path)
    options = _parser(script, benchmark).parse_intermixed_args(arguments)
    if options.list_recipes:
        _list_recipes(benchmark.name)
        return
    with warnings.catch_warnings():
        if speaks:
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = warn
        mode, p, seeds = _settings(options, benchmark)
        if seeds:
            _repeated(benchmark, mode, p, seeds, speaks)
            return
        mn = benchmark.load()(p)
        result = benchmark.modes()[mode](mn, p)
        if speaks:
            with spoken(mn.p["VERBOSE"]):
                ending.tell(mn, mn._for_run(p), mode, result)


def _parser(script: str, benchmark: Benchmark) -> argparse.ArgumentParser:
    modes, there = list(benchmark.methods), recipes.list_recipes(benchmark.name)
    name = next((name for name in ("demo", "quick", *there) if name in there), None)
    folder = recipes.load_recipe(name, benchmark.name).overrides.get("OUT_DIR", ".") if name else "."
    train = f"python {script}" if script.endswith(".py") else script
    test = f"{train} test" if script.endswith(".py") else script.replace(" train ", " test ")
    recipe = f" --recipe {name}" if name else ""
    examples = _EXAMPLES.format(train=train, test=test, recipe=recipe, folder=folder)
    parser = argparse.ArgumentParser(
        prog=script,
        usage=f"{script} {'[FILE] ' if benchmark.file_key else ''}[{'|'.join(modes)}] [--recipe NAME] "
        "[--params FILE.json] [--seeds N ...] [--models FILE.py] "
        "[--list-recipes] "
        "[KEY=VALUE ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train and test spiking networks by Eventprop. Without a mode: the recipe's, or that in which the "
        f"run of FILE.json was made, else {modes[0]}.",
        epilog=f"{examples}\n\nkeys:\n{parameters.describe(benchmark.keys)}",
    )
    parser.add_argument(
        "words", nargs="*", metavar="KEY=VALUE", help="settings; texts may be bare words, lists as JSON"
    )
    parser.add_argument("--recipe", help="a named set of settings (see --list-recipes), or a TOML file")
    parser.add_argument("--params", metavar="FILE", help="a JSON file of settings, e.g. one saved with results")
    parser.add_argument(
        "--seeds",
        nargs="+",
        metavar="N",
        help="repeat the run with each as MODEL_SEED and TRAIN_DATA_SEED, as NAME_s1, NAME_s2, ...; NAME_seeds.csv "
        "has the table",
    )
    parser.add_argument(
        "--models",
        metavar="FILE.py",
        action="append",
        help='a Python file with neurons or losses of your own: models.NEURONS["mine"] = Neuron(...)',
    )
    parser.add_argument("--list-recipes", action="store_true", help="list the recipes and stop")
    return parser


def _models_named(arguments: Sequence[str] | None) -> list[str]:
    """Files of neurons on the command line: their parameters are keys, so they are read before all else."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--models", action="append", default=[])
    return list(first.parse_known_args(arguments)[0].models)


def _settings(options: argparse.Namespace, benchmark: Benchmark) -> tuple[str, dict[str, Any], list[int]]:
    """The mode, ``p`` (defaults, then recipe, then file, then ``KEY=VALUE``) and the seeds."""
    words, modes = list(options.words), list(benchmark.methods)
    numbers = [word for word in options.seeds or () if re.fullmatch(r"[+-]?\d+", word)]
    if options.seeds is not None and not numbers:
        raise ValueError(f"--seeds must be whole numbers, got {' '.join(options.seeds)}")
    words += [word for word in options.seeds or () if word not in numbers]  # they follow --seeds all the same
    mode = next((word for word in words if word in modes), None)
    if mode is not None:
        words.remove(mode)
    if benchmark.file_key:
        words = [word if "=" in word else f"{benchmark.file_key}={word}" for word in words]
    elif mode is None and words and "=" not in words[0]:
        raise ValueError(f"there is no mode {words[0]!r}; there are: {', '.join(modes)}")
    p = parameters.defaults(benchmark.keys)
    read: dict[str, dict[str, Any]] = {}  # settings by the file that they are from
    if options.recipe is not None:
        recipe = recipes.load_recipe(options.recipe, benchmark.name)
        p = recipes.apply(p, recipe)
        read[options.recipe] = recipe.overrides
    if options.params is not None:
        read[options.params] = _read_params(Path(options.params))
        p |= read[options.params]
    own_neurons.register(p["NEURONS"])
    own_losses.register(p["LOSSES"])
    p |= parameters.parse_settings(words, benchmark.keys, {**OF_OTHERS, **ALIASES})
    declared = next(key for key in benchmark.keys if key.name == "METHOD").check(p["METHOD"])
    p["METHOD"] = mode or declared or modes[0]
    _blame_files(p, read, benchmark)
    return p["METHOD"], parameters.at_home(p), list(map(int, numbers))


def _blame_files(p: dict[str, Any], read: Mapping[str, dict[str, Any]], benchmark: Benchmark) -> None:
    """See that the settings of files are right, while it is known which file they are from.

    Raises:
        ValueError: something is wrong with ``p``, and with what a file says by itself, too; names the file.
    """
    wrong = _problems(p, benchmark) if read else []
    told = wrong
    for path, settings in read.items():
        theirs = _problems({**parameters.defaults(benchmark.keys), **settings}, benchmark)
        told = [f"{path}: {line}" if line in theirs else line for line in told]
    if told != wrong:
        raise ValueError("\n".join(told))


def _problems(p: Mapping[str, Any], benchmark: Benchmark) -> list[str]:
    try:
        with warnings.catch_warnings(action="ignore"):  # the run says it
            benchmark.resolve(p)
    except ValueError as error:
        return str(error).split("\n")
    return []


def _read_params(path: Path) -> dict[str, Any]:
    if path.suffix == ".toml":
        raise ValueError(f"{path} is not a JSON file: a recipe, in TOML, is for --recipe")
    found = texts.read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold one JSON object of keys and values")
    try:
        if found.get("SPK_REC_STEPS") == round(found["TRIAL_MS"] / found["DT_MS"]):
            found["SPK_REC_STEPS"] = None  # as saved; another step or trial has other steps
    except (KeyError, TypeError, ArithmeticError, ValueError):
        pass  # one of them is not given, or wrong, which is told of its key
    return found


def _list_recipes(simulator: str) -> None:
    for name in recipes.list_recipes(simulator):
        recipe = recipes.load_recipe(name, simulator)
        method = f" ({recipe.method})" if recipe.method else ""
        print(f"{name}\n  {recipe.reason}\n  expect: {recipe.expect}{method}")


def _repeated(benchmark: Benchmark, mode: str, p: dict[str, Any], seeds: Sequence[int], speaks: bool) -> None:
    """One run for each seed, and a table of all.

    With ``LOAD_LAST`` those that have a checkpoint go on from it, and the others start.
    """
    if mode not in ("train", "train_test"):
        raise ValueError(f"--seeds repeats train and train_test, not {mode}")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"--seeds must be different whole numbers from 0, got {' '.join(map(str, seeds))}")
    rows, base = {}, str(p["NAME"])
    runs = {s: {**p, "MODEL_SEED": s, "TRAIN_DATA_SEED": s, "NAME": f"{base}_s{s}"} for s in seeds}
    for run in runs.values():
        benchmark.resolve(run)  # none fails when others have been trained
    for seed, run in runs.items():
        if run.get("LOAD_LAST") is True and run.get("CHECKPOINT_NAME") is None:
            run["LOAD_LAST"] = (Path(run["OUT_DIR"]) / f"{run['NAME']}_state_last.npz").exists()
        print(f"seed {seed}")
        mn = benchmark.load()(run)
        benchmark.modes()[mode](mn, run)
        rows[seed] = summary.row(mn.history)
        if p["WRITE_TO_DISK"] and speaks:
            summary.write(Path(p["OUT_DIR"]) / f"{base}_seeds.csv", "seed", rows)
    what = "test" if mode == "train_test" else "validation"
    values = np.array([r["eval_accuracy"] for r in rows.values()], float)
    if np.isnan(values).all():
        print(f"no {what} samples" + (" (N_VALIDATE=0)" if what == "validation" else ""))
        what, values = "training", np.array([r["train_accuracy"] for r in rows.values()], float)
    print(f"{what} accuracy of the last epoch, {len(seeds)} seeds: mean {values.mean():.2%}", end="")
    print(f", s.d. {values.std(ddof=1):.2%}" if len(seeds) > 1 else "")
