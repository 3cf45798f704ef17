"""Spiking Heidelberg Digits and Spiking Speech Commands (Cramer et al. 2020) by Eventprop.

    from simulator_SHD import *

    p["TRIAL_MS"] = 1000.0
    mn = SHD_model(p)
    spike_t, spike_ID, rec_vars_n, rec_vars_s, correct, correct_eval = mn.train(p)

``p`` holds every parameter at its default; ``python train_SHD.py --help`` describes each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.choice import meaning
from eventprop.data.splits import Subset, everything, reduce_classes
from eventprop.parameters import declaration as parameters
from eventprop.parameters import shd as shd_parameters
from eventprop.simulators.recordings import RecordingSimulator
from eventprop.simulators.simulator import FoldsResult

__all__ = ["SHD_model", "p"]


class SHD_model(RecordingSimulator):
    """Spoken digits or words as spikes: 700 channels, 20 or 35 classes, layers and read-out of ``p``'s kinds."""

    keys = shd_parameters.KEYS

    @staticmethod
    def defaults() -> dict[str, Any]:
        """A new ``p``: every parameter at its default."""
        return parameters.defaults(shd_parameters.KEYS, shd_parameters.OWNER)

    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return shd_parameters.resolve_shd(p)

    def load_data(self, p: Mapping[str, Any]) -> Any:
        from eventprop.data import demo_digits as demo
        from eventprop.data import shd
        from eventprop.data.alignment import alignment_of

        scales, true_times = (p["RESCALE_T"], p["RESCALE_X"]), p["INPUT_TIMES"] == "true"
        clock = p["CLOCK_CHANNELS"]
        grid = shd.Grid(p["DT_MS"], p["TRIAL_MS"], *scales, true_times, alignment_of(p), clock=clock)
        if p["DATA_SET"] == "DEMO":
            return demo.load_demo(p["DATA_DIR"], grid, write=p["WRITE_TO_DISK"])
        load = meaning("DATA_SET", p["DATA_SET"], {"SHD": shd.load_shd, "SSC": shd.load_ssc})
        cache = shd.cache_prefix(p["DATA_DIR"], p["DATA_SET"], p["DATA_BUFFER_NAME"]) if p["WRITE_TO_DISK"] else None
        return load(p["DATA_DIR"], grid, cache)

    def validation_file(self, p: Mapping[str, Any]) -> Subset | None:
        """All samples of SSC's validation file (of ``REDUCED_CLASSES``), if ``EVALUATION`` asks for it."""
        if p["EVALUATION"] != "validation_set":
            return None
        assert self.data.validation is not None  # only SSC takes EVALUATION="validation_set"
        return reduce_classes(everything(self.data.validation), p["REDUCED_CLASSES"])

    def cross_validate_SHD(self, p: Mapping[str, Any]) -> FoldsResult:
        """Leave one speaker out, for each of ``SPEAKER_LEFT``: as :meth:`cross_validate`."""
        return self.cross_validate(p)


p = SHD_model.defaults()
