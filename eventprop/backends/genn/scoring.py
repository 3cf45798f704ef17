"""Between two trials: scores, losses and errors of a batch that has run forwards, for the one that runs backwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eventprop.backends import BatchResult
from eventprop.backends.genn.memory import Memory
from eventprop.data import targets
from eventprop.derivation.values import evaluate
from eventprop.snippets import added

__all__ = ["Scorer", "Shown"]


@dataclass(frozen=True)
class Shown:
    """A batch that runs forwards; the host fills in what came out when it has.

    Attributes:
        n: samples.
        half: where its traces are.
        labels: as the loss takes them; None where it is not to be learned from.
        averaged: number of samples over which the loss is averaged.
        learn: whether it is learned from.
        counts: by hidden layer, ``(n, size)`` spikes.
        mean_counts: by hidden layer ``(size,)``, where the regulariser wants these.
        errors: ``(n, outputs)``; minus the derivative of the loss by each score, scaled.
        first_ms: ``(n, classes)`` times of first spikes, not a number where there was none.
    """

    n: int
    half: int
    labels: np.ndarray | None
    averaged: int
    learn: bool = False
    counts: list[np.ndarray] = field(default_factory=list)
    errors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    first_ms: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    mean_counts: list[np.ndarray] | None = None


class Scorer:
    """Reads what a trial gave, and prepares its backward pass."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.network, self.layout = memory, memory.network, memory.layout

    def read(self, shown: Shown) -> tuple[BatchResult, Shown]:
        """What a batch that has just run forwards gave."""
        network, n = self.network, shown.n
        counts = [self.memory.of_samples(layer.name, "count", n).astype(np.float32) for layer in network.hidden]
        first_ms = np.zeros((n, 0))
        if network.loss.spiking:
            steps = self.memory.of_samples("output", "first_step", n)
            first_ms = np.where(steps < 0, np.nan, (steps + 1.0) * network.dt_ms)
            exact = self._of_loss(network.loss.score, t=np.where(steps < 0, self._trial_ms + 1.0, first_ms))
            scores = exact.astype(np.float32)
            predictions = np.where((steps < 0).all(axis=1), -1, scores.argmax(axis=1))
        else:
            state = {v: self.memory.of_samples("output", v, n) for v in network.loss.state}
            exact = np.asarray(evaluate(network.loss.score, state), np.float64)
            scores = exact.astype(np.float32)
            predictions = scores.argmax(axis=1)
        loss, errors, measured = np.zeros(n), np.zeros((n, 0)), np.full(n, np.nan)
        if shown.labels is not None:
            if network.loss.per_step:
                loss, measured = self._of_steps(shown, predictions)
            else:
                loss, errors = self._compared(exact, shown.labels, self._smoothing(shown))
                errors = errors * (network.loss_scale / shown.averaged)
                measured = _measured(exact, shown.labels, predictions)
            if network.loss.spiking:
                own = first_ms[np.arange(n), shown.labels]
                late = np.where(np.isnan(own), self._trial_ms, own)
                loss = loss + self._of_loss(network.loss.penalty, t=late, trial=self._trial_ms)
        result = BatchResult(scores, predictions.astype(np.int32), loss, measured, np.concatenate(counts, axis=1))
        return result, replace(shown, counts=counts, errors=errors, first_ms=first_ms)

    def _of_steps(self, shown: Shown, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loss and what is told of each sample, ``(n,)``, where each step is compared."""
        assert shown.labels is not None
        counted = slice(*self.network.counted)
        loss, measured = np.zeros(shown.n), np.zeros(shown.n)
        half = self.memory.array("output", "weights").reshape(-1, self.network.num_steps)
        first = shown.half * self.layout.batch if len(half) > 1 else 0
        for i, (voltages, told) in enumerate(zip(self._voltages(shown), shown.labels, strict=True)):
            v, own = voltages[counted], told[counted] if targets.of_steps(shown.labels) else told
            weights = half[first + i if len(half) > 1 else 0, counted]
            loss[i] = np.mean(weights * self._compared(v, own, self._smoothing(shown))[0])
            measured[i] = np.mean(_measured(v, own, v.argmax(axis=1)))
        if targets.are_classes(shown.labels):
            measured = _measured(np.zeros(0), shown.labels, predictions)
        return loss, measured

    def _smoothing(self, shown: Shown) -> float:
        return self.network.label_smoothing if shown.learn else 0.0

    def _compared(self, y: np.ndarray, told: np.ndarray, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
        """The loss of each row of ``y``, scores or voltages, and minus its derivative by them.

        Args:
            told: labels, or values, of each row or of all of them.
            smoothing: of labels.
        """
        loss = self.network.loss
        if not loss.compare:
            return _cross_entropy(y, told, smoothing)
        values = told if targets.are_values(told) else np.arange(y.shape[1]) == np.asarray(told)[..., None]
        names = {"y": y, "target": values.astype(np.float64)}
        of_each = np.broadcast_to(self._of_loss(loss.compare, **names), y.shape)
        return of_each.mean(axis=1), -np.broadcast_to(self._of_loss(loss.slope, **names), y.shape) / y.shape[1]

    def _voltages(self, shown: Shown) -> np.ndarray:
        """Voltages of the outputs at the start of each step, ``(n, steps, classes)``."""
        network, layout = self.network, self.layout
        shape = (layout.batch, network.num_steps, network.output.size)
        return self.memory.pull_half("output", "voltages", shown.half).reshape(shape)[: shown.n].astype(np.float64)

    def prepare(self, shown: Shown) -> None:
        """Give the neurons what the backward pass needs to know of this batch."""
        network = self.network
        assert shown.labels is not None
        for population in network.populations:
            self.memory.set_dynamic(population.name, "averaged", float(shown.averaged))
        if network.loss.per_step:
            self.memory.set_dynamic("output", "loss_scale", network.loss_scale)
            if not network.loss.compare:
                self.memory.set_dynamic("output", "label_smoothing", network.label_smoothing)
            self._prepare_steps(shown.labels, shown.half)
        elif network.loss.spiking:
            self._prepare_first_spikes(shown)
        else:
            self.memory.set_samples("output", "error", shown.errors)
        for number, layer in enumerate(network.hidden):
            means = None if shown.mean_counts is None else shown.mean_counts[number]
            variables = self.memory.made.populations[layer.name].vars
            if "spike_count" in variables and means is not None:
                self.memory.set(layer.name, "spike_count", means)
            if "layer_count" in variables:
                own = shown.counts[number] if means is None else np.tile(means, (shown.n, 1))
                self.memory.set_samples(layer.name, "layer_count", own.sum(axis=1, keepdims=True))

    def _prepare_steps(self, labels: np.ndarray, half: int) -> None:
        """Give the outputs what each step is compared with."""
        network, layout = self.network, self.layout
        told = labels if targets.of_steps(labels) else labels[:, None]  # of each step, or of all
        name, shape = "labels", [layout.halves, layout.batch, network.num_steps]
        if network.loss.compare:
            name, shape = "targets", [*shape, network.output.size]
            told = told if targets.are_values(labels) else np.arange(network.output.size) == told[..., None]
        array = self.memory.array("output", name).reshape(shape)
        array[half, : len(labels)] = told
        self.memory.push_half("output", name, half)

    def _prepare_first_spikes(self, shown: Shown) -> None:
        """What the loss adds to R of first spikes, and to the adjoint of the label's output if it never spiked."""
        assert shown.labels is not None
        loss = self.network.loss
        label = (np.arange(self.network.output.size) == shown.labels[:, None]).astype(np.float64)
        silent = np.isnan(shown.first_ms)
        names = {"label": label, "batch": shown.averaged, "trial": self._trial_ms, "error": shown.errors}
        at_spike = self._of_loss(loss.first_spike, t=np.where(silent, 0.0, shown.first_ms), **names)
        self.memory.set_samples("output", "first_error", np.where(silent, 0.0, at_spike))
        phantom = self._of_loss(added(loss.phantom, "lambda_V"), **names)
        self.memory.set_samples("output", "phantom", np.where(silent & (label > 0), phantom, 0.0))

    @property
    def _trial_ms(self) -> float:
        return self.network.num_steps * self.network.dt_ms

    def _of_loss(self, expression: str, **values: Any) -> Any:
        return evaluate(expression, {**self.network.loss_parameters, **values})


def _measured(y: np.ndarray, told: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """What is told of each row: whether its class is right, or the mean square error."""
    return ((y - told) ** 2).mean(axis=1) if targets.are_values(told) else (predictions == told).astype(np.float64)


def _cross_entropy(scores: np.ndarray, labels: np.ndarray | int, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """``-log softmax(scores)[label]``, ``(n,)``, and one-hot label minus softmax, ``(n, classes)``; of the label
    a share ``smoothing`` is spread over all classes."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    rows, columns = np.arange(len(scores)), np.broadcast_to(labels, len(scores))
    target = (np.arange(scores.shape[1]) == columns[:, None]) * (1.0 - smoothing) + smoothing / scores.shape[1]
    smoothed = smoothing * (shifted[rows, columns] - shifted.mean(axis=1))
    return np.log(sums[:, 0]) - shifted[rows, columns] + smoothed, target - exponentials / sums
