"""What the methods of simulators return: the same named fields for all of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventprop.reports.recording import Recorder

__all__ = ["FoldsResult", "RunResult"]


class RunResult(NamedTuple):
    """What ``train``, ``test`` and ``train_test`` return; unpacks into the six values of old.

    Attributes:
        spike_t, spike_ID: recorded spikes by population.
        rec_vars_n, rec_vars_s: recorded neuron and synapse variables.
        correct, correct_eval: accuracy (0 to 1) of the last epoch in training and evaluation or, where outputs are
            compared with values, the mean square error; not a number where there was none.
    """

    spike_t: dict[str, np.ndarray]
    spike_ID: dict[str, np.ndarray]
    rec_vars_n: dict[str, np.ndarray]
    rec_vars_s: dict[str, np.ndarray]
    correct: float
    correct_eval: float

    @classmethod
    def of(cls, recorder: Recorder, correct: float, correct_eval: float) -> RunResult:
        """With all that a recorder has."""
        spike_t, spike_ID, neurons, synapses = (recorder.arrays(kind) for kind in ("spike_t", "spike_ID", "n", "s"))
        return cls(spike_t, spike_ID, neurons, synapses, correct, correct_eval)


class FoldsResult(NamedTuple):
    """What cross-validation returns; unpacks into two lists.

    Attributes:
        accuracies: ``[training, validation]`` accuracy, or mean square error, of each fold's last epoch.
        seconds: what each fold took.
    """

    accuracies: list[list[float]]
    seconds: list[float]

    @property
    def correct(self) -> float:
        """Mean training accuracy of the folds."""
        return float(np.mean([fold[0] for fold in self.accuracies]))

    @property
    def correct_eval(self) -> float:
        """Mean accuracy of the folds on what was left out."""
        return float(np.mean([fold[1] for fold in self.accuracies]))
