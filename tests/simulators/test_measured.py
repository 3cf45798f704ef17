"""The table of what recipes reach: read, refused by name where it is broken, and made into sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventprop.reproduce import data_sets, work
from eventprop.scans import points
from eventprop.simulators import measured, recipes, registry
from eventprop.simulators.measured import Entry, Number

GOOD = """
[result.mine]
task = "Yin-Yang"
simulator = "yinyang"
recipe = "quick"
overrides = { ALPHA = 1e-3, AUGMENTATION = { shift = 4.0 }, SHUFFLE = true }
seeds = [1, 2]
on = "test"
what = "a \\"net\\""
test = [97.0, 98.0]

[[published]]
task = "Yin-Yang"
value = "98.1 ± 0.2 %"
what = "first spikes"
eventprop = true
source = "somebody"
"""


def table_of(text: str) -> measured.Table:
    Path("mine.toml").write_text(text, encoding="utf-8")
    return measured.read(Path("mine.toml"))


def test_what_is_written_is_what_was_read() -> None:
    """Of the program's own table to the letter, so that a change of it is a change of what is meant."""
    path = recipes.results_file()
    assert measured.as_text(measured.read(path)) == path.read_text(encoding="utf-8")
    table = table_of(GOOD)
    assert table.entries["mine"].overrides == {"ALPHA": 1e-3, "AUGMENTATION": {"shift": 4.0}, "SHUFFLE": True}
    assert table_of(measured.as_text(table)) == table


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('on = "test"', 'on = "tset"', r"\[result.mine\]: on='tset' is not one of test, speakers"),
        ('on = "test"', "", "on must be there"),
        ('on = "test"', 'on = "speakers"', "test is unknown; there are .* seen, new"),
        ('on = "test"', 'on = "left out"\nfolds = [1]', "test is unknown; there are .* left_out"),
        ('on = "test"', 'on = "test"\nfolds = [1]', "folds are there where on is 'left out'"),
        ('on = "test"', 'on = "test"\nepoch = "best"', "epoch='best' is not one of last"),
        ("test = [97.0, 98.0]", 'on = "validation"\nepoch = "training"', "twice|overwrite"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "seeds must be different whole numbers"),
        ("seeds = [1, 2]", "seeds = 1", "seeds=1 must be list"),
        ("test = [97.0, 98.0]", "test = []", "test: values must not be empty"),
        ("test = [97.0, 98.0]", "test = { mean = 97.0 }", "test must be a list of accuracies"),
        ("test = [97.0, 98.0]", 'test = ["97"]', "test must be a list of accuracies"),
        ("eventprop = true", "eventprop = 1", r"\[\[published\]\] 1 must hold task, value"),
        ("[result.mine]", "[results.mine]", "unknown: results"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=rf"mine\.toml.*({message})"):
        table_of(GOOD.replace(old, new))


def test_numbers_as_people_read_them() -> None:
    assert str(Number.of([97.0, 98.0], None)) == "97.5 ± 0.7 %"
    assert str(Number.of([98.16, 98.21, 98.19], None)) == "98.19 ± 0.03 %"
    assert str(Number.of([95.0], None)) == str(Number((), 95.0, None, 5, None)) == "95.0 %"


def test_what_to_expect_is_made_from_the_table() -> None:
    """Of entries without overrides; where nothing was measured, what makes a number, and what is published."""
    table = table_of(GOOD.replace("overrides", "seconds = 90\ncores = 2\n#"))
    said = measured.expectation(table, "yinyang", "quick", 6)
    assert said == "97.5 ± 0.7 % of the test samples (2 seeds, last of 6 epochs); a run takes 90 s on two cores."
    table = table_of(GOOD.replace("overrides", "#").replace("test = [", "# ["))
    said = measured.expectation(table, "yinyang", "quick", 6)
    assert said.startswith("No number has been measured yet: eventprop reproduce --only mine makes one. Published for")
    assert said.endswith("98.1 ± 0.2 % (first spikes; somebody).")
    assert measured.expectation(table, "MNIST", "quick") == "No number has been measured yet."


def test_recipes_say_what_the_table_says() -> None:
    """Nothing is typed a second time, and every recipe has a command that measures it."""
    table = measured.read(recipes.results_file())
    for path in recipes.results_file().parent.glob("*.toml"):
        assert path.name == measured.FILE or "\nexpect =" not in path.read_text(encoding="utf-8")
    for simulator in registry.BENCHMARKS:
        for name in recipes.list_recipes(simulator):
            own = [e for e in table.entries.values() if (e.simulator, e.recipe, e.overrides) == (simulator, name, {})]
            said = recipes.load_recipe(name, simulator).expect
            assert own and all(str(number) in said for e in own for number in e.numbers.values()), name
    with pytest.raises(ValueError, match="there is no recipe 'results'"):
        recipes.load_recipe("results")


ENTRIES = measured.read(recipes.results_file()).entries


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_can_be_run(name: str) -> None:
    """Recipe and overrides are right, data are known, and runs of all seeds and folds are different."""
    entry = ENTRIES[name]
    assert entry.data in data_sets.DATA_SETS
    scan = work.scan_of(entry, Path("results.toml"), Path("data"), Path("out"))
    runs = points.expand(scan)
    assert len({run.digest for run in runs}) == len(runs) == entry.runs
    assert all(len(number.values) in (0, entry.runs) for number in entry.numbers.values())
    assert all(number.n == entry.runs for number in entry.numbers.values())
    if entry.on in ("test", "speakers") and entry.epoch != "validation":
        assert {run.p["N_VALIDATE"] for run in runs} == {0}


def test_what_is_wrong_with_an_entry_is_named() -> None:
    """With its table, before anything runs."""
    good = Entry("mine", "t", "yinyang", "quick", {}, (1,), "test")
    for change, message in (
        ({"simulator": "yingyang"}, "there is no simulator 'yingyang'; .* did you mean yinyang"),
        ({"recipe": "quik"}, "there is no recipe 'quik'"),
        ({"on": "left out", "folds": (0,)}, "on='left out' needs speakers, which yinyang has not"),
        ({"overrides": {"ETAA": 1.0}}, "ETAA"),
    ):
        with pytest.raises(ValueError, match=rf"results\.toml.*{message}"):
            entry = Entry(**{**{f: getattr(good, f) for f in good.__dataclass_fields__}, **change})
            points.expand(work.scan_of(entry, Path("results.toml"), Path("data"), Path("out")))
