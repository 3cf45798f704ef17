"""Files that several modules read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from eventprop.data import shd
from tests.support.ssc import NAMES, SIZES, recordings


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SSC's files, with all 35 classes in each."""
    folder = tmp_path_factory.mktemp("SSC")
    for seed, (part, n) in enumerate(SIZES.items()):
        shd.write_shd(folder / f"ssc_{part}.h5", recordings(n, seed), np.arange(n) % 35, np.zeros(n), NAMES)
    return folder


@pytest.fixture
def ssc_files(_made: Path) -> None:
    shutil.copytree(_made, "data/SSC")
