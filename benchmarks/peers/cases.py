"""What every tool gets: the same spikes and weights, in files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import with_ours
from speed import SIZES, firing_weights, network_of, spike_data

from eventprop.backends.cpu.engine import CpuEngine
from eventprop.data.yinyang import encode, points

TAU_MEM, TAU_SYN = 20.0, 10.0
"""Of first-spike networks (ms): one tool's closed form needs this ratio."""

TRIAL, TAU_0, ALPHA = 30.0, 0.5, 3e-3


@dataclass(frozen=True)
class Case:
    """A task at one size, whose ``data`` are in a file; who may try it is in ``tools.toml``."""

    task: str
    neurons: int
    steps: int
    batch: int
    data: Path


def made(folder: Path, quick: bool, most: int | None = None) -> Iterator[Case]:
    """All cases, the small ones first, the data of each written to a file.

    Args:
        quick: the small ones alone, in short trials.
        most: steps of the trials of task "SHD", if fewer than they have.
    """
    most = most or (200 if quick else None)
    sizes = [("first spikes", 100, 32, 0), ("first spikes", 100, 256, 0)]
    sizes += [("SHD", neurons, batch, steps) for batch in (32, 256) for neurons, steps in SIZES]
    kept = [("first spikes", 100, 32, 0), ("SHD", SIZES[0][0], 32, SIZES[0][1])] if quick else sizes
    for task, neurons, batch, steps in kept:
        path = folder / "data.npz"
        steps = min(steps, most or steps)
        if task == "SHD":
            np.savez(path, **shd(neurons, steps, batch))
        else:
            np.savez(path, **first_spikes(neurons, batch, seed=1, recurrent=False))
        yield Case(task, neurons, steps, batch, path)


def shd(neurons: int, steps: int, batch: int) -> dict[str, Any]:
    """Arrays of task "SHD": weights with which hidden neurons spike some nine times."""
    rng = np.random.default_rng(0)
    spikes = spike_data(batch, steps, rng) if steps > 700 else _fewer(batch, steps, rng)
    engine = CpuEngine(network_of(neurons, steps, LOSS_TYPE="sum"))
    firing_weights(engine, spikes, np.random.default_rng(1), 0.0)
    w = engine.weights()
    found = {"in_to_hid": w["in_to_hid"], "hid_to_hid": w["hid_to_hid0"], "hid_to_out": w["hid_to_out"]}
    found |= {"offsets": spikes.offsets, "steps": spikes.steps, "channels": spikes.channels}
    labels = rng.integers(0, 20, batch).astype(np.int32)
    return {**found, "num_steps": steps, "tau_mem": 20.0, "tau_syn": 5.0, "labels": labels}


def _fewer(samples: int, steps: int, rng: np.random.Generator) -> Any:
    """As :func:`spike_data` in shorter trials, in which as many spikes come in as many milliseconds."""
    full = spike_data(samples, 700, rng)
    kept = full.steps < steps
    counts = np.add.reduceat(kept, full.offsets[:-1])
    return type(full)(
        np.concatenate([[0], np.cumsum(counts)]), full.steps[kept], full.channels[kept], full.num_channels, steps
    )


def first_spikes(neurons: int, batch: int, seed: int, recurrent: bool) -> dict[str, Any]:
    """Arrays of task "first spikes", Yin-Yang points among them: hidden neurons spike about once, outputs mostly."""
    rng = np.random.default_rng(seed)
    coordinates, labels = points(batch, seed)
    part = encode(coordinates, labels, 1.0, TRIAL, True).spikes
    times = np.array([part.times(i, 1.0)[np.argsort(part.sample(i)[1])] for i in range(batch)])
    found: dict[str, Any] = {
        "in_to_hid": rng.normal(1.5, 0.8, (5, neurons)),
        "hid_to_out": rng.normal(8.0, 4.0, (neurons, 3)) / neurons,
    }
    if recurrent:
        found["hid_to_hid0"] = rng.normal(0.0, 0.3, (neurons, neurons)) / np.sqrt(neurons)
    found |= {"times": times, "labels": labels, "trial": TRIAL, "tau_mem": TAU_MEM, "tau_syn": TAU_SYN}
    found |= {"tau_0": TAU_0, "alpha": ALPHA}
    engine = CpuEngine(with_ours.first_spikes_network(found))
    engine.set_weights({p.name: found[p.name] for p in engine.network.projections})
    spikes = with_ours.input_spikes(found)
    counts = engine.run(spikes, np.arange(batch), None).spike_counts.sum(1)
    own, extra = int(counts.max()), 8
    return {**found, "hidden_events": own + 5 + extra, "events": own + 5 + 3 * neurons + extra}
