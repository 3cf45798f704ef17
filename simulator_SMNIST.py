"""Sequential MNIST (Le et al. 2015, Costa et al. 2017), an image's pixels one after the other, by Eventprop.

    from simulator_SMNIST import *

    p["RECURRENT"] = True
    mn = SMNIST_model(p)
    spike_t, spike_ID, rec_vars_n, rec_vars_s, correct, correct_eval = mn.train(p)

``p`` holds every parameter at its default; ``python train_SMNIST.py --help`` describes each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.data import smnist
from eventprop.data.dataset import Dataset
from eventprop.data.kept_arrays import cache_prefix
from eventprop.parameters import declaration as parameters
from eventprop.parameters import smnist as smnist_parameters
from eventprop.simulators.digits import DigitSimulator

__all__ = ["SMNIST_model", "p"]


class SMNIST_model(DigitSimulator):
    """Handwritten digits, scanned: neurons that see the grey level change from pixel to pixel, or rows; 10 classes."""

    keys = smnist_parameters.KEYS

    @staticmethod
    def defaults() -> dict[str, Any]:
        """A new ``p``: every parameter at its default."""
        return parameters.defaults(smnist_parameters.KEYS, smnist_parameters.OWNER)

    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return smnist_parameters.resolve_smnist(p)

    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        code, true_times = smnist_parameters.code_of(p), p["INPUT_TIMES"] == "true"
        cache = cache_prefix(p["DATA_DIR"], "SMNIST") if p["WRITE_TO_DISK"] else None
        return smnist.load_smnist(p["DATA_DIR"], code, p["DT_MS"], p["TRIAL_MS"], true_times, cache)


p = SMNIST_model.defaults()
