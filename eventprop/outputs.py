"""The files that a training run leaves: parameters, checkpoints, results, picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventprop import checkpoint, files, results
from eventprop.checkpoint import TrainingState

__all__ = ["Outputs"]


class Outputs:
    """The files of a training run.

    Args:
        p: its parameters.
        name: what its files are called: ``NAME``, with a suffix for folds, which share the results files.
        run: what the results call it.
    """

    def __init__(self, p: Mapping[str, Any], name: str, run: str) -> None:
        self.p, self.name = p, name
        self.folder = Path(p["OUT_DIR"])
        self.out = results.RunFiles(self.folder, p["NAME"], run, p["DEBUG_HIDDEN_N"])

    def begin(self, state: TrainingState, loaded: bool) -> None:
        """Write the parameters and the checkpoint that a run killed in its first epoch resumes from.

        A run that goes on from its own last checkpoint takes over its files. Any other one adds to the results
        and renames the checkpoints that it would replace.
        """
        files.check_folder(self.folder)
        p = self.p
        own = p["CHECKPOINT_NAME"] in (None, p["NAME"])
        if loaded and own and not p["LOAD_BEST"]:
            state.places = self.out.resume(state.places, state.history)
        else:
            state.places = self.out.begin(len(state.history))
            for label in ("last",) if loaded and own else ("last", "best"):
                self._keep_previous(checkpoint.checkpoint_path(p, self.name, label))
        files.write_json(self.folder / f"{self.name}.json", self.p)
        self._checkpoint(state, "last")

    @staticmethod
    def _keep_previous(path: Path) -> None:
        if path.exists():
            kept = path.with_name(f"{path.stem}_previous.npz")
            path.replace(kept)
            print(f"The checkpoint of an earlier run is now {kept}")

    def _checkpoint(self, state: TrainingState, label: str) -> None:
        if self.p["CHECKPOINT"]:
            checkpoint.save(checkpoint.checkpoint_path(self.p, self.name, label), state, self.p, self.name)

    def epoch(self, state: TrainingState, best: bool) -> None:
        """Checkpoint first: a resumed run brings the results files up to date from it."""
        if best:
            checkpoint.save(checkpoint.checkpoint_path(self.p, self.name, "best"), state, self.p, self.name)
            files.write_text(self.folder / f"{self.name}_best.txt", self.out.line(state.history[-1]))
        self._checkpoint(state, "last")
        self.out.write(state.places, state.history)

    def finish(self, state: TrainingState, evaluated: str) -> None:
        self.out.write(state.places, state.history)
        results.write_collected(self.folder, self.name, state.collected)
        from eventprop import plots

        figure = plots.learning_curves(state.history, evaluated=evaluated)
        plots.save(figure, self.folder / f"{self.name}_learning.png")
