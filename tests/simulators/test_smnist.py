"""Sequential MNIST: the codes against their rules, slowly; files, splits and a short training on digits made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SMNIST
from eventprop import cli
from eventprop.data import smnist
from eventprop.data.smnist import Code
from eventprop.parameters import shared as keys
from eventprop.parameters import smnist as smnist_parameters
from eventprop.simulators import recipes, registry
from eventprop.training import checkpoint
from simulator_SMNIST import SMNIST_model
from tests.parameters.test_keys import check
from tests.simulators.test_mnist import idx, write
from tests.support.places import SHARED_DATA

CODE = Code("thresholds", 99, True, 2.0)
# Two pixels in a step, few thresholds: a trial of 200 steps.
SMALL: dict[str, Any] = {"N_TRAIN": 200, "N_VALIDATE": 60, "N_TEST": 40, "N_EPOCH": 2, "NUM_HIDDEN": 40, "N_BATCH": 16}
SMALL |= {"MODEL_SEED": 2, "TIMING": False, "NUM_THREADS": 1, "NUM_INPUT": 15, "DUPLICATE": False}
SMALL |= {"DT_MS": 8.0, "TAU_SYN": 16.0, "TAU_MEM": 40.0, "INPUT_HIDDEN_MEAN": 0.1, "INPUT_HIDDEN_STD": 0.2}
SMALL |= {"LOSS_TYPE": "sum", "ETA": 0.01, "N_INPUT_DELAY": 0}


def write_stripes(folder: Path) -> None:
    """300 and 60 images of vertical stripes; the class is their grey level and width; where they begin is random."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for part, n in (("train", 300), ("t10k", 60)):
        labels = np.arange(n) % 10
        images = np.zeros((n, 28, 28))
        for image, label in zip(images, labels, strict=True):
            width, first = 2 + 4 * (label // 5), rng.integers(1, 4)
            stripes = (np.arange(28) - first) // width % 2 == 0
            image[4:24, stripes] = 60 + 45 * (label % 5) + rng.integers(-8, 9)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))


def params(**change: Any) -> dict[str, Any]:
    return {**simulator_SMNIST.p, "DATA_DIR": "data", **SMALL, **change}


def test_files_as_tonic_places_them() -> None:
    """Its folder has another name, and its files are not compressed."""
    write(Path("data/smnist"), 20, 10, compressed=False)
    mn = SMNIST_model(params())
    assert (len(mn.data.train.labels), len(mn.data.test.labels)) == (20, 10)
    assert (mn.data.num_channels, mn.data.num_classes) == (15, 10)
    assert SMNIST_model(params(ENCODING="rows")).data.num_channels == 28


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"RECURRENT": True, "HIDDEN_NEURON_TYPE": "ALIF", "REG_TYPE": "simple", "SHUFFLE": False},
        {"ENCODING": "rows", "N_INPUT_DELAY": 2},
    ],
)
def test_learns_stripes(change: dict[str, Any]) -> None:
    """For a scan, stripes of five levels, wide or narrow (to tell where a bar is takes a clock); for rows, bars."""
    (write if change.get("ENCODING") == "rows" else write_stripes)(Path("data/MNIST"))
    p = params(N_TRAIN=240, N_EPOCH=10, NUM_HIDDEN=60, N_BATCH=8, PDROP_INPUT=0.0, **change)
    mn = SMNIST_model(p)
    *_, correct, correct_eval = mn.train(p)
    assert correct > 0.9 and correct_eval > 0.9
    before = {name: w.copy() for name, w in mn.weights().items()}
    assert mn.test(p).correct_eval > 0.9
    assert all(np.array_equal(w, before[name]) for name, w in mn.weights().items())


@pytest.mark.filterwarnings("ignore:no(ne of the .* neurons of hidden0| output neuron) spiked")
def test_test_leaves_the_checkpoint() -> None:
    """The reference's test rewires silent neurons and writes over the checkpoint; and it starts without labels."""
    write(Path("data/MNIST"))
    p = params(REWIRE_SILENT=True, INPUT_HIDDEN_MEAN=-0.05, INPUT_HIDDEN_STD=0.1)
    mn = SMNIST_model(p)
    mn.train(p)
    path = checkpoint.checkpoint_path(Path(mn.p["OUT_DIR"]), "test", "last")
    there = path.read_bytes()
    losses = [mn.test({**p, "LOAD_LAST": True}), SMNIST_model(p).test({**p, "LOAD_LAST": True})]
    assert path.read_bytes() == there
    assert losses[0].correct_eval == losses[1].correct_eval


@pytest.mark.filterwarnings("ignore:no(ne of the .* neurons of hidden0| output neuron) spiked")
@pytest.mark.parametrize("loss", ["first_spike", "first_spike_exp", "avg_xentropy", "max", "sum_weigh_exp"])
def test_every_loss(loss: str) -> None:
    """In the reference's copy two of them fail at once. Plain defaults, REWIRE_SILENT among them, run."""
    write(Path("data/MNIST"), 80, 20)
    p = params(LOSS_TYPE=loss, N_TRAIN=40, N_VALIDATE=10, N_EPOCH=1, RECURRENT=True, WRITE_TO_DISK=False)
    mn = SMNIST_model(p)
    mn.train(p)
    assert p["REWIRE_SILENT"] and np.isfinite(mn.history[0]["train_loss"])


@pytest.mark.parametrize(
    "augmentation",
    [
        {"random_dilate": [0.8, 1.2]},
        {"ID_jitter": 2.0},
        {"random_shift": 3.0},
        {"random_shift_xy": 3, "random_dilate": [0.8, 1.2]},
    ],
)
def test_augmentations_run(augmentation: dict[str, Any]) -> None:
    """In the reference all of them fail. Samples that are evaluated are not changed."""
    write_stripes(Path("data/MNIST"))
    p = params(N_TRAIN=40, N_VALIDATE=10, N_TEST=20, N_EPOCH=1, WRITE_TO_DISK=False)
    plain, changed = SMNIST_model(p), SMNIST_model({**p, "AUGMENTATION": augmentation})
    losses = {}
    for mn in (plain, changed):
        mn.set_weights(mn.weights())
    for mn, more in ((plain, {}), (changed, {"AUGMENTATION": augmentation})):
        assert mn.test({**p, **more}).correct_eval >= 0
        losses[str(more)] = mn.history[-1]["eval_loss"]
        mn.train({**p, **more})
    assert len(set(losses.values())) == 1
    assert plain.history[0]["train_loss"] != changed.history[0]["train_loss"]
    assert all(np.isfinite(w).all() for w in changed.weights().values())


def test_classes_left_out() -> None:
    write(Path("data/MNIST"))
    p = params(REDUCED_CLASSES=[3, 7], N_TRAIN=30, N_VALIDATE=10, N_TEST=5, WRITE_TO_DISK=False)
    mn = SMNIST_model(p)
    mn.train_test(p)
    assert mn.evaluated is not None and set(mn.evaluated[1].labels.tolist()) <= {3, 7}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"NUM_INPUT": 98}, "NUM_INPUT=98 must be odd; 97 and 99 are"),
        ({"NUM_INPUT": 1}, "NUM_INPUT must be at least 3"),
        ({"NUM_INPUT": "many"}, "NUM_INPUT must be a whole number"),
        ({"ENCODING": "row"}, "ENCODING='row' is not one of 'thresholds', 'rows'; did you mean 'rows'"),
        ({"ENCODING": None, "NUM_INPUT": 4}, "ENCODING must not be None(.|\n)*NUM_INPUT=4 must be odd"),
        ({"PIXEL_MS": 1e300}, "PIXEL_MS must be at most 1e[+]06"),
        ({"PERMUTE": -1}, "PERMUTE must be at least 0"),
        ({"PERMUTE": True}, "PERMUTE must be a whole number"),
        ({"NUM_INPUTS": 99}, "NUM_INPUT"),
        (
            {"AUGMENTATION": {"blend": [0.5, 0.5]}},
            "blend.* adds samples up to N_TRAIN, and all N_TRAIN are in the file",
        ),
        ({"N_INPUT_DELAY": 4500}, "N_INPUT_DELAY=4500 makes 67515 input channels"),
    ],
)
def test_bad_parameters(change: dict[str, Any], message: str) -> None:
    """Before any file is looked for."""
    with pytest.raises(ValueError, match=message):
        SMNIST_model(params(**change))


def test_the_code_is_that_of_the_construction() -> None:
    write(Path("data/MNIST"), 20, 10)
    mn = SMNIST_model(params())
    with pytest.raises(ValueError, match="PERMUTE was None when the data was loaded and is 3 now"):
        mn.test(params(PERMUTE=3))


def test_a_checkpoint_of_another_code_is_said_to_be_one() -> None:
    """Testing with other pixels, or another network, gives a number that means nothing: a line says what differs."""
    write(Path("data/MNIST"), 60, 20)
    p = params(PERMUTE=3, N_TRAIN=30, N_VALIDATE=10, N_TEST=10, N_EPOCH=1)
    SMNIST_model(p).train(p)
    p |= {"LOAD_LAST": True, "ETA": 0.5, "N_TEST": 12}
    SMNIST_model(p).test(p)
    other = {**p, "PERMUTE": None, "TAU_MEM": 50.0}
    with pytest.warns(UserWarning, match=r"settings differ from those of .*PERMUTE 3 -> None") as said:
        SMNIST_model(other).test(other)
    assert "TAU_MEM 40.0 -> 50.0" in str(said[0].message) and "ETA" not in str(said[0].message)


def test_rows_have_no_number_of_thresholds() -> None:
    assert smnist_parameters.resolve_smnist(params(ENCODING="rows", NUM_INPUT=28))["NUM_INPUT"] == 28


def test_paths_of_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder is called ``~``."""
    write(Path("home/data/MNIST"), 60, 20)
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    words = [f"{key}={value}" for key, value in params(N_TRAIN=30, N_VALIDATE=10, N_EPOCH=1).items() if key in SMALL]
    assert cli.main("SMNIST", [*words, "DATA_DIR=~/data", "OUT_DIR=~/runs", "--seeds", "1"]) == 0
    assert Path("home/runs/test_seeds.csv").is_file() and Path("home/runs/test_s1_results.csv").is_file()
    assert [path.name for path in Path().iterdir()] == ["home"]


def test_a_benchmark_without_recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its command line has help and runs."""
    monkeypatch.setitem(registry.BENCHMARKS, "fresh", replace(registry.find("SMNIST"), name="fresh"))
    with pytest.raises(SystemExit) as ended:
        cli.main("fresh", ["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "train_fresh.py train ETA=0.002" in said and "--recipe None" not in said
    write(Path("data/MNIST"), 60, 20)
    words = [f"{key}={value}" for key, value in params(N_TRAIN=30, N_VALIDATE=10, N_EPOCH=1).items() if key in SMALL]
    assert cli.main("fresh", [*words, "DATA_DIR=data"]) == 0
    assert cli.main("fresh", ["--recipe", "quick"]) == 1


def test_images_of_another_size() -> None:
    write(Path("data/MNIST"), 20, 10, compressed=False)
    (Path("data/MNIST") / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((20, 20, 28))))
    with pytest.raises(ValueError, match="images of 20 x 28 pixels"):
        SMNIST_model(params())


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Modes and keys from the registry, recipes by name."""
    write(Path("data/MNIST"), 300, 60)
    words = [f"{key}={value}" for key, value in params(N_EPOCH=1).items() if key in SMALL or key == "DATA_DIR"]
    assert cli.main("SMNIST", ["train", *words]) == 0
    status = cli.main("SMNIST", ["test", "LOAD_LAST=true", *words])
    assert status == 0 and "test accuracy" not in capsys.readouterr().err
    assert cli.main("SMNIST", ["--list-recipes"]) == 0
    assert {"best", "quick"} <= set(capsys.readouterr().out.split())


# By key: another value, and what it takes for it to matter.
OWN: dict[str, tuple[Any, dict[str, Any]]] = {
    "N_TEST": (19, {}),
    "ENCODING": ("rows", {}),
    "NUM_INPUT": (21, {}),
    "DUPLICATE": (True, {"DT_MS": 1.0}),
    "PIXEL_MS": (1.5, {}),
    "PERMUTE": (5, {}),
}


@pytest.mark.filterwarnings("ignore:no(ne of the .* neurons of hidden0| output neuron) spiked")
@pytest.mark.parametrize(
    "key", [*OWN, "ETA_DECAY", "AUGMENTATION", "DT_MS", "TRIAL_MS", "N_VALIDATE", "REDUCED_CLASSES"]
)
def test_each_key_does_something(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another value a small run ends otherwise; keys that all share are tried in parameters/test_keys.py."""
    write(Path("data/MNIST"), 120, 40)
    shared = {
        "DT_MS": 4.0,
        "TRIAL_MS": 1800.0,
        "N_VALIDATE": 15,
        "REDUCED_CLASSES": list(range(2, 9)),
        "ETA_DECAY": 0.5,
    }
    shared |= {"AUGMENTATION": {"ID_jitter": 2.0}}
    table = {**OWN, **{name: (value, {}) for name, value in shared.items()}}
    base = params(N_TRAIN=48, N_VALIDATE=20, N_TEST=20, DATA_DIR=str(Path("data").absolute()))
    check(simulator_SMNIST, SMNIST_model, table, key, base, monkeypatch)


def test_no_own_key_is_left_out() -> None:
    own = {key.name for key in smnist_parameters.KEYS} - {key.name for key in keys.SHARED}
    assert own == set(OWN) | {"EVALUATION"}  # of which there is one value


def test_defaults() -> None:
    """Those of the published program, but for a step of 1 ms and a trial that shows all pixels."""
    expected: dict[str, Any] = {"N_BATCH": 32, "N_TRAIN": 55000, "N_VALIDATE": 5000, "N_EPOCH": 100, "NUM_HIDDEN": 256}
    expected |= {"RECURRENT": False, "INPUT_HIDDEN_MEAN": 0.02, "INPUT_HIDDEN_STD": 0.01, "HIDDEN_OUTPUT_MEAN": 0.0}
    expected |= {"HIDDEN_OUTPUT_STD": 0.3, "REG_TYPE": "none", "LBD_UPPER": 2e-9, "LBD_LOWER": 2e-9, "NU_UPPER": 14}
    expected |= {"ETA": 1e-3, "REWIRE_SILENT": True, "AVG_SNSUM": False, "LOSS_TYPE": "sum_weigh_exp"}
    expected |= {"N_MAX_SPIKE": 1500, "TAU_MEM": 20.0, "TAU_SYN": 5.0, "PDROP_INPUT": 0.1, "PDROP_HIDDEN": 0.0}
    expected |= {"DT_MS": 1.0, "TRIAL_MS": 1600.0, "NUM_INPUT": 99, "DUPLICATE": True, "PIXEL_MS": 2.0}
    assert {key: simulator_SMNIST.p[key] for key in expected} == expected


@pytest.mark.parametrize("name", recipes.list_recipes("SMNIST"))
def test_recipes(name: str) -> None:
    """Each is what the simulator takes, without a warning."""
    recipe = recipes.load_recipe(name, "SMNIST")
    assert recipe.reason and recipe.expect and recipe.source
    smnist_parameters.resolve_smnist(recipes.apply(simulator_SMNIST.p, recipe))


@pytest.mark.skipif(not (SHARED_DATA / "MNIST").is_dir(), reason="the real files are not at hand")
def test_real_files() -> None:
    data = smnist.load_smnist(SHARED_DATA, Code("thresholds", 15, False, 2.0), 8.0, 1600.0)
    assert (len(data.train.labels), len(data.train.spikes)) == (60000, 60000)
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
