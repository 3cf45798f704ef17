"""Small networks of every kind on an engine that a sanitizer watches.

``python -m robust.matrix address|thread FIRST STEP`` takes every ``STEP``th network from number ``FIRST`` on. The last
line says how many there were.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import models
from eventprop.backends.cpu import compiler, engine
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Randomness
from eventprop.training.optimiser import AdamSettings, adam_parameters
from tests.support.small import KINDS, SIMPLE, THOMAS1, Case, random_case

__all__: list[str] = []

_ADAM = AdamSettings(0.9, 0.99, 1e-8)
_NOT_EXACT = ("max", "avg_xentropy", "mse_steps")
# Around the sizes of vectors and panels: layers, outputs, samples, inputs, steps.
_SIZES = [
    ((1,), 1, 1, 12, 60),
    ((31,), 2, 5, 1, 60),
    ((33,), 33, 1, 33, 40),
    ((65, 1), 2, 5, 5, 50),
    ((1, 65), 5, 5, 31, 65),
]
_REGULARISERS: list[tuple[str, dict[str, float]]] = [("none", {}), ("simple", SIMPLE), ("Thomas1", THOMAS1)]


def _all_noise(timing: str) -> Randomness:
    return Randomness(0.2, 0.2, 0.05 if timing == "grid" else 0.0, 1, 2, 3)


def _sums() -> Iterator[dict[str, Any]]:
    """Every timing, neuron and loss with several sizes; delay lines, noise, recordings and the like in turn."""
    for timing, kind, (i, loss) in itertools.product(("grid", "exact"), KINDS, enumerate(models.LOSSES)):
        if timing == "exact" and loss in _NOT_EXACT:
            continue
        for j, (sizes, n_out, n, n_in, steps) in enumerate(_SIZES):
            name, strengths = _REGULARISERS[j % 3]
            yield {
                **{"kind": kind, "loss": loss, "spike_timing": timing, "rate": 0.1},
                **{"sizes": sizes, "n_out": n_out, "n": n, "n_in": n_in, "steps": steps},
                **{"regulariser": name, "strengths": strengths, "recurrent": bool((j + i) % 3)},
                **({"copies": 3, "delay_steps": 7, "random": _all_noise(timing)} if j % 2 else {}),
                **{"average_counts": j == 3, "empty": j in (1, 3), "last": j in (0, 4)},
                "record": timing == "grid" and j in (1, 4),
            }


def _edges() -> Iterator[dict[str, Any]]:
    """The fewest steps, no spikes at all, spikes nearly everywhere."""
    neurons = (("LIF", "shared"), ("hetLIF", "own"), ("ALIF", "own"), ("hetLIF", "trained"))
    for timing, (kind, taus), loss in itertools.product(("grid", "exact"), neurons, ("sum", "first_spike")):
        common = {"kind": kind, "taus": taus, "loss": loss, "spike_timing": timing}
        yield {**common, "steps": 3, "sizes": (33,), "n": 1, "last": True}
        yield {**common, "steps": 30, "sizes": (33, 5), "n": 5, "rate": 0.0}
        yield {**common, "steps": 50, "sizes": (65,), "n": 2, "rate": 0.9, "frozen": ("in_to_hid",), "last": True}


def _with_edges(case: Case, empty: bool, last: bool) -> Case:
    """The case with a first sample without spikes, and a last one with spikes in the last steps."""
    samples, end = list(case.samples), case.num_steps - 1
    if empty:
        samples[0] = []
    if last:
        late = [(end, c) for c in range(min(3, case.num_input))] + [(end - 1, c) for c in range(case.num_input)]
        samples[-1] = list(dict.fromkeys([*samples[-1], *late]))
    return replace(case, samples=tuple(samples))


def _work(own: CpuEngine, case: Case, random: Randomness, record: bool, rounds: int) -> None:
    """All that training and tests do with an engine."""
    layers = case.network().populations
    wanted = [*((q.name, "V") for q in layers), ("hidden0", "lambda_V")]
    for update in range(1, rounds + 1):
        case.learn(own, randomness=random, **({"record": wanted} if record else {}))
        own.gradient_norm()
        if record:
            for name, variable in wanted:
                own.trace(name, variable)
        for name in ("input", *(q.name for q in case.network().hidden)):
            own.spike_times(len(case.samples) - 1, name)
        own.update(adam_parameters(_ADAM, 1e-3, update), 0.5)
    own.run(case.spikes, case.numbers, None)
    own.run(case.spikes, case.numbers[:1], case.compared[:1], learn=True)


def _address(first: int, step: int) -> int:
    count = 0
    for options in itertools.islice(itertools.chain(_sums(), _edges()), first, None, step):
        print(options, flush=True)
        extra = {name: options.pop(name, False) for name in ("empty", "last")}
        random, record = options.pop("random", Randomness()), options.pop("record", False)
        case = _with_edges(random_case(1, **options), **extra)
        _work(case.engine(2, "float"), case, random, record, 2)
        count += 1
    return count


_SHARED = [("LIF", "sum_weigh_exp", "grid"), ("ALIF", "first_spike", "grid"), ("hetLIF", "max", "grid")]
_SHARED += [
    ("LIF", "sum_weigh_input", "exact"),
    ("hetLIF", "sum_weigh_linear", "exact"),
    ("ALIF", "first_spike_exp", "exact"),
]


def _thread(first: int, step: int) -> int:
    """Engines of several threads, and several engines in threads of Python's."""
    count = 0
    for (kind, loss, timing), threads, average in itertools.islice(
        itertools.product(_SHARED, (2, 4, 8), (False, True)), first, None, step
    ):
        print(kind, loss, timing, threads, average, flush=True)
        options = {
            "steps": 60,
            "dt_ms": 1.0,
            "copies": 2,
            "delay_steps": 5,
            "v_reset": -0.1,
            "sizes": (70, 40),
            "n": 11,
        }
        options |= {"regulariser": "Thomas1", "strengths": THOMAS1, "average_counts": average, "spike_timing": timing}
        case = random_case(4, kind=kind, loss=loss, **options)
        work = (case, _all_noise(timing), timing == "grid", 4)
        _work(case.engine(threads, "float"), *work)
        count += 1
        if threads == 4 and average:
            beside = [threading.Thread(target=_work, args=(case.engine(3, "float"), *work)) for _ in range(3)]
            for thread in beside:
                thread.start()
            for thread in beside:
                thread.join()
            count += 1
    return count


def main() -> None:
    warnings.simplefilter("ignore")
    engine.load_library = functools.cache(compiler.load_library)
    count = {"address": _address, "thread": _thread}[sys.argv[1]](*map(int, sys.argv[2:]))
    print(f"{count} networks", flush=True)


if __name__ == "__main__":
    main()
