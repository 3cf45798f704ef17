"""What all benchmarks share: a simulator object that trains, tests, predicts and reports gradients.

A benchmark supplies its parameters, its data and its splits; see ``simulator_SHD.py``.
"""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from eventprop import backends, models
from eventprop.data.dataset import Dataset
from eventprop.data.presentation import Preparation, verify
from eventprop.data.splits import Subset, leave_speaker_out
from eventprop.network import Network, describe
from eventprop.reports import results, summary, timing
from eventprop.reports.progress import Progress
from eventprop.reports.recording import Recorder
from eventprop.simulators.inspection import Gradients, Inspection, Prediction, TimeConstants, with_own
from eventprop.streams import draw_seed
from eventprop.terminal import prepare
from eventprop.training import checkpoint, trainer
from eventprop.training.checkpoint import TrainingState
from eventprop.training.lock import alone
from eventprop.training.outputs import Outputs, journal_name
from eventprop.training.schedule import LearningRate

__all__ = ["Gradients", "Prediction", "RunResult", "Simulator"]

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
# Keys, besides those of the data, that make another network of the same weights.
_OF_THE_NETWORK = {"TAU_MEM", "TAU_SYN", "TAU_B", "B_INCR", "B_INIT", "V_THRESH", "V_RESET", "HIDDEN_NEURON_TYPE"}
_OF_THE_NETWORK |= {
    "OUTPUT_NEURON_TYPE",
    "LOSS_TYPE",
    "SPIKE_TIMING",
    "N_INPUT_DELAY",
    "INPUT_DELAY",
    "TAU_ACCUMULATOR",
}
_OF_THE_SAMPLES = {
    "DATA_DIR",
    "REDUCED_CLASSES",
    "N_TRAIN",
    "N_VALIDATE",
    "N_TEST",
    "TRAIN_DATA_SEED",
    "TEST_DATA_SEED",
}


class RunResult(NamedTuple):
    """What ``train``, ``test`` and ``train_test`` return; unpacks into the six values of old.

    Attributes:
        spike_t, spike_ID: recorded spikes by population.
        rec_vars_n, rec_vars_s: recorded neuron and synapse variables.
        correct, correct_eval: accuracy (0 to 1) of the last epoch in training and evaluation; not a number where
            there was none.
    """

    spike_t: dict[str, np.ndarray]
    spike_ID: dict[str, np.ndarray]
    rec_vars_n: dict[str, np.ndarray]
    rec_vars_s: dict[str, np.ndarray]
    correct: float
    correct_eval: float


class _Loaded(NamedTuple):
    """A state to go on from, with the checkpoint that it is from (None: flat arrays) and the parameters in that."""

    state: TrainingState | None = None
    path: Path | None = None
    saved: Mapping[str, Any] = MappingProxyType({})


class Simulator(Inspection):
    """A benchmark's network, data and runs.

    Args:
        p: parameters; validated here, before data is loaded or code built, and never changed.

    Attributes:
        p: the resolved parameters, with seeds of None drawn.
        history: one record per epoch of the last run.
        collected: confusion matrices and predictions of the last run, by name, epochs along the first axis.
        evaluated: the samples of the last evaluation and what came out; None where there was none.
        timing: seconds of the last training, with ``TIMING``, on GeNN also those of its kernels; with ``PROFILE``
            seconds until the engine was ready, MB of input and GB of peak memory.
    """

    data_keys: tuple[str, ...] = ()

    def __init__(self, p: Mapping[str, Any]) -> None:
        prepare()  # a folder's name that the terminal cannot show ends no run
        self.p, self._as_given = self.resolve(p), p
        for key in _SEEDS:
            if self.p[key] is None:
                self.p[key] = draw_seed()
        Recorder(self.p, describe(self.p, 1, 2), p)  # names of what is recorded, before data is read
        self.data: Dataset = self.load_data(self.p)
        self.history: list[dict[str, Any]] = []
        self.collected: dict[str, np.ndarray] = {}
        self.timing: dict[str, float] = {}
        self.evaluated: tuple[Subset, trainer.Outcome] | None = None
        self._network = self.network(self.p)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process needs; the data set is not part of it, and is loaded there again."""
        return {name: value for name, value in vars(self).items() if name != "data"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.data = self.load_data(self.p)

    # What a benchmark supplies

    @abstractmethod
    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """``p`` complete and validated, as a new dict."""

    @abstractmethod
    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        """The data set that ``p`` names, binned to its steps."""

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

    def _ready(self, p: Mapping[str, Any], *, plain: bool = False, trained: bool = False) -> backends.Engine:
        """An engine for a run without training: with what a checkpoint holds if ``p`` says so, else with the object's
        own weights and time constants, trained or set; without these as ``p`` has them.

        Args:
            trained: whether weights as they were drawn are an error.
        """
        drawn = {**p, "MODEL_SEED": self.p["MODEL_SEED"]}
        network = self.network(drawn)
        state, path, _ = self._load(p, p["NAME"], network)
        if trained and (not (self._current or self._given) if state is None else path is not None and not state.epoch):
            where = "" if path is None else f" (no epoch of {path} is complete)"
            raise ValueError(
                f"there are no trained weights to test{where}: LOAD_LAST=True or LOAD_BEST=True takes those of a "
                "checkpoint of NAME, or of CHECKPOINT_NAME; in a script, train or set_weights come first"
            )
        weights = self._current or self._given if state is None else state.weights
        weights = weights or network.initial_weights(self.p["MODEL_SEED"])
        own = self._current_time_constants or self._given_time_constants if state is None else state.time_constants
        checked = network.check_weights(weights), network.check_time_constants(with_own(network, own))
        if plain:
            network = self.network(drawn, plain=True)
        return _engine(replace(backends.Settings.of(p), pipeline=False), network, *checked)

    def _load(
        self, p: Mapping[str, Any], name: str, network: Network, *, to_train: bool = False, missing_is_new: bool = False
    ) -> _Loaded:
        """The state that ``LOAD_BEST`` or ``LOAD_LAST`` asks for; other settings than its own are a warning, without
        ``to_train`` only those that make other spikes or another network.

        ``missing_is_new`` is for folds: one that has no checkpoint yet starts.
        """
        path = self._load_path(p, name)
        if path is None:
            return _Loaded()
        if not path.exists():
            found = checkpoint.load_flat(path, network)
            if found is not None:
                return _Loaded(TrainingState(**found, moments=self._no_moments(network), rate=LearningRate.start(p)))
            if missing_is_new:
                return _Loaded()
        state, saved = checkpoint.load(path, network, to_train=to_train)
        changed = _differing(p, saved, {"SPEAKER_LEFT"} if missing_is_new else set())
        if not to_train:
            matter = _OF_THE_NETWORK | (set(self.data_keys) - _OF_THE_SAMPLES)
            changed = [k for k in changed if k in matter]
        if changed:
            words = ", ".join(f"{k} {saved[k]!r} -> {p[k]!r}" for k in changed)
            warnings.warn(f"settings differ from those of {path}: {words}", stacklevel=4)
        return _Loaded(state, path, saved)

    @staticmethod
    def _load_path(p: Mapping[str, Any], name: str) -> Path | None:
        """The checkpoint that ``p`` asks for.

        A run that has not completed an epoch yet leaves a trained checkpoint of its name alone, and its start beside
        it. ``LOAD_LAST`` goes on from the one of the two whose settings are nearer to ``p``, else the trained one.
        """
        if not (p["LOAD_BEST"] or p["LOAD_LAST"]):
            return None
        of = p["CHECKPOINT_NAME"] or name
        if p["LOAD_BEST"]:
            return checkpoint.checkpoint_path(p, of, "best")
        last, start = (checkpoint.checkpoint_path(p, of, label) for label in ("last", "start"))
        if not start.exists():
            return last
        if not last.exists():
            return start
        return min((last, start), key=lambda path: len(_differing(p, checkpoint.load(path, None)[1], set())))

    def _saved_seeds(self, p: Mapping[str, Any]) -> dict[str, int]:
        """Seeds of the run that ``p`` goes on from; empty where it starts a new one."""
        for name in (p["NAME"], *(f"{p['NAME']}_f{k}" for k in p.get("SPEAKER_LEFT", []))):
            path = self._load_path(p, name)
            if path is not None and path.exists():
                saved = checkpoint.load(path, None)[1]
                if not all(isinstance(saved.get(key), int) for key in _SEEDS):
                    raise ValueError(f"{path} has no whole numbers for {', '.join(_SEEDS)}")
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
        p = _without_test_data(p) if evaluated == "test" else p
        _note_what_trains(p, training, "cross_validate" if fold else "train_test" if evaluated == "test" else "train")
        with self._alone(p):
            return self._train_alone(p, training, evaluation, evaluated, fold, each_epoch)

    def _cross_validate(
        self, p: dict[str, Any], samples: Subset, group: str = "speaker"
    ) -> tuple[list[list[float]], list[float]]:
        """Leave out one speaker (or user, as ``group`` says) of ``samples``, for each of ``SPEAKER_LEFT``.

        Returns:
            Training and validation accuracy of each fold's last epoch; seconds per fold.
        """
        folds = {
            left: leave_speaker_out(samples, left, p["N_TRAIN"], p["TRAIN_DATA_SEED"]) for left in p["SPEAKER_LEFT"]
        }
        accuracies, seconds, rows = [], [], {}
        with self._alone(p):
            for left, (training, validation) in folds.items():
                start = time.perf_counter()
                print(f"Without {group} {left}: {len(training)} training, {len(validation)} validation samples")
                result = self._train(p, training, validation, "validation", fold=f"_f{left}")
                accuracies.append([result.correct, result.correct_eval])
                seconds.append(time.perf_counter() - start)
                rows[left] = {"training": len(training), "validation": len(validation), **summary.row(self.history)}
                if p["WRITE_TO_DISK"]:
                    summary.write(Path(p["OUT_DIR"]) / f"{p['NAME']}_folds.csv", f"{group}_left", rows)
        return accuracies, seconds

    def _alone(self, p: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Nobody else writes files of this run's name meanwhile."""
        if not p["WRITE_TO_DISK"]:
            return nullcontext()
        return alone(Path(p["OUT_DIR"]), p["NAME"])

    def _train_alone(
        self,
        p: dict[str, Any],
        training: Subset,
        evaluation: Subset | None,
        evaluated: str,
        fold: str,
        each_epoch: EachEpoch | None,
    ) -> RunResult:
        start = time.perf_counter()
        name = p["NAME"] + fold
        network = self.network(p)
        loaded, source, saved = self._load(p, name, network, to_train=True, missing_is_new=bool(fold))
        state = loaded or self._fresh(p, network)
        preparation = Preparation(p, training)
        recorder = Recorder(p, network, self._as_given, name)
        if state.mark is not None and state.mark.file == journal_name(name):
            recorder.restore(state.recorded, saved)
        time_constants = network.check_time_constants(with_own(network, state.time_constants))
        engine = _engine(backends.Settings.of(p), network, network.check_weights(state.weights), time_constants)
        if p.get("TEST_ST_INTEGRITY"):
            verify(engine, preparation.training(training, state.epoch), p["N_BATCH"])
        run = Outputs(p, name, fold.lstrip("_") or "train") if p["WRITE_TO_DISK"] else None
        if run is not None:
            run.begin(state, source)
        if state.epoch >= p["N_EPOCH"]:
            print(f"All {p['N_EPOCH']} epochs (N_EPOCH) are done; nothing is left to train")
        building = time.perf_counter() - start
        samples = preparation.size(training, learn=True)
        batches = -(-samples // p["N_BATCH"])
        if evaluation is not None:
            batches += -(-preparation.size(evaluation, learn=False) // p["N_BATCH"])

        def after_epoch(now: TrainingState, best: bool) -> None:
            if run is not None:
                run.epoch(now, best, recorder.taken())
            if each_epoch is not None:
                each_epoch(engine, now.epoch - 1)

        with Progress(p["N_EPOCH"], state.epoch, batches, evaluated) as progress:
            outcome = trainer.train(
                engine, p, training, evaluation, state, progress, after_epoch, recorder, preparation
            )
        if outcome is None and evaluation is not None:  # a run that was stopped behind its last epoch
            shown = preparation.evaluation(evaluation, state.epoch - 1)
            outcome = trainer.evaluate(engine, p, shown)
        self.evaluated = None if outcome is None else (outcome.subset, outcome)
        self._network, self._current, self._current_time_constants = network, state.weights, state.time_constants
        self.history = state.history
        self.collected = {what: np.stack(rows) for what, rows in state.collected.items()}
        if run is not None:
            run.finish(state, evaluated)
            recorder.write()
        seconds = time.perf_counter() - start
        self.timing = timing.report(p, state, samples, seconds, building, training.part.spikes, engine.times())
        last = state.history[-1]
        return _result(recorder, last["train_accuracy"], last["eval_accuracy"])

    def _fresh(self, p: Mapping[str, Any], network: Network) -> TrainingState:
        """A new run's state: weights and time constants as set, else as ``p`` has them or as drawn; no moments."""
        weights = network.check_weights(self._given or network.initial_weights(p["MODEL_SEED"]))
        given = self._given_time_constants or {}
        values = network.check_time_constants(with_own(network, given))
        own = {
            q.name: {n: a for n, a in values[q.name].items() if n in q.per_neuron or n in given.get(q.name, {})}
            for q in network.populations
        }
        moments = self._no_moments(network)
        return TrainingState(weights=weights, moments=moments, rate=LearningRate.start(p), time_constants=own)

    @staticmethod
    def _no_moments(network: Network) -> dict[str, dict[str, np.ndarray]]:
        shapes = network.trained_shapes()
        return {role: {n: np.zeros(s, np.float32) for n, s in shapes.items()} for role in models.ADAM.state}

    def _test(self, p: dict[str, Any], evaluation: Subset, training: Subset | None = None) -> RunResult:
        """One pass over ``evaluation`` without learning; one line in the results file, no checkpoint.

        Args:
            training: the samples that trained, where the preparation of others depends on them.
        """
        with self._alone(p):
            return self._test_alone(p, evaluation, training)

    def _test_alone(self, p: dict[str, Any], evaluation: Subset, training: Subset | None) -> RunResult:
        start = time.perf_counter()
        preparation = Preparation(p, evaluation if training is None else training)
        engine = self._ready(p, trained=True)
        recorder = Recorder(p, engine.network, self._as_given)
        outcome = trainer.evaluate(engine, p, preparation.evaluation(evaluation, 0), recorder)
        trainer.warn_of_silence(engine.network, outcome, "testing")
        self.evaluated = (outcome.subset, outcome)
        state = TrainingState(weights={}, moments={}, rate=LearningRate.start(p))
        trainer.collect(p, state, {"train": None, "eval": outcome}, engine)
        seconds = time.perf_counter() - start
        record = trainer.epoch_record(0, p, engine.network, None, outcome, float("nan"), seconds)
        self.history, self.collected = [record], {w: np.stack(r) for w, r in state.collected.items()}
        if p["WRITE_TO_DISK"]:
            folder = Path(p["OUT_DIR"])
            out = results.RunFiles(folder, p["NAME"], "test", p["DEBUG_HIDDEN_N"])
            out.write(out.begin(), [record])
            results.write_collected(folder, p["NAME"], state.collected)
            recorder.write()
        print(f"test accuracy {outcome.accuracy:.2%} of {len(outcome.labels)} samples (loss {outcome.mean_loss:.3f})")
        return _result(recorder, float("nan"), outcome.accuracy)


def _result(recorder: Recorder, correct: float, correct_eval: float) -> RunResult:
    spike_t, spike_ID, neurons, synapses = (recorder.arrays(kind) for kind in ("spike_t", "spike_ID", "n", "s"))
    return RunResult(spike_t, spike_ID, neurons, synapses, correct, correct_eval)


def _differing(p: Mapping[str, Any], saved: Mapping[str, Any], also: set[str]) -> list[str]:
    """Keys of which a checkpoint has other values than ``p``, but for those that change nothing, ``also``, and seeds
    that are still to be drawn."""
    also = also | {key for key in _SEEDS if p[key] is None}
    if "METHOD" not in saved:  # an earlier version's, whose N_TRAIN is not the number of samples that train
        also = also | {"N_TRAIN"}
    return [k for k in p if k not in _MAY_CHANGE | also and k in saved and saved[k] != p[k]]


def _note_what_trains(p: dict[str, Any], training: Subset, method: str) -> None:
    """Let ``p`` say what a run really takes, so that its saved parameters repeat it: the method, and the number of
    training samples where that is another one than ``N_TRAIN``, which is told."""
    n, wanted = len(training), p["N_TRAIN"]
    p["METHOD"] = method
    if n == wanted or method == "cross_validate" or ("blend" in p.get("AUGMENTATION", {}) and n < wanted):
        return
    if method == "train_test":
        why = "train_test takes the whole training file"
    elif p["N_VALIDATE"] == 0:
        why = "with N_VALIDATE=0 the whole training file trains"
    elif p.get("EVALUATION") == "validation_set":
        why = "with a validation file the whole training file trains"
    else:
        why = "there are no more without those of validation"
    print(f"{n} samples train, not N_TRAIN={wanted}: {why}")
    p["N_TRAIN"] = n


def _without_test_data(p: dict[str, Any]) -> dict[str, Any]:
    """``p`` such that nothing is chosen by the test data on which a run is evaluated.

    Raises:
        ValueError: ``CHECKPOINT_BEST`` would.
    """
    if p["CHECKPOINT_BEST"] == "validation":
        raise ValueError(
            'CHECKPOINT_BEST="validation" would choose the best epoch by test data here, where nothing is validated; '
            '"training" chooses by training accuracy'
        )
    if p["EMA_WHICH"] != "validation":
        return p
    if p["N_EPOCH"] > p["MIN_EPOCH_ETA_FIXED"] + 1:
        warnings.warn(
            'the schedule of the rate goes by training accuracy (EMA_WHICH="training"): there is no validation here, '
            "and test data choose nothing",
            stacklevel=5,
        )
    return {**p, "EMA_WHICH": "training"}


def _engine(
    settings: backends.Settings, network: Network, weights: Mapping[str, np.ndarray], time_constants: TimeConstants
) -> backends.Engine:
    engine = backends.build(network, settings)
    engine.set_weights(weights)
    engine.set_time_constants(time_constants)
    return engine
