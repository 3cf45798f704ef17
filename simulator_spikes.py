"""Spikes of one's own with labels, in memory or in files of SHD's layout, by Eventprop.

    from simulator_spikes import *

    mn = spikes_model(p, train=(X, Y))
    spike_t, spike_ID, rec_vars_n, rec_vars_s, correct, correct_eval = mn.train(p)

``X`` is a list of samples and ``Y`` of their labels; see :mod:`eventprop.data.own_forms` for all that a sample may be.
``p`` holds every parameter at its default; ``python train_spikes.py --help`` describes each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventprop.data import own
from eventprop.data.dataset import Dataset
from eventprop.data.spikes import SpikeSet
from eventprop.parameters import declaration as parameters
from eventprop.parameters import spikes as spikes_parameters
from eventprop.simulators.recordings import RecordingSimulator
from eventprop.simulators.simulator import FoldsResult

__all__ = ["p", "spikes_model"]


class spikes_model(RecordingSimulator):
    """Any spikes with labels: channels, classes and the length of a trial are those of the data, or of ``p``.

    Args:
        p: parameters.
        train: ``(X, Y)``, ``(X, Y, groups)`` or a data set of ``(spikes, label)``; None where ``DATA_SET`` names files.
        test: likewise; None to put ``N_TEST`` samples aside.
    """

    keys = spikes_parameters.KEYS

    def __init__(self, p: Mapping[str, Any], train: Any = None, test: Any = None) -> None:
        self._source = own.source_of(p, train, test)
        super().__init__(p)

    @staticmethod
    def defaults() -> dict[str, Any]:
        """A new ``p``: every parameter at its default."""
        return parameters.defaults(spikes_parameters.KEYS, spikes_parameters.OWNER)

    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        return spikes_parameters.resolve_spikes(p, self._source)

    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        return self._source.dataset(p)

    def cross_validate(self, p: Mapping[str, Any]) -> FoldsResult:
        """Leave one group out, for each of ``SPEAKER_LEFT``; all samples of the others train."""
        return super().cross_validate({**p, "EVALUATION": "speaker"})

    def _sample_spikes(self, X: Sequence[Any], p: Mapping[str, Any]) -> SpikeSet:
        return own.sample_spikes(X, p, self._source.sensor)


p = spikes_model.defaults()
