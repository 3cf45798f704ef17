"""Scans: files refused before anything starts, runs that survive kills and failures, tables, clusters, studies."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop.scans import command, figures, reader, run, table
from eventprop.scans.spec import Scan
from tests.support.scanning import expand, rows, scan, start, states, under_way, without_seconds, write

pytestmark = pytest.mark.long


pytestmark = pytest.mark.usefixtures("these_sources")

# The file


# The runs


# Doing them


def do_here(path: Path) -> None:
    """All runs of a scan in this process, one after the other, and the table."""
    found, runs = expand(path)
    for folder in command.begin(found, runs):
        assert run.main([str(folder), "--threads", "1"]) == 0
    assert scan(str(path), "--table") == 0


def test_a_scan_killed_half_way_ends_as_one_that_was_not(small_data: Path) -> None:
    """SIGKILL to the whole process group while runs are at it; the same command then gives the same table."""
    grid = "[grid]\nETA = [0.002, 0.01]\nPDROP_INPUT = [0.0, 0.2, 0.5]"
    whole = write(small_data, top="seeds = [1, 2]\nworkers = 2", p="N_EPOCH = 4", tables=grid)
    killed = Path("killed.toml")
    killed.write_text(whole.read_text().replace('out = "out"', 'out = "killed"'))
    process = start(str(killed))
    while process.poll() is None and (states("killed").count("finished") < 5 or not under_way("killed")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = states("killed")
    assert 5 <= left.count("finished") < 12 and "running" in left
    assert scan(str(killed), "--table") == 0
    unfinished = [row for row in rows("killed") if row["status"] != "finished"]
    assert len(rows("killed")) == 12 and len(unfinished) == 12 - left.count("finished")
    assert {row[name] for row in unfinished for name in ("train_accuracy", "eval_accuracy", "seconds")} == {""}
    again = start(str(killed))
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert f"{left.count('finished')} finished before" in output and "[12/12]" in output
    do_here(whole)
    assert without_seconds("killed") == without_seconds("out") and len(rows()) == 12
    assert all(row["status"] == "finished" and row["epochs"] == "4" for row in rows())


def test_a_failing_run_does_not_stop_the_rest_and_is_tried_again(small_data: Path) -> None:
    """It is reported with its message and log, the exit status says so, and it goes well when its cause is gone."""
    path = write(small_data, top="workers = 2")
    path.write_text(path.read_text().replace(f'DATA_DIR = "{small_data}"', ""))
    with path.open("a") as file:
        file.write(f'[grid]\nDATA_DIR = ["later", "{small_data}"]')
    process = start(str(path))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    failed, well = rows()
    assert (failed["status"], failed["eval_accuracy"], well["status"]) == ("failed", "", "finished")
    assert "FAILED: FileNotFoundError: " in output and f"(log: out/{failed['run']}/log.txt)" in output
    assert "Traceback" in Path("out", failed["run"], "log.txt").read_text()
    finished = Path("out", well["run"], "status.json").stat().st_mtime_ns
    Path("later").symlink_to(small_data)
    process = start(str(path))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "1 finished before, 1 that failed are tried again" in output
    first, second = rows()
    assert first["status"] == "finished" and first["eval_accuracy"] == second["eval_accuracy"] != ""
    assert Path("out", well["run"], "status.json").stat().st_mtime_ns == finished


def test_a_run_that_died_without_a_word_has_failed() -> None:
    folder = Path("one")
    folder.mkdir()
    assert run.settle(folder, -9) == "failed" and run.status(folder)["message"] == "killed by signal 9"


def test_a_changed_file_adds_runs_and_confuses_none(small_data: Path, capsys: Any) -> None:
    """Old runs keep their folder, also where the new file scans other keys; other settings are never taken over."""
    do_here(write(small_data, tables="[grid]\nETA = [0.01]"))
    (before,) = rows()
    do_here(write(small_data, top="seeds = [2, 1]", tables="[grid]\nTAU_MEM = [20.0]\n[[runs]]\nETA = 0.01"))
    assert [row["seed"] for row in rows()] == ["2", "1"] and len(list(Path("out").glob("*/status.json"))) == 2
    assert rows()[1]["run"] == before["run"] and rows()[1]["seconds"] == before["seconds"]
    assert "ETA = [0.01]" in Path("out/scan_previous1.toml").read_text()
    settings = Path("out", before["run"], "settings.json")
    settings.write_text(settings.read_text().replace('"TAU_SYN": 5.0', '"TAU_SYN": 4.0'))
    assert scan("mine.toml") == 1
    assert "has other values of TAU_SYN" in capsys.readouterr().err


def test_the_table_is_tidy(small_data: Path, capsys: Any) -> None:
    """A row for each run and fold, a column for each scanned key, best epochs by the accuracy that was asked for."""
    top = 'mode = "cross_validate"\nfolds = [0, 3]'
    p = 'N_EPOCH = 3\nCHECKPOINT_BEST = "validation"'
    do_here(write(small_data, top=top, p=p, tables="[grid]\nETA = [0.01]"))
    assert list(rows()[0]) == [
        *("run", "ETA", "seed", "fold", "status", "epochs", "train_accuracy", "train_loss"),
        *("eval_accuracy", "eval_loss", "evaluation", "best_epoch", "best_accuracy", "seconds"),
    ]
    for row, fold in zip(rows(), (0, 3), strict=True):
        assert (row["fold"], row["evaluation"], row["epochs"]) == (str(fold), "validation", "3")
        with Path("out", row["run"], "run_results.csv").open(newline="") as file:
            history = list(csv.DictReader(file))
        accuracies = [float(record["eval_accuracy"]) for record in history]
        assert [record["run"] for record in history] == [f"f{fold}"] * 3
        assert float(row["eval_accuracy"]) == accuracies[-1]
        assert float(row["train_loss"]) == float(history[-1]["train_loss"])
        assert int(row["best_epoch"]) == int(np.argmax(accuracies)) and float(row["best_accuracy"]) == max(accuracies)
    found = [float(row["eval_accuracy"]) for row in rows()]
    table = capsys.readouterr().out.split("validation accuracy")[-1]  # a fast machine also says "0.01 s per epoch"
    line = next(line for line in table.splitlines() if line.strip().startswith("0.01 "))
    assert line.split() == f"0.01 {100 * np.mean(found):.2f} % {100 * np.std(found, ddof=1):.2f} % 2".split()


def made_up(mode: str, accuracies: list[float | None], data: Path) -> tuple[Scan, list[table.Row]]:
    """A table of two seeds of points with these accuracies."""
    grid = f"[grid]\nETA = {[0.001 * (i + 1) for i in range(len(accuracies) // 2)]}"
    found, runs = expand(write(data, top=f'seeds = [1, 2]\nmode = "{mode}"', tables=grid))
    made = []
    for one, accuracy in zip(runs, accuracies, strict=True):
        last = {} if accuracy is None else {"eval_accuracy": accuracy, "eval_loss": 1.0, "train_accuracy": 0.5}
        made.append(table.Row(one, one.id, "failed" if accuracy is None else "finished", 1, last, None, None, 1.0))
    return found, made


def test_missing_runs_are_missing_and_test_data_ranks_nothing(small_data: Path) -> None:
    accuracies = [0.2, 0.4, 0.9, None, None, None]
    summary = table.summary(*made_up("train", accuracies, small_data))
    assert [(s.mean, s.n, s.of) for s in summary] == [(0.9, 1, 2), (pytest.approx(0.3), 2, 2), (None, 0, 2)]
    assert [s.sd for s in summary] == [None, pytest.approx(np.std([0.2, 0.4], ddof=1)), None]
    summary = table.summary(*made_up("train_test", accuracies, small_data))
    assert [s.n for s in summary] == [2, 1, 0]  # in the order of the file


def test_pictures() -> None:
    """One key: an axis with points and means; two: a heat map; more: an axis each; gaps stay gaps."""
    accuracy = np.array([0.1, 0.2, np.nan, 0.4, 0.5, 0.6])
    one = figures.picture(["ETA"], [[0.001], [0.001], [0.01], [0.01], [0.1], [0.1]], accuracy, "validation")
    (ax,) = one.axes
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "ETA" and ax.get_ylabel() == "validation accuracy"
    assert ax.lines[-1].get_ydata() == pytest.approx([0.15, 0.4, 0.55])
    pairs = [[a, b] for a in (1, 2) for b in ("x", {"y": 1}, None)]
    two = figures.picture(["A", "B"], pairs, accuracy, "test")
    shown = np.ma.filled(two.axes[0].images[0].get_array(), np.nan)
    assert np.array_equal(shown, accuracy.reshape(2, 3).T, equal_nan=True)
    for names, values in ((["A", "B", "C"], [[*pair, True] for pair in pairs]), ([], [[]] * 6)):
        many = figures.picture(names, values, accuracy, "test")
        many.draw_without_rendering()
        assert [ax.get_xlabel() for ax in many.axes if ax.get_visible()] == (names or [""])


def test_the_mode_is_the_recipes_where_none_is_given(small_data: Path) -> None:
    """The id of a run is that of the same mode given; without a recipe it is train."""
    Path("mine_recipe.toml").write_text('method = "train_test"\n[p]\nTAU_MEM = 15.0\n')
    found, (one,) = expand(write(small_data, top='recipe = "mine_recipe.toml"'))
    assert found.mode == "train_test" and found.evaluated == "test"
    given, (same,) = expand(write(small_data, top='recipe = "mine_recipe.toml"\nmode = "train_test"'))
    assert same.digest == one.digest and given.mode == "train_test"
    assert expand(write(small_data, top='recipe = "mine_recipe.toml"\nmode = "train"'))[0].mode == "train"
    assert expand(write(small_data))[0].mode == "train"
    with pytest.raises(ValueError, match="folds need mode"):
        reader.read(write(small_data, top='recipe = "mine_recipe.toml"\nfolds = [0]'))


def test_what_was_not_measured_is_empty_and_never_the_best(small_data: Path, capsys: Any) -> None:
    """Without validation samples a table has empty fields, and its summary is of training."""
    path = write(small_data, p='N_EPOCH = 2\nCHECKPOINT_BEST = "training"', tables="[grid]\nN_VALIDATE = [0, 40]")
    path.write_text(path.read_text().replace("N_VALIDATE = 40\n", ""))
    do_here(path)
    without, with_ = rows()
    assert (without["eval_accuracy"], without["eval_loss"], without["evaluation"]) == ("", "", "")
    assert without["best_epoch"] != "" and with_["eval_accuracy"] != ""
    assert "0.00 %" not in capsys.readouterr().out
    folder = Path("out", with_["run"])
    lines = (folder / "run_results.csv").read_text().splitlines()
    names = lines[0].split(",")
    for i, accuracy in ((1, "nan"), (2, "0.25")):
        fields = dict(zip(names, lines[i].split(","), strict=True)) | {"eval_accuracy": accuracy}
        lines[i] = ",".join(fields.values())
    (folder / "run_results.csv").write_text("\n".join(lines) + "\n")
    settings = json.loads((folder / "settings.json").read_text())
    settings["p"]["CHECKPOINT_BEST"] = "validation"
    found, runs = expand(
        write(small_data, p='N_EPOCH = 2\nCHECKPOINT_BEST = "validation"', tables="[grid]\nETA = [1.0]")
    )
    folder.rename(f"out/x-{runs[0].digest}")
    (row,) = table.rows(found, runs)
    assert (row.best, row.best_accuracy) == (1, 0.25)


DAMAGED = [
    ("status.json", '{"state": "finished"}', "status.json is damaged"),
    ("status.json", '{"state": 3, "message": "", "seconds": 1.0}', "status.json is damaged"),
    ("status.json", "[" * 100_000, "status.json is not a JSON file: it is nested too deeply"),
    ("status.json", '{"state": "finished", "message": "", "seconds": Infinity}', "status.json is damaged"),
    ("status.json", '{"state": "finished", "message": "", "seconds": -1}', "status.json is damaged"),
    ("settings.json", '{"p": 3}', "settings.json is damaged"),
    ("settings.json", "\0", "settings.json is not a JSON file"),
    ("run_results.csv", "run,epoch\ntrain,0\n", "run_results.csv is damaged"),
    ("run_results.csv", "\xff", "run_results.csv is damaged"),
]


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_what_a_scan_wrote_is_checked_when_it_is_read(
    name: str, content: str, message: str, small_data: Path, capsys: Any
) -> None:
    do_here(write(small_data, tables="[grid]\nETA = [0.01]"))
    Path("out", rows()[0]["run"], name).write_bytes(content.encode("latin-1"))
    capsys.readouterr()
    assert scan("mine.toml") == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("scan: error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: lines[:1] + lines[2:],
        lambda lines: [],
        lambda lines: [lines[0], *(line.replace("train,0,0.", "train,0,9.") for line in lines[1:])],
        None,
    ],
)
def test_results_that_lack_epochs_are_no_results(change: Any, small_data: Path, capsys: Any) -> None:
    """Fails if a finished run whose lines are lost, doubled or changed counts with other accuracies, or with none."""
    do_here(write(small_data, tables="[grid]\nETA = [0.01]"))
    path = Path("out", rows()[0]["run"], "run_results.csv")
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    if change is None:
        path.unlink()
    else:
        path.write_text("".join(change(lines)))
    capsys.readouterr()
    assert scan("mine.toml", "--table") == 1
    assert "run_results.csv is damaged; delete the run's folder" in capsys.readouterr().err


def test_settings_of_a_run_are_those_of_the_scan(small_data: Path) -> None:
    """Fails if a run takes a default, or ends in an error, where a key's name was damaged in its folder."""
    path = write(small_data, tables="[grid]\nETA = [0.01]")
    found, (one,) = expand(path)
    (folder,) = command.begin(found, [one])
    settings = folder / "settings.json"
    whole = settings.read_text()
    changes = [('"ETA"', '"EUA"'), ('"NAME": "run"', '"NAME": "other"'), ('"mode": "train"', '"mode": "trait"')]
    for change in (*changes, ('  "OUT_DIR": ".",\n', "")):
        assert change[0] in whole
        settings.write_text(whole.replace(*change))
        assert command.begin(found, [one]) == [folder] and settings.read_text() == whole


def test_a_picture_that_fails_leaves_the_table(small_data: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    do_here(write(small_data, tables="[grid]\nETA = [0.01]"))
    Path("out/scan.png").unlink()
    monkeypatch.setattr(figures, "picture", fail)
    assert scan("mine.toml", "--table") == 0
    said = capsys.readouterr()
    assert "warning: the picture out/scan.png has failed: RuntimeError: no font" in said.err
    assert said.out.endswith("In out: table.csv\n") and len(rows()) == 1


@pytest.mark.parametrize("name", ["x.toml", "folder", "missing.toml", "pipe.toml"])
def test_what_is_no_scan_file(name: str, capsys: Any) -> None:
    Path("folder").mkdir()
    Path("x.toml").write_bytes(bytes(range(256)))
    os.mkfifo("pipe.toml")
    assert scan(name) == 1
    error = capsys.readouterr().err
    assert name in error and error.count("\n") == 1


# Clusters and studies


def test_jobs_of_submitit(small_data: Path) -> None:
    """Each run is a job; one that fails leaves the others alone; what is finished is not submitted again."""
    pytest.importorskip("submitit")
    tables = '[cluster]\npartition = "gpu"\ntime = 10\nslurm_mem = "1G"\n[grid]\nN_TRAIN = [90, 80]\nN_VALIDATE = [40]'
    path = write(small_data, tables=tables)
    path.write_text(path.read_text().replace("N_TRAIN = 80\nN_VALIDATE = 40\n", ""))
    process = start(str(path), "--cluster", "local", "--wait")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "2 jobs submitted" in output, output
    assert [row["status"] for row in rows()] == ["failed", "finished"]
    assert "need 130 samples" in output
    assert run.status(Path("out", rows()[1]["run"]))["seconds"] > 0


def test_an_option_that_submitit_does_not_know(small_data: Path, capsys: Any) -> None:
    pytest.importorskip("submitit")
    path = write(small_data, tables="[cluster]\nslurm_partitoin = 'x'")
    assert scan(str(path), "--cluster", "local") == 1
    assert "mine.toml: [cluster]" in capsys.readouterr().err
    assert not Path("out").exists()
