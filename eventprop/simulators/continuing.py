"""What a simulator object keeps of a training, for the next one to go on from (``CONTINUE``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eventprop.network import Network
from eventprop.reports.recording import Recorder
from eventprop.simulators.resuming import Loaded, Resuming
from eventprop.training import checkpoint
from eventprop.training.checkpoint import TrainingState

__all__ = ["Left", "left_by"]


@dataclass(frozen=True)
class Left:
    """The state after a complete epoch, and the parameters and the name of the files that the run had."""

    state: TrainingState
    p: Mapping[str, Any]
    name: str

    def to_go_on(self, p: Mapping[str, Any], name: str, resuming: Resuming, network: Network) -> Loaded:
        """What the next run starts with. Where that has the same files, and nobody has written them since, it goes on
        in them.

        Raises:
            ValueError: ``p`` asks for another network than the state is of.
        """
        state = copied(self.state)
        last = "this object's last training, which CONTINUE goes on from"
        shapes = {n: tuple(w.shape) for n, w in state.weights.items()}
        if shapes != dict(network.synaptic_shapes()) or set(state.moments.get("m", {})) != set(
            network.trained_shapes()
        ):
            raise ValueError(f"another network, or other parts of it, are trained than in {last}: make a new object")
        resuming.warn_of_others(self.p, last)
        path = checkpoint.checkpoint_path(p["OUT_DIR"], name, "last")
        same = (name, str(Path(p["OUT_DIR"]).absolute())) == (self.name, str(Path(self.p["OUT_DIR"]).absolute()))
        if same and p["WRITE_TO_DISK"] and self._is_at(path):
            return Loaded(state, path, self.p)
        state.mark = None
        state.recorded = state.recorded if same else []
        return Loaded(state, None, self.p)

    def _is_at(self, path: Path) -> bool:
        """Whether the checkpoint there is of this state."""
        try:
            there = checkpoint.load(path, None)[0]
        except (OSError, ValueError):
            return False
        return there.mark == self.state.mark and checkpoint.checksum(there) == checkpoint.checksum(self.state)


def left_by(state: TrainingState, recorder: Recorder, p: Mapping[str, Any], name: str) -> Left:
    """What a run that has completed an epoch leaves; later ones do not change it."""
    kept = copied(state)
    kept.recorded = recorder.everything()
    return Left(kept, dict(p), name)


def copied(state: TrainingState) -> TrainingState:
    """The same state; neither changes with the other. Arrays are shared, since an epoch makes new ones."""
    return replace(
        state,
        rate=replace(state.rate),
        history=list(state.history),
        places={name: replace(place) for name, place in state.places.items()},
        collected={name: list(rows) for name, rows in state.collected.items()},
        recorded=list(state.recorded),
    )
