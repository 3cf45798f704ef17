"""Named random streams: every use of randomness has its own, derived from the user's seeds.

A stream depends on the seed, its name and what it is for (an epoch, a synapse population) and on nothing else:
switching one random feature on does not shift another, and a resumed run needs no generator state because the
streams of epoch ``n`` follow from the seed and ``n``.
"""

from __future__ import annotations

import secrets
import zlib

import numpy as np

__all__ = ["draw_seed", "stream", "stream_seed"]


def _entropy(seed: int, keys: tuple[int | str, ...]) -> np.random.SeedSequence:
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in keys]
    return np.random.SeedSequence([int(seed), *words])


def stream(seed: int, *keys: int | str) -> np.random.Generator:
    """A generator for ``keys``, e.g. ``stream(seed, "shuffle", epoch)``."""
    return np.random.Generator(np.random.PCG64(_entropy(seed, keys)))


def stream_seed(seed: int, *keys: int | str) -> int:
    """A 32-bit seed for ``keys``, for counter-based generators in compiled code."""
    return int(_entropy(seed, keys).generate_state(1, np.uint32)[0])


def draw_seed() -> int:
    """A fresh seed from the system's entropy, for seeds given as None; it is saved with the results."""
    return secrets.randbits(31)
