"""The command line as it is used: number forms, encodings, readers that go, pictures that fail, saved settings."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import cli, texts
from eventprop.parameters import declaration as parameters
from eventprop.parameters.shd import ALIASES, KEYS
from eventprop.simulators import recipes
from simulator_SHD import SHD_model
from tests.support.places import ROOT

SMALL = [
    "N_TRAIN=64",
    "N_TEST=20",
    "N_EPOCH=1",
    "NUM_HIDDEN=10",
    "DT_MS=1",
    "NUM_THREADS=1",
    "OUT_DIR=out",
    "TIMING=False",
]
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(
    *words: str, script: str = "train_yinyang.py", stdout: Any = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """A script, or a module of this project's, in a process of its own."""
    program = [str(ROOT / script)] if script.endswith(".py") else ["-m", script]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *program, *words], env=env, stdout=stdout, stderr=subprocess.PIPE)


# Words


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[
            ("ETA=.001", 0.001),
            ("ETA=+0.01", 0.01),
            ("ETA=1.", 1.0),
            ("ETA=1e-3", 1e-3),
            ("ETA= 2 ", 2),
            ("ETA=-1", -1),
        ],
        *[("N_EPOCH=1e3", 1000.0), ("N_EPOCH=+7", 7), ("N_EPOCH=7.5", 7.5), ("N_EPOCH=many", "many")],
        *[
            ("NAME=2024", "2024"),
            ("NAME=1e3", "1e3"),
            ("NAME=true", "true"),
            ("NAME=None", "None"),
            ("NAME=[1]", "[1]"),
        ],
        *[('NAME="a b"', "a b"), ("NAME=a=b", "a=b"), ("OUT_DIR=007", "007"), ("CHECKPOINT_NAME=null", None)],
        *[("CHECKPOINT_NAME=12", "12"), ("DATASET=DEMO", "DEMO"), ("LOSS_TYPE=sum", "sum")],
        *[("RECURRENT=true", True), ("RECURRENT=True", True), ("RECURRENT=TRUE", True), ("RECURRENT=fALSE", False)],
        *[("RECURRENT=yes", "yes"), ("MODEL_SEED=null", None), ("MODEL_SEED=None", None), ("MODEL_SEED=NONE", None)],
        *[
            ("SPEAKER_LEFT=3", 3),
            ("SPEAKER_LEFT=[0, 1]", [0, 1]),
            ("SPEAKER_LEFT=0,1", (0, 1)),
            ("AUGMENTATION=[]", []),
        ],
        *[("AUGMENTATION={'random_shift': 4.0}", {"random_shift": 4.0}), ('REC_SPIKES=["input"]', ["input"])],
        *[("REC_NEURONS=[('hidden', 'V')]", [("hidden", "V")]), ("REC_SPIKES=input", "input"), ("TRAIL_MS=5.", 5.0)],
    ],
)
def test_values_are_read_by_the_kind_of_their_key(word: str, value: Any) -> None:
    found = parameters.parse_settings([word], KEYS, ALIASES)[word.split("=")[0]]
    assert found == value and type(found) is type(value)


def test_a_value_nested_without_end_is_named() -> None:
    with pytest.raises(ValueError, match="the value of AUGMENTATION is nested too deeply"):
        parameters.parse_settings(["AUGMENTATION=" + "[" * 100_000], KEYS)
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(ValueError, match="AUGMENTATION is nested too deeply, or holds itself"):
        SHD_model({"AUGMENTATION": {"blend": itself}})


ORDERS = [
    ["train", *SMALL, "--seeds", "3", "1"],
    ["--seeds", "3", "1", "train", *SMALL],
    ["--seeds", "3", "1", *SMALL, "train"],
    [*SMALL, "--seeds", "3", "1", "--recipe", "quick"],
]


@pytest.mark.parametrize("words", ORDERS, ids=range(len(ORDERS)))
def test_seeds_before_and_after_other_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """argparse alone takes every word after --seeds for a seed."""
    assert cli.main("yinyang", [*words, "NAME=x", "FANCY_PLOTS=false", "TRAINING_PLOT=false"]) == 0
    assert {path.name for path in Path("out").glob("*_last.npz")} == {"x_s1_state_last.npz", "x_s3_state_last.npz"}
    with Path("out/x_seeds.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["3", "1", "mean", "s.d."]
    what = "test" if "--recipe" in words else "training"
    assert f"{what} accuracy of the last epoch, 2 seeds: mean" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "one"], "--seeds must be whole numbers, got one"),
        (["--seeds", "1.5"], "--seeds must be whole numbers, got 1.5"),
        (["--seeds", "1", "trian"], "there is no mode 'trian'"),
        (["train", "test"], "'test' is not of the form KEY=VALUE"),
        (["=3"], "'=3' is not of the form KEY=VALUE"),
        (["METHOD=cross"], "METHOD='cross' is not one of 'train', 'test', 'train_test'"),
        (["--params", ""], ". is a folder, and must be a file"),
        (["--recipe", ""], "there is no recipe ''"),
        (["--seeds", "1", "1000000", f"NAME={'a' * 175}"], "has 184"),
    ],
)
def test_words_that_make_no_sense(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main("yinyang", [*words, *SMALL]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not Path("out").exists()


def test_without_validation_nothing_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main("yinyang", ["train", *SMALL]) == 0
    assert "no validation samples (N_VALIDATE=0); training accuracy" in capsys.readouterr().out
    assert cli.main("yinyang", ["train", *SMALL, "--seeds", "1", "2"]) == 0
    said = capsys.readouterr().out
    assert "no validation samples (N_VALIDATE=0)\ntraining accuracy of the last epoch, 2 seeds: mean" in said
    assert cli.main("yinyang", ["train", *SMALL, "N_VALIDATE=40", "NAME=v"]) == 0
    assert "\nvalidation accuracy" in capsys.readouterr().out
    assert cli.main("yinyang", ["train", *SMALL, "N_VALIDATE=40", "NAME=v", "LOAD_LAST=true"]) == 0
    assert "\nvalidation accuracy" in capsys.readouterr().out  # of the epoch that was done before


# Methods


def test_the_method_is_the_recipes_unless_another_is_given() -> None:
    """Order of precedence: a word, KEY=VALUE, a file, the recipe, train."""
    Path("mine.toml").write_text('method = "train_test"\n[p]\nN_TRAIN = 32\nMODEL_SEED = "None"\n')
    Path("p.json").write_text(json.dumps({"METHOD": "test"}))

    def mode(*words: str) -> str:
        options = cli._parser("x", cli.registry.find("yinyang")).parse_intermixed_args(words)
        found, p, _ = cli._settings(options, cli.registry.find("yinyang"))
        assert p["METHOD"] == found and p["MODEL_SEED"] is None
        return found

    assert mode() == "train"
    assert mode("--recipe", "mine.toml") == "train_test"
    assert mode("--recipe", "mine.toml", "--params", "p.json") == "test"
    assert mode("--recipe", "mine.toml", "METHOD=train") == "train"
    assert mode("--params", "p.json", "METHOD=None") == "train"
    assert mode("--params", "p.json", "METHOD=train_test", "train") == "train"


@pytest.mark.parametrize("method", ['"trian"', '"cross_validate"', "3"])
def test_a_recipe_of_another_method(method: str) -> None:
    Path("mine.toml").write_text(f"method = {method}\n[p]\n")
    with pytest.raises(ValueError, match=r"mine\.toml: method"):
        recipes.load_recipe("mine.toml", "yinyang")


def test_what_is_wrong_in_a_file_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """And what is wrong in the command's own words, or put right by them, does not."""
    Path("mine.toml").write_text("[p]\nETTA = 0.1\nN_BATCH = -1\nDT_MS = 3.5\n")
    Path("mine.json").write_text('{"ALPHA": "x"}')
    words = ["--recipe", "mine.toml", "--params", "mine.json", "ETA=y", "DT_MS=1.0"]
    assert cli.main("yinyang", words) == 1
    (error,) = capsys.readouterr().err.splitlines()
    told = sorted(error.removeprefix("train_yinyang.py: error: ").split("; "))
    assert len(told) == 5 and told[0] == "ETA must be a number, got 'y'" and told[1] == "did you mean ETA?"
    assert told[2] == "mine.json: ALPHA must be a number, got 'x'"
    assert told[3] == "mine.toml: N_BATCH must be at least 1, got -1" and told[4] == "mine.toml: unknown key 'ETTA'"
    assert cli.main("yinyang", ["ETA=y"]) == 1
    assert capsys.readouterr().err == "train_yinyang.py: error: ETA must be a number, got 'y'\n"


@pytest.mark.parametrize("name", [(n, r) for n in cli.registry.BENCHMARKS for r in recipes.list_recipes(n)], ids=str)
def test_every_recipe_names_its_method(name: tuple[str, str]) -> None:
    recipe = recipes.load_recipe(name[1], name[0])
    assert recipe.method in ("train", "train_test") and recipes.apply({}, recipe)["METHOD"] == recipe.method


def test_saved_settings_repeat_a_run(small_data: Path) -> None:
    """The number of samples, the method and the drawn seeds are those of the run; another step is possible."""
    words = [f"DATA_DIR={small_data}", "NUM_HIDDEN=12", "DT_MS=5", "TRIAL_MS=700", "N_EPOCH=2", "OUT_DIR=out"]
    words += ["INPUT_HIDDEN_MEAN=0.1", "NAME=first", "METHOD=train_test"]
    assert cli.main("SHD", words) == 0
    saved = json.loads(Path("out/first.json").read_text())
    assert (saved["METHOD"], saved["N_TRAIN"], type(saved["MODEL_SEED"])) == ("train_test", 120, int)
    assert cli.main("SHD", ["--params", "out/first.json", "NAME=second"]) == 0
    first, second = (np.load(f"out/{name}_w_input_hidden_last.npy") for name in ("first", "second"))
    assert np.array_equal(first, second)
    assert cli.main("SHD", ["--params", "out/first.json", "NAME=third", "DT_MS=10", "TAU_SYN=10"]) == 0
    assert cli.main("SHD", ["--params", "out/first.json", "NAME=half", "N_EPOCH=1"]) == 0
    assert cli.main("SHD", ["--params", "out/half.json", "N_EPOCH=2", "LOAD_LAST=true"]) == 0
    saved = json.loads(Path("out/half.json").read_text())
    assert saved == {**json.loads(Path("out/first.json").read_text()), "NAME": "half"}  # LOAD_LAST would repeat nothing


# Files that hold settings

GOOD = json.dumps(
    {"N_TRAIN": 64, "N_TEST": 20, "N_EPOCH": 1, "NUM_HIDDEN": 10, "DT_MS": 1, "NAME": "é", "OUT_DIR": "out"}
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(encoding: str) -> None:
    Path("p.json").write_bytes(json.dumps(json.loads(GOOD), ensure_ascii=False).encode(encoding))
    assert cli.main("yinyang", ["--params", "p.json"]) == 0 and Path("out/é.json").exists()
    Path("mine.toml").write_bytes('why = "für später"\r\n[p]\r\nETA = 0.1\r\n'.encode(encoding))
    assert recipes.load_recipe("mine.toml").reason == "für später"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


NOT_SETTINGS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("missing", lambda path: None, "No such file or directory: '{}'"),
    ("folder", lambda path: path.mkdir(), "{} is a folder, and must be a file"),
    ("pipe", _pipe, "{} is a pipe, and must be a file"),
    ("dangling", lambda path: path.symlink_to("nowhere"), "No such file or directory: '{}'"),
    ("loop", lambda path: path.symlink_to(path), "{} cannot be read"),
    ("binary", lambda path: path.write_bytes(bytes(range(256))), "{} is not text in UTF-8"),
    ("list", lambda path: path.write_text("[1, 2"), "{}"),
    ("Latin-1", lambda path: path.write_bytes('{"NAME": "é"}'.encode("latin-1")), "{} is not text in UTF-8"),
    ("no mark", lambda path: path.write_bytes('{"NAME": "a"}'.encode("utf-16-le")), "{}"),
    ("nested", lambda path: path.write_text("a=" * path.name.endswith("l") + "[" * 100_000), "{}*nested too deeply"),
    (
        "deep",
        lambda path: path.write_text("a=" * path.name.endswith("l") + "[" * 60 + "]" * 60),
        "{}*nested too deeply",
    ),
    ("digits", lambda path: path.write_text('{"ETA": ' + "1" * 5000 + "}"), "{}"),
    ("huge", lambda path: (path.touch(), os.truncate(path, 1 << 34)), "{} has 16384 MB, and is no file of settings"),
    ("twice", lambda path: path.write_text('{"ETA": 1, "ETA": 2}'), "{}"),
]


@pytest.mark.parametrize("suffix", ["json", "toml"])
@pytest.mark.parametrize(("make", "message"), [n[1:] for n in NOT_SETTINGS], ids=[n[0] for n in NOT_SETTINGS])
def test_what_is_no_file_of_settings(suffix: str, make: Callable[[Path], Any], message: str) -> None:
    """One line that names the file; nothing waits for a pipe, and nothing reads a device to its end."""
    path = Path(f"settings.{suffix}")
    make(path)
    with pytest.raises((ValueError, OSError)) as error:
        (texts.read_json if suffix == "json" else texts.read_toml)(path)
    assert "\n" not in str(error.value)
    for part in message.format(path).split("*"):
        assert part in str(error.value)


def test_params_says_each_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.json").write_text("[" * 100_000)
    Path("r.toml").write_text("[p]\n")
    for file, message in (("p.json", "nested too deeply"), (".", "folder"), ("r.toml", "a recipe, in TOML, is for")):
        assert cli.main("yinyang", ["--params", file]) == 1
        error = capsys.readouterr().err
        assert error.startswith("train_yinyang.py: error: ") and message in error and error.count("\n") == 1


# Names and places

REFUSED = ["", " ", "a/b", "a\\b", ".", "..", ".hidden", "x.", " x", "x ", "CON", "nul.1", "com1", "LPT9.x", "CONIN$"]
REFUSED += [f"a{c}b" for c in ':*?"<>|\t\n\r\0\x1b\x7f\x85\u2028\ud800'] + ["a" * 181, "ü" * 91, "𝄞" * 46]
TAKEN = ["-x", "2024 a.b", "größe-数据", "[x]", "it's a{b}%c $HOME", "ü" * 90]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_names_that_some_file_system_does_not_take(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at construction, not after an epoch."""
    monkeypatch.setattr(SHD_model, "load_data", lambda *_: pytest.fail("data was loaded"))
    with pytest.raises(ValueError, match=r"NAME=(.|\n)* must be a file name"):
        SHD_model({"NAME": name})


@pytest.mark.parametrize("name", TAKEN)
def test_names_that_all_file_systems_take(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file of the run is there, and is listed."""
    more = ["COLLECT_CONFUSION=true", "REC_PREDICTIONS=true", "TRAINING_PLOT=true", "FANCY_PLOTS=true", "N_VALIDATE=9"]
    more += [
        "N_HID_LAYER=2",
        "HIDDEN_NEURON_TYPE=ALIF",
        "TRAIN_TAU=true",
        "TRAIN_TAU_B=true",
        "CHECKPOINT_BEST=training",
    ]
    assert cli.main("yinyang", ["train", *SMALL, *more, f"NAME={name}"]) == 0
    listed = capsys.readouterr().out.split("In out:\n")[1].splitlines()
    there = {path.name for path in Path("out").iterdir() if not path.name.startswith(".")}
    assert len(there) > 20 and there == {line[2:].split("  ")[0] for line in listed}
    assert max(len(os.fsencode(f".{file}.part")) for file in there) <= 240


def test_the_file_systems_encoding_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an ASCII locale names of others are refused; folders that cannot be named are too."""
    monkeypatch.setattr("os.fsencode", lambda text: text.encode("ascii"))
    with pytest.raises(ValueError, match="NAME='é' must be a file name in the file system's encoding"):
        SHD_model({"NAME": "é"})
    for key in ("OUT_DIR", "DATA_DIR", "DATA_BUFFER_NAME"):
        for path in ("a\0b", "é"):
            with pytest.raises(ValueError, match=f"{key}=.* must be a path"):
                SHD_model({key: path})


# Terminals


# Pictures
