"""Which samples train and which evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventprop.data.dataset import Part
from eventprop.streams import stream

__all__ = [
    "Subset",
    "everything",
    "first_and_last",
    "leave_speaker_out",
    "permuted",
    "random_split",
    "reduce_classes",
    "speakers_of",
]


@dataclass(frozen=True)
class Subset:
    """Some samples of a part of a data set; ``indices`` are their numbers in it, ``(n,)`` int64."""

    part: Part
    indices: np.ndarray

    def __len__(self) -> int:
        return int(self.indices.size)

    @property
    def labels(self) -> np.ndarray:
        return self.part.labels[self.indices]


def everything(part: Part) -> Subset:
    return Subset(part, np.arange(len(part.labels)))


def reduce_classes(subset: Subset, classes: Sequence[int] | None) -> Subset:
    """The samples whose label is in ``classes`` (None: all). Labels keep their numbers.

    Raises:
        ValueError: a class of which there is no sample.
    """
    if classes is None:
        return subset
    absent = sorted(set(classes) - set(subset.labels.tolist()))
    if absent:
        present = sorted(set(subset.labels.tolist()))
        raise ValueError(f"REDUCED_CLASSES has {absent}, but the data holds the classes {present}")
    return Subset(subset.part, subset.indices[np.isin(subset.labels, list(classes))])


def random_split(
    subset: Subset, n_train: int, n_validate: int, seed: int, *, extended: bool = False
) -> tuple[Subset, Subset]:
    """The first ``n_train`` and the next ``n_validate`` samples of a random permutation.

    Args:
        extended: whether blends make up for what is missing to ``n_train``; all that do not validate train then.

    Raises:
        ValueError: there are fewer than ``n_train + n_validate`` samples.
    """
    if extended and n_validate < len(subset):
        n_train = min(n_train, len(subset) - n_validate)
    if n_train + n_validate > len(subset):
        raise ValueError(
            f"N_TRAIN={n_train} and N_VALIDATE={n_validate} need {n_train + n_validate} samples, "
            f"but the training data has {len(subset)}"
        )
    order = subset.indices[stream(seed, "split").permutation(len(subset))]
    return Subset(subset.part, order[:n_train]), Subset(subset.part, order[n_train : n_train + n_validate])


def permuted(subset: Subset, seed: int, name: str) -> Subset:
    """All samples in random order; ``name`` is that of the random stream."""
    return Subset(subset.part, subset.indices[stream(seed, name).permutation(len(subset))])


def first_and_last(subset: Subset, first: int, last: int, key: str = "N_TRAIN") -> tuple[Subset, Subset]:
    """The first and the last samples.

    Args:
        key: of the number ``first``, for the error; ``last`` is ``N_VALIDATE``.

    Raises:
        ValueError: there are fewer than ``first + last`` samples.
    """
    if first + last > len(subset):
        what = f"{key}={first} and N_VALIDATE={last} need {first + last} samples" if last else f"{key}={first}"
        raise ValueError(f"{what}, but there are {len(subset)}")
    n = len(subset)
    return Subset(subset.part, subset.indices[:first]), Subset(subset.part, subset.indices[n - last :])


def speakers_of(part: Part) -> list[int]:
    """Distinct speaker numbers, ascending; ``SPEAKER_LEFT`` counts through this list."""
    if part.speakers is None:
        raise ValueError(
            'this data set names no speakers or users, so none can be left out: EVALUATION="random" would be right, '
            "and no cross-validation"
        )
    return sorted(set(part.speakers.tolist()))


def leave_speaker_out(subset: Subset, number: int, n_train: int, seed: int) -> tuple[Subset, Subset]:
    """Training samples of all speakers but one, permuted and cut to ``n_train``; and all samples of that one.

    Args:
        number: position of the speaker in the ascending list of speakers.

    Raises:
        ValueError: there is no such speaker, or there are no samples without or of that one.
    """
    speakers = speakers_of(subset.part)
    if not 0 <= number < len(speakers):
        raise ValueError(
            f"SPEAKER_LEFT has {number}, but the training data has {len(speakers)} speakers: "
            f"numbers 0 to {len(speakers) - 1}"
        )
    assert subset.part.speakers is not None
    left = subset.part.speakers[subset.indices] == speakers[number]
    others = subset.indices[~left]
    if not left.any() or not others.size:
        classes = ", ".join(map(str, np.unique(subset.labels)))
        what = "to validate with" if others.size else "left to train with"
        raise ValueError(
            f"without number {number} of SPEAKER_LEFT (speaker or user {speakers[number]}) there are {others.size} "
            f"samples, of that one {left.sum()} (classes {classes}): none is {what}"
        )
    order = others[stream(seed, "split", number).permutation(others.size)][:n_train]
    return Subset(subset.part, order), Subset(subset.part, subset.indices[left])
