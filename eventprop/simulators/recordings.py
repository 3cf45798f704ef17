"""What the benchmarks on recordings of several people share: validation at random or on one of them, and all folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.choice import meaning
from eventprop.data.splits import Subset, leave_speaker_out, random_split
from eventprop.simulators.simulator import FoldsResult, RunResult
from eventprop.simulators.two_files import TwoFileSimulator

__all__ = ["RecordingSimulator"]


class RecordingSimulator(TwoFileSimulator):
    """A benchmark whose samples may say whose they are; ``group`` is what one of these is called."""

    group = "speaker"

    def validation_file(self, p: Mapping[str, Any]) -> Subset | None:
        """All samples of the validation file, if ``EVALUATION`` asks for it."""
        return None

    def train(self, p: Mapping[str, Any]) -> RunResult:
        """Train on one part of the training data and validate on the other after each epoch.

        ``EVALUATION`` "random" takes ``N_TRAIN`` and ``N_VALIDATE`` samples at random, "speaker" (of cameras "user")
        validates on all samples of the first one in ``SPEAKER_LEFT``; "validation_set" trains on the whole training
        file and validates on all of SSC's validation file. ``N_VALIDATE`` 0: all samples train, without validation.
        """
        run = self._for_run(p)
        samples = self.training_file(run)
        validation = None if run["N_VALIDATE"] == 0 else self.validation_file(run)
        if run["N_VALIDATE"] == 0 or validation is not None:
            return self._train(run, samples, validation, "validation")
        seed = run["TRAIN_DATA_SEED"]
        if run["EVALUATION"] == self.group:
            training, validation = leave_speaker_out(samples, run["SPEAKER_LEFT"][0], run["N_TRAIN"], seed)
        else:
            extended = "blend" in run["AUGMENTATION"]
            split = meaning("EVALUATION", run["EVALUATION"], {"random": random_split})
            training, validation = split(samples, run["N_TRAIN"], run["N_VALIDATE"], seed, extended=extended)
        return self._train(run, training, validation, "validation")

    def cross_validate(self, p: Mapping[str, Any]) -> FoldsResult:
        """Leave one speaker (or user) out, for each of ``SPEAKER_LEFT``.

        The files of fold k carry the suffix ``_f<k>`` (its number in ``SPEAKER_LEFT``'s terms); all folds share
        the results file. ``<NAME>_folds.csv`` has a row for each fold, then mean and standard deviation. Killed, and
        called again with ``LOAD_LAST``, it goes on in the fold and epoch where it stopped.

        Returns:
            ``[training accuracy, validation accuracy]`` of each fold's last epoch; seconds per fold.

        Raises:
            ValueError: the data name no speakers or users, or nothing is left to train or to validate with.
        """
        run = self._for_run(p)
        return self._cross_validate(run, self.training_file(run), self.group)
