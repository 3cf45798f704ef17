"""The compiled engine's functions, as Python calls them: types, addresses and what their status means."""

from __future__ import annotations

import ctypes

import numpy as np

__all__ = ["Batch", "address", "check", "declare"]


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
        ("average_counts", ctypes.c_int32),
        ("record", ctypes.c_int32),
        ("input_seed", ctypes.c_uint32),
        ("hidden_seed", ctypes.c_uint32),
        ("noise_seed", ctypes.c_uint32),
        ("input_dropout", ctypes.c_double),
        ("hidden_dropout", ctypes.c_double),
        ("noise", ctypes.c_double),
        ("batch", ctypes.c_double),
        ("loss_scale", ctypes.c_double),
        ("scores", ctypes.c_void_p),
        ("loss", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("silent", ctypes.c_void_p),
        ("at", ctypes.c_void_p),
        ("first", ctypes.c_int64),
    )


def declare(lib: ctypes.CDLL) -> None:
    """Give the functions of ``api.hpp`` their types."""
    p, i, d = ctypes.c_void_p, ctypes.c_int, ctypes.c_double
    for name, result, arguments in (
        ("engine_panel", i, []),
        ("engine_row_spare", i, []),
        ("engine_create", p, [i, i, i, i, i, i, i]),
        ("engine_destroy", None, [p]),
        ("engine_threads", i, [p]),
        ("engine_layer", i, [p, i, i, p, d]),
        ("engine_weights", None, [p, i, i, i, i, p, p, p, p]),
        ("engine_delays", i, [p, i, i, i, i, d, p, p, p, p]),
        ("engine_trained", i, [p, i, p, p, p, p, d, d]),
        ("engine_take_trained", i, [p]),
        ("engine_loss", i, [p, i, i, p]),
        ("engine_regulariser", i, [p, i, i, p]),
        ("engine_run", i, [p, p]),
        ("engine_take_delays", i, [p]),
        ("engine_zero_gradients", i, [p]),
        ("engine_share_gradients", i, [p]),
        ("engine_gradient_norm2", i, [p, p]),
        ("engine_update", i, [p, p, p, d]),
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
