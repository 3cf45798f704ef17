"""HDF5 files: each layout is read; damage that hangs the library, takes all memory or raises anything is one error."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eventprop.data import hdf5, shd
from eventprop.data.shd import Grid
from tests.support.places import ROOT

PATH = Path("data/SHD/shd_train.h5")
N = 40
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (16,)},
    "one large chunk": {"chunks": (4096,), "maxshape": (None,)},
    "compressed": {"chunks": (16,), "compression": "gzip"},
    "shuffled": {"chunks": (16,), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": (16,), "compression": "lzf"},
}


def write(layout: str = "contiguous", path: Path = PATH, offsets: int = 8, names: bool = True, **of_file: Any) -> None:
    """Sample i has i spikes, in channel i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plan.set_sizes(offsets, offsets)
    file = h5py.File(path, "w", **of_file) if of_file else h5py.File(h5py.h5f.create(bytes(path), fcpl=plan))
    with file:
        for name, kind in (("times", np.float32), ("units", np.uint16)):
            lists = file.create_dataset(f"spikes/{name}", (N,), dtype=h5py.vlen_dtype(kind), **LAYOUTS[layout])
            for i in range(N):
                lists[i] = np.linspace(0.001, 0.9, i).astype(kind) if name == "times" else np.full(i, i, kind)
        file.create_dataset("labels", data=np.arange(N) % 4, **LAYOUTS[layout], fletcher32=layout != "contiguous")
        if names:
            file["extra/keys"] = ["a", "b", "c", "d"]


def write_both(layout: str = "contiguous", **change: Any) -> None:
    write(layout, **change)
    write(path=PATH.with_name("shd_test.h5"))


def load() -> Any:
    return shd.load_shd("data", Grid(1.0, 1000.0))


def check(found: Any) -> None:
    assert np.diff(found.train.spikes.offsets).tolist() == list(range(N))
    assert found.train.spikes.channels.tolist() == np.repeat(np.arange(N), np.arange(N)).tolist()
    assert found.train.labels.tolist() == [i % 4 for i in range(N)] and found.class_names == ("a", "b", "c", "d")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read(layout: str) -> None:
    write_both(layout)
    check(load())


@pytest.mark.parametrize(
    "change", [{"offsets": 4}, {"userblock_size": 512}, {"userblock_size": 4096}, {"libver": "latest"}]
)
def test_each_form_of_file_is_read(change: dict[str, Any]) -> None:
    """Addresses of 4 bytes; a block before the file; newer heads."""
    write_both("chunked", **change)
    check(load())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_drives_without_locks(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network drives: nothing is wrong with the file. Where another process writes it, that is said."""
    write_both()
    real, wanted = h5py.File, [number]

    def refuse(path: Path, mode: str, locking: bool = True) -> h5py.File:
        if locking:
            raise OSError(wanted[0], "Unable to synchronously open file (unable to lock file)")
        return real(path, mode, locking=locking)

    monkeypatch.setattr(h5py, "File", refuse)
    check(load())
    wanted[0] = errno.EAGAIN
    with pytest.raises(BlockingIOError):
        load()


def heaps(data: bytes) -> list[int]:
    found = [data.find(b"GCOL")]
    while found[-1] >= 0:
        found.append(data.find(b"GCOL", found[-1] + 1))
    return found[:-1]


@pytest.mark.parametrize("change", [{}, {"userblock_size": 512}])
def test_an_object_without_size_does_not_hang(change: dict[str, Any]) -> None:
    """The library would look at the same place for ever: each heap is tried, at each of its first objects."""
    write_both(**change)
    whole = PATH.read_bytes()
    assert heaps(whole)
    for start in heaps(whole):
        at = start + 16
        for _ in range(3):
            PATH.write_bytes(whole[:at] + bytes(16) + whole[at + 16 :])
            with pytest.raises(ValueError, match=rf"shd_train\.h5 is damaged \(an object without size at byte {at}\)"):
                load()
            at += 16 + (struct.unpack_from("<Q", whole, at + 8)[0] + 7 & ~7)
    at = heaps(whole)[0] + 16  # a size that wraps around to none
    PATH.write_bytes(whole[: at + 8] + struct.pack("<Q", 2**64 - 16) + whole[at + 16 :])
    with pytest.raises(ValueError, match=r"an object without size"):
        load()


def test_heaps_at_the_edges_of_what_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    write_both()
    data = PATH.read_bytes()
    for piece in (7, 8, 9, 1000, 1 << 24):
        monkeypatch.setattr(hdf5, "_PIECE", piece)
        with PATH.open("rb") as file:
            assert list(hdf5._marks(file)) == heaps(data)


@pytest.mark.parametrize("length", [400, 2**31, 2**32 - 1])
def test_a_list_without_end_takes_no_memory(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would take 8 GB for it before it looks where the list lies."""
    write_both()
    with h5py.File(PATH) as file:
        at = file["spikes/times"].id.get_offset() + 16 * 7
        before = file["spikes/times"][7]
    data = bytearray(PATH.read_bytes())
    assert struct.unpack_from("<I", data, at) == (7,) and before.size == 7
    struct.pack_into("<I", data, at, length)
    PATH.write_bytes(data)
    if length > 1000:
        monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda *_: pytest.fail("it was read"))
        with pytest.raises(ValueError, match=rf"damaged \(a list in '/spikes/times' has {length} entries, more than"):
            load()
    else:  # not more than the heap could hold: the library finds that
        with pytest.raises(ValueError, match=r"shd_train\.h5"):
            load()


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "compressed", "shuffled"])
def test_lists_of_each_layout_are_checked(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were no room for the longest in its heap."""
    write_both(layout)
    with h5py.File(PATH) as file:
        blocks = b"".join(hdf5._raw(PATH, file["spikes/units"]))
        lengths = np.frombuffer(blocks, hdf5._LIST)["length"]
        assert lengths[:N].tolist() == list(range(N))
        source = hdf5.Source(PATH)
        source._heaps = dict.fromkeys(source._heaps, 2 * N - 3)
        with pytest.raises(ValueError, match=rf"a list in '/spikes/units' has {N - 1} entries, more than there are"):
            source.shape("spikes/units")
        source.close()


def test_more_samples_than_bytes() -> None:
    """An array of a damaged length would be filled with nothing, until memory ends."""
    write_both("chunked")
    with h5py.File(PATH, "r+") as file:
        del file["labels"]
        file.create_dataset("labels", (2**40,), np.int32, chunks=(16,))
    with pytest.raises(ValueError, match=r"damaged \(it speaks of 1099511627776 entries in 'labels', and"):
        load()


@pytest.mark.parametrize("what", ["labels", "spikes", "spikes/times", "extra"])
@pytest.mark.parametrize("how", ["group", "lost link", "lost file", "text", "number", "table", "type"])
def test_other_things_of_the_right_name(what: str, how: str) -> None:
    """One error that names the file, whatever lies there."""
    write_both()
    with h5py.File(PATH, "r+") as file:
        del file[what]
        if how == "group":
            file.create_group(what)
        elif how == "lost link":
            file[what] = h5py.SoftLink("/nowhere")
        elif how == "lost file":
            file[what] = h5py.ExternalLink("nothing.h5", "/x")
        elif how == "type":
            file[what] = np.dtype(np.int32)
        else:
            file[what] = {"text": "abc", "number": 3, "table": np.zeros((N, 2))}[how]
    try:
        assert load().class_names == () or what == "extra"
    except ValueError as error:
        assert str(error).startswith("data/SHD/shd_train.h5") and "\n" not in str(error)


def test_mutants() -> None:
    """Bits, blocks and ends of a file: read, or one error that names it; in a process of its own, which must end."""
    code = f"""
import sys, warnings; sys.path[:0] = [{str(ROOT)!r}]
import numpy as np, tests.data.test_hdf5 as t
warnings.simplefilter("error")
for layout, change in (("contiguous", {{}}), ("shuffled", {{"libver": "latest"}})):
    t.write_both(layout, **change)
    whole, random, outcomes = t.PATH.read_bytes(), np.random.default_rng(1), set()
    for number in range(150):
        data, n = bytearray(whole), len(whole)
        at = int(random.integers(0, min(n, 3000) if number % 2 else n))
        size = int(2 ** random.integers(0, 12))
        if number % 5 == 0: data[at] ^= 1 << int(random.integers(8))
        elif number % 5 == 1: data[at : at + size] = bytes(len(data[at : at + size]))
        elif number % 5 == 2: data[at : at + size] = random.bytes(len(data[at : at + size]))
        elif number % 5 == 3: del data[at : at + size]
        else: data = data[:at]
        t.PATH.write_bytes(data)
        try: t.load(); outcomes.add("read")
        except ValueError as error:
            assert "data/SHD/shd_train.h5" in str(error) and "\\n" not in str(error), error
            outcomes.add("error")
    print(sorted(outcomes))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.stderr == "" and result.stdout.count("['error', 'read']") == 2
