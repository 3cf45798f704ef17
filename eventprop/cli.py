"""The command line that the training scripts share."""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import parameters, recipes, registry, summary
from eventprop.backends.cpu.compiler import CompilerError
from eventprop.simulator import Simulator
from eventprop.splits import Subset

__all__ = ["main"]

_EXAMPLES = """examples:
  {script} {mode}{recipe}
  {script} train{recipe} ETA=0.002 NAME=mine
  {script} train --params mine.json LOAD_LAST=true
  {script} test --params mine.json LOAD_BEST=true"""


def main(simulator: str, arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark from the command line; the exit status.

    Args:
        simulator: the benchmark's name, as the registry and recipes have it.
        arguments: the command line; None for the program's own.
    """
    benchmark = registry.find(simulator)
    script, keys, modes = f"train_{benchmark.name}.py", benchmark.keys, benchmark.modes()

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        print(f"{script}: warning: {message}", file=sys.stderr)

    there = recipes.list_recipes(simulator)
    example = next((name for name in ("demo", "quick", *there) if name in there), None)
    parser = _parser(script, keys, modes, example)
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.list_recipes:
            _list_recipes(simulator)
            return 0
        with warnings.catch_warnings():
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = warn
            mode, p = _settings(options, keys, list(modes), simulator)
            model = benchmark.load()
            if options.seeds:
                _repeated(model, modes, mode, p, options.seeds)
                return 0
            mn = model(p)
            outcome = modes[mode](mn, p)
            _summary(mn, mn._for_run(p), mode, outcome)
    except (ValueError, OSError, ArithmeticError, MemoryError, CompilerError) as error:
        text = str(error) if isinstance(error, CompilerError) else "; ".join(str(error).split("\n"))
        print(f"{script}: error: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"\n{script}: stopped; the same command with LOAD_LAST=true goes on from the last epoch",
            file=sys.stderr,
        )
        return 130
    return 0


def _parser(script: str, keys: Sequence[Any], modes: Mapping[str, Any], recipe: str | None) -> argparse.ArgumentParser:
    mode = "train_test" if "train_test" in modes else next(iter(modes))
    examples = _EXAMPLES.format(script=script, mode=mode, recipe=f" --recipe {recipe}" if recipe else "")
    parser = argparse.ArgumentParser(
        prog=script,
        usage=f"{script} [{'|'.join(modes)}] [--recipe NAME] [--params FILE.json] [--seeds N ...] [--list-recipes] "
        "[KEY=VALUE ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Train and test spiking networks by Eventprop. Without a mode: {next(iter(modes))}.",
        epilog=f"{examples}\n\nkeys:\n{parameters.describe(keys)}",
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="settings; values are JSON or bare words")
    parser.add_argument("--recipe", help="a named set of settings (see --list-recipes), or a TOML file")
    parser.add_argument("--params", metavar="FILE", help="a JSON file of settings, e.g. one saved with results")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="repeat the run with each as MODEL_SEED and TRAIN_DATA_SEED, as NAME_s1, NAME_s2, ...; NAME_seeds.csv "
        "has the table",
    )
    parser.add_argument("--list-recipes", action="store_true", help="list the recipes and stop")
    return parser


def _settings(
    options: argparse.Namespace, keys: Sequence[Any], modes: list[str], simulator: str
) -> tuple[str, dict[str, Any]]:
    """The mode and ``p``: defaults, then recipe, then file, then ``KEY=VALUE``."""
    words = list(options.words)
    mode = words.pop(0) if words and "=" not in words[0] else modes[0]
    if mode not in modes:
        raise ValueError(f"there is no mode {mode!r}; there are: {', '.join(modes)}")
    p = parameters.defaults(keys)
    if options.recipe:
        p = recipes.apply(p, recipes.load_recipe(options.recipe, simulator))
    if options.params:
        p |= _read_params(Path(options.params))
    return mode, parameters.at_home(p | parameters.parse_settings(words))


def _repeated(
    model: Callable[[dict[str, Any]], Simulator],
    modes: Mapping[str, Callable[[Any, dict[str, Any]], Any]],
    mode: str,
    p: dict[str, Any],
    seeds: Sequence[int],
) -> None:
    """One run for each seed, and a table of all.

    With ``LOAD_LAST`` those that have a checkpoint go on from it, and the others start.
    """
    if mode not in ("train", "train_test"):
        raise ValueError(f"--seeds repeats train and train_test, not {mode}")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"--seeds must be different whole numbers from 0, got {' '.join(map(str, seeds))}")
    rows, base = {}, str(p["NAME"])
    for seed in seeds:
        run = {**p, "MODEL_SEED": seed, "TRAIN_DATA_SEED": seed, "NAME": f"{base}_s{seed}"}
        if run.get("LOAD_LAST") is True and run.get("CHECKPOINT_NAME") is None:
            run["LOAD_LAST"] = (Path(run["OUT_DIR"]) / f"{run['NAME']}_state_last.npz").exists()
        print(f"seed {seed}")
        mn = model(run)
        modes[mode](mn, run)
        rows[seed] = summary.row(mn.history)
        if p["WRITE_TO_DISK"]:
            summary.write(Path(p["OUT_DIR"]) / f"{base}_seeds.csv", "seed", rows)
    values = np.array([r["eval_accuracy"] for r in rows.values()])
    what = "test" if mode == "train_test" else "validation"
    print(f"{what} accuracy of the last epoch, {len(seeds)} seeds: mean {values.mean():.2%}", end="")
    print(f", s.d. {values.std(ddof=1):.2%}" if len(seeds) > 1 else "")


def _read_params(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold one JSON object of keys and values")
    return found


def _list_recipes(simulator: str) -> None:
    for name in recipes.list_recipes(simulator):
        recipe = recipes.load_recipe(name, simulator)
        print(f"{name}\n  {recipe.reason}\n  expect: {recipe.expect}")


def _summary(simulator: Simulator, p: Mapping[str, Any], mode: str, outcome: Any) -> None:
    """What came out and where it lies."""
    if mode == "cross_validate":
        accuracies = np.array(outcome[0])
        trained, left_out = accuracies.mean(axis=0)
        print(f"mean over {len(accuracies)} folds: training {trained:.1%}, left out {left_out:.1%}")
    elif simulator.evaluated is not None:
        subset, result = simulator.evaluated
        if mode != "test":  # test() has said so itself
            what = "test" if mode == "train_test" else "validation"
            print(f"{what} accuracy {result.accuracy:.2%} of {len(subset)} samples")
        _by_speaker(simulator, subset, result.predictions == result.labels)
    if not p["WRITE_TO_DISK"]:
        return
    if simulator.evaluated is not None and mode != "cross_validate":
        _raster(simulator, p, simulator.evaluated[0])
        _confusion(simulator, p, *simulator.evaluated)
    folder = Path(p["OUT_DIR"])
    print(f"\nIn {folder}:")
    for path in sorted(folder.glob(f"{p['NAME']}*")):
        print(f"  {path.name:<40} {_describe(path.name.removeprefix(p['NAME']))}")


def _by_speaker(simulator: Simulator, subset: Subset, correct: np.ndarray) -> None:
    """Accuracy on speakers that the training file has and on those that it has not."""
    if subset.part.speakers is None or simulator.data.train.speakers is None:
        return
    speakers = subset.part.speakers[subset.indices]
    known = np.isin(speakers, np.unique(simulator.data.train.speakers))
    if known.any() and not known.all():
        print(
            f"  speakers of the training file {correct[known].mean():.2%} of {known.sum()}, "
            f"new speakers {correct[~known].mean():.2%} of {(~known).sum()}"
        )


def _raster(simulator: Simulator, p: Mapping[str, Any], subset: Subset) -> None:
    """A picture of three evaluation samples of different classes."""
    from eventprop import plots

    _, first = np.unique(subset.labels, return_index=True)
    chosen = Subset(subset.part, subset.indices[np.sort(first)[:3]])
    inputs = simulator.spikes(p, chosen, "input")
    layers = [simulator.spikes(p, chosen, layer.name) for layer in simulator.network(p).hidden]
    scores, predictions = simulator.scores(p, chosen), simulator.predictions(p, chosen)
    samples = []
    for i, label in enumerate(chosen.labels):
        times = np.concatenate([spikes[i][0] for spikes in layers])
        ids = np.concatenate([spikes[i][1] + k * p["NUM_HIDDEN"] for k, spikes in enumerate(layers)])
        sample = {"input": inputs[i], "hidden": (times, ids), "scores": scores[i], "label": int(label)}
        samples.append({**sample, "prediction": int(predictions[i])})
    figure = plots.raster(samples, p["TRIAL_MS"], simulator.data.num_channels, p["NUM_HIDDEN"] * len(layers))
    plots.save(figure, Path(p["OUT_DIR"]) / f"{p['NAME']}_raster.png")


def _confusion(simulator: Simulator, p: Mapping[str, Any], subset: Subset, outcome: Any) -> None:
    """A picture of the last evaluation's confusion matrix."""
    from eventprop import plots

    matrix = outcome.confusion(simulator.data.num_classes)
    title = f"{outcome.accuracy:.1%} of {len(subset)} samples"
    figure = plots.confusion(matrix, simulator.data.class_names, title)
    plots.save(figure, Path(p["OUT_DIR"]) / f"{p['NAME']}_confusion.png")


def _describe(rest: str) -> str:
    known = {
        ".json": "the parameters, seeds included",
        "_learning.png": "learning curves",
        "_raster.png": "spikes of three samples",
        "_confusion.png": "what was taken for what in the last evaluation",
        "_seeds.csv": "one row for each seed, mean and standard deviation",
        "_folds.csv": "one row for each fold, mean and standard deviation",
        "_best.txt": "the line of the best epoch",
        "_results.txt": "one line per epoch, the classic columns",
        "_results.csv": "the same and more, with named columns",
        "_state_last.npz": "checkpoint: LOAD_LAST=true goes on from it",
        "_state_best.npz": "checkpoint of the best epoch (LOAD_BEST=true)",
        "_state_last_previous.npz": "checkpoint of an earlier run of this name",
        "_state_best_previous.npz": "best checkpoint of an earlier run of this name",
    }
    if "_w_" in rest:
        return "weights, flat: element pre * n_post + post"
    if rest.endswith("_classes.png"):
        return "points in the colour of the class they are taken for"
    if rest.endswith("_first_spikes.png"):
        return "when each output first spikes"
    if re.search("_tau_?(m|syn|b)_", rest):
        return "time constants of neurons (ms)"
    return known.get(re.sub(r"^_f\d+", "", rest), "")
