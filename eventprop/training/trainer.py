"""The training loop: epochs of shuffled batches, each with its exact gradient and one Adam step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventprop.backends import BatchResult, Engine
from eventprop.choice import meaning
from eventprop.data.presentation import Batch, Preparation, Presentation
from eventprop.data.splits import Subset
from eventprop.network import Network, Randomness, synaptic
from eventprop.reports.measures import Measure, of_loss
from eventprop.reports.progress import Progress
from eventprop.reports.recording import Recorder
from eventprop.reports.results import activity_columns
from eventprop.streams import stream_seed
from eventprop.training.averaging import Average
from eventprop.training.checkpoint import TrainingState
from eventprop.training.diagnosis import diagnose, is_off, silent_neurons, warn_of_silence
from eventprop.training.optimiser import AdamSettings, adam_parameters
from eventprop.training.outcome import Outcome
from eventprop.training.potential import Activity, by_layer
from eventprop.training.rewiring import rewire
from eventprop.training.schedule import RateSettings

__all__ = ["LoopSettings", "Observers", "Outcome", "Samples", "TrainingDiverged", "evaluate", "train"]

_LARGEST_NORM = 1e18  # Adam's mean of its square fits single precision
_NOT_LEARNED = (
    "nothing was learned from this batch. A larger MIN_DENOMINATOR, a GRAD_CLIP or a smaller ETA may help, and so may "
    "smaller weights, ALPHA, LBD_UPPER, LBD_LOWER, GLB_UPPER or HIDDEN_NOISE, or a B_INCR nearer to 0"
)


class TrainingDiverged(ArithmeticError):
    """A loss, gradient, weight or time constant is not finite any more, or there is no end of spikes."""


@dataclass(frozen=True)
class LoopSettings:
    """What the loop goes by, under the names of the keys in small letters."""

    n_epoch: int
    n_batch: int
    model_seed: int
    rate: RateSettings
    adam: AdamSettings
    pdrop_input: float = 0.0
    pdrop_hidden: float | Sequence[float] = 0.0
    hidden_noise: float | Sequence[float] = 0.0
    grad_clip: float = 0.0
    average_weights: float = 0.0
    ema_which: str = "validation"
    checkpoint_best: str = "neither"
    rewire_silent: bool = False
    rewire_lift: float = 0.0
    collect_confusion: bool = False
    rec_predictions: bool = False


@dataclass(frozen=True)
class Samples:
    """What trains, what evaluates (None for nothing), and what is done to both before they are presented."""

    training: Subset
    evaluation: Subset | None
    preparation: Preparation

    def batches(self, size: int) -> int:
        """How many batches an epoch has, those of evaluation included."""
        n = -(-self.preparation.size(self.training, learn=True) // size)
        return n if self.evaluation is None else n - (-self.preparation.size(self.evaluation, learn=False) // size)


@dataclass(frozen=True)
class Observers:
    """Who sees a run while it goes on.

    Attributes:
        progress: shows it.
        recorder: takes what is to be recorded.
        after_epoch: gets the state, whether this epoch is the best so far, and what shows it; whether training ends.
    """

    progress: Progress
    recorder: Recorder
    after_epoch: Callable[[TrainingState, bool, Progress], bool]


def train(
    engine: Engine, settings: LoopSettings, samples: Samples, state: TrainingState, observers: Observers
) -> Outcome | None:
    """Train from ``state`` to ``N_EPOCH`` epochs; ``state`` is brought up to date after each of them.

    The engine must hold the state's weights and time constants, and does so after each epoch.

    Returns:
        The last epoch's evaluation; None where there was none.

    Raises:
        TrainingDiverged: names layer, epoch and batch; files hold what the last good epoch left.
    """
    engine.set_optimiser_state(state.moments)
    recorder, progress = observers.recorder, observers.progress
    before = state.seconds
    evaluated: Outcome | None = None
    average = Average(settings.average_weights, state)
    start = time.perf_counter()
    if state.epoch == 0:
        _said(engine, samples.training, progress)
    for epoch in range(state.epoch, settings.n_epoch):
        state.rate.before_epoch(settings.rate)
        presented = samples.preparation.training(samples.training, epoch)
        average.begin(engine)
        trained = _train_epoch(engine, settings, presented, epoch, state, observers, average)
        average.end(engine, state)
        trials = -(-len(presented) // settings.n_batch)
        if samples.evaluation is not None:
            shown = samples.preparation.evaluation(samples.evaluation, epoch)
            evaluated = evaluate(engine, shown, settings.n_batch, recorder, progress, epoch, trials)
        measure = of_loss(engine.network.loss)
        best = _is_best(settings, state, trained, evaluated, measure)
        monitored = meaning("EMA_WHICH", settings.ema_which, {"training": trained, "validation": evaluated})
        rate = state.rate.at(settings.rate, state.done)
        state.rate.after_epoch(settings.rate, epoch, None if monitored is None else measure.gain(monitored.mean))
        silent, why = silent_neurons(trained.spike_counts), ""
        if is_off(engine.network, Activity(trained.spike_counts, float(np.mean(trained.predictions >= 0)))):
            why = _said(engine, samples.training, progress)
        warn_of_silence(engine.network, trained, "training", why)
        if rewired := settings.rewire_silent and bool(silent.any()):
            lift, seed = settings.rewire_lift, settings.model_seed
            average.set_weights(engine, rewire(engine.network, average.weights(engine), silent, lift, seed, epoch))
        _take(state, engine, epoch)
        state.live = average.live
        state.epoch = epoch + 1
        state.seconds = before + time.perf_counter() - start
        record = epoch_record(epoch, engine.network, settings.n_batch, trained, evaluated, rate, state.seconds)
        state.history.append(record | ({"rewired": True} if rewired else {}))
        collect(settings, state, {"train": trained, "eval": evaluated}, engine)
        if observers.after_epoch(state, best, progress):
            break
    return evaluated


def _said(engine: Engine, training: Subset, progress: Progress) -> str:
    """What is wrong with the network's activity in training samples, told and returned."""
    if why := diagnose(engine, training.part.spikes, training.indices):
        progress.tell(why)
    return why


def _train_epoch(
    engine: Engine,
    settings: LoopSettings,
    presented: Presentation,
    epoch: int,
    state: TrainingState,
    observers: Observers,
    average: Average,
) -> Outcome:
    randomness = _randomness(settings, epoch)
    trials, before = -(-len(presented) // settings.n_batch), state.updates

    def learn(where: str) -> None:
        state.done = (epoch + (state.updates - before) / trials) / settings.n_epoch
        _learn(engine, settings, state, where)
        average.after_update(engine)

    progress, recorder = observers.progress, observers.recorder
    results: list[BatchResult] = []
    measured, loss, measure = 0.0, 0.0, of_loss(engine.network.loss)
    batches = _with_following(presented.batches(settings.n_batch))
    for trial, (batch, following) in enumerate(progress.batches(epoch, "training", batches)):
        labels = batch.labels
        try:
            result = engine.run(
                batch.spikes,
                batch.samples,
                labels,
                learn=True,
                randomness=randomness,
                first=batch.first,
                record=recorder.wanted(epoch, trial),
                following=following,
            )
        except ArithmeticError as error:
            raise TrainingDiverged(f"{error} (epoch {epoch}, batch {trial})") from None
        where = f"epoch {epoch}, batch {trial}"
        if not (np.isfinite(result.loss).all() and np.isfinite(result.scores).all()):
            raise TrainingDiverged(_diverged(engine, where))
        if engine.has_gradient:
            learn(where)
        recorder.take(engine, epoch, trial, labels, result.predictions)
        results.append(result)
        measured += float(result.measured.sum())
        loss += float(result.loss.sum())
        seen = batch.first + len(labels)
        progress.running(f"{measure.words} {measured / seen:.3f}", loss / seen)
    if engine.flush():
        learn(f"epoch {epoch}, last batch")
    return Outcome.of(presented, results)


def _with_following(batches: Iterable[Batch]) -> Iterator[tuple[Batch, Batch | None]]:
    """Each batch and the one after it, if any."""
    before = None
    for batch in batches:
        if before is not None:
            yield before, batch
        before = batch
    if before is not None:
        yield before, None


def _learn(engine: Engine, settings: LoopSettings, state: TrainingState, where: str) -> None:
    """One step of the optimiser with the gradients that the engine has."""
    norm = engine.gradient_norm(enough=0.0 if settings.grad_clip > 0 else _LARGEST_NORM)
    if not np.isfinite(norm):
        raise TrainingDiverged(_diverged(engine, where))
    factor = min(1.0, settings.grad_clip / norm) if settings.grad_clip > 0 and norm > 0 else 1.0
    if norm * factor > _LARGEST_NORM:
        raise TrainingDiverged(
            f"the gradient's norm is {norm:g} in {where}, and single precision does not hold its square; {_NOT_LEARNED}"
        )
    state.updates += 1
    parameters = adam_parameters(settings.adam, state.rate.at(settings.rate, state.done), state.updates)
    engine.update(parameters, factor, state.rate.of_delays(settings.rate, state.done))
    state.rate.after_update(settings.rate)


def _randomness(settings: LoopSettings, epoch: int) -> Randomness:
    return Randomness(
        input_dropout=settings.pdrop_input,
        hidden_dropout=settings.pdrop_hidden,
        noise=settings.hidden_noise,
        input_seed=stream_seed(settings.model_seed, "input dropout", epoch),
        hidden_seed=stream_seed(settings.model_seed, "hidden dropout", epoch),
        noise_seed=stream_seed(settings.model_seed, "hidden noise", epoch),
    )


def evaluate(
    engine: Engine,
    presented: Presentation,
    batch: int,
    recorder: Recorder | None = None,
    progress: Progress | None = None,
    epoch: int = 0,
    first_trial: int = 0,
) -> Outcome:
    """Present samples without learning, dropout or noise; their batches are numbered from ``first_trial`` on.

    Args:
        batch: samples in a batch.
    """
    batches = presented.batches(batch)
    if progress is not None:
        batches = progress.batches(epoch, progress.evaluated, batches)
    results = []
    for trial, part in enumerate(batches, first_trial):
        wanted = recorder.wanted(epoch, trial) if recorder else None
        result = engine.run(part.spikes, part.samples, part.labels, record=wanted)
        result.check("evaluation samples", part.first)
        if recorder:
            recorder.take(engine, epoch, trial, part.labels, result.predictions)
        results.append(result)
    return Outcome.of(presented, results)


def _is_best(
    settings: LoopSettings, state: TrainingState, trained: Outcome, evaluated: Outcome | None, measure: Measure
) -> bool:
    which = meaning(
        "CHECKPOINT_BEST", settings.checkpoint_best, {"neither": None, "training": trained, "validation": evaluated}
    )
    if which is None:
        return False
    gain, first = measure.gain(which.mean), measure.falls and state.best >= 0.0
    if gain <= state.best and not first:
        return False
    state.best = gain
    return True


def epoch_record(
    epoch: int,
    network: Network,
    batch: int,
    trained: Outcome | None,
    evaluated: Outcome | None,
    rate: float,
    seconds: float,
) -> dict[str, Any]:
    """One row of the results files: columns on activity are of all hidden neurons, and of each layer if several.

    Activity is that of training; of evaluation where nothing was trained. What was not measured is not a number.

    Args:
        batch: samples in a batch.
    """
    shown, name = next(o for o in (trained, evaluated) if o is not None), of_loss(network.loss).name
    counts, silent = shown.spike_counts, silent_neurons(shown.spike_counts)
    layers = [
        activity_columns(c, batch, int(s.sum()))
        for c, s in zip(by_layer(network, counts), by_layer(network, silent), strict=True)
    ]
    return {
        "epoch": epoch,
        f"train_{name}": trained.mean if trained else float("nan"),
        "train_loss": trained.mean_loss if trained else float("nan"),
        f"eval_{name}": evaluated.mean if evaluated else float("nan"),
        "eval_loss": evaluated.mean_loss if evaluated else float("nan"),
        "learning_rate": rate,
        **activity_columns(counts, batch, int(silent.sum())),
        **({"layers": layers} if len(layers) > 1 else {}),
        "seconds": seconds,
    }


def collect(
    settings: LoopSettings, state: TrainingState, outcomes: Mapping[str, Outcome | None], engine: Engine
) -> None:
    """Confusion matrices ``[predicted, true]`` and predictions of this epoch, where the settings ask for them.

    A sample without a prediction (-1) is in no matrix: what its column lacks, was not recognised as anything.
    """
    for phase, outcome in outcomes.items():
        if outcome is None:
            continue
        if settings.collect_confusion:
            matrix = outcome.confusion(engine.network.output.size)
            state.collected.setdefault(f"confusion_{phase}", []).append(matrix)
        if settings.rec_predictions:
            state.collected.setdefault(f"predictions_{phase}", []).append(outcome.predictions)
            state.collected.setdefault(f"labels_{phase}", []).append(outcome.labels)


def _diverged(engine: Engine, where: str) -> str:
    bad = _not_finite({"": engine.gradients()}) + _not_finite(engine.time_constant_gradients())
    what = f"the gradient of {', '.join(bad)}" if bad else "the loss"
    return f"{what} is not finite in {where}; {_NOT_LEARNED}"


def _not_finite(values: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    of = ((f"{n} of {q}" if q else n, a) for q, arrays in values.items() for n, a in arrays.items())
    return [name for name, a in of if not np.isfinite(a).all()]


def _take(state: TrainingState, engine: Engine, epoch: int) -> None:
    """Bring weights, time constants and moments of ``state`` up to date, if all are finite."""
    weights, time_constants = engine.weights(), engine.time_constants()
    bad = [synaptic(name) for name in _not_finite({"": weights})]
    bad += [f"time constants {name}" for name in _not_finite(time_constants)]
    if bad:
        raise TrainingDiverged(f"{', '.join(bad)} are not finite after epoch {epoch}; a smaller ETA may help")
    state.weights, state.moments = weights, engine.optimiser_state()
    state.time_constants = {q: {n: time_constants[q][n] for n in own} for q, own in state.time_constants.items()}
