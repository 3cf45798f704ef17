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

from eventprop.data import mnist
from eventprop.data.dataset import Dataset
from eventprop.parameters import declaration as parameters
from eventprop.parameters import mnist as mnist_parameters
from eventprop.simulators.digits import DigitSimulator

__all__ = ["mnist_model", "p"]


class mnist_model(DigitSimulator):
    """Handwritten digits: 784 pixels, of which each spikes once, the brighter the earlier; 10 classes."""

    keys = mnist_parameters.KEYS

    @staticmethod
    def defaults() -> dict[str, Any]:
        """A new ``p``: every parameter at its default."""
        return parameters.defaults(mnist_parameters.KEYS, mnist_parameters.OWNER)

    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return mnist_parameters.resolve_mnist(p)

    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        return mnist.load_mnist(p["DATA_DIR"], p["DT_MS"], p["TRIAL_MS"], p["INPUT_TIMES"] == "true")

    def spike_time_from_gray(self, t: np.ndarray) -> np.ndarray:
        """Spike times (ms) of grey levels from 0 to 255; not a number for 0 and 1, which are silent."""
        return mnist.spike_times(t, self.p["DT_MS"], self.p["TRIAL_MS"], self.p["INPUT_TIMES"] == "true")


p = mnist_model.defaults()
