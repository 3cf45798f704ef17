"""The program ``eventprop``: it trains and tests as the scripts do, and lists what runs there are."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import __main__ as program
from eventprop import cli
from eventprop.reports.results import COLUMNS, RunFiles
from tests.support.places import ROOT

SMALL = ["N_TRAIN=96", "N_TEST=32", "N_EPOCH=2", "NUM_HIDDEN=10", "DT_MS=1", "NUM_THREADS=1", "TIMING=false"]
SMALL += ["OUT_DIR=out", "MODEL_SEED=1"]


def train(*words: str) -> None:
    assert program.main(["train", "yinyang", *SMALL, *words]) == 0


def weights(name: str, folder: str = "out") -> bytes:
    return Path(folder, f"{name}_w_input_hidden_last.npy").read_bytes()


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert program.main(["runs", *words]) == 0
    return capsys.readouterr().out


# Training and testing


def test_it_trains_and_tests_as_the_script_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if the recipe's mode, words or the exit status are lost on the way."""
    train("--recipe", "quick", "NAME=a")
    assert cli.main("yinyang", ["--recipe", "quick", *SMALL, "NAME=b"]) == 0
    assert weights("a") == weights("b")
    assert json.loads(Path("out/a.json").read_text())["METHOD"] == json.loads(Path("out/b.json").read_text())["METHOD"]
    capsys.readouterr()
    assert program.main(["test", "yinyang", "--params", "out/a.json", "LOAD_LAST=true"]) == 0
    assert re.search(r"test accuracy [\d.]+% of 32 samples", capsys.readouterr().out)
    assert program.main(["train", "yinyang", "NUM_HIDEN=3"]) == 1
    assert "eventprop train yinyang: error: unknown key 'NUM_HIDEN'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["train"], 2, "benchmarks: SHD, "),
        (["test", "--help"], 0, "benchmarks: SHD, "),
        (["train", "yin"], 1, "train: error: there is no simulator 'yin'; there are: SHD.*did you mean yinyang"),
    ],
)
def test_benchmarks_are_named(words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words) == status
    assert re.search(says, "".join(capsys.readouterr()))


def test_help_names_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Examples can be typed as they are."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/eventprop"])
    with pytest.raises(SystemExit):
        program.main(["train", "SHD", "--help"])
    shown = capsys.readouterr().out
    assert "\n  eventprop train SHD --recipe demo\n" in shown and "\n  eventprop test SHD --params" in shown
    with pytest.raises(SystemExit):
        program.main(["--help"])
    assert re.search(r"usage: eventprop .*{train,test,runs,", capsys.readouterr().out, re.DOTALL)


def test_it_is_installed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'eventprop = "eventprop.__main__:main"' in text and 'attr = "eventprop.__version__"' in text


# What a run was


def test_a_run_is_repeated_from_its_parameters() -> None:
    """Seeds that were drawn included: the same bits, rows and settings; the story tells of both processes."""
    train("NAME=k", "MODEL_SEED=None", "TRAIN_DATA_SEED=None")
    assert program.main(["train", "yinyang", "--params", "out/k.json", "OUT_DIR=again"]) == 0
    assert weights("k") == weights("k", "again")
    rows = [
        [line.split(",") for line in Path(folder, "k_results.csv").read_text().splitlines()]
        for folder in ("out", "again")
    ]
    time = rows[0][0].index("seconds")
    for first, second in zip(*rows, strict=True):
        assert first[:time] + first[time + 1 :] == second[:time] + second[time + 1 :]
    assert program.main(["train", "yinyang", "--params", "out/k.json", "N_EPOCH=3", "LOAD_LAST=true"]) == 0
    story = json.loads(Path("out/k_run.json").read_text())
    assert story["data"] == {"name": "Yin-Yang", "channels": 5, "classes": 3, "training": 96, "evaluation": 0}
    assert [process["from_epoch"] for process in story["processes"]] == [0, 2] and story["epochs"] == 3
    for process in story["processes"]:
        assert process["ended"] >= process["started"] and process["seconds"] > 0
        assert process["machine"]["cores"] >= 1 and process["backend"] == "cpu" and process["threads"] == 1


def test_rows_say_where_they_are_from() -> None:
    train("NAME=k", "N_VALIDATE=32")
    assert program.main(["test", "yinyang", "--params", "out/k.json", "LOAD_LAST=true"]) == 0
    assert program.main(["train", "yinyang", *SMALL, "train_test", "NAME=k", "ETA=0.01", "TRAIN_DATA_SEED=7"]) == 0
    head, *lines = (line.split(",") for line in Path("out/k_results.csv").read_text().splitlines())
    assert head == COLUMNS
    found = [dict(zip(head, line, strict=True)) for line in lines]
    assert [(r["method"], r["seed"], r["data_seed"]) for r in found] == [
        *[("train", "1", "123")] * 2,
        ("test", "1", "123"),
        *[("train_test", "1", "7")] * 2,
    ]
    settings = [r["settings"] for r in found]
    assert settings[0] == settings[1] != settings[3] == settings[4] and re.fullmatch("x[0-9a-f]{8}", settings[0])


def test_a_table_of_an_earlier_version_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if rows have other columns than the heading, or a resumed run does not find its own."""
    train("NAME=k")
    old = Path("out/k_results.csv")
    cut = COLUMNS.index("seconds") + 1
    old.write_text("".join(",".join(line.split(",")[:cut]) + "\n" for line in old.read_text().splitlines()))
    whole = old.read_text()
    assert program.main(["train", "yinyang", "--params", "out/k.json", "N_EPOCH=3", "LOAD_LAST=true"]) == 0
    assert old.read_text().startswith(whole)
    assert [line.count(",") for line in old.read_text().splitlines()] == [cut - 1] * 4
    assert "k     train  3 " in listed(capsys, "out")
    record: dict[str, Any] = {**dict.fromkeys(COLUMNS[1:cut], 0.5), "epoch": 0}  # as an earlier version kept it
    new = RunFiles(Path("out"), "new", "train", False)
    new.write(new.begin(), [record])
    assert Path("out/new_results.csv").read_text().endswith(",0.5,,,,,\n")


# Lists of runs


def test_runs_lists_and_compares(capsys: pytest.CaptureFixture[str]) -> None:
    train("NAME=a", "N_VALIDATE=32")
    train("NAME=a", "N_VALIDATE=32", "ETA=0.02")
    train("NAME=b", "N_VALIDATE=32", "ETA=0.01")
    Path("out/c_results.csv").write_text("nothing\nof\nthis\n")
    shown = listed(capsys)
    table, differing = shown.split("\nsettings that differ:\n")
    lines = [line.split() for line in table.splitlines()]
    assert [line[0] for line in lines[1:]] == ["out/a", "out/a", "out/b"]
    assert re.search(r"^ETA +0.02 +0.01$", differing, re.M)
    assert "MODEL_SEED" not in differing and "NAME" not in differing
    cells = [line.split(",") for line in listed(capsys, "out", "--csv").splitlines()]
    rows = [dict(zip(cells[0], line, strict=True)) for line in cells[1:]]
    assert [r["name"] for r in rows] == ["a", "a", "b"] and all(r["epochs"] == "2" for r in rows)
    assert all(re.fullmatch(r"[\d.]+%", r[c]) for r in rows for c in ("training", "evaluation", "best"))
    assert [bool(r["started"]) for r in rows] == [False, True, True]  # the first one's story was written over
    assert program.main(["runs", "nowhere"]) == 1 and "nowhere is not a folder" in capsys.readouterr().err


def test_events_for_tensorboard() -> None:
    """Each epoch once, with the values of the results, also where the run was gone on with; refused without the
    package."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto import event_pb2

    train("NAME=k", "TENSORBOARD=true")
    assert program.main(["train", "yinyang", "--params", "out/k.json", "N_EPOCH=3", "LOAD_LAST=true"]) == 0
    found = {}
    for path in sorted(Path("out/k_tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    losses = [float(line.split()[2]) for line in Path("out/k_results.txt").read_text().splitlines()]
    shown = [found["loss/training", epoch] for epoch in (1, 2, 3)]
    np.testing.assert_allclose(shown, losses, rtol=1e-5)
    assert not any(tag == "loss/evaluation" for tag, _ in found)


def test_without_tensorboardx(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert program.main(["train", "yinyang", *SMALL, "TENSORBOARD=true"]) == 1
    assert "TENSORBOARD=True needs the package tensorboardX: pip install" in capsys.readouterr().err
    assert not Path("out").exists()
