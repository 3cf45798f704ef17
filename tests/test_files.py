"""Reading arrays: whole ones come back, and whatever else lies there becomes one error that names the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import files

ARRAYS: list[Any] = [
    np.arange(12.0).reshape(3, 4),
    np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    np.arange(5, dtype=">u2"),
    np.arange(5, dtype=">f8"),
    np.float16([0.5, 2.0]),
    np.uint64([2**63]),
    np.zeros((0, 4)),
    np.array(3.5),
    np.array(["a", "bc"]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype} {a.shape}")
@pytest.mark.parametrize("name", ["plain.npy", "with [brackets]* 100% #1 ü?.npy", "no ending"])
def test_arrays_come_back(array: np.ndarray, name: str) -> None:
    files.write_array(Path(name), array)
    found = files.read_array(Path(name))
    assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)


def header(words: bytes) -> bytes:
    """A ``.npy`` file of 16 bytes of values with this header."""
    padded = words.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + bytes(16)


BAD: dict[str, bytes] = {
    "empty": b"",
    "text": b"1 2 3",
    "version": b"\x93NUMPY\x09\x00" + header(b"{}")[8:],
    "zip": b"PK\x03\x04" + bytes(60),
    "brace": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4,), ="),
    "quote": header(b"{'descr': '<f4, 'fortran_order': False, 'shape': (4,), }"),
    "escape": header(rb"{'descr': '\N{x}', 'fortran_order': False, 'shape': (4,), }"),
    "warning": header(rb"{'descr': '\d', 'fortran_order': False, 'shape': (4,), }"),
    "nested": header(b"(" * 117),
    "null": header(b"{'descr': '<f4', 'fortran_order': \0alse, 'shape': (4,), }"),
    "not ASCII": header(b"{'descr': '\xfff4', 'fortran_order': False, 'shape': (4,), }"),
    "huge": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4444444444444,), }"),
    "beyond all": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 40 + b",), }"),
    "product": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"),
    "negative": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }"),
    "nothing wide": header(b"{'descr': '|V0', 'fortran_order': False, 'shape': (4,), }"),
    "objects": header(b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }"),
    "fewer": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"),
    "more": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"),
    "short head": header(b"{}")[:60],
    "long head": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
}


@pytest.mark.parametrize("how", BAD)
def test_what_is_no_array(how: str) -> None:
    """Parsers raise tokenize.TokenError, SyntaxError, UnicodeDecodeError, MemoryError, RecursionError and more; a
    number less in a shape is found by what is left over."""
    path = Path("w.npy")
    path.write_bytes(BAD[how])
    with pytest.raises(ValueError) as error:
        files.read_array(path)
    said = str(error.value)
    assert type(error.value) is ValueError and said.startswith("w.npy is ") and "\n" not in said and len(said) < 400


def test_each_bit_of_a_header() -> None:
    """Read as it is, or one error: 1,024 files."""
    files.write_array(Path("w.npy"), np.arange(6, dtype=np.float32))
    data = Path("w.npy").read_bytes()
    read = 0
    for bit in range(128 * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        Path("w.npy").write_bytes(changed)
        try:
            read += files.read_array(Path("w.npy")).nbytes == 24
        except ValueError as error:
            assert str(error).startswith("w.npy is ")
    assert read < 40  # '<f4' as '<i4', '>f4' and the like; padding


def test_what_is_no_file() -> None:
    """To open a pipe would wait for ever; a device has no end. Links are followed."""
    os.mkfifo("pipe.npy")
    Path("folder.npy").mkdir()
    Path("device.npy").symlink_to("/dev/zero")
    Path("circle.npy").symlink_to("circle.npy")
    Path("nowhere.npy").symlink_to("nothing")
    for name, what in (
        ("pipe.npy", "is a pipe, and must be a file"),
        ("folder.npy", "is a folder, and must be a file"),
        ("device.npy", "is a device, and must be a file"),
        ("circle.npy", "cannot be read: "),
        ("x" * 300, "cannot be read: File name too long"),
        ("a\0b", "cannot be read: embedded null (byte|character)"),
    ):
        with pytest.raises(ValueError, match=what) as error:
            files.read_array(Path(name))
        assert str(error.value).startswith(name)
    for name in ("nowhere.npy", "missing.npy"):
        with pytest.raises(FileNotFoundError, match=name):
            files.read_array(Path(name))
    files.write_array(Path("there.npy"), np.arange(3))
    Path("link.npy").symlink_to("there.npy")
    assert files.read_array(Path("link.npy")).tolist() == [0, 1, 2]
