"""Event cameras: what becomes of events; parameters; runs on small recordings, synthetic gestures and real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_DVS_gesture
import simulator_SHD
from eventprop.data import demo_gestures as gestures
from eventprop.data import dvs_files
from eventprop.data.augmentation import shift_xy
from eventprop.data.dvs import Window
from eventprop.data.dvs_files import Events
from eventprop.parameters import dvs as dvs_parameters
from eventprop.parameters.shd import resolve_shd
from simulator_DVS_gesture import DVSG_model
from tests.support.places import SHARED_DATA

NMNIST = SHARED_DATA / "nmnist_subset"
SMALL: dict[str, Any] = {"DT_MS": 5.0, "TRIAL_MS": 100.0, "N_TRAIN": 88, "N_VALIDATE": 22, "N_EPOCH": 4}
SMALL |= {"NUM_HIDDEN": 40, "MODEL_SEED": 2, "TIMING": False, "LOSS_TYPE": "sum", "ETA": 0.01, "TAU_SYN": 10.0}
SMALL |= {"INPUT_HIDDEN_MEAN": 0.4, "INPUT_HIDDEN_STD": 0.4, "DATA_DIR": "data"}


def params(**change: Any) -> dict[str, Any]:
    return {**simulator_DVS_gesture.p, **SMALL, **change}


def recording(rng: np.random.Generator, label: int, n: int = 50) -> np.ndarray:
    """Events in a band of columns that is the class's own, in the first 100 ms."""
    x, y, polarity = 11 * label + rng.integers(0, 11, n), rng.integers(0, 128, n), rng.integers(0, 2, n)
    return np.column_stack([x, y, polarity, np.sort(rng.integers(0, 100, n))])


def write(root: Path = Path("data"), users: int = 5, backwards: bool = False) -> None:
    """110 training and 110 test recordings in the original layout, written in one order or its reverse."""
    jobs = [
        (part, user, lighting, label)
        for part, first in (("Train", 1), ("Test", 24))
        for user in range(first, first + users)
        for lighting in ("fluorescent", "led")
        for label in range(11)
    ]
    for part, user, lighting, label in jobs[::-1] if backwards else jobs:
        folder = root / "DVSGesture" / f"ibmGesture{part}" / f"user{user:02}_{lighting}"
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([user, label, len(lighting)])
        np.save(folder / f"{label}.npy", recording(rng, label))


FIRST = Path("data/DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy")


def events(*rows: tuple[float, ...]) -> Events:
    x, y, polarity, times = np.array(rows, np.float64).T
    return Events(x.astype(int), y.astype(int), polarity.astype(int), times)


# From events to spikes


@pytest.mark.parametrize(
    ("pixel", "channel"), [((127, 127, 1), 2047), ((0, 0, 0), 0), ((4, 0, 1), 3), ((0, 4, 0), 64), ((3, 3, 1), 1)]
)
def test_channel_of_a_pixel(pixel: tuple[int, int, int], channel: int) -> None:
    """(32 y + x) 2 + p, with x and y in cells of 4 x 4 pixels."""
    window = Window(128, 1.0, 100.0, downsample=4)
    assert window.num_channels == 2048
    assert window.spikes(events((*pixel, 7.0))).sample(0)[1].tolist() == [channel]


@pytest.mark.parametrize(("downsample", "channels"), [(1, 2312), (2, 578), (3, 288), (5, 98)])
def test_cells_cover_the_sensor(downsample: int, channels: int) -> None:
    """Where the side is no multiple of the cell's, the last row is of what is left; no event is lost."""
    window = Window(34, 1.0, 100.0, downsample=downsample)
    assert window.num_channels == channels
    assert window.spikes(events((33, 33, 1, 5.0))).sample(0)[1].tolist() == [channels - 1]


def test_times_are_milliseconds() -> None:
    """A second is 1000 ms: with times taken for microseconds, or the reverse, it would end elsewhere."""
    write()
    rows = recording(np.random.default_rng(0), 3)
    rows[-1, 3] = 998
    np.save(FIRST, rows)
    mn = DVSG_model(params(DT_MS=1.0, TRIAL_MS=1000.0))
    assert mn.data.train.spikes.sample(0)[0].max() == 998


def test_window() -> None:
    """What is before T_START_MS or beyond the trial is cut off; times count from the start, times RESCALE_T."""
    found = events((0, 0, 0, 99.0), (1, 0, 0, 100.0), (2, 0, 0, 160.0), (3, 0, 0, 296.0), (4, 0, 0, 300.0))
    steps, channels = Window(128, 1.0, 100.0, start_ms=100.0, rescale_t=0.5).spikes(found).sample(0)
    assert (steps.tolist(), channels.tolist()) == ([0, 30, 98], [2, 4, 6])


def test_threshold() -> None:
    """As many events of a cell and polarity in a step as asked for make one spike, fewer none."""
    found = events(
        (0, 0, 0, 1.0), (1, 1, 0, 1.5), (9, 0, 0, 1.0), (0, 0, 1, 1.0), (0, 0, 0, 3.0), *[(8, 8, 1, 4.0)] * 3
    )
    for least, expected in ((1, 5), (2, 2), (3, 1), (4, 0)):
        binned = Window(128, 2.0, 20.0, downsample=4, threshold=least).spikes(found)
        assert binned.steps.size == expected
    steps, channels = Window(128, 2.0, 20.0, downsample=4, threshold=2).spikes(found).sample(0)
    assert list(zip(steps.tolist(), channels.tolist(), strict=True)) == [(0, 0), (2, (32 * 2 + 2) * 2 + 1)]


def test_shift_in_x_and_y() -> None:
    """All events of a sample move by the same whole cells, and keep polarity and step; those that leave are gone, and
    none comes in on the other side."""
    rng = np.random.default_rng(0)
    rows = [(x, y, q, t) for x in range(4) for y in range(4) for q in (0, 1) for t in (0.0, 3.0) if rng.random() < 0.7]
    one = Window(4, 1.0, 10.0).spikes(events(*sorted(rows, key=lambda row: row[3])))
    cells = set(rows)
    seen = set()
    for number, moved in enumerate(shift_xy(one, 2, np.random.default_rng(n)) for n in range(200)):
        steps, channels = moved.sample(0)
        found = {(c // 2 % 4, c // 8, c % 2, t) for c, t in zip(channels.tolist(), steps.tolist(), strict=True)}
        assert np.array_equal(np.lexsort((channels, steps)), np.arange(steps.size)), number
        fits = [
            (dx, dy)
            for dx in range(-2, 3)
            for dy in range(-2, 3)
            if found == {(x + dx, y + dy, q, t) for x, y, q, t in cells if 0 <= x + dx < 4 and 0 <= y + dy < 4}
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 25
    with pytest.raises(ValueError, match="random_shift_xy"):
        resolve_shd({**simulator_SHD.p, "AUGMENTATION": {"random_shift_xy": 1}})
    with pytest.raises(
        ValueError, match=r"random_rotate.*for images, and for the events of a camera.*the 700 input channels here"
    ):
        resolve_shd({**simulator_SHD.p, "AUGMENTATION": {"random_rotate": 1.0}})


# Parameters


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DOWNSAMPLE": 0}, "DOWNSAMPLE"),
        ({"DATA_SET": "DVS"}, "DATA_SET"),
        ({"DATA_SET": ["NMNIST"]}, "DATA_SET"),
        ({"DATA_SET": "NMNIST", "EVALUATION": "user"}, "names no users"),
        ({"AUGMENTATION": {"random_shift": 3.0}}, "moves channels along a line; random_shift_xy is for the cells"),
        ({"AUGMENTATION": {"random_shift_xy": 32}}, "it takes the largest shift in x and in y"),
        ({"AUGMENTATION": {"random_shift_xy": 1.5}}, "it takes the largest shift in x and in y"),
        ({"AUGMENTATION": {"random_rotate": 200.0}}, "random_rotate.*it takes the largest angle in degrees"),
        ({"AUGMENTATION": {"random_zoom": 1.2}}, "random_zoom.*the smaller one first"),
        ({"DT_MS": 0.1, "TRIAL_MS": 18000.0}, "make 180000 steps; 3 to 65535 are possible"),
        ({"T_START": 5.0}, "did you mean T_START_MS"),
        ({"N_INPUT_DELAY": 40, "INPUT_DELAY": 1.0, "DT_MS": 1.0}, "makes 83968 input channels"),
    ],
)
def test_wrong_parameters(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DVSG_model(params(**change))


def test_more_than_there_are() -> None:
    write(users=1)
    with pytest.raises(ValueError, match="N_TRAIN=1045 and N_VALIDATE=32 need 1077 samples"):
        DVSG_model(params()).train(params(N_TRAIN=1045, N_VALIDATE=32))


# Runs


def test_test_recordings_are_thinned_to_the_shortest_training_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the shortest of the test's own."""
    from eventprop.simulators import simulator

    write()
    p = params(AUGMENTATION={"NORMALISE_SPIKE_NUMBER": True}, WRITE_TO_DISK=False)
    mn, numbers = DVSG_model(p), []
    made = simulator.Preparation
    monkeypatch.setattr(simulator, "Preparation", lambda *a: numbers.append(made(*a).number) or made(*a))
    mn.set_weights(mn.weights())
    mn.test(p)
    shortest = [int(np.diff(part.spikes.offsets).min()) for part in (mn.data.train, mn.data.test)]
    assert shortest[0] != shortest[1] and numbers == shortest[:1]


def test_training_and_test() -> None:
    """Learns the bands; the test changes neither weights nor checkpoint; a method's other window is refused."""
    write()
    p = params(DEBUG_HIDDEN_N=True, REWIRE_SILENT=True, N_EPOCH=12)
    mn = DVSG_model(p)
    assert mn.train(p).correct_eval > 0.9
    weights, checkpoint = mn.weights(), Path("test_state_last.npz").read_bytes()
    assert mn.test(p).correct_eval > 0.9
    assert all(np.array_equal(mn.weights()[name], w) for name, w in weights.items())
    assert Path("test_state_last.npz").read_bytes() == checkpoint
    assert DVSG_model(p).test({**p, "LOAD_LAST": True}).correct_eval > 0.9
    with pytest.raises(ValueError, match=r"T_START_MS was 0\.0 when the data was loaded"):
        mn.train({**p, "T_START_MS": 5.0})
    with pytest.raises(ValueError, match="DOWNSAMPLE was 4"):
        mn.train({**p, "DOWNSAMPLE": 2})


@pytest.mark.filterwarnings("ignore:no(ne of the .* neurons of hidden0| output neuron) spiked")
def test_defaults_run() -> None:
    """Those of the reference lack a key and need steps beyond any counter."""
    write(users=1)
    p = {**simulator_DVS_gesture.p, "N_TRAIN": 11, "N_VALIDATE": 11, "N_EPOCH": 1, "NUM_HIDDEN": 8, "MODEL_SEED": 1}
    assert 0 <= DVSG_model(p).train(p).correct_eval <= 1


def test_shuffle_off_trains_on_the_right_labels() -> None:
    """The reference trains on label 0 for all samples where SHUFFLE is off."""
    write()
    p = params(SHUFFLE=False, N_TRAIN=110, N_VALIDATE=0)
    assert DVSG_model(p).train_test(p).correct_eval > 0.8


@pytest.mark.parametrize("loss", ["first_spike", "first_spike_exp", "avg_xentropy", "sum_weigh_input", "max"])
def test_losses_run(loss: str) -> None:
    """The reference builds no outputs for first_spike, and calls avg_xentropy's loss wrongly."""
    write(users=2)
    p = params(LOSS_TYPE=loss, N_TRAIN=22, N_VALIDATE=22, N_EPOCH=1, HIDDEN_OUTPUT_MEAN=0.5, WRITE_TO_DISK=False)
    mn = DVSG_model(p)
    before = mn.weights()
    mn.train(p)
    assert not any(np.array_equal(w, before[name]) for name, w in mn.weights().items())


@pytest.mark.parametrize(("n", "shape"), [(1, 1), (2, 2), (5, 6), (99, 12)])
def test_examples_of_a_class(n: int, shape: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference's plot_examples fails for one example and for one row of them, and prints the whole data set."""
    write()
    mn = DVSG_model(params())
    capsys.readouterr()
    axes = mn.plot_examples(2, n, "test").axes
    assert capsys.readouterr().out == "" and len(axes) == shape
    shown = [ax for ax in axes if ax.lines]
    assert len(shown) == min(n, 10)
    steps, channels = mn.data.test.spikes.sample(int(np.flatnonzero(mn.data.test.labels == 2)[0]))
    t, ids = shown[0].lines[0].get_data()
    assert np.array_equal(t, steps * mn.p["DT_MS"]) and np.array_equal(ids, channels)


def test_examples_that_are_not_there() -> None:
    write(users=1)
    mn = DVSG_model(params())
    for arguments, message in (
        ((11,), "no train sample is of class 11; there are samples of 0, 1, 2"),
        ((0, 0), "n=0 must be at least 1"),
        ((0, 4, "eval"), 'phase=\'eval\' is not there; "train", "test" would be right'),
        ((0, 4, "validation"), "phase='validation' is not there"),
    ):
        with pytest.raises(ValueError, match=message):
            mn.plot_examples(*arguments)


def test_classes_left_out() -> None:
    """Labels keep their numbers, in all parts."""
    write()
    p = params(REDUCED_CLASSES=[2, 9], N_TRAIN=15, N_VALIDATE=5, N_EPOCH=1)
    mn = DVSG_model(p)
    mn.train(p)
    assert mn.evaluated is not None and set(mn.evaluated[1].labels.tolist()) <= {2, 9}
    assert set(mn.test_file(mn.p).labels.tolist()) == {2, 9}


def test_users_left_out() -> None:
    """Validation is all of one user, of whom nothing trains; cross-validation does so for each that is named."""
    write()
    p = params(EVALUATION="user", SPEAKER_LEFT=[3, 0], N_EPOCH=1)
    mn = DVSG_model(p)
    mn.train(p)
    assert mn.evaluated is not None
    chosen = mn.evaluated[0]
    assert chosen.part.speakers is not None and set(chosen.part.speakers[chosen.indices].tolist()) == {4}
    assert len(chosen) == 22
    accuracies, seconds = mn.cross_validate(p)
    assert len(accuracies) == len(seconds) == 2
    table = Path("test_folds.csv").read_text().split("\n")
    assert table[0].startswith("user_left,training,validation") and table[1].startswith("3,88,22")
    assert Path("test_f0_state_last.npz").is_file() and Path("test_f3_state_last.npz").is_file()
    with pytest.raises(ValueError, match="SPEAKER_LEFT has 5"):
        mn.cross_validate({**p, "SPEAKER_LEFT": [5]})


def test_nobody_is_left() -> None:
    """Told before anything is trained: the only user left out, or a class that the user left out has not."""
    write(users=1)
    mn = DVSG_model(params(EVALUATION="user"))
    with pytest.raises(ValueError, match=r"number 0 of SPEAKER_LEFT .*user 1\) there are 0 samples.*train with"):
        mn.train(mn.p)
    write(users=3)
    for path in Path("data").rglob("user02*/5.npy"):
        path.unlink()
    p = params(SPEAKER_LEFT=[0, 1], REDUCED_CLASSES=[5])
    with pytest.raises(ValueError, match=r"user 2\) there are 4 samples, of that one 0 \(classes 5\).*validate with"):
        DVSG_model(p).cross_validate(p)
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_nobody_in_nmnist() -> None:
    folder = Path("data/Train/3")
    folder.mkdir(parents=True)
    (folder / "1.bin").write_bytes(bytes([1, 2, 0, 3, 4]))
    Path("data/Test/3").mkdir(parents=True)
    (Path("data/Test/3") / "1.bin").write_bytes(bytes([1, 2, 0, 3, 4]))
    p = params(DATA_SET="NMNIST")
    with pytest.raises(ValueError, match=r"names no speakers or users, so none can be left out.*no cross-validation"):
        DVSG_model(p).cross_validate(p)
    with pytest.raises(ValueError, match=r"names no users(.|\n)*moves channels along a line"):
        DVSG_model({**p, "EVALUATION": "user", "AUGMENTATION": {"ID_jitter": 1.0}})


# Keys


def test_defaults() -> None:
    """Those that published scripts know, but for the step and trial, whose 180,000 steps nothing could count."""
    known = {"N_TRAIN": 1045, "N_VALIDATE": 32, "N_EPOCH": 100, "N_BATCH": 32, "NUM_HIDDEN": 256, "RECURRENT": False}
    known |= {"TAU_MEM": 20.0, "TAU_SYN": 5.0, "V_THRESH": 1.0, "V_RESET": 0.0, "PDROP_INPUT": 0.1, "PDROP_HIDDEN": 0.0}
    known |= {"INPUT_HIDDEN_MEAN": 0.02, "INPUT_HIDDEN_STD": 0.01, "HIDDEN_OUTPUT_MEAN": 0.0, "HIDDEN_OUTPUT_STD": 0.3}
    known |= {"HIDDEN_HIDDEN_MEAN": 0.0, "HIDDEN_HIDDEN_STD": 0.02, "REG_TYPE": "none", "NU_UPPER": 14, "ETA": 1e-3}
    known |= {"LBD_UPPER": 2e-9, "LBD_LOWER": 2e-9, "RHO_UPPER": 1e4, "GLB_UPPER": 1e-8, "LOSS_TYPE": "sum_weigh_exp"}
    known |= {"TAU_0": 0.5, "ALPHA": 3e-3, "TAU_ACCUMULATOR": 20.0, "EVALUATION": "random", "N_MAX_SPIKE": 3000}
    known |= {"TRAIN_DATA_SEED": 123, "TEST_DATA_SEED": 456, "SHUFFLE": True, "REDUCED_CLASSES": None}
    ours = {"DT_MS": 1.0, "TRIAL_MS": 2000.0, "T_START_MS": 0.0, "RESCALE_T": 1.0, "DOWNSAMPLE": None}
    p = simulator_DVS_gesture.p
    assert {key: p[key] for key in known | ours} == known | ours
    assert DVSG_model(params(DATA_SET="DEMO", WRITE_TO_DISK=False, TRIAL_MS=500.0)).p["DOWNSAMPLE"] == 4


@pytest.mark.parametrize(
    ("key", "value", "needs"),
    [
        ("T_START_MS", 20.0, {}),
        ("RESCALE_T", 0.5, {}),
        ("DOWNSAMPLE", 16, {}),
        ("EVENT_THRESHOLD", 2, {"DOWNSAMPLE": 32, "INPUT_HIDDEN_MEAN": 2.0}),
        ("EVALUATION", "user", {}),
        ("SPEAKER_LEFT", [2], {"EVALUATION": "user"}),
        ("ETA_DECAY", 0.5, {}),
        ("AUGMENTATION", {"random_shift_xy": 2}, {}),
    ],
)
def test_each_key_does_something(key: str, value: Any, needs: dict[str, Any]) -> None:
    write()
    ends = []
    for change in ({}, {key: value}):
        p = params(N_EPOCH=2, WRITE_TO_DISK=False, **{**needs, **change})
        mn = DVSG_model(p)
        mn.train(p)
        ends.append(mn.weights()["in_to_hid"])
    assert ends[0].shape != ends[1].shape or not np.array_equal(*ends)


def test_every_own_key_is_tried() -> None:
    tried = {"T_START_MS", "RESCALE_T", "DOWNSAMPLE", "EVENT_THRESHOLD", "EVALUATION", "SPEAKER_LEFT"}
    assert {key.name for key in dvs_parameters.OWN} == tried | {"DATA_SET"}


# The synthetic set


def test_demo_gestures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in memory and from its files; test users do not train."""
    monkeypatch.setattr(gestures, "USERS", {"train": range(1, 3), "test": range(24, 25)})
    p = params(DATA_SET="DEMO", TRIAL_MS=1000.0, WRITE_TO_DISK=False)
    memory = DVSG_model(p).data
    assert not Path("data").exists()
    made = DVSG_model({**p, "WRITE_TO_DISK": True}).data
    for part, twin in ((memory.train, made.train), (memory.test, made.test)):
        assert np.array_equal(part.spikes.channels, twin.spikes.channels)
        assert np.array_equal(part.labels, twin.labels)
    assert len(made.train.labels) == 66 and made.num_channels == 2048
    assert made.train.speakers is not None and made.test.speakers is not None
    assert not set(made.train.speakers) & set(made.test.speakers)


@pytest.mark.skipif(not NMNIST.is_dir(), reason="the real recordings are not at hand")
def test_real_nmnist() -> None:
    p = params(DATA_SET="NMNIST", DATA_DIR=str(NMNIST), TRIAL_MS=310.0, DOWNSAMPLE=2, N_TRAIN=300, N_VALIDATE=100)
    mn = DVSG_model({**p, "INPUT_HIDDEN_MEAN": 0.02, "INPUT_HIDDEN_STD": 0.05, "N_EPOCH": 3})
    assert np.bincount(mn.data.train.labels).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    assert np.bincount(mn.data.test.labels).tolist() == [8, 14, 8, 11, 14, 7, 10, 15, 2, 11]
    found = dvs_files.find_nmnist(NMNIST / "Train")
    assert (
        sum(dvs_files.read_bin(r.path).x.size for r in found[:3]) == sum(r.path.stat().st_size for r in found[:3]) // 5
    )
    assert mn.train({**mn.p}).correct_eval > 0.3
