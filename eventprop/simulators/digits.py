"""What the benchmarks on MNIST's files share: which samples train, and the runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.data.splits import Subset, first_and_last, permuted
from eventprop.simulators.simulator import RunResult
from eventprop.simulators.two_files import TwoFileSimulator

__all__ = ["DigitSimulator"]


class DigitSimulator(TwoFileSimulator):
    """A benchmark whose data has a training file, part of which validates, and a test file."""

    def training_file(self, p: Mapping[str, Any]) -> Subset:
        """All samples of the training file (of ``REDUCED_CLASSES``), in an order drawn from ``TRAIN_DATA_SEED``."""
        return permuted(super().training_file(p), p["TRAIN_DATA_SEED"], "split")

    def test_file(self, p: Mapping[str, Any]) -> Subset:
        """``N_TEST`` samples of the test file (of ``REDUCED_CLASSES``), drawn by ``TEST_DATA_SEED``."""
        chosen, _ = first_and_last(
            permuted(super().test_file(p), p["TEST_DATA_SEED"], "test"), p["N_TEST"], 0, "N_TEST"
        )
        return chosen

    def train(self, p: Mapping[str, Any]) -> RunResult:
        """Train on the first ``N_TRAIN`` samples, validate on the last ``N_VALIDATE`` after each epoch."""
        run = self._for_run(p)
        training, validation = first_and_last(self.training_file(run), run["N_TRAIN"], run["N_VALIDATE"])
        return self._train(run, training, validation if run["N_VALIDATE"] else None, "validation")

    def train_test(self, p: Mapping[str, Any]) -> RunResult:
        """Train on ``N_TRAIN`` samples, evaluate on the test file after each epoch; ``N_VALIDATE`` has no effect."""
        run = self._for_run(p)
        training, _ = first_and_last(self.training_file(run), run["N_TRAIN"], 0)
        return self._train(run, training, self.test_file(run), "test")
