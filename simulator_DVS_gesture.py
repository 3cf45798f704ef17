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

from eventprop.data import dvs
from eventprop.data.dataset import Dataset
from eventprop.parameters import declaration as parameters
from eventprop.parameters import dvs as dvs_parameters
from eventprop.simulators.recordings import RecordingSimulator

__all__ = ["DVSG_model", "p"]


class DVSG_model(RecordingSimulator):
    """Events of cells of pixels, two polarities each; 11 gestures or 10 digits."""

    keys = dvs_parameters.KEYS
    group = "user"

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


p = DVSG_model.defaults()
