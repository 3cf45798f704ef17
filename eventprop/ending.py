"""What came out of a run on the command line: accuracies, pictures, and which files lie where."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventprop.data.splits import Subset
from eventprop.data.targets import are_classes
from eventprop.reports.measures import measure_of
from eventprop.reports.pictures import attempt
from eventprop.simulators.simulator import Simulator

__all__ = ["tell"]


def tell(simulator: Simulator, p: Mapping[str, Any], mode: str, result: Any) -> None:
    """Print what came out and where it lies, and draw it.

    Args:
        p: the run's parameters, resolved.
        mode: what was run, and ``result`` what it returned.
    """
    if mode == "cross_validate":
        accuracies = np.array(result[0])
        trained, left_out = map(measure_of(simulator.history[-1]).text, accuracies.mean(axis=0))
        print(f"mean over {len(accuracies)} folds: training {trained}, left out {left_out}")
    else:
        _accuracy(simulator, p, mode)
    if not p["WRITE_TO_DISK"]:
        return
    folder = Path(p["OUT_DIR"])
    if simulator.evaluated is not None and mode != "cross_validate" and are_classes(simulator.evaluated[0].labels):
        subset, outcome = simulator.evaluated
        with attempt(path := folder / f"{p['NAME']}_raster.{p['PICTURE_FORMAT']}"):
            _raster(simulator, p, subset, path)
        with attempt(path := folder / f"{p['NAME']}_confusion.{p['PICTURE_FORMAT']}"):
            _confusion(simulator, subset, outcome, path)
    with attempt(f"of delays or time constants in {folder}"):
        _own_values(simulator, folder, str(p["NAME"]), p["PICTURE_FORMAT"])
    print(f"\nIn {folder}:")
    names = sorted(path.name for path in folder.glob(f"{glob.escape(p['NAME'])}[._]*"))
    width = max([39, *map(len, names)])
    for name in names:
        print(f"  {name:<{width}}  {_describe(name.removeprefix(p['NAME']))}")


def _accuracy(simulator: Simulator, p: Mapping[str, Any], mode: str) -> None:
    """Accuracy, or mean square error, of the last epoch, of what was measured."""
    what, last = "test" if mode == "train_test" else "validation", simulator.history[-1]
    measure = measure_of(last)
    words, name = f"{what} {measure.words}", measure.name
    if simulator.evaluated is not None:
        subset, outcome = simulator.evaluated
        if mode != "test":  # test() has said so itself
            print(f"{words} {measure.text(outcome.mean, 2)} of {len(outcome.labels)} samples")
        _by_speaker(simulator, subset, outcome.measured)
        return
    if not np.isnan(last[f"eval_{name}"]):  # of an epoch that was done before
        print(f"{words} {measure.text(last[f'eval_{name}'], 2)} in epoch {last['epoch'] + 1}")
    else:
        none = f"no {what} samples" + (" (N_VALIDATE=0)" if p.get("N_VALIDATE") == 0 else "")
        print(f"{none}; training {measure.words} {measure.text(last[f'train_{name}'], 2)}")


def _by_speaker(simulator: Simulator, subset: Subset, measured: np.ndarray) -> None:
    """What is measured on speakers that the training file has and on those that it has not."""
    if subset.part.speakers is None or simulator.data.train.speakers is None:
        return
    speakers = subset.part.speakers[subset.indices]
    known = np.isin(speakers, np.unique(simulator.data.train.speakers))
    if known.any() and not known.all():
        text = measure_of(simulator.history[-1]).text
        print(
            f"  speakers of the training file {text(measured[known].mean(), 2)} of {known.sum()}, "
            f"new speakers {text(measured[~known].mean(), 2)} of {(~known).sum()}"
        )


def _raster(simulator: Simulator, p: Mapping[str, Any], subset: Subset, path: Path) -> None:
    """A picture of three evaluation samples of different classes."""
    from eventprop.reports import plots

    _, first = np.unique(subset.labels, return_index=True)
    chosen = Subset(subset.part, subset.indices[np.sort(first)[:3]])
    inputs = simulator.spikes(p, chosen, "input")
    layers = [simulator.spikes(p, chosen, layer.name) for layer in simulator.network(p).hidden]
    scores, predictions = simulator.scores(p, chosen), simulator.predictions(p, chosen)
    samples = []
    for i, label in enumerate(chosen.labels):
        sample = {"input": inputs[i], "hidden": [spikes[i] for spikes in layers], "scores": scores[i]}
        samples.append({**sample, "label": int(label), "prediction": int(predictions[i])})
    data, sizes = simulator.data, [layer.size for layer in simulator.network(p).hidden]
    figure = plots.raster(samples, p["TRIAL_MS"], data.num_channels, sizes, names=data.class_names)
    plots.save(figure, path)


def _confusion(simulator: Simulator, subset: Subset, outcome: Any, path: Path) -> None:
    """A picture of the last evaluation's confusion matrix."""
    from eventprop.reports import plots

    matrix = outcome.confusion(simulator.data.num_classes)
    title = f"{outcome.accuracy:.1%} of {len(subset)} samples"
    figure = plots.confusion(matrix, simulator.data.class_names, title)
    plots.save(figure, path)


def _own_values(simulator: Simulator, folder: Path, name: str, kind: str) -> None:
    """Pictures of delays, and of time constants that neurons have each of their own."""
    differing = {
        q: own
        for q, values in simulator.time_constants().items()
        if (own := {n: a for n, a in values.items() if np.ptp(a) > 0.0})
    }
    for what, values in (("delays", simulator.delays()), ("time_constants", differing)):
        if values:
            from eventprop.reports import plots

            plots.save(getattr(plots, what)(values), folder / f"{name}_{what}.{kind}")


def _describe(rest: str) -> str:
    """What a file is, by the part of its name after ``NAME``."""
    known = {
        "_delays": "how many synapses have which delay",
        "_time_constants": "how many neurons have which time constant",
        ".json": "the parameters, seeds included",
        "_run.json": "the run's story: version, data, machines, what came out",
        "_tensorboard": "events of each epoch, for tensorboard --logdir",
        "_learning": "learning curves",
        "_raster": "spikes of three samples",
        "_confusion": "what was taken for what in the last evaluation",
        "_seeds.csv": "one row for each seed, mean and standard deviation",
        "_folds.csv": "one row for each fold, mean and standard deviation",
        "_best.txt": "the line of the best epoch",
        "_results.txt": "one line per epoch, the classic columns",
        "_results.csv": "the same and more, with named columns",
        "_state_last.npz": "checkpoint: LOAD_LAST=true goes on from it",
        "_state_best.npz": "checkpoint of the best epoch (LOAD_BEST=true)",
        "_state_start.npz": "checkpoint from before the first epoch",
        "_journal.bin": "history, recordings and predictions, which checkpoints do not repeat",
    }
    if earlier := re.fullmatch(r"(?:_f\d+)?_state_(last|best)_previous(_\d+)?\.npz", rest):
        return f"{'best ' if earlier[1] == 'best' else ''}checkpoint of an earlier run of this name"
    picture = re.sub(r"\.(png|svg|pdf)$", "", rest)
    if "_w_" in rest:
        return "weights, flat: element pre * n_post + post"
    if "_delay_" in rest:
        return "delays (ms), flat: element pre * n_post + post"
    if picture.endswith("_classes"):
        return "points in the colour of the class they are taken for"
    if picture.endswith("_first_spikes"):
        return "when each output first spikes"
    if re.search("_tau_?(m|syn|b)_", rest):
        return "time constants of neurons (ms)"
    if re.search(r"_(hidden\d+|output)_(last|best)\.npy$", rest):
        return "a trained parameter, of each neuron"
    return known.get(re.sub(r"^_f\d+", "", picture), "")
