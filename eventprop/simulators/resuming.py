"""What a run goes on from: the checkpoint that is asked for, and what of it differs from what is asked for now."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from eventprop import models
from eventprop.network import Network
from eventprop.parameters.declaration import Key
from eventprop.parameters.layers import values_of
from eventprop.parameters.neurons import with_own_neurons
from eventprop.training import checkpoint
from eventprop.training.checkpoint import TrainingState
from eventprop.training.schedule import LearningRate, RateSettings

__all__ = ["SEEDS", "Loaded", "Resuming", "no_moments", "that_matter"]

_TRAINING = frozenset(("network", "spikes", "samples", "training"))
SEEDS = ("TRAIN_DATA_SEED", "TEST_DATA_SEED", "MODEL_SEED")


class Loaded(NamedTuple):
    """A state to go on from, with the checkpoint that it is from (None: flat arrays) and the parameters in that."""

    state: TrainingState | None = None
    path: Path | None = None
    saved: Mapping[str, Any] = MappingProxyType({})


class Resuming:
    """Which checkpoint ``p`` asks for (``LOAD_LAST``, ``LOAD_BEST``), and what is in it.

    Args:
        p: resolved parameters.
        keys: their declarations, which say what a key changes.
    """

    def __init__(self, p: Mapping[str, Any], keys: Sequence[Key]) -> None:
        self.p, self.keys = p, with_own_neurons(keys)

    def load(
        self,
        name: str,
        network: Network,
        rate: RateSettings,
        *,
        to_train: bool = False,
        missing_is_new: bool = False,
    ) -> Loaded:
        """The state of the run called ``name``; other settings than its own are a warning, without ``to_train`` only
        those that make other spikes or another network.

        Args:
            missing_is_new: of folds, of which one that has no checkpoint yet starts.
        """
        path = self.path(name)
        if path is None:
            return Loaded()
        if not path.exists():
            found = checkpoint.load_flat(path, network)
            if found is not None:
                own: dict[str, Any] = {"moments": no_moments(network), "masks": dict(network.masks)}
                return Loaded(TrainingState(**found, **own, rate=LearningRate.start(rate)))
            if missing_is_new:
                return Loaded()
        if self.p["NEURONS"]:
            self._check_neuron(path, checkpoint.load(path, None)[1])  # before shapes, which may differ with it
        state, saved = checkpoint.load(path, network, to_train=to_train)
        if to_train:
            self._check_data(path, saved)
        matter = _TRAINING if to_train else {"network", "spikes"}
        self.warn_of_others(saved, path, matter, {"SPEAKER_LEFT"} if missing_is_new else set())
        return Loaded(state, path, saved)

    def warn_of_others(
        self, saved: Mapping[str, Any], where: object, matter: Set[str] = _TRAINING, also: Set[str] = frozenset()
    ) -> None:
        """Say which settings that change what is in ``matter`` are others than those of ``where``, but for ``also``."""
        changed = self._differing(saved, matter, also)
        if changed:
            words = ", ".join(f"{k} {saved[k]!r} -> {self.p[k]!r}" for k in changed)
            warnings.warn(f"settings differ from those of {where}: {words}", stacklevel=6)

    def _check_neuron(self, path: Path, saved: Mapping[str, Any]) -> None:
        """Weights are for the neurons that they were trained with.

        Raises:
            ValueError: the checkpoint is of a neuron that is declared otherwise.
        """
        theirs, there = saved.get("NEURONS") or {}, list(values_of(saved.get("HIDDEN_NEURON_TYPE")))
        for kind, ours in self.p["NEURONS"].items():
            if kind in there and kind in values_of(self.p["HIDDEN_NEURON_TYPE"]) and theirs.get(kind) != ours:
                differing = _difference(theirs.get(kind, {}), ours)
                raise ValueError(f"{path} is of another neuron {kind!r}: {differing}")

    def _check_data(self, path: Path, saved: Mapping[str, Any]) -> None:
        """A run goes on with the data that it began with, where these have a fingerprint.

        Raises:
            ValueError: these are others.
        """
        ours, theirs = self.p.get("DATA_FINGERPRINT"), saved.get("DATA_FINGERPRINT")
        if ours and theirs and ours != theirs:
            raise ValueError(
                f"{path} is of a run on other training data (DATA_FINGERPRINT {theirs!r}, and these have {ours!r}); "
                "a new NAME, or LOAD_LAST=False, trains on these, and set_weights starts that from weights of others"
            )

    def path(self, name: str) -> Path | None:
        """The checkpoint that is asked for, which may not be there; None where none is.

        A run that has not completed an epoch yet leaves a trained checkpoint of its name alone, and its start beside
        it. ``LOAD_LAST`` goes on from the one of the two whose settings are nearer to ``p``, else the trained one.
        """
        p = self.p
        if not (p["LOAD_BEST"] or p["LOAD_LAST"]):
            return None
        folder, of = p["OUT_DIR"], p["CHECKPOINT_NAME"] or name
        if p["LOAD_BEST"]:
            return checkpoint.checkpoint_path(folder, of, "best")
        last, start = (checkpoint.checkpoint_path(folder, of, label) for label in ("last", "start"))
        if not start.exists():
            return last
        if not last.exists():
            return start
        return min(
            (last, start), key=lambda path: len(self._differing(checkpoint.load(path, None)[1], _TRAINING, set()))
        )

    def seeds(self) -> dict[str, int]:
        """Seeds of the run that ``p`` goes on from; empty where it starts a new one."""
        p = self.p
        for name in (p["NAME"], *(f"{p['NAME']}_f{k}" for k in p.get("SPEAKER_LEFT", []))):
            path = self.path(name)
            if path is not None and path.exists():
                saved = checkpoint.load(path, None)[1]
                if not all(isinstance(saved.get(key), int) for key in SEEDS):
                    raise ValueError(f"{path} has no whole numbers for {', '.join(SEEDS)}")
                return {key: saved[key] for key in SEEDS}
        return {}

    def _differing(self, saved: Mapping[str, Any], matter: Set[str], also: Set[str]) -> list[str]:
        """Keys of which a checkpoint has other values than ``p`` and which change what is in ``matter``, but for
        ``also`` and seeds that are still to be drawn."""
        also = also | {key for key in SEEDS if self.p[key] is None}
        if "METHOD" not in saved:  # an earlier version's, whose N_TRAIN is not the number of samples that train
            also = also | {"N_TRAIN"}
        names = [name for name in that_matter(self.p, self.keys, matter) if name not in also]
        return [name for name in names if name in saved and saved[name] != self.p[name]]


def that_matter(p: Mapping[str, Any], keys: Sequence[Key], matter: Set[str] = _TRAINING) -> list[str]:
    """Names of the keys that change what is in ``matter``: the last epoch, where the rate falls until then, too."""
    ends = "N_EPOCH" if p["ETA_SCHEDULE"] == "cosine" and "training" in matter else ""
    return [key.name for key in keys if key.changes in matter or key.name == ends]


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first field in which two declarations differ, in words."""
    for name in [*theirs, *ours]:
        if theirs.get(name) != ours.get(name):
            return f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r} now"
    return "it was declared in another way"


def no_moments(network: Network) -> dict[str, dict[str, np.ndarray]]:
    """The optimiser's state before the first update."""
    shapes = network.trained_shapes()
    return {role: {n: np.zeros(s, network.dtype) for n, s in shapes.items()} for role in models.ADAM.state}
