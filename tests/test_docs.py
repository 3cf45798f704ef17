"""The pages of ``docs/`` and the README: their Python runs, their commands, files, keys and recipes exist."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
FENCE = re.compile(r'^```(\w*)(?: title="(.*?)")?\n(.*?)^```$', re.DOTALL | re.M)


def python_of(page: str) -> list[tuple[str, str]]:
    return [(title, code) for language, title, code in FENCE.findall(PAGES[page]) if language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)])
def test_python(page, tmp_path, monkeypatch):
    names: dict[str, Any] = {"__name__": "page"}
    for number, (title, code) in enumerate(python_of(page)):
        compiled = compile(code, f"docs/{page}.md, block {number}", "exec")
        if not title:
            exec(compiled, names)
