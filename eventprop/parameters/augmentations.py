"""What ``AUGMENTATION`` may hold: known kinds, each with a value of its form and range."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

from eventprop.data.augmentation import cells
from eventprop.data.mnist import SIDE

__all__ = ["check_augmentation", "check_cells"]

_ALONG_A_LINE = ("random_shift", "random_gain", "ID_jitter", "blend")
_OF_CELLS = ("random_rotate", "random_zoom")


def check_cells(p: Mapping[str, Any]) -> list[str]:
    """Channels that are pixels of an image or cells of a camera are no line."""
    lines = [name for name in p.get("AUGMENTATION", {}) if name in _ALONG_A_LINE]
    if not lines:
        return []
    return [
        f"AUGMENTATION={lines} moves channels along a line; random_shift_xy is for the cells of a camera or an image"
    ]


def check_augmentation(p: Mapping[str, Any], num_channels: int) -> list[str]:
    """Known kinds, each with a value of its form and range."""
    problems, augmentation = [], p.get("AUGMENTATION", {})
    for name, value in augmentation.items():
        if name not in _AUGMENTATIONS:
            near = difflib.get_close_matches(name, _AUGMENTATIONS, 1, 0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"AUGMENTATION has {name!r}; there are: {', '.join(_AUGMENTATIONS)}{hint}")
            continue
        image = "PIXEL_MS" in p  # whose pixels come one after the other
        if name in _OF_CELLS and not image and not cells(num_channels)[0]:
            problems.append(
                f'AUGMENTATION={{"{name}": {value!r}}} is for images, and for the events of a camera, on two channels '
                f"for each cell of a square; the {num_channels} input channels here are none"
            )
            continue
        right, form = _AUGMENTATIONS[name]
        if not right(value, SIDE**2 if image and name == "random_shift_xy" else num_channels):
            problems.append(f'AUGMENTATION={{"{name}": {value!r}}} is not right: it takes {form.format(num_channels)}')
    return problems


def _number(value: Any, least: float, most: float = math.inf) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most and value < math.inf
    )


def _move(value: Any, num_channels: int) -> bool:
    side, _ = cells(num_channels)
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < side


def _gain(value: Any, num_channels: int) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not _number(value[1], 0.0, 3.0):
        return False
    return isinstance(value[0], int) and not isinstance(value[0], bool) and 2 <= value[0] <= num_channels


def _dilation(value: Any, _: int) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not all(_number(v, 0.0) and v > 0.0 for v in value):
        return False
    return bool(value[0] <= value[1])


_AUGMENTATIONS: dict[str, tuple[Callable[[Any, int], bool], str]] = {
    "random_shift": (
        lambda v, n: _number(v, 0.0, n - 1),
        "the largest shift, a number of channels from 0 to one less than the {}",
    ),
    "random_shift_xy": (
        _move,
        "the largest shift in x and in y, a whole number of a camera's cells, or of an image's pixels, below how many "
        "there are in a row",
    ),
    "random_rotate": (lambda v, _: _number(v, 0.0, 180.0), "the largest angle in degrees, from 0 to 180"),
    "random_zoom": (_dilation, "the least and the largest factor on places, both positive, the smaller one first"),
    "random_dilate": (_dilation, "the least and the largest factor on times, both positive, the smaller one first"),
    "random_gain": (
        _gain,
        "[knots, s.d.]: at how many of the channels the gain is drawn, a whole number from 2 to {}, and the standard "
        "deviation of its logarithm, from 0 to 3",
    ),
    "ID_jitter": (lambda v, n: _number(v, 0.0, n), "a standard deviation in channels, from 0 to {}"),
    "blend": (
        lambda v, _: isinstance(v, list) and bool(v) and all(_number(x, 0.0, 1.0) for x in v),
        "a list of probabilities from 0 to 1, one for each of the samples that are blended",
    ),
    "NORMALISE_SPIKE_NUMBER": (lambda v, _: isinstance(v, bool), "True or False"),
}
