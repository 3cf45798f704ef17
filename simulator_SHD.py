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
from eventprop.data.splits import Subset, everything, leave_speaker_out, random_split, reduce_classes
from eventprop.parameters import declaration as parameters
from eventprop.parameters import shd as shd_parameters
from eventprop.simulators.simulator import FoldsResult, RunResult
from eventprop.simulators.two_files import TwoFileSimulator

__all__ = ["SHD_model", "p"]


class SHD_model(TwoFileSimulator):
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

        scales = p["RESCALE_T"], p["RESCALE_X"]
        grid = shd.Grid(p["DT_MS"], p["TRIAL_MS"], *scales, p["INPUT_TIMES"] == "true", alignment_of(p))
        if p["DATA_SET"] == "DEMO":
            return demo.load_demo(p["DATA_DIR"], grid, write=p["WRITE_TO_DISK"])
        load = meaning("DATA_SET", p["DATA_SET"], {"SHD": shd.load_shd, "SSC": shd.load_ssc})
        cache = shd.cache_prefix(p["DATA_DIR"], p["DATA_SET"], p["DATA_BUFFER_NAME"]) if p["WRITE_TO_DISK"] else None
        return load(p["DATA_DIR"], grid, cache)

    def validation_file(self, p: Mapping[str, Any]) -> Subset:
        """All samples of SSC's validation file (of ``REDUCED_CLASSES``)."""
        assert self.data.validation is not None  # only SSC takes EVALUATION="validation_set"
        return reduce_classes(everything(self.data.validation), p["REDUCED_CLASSES"])

    def train(self, p: Mapping[str, Any]) -> RunResult:
        """Train on one part of the training file and validate on the other after each epoch.

        ``EVALUATION`` "random" takes ``N_TRAIN`` and ``N_VALIDATE`` samples at random, "speaker" validates on
        all samples of the first speaker in ``SPEAKER_LEFT``, "validation_set" trains on the whole file and validates
        on all of SSC's validation file. ``N_VALIDATE`` 0: the whole file trains, without validation.
        """
        run = self._for_run(p)
        samples = self.training_file(run)
        if run["N_VALIDATE"] == 0:
            return self._train(run, samples, None, "validation")
        if run["EVALUATION"] == "validation_set":
            return self._train(run, samples, self.validation_file(run), "validation")
        seed = run["TRAIN_DATA_SEED"]
        if run["EVALUATION"] == "speaker":
            training, validation = leave_speaker_out(samples, run["SPEAKER_LEFT"][0], run["N_TRAIN"], seed)
        else:
            extended = "blend" in run["AUGMENTATION"]
            split = meaning("EVALUATION", run["EVALUATION"], {"random": random_split})
            training, validation = split(samples, run["N_TRAIN"], run["N_VALIDATE"], seed, extended=extended)
        return self._train(run, training, validation, "validation")

    def cross_validate_SHD(self, p: Mapping[str, Any]) -> FoldsResult:
        """Leave one speaker out, for each of ``SPEAKER_LEFT``.

        The files of fold k carry the suffix ``_f<k>`` (its number in ``SPEAKER_LEFT``'s terms); all folds share
        the results file. ``<NAME>_folds.csv`` has a row for each fold, then mean and standard deviation. Killed, and
        called again with ``LOAD_LAST``, it goes on in the fold and epoch where it stopped.

        Returns:
            ``[training accuracy, validation accuracy]`` of each fold's last epoch; seconds per fold.
        """
        run = self._for_run(p)
        return self._cross_validate(run, self.training_file(run))


p = SHD_model.defaults()
