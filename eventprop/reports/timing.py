"""What ``TIMING`` and ``PROFILE`` report after training."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from typing import Any

from eventprop.data.spikes import SpikeSet
from eventprop.training.checkpoint import TrainingState

__all__ = ["report"]


def report(
    p: Mapping[str, Any],
    state: TrainingState,
    samples: int,
    seconds: float,
    building: float,
    spikes: SpikeSet,
    parts: Mapping[str, float],
) -> dict[str, float]:
    """Print what ``p`` asks for, and return it.

    Args:
        samples: presented in training in an epoch.
        seconds: of the whole run; ``building``: of these, until the engine was ready.
        spikes: of the training file.
        parts: seconds by kernel, on GeNN.
    """
    found: dict[str, float] = {}
    if not state.history:
        return found
    if p["TIMING"]:
        epoch = state.seconds / state.epoch
        found |= {"seconds": seconds, "seconds_per_epoch": epoch, **parts}
        print(f"{epoch:.2f} s per epoch ({epoch / samples * 1e3:.2f} ms per training sample, evaluation included)")
        if parts:
            print("  GeNN's own count: " + ", ".join(f"{name} {value:.2f} s" for name, value in parts.items()))
    if p.get("PROFILE"):
        size = sum(array.nbytes for array in (spikes.offsets, spikes.steps, spikes.channels)) / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
        found |= {"building": building, "input_mb": size, "peak_gb": peak}
        print(f"  ready after {building:.2f} s; training input {size:.1f} MB; peak memory of the process {peak:.2f} GB")
    return found
