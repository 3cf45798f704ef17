"""Gestures (Amir et al. 2017) and digits (N-MNIST, Orchard et al. 2015) before an event camera, by Eventprop.

    from simulator_DVS_gesture import *

    p["LOSS_TYPE"] = "sum"
    mn = DVSG_model(p)
    spike_t, spike_ID, rec_vars_n, rec_vars_s, correct, correct_eval = mn.train(p)

``p`` holds every parameter at its default; ``python train_DVS_gesture.py --help`` describes each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.choice import meaning
from eventprop.data import dvs
from eventprop.data.dataset import Dataset
from eventprop.data.splits import leave_speaker_out, random_split
from eventprop.parameters import declaration as parameters
from eventprop.parameters import dvs as dvs_parameters
from eventprop.simulators.simulator import FoldsResult, RunResult
from eventprop.simulators.two_files import TwoFileSimulator

__all__ = ["DVSG_model", "p"]


class DVSG_model(TwoFileSimulator):
    """Events of cells of pixels, two polarities each; 11 gestures or 10 digits."""

    keys = dvs_parameters.KEYS

    @staticmethod
    def defaults() -> dict[str, Any]:
        """A new ``p``: every parameter at its default."""
        return parameters.defaults(dvs_parameters.KEYS, dvs_parameters.OWNER)

    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return dvs_parameters.resolve_dvs(p)

    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        window = dvs.Window(
            side=dvs_parameters.source(p["DATA_SET"]).side,
            dt_ms=p["DT_MS"],
            trial_ms=p["TRIAL_MS"],
            start_ms=p["T_START_MS"],
            rescale_t=p["RESCALE_T"],
            downsample=p["DOWNSAMPLE"],
            threshold=p["EVENT_THRESHOLD"],
            true_times=p["INPUT_TIMES"] == "true",
        )
        if p["DATA_SET"] == "DEMO":
            from eventprop.data import demo_gestures as gestures

            return gestures.load_demo(p["DATA_DIR"], window, write=p["WRITE_TO_DISK"])
        return dvs.load(p["DATA_DIR"], p["DATA_SET"], window)

    def train(self, p: Mapping[str, Any]) -> RunResult:
        """Train on one part of the training recordings and validate on the other after each epoch.

        ``EVALUATION`` "random" takes ``N_TRAIN`` and ``N_VALIDATE`` recordings at random, "user" validates on all of
        the first user in ``SPEAKER_LEFT``. ``N_VALIDATE`` 0: all recordings train, without validation.
        """
        run = self._for_run(p)
        samples = self.training_file(run)
        if run["N_VALIDATE"] == 0:
            return self._train(run, samples, None, "validation")
        seed = run["TRAIN_DATA_SEED"]
        if run["EVALUATION"] == "user":
            training, validation = leave_speaker_out(samples, run["SPEAKER_LEFT"][0], run["N_TRAIN"], seed)
        else:
            split = meaning("EVALUATION", run["EVALUATION"], {"random": random_split})
            training, validation = split(samples, run["N_TRAIN"], run["N_VALIDATE"], seed)
        return self._train(run, training, validation, "validation")

    def cross_validate(self, p: Mapping[str, Any]) -> FoldsResult:
        """Leave one user out, for each of ``SPEAKER_LEFT``; files and return values are those of SHD's.

        Returns:
            ``[training accuracy, validation accuracy]`` of each fold's last epoch; seconds per fold.

        Raises:
            ValueError: the data set names no users, or nothing is left to train or to validate with.
        """
        run = self._for_run(p)
        return self._cross_validate(run, self.training_file(run), "user")


p = DVSG_model.defaults()
