"""What is presented in an epoch, batch by batch: which samples, in which order, and with which changes.

Without augmentation a batch is a list of samples of the data set, and nothing is copied. Else its spikes are made when
it is due, while the batch before it is in the engine; nothing of an epoch is kept. All that is random follows from
``TRAIN_DATA_SEED``, the epoch, the batch and the name of what it is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from eventprop.data.augmentation import AUGMENTATIONS, angles, blend, factors, merged, move_xy, moves, thin
from eventprop.data.images import Placement
from eventprop.data.spikes import SpikeSet
from eventprop.data.splits import Subset
from eventprop.streams import stream

__all__ = ["Batch", "Preparation", "Presentation", "SampleSettings"]

_THIN, _MOVE = "NORMALISE_SPIKE_NUMBER", "random_shift_xy"
_PLACES = (_MOVE, "random_rotate", "random_zoom")
_TOGETHER = 100_000  # spikes of batches that are made together


@dataclass(frozen=True)
class Batch:
    """Samples ``samples`` of ``spikes``, with their labels; ``first`` is the number of the first one in the epoch."""

    first: int
    spikes: SpikeSet
    samples: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class SampleSettings:
    """What is done to samples, under the names of the keys in small letters; what a benchmark has not is off."""

    train_data_seed: int
    n_train: int
    shuffle: bool
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    balance_train_classes: bool = False
    balance_eval_classes: bool = False


class Preparation:
    """What the settings say is to be done to samples before they are presented.

    Args:
        training: the samples that train; the fewest spikes of one of them are what ``NORMALISE_SPIKE_NUMBER`` leaves.

    Raises:
        ValueError: a training sample has no spikes, with ``NORMALISE_SPIKE_NUMBER``.
    """

    def __init__(self, settings: SampleSettings, training: Subset) -> None:
        self.settings = settings
        self.augmentation: dict[str, Any] = {k: v for k, v in settings.augmentation.items() if k != _THIN}
        self.number = _fewest_spikes(training) if settings.augmentation.get(_THIN) else None

    def training(self, training: Subset, epoch: int) -> Presentation:
        """The samples of one epoch, shuffled with ``SHUFFLE``: balanced, thinned, augmented, with blends added."""
        settings, seed = self.settings, self.settings.train_data_seed
        if settings.balance_train_classes:
            training = _balanced(training, stream(seed, "balance training", epoch))
        made = np.zeros((0, 0), np.int64)
        if "blend" in self.augmentation:
            k = len(self.augmentation["blend"])
            made = _partners(training, settings.n_train - len(training), k, stream(seed, "blend partners", epoch))
        order = np.arange(len(training) + len(made))
        if settings.shuffle:
            order = stream(seed, "shuffle", epoch).permutation(order.size)
        return Presentation(self, training, made, order, epoch, learn=True)

    def evaluation(self, evaluation: Subset, epoch: int) -> Presentation:
        """Evaluation samples as they are: balanced and thinned if the settings say so, nothing else."""
        if self.settings.balance_eval_classes:
            evaluation = _balanced(evaluation, stream(self.settings.train_data_seed, "balance evaluation", epoch))
        order = np.arange(len(evaluation))
        return Presentation(self, evaluation, np.zeros((0, 0), np.int64), order, epoch, learn=False)

    def size(self, samples: Subset, *, learn: bool) -> int:
        """How many samples an epoch presents of these."""
        n = len(samples)
        if self.settings.balance_train_classes if learn else self.settings.balance_eval_classes:
            counts = np.unique(samples.labels, return_counts=True)[1]
            n = int(counts.min() * counts.size)
        return max(n, self.settings.n_train) if learn and "blend" in self.augmentation else n


class Presentation:
    """One epoch's samples in order of presentation.

    Attributes:
        subset: the samples of the data set that take part.
        labels: of all samples in order of presentation, ``(n,)``.
    """

    def __init__(
        self, how: Preparation, subset: Subset, made: np.ndarray, order: np.ndarray, epoch: int, *, learn: bool
    ) -> None:
        self.subset = subset
        self._how, self._made, self._order, self._epoch, self._learn = how, made, order, epoch, learn
        labels = subset.labels
        self.labels = np.concatenate([labels, labels[made[:, 0]]] if len(made) else [labels])[order]

    def __len__(self) -> int:
        return int(self._order.size)

    def batches(self, size: int) -> Iterator[Batch]:
        """One after the other, of ``size`` samples but for the last; each is made while the one before is used."""
        how = self._how
        if not (how.number is not None or (self._learn and how.augmentation)):
            for first in range(0, len(self), size):
                yield self._plain(first, size)
            return
        alone = how.number is None and (self._on_images or {_MOVE}) == set(how.augmentation)
        together = size * (max(1, int(_TOGETHER / (size * self._spikes_each()))) if alone else 1)
        make, starts = self._moved if alone else self._changed, range(0, len(self), together)
        with ThreadPoolExecutor(1, "augmentation") as worker:
            coming = worker.submit(make, 0, together, size)
            for first in starts:
                spikes = coming.result()
                if first + together < len(self):
                    coming = worker.submit(make, first + together, together, size)
                for number in range(0, len(spikes), size):
                    labels = self.labels[first + number : first + min(number + size, together)]
                    yield Batch(first + number, spikes, np.arange(number, number + labels.size), labels)

    def _spikes_each(self) -> float:
        """How many spikes a sample of the data set has, on average; 1 at least."""
        spikes = self.subset.part.spikes
        return max(1.0, float(spikes.offsets[-1]) / max(len(spikes), 1))

    def _plain(self, first: int, size: int) -> Batch:
        part = slice(first, first + size)
        return Batch(first, self.subset.part.spikes, self.subset.indices[self._order[part]], self.labels[part])

    def _moved(self, first: int, n: int, size: int) -> SpikeSet:
        """The ``n`` samples from ``first`` on, of whole batches, put elsewhere and not changed otherwise. Batches of
        few spikes, one at a time, would take longer than an engine needs for them; each has its stream all the same."""
        items = self._order[first : first + n]
        sizes = np.diff(np.append(np.arange(0, items.size, size), items.size)).tolist()
        where = [self._placement(k, number) for number, k in enumerate(sizes, first // size)]
        return self._at(self.subset.indices[items], Placement.joined(where))

    @cached_property
    def _on_images(self) -> set[str]:
        """The changes that are made to images, at once, before they become spikes."""
        part, there = self.subset.part, set(_PLACES) & set(self._how.augmentation)
        return set() if part.moved is None or (part.on_cells and there == {_MOVE}) else there

    def _placement(self, n: int, number: int) -> Placement:
        """Where the ``n`` samples of a batch are put; a camera's by moves alone."""
        of, (move, turn, zoom) = self._how.augmentation, _PLACES
        return Placement(
            moves(n, of[move], self._stream(move, number)) if move in of else np.zeros((n, 2), np.int64),
            angles(n, of[turn], self._stream(turn, number)) if turn in of else None,
            factors(n, of[zoom], self._stream(zoom, number)) if zoom in of else None,
        )

    def _at(self, indices: np.ndarray, where: Placement) -> SpikeSet:
        """The samples ``indices`` in their new places."""
        part = self.subset.part
        if part.moved is not None and self._on_images:
            return part.moved(indices, where)
        return move_xy(part.spikes.select(indices), where.by)

    def _changed(self, first: int, n: int, size: int) -> SpikeSet:
        """The ``n`` samples of a batch.

        The changes that ``AUGMENTATION`` names before "blend" are made to each of the samples that are blended, those
        after it to the result. Places are changed first where samples are images.
        """
        items = self._order[first : first + n]
        own = np.flatnonzero(items < len(self.subset))
        blends = np.flatnonzero(items >= len(self.subset))
        parts = self._made[items[blends] - len(self.subset)].ravel()
        indices = self.subset.indices[np.concatenate([items[own], parts])]
        number, augmentation = first // size, dict(self._how.augmentation) if self._learn else {}
        if augmentation and self._on_images:
            spikes = self._at(indices, self._placement(indices.size, number))
            augmentation = {name: value for name, value in augmentation.items() if name not in self._on_images}
        else:
            spikes = self.subset.part.spikes.select(indices)
        if self._how.number is not None:
            spikes = thin(spikes, self._how.number, self._stream(_THIN, number))
        for name, value in augmentation.items():
            if name != "blend":
                spikes = AUGMENTATIONS[name](spikes, value, self._stream(name, number))
            elif blends.size:
                whole = np.arange(len(spikes))
                made = blend(spikes.select(whole[own.size :]), value, self._stream(name, number))
                back = np.argsort(np.concatenate([own, blends]))
                spikes = merged([spikes.select(whole[: own.size]), made], back)
        return spikes

    def _stream(self, name: str, number: int) -> np.random.Generator:
        phase = "training" if self._learn else "evaluation"
        return stream(self._how.settings.train_data_seed, name, phase, self._epoch, number)


def _fewest_spikes(training: Subset) -> int:
    lengths = np.diff(training.part.spikes.offsets)[training.indices]
    if lengths.min() == 0:
        number = int(training.indices[lengths.argmin()])
        raise ValueError(
            f'AUGMENTATION={{"{_THIN}": True}} leaves each sample as many spikes as the shortest has, but sample '
            f"{number} of the training data has none within the trial"
        )
    return int(lengths.min())


def _balanced(subset: Subset, rng: np.random.Generator) -> Subset:
    """As many samples of each class that is there as the smallest class has, drawn at random; class after class."""
    labels = subset.labels
    number = int(np.unique(labels, return_counts=True)[1].min())
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:number] for c in np.unique(labels)]
    return Subset(subset.part, subset.indices[np.concatenate(chosen)])


def _partners(training: Subset, number: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """For each of ``number`` blends ``k`` samples of one class, ``(number, k)``; classes as often as they are there."""
    labels = training.labels
    classes = labels[rng.integers(len(training), size=max(number, 0))]
    partners = np.zeros((classes.size, k), np.int64)
    for c in np.unique(classes):
        of_class, rows = np.flatnonzero(labels == c), np.flatnonzero(classes == c)
        partners[rows] = of_class[rng.integers(of_class.size, size=(rows.size, k))]
    return partners
