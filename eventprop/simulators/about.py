"""What a simulator object says of itself: in the file of a run, as text, and to a process that it is sent to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eventprop import __version__
from eventprop.backends import Engine
from eventprop.backends.devices import choose
from eventprop.data.dataset import Dataset
from eventprop.data.splits import Subset
from eventprop.network import Network
from eventprop.reports.measures import measure_of
from eventprop.reports.provenance import machine
from eventprop.training.trainer import Outcome

if TYPE_CHECKING:
    from eventprop.simulators.simulator import Simulator

__all__ = ["about_run", "described", "line_of", "num_trained", "with_data", "without_data"]

Evaluated = tuple[Subset, Outcome] | None


def about_run(
    simulator: Simulator, p: dict[str, Any], training: Subset, evaluation: Subset | None, engine: Engine
) -> dict[str, Any]:
    """What is known of a run when it starts, for its file; "process" is what this process adds."""
    data = simulator.data
    return {
        "name": p["NAME"],
        "benchmark": type(simulator).__name__,
        "method": p["METHOD"],
        "version": __version__,
        "data": {
            "name": data.name,
            "channels": data.num_channels,
            "classes": data.num_classes,
            "training": len(training),
            "evaluation": 0 if evaluation is None else len(evaluation),
        },
        "process": {
            "machine": machine(),
            "backend": engine.name,
            "threads": getattr(engine, "num_threads", None),
        },
    }


def line_of(simulator: Simulator) -> str:
    """The object in one line: benchmark, data, network, loss, what it has learned, where its files are."""
    p, network = simulator.p, simulator._network
    parts = [f"{network.num_input} channels", *(f"{q.size} {q.model.name}" for q in network.populations)]
    recurrent = " (recurrent)" if any(s.source == s.target for s in network.projections) else ""
    files = Path(p["OUT_DIR"]) / p["NAME"]
    return (
        f"<{type(simulator).__name__} on {simulator.data.name}: {' -> '.join(parts)}{recurrent}, loss "
        f"{network.loss.name}; {_learned(simulator)}; {files}>"
    )


def described(simulator: Simulator) -> str:
    """The object as a text of several lines; what is trained has a star."""
    data, network, p = simulator.data, simulator._network, simulator.p
    constants, weights, delays = simulator.time_constants(), simulator.weights(), simulator.delays()
    there = {s.name: network.masks.get(s.name, np.ones(s.shape, bool)) for s in network.projections}
    layers = [("layer", "neurons", "type", "time constants (ms)", "spikes of a neuron in a trial")]
    activity = _activity(simulator)
    for q in network.populations:
        own = [f"{n} {_spread(a)}{'*' * (n in q.trained)}" for n, a in constants[q.name].items()]
        layers.append((q.name, str(q.size), q.model.name, ", ".join(own), activity.get(q.name, "")))
    synapses = [("synapses", "from", "to", "number", "weights", "delays (ms)")]
    for s in network.projections:
        late = "" if s.delay is None else _spread(delays[s.name][there[s.name]]) + "*" * s.delay.trained
        drawn, number = _spread(weights[s.name][there[s.name]]) + "*" * s.trained, int(np.count_nonzero(there[s.name]))
        sparse = f" of {there[s.name].size:,}" if s.name in network.masks else ""
        synapses.append((s.name, s.source, s.target, f"{number:,}{sparse}", drawn, late))
    threads = p["NUM_THREADS"] or "all"
    return "\n".join(
        [
            f"{type(simulator).__name__} on {data.name}: {data.num_channels} channels, {data.num_classes} classes, "
            f"{len(data.train.labels):,} training samples",
            f"trials of {network.num_steps} steps of {network.dt_ms:g} ms, spikes {network.spike_timing}, loss "
            f"{network.loss.name}, regularisation {network.regulariser.name}",
            "",
            *_table(layers),
            "",
            *_table(synapses),
            "",
            f"{num_trained(network):,} trained parameters (*), {network.precision} precision, batches of "
            f"{p['N_BATCH']}, engine {choose(p['BACKEND'])} ({threads} threads)",
            _learned(simulator),
        ]
    )


def num_trained(network: Network) -> int:
    """How many numbers training changes: weights and delays of synapses that are there, parameters of neurons; a delay
    that several synapses share is one."""
    number = sum(q.size for q in network.populations for _ in q.trained)
    for s in network.projections:
        there = network.masks.get(s.name, np.ones(s.shape, bool))
        number += s.trained * int(np.count_nonzero(there))
        if s.delay is not None and s.delay.trained:
            own = {"synapse": there, "source": there.any(1), "target": there.any(0)}[s.delay.per]
            number += int(np.count_nonzero(own))
    return number


def _learned(simulator: Simulator) -> str:
    """How long it was trained, or that it was only tested, and how well it does."""
    if not simulator.history:
        return "not trained"
    last, epochs = simulator.history[-1], len(simulator.history)
    phases, measure = (("train", "training"), ("eval", "evaluation")), measure_of(last)
    there = [(key, what) for key, what in phases if not math.isnan(last[f"{key}_loss"])]
    shown = [f"{what} {measure.text(measure.of(last, key))}" for key, what in there]
    done = f"{epochs} epoch{'s' * (epochs > 1)}" if shown[0].startswith("training") else "tested"
    return f"{done}, {measure.words}: {', '.join(shown)}"


def _activity(simulator: Simulator) -> dict[str, str]:
    """Mean spikes of a neuron in a trial of the last epoch, by hidden layer."""
    if not simulator.history:
        return {}
    hidden = simulator._network.hidden
    layers = simulator.history[-1].get("layers", [simulator.history[-1]])
    pairs = zip(hidden, layers, strict=True)
    return {q.name: f"{r['hidden_spikes_mean'] / q.size:.2f}, {r['silent_neurons']} silent" for q, r in pairs}


def _spread(values: np.ndarray) -> str:
    """Mean and standard deviation; one number where all are equal."""
    if np.ptp(values) == 0.0:
        return f"{float(values.flat[0]):.4g}"
    return f"{values.mean():.3g} ± {values.std():.3g}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{n}}" for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows]


def without_data(data: Dataset, evaluated: Evaluated) -> tuple[str, Any, Outcome] | None:
    """The last evaluation with the name of its samples' part instead of the part itself; None where it is another."""
    if evaluated is None:
        return None
    subset, outcome = evaluated
    for name in ("train", "validation", "test"):
        if vars(data).get(name) is subset.part:  # of parts that are read when they are asked for, those that were
            return name, subset.indices, replace(outcome, subset=None)  # type: ignore[arg-type]
    return None


def with_data(data: Dataset, kept: tuple[str, Any, Outcome] | None) -> Evaluated:
    """What :func:`without_data` was given, with the samples of a data set that was read again."""
    if kept is None:
        return None
    name, indices, outcome = kept
    subset = Subset(getattr(data, name), indices)
    return subset, replace(outcome, subset=subset)
