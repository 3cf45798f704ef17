"""Images moved, turned and made larger or smaller before they become spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Placement", "placed"]


@dataclass(frozen=True)
class Placement:
    """Where images are put: moved, and then turned and zoomed about their middle.

    Attributes:
        by: whole pixels in x and y, ``(n, 2)``.
        angle: in radians, from x to y, ``(n,)``; None for none.
        factor: on lengths, ``(n,)``; None for 1.
    """

    by: np.ndarray
    angle: np.ndarray | None = None
    factor: np.ndarray | None = None

    @classmethod
    def joined(cls, parts: Sequence[Placement]) -> Placement:
        """Those of several groups of images, one group after the other, in which the same is done."""
        angle = [part.angle for part in parts if part.angle is not None]
        factor = [part.factor for part in parts if part.factor is not None]
        return cls(
            np.concatenate([part.by for part in parts]),
            np.concatenate(angle) if angle else None,
            np.concatenate(factor) if factor else None,
        )


def placed(images: np.ndarray, where: Placement) -> np.ndarray:
    """Images, ``(n, side * side)`` bytes, in their new places; what comes in is dark.

    A pixel that is turned or zoomed takes its grey level from the four around where it comes from, in proportion
    (bilinear), and rounded.
    """
    if where.angle is None and where.factor is None:
        return _shifted(images, where.by)
    n, side = len(images), round(images.shape[1] ** 0.5)
    angle = np.zeros(n) if where.angle is None else where.angle
    scale = 1.0 / (np.ones(n) if where.factor is None else where.factor)
    cos, sin = ((scale * f(angle)).astype(np.float32).reshape(-1, 1, 1) for f in (np.cos, np.sin))
    line = np.arange(side, dtype=np.float32) - np.float32(0.5 * (side - 1))
    # One pixel of dark all around, where all ends up that comes from further out.
    dx, dy = (np.float32(0.5 * (side - 1) + 1.0) - where.by.astype(np.float32).T)[..., None, None]
    x = np.clip(cos * line + sin * line[:, None] + dx, 0.0, side + 1.0)
    y = np.clip(cos * line[:, None] - sin * line + dy, 0.0, side + 1.0)
    left, top = (np.minimum(v.astype(np.int32), side) for v in (x, y))
    x -= left
    y -= top
    framed = np.pad(images.reshape(n, side, side), ((0, 0), (1, 1), (1, 1))).ravel()
    at = left + (side + 2) * top + ((side + 2) ** 2 * np.arange(n, dtype=np.int32))[:, None, None]
    one, two, three, four = (framed.take(at + k).astype(np.float32) for k in (0, 1, side + 2, side + 3))
    upper, lower = one + (two - one) * x, three + (four - three) * x
    return np.rint(upper + (lower - upper) * y).astype(np.uint8).reshape(n, -1)


def _shifted(images: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Images, ``(n, side * side)``, moved by as many pixels in x and y, ``(n, 2)``; what comes in is dark."""
    side = round(images.shape[1] ** 0.5)
    most = int(np.abs(by).max(initial=0))
    framed = np.pad(images.reshape(-1, side, side), ((0, 0), (most, most), (most, most)))
    found = np.empty((len(images), side, side), images.dtype)
    for image, frame, (dx, dy) in zip(found, framed, by.tolist(), strict=True):
        image[:] = frame[most - dy : most - dy + side, most - dx : most - dx + side]
    return found.reshape(len(images), -1)
