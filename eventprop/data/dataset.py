"""A data set: spikes, labels, and whose voice or hand they are from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eventprop.data.images import Placement
from eventprop.data.spikes import SpikeSet

__all__ = ["Dataset", "Part"]


@dataclass(frozen=True)
class Part:
    """Training, validation or test samples.

    ``labels`` are ``(n,)`` int32, or what else outputs are compared with (:mod:`eventprop.data.targets`); ``speakers``
    ``(n,)`` int32 or None. ``moved`` makes spikes of some samples, whose numbers it is given, ``(m,)``, from images
    in other places; None where samples are no images. With ``on_cells`` channels are the pixels, or a camera's cells,
    and spikes themselves can be moved.
    """

    spikes: SpikeSet
    labels: np.ndarray
    speakers: np.ndarray | None = None
    moved: Callable[[np.ndarray, Placement], SpikeSet] | None = None
    on_cells: bool = True


class Dataset:
    """Training and test samples, and those of validation where the data set has them in a file of their own.

    Args:
        train, test, validation: samples, or what reads them when they are first asked for. Without ``validation``
            that part is None.
        class_names: empty where the classes have no names.
    """

    def __init__(
        self,
        name: str,
        train: Part,
        test: Part | Callable[[], Part],
        num_channels: int,
        num_classes: int,
        class_names: Sequence[str] = (),
        validation: Part | Callable[[], Part] | None = None,
    ) -> None:
        self.name, self.train = name, train
        self.num_channels, self.num_classes, self.class_names = num_channels, num_classes, tuple(class_names)
        self._test, self._validation = test, validation

    @cached_property
    def test(self) -> Part:
        return self._test if isinstance(self._test, Part) else self._test()

    @cached_property
    def validation(self) -> Part | None:
        return self._validation() if callable(self._validation) else self._validation
