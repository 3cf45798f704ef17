"""What ``TIMING`` and ``PROFILE`` report after training."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from eventprop.data.spikes import SpikeSet

__all__ = ["TimingSettings", "report"]


@dataclass(frozen=True)
class TimingSettings:
    """What is reported, under the names of the keys in small letters."""

    timing: bool
    profile: bool = False


def report(
    settings: TimingSettings,
    epoch: float,
    samples: int,
    seconds: float,
    building: float,
    spikes: SpikeSet,
    parts: Mapping[str, float],
) -> dict[str, float]:
    """Print what is asked for, and return it.

    Args:
        epoch: seconds of an epoch.
        samples: presented in training in an epoch.
        seconds: of the whole run; ``building``: of these, until the engine was ready.
        spikes: of the training file.
        parts: seconds by what is done, on GeNN or by several processes.
    """
    found: dict[str, float] = {}
    if settings.timing:
        found |= {"seconds": seconds, "seconds_per_epoch": epoch, **parts}
        print(f"{epoch:.2f} s per epoch ({epoch / samples * 1e3:.2f} ms per training sample, evaluation included)")
        if parts:
            print("  in the whole run: " + ", ".join(f"{name} {value:.2f} s" for name, value in parts.items()))
    if settings.profile:
        size = sum(array.nbytes for array in (spikes.offsets, *spikes.arrays.values())) / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
        found |= {"building": building, "input_mb": size, "peak_gb": peak}
        print(f"  ready after {building:.2f} s; training input {size:.1f} MB; peak memory of the process {peak:.2f} GB")
    return found
