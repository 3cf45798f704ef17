"""What tests of scans share."""

from __future__ import annotations

import os

import pytest

from tests.support.places import ROOT


@pytest.fixture
def these_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are processes of their own, in another folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
