"""What all benchmarks share: a simulator object that trains, tests, predicts and reports gradients.

A benchmark supplies its parameters, its data and its splits; see ``simulator_SHD.py``.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import models
from eventprop import backends, checkpoint, files, results, trainer
from eventprop.checkpoint import TrainingState
from eventprop.dataset import Dataset
from eventprop.network import Network, describe
from eventprop.outputs import Outputs
from eventprop.progress import Progress
from eventprop.recording import Recorder
from eventprop.schedule import LearningRate
from eventprop.spikes import SpikeSet, from_samples
from eventprop.splits import Subset
from eventprop.streams import draw_seed

__all__ = ["Gradients", "Prediction", "RunResult", "Simulator"]

TimeConstants = dict[str, dict[str, np.ndarray]]
EachEpoch = Callable[[backends.Engine, int], None]

_SEEDS = ("TRAIN_DATA_SEED", "TEST_DATA_SEED", "MODEL_SEED")
# Keys that may differ from the checkpoint's without a word: they do not change what is computed.
_MAY_CHANGE = {
    "N_EPOCH",
    "LOAD_LAST",
    "LOAD_BEST",
    "CHECKPOINT",
    "CHECKPOINT_BEST",
    "CHECKPOINT_NAME",
    "NAME",
    "OUT_DIR",
}
_MAY_CHANGE |= {"DATA_DIR", "NUM_THREADS", "BACKEND", "BUILD", "TIMING", "WRITE_TO_DISK", "SPK_REC_STEPS"}
_MAY_CHANGE |= {"CUDA_VISIBLE_DEVICES", "DATA_BUFFER_NAME"}


class RunResult(NamedTuple):
    """What ``train``, ``test`` and ``train_test`` return; unpacks into the six values of old.

    Attributes:
        spike_t, spike_ID: recorded spikes by population.
        rec_vars_n, rec_vars_s: recorded neuron and synapse variables.
        correct, correct_eval: accuracy (0 to 1) of the last epoch in training and evaluation.
    """

    spike_t: dict[str, np.ndarray]
    spike_ID: dict[str, np.ndarray]
    rec_vars_n: dict[str, np.ndarray]
    rec_vars_s: dict[str, np.ndarray]
    correct: float
    correct_eval: float


class Prediction(NamedTuple):
    """Predicted class ``(n,)`` and read-out scores ``(n, classes)`` of each sample.

    The class is -1 where the loss goes by first spikes and no output spiked.
    """

    classes: np.ndarray
    scores: np.ndarray


class Gradients(NamedTuple):
    """Mean loss over the samples and its derivatives.

    Attributes:
        loss: the mean loss.
        grads: by every weight, ``(n_pre, n_post)`` for each synapse population.
        time_constants: by every neuron's time constants, ``(size,)`` for each population and name.
    """

    loss: float
    grads: dict[str, np.ndarray]
    time_constants: dict[str, dict[str, np.ndarray]]


class Simulator(ABC):
    """A benchmark's network, data and runs.

    Args:
        p: parameters; validated here, before data is loaded or code built, and never changed.

    Attributes:
        p: the resolved parameters, with seeds of None drawn.
        history: one record per epoch of the last run.
        collected: confusion matrices and predictions of the last run, by name, epochs along the first axis.
        evaluated: the samples of the last evaluation and what came out; None where there was none.
        timing: seconds of the last training, with ``TIMING``; on GeNN also those of its kernels.
    """

    data_keys: tuple[str, ...] = ()

    def __init__(self, p: Mapping[str, Any]) -> None:
        self.p, self._as_given = self.resolve(p), p
        for key in _SEEDS:
            if self.p[key] is None:
                self.p[key] = draw_seed()
        self.data: Dataset = self.load_data(self.p)
        self.history: list[dict[str, Any]] = []
        self.collected: dict[str, np.ndarray] = {}
        self.timing: dict[str, float] = {}
        self.evaluated: tuple[Subset, trainer.Outcome] | None = None
        self._given: dict[str, np.ndarray] | None = None
        self._current: dict[str, np.ndarray] | None = None
        self._given_time_constants: TimeConstants | None = None
        self._current_time_constants: TimeConstants | None = None
        self._network = self.network(self.p)
        Recorder(self.p, self._network, p)

    # What a benchmark supplies

    @abstractmethod
    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """``p`` complete and validated, as a new dict."""

    @abstractmethod
    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        """The data set that ``p`` names, binned to its steps."""

    # Inspection

    def network(self, p: Mapping[str, Any], *, plain: bool = False) -> Network:
        return describe(p, self.data.num_channels, self.data.num_classes, plain=plain)

    def weights(self) -> dict[str, np.ndarray]:
        """Weights by synapse population, float32 ``(n_pre, n_post)``: of the last training, else as set, else
        as drawn from ``MODEL_SEED``."""
        found = self._current or self._given or self._network.initial_weights(self.p["MODEL_SEED"])
        return {name: w.copy() for name, w in found.items()}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Use these weights from now on; training starts from them.

        Raises:
            ValueError: a synapse population is missing, unknown, misshaped or holds values that are not finite.
        """
        self._given = self._network.check_weights(weights)
        self._current = None

    def time_constants(self) -> TimeConstants:
        """Time constants in ms by population and name, float32 ``(size,)``: of the last training, else as set, else
        as ``p`` has them or as drawn from ``MODEL_SEED``."""
        values = _with_own(self._network, self._current_time_constants or self._given_time_constants)
        return {q: {name: array.copy() for name, array in arrays.items()} for q, arrays in values.items()}

    def set_time_constants(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Use these time constants (ms) from now on, whatever ``p`` says; training starts from them.

        Args:
            values: by population and name, ``(size,)`` each or one number for all neurons; all of them, as
                :meth:`time_constants` gives them. Neurons may differ where the type is heterogeneous (hetLIF, hetLI)
                or the time constant is trained.

        Raises:
            ValueError: one is missing, unknown, misshaped, not positive, below its bound, or differs between neurons
                that share it.
        """
        self._given_time_constants = self._network.check_time_constants(values)
        self._current_time_constants = None

    def predict(self, p: Mapping[str, Any], X: Sequence[Mapping[str, Any]]) -> Prediction:
        """Classes and scores of samples ``{"x": channel numbers, "t": times in ms}``."""
        p = self._for_run(p)
        spikes = self._sample_spikes(X, p)
        result = self._ready(p).run(spikes, np.arange(len(spikes)), None)
        return Prediction(result.predictions, result.scores)

    def gradients(self, p: Mapping[str, Any], X: Sequence[Mapping[str, Any]], Y: Sequence[int]) -> Gradients:
        """Mean loss of samples with labels ``Y`` and its derivative by every weight and time constant.

        Nothing that training adds takes part: no regularisation, dropout, noise, bound of the denominator
        (``MIN_DENOMINATOR``), clip, or scale of the read-out's drive (``LOSS_SCALE``). Nothing is learned.
        """
        p = self._for_run(p)
        spikes = self._sample_spikes(X, p)
        labels = self._checked_labels(Y, len(spikes))
        engine = self._ready(p, plain=True)
        result = engine.run(spikes, np.arange(len(spikes)), labels, learn=True)
        return Gradients(float(result.loss.mean()), engine.gradients(), engine.time_constant_gradients())

    def spikes(
        self, p: Mapping[str, Any], subset: Subset, population: str = "hidden0"
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Times (ms since trial start) and neurons of the spikes of each sample in "input", a hidden layer
        ("hidden0", "hidden1", ...) or, for the first-spike losses, "output". Spikes on the grid, the input's among
        them, are at the ends of their steps.

        Raises:
            ValueError: there is no such population, or it does not spike.
        """
        p = self._for_run(p)
        spiking = ["input", *(q.name for q in self.network(p).populations if q.model.threshold)]
        if population not in spiking:
            what = "does not spike" if population == "output" else "is not there"
            raise ValueError(f"population {population!r} {what}; there are spikes of {', '.join(spiking)}")
        engine = self._ready(p)
        found = []
        for index in subset.indices:
            engine.run(subset.part.spikes, np.array([index]), None)
            found.append(engine.spike_times(0, population))
        return found

    def scores(self, p: Mapping[str, Any], subset: Subset) -> np.ndarray:
        """Read-out scores of the samples of ``subset``, ``(n, classes)``."""
        return self._present(p, subset).scores

    def predictions(self, p: Mapping[str, Any], subset: Subset) -> np.ndarray:
        """Predicted classes of the samples of ``subset``, ``(n,)``; -1 as in :class:`Prediction`."""
        return self._present(p, subset).predictions

    def _present(self, p: Mapping[str, Any], subset: Subset) -> backends.BatchResult:
        return self._ready(self._for_run(p)).run(subset.part.spikes, subset.indices, None)

    def _sample_spikes(self, X: Sequence[Mapping[str, Any]], p: Mapping[str, Any]) -> SpikeSet:
        if len(X) == 0:
            raise ValueError("X holds no samples")
        return from_samples(X, self.data.num_channels, p["DT_MS"], p["TRIAL_MS"])

    def _checked_labels(self, Y: Sequence[int], n: int) -> np.ndarray:
        labels = np.asarray(Y)
        if labels.shape != (n,):
            raise ValueError(f"Y must hold one label for each of the {n} samples; its shape is {labels.shape}")
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= self.data.num_classes:
            raise ValueError(f"labels must be whole numbers from 0 to {self.data.num_classes - 1}")
        return labels.astype(np.int32)

    # Runs

    def _for_run(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """``p`` of a method call, resolved; the data keys must be those of the construction."""
        run, self._as_given = self.resolve(p), p
        drawn = [key for key in _SEEDS if run[key] is None]
        if drawn:
            run |= {key: {**self.p, **self._saved_seeds(run)}[key] for key in drawn}
        for key in self.data_keys:
            if run[key] != self.p[key]:
                raise ValueError(
                    f"{key} was {self.p[key]!r} when the data was loaded and is {run[key]!r} now; "
                    "make a new object to change it"
                )
        return run

    def _ready(self, p: Mapping[str, Any], *, plain: bool = False) -> backends.Engine:
        """An engine for a run without training: with what a checkpoint holds if ``p`` says so, else with the object's
        own weights and time constants, trained or set; without these as ``p`` has them."""
        drawn = {**p, "MODEL_SEED": self.p["MODEL_SEED"]}
        network = self.network(drawn)
        state = self._load(p, p["NAME"], network)
        weights = self._current or self._given if state is None else state.weights
        weights = weights or network.initial_weights(self.p["MODEL_SEED"])
        own = self._current_time_constants or self._given_time_constants if state is None else state.time_constants
        checked = network.check_weights(weights), network.check_time_constants(_with_own(network, own))
        if plain:
            network = self.network(drawn, plain=True)
        return _engine(replace(backends.Settings.of(p), pipeline=False), network, *checked)

    def _load(
        self, p: Mapping[str, Any], name: str, network: Network, *, to_train: bool = False, missing_is_new: bool = False
    ) -> TrainingState | None:
        """The state that ``LOAD_BEST`` or ``LOAD_LAST`` asks for; with ``to_train``, other settings are a warning.

        ``missing_is_new`` is for folds: one that has no checkpoint yet starts.
        """
        path = self._load_path(p, name)
        if path is None or (missing_is_new and not path.exists()):
            return None
        state, saved = checkpoint.load(path, network, to_train=to_train)
        may_change = _MAY_CHANGE | ({"SPEAKER_LEFT"} if missing_is_new else set())
        changed = [k for k in p if k not in may_change and k in saved and saved[k] != p[k]]
        if changed and to_train:
            words = ", ".join(f"{k} {saved[k]!r} -> {p[k]!r}" for k in changed)
            warnings.warn(f"settings differ from those of {path}: {words}", stacklevel=4)
        return state

    @staticmethod
    def _load_path(p: Mapping[str, Any], name: str) -> Path | None:
        label = "best" if p["LOAD_BEST"] else "last" if p["LOAD_LAST"] else None
        return None if label is None else checkpoint.checkpoint_path(p, p["CHECKPOINT_NAME"] or name, label)

    def _saved_seeds(self, p: Mapping[str, Any]) -> dict[str, int]:
        """Seeds of the run that ``p`` goes on from; empty where it starts a new one."""
        for name in (p["NAME"], *(f"{p['NAME']}_f{k}" for k in p.get("SPEAKER_LEFT", []))):
            path = self._load_path(p, name)
            if path is not None and path.exists():
                saved = checkpoint.load(path, None)[1]
                return {key: saved[key] for key in _SEEDS}
        return {}

    def _train(
        self,
        p: dict[str, Any],
        training: Subset,
        evaluation: Subset | None,
        evaluated: str,
        fold: str = "",
        each_epoch: EachEpoch | None = None,
    ) -> RunResult:
        """Train on ``training``, evaluate on ``evaluation`` after each epoch; ``fold`` is a suffix of the files.

        Args:
            each_epoch: what else is to be done after each epoch, with the engine and the epoch's number.
        """
        start = time.perf_counter()
        name = p["NAME"] + fold
        network = self.network(p)
        loaded = self._load(p, name, network, to_train=True, missing_is_new=bool(fold))
        state = loaded or self._fresh(p, network)
        run = Outputs(p, name, fold.lstrip("_") or "train") if p["WRITE_TO_DISK"] else None
        if run is not None:
            run.begin(state, loaded is not None)
        if state.epoch >= p["N_EPOCH"]:
            print(f"All {p['N_EPOCH']} epochs (N_EPOCH) are done; nothing is left to train")
        recorder = Recorder(p, network, self._as_given, name)
        time_constants = network.check_time_constants(_with_own(network, state.time_constants))
        engine = _engine(backends.Settings.of(p), network, network.check_weights(state.weights), time_constants)
        batches = -(-len(training) // p["N_BATCH"]) + (-(-len(evaluation) // p["N_BATCH"]) if evaluation else 0)

        def after_epoch(now: TrainingState, best: bool) -> None:
            if run is not None:
                run.epoch(now, best)
            if each_epoch is not None:
                each_epoch(engine, now.epoch - 1)

        with Progress(p["N_EPOCH"], state.epoch, batches, evaluated) as progress:
            outcome = trainer.train(engine, p, training, evaluation, state, progress, after_epoch, recorder)
        self.evaluated = None if evaluation is None or outcome is None else (evaluation, outcome)
        self._network, self._current, self._current_time_constants = network, state.weights, state.time_constants
        self.history = state.history
        self.collected = {what: np.stack(rows) for what, rows in state.collected.items()}
        if run is not None:
            run.finish(state, evaluated)
            recorder.write()
        self._report_time(p, state, len(training), time.perf_counter() - start, engine.times())
        last = state.history[-1]
        return _result(recorder, last["train_accuracy"], last["eval_accuracy"])

    def _fresh(self, p: Mapping[str, Any], network: Network) -> TrainingState:
        """A new run's state: weights and time constants as set, else as ``p`` has them or as drawn; no moments."""
        weights = network.check_weights(self._given or network.initial_weights(p["MODEL_SEED"]))
        given = self._given_time_constants or {}
        values = network.check_time_constants(_with_own(network, given))
        own = {
            q.name: {n: a for n, a in values[q.name].items() if n in q.per_neuron or n in given.get(q.name, {})}
            for q in network.populations
        }
        shapes = network.trained_shapes()
        moments = {role: {n: np.zeros(s, np.float32) for n, s in shapes.items()} for role in models.ADAM.state}
        return TrainingState(weights=weights, moments=moments, rate=LearningRate.start(p), time_constants=own)

    def _test(self, p: dict[str, Any], evaluation: Subset) -> RunResult:
        """One pass over ``evaluation`` without learning; one line in the results file, no checkpoint."""
        start = time.perf_counter()
        engine = self._ready(p)
        recorder = Recorder(p, engine.network, self._as_given)
        outcome = trainer.evaluate(engine, p, evaluation, recorder)
        self.evaluated = (evaluation, outcome)
        state = TrainingState(weights={}, moments={}, rate=LearningRate.start(p))
        trainer.collect(p, state, {"train": None, "eval": outcome}, engine)
        record = trainer.epoch_record(0, p, engine.network, None, outcome, 0.0, time.perf_counter() - start)
        self.history, self.collected = [record], {w: np.stack(r) for w, r in state.collected.items()}
        if p["WRITE_TO_DISK"]:
            folder = Path(p["OUT_DIR"])
            files.check_folder(folder)
            out = results.RunFiles(folder, p["NAME"], "test", p["DEBUG_HIDDEN_N"])
            out.write(out.begin(), [record])
            results.write_collected(folder, p["NAME"], state.collected)
            recorder.write()
        print(f"test {outcome.accuracy:.1%} of {len(evaluation)} samples (loss {outcome.mean_loss:.3f})")
        return _result(recorder, 0.0, outcome.accuracy)

    def _report_time(
        self, p: Mapping[str, Any], state: TrainingState, samples: int, seconds: float, parts: Mapping[str, float]
    ) -> None:
        if p["TIMING"] and state.history:
            epoch = state.seconds / state.epoch
            self.timing = {"seconds": seconds, "seconds_per_epoch": epoch, **parts}
            print(f"{epoch:.2f} s per epoch ({epoch / samples * 1e3:.2f} ms per training sample, evaluation included)")
            if parts:
                print("  GeNN's own count: " + ", ".join(f"{name} {value:.2f} s" for name, value in parts.items()))


def _result(recorder: Recorder, correct: float, correct_eval: float) -> RunResult:
    spike_t, spike_ID, neurons, synapses = (recorder.arrays(kind) for kind in ("spike_t", "spike_ID", "n", "s"))
    return RunResult(spike_t, spike_ID, neurons, synapses, correct, correct_eval)


def _with_own(network: Network, own: Mapping[str, Mapping[str, np.ndarray]] | None) -> TimeConstants:
    """The network's time constants, as ``p`` has them or as drawn, with ``own`` in the place of some."""
    values = network.initial_time_constants()
    for population, arrays in (own or {}).items():
        values[population] = {**values.get(population, {}), **arrays}
    return values


def _engine(
    settings: backends.Settings, network: Network, weights: Mapping[str, np.ndarray], time_constants: TimeConstants
) -> backends.Engine:
    engine = backends.build(network, settings)
    engine.set_weights(weights)
    engine.set_time_constants(time_constants)
    return engine
