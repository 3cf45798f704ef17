"""Damage to files: what disks, transfers and editors do to them, drawn from a random stream."""

from __future__ import annotations

import io
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

__all__ = ["Mutate", "damaged", "edited", "mutant", "repacked", "updated"]

Mutate = Callable[[bytes, np.random.Generator], tuple[bytes, str]]
"""A file's bytes after one kind of damage, and the name of that kind."""

_BLOCKS = ("zero", "random", "swap", "repeat", "insert", "delete")
_ENDS = 4096  # bytes at either end of a file, where most formats have their structure
_WORDS = re.compile(rb'"[^"\n]*"|[A-Za-z_]+|[-+]?[0-9][0-9.eE+-]*|[][{}=,:]')
_OTHERS = (
    *(b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"1e-400", b"3.5", b"9" * 400, b"0x1f", b""),
    *(b'"x"', b'""', b'"nan"', b"[]", b"{}", b"[[[]]]", b'{"a": 1}', b'"\\ud800"', b"nan", b"[1, 2]"),
    *("\u00e4\u4e2d\U0001f600".encode(), b"\xff", b"\x00", b'"', b"'", b"\n", b"#", b"1979-05-27", b"-inf"),
)


def mutant(kind: str, number: int, data: bytes, mutate: Mutate) -> tuple[bytes, str]:
    """The mutant of that number: another one than the file itself, the same whenever it is made."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), number])
    while True:
        changed, how = mutate(data, rng)
        if changed != data:
            return changed, how


def damaged(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Bits and bytes that change, a lost end, blocks that are lost, overwritten, moved or there twice."""
    how = str(rng.choice(["bit", "bits", "byte", "cut", *_BLOCKS]))
    changed = bytearray(data)
    if not data or how in _BLOCKS:
        return bytes(_block(changed, how, rng)), how
    if how == "cut":
        return data[: _place(len(data), rng)], how
    for _ in range(int(rng.integers(2, 40)) if how == "bits" else 1):
        at = _place(len(data), rng)
        flipped = changed[at] ^ 1 << int(rng.integers(8))
        changed[at] = flipped if how != "byte" else int(rng.choice([0, 127, 128, 255, int(rng.integers(256))]))
    return bytes(changed), how


def _place(size: int, rng: np.random.Generator) -> int:
    """A byte, half of the time one near an end."""
    near, which = int(rng.integers(0, min(size, _ENDS))), rng.random()
    return near if which < 0.35 else size - 1 - near if which < 0.5 else int(rng.integers(0, size))


def _block(data: bytearray, how: str, rng: np.random.Generator) -> bytearray:
    size = len(data)
    length = min(size, int(2 ** rng.integers(0, 13)))
    at, other = (min(_place(size, rng), size - length) if size else 0 for _ in range(2))
    part, there = data[at : at + length], data[other : other + length]
    if how == "zero":
        data[at : at + length] = bytes(length)
    elif how == "random":
        data[at : at + length] = rng.bytes(length)
    elif how == "swap":
        data[at : at + length] = there
        data[other : other + length] = part
    elif how == "repeat":
        data[at:at] = part
    elif how == "delete":
        del data[at : at + length]
    else:
        data[at:at] = rng.bytes(max(1, length))
    return data


def edited(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Text as people, editors and scripts change it; a third of the time it is damaged as any file."""
    how = str(rng.choice(["word", "words", "line", "lines", "number", "whole"]))
    words, lines = list(_WORDS.finditer(data)), data.splitlines(keepends=True)
    if rng.random() < 0.33 or not words:
        return damaged(data, rng)
    if how == "whole":
        return _rewritten(data, rng), how
    if how in ("line", "lines"):
        i, j = (int(n) for n in rng.integers(0, len(lines), 2))
        moved = [*lines[:i], *lines[i + 1 :]] if how == "line" else [*lines[:i], lines[j], *lines[i:]]
        return b"".join(moved), how
    numbers = [word for word in words if word[0][:1] in b"+-0123456789"]
    if how == "number" and numbers:
        word = numbers[int(rng.integers(len(numbers)))]
        digit = word.start() + int(rng.integers(len(word[0])))
        return data[:digit] + b"%d" % rng.integers(10) + data[digit + 1 :], how
    for _ in range(int(rng.integers(2, 6)) if how == "words" else 1):
        words = list(_WORDS.finditer(data))
        word = words[int(rng.integers(len(words)))]
        other = words[int(rng.integers(len(words)))][0] if rng.random() < 0.3 else _OTHERS[rng.integers(len(_OTHERS))]
        data = data[: word.start()] + other + data[word.end() :]
        if not _WORDS.search(data):
            break
    return data, how


def _rewritten(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole text in another form."""
    text = data.decode()
    forms: tuple[Callable[[], bytes], ...] = (
        lambda: b"\xef\xbb\xbf" + data,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-32-be"),
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
        lambda: b"[" * 100_000 + data,
        lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        lambda: data + data,
        lambda: data[::-1],
        lambda: b"",
        lambda: b"\x00" * len(data),
        lambda: data.upper(),
        lambda: data.replace(b'"', b"'"),
        lambda: data.rstrip(),
        lambda: b"\n\n" + data,
    )
    return forms[rng.integers(len(forms))]()


def repacked(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A ``.npz`` file whose members are damaged, edited, renamed or missing, with the checksums that are right then."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = str(rng.choice(["meta.npy", *members]))  # the text is half of what can be wrong
    if name != "meta.npy" and rng.random() < 0.4:
        how = str(rng.choice(["renamed", "missing", "other"]))
        content = members.pop(name)
        if how != "missing":
            other = str(rng.choice(list(members))) if how == "other" else f"x{name}"
            members[other] = content
    elif name == "meta.npy":
        text = str(np.load(io.BytesIO(members[name])))
        changed, how = edited(text.encode(), rng)
        buffer = io.BytesIO()
        np.save(buffer, np.array(changed.decode(errors="surrogateescape")))
        members[name] = buffer.getvalue()
    else:
        members[name], how = damaged(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return buffer.getvalue(), how


def updated(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A database of SQLite in which a value has become another one of its column, or anything, or a row is missing."""
    memory = sqlite3.connect(":memory:")
    memory.deserialize(data)
    memory.execute("PRAGMA foreign_keys = OFF")
    tables = [name for (name,) in memory.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    rows = [(name, row) for name in tables for (row,) in memory.execute(f"SELECT rowid FROM {name}")]
    table, row = rows[rng.integers(len(rows))]
    columns = [column[1] for column in memory.execute(f"PRAGMA table_info({table})")]
    column, how = str(rng.choice(columns)), str(rng.choice(["value", "text", "missing"], p=[0.5, 0.4, 0.1]))
    try:
        if how == "missing":
            memory.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
        else:
            (was,) = memory.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchone()
            value: object = _OTHERS[rng.integers(len(_OTHERS))].decode(errors="replace")
            if how == "text":
                value = edited(str(was).encode(), rng)[0].decode(errors="replace")
            elif rng.random() < 0.5:
                value = [None, -1, 0, 7, 1e308, 2**62, b"\xff\x00"][rng.integers(7)]
            memory.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
        memory.commit()
    except sqlite3.Error:  # no value of this column
        pass
    changed = memory.serialize()
    memory.close()
    return changed, how
