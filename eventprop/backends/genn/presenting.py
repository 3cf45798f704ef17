"""What the host writes before a trial: the input's spikes, the loss's weights, the keys of the random streams."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventprop.backends.genn.memory import Memory
from eventprop.backends.genn.random import drawn, keys_of, limit_of, normal_table
from eventprop.data.spikes import SpikeSet
from eventprop.derivation.values import evaluate
from eventprop.network import Randomness
from eventprop.snippets import names_in

__all__ = ["Presenter"]


class Presenter:
    """Shows samples to a model.

    Attributes:
        shown: sample, step and channel of each input spike of the last trial, dropout done.
    """

    def __init__(self, memory: Memory, real: Any) -> None:
        self.memory, self.network, self.layout = memory, memory.network, memory.layout
        self.shown = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        for layer in self.network.hidden:
            memory.array(layer.name, "normal")[:] = normal_table(real)
            memory.push(layer.name, "normal")
        if not self.network.loss.spiking and not self._per_sample:
            memory.array("output", "weights")[:] = self._weights(np.zeros((1, self.network.num_steps)))[0]
            memory.push("output", "weights")

    def show(self, spikes: SpikeSet, samples: np.ndarray, random: Randomness, first: int, half: int) -> None:
        """Write the input's spikes and the keys of the random streams."""
        chosen = spikes.select(samples)
        lengths = np.diff(chosen.offsets)
        slots = np.repeat(np.arange(samples.size), lengths)
        steps, channels = chosen.steps, chosen.channels
        places = np.arange(first, first + samples.size)
        if random.input_dropout > 0:
            numbers = drawn(np.repeat(keys_of(random.input_seed, places), lengths), steps, channels)
            keep = np.flatnonzero(numbers >= limit_of(random.input_dropout))
            slots, steps, channels = slots[keep], steps[keep], channels[keep]
        self.shown = slots, steps, channels
        self._show_spikes(slots, steps, channels, half)
        for number, layer in enumerate(self.network.hidden):
            for name, seed, used in (
                ("dropout_key", random.hidden_seed, random.hidden_dropout > 0),
                ("noise_key", random.noise_seed, random.noise > 0),
            ):
                if used:
                    self.memory.array(layer.name, name)[: samples.size] = keys_of(seed, places, number)
                    self.memory.push(layer.name, name)
            self.memory.set_dynamic(layer.name, "dropout_limit", limit_of(random.hidden_dropout))
            self.memory.set_dynamic(layer.name, "noise_amplitude", random.noise * np.sqrt(self.network.dt_ms))
        if self._per_sample:
            self._show_weights(slots, steps, samples.size, half)

    def _show_spikes(self, slots: np.ndarray, steps: np.ndarray, channels: np.ndarray, half: int) -> None:
        """A bit for each channel, step and sample."""
        words = -(-self.network.num_input // 32)
        raster = self.memory.array("input", "raster").reshape(self.layout.halves, -1)[half]
        raster[:] = 0
        places = slots * (self.network.num_steps * words)
        places += np.multiply(steps, words, dtype=np.int64)
        places += channels >> 5
        bits = np.left_shift(np.uint32(1), (channels & 31).astype(np.uint32))
        np.add.at(raster, places, bits)  # numpy's fast one; no spike is there twice
        self.memory.push_half("input", "raster", half)

    def _show_weights(self, slots: np.ndarray, steps: np.ndarray, n: int, half: int) -> None:
        """The loss's weights by the smoothed number of input spikes at the start of each step."""
        network = self.network
        counts = np.bincount(slots * network.num_steps + steps, minlength=n * network.num_steps)
        counts = counts.reshape(n, network.num_steps)
        arriving = np.zeros((n, network.num_steps))
        for copy in range(network.copies):
            late = 1 + copy * network.delay_steps
            if late < network.num_steps:
                arriving[:, late:] += counts[:, : network.num_steps - late]
        tau = network.loss_parameters["tau_accumulator"]
        decay, traffic, now = np.exp(-network.dt_ms / tau), np.zeros_like(arriving), np.zeros(n)
        for k in range(network.num_steps):
            now = now * decay + 0.01 / tau * arriving[:, k]
            traffic[:, k] = now
        weights = self.memory.array("output", "weights").reshape(self.layout.halves, self.layout.batch, -1)
        weights[half, :n] = self._weights(traffic)
        self.memory.push_half("output", "weights", half)

    @property
    def _per_sample(self) -> bool:
        return "traffic" in names_in(self.network.loss.weight)

    def _weights(self, traffic: np.ndarray) -> np.ndarray:
        """The loss's weights of all steps, ``(n, steps)``."""
        x = np.arange(self.network.num_steps) / self.network.num_steps
        values = {**self.network.loss_parameters, "x": x, "traffic": traffic}
        return np.broadcast_to(evaluate(self.network.loss.weight, values), traffic.shape)
