"""What all benchmarks share: a simulator object that trains, tests, predicts and reports gradients.

A benchmark supplies its parameters, its data and its splits; see ``simulator_SHD.py``.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventprop import backends
from eventprop.data.dataset import Dataset
from eventprop.data.presentation import Preparation
from eventprop.data.splits import Subset, leave_speaker_out
from eventprop.network import Network
from eventprop.parameters.declaration import Key
from eventprop.parameters.neurons import with_own_neurons
from eventprop.ranks import OFF, Ranks, quiet, world
from eventprop.reports import provenance, results, summary, timing
from eventprop.reports.measures import of_loss
from eventprop.reports.progress import Progress
from eventprop.reports.recording import Recorder
from eventprop.simulators.about import about_run, described, line_of, with_data, without_data
from eventprop.simulators.choosing import is_done, without_test_data
from eventprop.simulators.continuing import Left, left_by
from eventprop.simulators.inspection import Gradients, Prediction, engine_with, with_own
from eventprop.simulators.records import Records, network_of
from eventprop.simulators.resuming import SEEDS, Loaded, Resuming, no_moments, that_matter
from eventprop.simulators.returned import FoldsResult, RunResult
from eventprop.simulators.starting import Starting
from eventprop.streams import draw_seed
from eventprop.terminal import prepare, spoken
from eventprop.training import diagnosis, trainer
from eventprop.training.checkpoint import TrainingState, checksum
from eventprop.training.lock import alone
from eventprop.training.outputs import Outputs, journal_name
from eventprop.training.schedule import LearningRate
from eventprop.training.verification import verify

__all__ = ["FoldsResult", "Gradients", "Prediction", "RunResult", "Simulator"]

EachEpoch = Callable[[backends.Engine, int], None]
OnEpoch = Callable[["Simulator", dict[str, Any]], object]


class Simulator(Starting):
    """A benchmark's network, data and runs.

    Args:
        p: parameters; validated here, before data is loaded or code built, and never changed.

    Raises:
        ValueError: lists everything that is wrong with ``p``; or names a data file and what is wrong in it.
        FileNotFoundError: names the data file or folder that is missing and where to get it.

    Attributes:
        p: the resolved parameters, with seeds of None drawn.
        history: one record per epoch of the last run.
        on_epoch: functions of the object and that record, called after each epoch of training, when the object has the
            epoch's weights and the files are written; training ends where one returns True.
        collected: confusion matrices and predictions of the last run, by name, epochs along the first axis.
        evaluated: the samples of the last evaluation and what came out; None where there was none.
        timing: seconds of the last training, with ``TIMING``, on GeNN also those of its kernels; with ``PROFILE``
            seconds until the engine was ready, MB of input and GB of peak memory.
    """

    keys: tuple[Key, ...] = ()
    """The benchmark's declared keys: what each changes, and which are fixed once the data are loaded."""

    def __init__(self, p: Mapping[str, Any]) -> None:
        prepare()  # a folder's name that the terminal cannot show ends no run
        self.p, self._as_given = self.resolve(p), p
        self.p |= world().share({key: draw_seed() for key in SEEDS if self.p[key] is None})
        Recorder(Records.of(self.p).recording, network_of(self.p, 1, 2))  # what is recorded, before data is read
        with spoken(self.p["VERBOSE"]):
            self.data: Dataset = world().in_turn(lambda: self.load_data(self.p))
        self.history: list[dict[str, Any]] = []
        self.on_epoch: list[OnEpoch] = []
        self._left: Left | None = None
        self.collected: dict[str, np.ndarray] = {}
        self.timing: dict[str, float] = {}
        self.evaluated: tuple[Subset, trainer.Outcome] | None = None
        self._network = self.network(self.p)

    def __repr__(self) -> str:
        return line_of(self)

    def summary(self) -> None:
        """Print what this is: data, layers, synapses, their parameters, activity in the last epoch, what computes."""
        print(described(self))

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process needs; the data set is not part of it, and is loaded there again. What is
        called after each epoch stays here."""
        kept = {name: value for name, value in vars(self).items() if name != "data"}
        return kept | {"on_epoch": [], "evaluated": without_data(self.data, self.evaluated)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with spoken(self.p["VERBOSE"]):
            self.data = self.load_data(self.p)
        self.evaluated = with_data(self.data, state["evaluated"])

    # What a benchmark supplies

    @abstractmethod
    def resolve(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """``p`` complete and validated, as a new dict."""

    @abstractmethod
    def load_data(self, p: Mapping[str, Any]) -> Dataset:
        """The data set that ``p`` names, binned to its steps."""

    # Runs

    def _for_run(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """``p`` of a method call, resolved; keys that data are loaded by must be those of the construction."""
        run, self._as_given = self.resolve(p), p
        drawn = [key for key in SEEDS if run[key] is None]
        if drawn:
            run |= {key: {**self.p, **Resuming(run, self.keys).seeds()}[key] for key in drawn}
        for key in (key.name for key in self.keys if key.loaded):
            if run[key] != self.p[key]:
                raise ValueError(
                    f"{key} was {self.p[key]!r} when the data was loaded and is {run[key]!r} now; "
                    "make a new object to change it"
                )
        if world().rank:
            run["WRITE_TO_DISK"] = False
        return run

    def _ready(
        self, p: Mapping[str, Any], *, plain: bool = False, trained: bool = False, ranks: Ranks | None = None
    ) -> backends.Engine:
        """An engine for a run without training: with what a checkpoint holds if ``p`` says so, else with the object's
        own weights and time constants, trained or set; without these as ``p`` has them.

        Args:
            trained: whether weights as they were drawn are an error.
            ranks: processes that present each batch together; None where each presents all by itself.
        """
        drawn = {**p, "MODEL_SEED": self.p["MODEL_SEED"]}
        network, settings = self.network(drawn), Records.of(p)
        state, path, _ = loaded = Resuming(p, self.keys).load(p["NAME"], network, settings.loop.rate)
        if trained and (not (self._current or self._given) if state is None else path is not None and not state.epoch):
            where = "" if path is None else f" (no epoch of {path} is complete)"
            raise ValueError(
                f"there are no trained weights to test{where}: LOAD_LAST=True or LOAD_BEST=True takes those of a "
                "checkpoint of NAME, or of CHECKPOINT_NAME; in a script, train or set_weights come first"
            )
        weights = self._current or self._given if state is None else state.weights
        weights = weights or self._start(drawn).initial_weights(self.p["MODEL_SEED"])
        own = self._current_time_constants or self._given_time_constants if state is None else state.time_constants
        network = self._with_masks_of(loaded, network, drawn, trained=True)
        checked = network.check_weights(weights), network.check_time_constants(with_own(network, own))
        if plain:
            network = replace(self.network(drawn, plain=True), masks=network.masks)
        return engine_with(replace(settings.backend, pipeline=False), network, *checked, ranks)

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
        p = without_test_data(p) if evaluated == "test" else p
        if p["EARLY_STOPPING"] is not None and evaluation is None:
            raise ValueError(f"EARLY_STOPPING={p['EARLY_STOPPING']} needs validation samples, and N_VALIDATE is 0")
        with self._alone(p):
            method = "cross_validate" if fold else "train_test" if evaluated == "test" else "train"
            _note_what_trains(p, training, method, asked=self._as_given.get("N_TRAIN", 0) is not None)
            return self._train_alone(p, _Parts(training, evaluation, evaluated), fold, each_epoch)

    def _cross_validate(self, p: dict[str, Any], samples: Subset, group: str = "speaker") -> FoldsResult:
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
        return FoldsResult(accuracies, seconds)

    @contextmanager
    def _alone(self, p: Mapping[str, Any]) -> Iterator[None]:
        """Nobody else writes files of this run's name meanwhile. Of processes that train together the first writes and
        speaks, and the others wait for it in the end.

        Raises:
            ValueError: they are told to do different things.
        """
        ranks = world()
        if others := ranks.strangers(lambda: {key: value for key, value in p.items() if key != "WRITE_TO_DISK"}):
            raise ValueError(
                f"{others} and rank 0 have different settings; processes that do not train together need {OFF}=0 in "
                "the environment"
            )
        with ExitStack() as stack:
            stack.enter_context(quiet() if ranks.rank else spoken(p["VERBOSE"]))
            wanted = alone(Path(p["OUT_DIR"]), p["NAME"]) if p["WRITE_TO_DISK"] else nullcontext()
            ranks.first(lambda: stack.enter_context(wanted))
            yield
            ranks.wait()

    def _train_alone(self, p: dict[str, Any], parts: _Parts, fold: str, each_epoch: EachEpoch | None) -> RunResult:
        start = time.perf_counter()
        name, network = p["NAME"] + fold, self.network(p)
        loaded, goes_on = self._loaded(p, name, network, fold)
        settings = Records.of(p, self._as_given, name)
        loop = settings.loop
        if loop.rewire_silent or not (loaded.state or self._given):
            network = self._start(p)
        network = self._with_masks_of(loaded, network, p, trained=False)
        state = loaded.state or self._fresh(loop, network)
        if done := is_done(state.history, p["EARLY_STOPPING"]):
            loop = replace(loop, n_epoch=state.epoch)
        samples = trainer.Samples(parts.training, parts.evaluation, Preparation(settings.samples, parts.training))
        recorder = Recorder(settings.recording, network)
        if goes_on or (state.mark is not None and state.mark.file == journal_name(name)):
            recorder.restore(state.recorded, loaded.saved)
        time_constants = network.check_time_constants(with_own(network, state.time_constants))
        engine = engine_with(settings.backend, network, network.check_weights(state.weights), time_constants, world())
        if p.get("TEST_ST_INTEGRITY"):
            verify(engine, samples.preparation.training(parts.training, state.epoch), loop.n_batch)
        run = None
        if settings.files.write_to_disk:
            about = about_run(self, p, parts.training, parts.evaluation, engine)
            run = Outputs(settings.files, name, fold.lstrip("_") or "train", about, of_loss(network.loss))
            run.begin(state, loaded.path)
        if state.epoch >= loop.n_epoch:
            why = "EARLY_STOPPING" if done else "N_EPOCH"
            print(f"All {loop.n_epoch} epochs ({why}) are done; nothing is left to train")
        building = time.perf_counter() - start
        origin = provenance.of_rows(p, that_matter(p, with_own_neurons(self.keys)))

        def after_epoch(now: TrainingState, best: bool, shown: Progress) -> bool:
            if others := world().strangers(lambda: checksum(now)):
                raise RuntimeError(f"weights of {others} differ from those of rank 0 after epoch {now.epoch - 1}")
            now.history[-1].update(origin)
            if run is not None:
                run.epoch(now, best, recorder.taken())
            if each_epoch is not None:
                each_epoch(engine, now.epoch - 1)
            shown.epoch(now.history[-1])
            return self._after_epoch(now, left_by(now, recorder, p, name), network)

        with Progress(loop.n_epoch, state.epoch, samples.batches(loop.n_batch), parts.called, p["VERBOSE"]) as progress:
            outcome = trainer.train(engine, loop, samples, state, trainer.Observers(progress, recorder, after_epoch))
        if outcome is None and parts.evaluation is not None:  # a run that was stopped behind its last epoch
            shown = samples.preparation.evaluation(parts.evaluation, state.epoch - 1)
            outcome = trainer.evaluate(engine, shown, loop.n_batch)
        self._keep(network, state, outcome)
        reached = [of_loss(network.loss).of(state.history[-1], phase) for phase in ("train", "eval")]
        diagnosis.warn_of_chance(outcome, reached[0], parts.training.labels, parts.called)
        if run is not None:
            run.finish(state, parts.called)
            recorder.write()
        presented, seconds = samples.preparation.size(parts.training, learn=True), time.perf_counter() - start
        each = state.seconds / state.epoch
        spikes = parts.training.part.spikes
        self.timing = timing.report(settings.timing, each, presented, seconds, building, spikes, engine.times())
        return RunResult.of(recorder, *reached)

    def _loaded(self, p: dict[str, Any], name: str, network: Network, fold: str) -> tuple[Loaded, bool]:
        """What a training starts with, and whether that is what this object's last one has left; ``p`` says then how
        the whole run is repeated."""
        left, resuming = self._left, Resuming(p, self.keys)
        goes_on = p["CONTINUE"] and not fold and left is not None and left.state.weights is self._current
        p["CONTINUE"] = False
        if left is not None and goes_on and left.state.time_constants is self._current_time_constants:
            p["N_EPOCH"] += left.state.epoch
            return left.to_go_on(p, name, resuming, network), True
        rate = Records.of(p).loop.rate
        return resuming.load(name, network, rate, to_train=True, missing_is_new=bool(fold)), False

    def _after_epoch(self, state: TrainingState, left: Left, network: Network) -> bool:
        """Take over what an epoch has left and call ``on_epoch``; whether training is to end."""
        self._left = left
        self._hold(network, state)
        wanted = [call(self, state.history[-1]) is True for call in self.on_epoch]
        if ended := world().share(any(wanted)):
            print(f"on_epoch ends the training after epoch {state.epoch}")
        elif ended := is_done(state.history, left.p["EARLY_STOPPING"]):
            words = of_loss(network.loss).words
            print(f"EARLY_STOPPING={left.p['EARLY_STOPPING']}: validation {words} has not become better any more")
        return ended

    def _hold(self, network: Network, state: TrainingState) -> None:
        """The object has this state's weights and time constants, and its history, from now on."""
        self._network, self._current, self._current_time_constants = network, state.weights, state.time_constants
        self._live, self.history = state.live, state.history

    def _keep(self, network: Network, state: TrainingState, outcome: trainer.Outcome | None) -> None:
        """Take over what a training left."""
        self.evaluated = None if outcome is None else (outcome.subset, outcome)
        self._hold(network, state)
        self.collected = {what: np.stack(rows) for what, rows in state.collected.items()}

    def _fresh(self, loop: trainer.LoopSettings, network: Network) -> TrainingState:
        """A new run's state: weights and time constants as set, else as described or as drawn; no moments."""
        weights = network.check_weights(self._given or network.initial_weights(loop.model_seed))
        given = self._given_time_constants or {}
        values = network.check_time_constants(with_own(network, given))
        own = {
            q.name: {n: a for n, a in values[q.name].items() if n in q.per_neuron or n in given.get(q.name, {})}
            for q in network.populations
        }
        rate = LearningRate.start(loop.rate)
        masks = dict(network.masks)
        return TrainingState(weights=weights, moments=no_moments(network), rate=rate, time_constants=own, masks=masks)

    def _test(self, p: dict[str, Any], evaluation: Subset, training: Subset | None = None) -> RunResult:
        """One pass over ``evaluation`` without learning; one line in the results file, no checkpoint.

        Args:
            training: the samples that trained, where the preparation of others depends on them.
        """
        with self._alone(p):
            return self._test_alone(p, evaluation, training)

    def _test_alone(self, p: dict[str, Any], evaluation: Subset, training: Subset | None) -> RunResult:
        start = time.perf_counter()
        settings = Records.of(p, self._as_given)
        loop, written = settings.loop, settings.files
        preparation = Preparation(settings.samples, evaluation if training is None else training)
        engine = self._ready(p, trained=True, ranks=world())
        recorder = Recorder(settings.recording, engine.network)
        outcome = trainer.evaluate(engine, preparation.evaluation(evaluation, 0), loop.n_batch, recorder)
        diagnosis.warn_of_silence(engine.network, outcome, "testing")
        self.evaluated = (outcome.subset, outcome)
        state = TrainingState(weights={}, moments={}, rate=LearningRate.start(loop.rate))
        trainer.collect(loop, state, {"train": None, "eval": outcome}, engine)
        seconds, measure = time.perf_counter() - start, of_loss(engine.network.loss)
        record = trainer.epoch_record(0, engine.network, loop.n_batch, None, outcome, float("nan"), seconds)
        record |= provenance.of_rows({**p, "METHOD": "test"}, that_matter(p, with_own_neurons(self.keys)))
        self.history, self.collected = [record], {w: np.stack(r) for w, r in state.collected.items()}
        if written.write_to_disk:
            folder = Path(written.out_dir)
            out = results.RunFiles(folder, written.name, "test", written.debug_hidden_n, measure)
            out.write(out.begin(), [record])
            results.write_collected(folder, written.name, state.collected)
            recorder.write()
        found = measure.text(outcome.mean, 2)
        print(f"test {measure.words} {found} of {len(outcome.labels)} samples (loss {outcome.mean_loss:.3f})")
        return RunResult.of(recorder, float("nan"), outcome.mean)


class _Parts(NamedTuple):
    """What trains, what evaluates, and what that is called: "validation" or "test"."""

    training: Subset
    evaluation: Subset | None
    called: str


def _note_what_trains(p: dict[str, Any], training: Subset, method: str, *, asked: bool) -> None:
    """Let ``p`` say what a run really takes, so that its saved parameters repeat it: the method, and the number of
    training samples where that is another one than ``N_TRAIN``, which is told if it was ``asked`` for."""
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
    if asked:
        print(f"{n} samples train, not N_TRAIN={wanted}: {why}")
    p["N_TRAIN"] = n
