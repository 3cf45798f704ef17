"""At which density a sparse projection would be faster stored as lists of targets than as rows with zeros in them.

The engine keeps sparse projections as masks: rows are whole, silent weights are 0. What it does with input synapses,
the sum of the rows of each step's spikes (forwards) and what each synapse collects (backwards), is timed as it is, and
in the form that a list of targets for each source allows: one number after the other from wherever it lies. Data as in
``speed.py``: 700 channels, 9,000 spikes, one thread. Run: python benchmarks/sparse.py
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable

import numpy as np

from benchmarks.speed import CHANNELS, spike_data
from eventprop.backends.cpu.compiler import load_library
from eventprop.backends.cpu.interface import address, aligned_zeros
from eventprop.backends.cpu.panels import Panels

STEPS = 1000
DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)

SOURCE = r"""
#include <cmath>
typedef float real;
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#include "functions.hpp"
namespace eventprop { constexpr int P = VECTOR_BYTES == 64 ? 64 : 32; }
using eventprop::P;
#include "panels.hpp"
using namespace eventprop;
static SpikeLists spikes;
#pragma GCC visibility push(default)
extern "C" {
int lanes() { return P; }
int spare() { return int(Panels::stride_of(0) / P); }
void present(int K, int n_pre, int n, const uint16_t *steps, const uint16_t *ids) {
    spikes.clear(K);
    spikes.id.assign(ids, ids + n);
    for (int s = 0; s < n; ++s) ++spikes.step_start[steps[s] + 1];
    for (int k = 0; k < K; ++k) spikes.step_start[k + 1] += spikes.step_start[k];
    spikes.index_by_id(n_pre, K);
}
void forward_rows(int K, int n_pre, int panels, real *w, real *drive) {
    gather_drive<1>(spikes, {n_pre, 1, 0}, K, {w, Panels::stride_of(n_pre)}, panels, {drive, Panels::stride_of(K)});
}
void back_rows(int K, int n_pre, int panels, real *trace, real *g) {
    for (int p = 0; p < panels; ++p)
        gather_gradient(spikes, n_pre, K, trace + p * Panels::stride_of(K), g + p * Panels::stride_of(n_pre), true);
}
// start: [n_pre + 1]; target, w, g: of each synapse, source by source; drive, trace: [step][n]
void forward_lists(int K, int n, const uint32_t *start, const uint16_t *target, const real *w, real *drive) {
    for (int k = 0; k < K; ++k) {
        real *to = drive + size_t(k) * n;
        std::fill(to, to + n, real(0));
        for (uint32_t s = spikes.step_start[k]; s < spikes.step_start[k + 1]; ++s)
            for (uint32_t j = start[spikes.id[s]]; j < start[spikes.id[s] + 1]; ++j) to[target[j]] += w[j];
    }
}
void back_lists(int K, int n_pre, int n, const uint32_t *start, const uint16_t *target, const real *trace, real *g) {
    for (int i = 0; i < n_pre; ++i) {
        const uint32_t from = start[i], to = start[i + 1];
        std::fill(g + from, g + to, real(0));
        for (uint32_t s = spikes.id_start[i]; s < spikes.id_start[i + 1]; ++s) {
            if (spikes.step[s] + 1 >= K) continue;
            const real *seen = trace + size_t(spikes.step[s] + 1) * n;
            for (uint32_t j = from; j < to; ++j) g[j] += seen[target[j]];
        }
    }
}
}
#pragma GCC visibility pop
"""


def least(act: Callable[[], object], repeats: int) -> float:
    """Milliseconds of the fastest of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def compare(lib: ctypes.CDLL, n: int, repeats: int) -> None:
    """Lines of the table for ``n`` targets."""
    rng, single = np.random.default_rng(0), np.dtype(np.float32)
    panels = Panels(lib.lanes(), lib.spare())
    weights = rng.normal(size=(CHANNELS, n)).astype(np.float32)
    trace = rng.normal(size=(STEPS, n)).astype(np.float32)
    w, g = (panels.zeros((CHANNELS, n), single) for _ in range(2))
    drive, seen = (panels.zeros((STEPS, n), single) for _ in range(2))
    panels.write(seen, trace)
    for density in (1.0, *DENSITIES):
        mask = rng.random((CHANNELS, n)) < density
        panels.write(w, np.where(mask, weights, np.float32(0)))
        rows = STEPS, CHANNELS, w.shape[0]
        forward = least(lambda rows=rows: lib.forward_rows(*rows, address(w), address(drive)), repeats)
        back = least(lambda rows=rows: lib.back_rows(*rows, address(seen), address(g)), repeats)
        start = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.uint32)
        target, own = np.nonzero(mask)[1].astype(np.uint16), weights[mask]
        lists, to = (address(start), address(target)), aligned_zeros((STEPS, n), single)
        found = np.zeros(own.size, np.float32)
        ahead = least(
            lambda own=own, lists=lists, to=to: lib.forward_lists(STEPS, n, *lists, address(own), address(to)), repeats
        )
        behind = least(
            lambda lists=lists, found=found: lib.back_lists(STEPS, CHANNELS, n, *lists, address(trace), address(found)),
            repeats,
        )
        np.testing.assert_allclose(to, panels.read(drive, (STEPS, n)), atol=1e-4)
        np.testing.assert_allclose(found, panels.read(g, (CHANNELS, n))[mask], atol=1e-3)
        print(f"{n:7d} {density:8.0%} {forward:9.3f} {ahead:9.3f} {back:10.3f} {behind:9.3f}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=40)
    repeats = options.parse_args().repeats
    lib, p, i = load_library(SOURCE), ctypes.c_void_p, ctypes.c_int
    lib.present.argtypes = [i, i, i, p, p]
    lib.forward_rows.argtypes = lib.back_rows.argtypes = [i, i, i, p, p]
    lib.forward_lists.argtypes, lib.back_lists.argtypes = [i, i, p, p, p, p], [i, i, i, p, p, p, p]
    data = spike_data(1, STEPS, np.random.default_rng(0))
    lib.present(STEPS, CHANNELS, data.steps.size, address(data.steps), address(data.channels))
    print("ms a sample             forwards            backwards")
    print("targets  density      rows     lists       rows     lists")
    for n in (256, 1024):
        compare(lib, n, repeats)


if __name__ == "__main__":
    main()
