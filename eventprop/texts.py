"""Settings that people write by hand: JSON and TOML, whatever else a file of that name may turn out to be."""

from __future__ import annotations

import codecs
import json
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from eventprop import files

__all__ = ["read_json", "read_text", "read_toml"]

_MOST = 16 << 20  # bytes
_DEEPEST = 50
_MARKS = {  # that of UTF-32 begins as that of UTF-16 does
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in what its byte order mark says.

    Raises:
        FileNotFoundError, PermissionError: as of any file.
        ValueError: it is no file, or no text; names it.
    """
    files.check_regular(path)
    size = path.stat().st_size
    if size > _MOST:
        raise ValueError(f"{path} has {size >> 20} MB, and is no file of settings")
    data = files.read_bytes(path)
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as :func:`read_text`, and where it is not JSON.
    """
    return _parsed(_json, path, f"{path} is not a JSON file")


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as :func:`read_text`, and where it is not TOML.
    """
    return dict(_parsed(tomllib.loads, path, str(path)))


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
            raise ValueError(f"{twice!r} is there twice")
        return found

    return json.loads(text, object_pairs_hook=once)


def _parsed(parse: Callable[[str], Any], path: Path, problem: str) -> Any:
    text = read_text(path)
    try:
        found = parse(text)
    except RecursionError:
        found = None
    except ValueError as error:  # also of whole numbers with thousands of digits
        raise ValueError(f"{problem}: {error}") from None
    level = [found]
    for _ in range(_DEEPEST):
        level = [inner for value in level if isinstance(value, dict | list) for inner in _values(value)]
    if found is None or level:
        raise ValueError(f"{problem}: it is nested too deeply")
    return found


def _values(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
