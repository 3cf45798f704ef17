"""The compiled engine's functions, as Python calls them: types, arrays, addresses and what their status means."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from eventprop import models
from eventprop.data.targets import are_classes, are_values
from eventprop.network import Network

__all__ = [
    "BACKWARD",
    "FORWARD",
    "WHOLE",
    "Batch",
    "Compared",
    "address",
    "aligned_zeros",
    "check",
    "declare",
    "rows",
    "steps_per_step",
    "vector",
]

WHOLE, FORWARD, BACKWARD = range(3)  # stages of a batch: ``BatchView::Stage``


class Batch(ctypes.Structure):
    """``BatchView`` of ``engine.hpp``."""

    _fields_ = (
        ("offsets", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
        ("channels", ctypes.c_void_p),
        ("samples", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("n", ctypes.c_int32),
        ("learn", ctypes.c_int32),
        ("stage", ctypes.c_int32),
        ("record", ctypes.c_int32),
        ("input_seed", ctypes.c_uint32),
        ("hidden_seed", ctypes.c_uint32),
        ("noise_seed", ctypes.c_uint32),
        ("input_dropout", ctypes.c_double),
        ("hidden_dropout", ctypes.c_void_p),
        ("noise", ctypes.c_void_p),
        ("batch", ctypes.c_double),
        ("loss_scale", ctypes.c_double),
        ("label_smoothing", ctypes.c_double),
        ("scores", ctypes.c_void_p),
        ("loss", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("silent", ctypes.c_void_p),
        ("at", ctypes.c_void_p),
        ("first", ctypes.c_int64),
        ("mean_counts", ctypes.c_void_p),
        ("targets", ctypes.c_void_p),
        ("target_steps", ctypes.c_int32),
        ("measured", ctypes.c_void_p),
    )


class Compared(NamedTuple):
    """What outputs are compared with, as the engine takes it.

    Attributes:
        labels: int32 ``(n,)`` or ``(n, steps)``; None where there are none, or values.
        values: float64 ``(n, outputs)`` or ``(n, steps, outputs)``; None where there are labels, or nothing.
    """

    labels: np.ndarray | None
    values: np.ndarray | None

    @classmethod
    def of(cls, given: np.ndarray | None) -> Compared:
        if given is None:
            return cls(None, None)
        if are_values(given):
            return cls(None, np.ascontiguousarray(given, dtype=np.float64))
        return cls(np.ascontiguousarray(given, dtype=np.int32), None)

    @property
    def classes(self) -> np.ndarray | None:
        """The class of each sample, where each has one."""
        return self.labels if self.labels is not None and are_classes(self.labels) else None

    @property
    def steps(self) -> int:
        """How many steps it is told of, or 1."""
        of_steps = self.labels if self.values is None or self.values.ndim < 3 else self.values
        return of_steps.shape[1] if of_steps is not None and of_steps.ndim > 1 else 1

    def arrays(self, measured: np.ndarray) -> dict[str, np.ndarray]:
        """What there is of each sample, by name, and a place for what is ``measured`` of it, ``(n,)``."""
        place = measured if self.classes is None else None
        known = {"labels": self.labels, "targets": self.values, "measured": place}
        return {name: array for name, array in known.items() if array is not None}


def declare(lib: ctypes.CDLL, delays: bool) -> None:
    """Give the functions of ``api.hpp`` their types; an engine without delays has none to set them."""
    p, i, d = ctypes.c_void_p, ctypes.c_int, ctypes.c_double
    for name, result, arguments in (
        ("engine_panel", i, []),
        ("engine_row_spare", i, []),
        ("engine_create", p, [i, i, i, i, i, i, i]),
        ("engine_destroy", None, [p]),
        ("engine_threads", i, [p]),
        ("engine_layer", i, [p, i, i, i, p, d]),
        ("engine_weights", None, [p, i, i, i, i, p, p, p, p, p]),
        *((("engine_delays", i, [p, i, i, i, i, d, p, p, p, p]),) if delays else ()),
        ("engine_trained", i, [p, i, p, p, p, p, d, d]),
        ("engine_take_trained", i, [p]),
        ("engine_loss", i, [p, i, i, p, i, i]),
        ("engine_regulariser", i, [p, i, i, p]),
        ("engine_run", i, [p, p]),
        ("engine_take_delays", i, [p]),
        ("engine_time_tasks", None, [p, i]),
        ("engine_tasks", i, [p, p, p, p]),
        ("engine_block_samples", i, []),
        ("engine_begin_gradients", i, [p, ctypes.c_int64]),
        ("engine_finish_gradients", i, [p, p]),
        ("engine_sum_size", ctypes.c_int64, [p]),
        ("engine_close_block", i, [p]),
        ("engine_nodes", i, [p]),
        ("engine_node", p, [p, i]),
        ("engine_gradient_norm2", i, [p, p]),
        ("engine_update", i, [p, p, d]),
        ("engine_trace", None, [p, i, i, i, i, p]),
        ("engine_spikes", ctypes.c_int64, [p, i, i, p, p, p]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


def address(array: np.ndarray | None) -> int | None:
    """Where an array begins; None stands for none."""
    return None if array is None else array.ctypes.data


def check(status: int) -> None:
    """Raise what a function's status stands for.

    Raises:
        MemoryError: it ran out of memory.
        ArithmeticError: activity runs away.
    """
    if status == 2:
        raise ArithmeticError(
            "neurons spike without end, a thousand times each in a trial; smaller weights, a smaller ETA or a larger "
            "TAU_MEM or V_THRESH may help"
        )
    if status:
        raise MemoryError("the CPU engine ran out of memory; a smaller NUM_THREADS, N_BATCH or NUM_HIDDEN needs less")


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that start at a multiple of 64 bytes, for vector loads."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def vector(values: Mapping[str, float], declared: models.Loss | models.Regulariser) -> np.ndarray:
    """Values of the declared parameters, in their order."""
    return np.array([values[n] for n in declared.parameters], dtype=np.float64)


def rows(network: Network) -> np.ndarray:
    """Values of the regulariser's parameters, ``(hidden layer, parameter)``."""
    found = [[values[n] for n in network.regulariser.parameters] for values in network.regularisation]
    return np.array(found, dtype=np.float64)


def steps_per_step(network: Network) -> int:
    """Into how many steps of at most a millisecond the engine divides one, where spikes have exact times.

    It changes no spike time; a step's spikes are found together, and in short steps there are few.
    """
    if network.spike_timing != "exact":
        return 1
    return max(1, min(math.ceil(network.dt_ms - 1e-9), 65535 // network.num_steps))
