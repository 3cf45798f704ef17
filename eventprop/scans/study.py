"""Points chosen by Optuna: maximise validation accuracy of the last epoch, averaged over seeds and folds.

The study is an SQLite file in the scan's folder. Several processes may work on it: whoever holds ``study.lock`` asks
for and tells of trials, and the lock of a trial says that somebody is at it. A trial whose process was killed is taken
over by the next, and goes on where its runs were. Each suggestion has its own random stream, from the sampler's seed
and the trial's number, so that it does not matter which process asks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from eventprop import files
from eventprop.scans import points, pool, table
from eventprop.scans.points import Run
from eventprop.scans.spec import Dimension, Scan
from eventprop.streams import stream_seed

if TYPE_CHECKING:
    import optuna

__all__ = ["check", "require", "runs_so_far", "work"]

_POLL = 0.5  # seconds
Ended = Callable[[Run], None]


def check(scan: Scan) -> None:
    """Try each end and choice of the space, all other keys at their first.

    Raises:
        ValueError: settings do not go together, or what would decide is no validation accuracy.
    """
    assert scan.study is not None
    values = {name: list(d.choices or (d.low, d.high)) for name, d in scan.study.space.items()}
    first = {name: own[0] for name, own in values.items()}
    tried = [{**first, name: value} for name, own in values.items() for value in own]
    problems: list[str] = []
    for overrides in tried:
        try:
            _validated(scan, points.runs_of(scan, overrides))
        except ValueError as error:
            problems += [line for line in str(error).split("\n") if line not in problems]
    if problems:
        raise ValueError("\n".join(problems))


def _validated(scan: Scan, runs: list[Run]) -> list[Run]:
    """The runs, if they have validation data; a study never looks at the test split."""
    if scan.mode not in ("train", "cross_validate"):
        raise ValueError(f'{scan.path}: mode="{scan.mode}" with [study] would choose by test data; use mode="train"')
    if scan.mode == "train" and any(run.p["N_VALIDATE"] == 0 for run in runs):
        raise ValueError(f"{scan.path}: N_VALIDATE=0 with [study] leaves nothing to choose by; it must be above 0")
    return runs


def work(scan: Scan, workers: int, threads: int, ended: Ended) -> int:
    """Add trials until there are as many complete ones as the file says, counting those of other processes.

    A trial that fails is replaced when the command is given again.

    Args:
        workers: trials at once.
        threads: of each run.
        ended: called with each run that has ended.

    Returns:
        How many trials failed.

    Raises:
        ValueError: the study in the folder is of other settings.
    """
    worker = _Worker(scan, threads, ended)
    with worker.alone():
        pass  # it is a study of these settings
    pooled = [threading.Thread(target=worker.loop) for _ in range(workers)]
    for thread in pooled:
        thread.start()
    try:
        for thread in pooled:
            thread.join()
    except KeyboardInterrupt:
        worker.stop.set()
        for thread in pooled:
            thread.join()
        raise
    if worker.error is not None:
        raise worker.error
    return len(worker.failed)


def runs_so_far(scan: Scan) -> list[Run]:
    """The runs of all trials so far, in the order of the trials."""
    if not (scan.out / "study.db").exists():
        return []
    with FileLock(scan.out / "study.lock"), _open(scan) as study:
        trials = study.trials
    found: dict[str, Run] = {}
    for trial in trials:
        with contextlib.suppress(ValueError):  # settings that do not go together: the trial has failed and said so
            found |= {run.digest: run for run in points.runs_of(scan, _overrides(scan, trial.params))}
    return list(found.values())


class _Worker:
    """What the threads of one process share."""

    def __init__(self, scan: Scan, threads: int, ended: Ended) -> None:
        assert scan.study is not None
        self.scan, self.study, self.threads, self.ended = scan, scan.study, threads, ended
        self.stop = threading.Event()
        self.failed: list[int] = []
        self.error: BaseException | None = None
        self._mine: set[int] = set()
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def alone(self) -> Iterator[optuna.Study]:
        """The study, which no other thread or process touches meanwhile."""
        with self._mutex, FileLock(self.scan.out / "study.lock"), _open(self.scan) as study:
            yield study

    def loop(self) -> None:
        """Do trials until there are enough."""
        try:
            while not self.stop.is_set():
                with contextlib.ExitStack() as held:
                    with self.alone() as study:
                        found = self._take(study, held)
                    if found == "enough":
                        return
                    if isinstance(found, str):
                        self.stop.wait(_POLL)
                    else:
                        self._do(*found)
        except BaseException as error:
            self.error = error
            self.stop.set()

    def _take(self, study: optuna.Study, held: contextlib.ExitStack) -> tuple[int, dict[str, Any]] | str:
        """A trial's number and parameters, its lock held; "wait" where others are at the last ones, or "enough"."""
        import optuna

        states = optuna.trial.TrialState
        trials = study.trials
        for trial in trials:
            if trial.state == states.RUNNING and trial.number not in self._mine and self._claim(trial.number, held):
                return trial.number, trial.params
        complete = sum(trial.state == states.COMPLETE for trial in trials)
        running = sum(trial.state == states.RUNNING for trial in trials)
        if complete + running + len(self.failed) < self.study.trials:
            seed = stream_seed(self.study.sampler_seed, "study", len(trials)) % 2**32
            study.sampler = optuna.samplers.TPESampler(seed=seed)
            new = study.ask({name: _distribution(d) for name, d in self.study.space.items()})
            self._claim(new.number, held)
            return new.number, new.params
        return "wait" if running else "enough"

    def _claim(self, number: int, held: contextlib.ExitStack) -> bool:
        lock = FileLock(self.scan.out / f".trial{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._mine.add(number)
        held.callback(self._mine.discard, number)
        held.callback(lock.release)
        return True

    def _do(self, number: int, params: Mapping[str, Any]) -> None:
        import optuna

        value, why = None, ""
        try:
            runs = _validated(self.scan, points.runs_of(self.scan, _overrides(self.scan, params)))
        except ValueError as error:
            why = str(error)
        else:
            folders = [points.prepare(self.scan, run) for run in runs]
            pool.do_all(folders, 1, self.threads, lambda i: self.ended(runs[i]), self.stop)
            if self.stop.is_set():
                return  # the trial stays open, and the next process takes it over
            found = [row.last.get("eval_accuracy") for row in table.rows(self.scan, runs)]
            reached = [accuracy for accuracy in found if accuracy is not None]
            value = statistics.fmean(reached) if len(reached) == len(found) else None
            why = "a run has failed"
        with self.alone() as study:
            if value is None:
                study.tell(number, state=optuna.trial.TrialState.FAIL)
                self.failed.append(number)
                print(f"trial {number} FAILED: {why}", flush=True)
            else:
                study.tell(number, value)
                print(f"trial {number}: {value:.2%} (best so far {study.best_value:.2%})", flush=True)


def require() -> None:
    """See that Optuna is there.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise ModuleNotFoundError("[study] needs optuna: pip install '.[scan]' in the project's folder") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextlib.contextmanager
def _open(scan: Scan) -> Iterator[optuna.Study]:
    """The study, made if it is not there; for whoever holds ``study.lock``. Its file is closed at the end.

    Raises:
        ValueError: it is of other settings, or its file is damaged.
    """
    import optuna
    import sqlalchemy

    path = scan.out / "study.db"
    # The file's name stays out of an address, in which its characters may mean something.
    damage: tuple[type[Exception], ...] = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
    damage += (sqlite3.Error, LookupError, AttributeError, TypeError, ValueError)  # what Optuna makes of odd values
    another = False
    options = {"creator": lambda: sqlite3.connect(path, timeout=60.0), "poolclass": sqlalchemy.pool.NullPool}
    try:
        storage = optuna.storages.RDBStorage("sqlite://", options)
        try:
            study = optuna.create_study(storage=storage, study_name="scan", direction="maximize", load_if_exists=True)
            settings, found = _settings(scan), study.user_attrs.get("settings")
            if found is None:
                study.set_user_attr("settings", settings)
            elif another := found != settings:
                raise ValueError(
                    f"{scan.path}: the study in {scan.out} is of other settings or space; choose another out"
                )
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except damage as error:
        if another:
            raise
        why = files.why(getattr(error, "orig", None) or error)
        raise ValueError(f"{path} cannot be used ({why}); delete it to begin the study anew") from None


def _settings(scan: Scan) -> str:
    """A digest of what must not change between the trials of a study."""
    assert scan.study is not None
    default = {key.name: key.default for key in scan.benchmark.keys}
    base = {k: v for k, v in scan.base.items() if v != default.get(k) and k not in points.NOT_SETTINGS}
    space = {name: asdict(dimension) for name, dimension in scan.study.space.items()}
    conditions = [asdict(condition) for condition in scan.conditions]
    everything: list[Any] = [scan.benchmark.name, scan.mode, base, space, conditions, scan.seeds, scan.folds]
    everything.append(scan.study.sampler_seed)
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """Choices are JSON texts, as Optuna takes neither lists nor dictionaries."""
    from optuna import distributions

    if dimension.choices:
        return distributions.CategoricalDistribution([json.dumps(choice) for choice in dimension.choices])
    if dimension.kind == "int":
        return distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _overrides(scan: Scan, params: Mapping[str, Any]) -> dict[str, Any]:
    assert scan.study is not None
    return {name: json.loads(params[name]) if d.choices else params[name] for name, d in scan.study.space.items()}
