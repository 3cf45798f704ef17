"""What outputs are compared with, sample by sample: an array in one of four forms.

(n,) whole numbers              the class of each sample
(n, steps) whole numbers        the class of each step
(n, outputs) floats             a value for each output
(n, steps, outputs) floats      a value for each output at each step
"""

from __future__ import annotations

import numpy as np

__all__ = ["FORMS", "are_classes", "are_values", "of_steps", "outputs_of", "read"]

FORMS = (
    "whole numbers (n,) are classes, (n, steps) those of each step; floats (n, outputs) are values, "
    "(n, steps, outputs) those at each step"
)
"""What there is, for errors."""


def are_values(targets: np.ndarray) -> bool:
    """Whether they are values, and not classes."""
    return targets.dtype.kind == "f"


def of_steps(targets: np.ndarray) -> bool:
    """Whether each step has its own."""
    return targets.ndim == (3 if are_values(targets) else 2)


def are_classes(targets: np.ndarray) -> bool:
    """Whether each sample has a class."""
    return targets.ndim == 1


def outputs_of(targets: np.ndarray) -> int:
    """As many outputs as they need: one for each value, or for each class up to the largest."""
    if are_values(targets):
        return int(targets.shape[-1])
    return int(targets.max()) + 1 if targets.size else 0


def read(given: object, n: int, what: str) -> np.ndarray | None:
    """Targets of several dimensions as they are kept, int32 or float32; None for what has one dimension, or is ragged.

    Args:
        n: how many samples there are.
        what: whose they are, for errors.

    Raises:
        ValueError: names what is wrong and what would be right.
    """
    try:
        found = np.asarray(given if hasattr(given, "__array__") else [np.asarray(of_sample) for of_sample in given])  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    if found.ndim < 2 or (found.dtype.kind in "iu" and found.shape[1:] == (1,)):  # a label each, in brackets
        return None
    kind = found.dtype.kind
    if kind not in "iuf" or found.ndim > 3 or 0 in found.shape[1:]:
        raise ValueError(f"{what}: targets are {found.dtype} of shape {found.shape}; {FORMS}")
    if len(found) != n:
        raise ValueError(f"{what} must be one for each of the {n} samples; there are {len(found)}")
    if kind != "f" and found.ndim == 2:
        if found.min(initial=0) < 0 or found.max(initial=0) > np.iinfo(np.int32).max:
            number, step = (int(at[0]) for at in np.nonzero((found < 0) | (found > np.iinfo(np.int32).max)))
            raise ValueError(
                f"{what} must be whole numbers from 0; step {step} of sample {number} has {found[number, step]}"
            )
        return found.astype(np.int32)
    with np.errstate(over="ignore"):
        values = found.astype(np.float32)
    if not np.isfinite(values).all():
        number = int(np.nonzero(~np.isfinite(values))[0][0])
        raise ValueError(f"{what}: values of sample {number} are not finite numbers of single precision")
    return values
