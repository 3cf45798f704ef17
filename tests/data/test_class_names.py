"""Files of one data set that name their classes differently: by name, or not at all."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import simulator_SHD
from eventprop.data import shd
from eventprop.data.dataset import Dataset
from eventprop.data.shd import Grid
from simulator_SHD import SHD_model

NAMES = ("null", "eins", "zwei", "drei")
OTHER = ("drei", "null", "zwei", "eins")  # label 0 there is 3 here


def write(part: str, names: tuple[Any, ...] | None, folder: str = "SHD", labels: list[int] | None = None) -> None:
    """Eight samples; sample i has its only spikes in channels 100 times its class and i."""
    place = Path("data") / folder
    place.mkdir(parents=True, exist_ok=True)
    of = labels or [i % 4 for i in range(8)]
    samples = [(np.array([0.1, 0.2]), np.array([100 * c, i])) for i, c in enumerate(of)]
    path = place / f"{folder.lower()}_{part}.h5"
    shd.write_shd(path, samples, np.array(of), np.zeros(8), [])
    with h5py.File(path, "r+") as file:
        del file["extra/keys"]
        if names is not None:
            file["extra/keys"] = list(names)


@pytest.fixture(params=[False, True])
def cached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """From the files and, at the second time, from the cache."""
    monkeypatch.setattr(shd, "_WORTH_KEEPING", 0)

    def load(folder: str = "SHD") -> Dataset:
        if not request.param:
            return (
                shd.load_shd("data", Grid(1.0, 1000.0)) if folder == "SHD" else shd.load_ssc("data", Grid(1.0, 1000.0))
            )
        get = shd.load_shd if folder == "SHD" else shd.load_ssc
        for _ in range(2):
            found = get("data", Grid(1.0, 1000.0), Path("data/cache"))
        return found

    return load


def test_another_order_is_taken_by_name(cached: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels and the names that a user sees go together in all parts; a line says so."""
    write("train", NAMES)
    write("test", OTHER)
    found = cached()
    assert found.class_names == NAMES and found.num_classes == 4
    assert found.train.labels.tolist() == [0, 1, 2, 3] * 2
    assert [found.class_names[label] for label in found.test.labels] == [*OTHER, *OTHER]
    assert found.test.labels.tolist() == [3, 0, 2, 1] * 2 and found.test.labels.dtype == np.int32
    assert found.test.spikes.channels[:4].tolist() == [0, 0, 100, 1]
    assert "shd_test.h5 names its classes in another order than data/SHD/shd_train.h5" in capsys.readouterr().out


def test_each_file_of_ssc_has_its_own_order(cached: Any) -> None:
    write("train", NAMES, "SSC")
    write("valid", OTHER, "SSC")
    write("test", NAMES[::-1], "SSC")
    found = cached("SSC")
    assert found.validation is not None and found.validation.labels.tolist() == [3, 0, 2, 1] * 2
    assert found.test.labels.tolist() == [3, 2, 1, 0] * 2 and found.class_names == NAMES


@pytest.mark.parametrize(
    "names",
    [
        ("null", "eins", "zwei", "three"),
        ("null", "eins", "zwei"),
        (*NAMES, "vier"),
        ("null", "eins", "eins", "zwei"),
    ],
)
def test_other_names_are_refused(names: tuple[str, ...], cached: Any) -> None:
    """Both files are named, and the first names that differ."""
    write("train", NAMES)
    write("test", names, labels=[0, 1, 2, 0, 1, 2, 0, 1])
    found = cached()
    with pytest.raises(ValueError) as error:
        _ = found.test
    said = str(error.value)
    assert "data/SHD/shd_test.h5 and data/SHD/shd_train.h5 must have the same classes in 'extra/keys'" in said
    first = next((a, b) for a, b in zip([*names, None], [*NAMES, None], strict=False) if a != b)
    assert f"the first that differ are {first[0]!r} and {first[1]!r}" in said


def test_the_same_name_twice_in_another_order_is_refused(cached: Any) -> None:
    write("train", ("a", "a", "b", "c"))
    write("test", ("a", "b", "a", "c"))
    with pytest.raises(ValueError, match="must have the same classes"):
        _ = cached().test
    write("test", ("a", "a", "b", "c"))
    assert cached().test.labels.tolist() == [0, 1, 2, 3] * 2


def test_files_without_names(cached: Any) -> None:
    """Where one has none, its labels are those of the other; the names of either are shown."""
    write("train", NAMES)
    write("test", None)
    assert cached().test.labels.tolist() == [0, 1, 2, 3] * 2
    write("test", NAMES)
    write("train", None)
    found = cached()
    assert found.class_names == NAMES and found.train.labels.tolist() == found.test.labels.tolist()
    write("test", None)
    found = cached()
    assert found.class_names == () and found.num_classes == 4


def test_a_label_beyond_its_own_file_s_names() -> None:
    write("train", NAMES)
    write("test", OTHER, labels=[0, 1, 2, 3, 0, 4, 2, 3])
    with pytest.raises(ValueError, match=r"shd_test\.h5: label 4 of sample 5 is not one of 0 to 3"):
        _ = shd.load_shd("data", Grid(1.0, 1000.0)).test


def test_runs_go_by_names() -> None:
    """What a run evaluates on are the training file's classes."""
    write("train", NAMES)
    write("test", OTHER)
    p = {**simulator_SHD.p, "DATA_DIR": "data", "TRIAL_MS": 300.0, "DT_MS": 5.0, "TAU_SYN": 10.0, "NUM_HIDDEN": 4}
    p |= {"N_TRAIN": 8, "N_VALIDATE": 0, "N_EPOCH": 1, "N_BATCH": 8, "MODEL_SEED": 1, "WRITE_TO_DISK": False}
    p |= {"REC_PREDICTIONS": True, "TIMING": False, "INPUT_HIDDEN_MEAN": 5.0}
    mn = SHD_model(p)
    mn.train_test(p)
    assert mn.collected["labels_eval"][0].tolist() == [3, 0, 2, 1] * 2


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ([b"null", b"f\xfcnf", b"zw\xf6lf", b"drei"], ("null", "fünf", "zwölf", "drei")),
        ([name.encode() for name in ("null", "fünf", "zwölf", "drei")], ("null", "fünf", "zwölf", "drei")),
        ([unicodedata.normalize("NFD", "fünf").encode(), b"b", b"c", b"d"], ("fünf", "b", "c", "d")),
        ([b"\x80\x81", b"\xff", b"c", b"d"], ("\x80\x81", "ÿ", "c", "d")),
        ([b"a ", b"b\0\0", b"c", b"d"], ("a", "b", "c", "d")),
    ],
)
@pytest.mark.parametrize("kind", ["bytes", "text", "ascii"])
def test_names_of_any_bytes(stored: list[bytes], read: tuple[str, ...], kind: str) -> None:
    """UTF-8, else Latin-1: of fixed length, and of any."""
    for part in ("train", "test"):
        write(part, None)
        with h5py.File(f"data/SHD/shd_{part}.h5", "r+") as file:
            if kind == "bytes":
                file["extra/keys"] = np.array(stored, "S8")
            else:
                of = h5py.string_dtype("utf-8" if kind == "text" else "ascii")
                file.create_dataset("extra/keys", data=[name.rstrip(b"\0") for name in stored], dtype=of)
    found = shd.load_shd("data", Grid(1.0, 1000.0))
    assert found.class_names == read and found.test.labels.tolist() == [0, 1, 2, 3] * 2


def test_the_same_names_in_two_encodings(cached: Any) -> None:
    write("train", (b"null", "fünf".encode(), b"c", b"d"))
    write("test", (b"f\xfcnf", b"null", b"c", b"d"))
    assert cached().test.labels.tolist() == [1, 0, 2, 3] * 2


@pytest.mark.parametrize("how", ["group", "number", "table", "lists"])
def test_what_is_no_list_of_names(how: str) -> None:
    for part in ("train", "test"):
        write(part, None)
    with h5py.File("data/SHD/shd_train.h5", "r+") as file:
        if how == "group":
            file.create_group("extra/keys")
        elif how == "lists":
            file.create_dataset("extra/keys", (4,), dtype=h5py.vlen_dtype(np.int32))
        else:
            file["extra/keys"] = 3 if how == "number" else np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"shd_train\.h5: 'extra/keys' must be a dataset with the name of each class"):
        shd.load_shd("data", Grid(1.0, 1000.0))
