"""What benchmarks with a training file and a test file share: the samples of both, and runs that use whole files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventprop.data.splits import Subset, everything, reduce_classes
from eventprop.simulators.simulator import RunResult, Simulator

__all__ = ["TwoFileSimulator"]


class TwoFileSimulator(Simulator):
    """A benchmark whose data has a training file, part of which may validate, and a test file."""

    def training_file(self, p: Mapping[str, Any]) -> Subset:
        """All samples of the training file (of ``REDUCED_CLASSES``)."""
        return reduce_classes(everything(self.data.train), p["REDUCED_CLASSES"])

    def test_file(self, p: Mapping[str, Any]) -> Subset:
        """All samples of the test file (of ``REDUCED_CLASSES``)."""
        return reduce_classes(everything(self.data.test), p["REDUCED_CLASSES"])

    def test(self, p: Mapping[str, Any]) -> RunResult:
        """Accuracy on the test file, without learning, dropout or noise.

        Weights and time constants are those of a checkpoint (``LOAD_LAST``, ``LOAD_BEST``), else the object's own:
        those of its last training, or as set, or as ``p`` has them and as drawn from ``MODEL_SEED``.
        """
        run = self._for_run(p)
        return self._test(run, self.test_file(run), self.training_file(run))

    def train_test(self, p: Mapping[str, Any]) -> RunResult:
        """Train on the whole training file, evaluate on the test file after each epoch."""
        run = self._for_run(p)
        return self._train(run, self.training_file(run), self.test_file(run), "test")
