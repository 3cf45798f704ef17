"""Shared by all tests: no test writes outside its temporary folder; a small data set in SHD's layout."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventprop import models
from eventprop.backends.cpu import compiler, engine
from eventprop.data import demo_digits as demo
from eventprop.data.shd import write_shd


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _only_models_on_board() -> Iterator[None]:
    """What a test declares is gone after it."""
    yield
    for name in set(models.NEURONS) - set(models.ON_BOARD):
        del models.NEURONS[name]
    for name in set(models.LOSSES) - set(models.LOSSES_ON_BOARD):
        del models.LOSSES[name]


@pytest.fixture(autouse=True, scope="session")
def _double_precision_is_compiled_quickly() -> Iterator[None]:
    """Engines in double precision are for checking alone: most of the time that they take is the compiler's."""
    usual = engine.load_library

    def load(source: str) -> ctypes.CDLL:
        with pytest.MonkeyPatch.context() as patch:
            if "typedef double real;" in source:
                patch.setattr(compiler, "_FLAGS", [flag.replace("-O3", "-O1") for flag in compiler._FLAGS])
            return usual(source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_library", load)
        yield


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR whose SHD files are 120 training and 40 test samples made like DEMO's."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "SHD").mkdir()
    for part, n in (("train", 120), ("test", 40)):
        samples, labels, speakers = demo.make_part(part, n)
        write_shd(folder / "SHD" / f"shd_{part}.h5", samples, labels, speakers, demo.class_names())
    return folder
