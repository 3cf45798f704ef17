"""The Yin-Yang task (Kriener et al. 2022) by Eventprop.

    from simulator_yinyang import *

    mn = yinyang(p)
    spike_t, spike_ID, rec_vars_n, rec_vars_s, correct = mn.train(p)
    correct_test = mn.test(p)[-1]

``p`` holds every parameter at its default; ``python train_yinyang.py --help`` describes each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventprop.backends import Engine
from eventprop.data import yinyang as task
from eventprop.data.dataset import Dataset
from eventprop.data.splits import Subset, everything, first_and_last
from eventprop.parameters import declaration as parameters
from eventprop.parameters import yinyang as yinyang_parameters
from eventprop.reports.pictures import attempt
from eventprop.simulators.simulator import RunResult, Simulator

__all__ = ["p", "yinyang"]


class _Five(NamedTuple):
    spike_t: dict[str, np.ndarray]
    spike_ID: dict[str, np.ndarray]
    rec_vars_n: dict[str, np.ndarray]
    rec_vars_s: dict[str, np.ndarray]
    accuracy: float


class YinyangResult(_Five):
    """What ``train`` and ``test`` return: five values, and the names of all simulators' six.

    The fifth value is the accuracy of the last epoch, or of the test. ``correct`` and ``correct_eval`` are those of
    :class:`eventprop.simulators.simulator.RunResult`: accuracy in training and in evaluation, not a number where there
    was none.
    """

    correct: float
    correct_eval: float

    @classmethod
    def of(cls, result: RunResult, accuracy: float) -> YinyangResult:
        """The five values of a result, of which ``accuracy`` is the fifth."""
        five = cls(*result[:4], accuracy)
        five.correct, five.correct_eval = result.correct, result.correct_eval
        return five


class yinyang(Simulator):
    """Points of a disc as five spikes: a bias, x, y, 1 - x, 1 - y; 3 classes.

    Attributes:
        X_train_orig, X_test_orig: points ``(n, 2)``, coordinates from 0 to 1; training points first, then the
            ``N_VALIDATE`` of validation.
        Y_train, Y_test: their classes ``(n,)``.
    """

    keys = yinyang_parameters.KEYS

    @staticmethod
    def defaults() -> dict[str, Any]:
        """A new ``p``: every parameter at its default."""
        return parameters.defaults(yinyang_parameters.KEYS, yinyang_parameters.OWNER)

    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return yinyang_parameters.resolve_yinyang(p)

    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        self.X_train_orig, self.Y_train = task.points(p["N_TRAIN"] + p["N_VALIDATE"], p["TRAIN_DATA_SEED"])
        self.X_test_orig, self.Y_test = task.points(p["N_TEST"], p["TEST_DATA_SEED"])
        train = task.encode(self.X_train_orig, self.Y_train, *_times(p))
        test = task.encode(self.X_test_orig, self.Y_test, *_times(p))
        return Dataset("Yin-Yang", train, test, 5, len(task.CLASSES), task.CLASSES)

    def train(self, p: Mapping[str, Any]) -> YinyangResult:
        """Train on the ``N_TRAIN`` points; validate on ``N_VALIDATE`` others after each epoch."""
        run = self._for_run(p)
        training, validation = first_and_last(everything(self.data.train), run["N_TRAIN"], run["N_VALIDATE"])
        evaluation = validation if run["N_VALIDATE"] else None
        result = self._train(run, training, evaluation, "validation", each_epoch=self._pictures(run, training))
        return YinyangResult.of(result, result.correct)

    def train_test(self, p: Mapping[str, Any]) -> RunResult:
        """Train on the ``N_TRAIN`` points, evaluate on the test points after each epoch."""
        run = self._for_run(p)
        training, _ = first_and_last(everything(self.data.train), run["N_TRAIN"], 0)
        return self._train(run, training, everything(self.data.test), "test", each_epoch=self._pictures(run, training))

    def _pictures(self, p: Mapping[str, Any], training: Subset) -> Callable[[Engine, int], None]:
        """What draws the training points after an epoch, in those of ``TRAINING_PLOT_INTERVAL``."""

        def each_epoch(engine: Engine, epoch: int) -> None:
            if _pictured(p) and epoch % p["TRAINING_PLOT_INTERVAL"] == 0:
                self._draw(p, engine, training, self.X_train_orig, f"epoch {epoch + 1}")

        return each_epoch

    def decision_map(self, p: Mapping[str, Any], n: int = 100) -> np.ndarray:
        """Predicted class of each point of an ``n`` x ``n`` grid over the unit square, ``[y, x]``; -1 for none."""
        run = self._for_run(p)
        centres = (np.arange(n) + 0.5) / n
        x, y = np.meshgrid(centres, centres)
        grid = np.stack([x.ravel(), y.ravel()], axis=1)
        part = task.encode(grid, np.zeros(len(grid), np.int32), *_times(run))
        return self.predictions(p, everything(part)).reshape(n, n)

    def _draw(self, p: Mapping[str, Any], engine: Engine, samples: Subset, points: np.ndarray, title: str) -> None:
        """The pictures that ``TRAINING_PLOT`` and ``FANCY_PLOTS`` ask for, of at most 2,000 points."""
        part, chosen = samples.part, samples.indices[:2000]
        result = engine.run(part.spikes, chosen, None)
        coordinates, predictions = points[chosen], result.predictions
        times = np.where(-result.scores * p["TAU_0"] > p["TRIAL_MS"] + 0.5, np.nan, -result.scores * p["TAU_0"])
        pictures = [("classes", "points_by_class", (predictions, part.labels[chosen]))] if p["TRAINING_PLOT"] else []
        if p["FANCY_PLOTS"] and engine.network.loss.spiking:
            pictures.append(("first_spikes", "first_spikes", (times, predictions)))
        for what, function, values in pictures:
            path = Path(p["OUT_DIR"]) / f"{p['NAME']}_{title.replace(' ', '')}_{what}.{p['PICTURE_FORMAT']}"
            with attempt(path):
                from eventprop.reports import plots

                figure = getattr(plots, function)(coordinates, *values, task.CLASSES, title)
                if p["WRITE_TO_DISK"]:
                    plots.save(figure, path)
                plots.show(figure)

    def test(self, p: Mapping[str, Any]) -> YinyangResult:
        """Accuracy on the test points, without learning, dropout or noise.

        Weights and time constants are those of a checkpoint (``LOAD_LAST``, ``LOAD_BEST``), else the object's own.
        """
        run = self._for_run(p)
        samples = everything(self.data.test)
        result = self._test(run, samples)
        if _pictured(run):
            self._draw(run, self._ready(run), samples, self.X_test_orig, "test")
        return YinyangResult.of(result, result.correct_eval)


p = yinyang.defaults()


def _times(p: Mapping[str, Any]) -> tuple[float, float, bool]:
    """How coordinates become spikes."""
    return p["DT_MS"], p["TRIAL_MS"], p["INPUT_TIMES"] == "true"


def _pictured(p: Mapping[str, Any]) -> bool:
    return bool(p["TRAINING_PLOT"] or p["FANCY_PLOTS"])
