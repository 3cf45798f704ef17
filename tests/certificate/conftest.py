"""Many kinds of networks, each small and run a few times: most of the time that they take is the compiler's."""

from __future__ import annotations

import pytest

from eventprop.backends.cpu import compiler


@pytest.fixture(autouse=True)
def _compiled_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_FLAGS", [flag.replace("-O3", "-O1") for flag in compiler._FLAGS])
