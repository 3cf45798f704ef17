"""Spikes as people have them: every form becomes the same spikes, and what is wrong is one clear line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.data import own
from eventprop.data.shd_files import write_shd
from eventprop.parameters.spikes import resolve_spikes
from simulator_spikes import p, spikes_model

CHANNELS, BINS, BIN = 6, 40, 2.0
EVENTS = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.int8)])


def samples(n: int = 12, seed: int = 1) -> tuple[list[dict[str, np.ndarray]], np.ndarray, np.ndarray]:
    """Samples whose times are starts of bins of 2 ms, without two spikes in one bin of a channel; labels, groups."""
    rng = np.random.default_rng(seed)
    X = []
    for _ in range(n):
        cells = np.sort(rng.choice(BINS * CHANNELS, 20, replace=False))
        X.append({"x": cells % CHANNELS, "t": (cells // CHANNELS) * BIN})
    return X, np.arange(n) % 3, np.arange(n) % 2


def lists(sample: dict[str, np.ndarray]) -> list[list[float]]:
    return [sample["t"][sample["x"] == c].tolist() for c in range(CHANNELS)]


def counts(sample: dict[str, np.ndarray]) -> np.ndarray:
    array = np.zeros((BINS, CHANNELS), np.uint8)
    np.add.at(array, ((sample["t"] / BIN).astype(int), sample["x"]), 1)
    return array


def events(sample: dict[str, np.ndarray], width: int = 3, polarities: int = 2) -> np.ndarray:
    """As of a camera, in microseconds: channel (y * width + x) * polarities + p."""
    found = np.zeros(sample["t"].size, EVENTS)
    cell = sample["x"] // polarities
    found["t"], found["x"], found["y"] = 1000 * sample["t"], cell % width, cell // width
    found["p"] = sample["x"] % polarities
    return found


class Set:
    """Duck-typed data set, as torch and tonic have them."""

    def __init__(self, X: Any, Y: Any, **more: Any) -> None:
        self.X, self.Y = X, Y
        self.dtype = EVENTS  # tonic's have one
        vars(self).update(more)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        if not 0 <= number < len(self.X):
            raise IndexError(number)
        return self.X[number], self.Y[number]


def model(train: Any, test: Any = None, **change: Any) -> spikes_model:
    return spikes_model({**p, "WRITE_TO_DISK": False, "DT_MS": BIN, **change}, train=train, test=test)


X, Y, GROUPS = samples()
DENSE = np.stack([counts(x) for x in X])

FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lists": (([lists(x) for x in X], Y), {}),
    "seconds": (([{"x": x["x"], "t": x["t"] / 1000} for x in X], Y), {"TIME_UNIT": "s"}),
    "counts": ((DENSE, Y), {"BIN_MS": BIN}),
    "a list of counts": ((list(DENSE), list(Y)), {"BIN_MS": BIN}),
    "events": (([events(x, 3, 2) for x in X], Y), {"TIME_UNIT": "us", "SENSOR_SIZE": [3, 1, 2]}),
    "one polarity": (([events(x, 6, 1) for x in X], Y), {"TIME_UNIT": "us", "SENSOR_SIZE": [6, 1, 1]}),
    "a data set of events": (Set([events(x, 3, 2) for x in X], Y, sensor_size=(3, 1, 2)), {"TIME_UNIT": "us"}),
    "a data set of counts": (Set(list(DENSE), [np.int64(y) for y in Y]), {"BIN_MS": BIN}),
    "a list of pairs": (list(zip(X, Y.tolist(), strict=True)), {}),
    "frames": (
        (DENSE.reshape(12, BINS, 1, 3, 2).transpose(0, 1, 4, 2, 3), Y),
        {"BIN_MS": BIN},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same_spikes(form: str) -> None:
    given, change = FORMS[form]
    expected, found = model((X, Y)).data, model(given, **change).data
    assert found.num_channels == CHANNELS and found.num_classes == 3
    for ours, theirs in ((found.train, expected.train), (found.test, expected.test)):
        assert (ours.labels == theirs.labels).all() and (ours.spikes.offsets == theirs.spikes.offsets).all()
        assert (ours.spikes.steps == theirs.spikes.steps).all() and (
            ours.spikes.channels == theirs.spikes.channels
        ).all()


def test_samples_for_a_trained_network_have_any_form_too() -> None:
    """``predict`` of events and of lists is that of dictionaries."""
    plain = model((X, Y), MODEL_SEED=1, INPUT_HIDDEN_STD=2.0)
    scores = plain.predict(plain.p, X).scores
    assert (plain.predict(plain.p, [lists(x) for x in X]).scores == scores).all()
    seen = model(FORMS["a data set of events"][0], MODEL_SEED=1, INPUT_HIDDEN_STD=2.0, TIME_UNIT="us")
    assert (seen.predict(seen.p, [events(x) for x in X]).scores == scores).all()


def test_counts_of_several_spikes_are_spread_over_their_bin() -> None:
    found = model(([np.array([[3, 0], [0, 1]])] * 10, [0] * 5 + [1] * 5), BIN_MS=3.0, DT_MS=1.0, TRIAL_MS=10.0)
    assert found.data.train.spikes.sample(0)[0].tolist() == [0, 1, 2, 3]


def test_what_is_left_open_is_taken_from_the_data() -> None:
    """Channels and classes of both parts, the trial, and which samples train; ``p`` stays as it is."""
    more = [{"x": [9], "t": [1.0]}], [4]
    mn = model((X, Y), more)
    end = max(x["t"].max() for x in X)
    assert (mn.p["NUM_INPUT"], mn.p["NUM_CLASSES"], mn.p["N_TEST"]) == (10, 5, 1)
    assert end + 20.0 <= mn.p["TRIAL_MS"] <= end + 20.0 + 2 * BIN and mn.p["TRIAL_MS"] % BIN == 0
    assert (mn.p["N_VALIDATE"], mn.p["N_TRAIN"]) == (1, 11)
    assert p["TRIAL_MS"] is None and p["NUM_INPUT"] is None
    fixed = {"NUM_INPUT": 30, "NUM_CLASSES": 7, "TRIAL_MS": 60.0, "N_TRAIN": 4, "N_VALIDATE": 2, "N_TEST": 3}
    assert {key: model((X, Y), **fixed).p[key] for key in fixed} == fixed


def test_without_test_data_some_of_each_class_are_put_aside() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    rest, chosen = own.put_aside(labels, 20, 1)
    assert np.bincount(labels[chosen]).tolist() == [10, 6, 4]
    assert sorted([*rest, *chosen]) == list(range(100))
    assert (own.put_aside(labels, 20, 2)[1] != chosen).any()
    mn = model((X, Y, GROUPS), REDUCED_CLASSES=[0, 2])
    assert len(mn.data.test.labels) == 2 and len(mn.data.train.labels) == 10
    assert mn.p["N_TRAIN"] + mn.p["N_VALIDATE"] == int(np.isin(mn.data.train.labels, [0, 2]).sum())


def test_names_as_labels() -> None:
    names = np.array(["c", "a", "b"])[Y]
    mn = model((X, names.tolist()), (X[:2], ["b", "c"]))
    assert mn.data.class_names == ("a", "b", "c") and mn.data.test.labels.tolist() == [1, 2]
    with pytest.raises(ValueError, match="test: label 'd' is none of the training data's: a, b, c"):
        model((X, names.tolist()), (X[:1], ["d"]))


CAMERA = [events(x) for x in X]
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "fewer labels": ((X, Y[:-1]), {}, "train: labels must be one for each of the 12 samples; there are 11"),
    "labels with fractions": ((X, Y + 0.5), {}, "labels must be whole numbers from 0; that of sample 0 is 0.5"),
    "one-hot labels": ((X, np.eye(3)[Y]), {}, "compares classes, and the data has values"),
    "no pair": (X[0], {}, "train is dict; right are (X, Y), (X, Y, groups), or a data set"),
    "a list of samples": (X, {}, "train: entry 0 is dict of 2, not (spikes, label)"),
    "one array of all events": (
        (CAMERA[0], np.arange(20) % 3),
        {},
        "train: X is one array of events; a list of such arrays",
    ),
    "flat counts": ((DENSE[:, 0], Y), {"BIN_MS": 1.0}, "an array of shape (12, 6); counts of spikes would be (samples"),
    "no bin width": ((DENSE, Y), {}, "sample 0 has counts of shape (40, 6): BIN_MS must say how many ms a bin lasts"),
    "potentials": ((DENSE - 0.5, Y), {"BIN_MS": 1.0}, "has -0.5 in a bin; counts of spikes are whole numbers from 0"),
    "no unit": (
        (CAMERA, Y),
        {"SENSOR_SIZE": [3, 1, 2]},
        'events have times "t" whose unit must be told: TIME_UNIT="us"',
    ),
    "no sensor": ((CAMERA, Y), {"TIME_UNIT": "us"}, "SENSOR_SIZE=[width, height, polarities] must be told"),
    "a smaller sensor": (
        (CAMERA, Y),
        {"TIME_UNIT": "us", "SENSOR_SIZE": [2, 2, 2]},
        "x=2 is not one of 0 to 1 (SENSOR_SIZE=[2, 2, 2])",
    ),
    "half a sensor": ((CAMERA, Y), {"TIME_UNIT": "us", "SENSOR_SIZE": [3, 2]}, "SENSOR_SIZE=[3, 2] must be [width"),
    "no times": (([{"x": [1]}] * 12, Y), {}, 'train: X, sample 0 lacks "t"'),
    "other lengths": (
        ([{"x": [1, 2], "t": [0.0]}] * 12, Y),
        {},
        "x and t must be flat lists of one length, got shapes",
    ),
    "negative times": (
        ([*X[:3], {"x": [1], "t": [-4.0]}, *X[4:]], Y),
        {},
        "sample 3: times must not be negative, got -4",
    ),
    "no numbers": (([{"x": [1], "t": ["soon"]}] * 12, Y), {}, "sample 0: times must be numbers, got <U4"),
    "other channels": (
        ([lists(x)[: 6 - i % 2] for i, x in enumerate(X)], Y),
        {},
        "different numbers of channels: 5, 6",
    ),
    "two forms": (
        ([X[0], DENSE[0], *X[2:]], Y),
        {"BIN_MS": 1.0},
        "sample 1 is an array of counts, and those before it",
    ),
    "text": ((["spikes"] * 12, Y), {}, 'train: X, sample 0 is str; right are {"x": channels, "t": times}'),
    "too few channels": ((X, Y), {"NUM_INPUT": 3}, "train has 6 channels, and there are NUM_INPUT=3"),
    "too few classes": ((X, Y), {"NUM_CLASSES": 2}, "train: label 2 of sample 2 is not one of 0 to 1 (NUM_CLASSES)"),
    "ms that are seconds": (
        ([{"x": x["x"], "t": x["t"] / 1000} for x in X], Y),
        {"DT_MS": 1.0},
        "within 3 steps of DT_MS=1; the times look like seconds",
    ),
    "ms that are microseconds": (
        ([{"x": x["x"], "t": x["t"] * 1000} for x in X], Y),
        {"DT_MS": 1.0},
        "steps of DT_MS=1; 65535 are possible; the times look like microseconds",
    ),
    "nothing in the trial": (
        ([{"x": x["x"], "t": 500.0 + x["t"]} for x in X], Y),
        {"TRIAL_MS": 100.0},
        "none of its 240 spikes is before the end of the trial (TRIAL_MS=100)",
    ),
    "no unit of time": ((X, Y), {"TIME_UNIT": "sec"}, "TIME_UNIT='sec' is not one of 's', 'ms', 'us', 'ns'"),
    "all to test": ((X, Y), {"N_TEST": 12}, "N_TEST=12 leaves none of the 12 samples to train with"),
    "too many to train": ((X, Y), {"N_TRAIN": 11}, "N_TRAIN=11 and N_VALIDATE=1 need 12 samples"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line(what: str) -> None:
    """It names what was given and what would be right."""
    given, change, line = WRONG[what]
    with pytest.raises(ValueError, match=re.escape(line)) as told:
        mn = model(given, **change)
        mn.train(mn.p)
    assert "\n" not in str(told.value)


def test_no_data_and_two_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("there are no data: spikes_model(p, train=(X, Y)), or DATA_SET")):
        spikes_model(p)
    with pytest.raises(ValueError, match="two sets of data"):
        spikes_model({**p, "DATA_SET": str(tmp_path)}, train=(X, Y))
    with pytest.raises(ValueError, match=re.escape("test=... needs train=...")):
        spikes_model(p, test=(X, Y))
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        spikes_model({**p, "DATA_SET": str(tmp_path / "none.h5")})
    with pytest.raises(FileNotFoundError, match='must hold one HDF5 file with "train" in its name'):
        spikes_model({**p, "DATA_SET": str(tmp_path)})


def write(folder: Path, channels: int = 900) -> None:
    """Training and test file with channels beyond SHD's; times that float16 has."""
    rng = np.random.default_rng(3)
    for part, n in (("train", 20), ("test", 10)):
        found = [(np.sort(rng.integers(0, 60, 15)) / 512, rng.integers(0, channels, 15).astype(np.uint16))] * n
        write_shd(folder / f"my_{part}.h5", found, np.arange(n) % 2, np.arange(n) % 4, ("no", "yes"), channels)


def test_files_of_any_number_of_channels(tmp_path: Path) -> None:
    write(tmp_path)
    mn = spikes_model({**p, "DATA_SET": str(tmp_path), "WRITE_TO_DISK": False})
    assert 700 < mn.data.num_channels <= 900 and mn.data.class_names == ("no", "yes")
    assert (len(mn.data.train.labels), len(mn.data.test.labels)) == (20, 10)
    assert mn.data.train.speakers is not None and mn.p["TRIAL_MS"] < 160.0
    alone = spikes_model({**p, "DATA_SET": str(tmp_path / "my_train.h5"), "WRITE_TO_DISK": False})
    assert (len(alone.data.train.labels), len(alone.data.test.labels)) == (16, 4)
    with pytest.raises(ValueError, match=re.escape("TIME_UNIT='ms' is not for files of SHD's layout")):
        spikes_model({**p, "DATA_SET": str(tmp_path), "TIME_UNIT": "ms"})
    with pytest.raises(ValueError, match=r"unit [0-9]+ is not one of 0 to 699"):
        spikes_model({**p, "DATA_SET": str(tmp_path), "NUM_INPUT": 700, "WRITE_TO_DISK": False})


def test_settings_are_checked_without_data() -> None:
    """What is open stays open: a scan checks its settings so, and its runs read the data."""
    found = resolve_spikes({"NUM_INPUT": 30})
    assert found["NUM_INPUT"] == 30
    for name in ("TRIAL_MS", "N_TRAIN", "N_VALIDATE", "N_TEST", "NUM_CLASSES", "SPK_REC_STEPS", "DATA_FINGERPRINT"):
        assert found[name] is None
    with pytest.raises(ValueError, match="ETA must be at least 0"):
        resolve_spikes({"ETA": -1.0})
