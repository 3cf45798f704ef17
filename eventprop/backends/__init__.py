"""Backends: what computes a network. All follow the protocol :class:`Engine`; :func:`build` makes one.

A backend is told about batches, never about steps: present these samples, with or without learning; apply an
update; read and set weights and optimiser state; report gradients, spikes, scores.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eventprop.backends.devices import choose, passed_over, problem_with
from eventprop.data.presentation import Batch
from eventprop.data.spikes import SpikeSet
from eventprop.network import Network, Randomness
from eventprop.ranks import Ranks

__all__ = ["BatchResult", "Engine", "Settings", "build", "by_kind"]


@dataclass(frozen=True)
class BatchResult:
    """What a batch of ``n`` samples gave.

    Attributes:
        scores: class scores, ``(n, classes)``.
        predictions: class with the largest score, ``(n,)``, the first of equal ones; -1 where the loss goes by first
            spikes and no output spiked.
        loss: loss of each sample, ``(n,)``; zeros where no labels were given.
        measured: what is told of each sample, ``(n,)``: 1 or 0 for a class that is recognised or not, the share of the
            steps whose label is, or the mean square error; not a number where no labels were given.
        spike_counts: spikes of every hidden neuron in each sample, ``(n, hidden neurons)``, layer after layer.
    """

    scores: np.ndarray
    predictions: np.ndarray
    loss: np.ndarray
    measured: np.ndarray
    spike_counts: np.ndarray

    @classmethod
    def empty(cls, network: Network, n: int) -> BatchResult:
        """The result of ``n`` samples, to be filled."""
        return cls(
            scores=np.zeros((n, network.output.size), np.float32),
            predictions=np.zeros(n, np.int32),
            loss=np.zeros(n),
            measured=np.full(n, np.nan),
            spike_counts=np.zeros((n, sum(h.size for h in network.hidden)), np.float32),
        )

    def check(self, what: str = "samples", first: int = 0) -> None:
        """See that scores and losses are numbers; the largest of scores that are not would be class 0.

        Args:
            what, first: what the samples are called, and the number of the first one.

        Raises:
            ArithmeticError: says of how many samples they are not, and of which first.
        """
        wrong = ~(np.isfinite(self.scores).all(axis=1) & np.isfinite(self.loss))
        if wrong.any():
            raise ArithmeticError(
                f"scores of {wrong.sum()} of {wrong.size} {what} are not finite (number {first + int(wrong.argmax())} "
                "is the first), so they have no class: weights are too large, or input is"
            )


class Engine(Protocol):
    """A built network with its weights and optimiser state."""

    name: str
    network: Network
    has_gradient: bool
    """Whether the last ``run`` with ``learn``, or ``flush``, left gradients: those of its batch or, with a pipeline, of
    the batch before."""

    def run(
        self,
        spikes: SpikeSet,
        samples: np.ndarray,
        labels: np.ndarray | None,
        *,
        learn: bool = False,
        randomness: Randomness | None = None,
        first: int = 0,
        record: Collection[tuple[str, str]] | None = None,
        following: Batch | None = None,
    ) -> BatchResult:
        """Present ``samples`` (numbers into ``spikes``) as one batch.

        Args:
            labels: as the loss takes them: whole numbers, ``(n,)`` or ``(n, steps)``, or values, ``(n, outputs)`` or
                ``(n, steps, outputs)``.
            learn: whether gradients are taken, of the mean loss over this batch.
            first: the batch's position in the epoch, for the random streams.
            record: populations with variables that ``trace`` can be asked for afterwards; with it, even if it is empty,
                ``spikes`` has all samples.
            following: what the next run presents, with the same randomness: its input is made while a device works on
                this one.
        """
        ...

    def trace(self, population: str, variable: str) -> np.ndarray:
        """A variable of a population in the last batch, if that was recorded: ``(n, steps, size)`` float32.

        Values are those after each step, at the time of its end; of ``Isyn``, that which drove the step. Adjoints are
        at the same times, and not numbers where nothing was learned.
        """
        ...

    def gradient_norm(self, enough: float = 0.0) -> float:
        """Euclidean norm of all trained gradients; not finite if any of them is not. Where it is at most ``enough``,
        any number up to that may be returned: a device then keeps the gradients."""
        ...

    def gradients(self) -> dict[str, np.ndarray]:
        """Gradients of the last batch by weights and delays, named as :meth:`weights` has them, ``(n_pre, n_post)``; 0
        where not trained."""
        ...

    def time_constant_gradients(self) -> dict[str, dict[str, np.ndarray]]:
        """Gradients of the last batch by the trained time constants: population, name, ``(size,)``."""
        ...

    def update(self, parameters: Mapping[str, float], factor: float = 1.0, delay_rate: float = 0.0) -> None:
        """One step of the optimiser with the gradients times ``factor``; see :func:`by_kind`. Trained time constants
        stay above their bounds, delays between theirs."""
        ...

    def weights(self) -> dict[str, np.ndarray]:
        """Weights by synapse population, float32 ``(n_pre, n_post)``; with delays, these (ms) as well, under
        ``<synapse population>.delay``."""
        ...

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None: ...

    def time_constants(self) -> dict[str, dict[str, np.ndarray]]:
        """Time constants by population and name, float32 ``(size,)``."""
        ...

    def set_time_constants(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> None: ...

    def optimiser_state(self) -> dict[str, dict[str, np.ndarray]]:
        """Moments by name, then by what they belong to: names and shapes of ``network.trained_shapes()``."""
        ...

    def set_optimiser_state(self, state: Mapping[str, Mapping[str, np.ndarray]]) -> None: ...

    def flush(self) -> bool:
        """End an epoch: finish what a pipeline has left to do; whether gradients came of it. Warns of lost spikes."""
        ...

    def times(self) -> dict[str, float]:
        """Seconds spent so far in the parts of the computation, where these are measured."""
        ...

    def spikes(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and neurons of the spikes of sample ``index`` of the last batch in "input", "hidden0", ..., and
        "output" where it spikes."""
        ...

    def spike_times(self, index: int, population: str) -> tuple[np.ndarray, np.ndarray]:
        """As ``spikes``, with times since the start of the trial (ms): the ends of the steps, or the exact ones."""
        ...


def by_kind(parameters: Mapping[str, float], delay_rate: float) -> dict[str, dict[str, float]]:
    """The optimiser's parameters for "weights", for "neurons" (their time constants), which do not decay, and for
    "delays", which do not either and have a rate of their own, ``delay_rate`` (ms)."""
    neurons = {**parameters, "shrink": 0.0}
    return {"weights": dict(parameters), "neurons": neurons, "delays": {**neurons, "rate": delay_rate}}


@dataclass(frozen=True)
class Settings:
    """How a network is computed. ``p``'s keys are in brackets.

    Attributes:
        backend: (BACKEND) "auto", "cpu", "cuda", "hip" or "single_threaded_cpu".
        num_threads: (NUM_THREADS) of the CPU backend; None for all cores that the process may use.
        batch: (N_BATCH) samples that GeNN presents at once, on a GPU.
        max_spikes: (N_MAX_SPIKE) length of GeNN's buffer of each neuron's spikes.
        pipeline: (PIPELINE) whether, on GeNN, a batch runs backwards while the next one runs forwards.
        build: (BUILD) whether GeNN's code may be built.
        timing: (TIMING) whether times of its parts are taken, on GeNN.
        record_steps: (SPK_REC_STEPS) size of GeNN's buffer of recorded spikes; None for a trial.
        first_device: (CUDA_VISIBLE_DEVICES) whether the first visible GPU is taken, and not the one that GeNN chooses.
    """

    backend: str = "auto"
    num_threads: int | None = None
    batch: int = 32
    max_spikes: int = 1500
    pipeline: bool = False
    build: bool = True
    timing: bool = False
    record_steps: int | None = None
    first_device: bool = True


@functools.cache
def say_once(line: str | None) -> None:
    """Tell the user something, once in a process."""
    if line:
        print(line, file=sys.stderr)


def build(network: Network, settings: Settings | None = None, ranks: Ranks | None = None) -> Engine:
    """An engine for ``network``; without ``settings`` on the best backend that is installed.

    Args:
        ranks: processes that present each batch together, and all call this.

    Raises:
        ValueError: the backend that ``settings`` names cannot be used here.
    """
    settings = settings or Settings()
    if ranks is not None and ranks.size > 1:
        return _build_shared(network, settings, ranks)
    problem = problem_with(settings.backend, network.spike_timing)
    if problem:
        raise ValueError(problem)
    backend = choose(settings.backend, network.spike_timing)
    if settings.backend == "auto" and network.spike_timing != "exact":
        say_once(passed_over())
    if backend == "cpu":
        from eventprop.backends.cpu.engine import CpuEngine

        return CpuEngine(network, settings.num_threads)
    from eventprop.backends.genn.engine import GennEngine

    return GennEngine(
        network,
        backend,
        batch=settings.batch,
        max_spikes=settings.max_spikes,
        pipeline=settings.pipeline,
        build=settings.build,
        timing=settings.timing,
        record_steps=settings.record_steps,
        first_device=settings.first_device,
    )


def _build_shared(network: Network, settings: Settings, ranks: Ranks) -> Engine:
    from eventprop.backends.cpu.engine import available_threads
    from eventprop.backends.cpu.shared import SharedEngine

    if settings.backend not in ("auto", "cpu"):
        raise ValueError(
            f'BACKEND="{settings.backend}" is for one process, and {ranks.size} were started to train together; '
            'BACKEND="cpu" shares a batch between them'
        )
    if problem := problem_with("cpu", network.spike_timing):
        raise ValueError(problem)
    threads = settings.num_threads or ranks.cores(available_threads())
    engine = ranks.in_turn(lambda: SharedEngine(network, threads, ranks))
    if (most := engine.blocks_in(settings.batch)) < ranks.size:
        raise ValueError(
            f"{ranks.size} processes cannot share N_BATCH={settings.batch}, of which each gets whole blocks of "
            f"{engine.block} samples: take N_BATCH={(ranks.size - 1) * engine.block + 1} or more, or start at "
            f"most {most} process{'es' if most > 1 else ''}"
        )
    return engine
