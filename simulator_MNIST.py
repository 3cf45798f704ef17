"""MNIST (LeCun et al. 1998), each image as one volley of spikes, by Eventprop.

    from simulator_MNIST import *

    p["LOSS_TYPE"] = "sum"
    mn = mnist_model(p)
    spike_t, spike_ID, rec_vars_n, rec_vars_s, correct, correct_eval = mn.train(p)

``p`` holds every parameter at its default; ``python train_MNIST.py --help`` describes each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eventprop import mnist, mnist_parameters, parameters
from eventprop.dataset import Dataset
from eventprop.simulator import RunResult, Simulator
from eventprop.splits import Subset, everything, first_and_last, permuted, reduce_classes

__all__ = ["mnist_model", "p"]

p: dict[str, Any] = parameters.defaults(mnist_parameters.KEYS)


class mnist_model(Simulator):
    """Handwritten digits: 784 pixels, of which each spikes once, the brighter the earlier; 10 classes.

    Args:
        p: parameters; everything in it is checked before the data is loaded.

    Raises:
        ValueError: lists everything that is wrong with ``p``.
        FileNotFoundError: names the data file that is missing and where to get it.
    """

    data_keys = ("DATA_DIR", "DT_MS", "TRIAL_MS", "REDUCED_CLASSES")

    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return mnist_parameters.resolve_mnist(p)

    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        return mnist.load_mnist(p["DATA_DIR"], p["DT_MS"], p["TRIAL_MS"])

    def training_file(self, p: Mapping[str, Any]) -> Subset:
        """All samples of the training file (of ``REDUCED_CLASSES``), in an order drawn from ``TRAIN_DATA_SEED``."""
        samples = reduce_classes(everything(self.data.train), p["REDUCED_CLASSES"])
        return permuted(samples, p["TRAIN_DATA_SEED"], "split")

    def test_file(self, p: Mapping[str, Any]) -> Subset:
        """``N_TEST`` samples of the test file (of ``REDUCED_CLASSES``), drawn by ``TEST_DATA_SEED``."""
        samples = reduce_classes(everything(self.data.test), p["REDUCED_CLASSES"])
        chosen, _ = first_and_last(permuted(samples, p["TEST_DATA_SEED"], "test"), p["N_TEST"], 0, "N_TEST")
        return chosen

    def spike_time_from_gray(self, t: np.ndarray) -> np.ndarray:
        """Spike times (ms) of grey levels from 0 to 255; not a number for 0 and 1, which are silent."""
        return mnist.spike_times(t, self.p["DT_MS"], self.p["TRIAL_MS"])

    def train(self, p: Mapping[str, Any]) -> RunResult:
        """Train on the first ``N_TRAIN`` samples, validate on the last ``N_VALIDATE`` after each epoch."""
        run = self._for_run(p)
        training, validation = first_and_last(self.training_file(run), run["N_TRAIN"], run["N_VALIDATE"])
        return self._train(run, training, validation if run["N_VALIDATE"] else None, "validation")

    def test(self, p: Mapping[str, Any]) -> RunResult:
        """Accuracy on the test file, without learning, dropout or noise.

        Weights and time constants are those of a checkpoint (``LOAD_LAST``, ``LOAD_BEST``), else the object's own.
        """
        run = self._for_run(p)
        return self._test(run, self.test_file(run))

    def train_test(self, p: Mapping[str, Any]) -> RunResult:
        """Train on ``N_TRAIN`` samples, evaluate on the test file after each epoch; ``N_VALIDATE`` has no effect."""
        run = self._for_run(p)
        training, _ = first_and_last(self.training_file(run), run["N_TRAIN"], 0)
        return self._train(run, training, self.test_file(run), "test")
