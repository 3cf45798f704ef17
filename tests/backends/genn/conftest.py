"""All modules here share a cache of built code, also between the processes of pytest-xdist.

``EVENTPROP_TEST_CACHE`` names a folder for it that is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventprop.backends.genn import engine


@pytest.fixture(autouse=True, scope="session")
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "genn_cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVENTPROP_CACHE", str(Path(os.environ.get("EVENTPROP_TEST_CACHE") or shared).absolute()))
        yield


@pytest.fixture(autouse=True, scope="session")
def _blocks_of_one_size() -> Iterator[None]:
    """GeNN compiles all code for a GPU twice more to find the best sizes of blocks, which change no result."""
    usual = engine.preferences

    def quick(backend: str, first_device: bool) -> dict[str, Any]:
        options = usual(backend, first_device)
        if backend == "cuda":
            from pygenn.cuda_backend import BlockSizeSelect

            options["block_size_select_method"] = BlockSizeSelect.MANUAL
        return options

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "preferences", quick)
        yield
