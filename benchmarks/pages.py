"""Tables that scripts write into a page of the docs, each between two marks of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "peers"))

from shown import machine

__all__ = ["machine", "put", "table", "where"]

_LOADED = os.getloadavg()[0] > 1.0 if hasattr(os, "getloadavg") else False  # when the script began


def where() -> str:
    """The machine, and whether it had other work."""
    return f"{machine()}{', with other work beside it' * _LOADED}"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def put(page: Path, name: str, text: str) -> None:
    """Replace what is between ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: the page has not both of them once.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed) or begin in after:
        raise ValueError(f"{page} must have {begin} and {end} once")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
