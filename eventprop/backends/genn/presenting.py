"""What the host writes before a trial: the input's spikes, the loss's weights, the keys of the random streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eventprop.backends.genn.memory import Memory
from eventprop.backends.genn.random import drawn, keys_of, limit_of, normal_table
from eventprop.data.spikes import SpikeSet
from eventprop.derivation.values import evaluate
from eventprop.network import Randomness
from eventprop.snippets import names_in

__all__ = ["Presenter"]


@dataclass(frozen=True)
class _Input:
    """What the host makes of some samples.

    Attributes:
        of: the samples that it is made of: spikes, numbers, randomness, place in the epoch.
        slots, steps, channels: of each input spike the sample's place in the batch, its step and its channel.
        weights: the loss's weights of all steps, ``(samples, steps)``, where they depend on the sample.
    """

    of: tuple[SpikeSet, np.ndarray, Randomness, int]
    slots: np.ndarray
    steps: np.ndarray
    channels: np.ndarray
    weights: np.ndarray | None

    def is_of(self, spikes: SpikeSet, samples: np.ndarray, random: Randomness, first: int) -> bool:
        own = self.of
        return own[0] is spikes and np.array_equal(own[1], samples) and own[2:] == (random, first)


class Presenter:
    """Shows samples to a model.

    Attributes:
        shown: sample, step and channel of each input spike of the last trial, dropout done.
    """

    def __init__(self, memory: Memory, real: Any) -> None:
        self.memory, self.network, self.layout = memory, memory.network, memory.layout
        self.shown = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._made: _Input | None = None
        raster = memory.array("input", "raster")
        self._raster = np.zeros(raster.size // self.layout.halves, raster.dtype)
        for layer in self.network.hidden:
            memory.array(layer.name, "normal")[:] = normal_table(real)
            memory.push(layer.name, "normal")
        if not self.network.loss.spiking and not self._per_sample:
            memory.array("output", "weights")[:] = self._weights(np.zeros((1, self.network.num_steps)))[0]
            memory.push("output", "weights")

    def prepare(self, spikes: SpikeSet, samples: np.ndarray, random: Randomness, first: int) -> None:
        """Make the input of samples that are shown next: a device may work on others meanwhile."""
        chosen = spikes.select(samples)
        lengths = np.diff(chosen.offsets)
        slots = np.repeat(np.arange(samples.size), lengths)
        steps, channels = chosen.steps, chosen.channels
        if random.input_dropout > 0:
            places = np.arange(first, first + samples.size)
            numbers = drawn(np.repeat(keys_of(random.input_seed, places), lengths), steps, channels)
            keep = np.flatnonzero(numbers >= limit_of(random.input_dropout))
            slots, steps, channels = slots[keep], steps[keep], channels[keep]
        weights = self._sample_weights(slots, steps, samples.size) if self._per_sample else None
        self._write_bits(slots, steps, channels)
        self._made = _Input((spikes, samples.copy(), random, first), slots, steps, channels, weights)

    def show(self, spikes: SpikeSet, samples: np.ndarray, random: Randomness, first: int, half: int) -> None:
        """Send the input's spikes, made now unless they are already, and the keys of the random streams."""
        if self._made is None or not self._made.is_of(spikes, samples, random, first):
            self.prepare(spikes, samples, random, first)
        made, self._made = self._made, None
        assert made is not None
        self.shown = made.slots, made.steps, made.channels
        self.memory.array("input", "raster").reshape(self.layout.halves, -1)[half] = self._raster
        self.memory.push_half("input", "raster", half)
        if made.weights is not None:
            weights = self.memory.array("output", "weights").reshape(self.layout.halves, self.layout.batch, -1)
            weights[half, : samples.size] = made.weights
            self.memory.push_half("output", "weights", half)
        self._show_keys(np.arange(first, first + samples.size), random)

    def _show_keys(self, places: np.ndarray, random: Randomness) -> None:
        for number, layer in enumerate(self.network.hidden):
            dropout, noise = random.of_layer(number)
            for name, seed, used in (
                ("dropout_key", random.hidden_seed, dropout > 0),
                ("noise_key", random.noise_seed, noise > 0),
            ):
                if used:
                    self.memory.array(layer.name, name)[: places.size] = keys_of(seed, places, number)
                    self.memory.push(layer.name, name)
            self.memory.set_dynamic(layer.name, "dropout_limit", limit_of(dropout))
            self.memory.set_dynamic(layer.name, "noise_amplitude", noise * np.sqrt(self.network.dt_ms))

    def _write_bits(self, slots: np.ndarray, steps: np.ndarray, channels: np.ndarray) -> None:
        """A bit for each channel, step and sample."""
        words = -(-self.network.num_input // 32)
        self._raster[:] = 0
        places = slots * (self.network.num_steps * words)
        places += np.multiply(steps, words, dtype=np.int64)
        places += channels >> 5
        bits = np.left_shift(np.uint32(1), (channels & 31).astype(np.uint32))
        np.add.at(self._raster, places, bits)  # numpy's fast one; no spike is there twice

    def _sample_weights(self, slots: np.ndarray, steps: np.ndarray, n: int) -> np.ndarray:
        """The loss's weights by the smoothed number of input spikes at the start of each step, ``(n, steps)``."""
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
        return self._weights(traffic)

    @property
    def _per_sample(self) -> bool:
        return "traffic" in names_in(self.network.loss.weight)

    def _weights(self, traffic: np.ndarray) -> np.ndarray:
        """The loss's weights of all steps, ``(n, steps)``."""
        x = np.arange(self.network.num_steps) / self.network.num_steps
        values = {**self.network.loss_parameters, "x": x, "traffic": traffic}
        return np.broadcast_to(evaluate(self.network.loss.weight, values), traffic.shape)
