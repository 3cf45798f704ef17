"""The files that a training run leaves: parameters, checkpoints, journal, results, picture."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import files
from eventprop.reports import results
from eventprop.reports.measures import ACCURACY, Measure
from eventprop.reports.pictures import attempt
from eventprop.reports.provenance import RunFile, run_file
from eventprop.reports.tensorboard import EventLog
from eventprop.training import checkpoint
from eventprop.training.checkpoint import TrainingState
from eventprop.training.journal import Journal, Mark

__all__ = ["FileSettings", "Outputs", "journal_name"]


def journal_name(name: str) -> str:
    """The file in which a run called ``name`` keeps what its checkpoints do not repeat."""
    return f"{name}_journal.bin"


@dataclass(frozen=True)
class FileSettings:
    """Which files a run has, under the names of the keys in small letters.

    Attributes:
        saved: all parameters of the run, as they are written and kept with checkpoints.
    """

    name: str
    out_dir: str
    write_to_disk: bool
    debug_hidden_n: bool
    checkpoint: bool
    checkpoint_best: str
    picture_format: str
    tensorboard: bool
    saved: Mapping[str, Any]


class Outputs:
    """The files of a training run.

    A run that goes on from its own last checkpoint takes over its files. Any other one adds to the results; as soon as
    its first epoch is complete, and not before, it renames the trained checkpoints that it would replace.

    Args:
        name: what its files are called: ``NAME``, with a suffix for folds, which share the results files.
        run: what the results call it.
        about: what is known of the run, for the file that tells its story.
        measure: what the results tell of each epoch.
    """

    def __init__(
        self, settings: FileSettings, name: str, run: str, about: Mapping[str, Any], measure: Measure = ACCURACY
    ) -> None:
        self.settings, self.name = settings, name
        self.saved = settings.saved
        self.folder = Path(settings.out_dir)
        self.out = results.RunFiles(self.folder, settings.name, run, settings.debug_hidden_n, measure)
        self._story = RunFile(run_file(self.folder, name), {**about, "run": run})
        self._log: EventLog | None = None
        self._replaced: list[Path] = []
        self._kept: dict[str, int] = {}  # how many of the collected arrays are in the journal

    def _path(self, label: str) -> Path:
        return checkpoint.checkpoint_path(self.folder, self.name, label)

    def begin(self, state: TrainingState, source: Path | None) -> None:
        """Write what a run that is killed in its first epoch resumes from; nothing trained is touched.

        Args:
            source: the checkpoint that the run goes on from.
        """
        files.check_folder(self.folder)
        goes_on = source == self._path("last")
        if goes_on or source == self._path("start"):
            self.saved = {
                **self.settings.saved,
                "LOAD_LAST": False,
            }  # repeats the run from its beginning
            state.places = self.out.resume(state.places, state.history)
            self.out.write(state.places, state.history)
        else:
            state.places = self.out.begin(len(state.history))
        if not goes_on:
            labels = ("last",) if source == self._path("best") else ("last", "best")
            self._replaced = [path for path in map(self._path, labels) if checkpoint.trained_epochs(path)]
        self._journal = self._begin_journal(state)
        self._story.begin(state.epoch, goes_on=goes_on)
        if self.settings.tensorboard:
            self._log = EventLog(self.folder / f"{self.name}_tensorboard", state.epoch if goes_on else 0)
        if not self._replaced:
            self._tell()
        if not goes_on:
            self._checkpoint(state, "start" if self._replaced else "last")
        elif self.settings.checkpoint and state.epoch:  # what a kill behind the checkpoint has left undone
            checkpoint.save_flat(self._path("last"), state, self.name)
            self._path("start").unlink(missing_ok=True)

    def _begin_journal(self, state: TrainingState) -> Journal:
        """The journal, with what the state brought from elsewhere to be kept in it, too."""
        own = journal_name(self.name)
        self._kept = {name: len(arrays) for name, arrays in state.collected.items()}
        if state.mark is not None and state.mark.file == own:
            return Journal(self.folder, state.mark)
        journal = Journal(self.folder, Mark(own))
        if not any(self.folder.glob(f"{glob.escape(self.name)}_state_*.npz")):
            journal.path.unlink(missing_ok=True)  # of checkpoints that are gone
        for record in state.history:
            journal.add("history", "", record)
        for name, arrays in state.collected.items():
            for array in arrays:
                journal.add("collected", name, array)
        for name, array in state.recorded:
            journal.add("recorded", name, array)
        state.mark = journal.commit()
        return journal

    def _tell(self) -> None:
        """Write the parameters, and that a process works on this run."""
        files.write_json(self.folder / f"{self.name}.json", self.saved)
        self._story.write()

    def _replace(self) -> None:
        """Once a new epoch is complete: trained checkpoints of an earlier run stay, numbered, under other names."""
        for path in filter(Path.exists, self._replaced):
            number = 1
            while (kept := path.with_name(f"{path.stem}_previous_{number}.npz")).exists():
                number += 1
            path.replace(kept)
            print(f"The checkpoint of an earlier run is now {kept}")

    def _checkpoint(self, state: TrainingState, label: str) -> None:
        if self.settings.checkpoint:
            checkpoint.save(self._path(label), state, self.settings.saved, self.name if state.epoch else "")

    def epoch(self, state: TrainingState, best: bool, recorded: Iterable[tuple[str, np.ndarray]]) -> None:
        """The files after an epoch.

        The checkpoint comes before the results: a resumed run brings these up to date from it.

        Args:
            recorded: what was recorded in this epoch, by name.
        """
        if self._replaced:
            self._replace()
            self._tell()
        if self.settings.checkpoint or self.settings.checkpoint_best != "neither":
            self._journal.add("history", "", state.history[-1])
            for name, arrays in state.collected.items():
                for array in arrays[self._kept.get(name, 0) :]:
                    self._journal.add("collected", name, array)
                self._kept[name] = len(arrays)
            for name, array in recorded:
                self._journal.add("recorded", name, array)
            if best or self.settings.checkpoint:
                state.mark = self._journal.commit()
        if best:
            checkpoint.save(self._path("best"), state, self.settings.saved, self.name)
            files.write_text(self.folder / f"{self.name}_best.txt", self.out.line(state.history[-1]))
        self._checkpoint(state, "last")
        self._path("start").unlink(missing_ok=True)
        self._replaced = []
        self.out.append(state.history[-1])
        if self._log is not None:
            self._log.epoch(state.history[-1])

    def finish(self, state: TrainingState, evaluated: str) -> None:
        """What is made of the whole run: collected arrays, the picture, the end of its story."""
        results.write_collected(self.folder, self.name, state.collected)
        path = self.folder / f"{self.name}_learning.{self.settings.picture_format}"
        with attempt(path):
            from eventprop.reports import plots

            plots.save(plots.learning_curves(state.history, evaluated=evaluated), path)
        if self._log is not None:
            self._log.close()
        last = state.history[-1]
        name = self.out.measure.name
        told = (f"train_{name}", "train_loss", f"eval_{name}", "eval_loss")
        self._story.finish(epochs=state.epoch, training_seconds=round(state.seconds, 3), **{n: last[n] for n in told})
