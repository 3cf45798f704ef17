"""Scan files: what is refused before anything starts, and which runs a file stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import simulator_SHD
from eventprop.scans import points, reader
from eventprop.simulators import registry
from tests.support.places import ROOT
from tests.support.scanning import expand, scan, write

pytestmark = pytest.mark.usefixtures("these_sources")

REFUSED: list[tuple[str, dict[str, str], str]] = [
    ("top", {"top": "seed = [1]"}, "unknown key 'seed'; did you mean seeds?"),
    ("p", {"p": "ETTA = 1"}, "[p] unknown key 'ETTA'; did you mean ETA?"),
    ("grid", {"tables": "[grid]\nNUM_HIDEN = [1]"}, "[grid] unknown key 'NUM_HIDEN'; did you mean NUM_HIDDEN?"),
    ("runs", {"tables": "[[runs]]\nETA = 0.1\n[[runs]]\nTAUMEM = 1"}, "[[runs]] 2: unknown key 'TAUMEM'"),
    ("if", {"tables": "[[when]]\nif = {DTMS = 1}\nthen = {ETA = 1.0}"}, "[[when]] 1: if: unknown key 'DTMS'"),
    ("then", {"tables": "[[when]]\nif = {DT_MS = 1}\nthen = {ETAS = 1.0}"}, "[[when]] 1: then: unknown key 'ETAS'"),
    ("else", {"tables": "[[when]]\nif = {DT_MS = 1}\nelse = {}"}, "[[when]] 1: unknown key 'else'"),
    (
        "cluster",
        {"tables": "[cluster]\npartitions = 'x'"},
        "[cluster] unknown key 'partitions'; did you mean partition?",
    ),
    ("study", {"tables": "[study]\ntrial = 3"}, "[study] unknown key 'trial'; did you mean trials?"),
    (
        "space",
        {"tables": "[study]\ntrials = 3\n[study.space]\nETB = {low = 1, high = 2}"},
        "[study.space] unknown key 'ETB'",
    ),
    (
        "dimension",
        {"tables": "[study]\ntrials = 3\n[study.space]\nETA = {low = 2, high = 1}"},
        "[study.space] ETA must be {low, high}",
    ),
    ("value", {"tables": "[grid]\nETA = [0.1, -1.0]"}, "[grid] ETA must be "),
    ("together", {"tables": '[grid]\nLOSS_TYPE = ["sum", "max"]', "p": 'SPIKE_TIMING = "exact"'}, "LOSS_TYPE=max"),
    ("inner", {"tables": "[grid]\nETA.x = [1]"}, "[grid] ETA must be a list of at least one value"),
    ("empty grid", {"tables": "[grid]"}, "[grid] is empty"),
    ("empty axis", {"tables": "[grid]\nETA = []"}, "[grid] ETA must be a list of at least one value, got []"),
    ("value twice", {"tables": "[grid]\nETA = [0.1, 0.10]"}, "[grid] ETA holds a value twice"),
    ("seed twice", {"top": "seeds = [1, 1]"}, "seeds holds a number twice"),
    ("run twice", {"tables": "[[runs]]\nETA = 0.1\n[[runs]]\nETA = 0.1"}, "[[runs]] 2 is the same as 1"),
    ("default twice", {"tables": "[[runs]]\nETA = 0.1\n[[runs]]\nETA = 0.1\nV_RESET = 0.0"}, "two runs are the same"),
    ("fixed", {"p": "ETA = 0.1", "tables": "[grid]\nETA = [0.2]"}, "ETA is both fixed in [p] and scanned in [grid]"),
    ("both", {"tables": "[grid]\nETA = [0.2]\n[[runs]]\nETA = 0.1"}, "ETA is scanned in both [grid] and [[runs]]"),
    ("set by when", {"tables": "[grid]\nETA = [0.2]\n[[when]]\nif = {ETA = 0.2}\nthen = {ETA = 1.0}"}, "ETA is both"),
    ("never met", {"tables": "[[when]]\nif = {DT_MS = 7.0}\nthen = {ETA = 1.0}"}, "[[when]] 1 is met by no run"),
    ("own name", {"p": 'NAME = "x"'}, "[p] NAME is set by the scan itself"),
    ("own folder", {"tables": '[grid]\nOUT_DIR = ["a"]'}, "[grid] OUT_DIR is set by the scan itself"),
    ("own method", {"p": 'METHOD = "train_test"'}, "[p] METHOD is set by the scan itself: use mode"),
    ("own seed", {"p": "MODEL_SEED = 3"}, "[p] MODEL_SEED is set by the scan itself: use seeds"),
    ("mode", {"top": 'mode = "trian"'}, "mode='trian' is not one of train, train_test, cross_validate; did you mean"),
    ("test alone", {"top": 'mode = "test"'}, "mode='test' is not one of"),
    ("folds", {"top": "folds = [0]"}, 'folds need mode = "cross_validate"'),
    ("no folds", {"top": 'mode = "cross_validate"'}, 'mode = "cross_validate" needs folds'),
    ("own fold", {"top": 'mode = "cross_validate"\nfolds = [0]', "p": "SPEAKER_LEFT = [1]"}, "use folds"),
    ("recipe", {"top": 'recipe = "dmeo"'}, "did you mean demo?"),
    ("workers", {"top": "workers = 0"}, "workers must be a whole number from 1 on, got 0"),
    ("syntax", {"tables": "[grid"}, "at end of document"),
    ("study and grid", {"tables": "[grid]\nETA = [0.2]\n[study]\ntrials = 1\nspace = {}"}, "without [grid]"),
    (
        "test data",
        {"top": 'mode = "train_test"', "tables": "[study]\ntrials = 1\nspace.ETA = {low = 0.1, high = 0.2}"},
        'mode="train_test" with [study] would choose by test data',
    ),
    (
        "no validation",
        {"tables": "[study]\ntrials = 1\nspace.N_VALIDATE = {choices = [20, 0]}"},
        "N_VALIDATE=0 with [study] leaves nothing to choose by",
    ),
]


@pytest.mark.parametrize(("parts", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_before_anything_starts(parts: dict[str, str], message: str, capsys: Any, small_data: Path) -> None:
    """Each message names the file and what is wrong in it; no folder is made."""
    path = write(small_data, **parts)
    if "N_VALIDATE" in parts.get("tables", ""):
        path.write_text(path.read_text().replace("N_VALIDATE = 40\n", ""))
    assert scan(str(path)) == 1
    error = capsys.readouterr().err
    assert all(line.startswith("scan: error: mine.toml: ") for line in error.splitlines()), error
    assert message in error
    assert [p.name for p in Path().iterdir()] == ["mine.toml"]


def test_everything_wrong_is_said_at_once(small_data: Path, capsys: Any) -> None:
    assert scan(str(write(small_data, p="ETTA = 1\nNAME = 'x'", tables="[grid]\nETA = []"))) == 1
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_folder_of_somebody_elses_is_left_alone(small_data: Path, capsys: Any) -> None:
    Path("out").mkdir()
    Path("out/table.csv").write_text("precious")
    assert scan(str(write(small_data))) == 1
    assert "is not a scan's folder" in capsys.readouterr().err
    assert scan("mine.toml", "--table") == 0
    assert Path("out/table.csv").read_text() == "precious"


def test_grid_runs_seeds_in_order(small_data: Path) -> None:
    """All combinations of the entries and the grid, the last axis fastest, then seeds."""
    grid = "[grid]\nETA = [0.1, 0.2]\nPDROP_INPUT = [0.0, 0.5]\n"
    entries = '[[runs]]\nLOSS_TYPE = "max"\n[[runs]]\nTAU_MEM = 15.0\n'
    found, runs = expand(write(small_data, top="seeds = [3, 5]", tables=grid + entries))
    assert found.scanned == ["ETA", "PDROP_INPUT", "LOSS_TYPE", "TAU_MEM"]
    default = simulator_SHD.p["LOSS_TYPE"], simulator_SHD.p["TAU_MEM"]
    expected = [
        (loss, tau, eta, drop, seed)
        for loss, tau in (("max", default[1]), (default[0], 15.0))
        for eta in (0.1, 0.2)
        for drop in (0.0, 0.5)
        for seed in (3, 5)
    ]
    keys = ("LOSS_TYPE", "TAU_MEM", "ETA", "PDROP_INPUT", "MODEL_SEED")
    assert [tuple(one.p[key] for key in keys) for one in runs] == expected
    assert all(one.p["MODEL_SEED"] == one.p["TRAIN_DATA_SEED"] == one.seed for one in runs)
    assert len({one.digest for one in runs}) == 16


def test_conditions_set_what_goes_with_a_value(small_data: Path) -> None:
    """Weights a tenth with the delay line, and only there; 10 and 10.0 are the same."""
    grid = "[grid]\nN_INPUT_DELAY = [0, 10]\n"
    when = "[[when]]\nif = {N_INPUT_DELAY = 10.0, RECURRENT = true}\nthen = {INPUT_HIDDEN_MEAN = 0.005}\n"
    _, runs = expand(write(small_data, tables=grid + when))
    assert [(one.p["N_INPUT_DELAY"], one.p["INPUT_HIDDEN_MEAN"]) for one in runs] == [(0, 0.05), (10, 0.005)]
    twice = when + "[[when]]\nif = {DT_MS = 5.0}\nthen = {INPUT_HIDDEN_MEAN = 0.1}\n"
    with pytest.raises(ValueError, match=r"mine.toml: \[\[when\]\] 1 and 2 both set INPUT_HIDDEN_MEAN"):
        expand(write(small_data, tables=grid + twice))


def test_dictionaries_and_their_entries_are_values(small_data: Path) -> None:
    whole = "[grid]\nAUGMENTATION = [{}, {NORMALISE_SPIKE_NUMBER = false}]"
    by_dot = "[grid]\nAUGMENTATION.NORMALISE_SPIKE_NUMBER = [false]"
    quoted = '[grid]\n"AUGMENTATION.NORMALISE_SPIKE_NUMBER" = [false]'
    _, runs = expand(write(small_data, tables=whole))
    assert [one.p["AUGMENTATION"] for one in runs] == [{}, {"NORMALISE_SPIKE_NUMBER": False}]
    for tables in (by_dot, quoted):
        found, (one,) = expand(write(small_data, tables=tables))
        assert one.digest == runs[1].digest and found.scanned == ["AUGMENTATION.NORMALISE_SPIKE_NUMBER"]
        assert one.id == f"AUGMENTATION.NORMALISE_SPIKE_NUMBER=false,seed=1-{one.digest}"


def test_same_id_for_same_settings(small_data: Path) -> None:
    """Whatever says the same gets the same id: another order, the defaults given, another file, folder or number of
    workers; any other setting, another one."""
    tables = "[grid]\nETA = [0.01]\nTAU_MEM = [15.0]"
    _, (one,) = expand(write(small_data, tables=tables))
    default = f"V_RESET = {simulator_SHD.p['V_RESET']}\nN_EPOCH = 2"
    _, (same,) = expand(write(small_data, top="workers = 3", p=default, tables=tables, name="other.toml"))
    assert same.id == one.id == f"ETA=0.01,TAU_MEM=15.0,seed=1-{one.digest}"
    _, (turned,) = expand(write(small_data, tables="[grid]\nTAU_MEM = [15]\n[[runs]]\nETA = 1e-2"))
    assert turned.digest == one.digest
    for top, p in (("", "N_EPOCH = 3"), ("seeds = [2]", "N_EPOCH = 2"), ('mode = "train_test"', "N_EPOCH = 2")):
        _, (other,) = expand(write(small_data, top=top, p=p, tables=tables))
        assert other.digest != one.digest


def test_the_word_none_is_none_where_that_is_a_value(small_data: Path) -> None:
    _, runs = expand(write(small_data, tables='[grid]\nLR_EASE_IN_FACTOR = ["None", 1.05]'))
    assert [one.p["LR_EASE_IN_FACTOR"] for one in runs] == [None, 1.05]


@pytest.mark.parametrize("path", sorted((ROOT / "scans").glob("*.toml")), ids=lambda path: path.stem)
def test_the_programs_own_scans_are_right(path: Path) -> None:
    found = reader.read(path)
    if found.study is not None:
        pytest.importorskip("optuna")
        from eventprop.scans import study

        study.check(found)
    else:
        assert points.expand(found)


def test_the_examples_of_the_documentation_are_right() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "scans.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for i, block in enumerate(blocks):
        Path("example.toml").write_text(block if "simulator" in block else blocks[0] + block, encoding="utf-8")
        found = reader.read("example.toml")
        assert (len(points.expand(found)) == 32) if found.study is None else found.study.trials == 12
        assert found.cluster.get("parallel") == (50 if i == 1 else None)


def test_benchmarks_have_their_modes() -> None:
    for benchmark in registry.BENCHMARKS.values():
        assert set(benchmark.modes()) == set(benchmark.methods) and "train" in benchmark.methods
        assert (benchmark.fold_key is not None) == ("cross_validate" in benchmark.methods)
    with pytest.raises(ValueError, match="did you mean yinyang"):
        registry.find("ying-yang")
