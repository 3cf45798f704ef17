"""``eventprop reproduce``: runs of the table's entries, resumed, measured, compared and written back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from eventprop.__main__ import main
from eventprop.reproduce import command, data_sets, measure, work
from eventprop.reproduce.compare import difference, run_sd
from eventprop.scans import run
from eventprop.simulators import measured
from eventprop.simulators.measured import Entry, Number

pytestmark = pytest.mark.usefixtures("these_sources")

TINY = "N_EPOCH = 2, N_TRAIN = 256, NUM_HIDDEN = 20, N_TEST = 200"
TABLE = f"""
[result.tiny]
task = "Yin-Yang"
simulator = "yinyang"
recipe = "quick"
overrides = {{ {TINY} }}
seeds = [1, 2]
on = "test"
seconds = 90

[result.words]
task = "SHD"
simulator = "SHD"
recipe = "shd_final"
seeds = [1]
on = "test"
epoch = "training"
data = "SHD"
"""


def reproduce(*words: str) -> int:
    return main(["reproduce", "--results", "mine.toml", "--out", "out", *words])


@pytest.fixture
def table() -> Path:
    Path("mine.toml").write_text(TABLE)
    return Path("mine.toml")


def entry_of(path: Path, name: str = "tiny") -> Entry:
    return measured.read(path).entries[name]


# The rule


def test_a_number_has_moved_beyond_three_standard_errors() -> None:
    """Of both means; v = (0.98 * 0.02 / 1e5 * 1e4 + 4 * 0.2^2) / 5 = 0.03239 in five runs, 3 sqrt(2 v / 5) = 0.3415."""
    before = Number((), 98.0, 0.2, 5, 100_000)
    for change, moved in ((0.335, False), (-0.335, False), (0.348, True), (-0.348, True)):
        found = difference(before, Number((), 98.0 + change, 0.2, 5, 100_000))
        assert found.moved == moved and found.allowed == pytest.approx(0.3415, abs=1e-3)


def test_runs_differ_at_least_a_little() -> None:
    """A single one as shares of its samples do, 100 sqrt(q (1 - q) / 200) with q = 191 / 202; seeds that agree less."""
    assert run_sd(Number.of([95.0], 200)) == run_sd(Number((), 95.0, None, 5, 200)) == pytest.approx(1.6045, abs=1e-3)
    assert run_sd(Number((), 95.0, 0.0, 4, 200)) == pytest.approx(1.6045 / 2, abs=1e-3)
    assert run_sd(Number((), 95.0, 4.0, 10_000, 200)) == pytest.approx(4.0, abs=1e-3)
    assert 0.0 < run_sd(Number.of([100.0, 100.0], 100)) < run_sd(Number.of([100.0], 100)) < 2.0
    one, two = Number.of([95.0], 200), Number.of([90.0], 200)
    assert not difference(one, two).moved and difference(one, Number.of([85.0], 200)).moved


# The runs


def test_from_nothing_to_a_table_that_is_as_before(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs; what lacks its data is skipped by name; written into the table; a second time nothing runs, or moved."""
    assert reproduce("--update") == 0
    said = capsys.readouterr().out
    assert "skipped words: needs SHD" in said and "shd_train.h5 is not in data" in said
    assert "[2/2] tiny, seed=2: test" in said and " new\n" in said
    entry = entry_of(table)
    assert len(entry.numbers["test"].values) == 2 and entry.numbers["test"].samples == 200
    assert entry.parameters == (5 + 3) * 20 and entry.cores and entry.machine and entry.seconds != 90
    started = [path.stat().st_mtime_ns for path in Path("out/tiny").glob("*/measured.json")]
    assert reproduce() == 0
    said = capsys.readouterr().out
    assert "2 finished before" in said and "+0.00" in said and "as before" in said
    assert [path.stat().st_mtime_ns for path in Path("out/tiny").glob("*/measured.json")] == started
    text = table.read_text()
    values = ", ".join(map(str, entry.numbers["test"].values))
    table.write_text(text.replace(values, "99.0, 99.5"))
    assert reproduce("--table") == 1 and "MOVED\n1 of 1 numbers have moved" in capsys.readouterr().out


def do(folder: Path) -> int:
    return run.main([str(folder), "--threads", "1"])


def test_stopped_between_training_and_test(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on without training, and measures what an unbroken run does."""
    entry = entry_of(table)
    scan = work.scan_of(entry, table, Path("data"), Path("out"))
    whole, stopped = work.folders_of(scan)[0], Path("stopped")
    shutil.copytree(whole, stopped)
    assert do(whole) == 0

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(measure, "after", stop)
        assert do(stopped) == 130 and not (stopped / measure.FILE).exists()
    assert do(stopped) == 0
    first, second = measure.measured(whole), measure.measured(stopped)
    assert first["numbers"] == second["numbers"] and 0.0 < first["numbers"]["test"][0] < 100.0
    assert "nothing is left to train" not in (whole / "run_run.json").read_text()
    found = work.numbers_of(entry, [whole, stopped])
    assert found is not None and found.numbers["test"].sd == 0.0
    (whole / measure.FILE).write_text('{"numbers": 3}')
    with pytest.raises(ValueError, match=r"measured\.json is damaged; delete its folder"):
        work.numbers_of(entry, [whole])


SMALL = {"TRIAL_MS": 700.0, "DT_MS": 5.0, "NUM_HIDDEN": 40, "N_EPOCH": 2, "N_BATCH": 16, "ETA": 0.01}
SPLIT = {"N_TRAIN": 80, "N_VALIDATE": 40, "N_EPOCH": 10}


@pytest.mark.parametrize(
    ("on", "epoch", "samples"),
    [("test", "last", 40), ("test", "training", 40), ("test", "validation", 40), ("validation", "last", 40)],
)
def test_what_is_measured(on: str, epoch: str, samples: int, small_data: Path) -> None:
    """In which epoch, with whose weights: those of the test are the accuracy of the program's own test."""
    split = SPLIT if on == "validation" or epoch == "validation" else {}
    entry = Entry("mine", "t", "SHD", None, {**SMALL, **split}, (3,), on, epoch)
    scan = work.scan_of(entry, Path("t.toml"), small_data, Path("out"))
    (folder,) = work.folders_of(scan)
    assert do(folder) == 0, (folder / "status.json").read_text()
    percent, n = measure.measured(folder)["numbers"][on]
    assert n == samples and measure.measured(folder)["parameters"] == 720 * 40
    p = json.loads((folder / "run.json").read_text())
    assert (p["N_TRAIN"], p["N_VALIDATE"]) == ((80, 40) if split else (120, 0))
    assert p["CHECKPOINT_BEST"] == (epoch if epoch != "last" else "neither")
    if on == "test":
        p |= {"LOAD_LAST": epoch == "last", "LOAD_BEST": epoch != "last", "OUT_DIR": str(folder)}
        assert 100.0 * scan.benchmark.load()(p).test(p).correct_eval == pytest.approx(percent, abs=1e-3)


def test_speakers_who_train_and_others(small_data: Path) -> None:
    """Shares of their own samples; where nobody is new there is no such number, and that is said."""
    entry = Entry("mine", "t", "SHD", None, {**SMALL, "N_EPOCH": 1}, (3,), "speakers")
    scan = work.scan_of(entry, Path("t.toml"), small_data, Path("out"))
    (folder,) = work.folders_of(scan)
    model = scan.benchmark.load()(json.loads((folder / "settings.json").read_text())["p"])
    model.train(model.p)
    speakers = model.data.train.speakers
    new = model.data.test.speakers == speakers[0]
    model.data.train.speakers[speakers == speakers[0]] = speakers[speakers != speakers[0]][0]
    measure.after(folder, model, model.p, "speakers", "last")
    numbers = measure.measured(folder)["numbers"]
    right = model.evaluated[1].predictions == model.evaluated[1].labels
    assert numbers["new"] == (pytest.approx(100.0 * right[new].mean(), abs=1e-3), new.sum())
    assert numbers["seen"] == (pytest.approx(100.0 * right[~new].mean(), abs=1e-3), 40 - new.sum())
    model.data.test.speakers[:] = model.data.train.speakers[0]
    with pytest.raises(ValueError, match="no samples for the number 'new'"):
        measure.after(folder, model, model.p, "speakers", "last")


def test_each_speaker_left_out_is_a_run(small_data: Path) -> None:
    entry = Entry("mine", "t", "SHD", None, {**SMALL, "N_EPOCH": 1}, (3,), "left out", folds=(0, 2))
    folders = work.folders_of(work.scan_of(entry, Path("t.toml"), small_data, Path("out")))
    assert [do(folder) for folder in folders] == [0, 0]
    found = work.numbers_of(entry, folders)
    assert found is not None and found.numbers["left_out"].n == 2


# The words


def test_the_list_says_what_takes_how_long(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce("--list") == 0 and not Path("out").exists()
    said = capsys.readouterr().out
    assert "tiny     2 runs     3 min" in said and "needs SHD, which is not there" in said and "3 runs" in said
    assert reproduce("--list", "--only", "wor*", "--seeds", "1", "2", "3") == 0
    said = capsys.readouterr().out
    assert "tiny" not in said and said.startswith("words    3 runs         ?  needs SHD")


def test_others_data_of_the_same_layout_are_not_taken(small_data: Path) -> None:
    """SHD is known by how many samples it has, the images of MNIST by their files."""
    place, lack = data_sets.find("SHD", [Path("data"), small_data])
    assert place is None and "shd_train.h5 has 120 samples, not 8156: another data set" in lack
    assert data_sets.find("none", []) == (None, "") or data_sets.find("none", [Path("data")])[0] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "tinny"], "there is no number 'tinny'; there are: tiny, words; did you mean tiny?"),
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--seeds", "1", "1"], "--seeds must be different whole numbers from 0, got 1 1"),
        (["--epoch", "last"], "--epoch go with --add"),
        (["--add", "new", "yinyang"], "--add takes NAME SIMULATOR RECIPE"),
        (["--add", "a/b", "yinyang", "quick", "--seeds", "1"], "a name is of letters"),
        (["--add", "new", "yinyang", "quik", "--seeds", "1"], "there is no recipe 'quik'"),
        (["--add", "new", "yinyang", "quick"], "--add needs --seeds"),
        (["--add", "new", "MNIST", "quick", "--seeds", "1"], "--add needs --task: a heading, such as Yin-Yang, SHD"),
        (["--add", "new", "yinyang", "quick", "--seeds", "1", "--on", "tset"], "--on must be one of test, speakers"),
        (["--add", "new", "yinyang", "quick", "--seeds", "1", "--needs", "x"], "--needs must be one of none, MNIST"),
        (["--add", "new", "SHD", "digits", "--task", "t", "--seeds", "1", "--on", "left out"], "--folds and --on"),
        (["--add", "new", "yinyang", "quick", "--seeds", "1", "--found", "test", "x"], "accuracies in % must follow"),
        (["--add", "new", "yinyang", "quick", "--seeds", "1", "--found", "seen", "9"], "must be given for test"),
        (["--add", "new", "yinyang", "quick", "--seeds", "1", "2", "--found", "test", "9"], "has 1 accuracies, but"),
        (
            ["--add", "new", "yinyang", "quick", "--seeds", "1", "1", "--found", "test", "9", "9"],
            "two runs are the same",
        ),
        (["--add", "new", "yinyang", "quick", "ETAA=1", "--seeds", "1", "--found", "test", "9"], "ETAA"),
        (["--add", "new", "yinyang", "quick", "ETA=-1", "--seeds", "1", "--found", "test", "9"], "ETA"),
    ],
)
def test_wrong_words(words: list[str], message: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, status 2, and nothing is changed."""
    assert reproduce(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("reproduce: error: ") and message in error and error.count("\n") == 1
    assert table.read_text() == TABLE and not Path("out").exists()


def test_a_wrong_data_set_is_named(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(TABLE.replace('data = "SHD"', 'data = "SHDD"'))
    assert (
        reproduce("--list") == 2 and "[result.words]: data='SHDD' is not one of none, MNIST" in capsys.readouterr().err
    )


def test_a_number_that_was_measured_already(table: Path) -> None:
    """Stands below the heading of the recipe's other numbers; --results may be a table that is not there yet."""
    words = ["yinyang", "quick", "ALPHA=0.2", "--seeds", "4", "5", "--found", "test", "91.5", "92.5", "--took", "7"]
    assert reproduce("--add", "more", *words) == 0
    entry = entry_of(table, "more")
    assert (entry.task, entry.on, entry.overrides, entry.seeds) == ("Yin-Yang", "test", {"ALPHA": 0.2}, (4, 5))
    assert entry.numbers["test"].values == (91.5, 92.5) and entry.seconds == 7.0
    table.unlink()
    assert reproduce("--add", "more", *words, "--task", "mine") == 0 and list(measured.read(table).entries) == ["more"]


def test_nothing_that_could_be_compared_is_no_success(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce("--only", "words") == 1
    assert "nothing has been measured, and nothing is compared" in capsys.readouterr().err


def test_a_run_that_fails_is_told(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its number, and by the exit status; the table keeps what it had."""
    (folder,) = work.folders_of(work.scan_of(entry_of(table), table, Path("out/data"), Path("out")))[:1]
    (folder / "status.json").write_text('{"state": "failed", "message": "ValueError: it", "seconds": 1.0}')
    before = table.read_text()
    assert reproduce("--table", "--only", "tiny", "--update") == 1
    said = capsys.readouterr()
    assert "1 of 2" in said.out and "FAILED" in said.out and "the table stays as it is" in said.out
    assert table.read_text() == before


def test_estimates_of_what_was_never_timed(table: Path) -> None:
    found = measured.read(table)
    words = found.entries["words"]
    assert command.estimate(found.entries["tiny"], found) == (90.0, True)
    assert command.estimate(words, found) == (0.0, False)
    near = Entry("near", "Yin-Yang", "yinyang", None, {}, (1,), "test")
    assert command.estimate(near, found) == (90.0, False)


def test_another_version_of_the_code_has_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = work.default_folder()
    assert ours == work.default_folder() and ours.parent == Path("runs/reproduce")
    sources = work._sources()
    assert {"models.py", "simulator_SHD.py", "engine.hpp", "work.py"} <= {path.name for path in sources}
    monkeypatch.setattr(work, "_sources", lambda: sources[1:])
    assert work.default_folder() != ours
