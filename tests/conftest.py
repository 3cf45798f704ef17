"""Shared by all tests: no test writes outside its temporary folder; a small data set in SHD's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventprop.data import demo_digits as demo
from eventprop.data.shd import write_shd


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR whose SHD files are 120 training and 40 test samples made like DEMO's."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "SHD").mkdir()
    for part, n in (("train", 120), ("test", 40)):
        samples, labels, speakers = demo.make_part(part, n)
        write_shd(folder / "SHD" / f"shd_{part}.h5", samples, labels, speakers, demo.class_names())
    return folder
