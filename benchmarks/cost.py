"""What a training step costs: spikes x fan-out x bytes, over what the caches deliver; predicted for other settings.

First a loop measures how fast rows of 64 weights are added up from each level of the memory, and one how fast numbers
are multiplied and added in registers. From a setting follows how many bytes a step has to move, and from which level;
at full speed that takes as long as the roofline says. A few factors, what the engine takes on top of that, are fitted
to some settings, and with these the time of others is predicted. Times are the least of several rounds, in each of
which every setting has its turn; with --busy, for a machine with other work, they are times of processors, and of
several threads each counts as if it had a core. Covered are LIF, hetLIF and ALIF, recurrent or not, on the grid. Less
than a minute. Run: python benchmarks/cost.py [--rounds 12] [--busy] [--page docs/speed.md] [--json FILE]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pages
from scipy.optimize import nnls
from speed import CHANNELS, firing_weights, network_of, spike_data, time_step

from eventprop.backends.cpu.compiler import load_library
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.backends.cpu.interface import aligned_zeros

LANES, BLOCK = 64, 4  # of a panel; samples of a block, whose gradients are summed one after the other
LOOPS = """
#include <cstdint>
typedef float Vector __attribute__((vector_size(32), aligned(32)));
#define EXPORTED extern "C" __attribute__((visibility("default")))
EXPORTED void add_rows(const Vector *rows, const uint32_t *order, int64_t n, Vector *out) {
    Vector a = {}, b = {}, c = {}, d = {}, e = {}, f = {}, g = {}, h = {};
    for (int64_t i = 0; i < n; ++i) {
        const Vector *row = rows + int64_t(order[i]) * 8;
        a += row[0]; b += row[1]; c += row[2]; d += row[3]; e += row[4]; f += row[5]; g += row[6]; h += row[7];
    }
    *out += a + b + c + d + e + f + g + h;
}
EXPORTED void multiply_and_add(Vector *x, float factor, int64_t n) {
    Vector a = *x, b = a + 1, c = a + 2, d = a + 3, e = a + 4, f = a + 5, g = a + 6, h = a + 7, i = a + 8, j = a + 9;
    for (int64_t k = 0; k < n; ++k) {
        a = a * factor + 1; b = b * factor + 1; c = c * factor + 1; d = d * factor + 1; e = e * factor + 1;
        f = f * factor + 1; g = g * factor + 1; h = h * factor + 1; i = i * factor + 1; j = j * factor + 1;
    }
    *x = a + b + c + d + e + f + g + h + i + j;
}
"""


@dataclass(frozen=True)
class Setting:
    """A network, what it is shown, and how: ``spikes`` a sample, over all steps; ``rate``, spikes of a neuron."""

    neurons: int
    steps: int
    spikes: int
    rate: float
    batch: int = 32
    threads: int = 1
    recurrent: bool = True
    kind: str = "LIF"

    @property
    def lanes(self) -> int:
        return -(-self.neurons // LANES) * LANES


FITTED = (
    Setting(64, 200, 1000, 5),
    Setting(128, 500, 3000, 9),
    Setting(256, 1000, 9000, 9),
    Setting(256, 300, 9000, 20),
    Setting(256, 1000, 3000, 30),
    Setting(256, 500, 9000, 9, batch=8),
    Setting(256, 1000, 9000, 9, recurrent=False),
    Setting(512, 500, 3000, 9),
    Setting(512, 1000, 9000, 4),
    Setting(640, 200, 4000, 16),
    Setting(1024, 500, 9000, 9),
    Setting(1024, 1000, 3000, 9),
    Setting(1024, 200, 2000, 4, batch=8),
    Setting(256, 1000, 9000, 9, threads=2),
    Setting(1024, 500, 9000, 9, threads=2),
)
PREDICTED = (
    Setting(448, 700, 4000, 10, batch=64),
    Setting(832, 250, 5000, 12, batch=128, threads=2),
    Setting(160, 1200, 6000, 18, batch=16, kind="ALIF"),
    Setting(288, 600, 10000, 6, threads=2, recurrent=False, kind="hetLIF"),
    Setting(576, 900, 2500, 20),
)
KINDS: dict[str, dict[str, Any]] = {
    "LIF": {},
    "ALIF": {"HIDDEN_NEURON_TYPE": "ALIF", "B_INCR": 0.02},
    "hetLIF": {"HIDDEN_NEURON_TYPE": "hetLIF"},
}


@dataclass(frozen=True)
class Machine:
    """Bytes a second of rows out of as many bytes, and operations a second, of one core."""

    sizes: tuple[int, ...]
    speeds: tuple[float, ...]
    operations: float

    def speed(self, size: float) -> float:
        """For data of ``size`` bytes in all."""
        return float(np.exp(np.interp(np.log(size), np.log(self.sizes), np.log(self.speeds))))


def least(act: Callable[[], object], repeats: int) -> float:
    """Seconds."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        found.append(time.perf_counter() - start)
    return min(found)


def measured_machine() -> Machine:
    """By loops of the engine's kind, on one core."""
    lib, rng = load_library(LOOPS), np.random.default_rng(0)
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    lib.add_rows.argtypes = [pointer, pointer, whole, pointer]
    lib.multiply_and_add.argtypes = [pointer, ctypes.c_float, whole]
    lib.add_rows.restype = lib.multiply_and_add.restype = None
    out, sizes, speeds = aligned_zeros((8,), np.dtype(np.float32)), [2**k for k in range(14, 28)], []
    for size in sizes:
        rows = aligned_zeros((size // 256, LANES), np.dtype(np.float32))
        order = rng.integers(0, len(rows), 2**16).astype(np.uint32)

        def add(rows: np.ndarray = rows, order: np.ndarray = order) -> None:
            lib.add_rows(rows.ctypes.data, order.ctypes.data, order.size, out.ctypes.data)

        speeds.append(256 * order.size / least(add, 30))
    seconds = least(lambda: lib.multiply_and_add(out.ctypes.data, 0.5, 10**6), 10)
    speeds = np.maximum.accumulate(speeds[::-1])[::-1].tolist()  # what is smaller is not slower
    return Machine(tuple(sizes), tuple(speeds), 2 * 80 * 10**6 / seconds)


PARTS = ("rows of a panel", "recurrent rows", "their beginning", "states", "sums and Adam", "a step", "a sample")


def parts_of(s: Setting, fired: float, machine: Machine) -> np.ndarray:
    """Seconds of a sample by ``PARTS``: of the first five what their bytes take at full speed, of the others units.

    Panel by panel go the weights of the input's spikes, and for gradients adjoints at the spikes of input and neurons;
    recurrent spikes have a row of all targets, forwards and, for the errors of spikes, backwards; the first of a step
    is waited for.

    Args:
        fired: spikes of all hidden neurons in a sample.
    """
    weights = CHANNELS * s.lanes + (s.neurons * s.lanes if s.recurrent else 0) + s.neurons * LANES
    matrix, panel, states = 4 * s.neurons * s.lanes, 4 * LANES * max(CHANNELS, s.steps), 4 * s.steps * s.lanes
    rows = [
        4 * (2 * s.spikes + fired * s.recurrent) * s.lanes / machine.speed(panel),
        2 * 4 * fired * s.recurrent * s.lanes / machine.speed(matrix),
        2 * 4 * min(fired, s.steps) * s.recurrent * s.lanes / machine.speed(matrix),
        6 * states / machine.speed(3 * states),
        28 * weights / s.batch / machine.speed(16 * weights) + 2 * 4 * weights / BLOCK / machine.speed(8 * weights),
    ]
    return np.array([*rows, s.steps * 1e-9, 1e-6])


def bound(s: Setting, fired: float, machine: Machine) -> float:
    """Seconds that a sample takes at least: all bytes at full speed, or all operations."""
    rows = parts_of(s, fired, machine)
    operations = 2 * s.spikes * s.lanes + 20 * s.steps * s.lanes + (4 * fired * s.lanes if s.recurrent else 0)
    return max(float(rows[[0, 1, 3, 4]].sum()), operations / machine.operations)


def share_of(s: Setting) -> float:
    """Of a batch's work, what the thread has that has most."""
    tasks = -(-s.batch // BLOCK)
    tasks = tasks if tasks >= s.threads else s.batch
    return -(-tasks // s.threads) / tasks


def measure(settings: Sequence[Setting], rounds: int, busy: bool) -> tuple[np.ndarray, list[float]]:
    """Seconds of a sample, and spikes of hidden neurons in it, of each setting."""
    engines, fired = [], []
    for s in settings:
        engine = CpuEngine(network_of(s.neurons, s.steps, RECURRENT=s.recurrent, **KINDS[s.kind]), s.threads)
        data = spike_data(s.batch, s.steps, np.random.default_rng(0), s.spikes, s.steps)
        fired.append(firing_weights(engine, data, np.random.default_rng(1), 0.0, s.rate) * s.neurons)
        engines.append((engine, data))
    times = np.empty((rounds + 1, len(settings)))
    for number in range(rounds + 1):
        for i, (s, (engine, data)) in enumerate(zip(settings, engines, strict=True)):
            start = time.process_time()
            seconds = time_step(engine, data, 0.0, number, s.batch) / 1e3
            times[number, i] = (time.process_time() - start) / s.batch * share_of(s) if busy else seconds
    return times[1:].min(axis=0), fired


def speeds(machine: Machine) -> str:
    """What the loops found, in Markdown."""
    shown = [(2**15, "32 KB"), (2**19, "512 KB"), (2**23, "8 MB"), (2**27, "128 MB")]
    cells = [f"{machine.speed(size) / 1e9:.0f} GB/s" for size, _ in shown] + [f"{machine.operations / 1e9:.0f} GFLOP/s"]
    return pages.table([f"rows out of {name}" for _, name in shown] + ["in registers"], [cells])


def lines(settings: Sequence[Setting], seconds: np.ndarray, predicted: np.ndarray, bounds: np.ndarray) -> str:
    """A table of settings, in Markdown."""
    columns = ["neurons", "steps", "spikes in", "spikes a neuron", "batch", "threads", "measured", "predicted", "ratio"]
    rows = []
    for s, own, other, least_of_all in zip(settings, seconds, predicted, bounds, strict=True):
        name = f"{s.neurons} {s.kind}{'' if s.recurrent else ', not recurrent'}"
        numbers = [name, str(s.steps), f"{s.spikes:,}", f"{s.rate:g}", str(s.batch), str(s.threads)]
        rows.append([*numbers, f"{own * 1e3:.3f} ms", f"{other * 1e3:.3f} ms", f"{other / own:.2f}"])
        rows[-1].append(f"{least_of_all * 1e3:.3f} ms, {own / least_of_all:.1f} x")
    return pages.table([*columns, "at full speed, measured over that"], rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--busy", action="store_true", help="times of processors: on a machine with other work")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("--page", type=Path, help="also put the tables into this page (docs/speed.md)")
    given = options.parse_args()
    machine, settings, n = measured_machine(), [*FITTED, *PREDICTED], len(FITTED)
    seconds, fired = measure(settings, given.rounds, given.busy)
    pairs = list(zip(settings, fired, strict=True))
    parts = np.array([parts_of(s, f, machine) * share_of(s) for s, f in pairs])
    bounds = np.array([bound(s, f, machine) * share_of(s) for s, f in pairs])
    factors, _ = nnls(parts[:n] / seconds[:n, None], np.ones(n))
    predicted = parts @ factors
    units = ["times full speed"] * 5 + ["ns", "µs"]
    fit = pages.table(list(PARTS), [[f"{factor:.2g} {unit}" for factor, unit in zip(factors, units, strict=True)]])
    how = ", in time of processors" if given.busy else ""
    text = f"{pages.where()}{how}:\n\n{speeds(machine)}\n{fit}\nPredicted:\n\n"
    text += f"{lines(PREDICTED, seconds[n:], predicted[n:], bounds[n:])}\nFitted:\n\n"
    text += lines(FITTED, seconds[:n], predicted[:n], bounds[:n])
    print(text)
    worst = float(np.abs(predicted[n:] / seconds[n:] - 1).max())
    print(f"farthest off of those that were not fitted: {worst:.0%}")
    if given.json:
        rows = [
            asdict(s) | {"seconds": t, "predicted": q, "bound": b, "fired": f}
            for (s, f), t, q, b in zip(pairs, seconds, predicted, bounds, strict=True)
        ]
        found = {"machine": asdict(machine), "factors": dict(zip(PARTS, factors, strict=True)), "rows": rows}
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.page:
        pages.put(given.page, "cost", text)


if __name__ == "__main__":
    main()
