"""What learned delays look like: the picture of the page "Learned delays".

Trains recipe ``demo_delays`` from shorter delays with a larger rate, so that more is seen of what they do. Draws the
delays of all input synapses before and after, and for one hidden neuron and sample the spikes that reach it: when they
were sent, and when they arrive. Taken are the neuron and the validation sample where learning made the largest share of
the arriving weight meet within 20 ms.

Run: python benchmarks/delays.py [KEY=VALUE ...]; about a minute; writes docs/delays.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eventprop.data.splits import Subset
from eventprop.parameters.declaration import parse_settings
from eventprop.reports import plots
from eventprop.simulators.recipes import load_recipe
from simulator_SHD import SHD_model, p

DOCS = Path(__file__).parents[1] / "docs"
BIN_MS = 20.0
SAMPLES = 40


def drive(t: np.ndarray, ids: np.ndarray, delays: np.ndarray, weights: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Sum of the weights that arrive at each neuron in each bin, ``(bins, neurons)``.

    Args:
        t, ids: times (ms) and channels of a sample's spikes.
        delays, weights: ``(channels, neurons)``.
    """
    total = np.zeros((len(edges) - 1, weights.shape[1]))
    arrivals = np.digitize(t[:, None] + delays[ids], edges) - 1
    spike, neuron = np.nonzero(arrivals < len(total))
    np.add.at(total, (arrivals[spike, neuron], neuron), weights[ids[spike], neuron])
    return total


def most_lined_up(
    spikes: list[tuple[np.ndarray, np.ndarray]], before: np.ndarray, after: np.ndarray, w: np.ndarray, edges: np.ndarray
) -> tuple[int, int]:
    """Sample and neuron with the largest gain of the largest bin's share in all positive weight that arrives."""
    gains = []
    positive = np.maximum(w, 0.0)
    for t, ids in spikes:
        peak, was = (drive(t, ids, delays, positive, edges).max(axis=0) for delays in (after, before))
        gains.append((peak - was) / positive[ids].sum(axis=0))
    sample, neuron = np.unravel_index(np.argmax(gains), (len(spikes), w.shape[1]))
    return int(sample), int(neuron)


def figure(
    before: np.ndarray, after: np.ndarray, w: np.ndarray, spikes: list[tuple[np.ndarray, np.ndarray]], trial_ms: float
) -> Figure:
    """Histograms of delays, and one neuron's input as sent, as it arrived before and as it arrives after training."""
    edges = np.arange(0.0, trial_ms + BIN_MS, BIN_MS)
    sample, j = most_lined_up(spikes, before, after, w, edges)
    t, ids = spikes[sample]
    picture = plots.Picture(figsize=(11, 5.2), layout="constrained")
    axes = picture.subplots(2, 4, width_ratios=[1.15, 1, 1, 1], height_ratios=[2, 1])
    strong = np.abs(w) >= np.quantile(np.abs(w), 0.9)
    for ax, which, title in ((axes[0, 0], slice(None), "all synapses"), (axes[1, 0], strong, "strongest tenth")):
        for delays, name, colour in ((before, "before", "#999999"), (after, "after", "#2a6fb0")):
            ax.hist(delays[which].ravel(), bins=80, range=(0, after.max()), histtype="step", color=colour, label=name)
        ax.set(title=title, xlabel="delay (ms)", ylabel="synapses")
    axes[0, 0].legend(frameon=False)
    columns = (
        (np.zeros_like(after), "sent"),
        (before, "arrival, initial delays"),
        (after, "arrival, learned delays"),
    )
    w_j, most = w[ids, j], 0.0
    for k, (delays, title) in enumerate(columns, 1):
        raster, sums = axes[0, k], axes[1, k]
        for sign, colour in ((1, "#d1662a"), (-1, "#2a6fb0")):
            of = sign * w_j > 0
            raster.scatter(t[of] + delays[ids[of], j], ids[of], s=60 * np.abs(w_j[of]) / np.abs(w).max(), color=colour)
        total = drive(t, ids, delays[:, [j]], w[:, [j]], edges)[:, 0]
        sums.bar(edges[:-1] + BIN_MS / 2, total, BIN_MS, color="#555555")
        raster.set(title=title, xlim=(0, trial_ms), ylim=(0, len(w)))
        sums.set(xlabel="time (ms)", xlim=(0, trial_ms))
        most = max(most, np.abs(total).max())
    for ax in axes[1, 1:]:
        ax.set_ylim(-1.05 * most, 1.05 * most)
    axes[0, 1].set_ylabel("channel")
    axes[1, 1].set_ylabel(f"weight in {BIN_MS:.0f} ms")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return picture


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    changes = parse_settings(options.parse_args().overrides)
    recipe = load_recipe("demo_delays", "SHD").overrides
    given = {**p, **recipe, "INPUT_HIDDEN_DELAY_UNIFORM": [0.0, 100.0], "ETA_DELAY": 5.0, "N_EPOCH": 15}
    given |= {"WRITE_TO_DISK": False, "TRAINING_PLOT": False, "FANCY_PLOTS": False, **changes}
    mn = SHD_model(given)
    before = mn.delays()["in_to_hid"]
    mn.train(given)
    after, w = mn.delays()["in_to_hid"], mn.weights()["in_to_hid"]
    subset = mn.evaluated[0]
    few = Subset(subset.part, subset.indices[:SAMPLES])
    spikes = mn.spikes(given, few, "input")
    moved = np.abs(after - before)
    print(f"moved by {np.median(moved):.0f} ms (median), {np.quantile(moved, 0.9):.0f} ms (upper tenth)")
    plots.save(figure(before, after, w, spikes, given["TRIAL_MS"]), DOCS / "delays.png")


if __name__ == "__main__":
    main()
