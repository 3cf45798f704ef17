"""Whether a backend has the input spikes of the data (``TEST_ST_INTEGRITY``)."""

from __future__ import annotations

import numpy as np

from eventprop.backends import Engine
from eventprop.data.presentation import Presentation

__all__ = ["verify"]


def verify(engine: Engine, presented: Presentation, size: int) -> None:
    """Present the first batch without learning or dropout, and compare the input spikes that the backend has.

    Raises:
        RuntimeError: they are not those of the data; names the sample.
    """
    batch = next(iter(presented.batches(size)))
    dt_ms = engine.network.dt_ms
    for sample in batch.samples:
        engine.run(batch.spikes, np.array([sample]), None, record=())
        channels = batch.spikes.sample(int(sample))[1]
        expected = batch.spikes.times(int(sample), dt_ms) + dt_ms * (batch.spikes.at is None)  # when they arrive
        times, ids = engine.spike_times(0, "input")
        found = np.lexsort((ids, times))
        if not np.array_equal(ids[found], channels) or not np.allclose(times[found], expected):
            raise RuntimeError(f"the backend's input spikes of sample {sample} are not those of the data")
    print(
        f"TEST_ST_INTEGRITY: the backend has the input spikes of {len(batch.samples)} samples as they are in the data"
    )
