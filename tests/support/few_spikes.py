"""Small networks with few spikes, and the engine against the event-driven oracle on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from eventprop.backends.cpu.engine import CpuEngine
from tests.support import grid_numpy, oracle
from tests.support.drawn import Events, layers_of, random_layer, rounded
from tests.support.oracle import Layer
from tests.support.small import PARAMETERS, Case, flat, gradients_of, relative


def few_spikes_case(
    seed: int,
    kind: str | tuple[str, ...] = "hetLIF",
    loss: str = "sum",
    *,
    sizes: tuple[int, ...] = (4,),
    recurrent: bool | tuple[bool, ...] = True,
    v_reset: float = 0.0,
    grid_ms: int = 1,
    **options: Any,
) -> Case:
    """A random network for the oracle: 6 inputs with 2 spikes each at multiples of ``grid_ms``, a few hidden spikes, 3
    outputs, 60 ms; ``kind`` and ``recurrent`` of all layers or of each. All kinds of neurons have trained time
    constants, those of "LIF" are the same for all neurons."""
    rng = np.random.default_rng(seed)
    own, spiking = kind != "LIF", loss in grid_numpy.SPIKING_LOSSES
    rows = 6 * options.get("copies", 1)
    hidden: list[Layer] = []
    for sources, size, of, again in layers_of(rows, sizes, kind, recurrent):
        w_rec = rounded(rng.normal(0.0, 0.6 / np.sqrt(size), (size, size))) if again else None
        adapts = {"tau_b": rounded(rng.uniform(25, 50, size)), "b_incr": 0.15, "b_init": 0.1} if of == "ALIF" else {}
        mean, sd = (1.4 * 6 / rows, 0.4) if not hidden else (5.0 / sources, 1.5 / np.sqrt(sources))
        hidden.append(random_layer(rng, sources, size, mean, sd, own, w_rec=w_rec, v_reset=v_reset, **adapts))
    mean, sd = (6.0 / sizes[-1], 1.5 / np.sqrt(sizes[-1])) if spiking else (0.0, 2.0 / np.sqrt(sizes[-1]))
    threshold = 1.0 if spiking else np.inf
    output = random_layer(rng, sizes[-1], 3, mean, sd, own, v_thresh=threshold, v_reset=v_reset)
    times = [rng.choice(np.arange(grid_ms, 45, grid_ms), 2, replace=False) for _ in range(6)]
    stamps = sorted((int(t) // grid_ms - 1, i) for i, own_times in enumerate(times) for t in own_times)
    net = oracle.Network(tuple(hidden), output, 60.0)
    options = {"min_denominator": None, **options}
    return Case(net, (stamps,), np.array([seed % 3], np.int32), float(grid_ms), loss, **options)


def with_true_times(case: Case, times: tuple[Events, ...], dt_ms: float) -> Case:
    """The network with other input, on a grid that does not matter."""
    return replace(case, dt_ms=dt_ms, samples=tuple([] for _ in times), times=times)


def delayed_case(
    seed: int, kind: str = "hetLIF", loss: str = "sum", *, most_ms: float = 6.0, dt_ms: float = 1.0, **options: Any
) -> Case:
    """As ``few_spikes_case`` with exact times, input at any times, and delays of up to ``most_ms``."""
    case = few_spikes_case(seed, kind, loss, spike_timing="exact", **options)
    rng = np.random.default_rng([seed, 20])
    for name, layer in case.net.populations.items():
        shapes = {"delay": layer.w.shape} | ({} if layer.w_rec is None else {"delay_rec": layer.w_rec.shape})
        case = case.edited(name, **{n: most_ms * rng.random(shape) for n, shape in shapes.items()})
    times = rounded(rng.uniform(0, 45, (case.num_input, 2)))
    return with_true_times(case, ([(float(t), i) for i, own in enumerate(times) for t in own],), dt_ms)


def differences_to_oracle(case: Case, engine: CpuEngine) -> dict[str, float]:
    """Relative differences of the engine's gradients and loss to the exact ones of a case with one sample; of its spike
    times the largest, in ms (inf: another number of spikes)."""
    trajectory = oracle.simulate(case.net, case.events())
    told = int(case.labels[0]) if case.told is None else case.told[0]
    window = None if case.window is None else (case.window[0] * case.dt_ms, case.window[1] * case.dt_ms)
    loss, exact = oracle.gradients(case.net, case.events(), told, case.loss, PARAMETERS, window)
    result = case.learn(engine)
    expected = flat(case.net, exact)
    found = {name: relative(values, expected[name]) for name, values in gradients_of(engine).items()}
    found["loss"] = relative(result.loss, np.array([loss]))
    late = 0.0
    for name, own in trajectory.spike_times.items():
        times, ids = engine.spike_times(0, name)
        for j, exact_times in enumerate(own):
            mine = times[ids == j]
            same = len(mine) == len(exact_times)
            late = max(late, float(np.abs(mine - exact_times).max(initial=0.0)) if same else np.inf)
    return {**found, "spike times": late}


def exact_cases(make: Callable[[int], Case], number: int = 3, grazing: float = 0.3) -> list[Case]:
    """The first of make(0), make(1), ... whose exact solution is well conditioned.

    That is: denominators of at least ``grazing``, no two events within 1e-3 ms, at least four spikes, and one of the
    label's output if outputs spike.
    """
    cases: list[Case] = []
    for case in map(make, range(2000)):
        trajectory = oracle.simulate(case.net, case.events())
        counts = trajectory.spike_counts
        if trajectory.min_denominator < grazing or trajectory.min_gap_ms < 1e-3 or sum(map(sum, counts.values())) < 4:
            continue
        if "output" not in counts or counts["output"][case.labels[0]]:
            cases.append(case)
        if len(cases) == number:
            break
    return cases
