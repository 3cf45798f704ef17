"""Neurons of one's own: declared in a file, a script or settings; their keys, checkpoints and errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import models
from eventprop import cli, own_neurons
from eventprop.__main__ import main as tools
from eventprop.parameters.shd import resolve_shd
from simulator_SHD import SHD_model

FILE = """
from models import NEURONS, Neuron, Parameter

NEURONS["mine"] = Neuron(
    "mine",
    parameters={
        "tau_mem": Parameter(20.0, "ms", above=0.0),
        "tau_syn": Parameter(5.0, "ms", above=0.0),
        "v_thresh": Parameter(1.0),
        "v_rest": Parameter(-0.1, "", "Resting potential."),
        "v_drop": Parameter(0.9, "", "What a spike takes from the potential.", above=0.0),
    },
    state={"V": "v_rest", "Isyn": "0"},
    dynamics={"V": "(v_rest - V + Isyn) / tau_mem", "Isyn": "-Isyn / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "V - v_drop"},
)
"""
RUN = ["NUM_HIDDEN=8", "N_EPOCH=1", "N_TRAIN=20", "N_VALIDATE=10", "MODEL_SEED=1", "TRAIN_DATA_SEED=1"]


@pytest.fixture
def file() -> Path:
    path = Path("my_neurons.py")
    path.write_text(FILE)
    return path


def train(*words: str, data: Path) -> int:
    return cli.main("SHD", ["train", *RUN, f"DATA_DIR={data}", "OUT_DIR=out", *words])


def test_from_a_file_to_a_resumed_run(file: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its parameters are keys, and are trained; the saved settings have the declaration, so that they are enough to go
    on; the same steps in one run give the same bits."""
    words = ("HIDDEN_NEURON_TYPE=mine", "V_DROP=0.8", 'TRAIN_PARAMETERS={"hidden": ["v_drop", "v_rest"]}', "ETA=0.01")
    assert train("--models", str(file), *words, data=small_data) == 0
    saved = json.loads(Path("out/test.json").read_text())
    assert saved["V_DROP"] == 0.8 and saved["NEURONS"]["mine"]["reset"] == {"V": "V - v_drop"}
    del models.NEURONS["mine"]
    assert train("--params", "out/test.json", "LOAD_LAST=true", "N_EPOCH=2", data=small_data) == 0
    resumed = np.load("out/test_state_last.npz")
    assert train("--models", str(file), *words, "N_EPOCH=2", "NAME=whole", data=small_data) == 0
    whole = np.load("out/whole_state_last.npz")
    for name in ("w/in_to_hid", "tau/hidden0/v_drop", "tau/hidden0/v_rest"):
        np.testing.assert_array_equal(resumed[name], whole[name])
        assert name.startswith("w") or (whole[name] != (0.8 if "drop" in name else -0.1)).any()


def test_a_checkpoint_of_another_declaration_is_refused(
    file: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--models", str(file), "HIDDEN_NEURON_TYPE=mine", data=small_data) == 0
    del models.NEURONS["mine"]
    file.write_text(FILE.replace("V - v_drop", "v_rest"))
    assert train("--models", str(file), "HIDDEN_NEURON_TYPE=mine", "LOAD_LAST=true", data=small_data) == 1
    said = capsys.readouterr().err
    assert "of another neuron 'mine': reset was {'V': 'V - v_drop'} and is {'V': 'v_rest'} now" in said


def test_settings_and_a_file_that_disagree(file: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_neurons.load_file(file)
    settings = {"NEURONS": {"mine": {**own_neurons.plain(models.NEURONS["mine"]), "threshold": "V - 2 * v_thresh"}}}
    with pytest.raises(ValueError, match="NEURONS has a declaration of 'mine' that is not"):
        SHD_model.resolve(None, settings)  # type: ignore[arg-type]


def test_a_declaration_goes_through_json(file: Path) -> None:
    own_neurons.load_file(file)
    for name in models.NEURONS:
        before = models.NEURONS[name]
        there = json.loads(json.dumps({f"{name}_copy": own_neurons.plain(before)}))
        own_neurons.register(there)
        assert own_neurons.plain(models.NEURONS[f"{name}_copy"]) == own_neurons.plain(before)
        del models.NEURONS[f"{name}_copy"]


def test_help_and_show_know_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main("SHD", ["--models", str(file), "--help"])
    said = capsys.readouterr().out
    assert "V_DROP = 0.9\n      What a spike takes from the potential. (> 0)" in said and "'mine'" in said
    del models.NEURONS["mine"]
    assert tools(["show", "mine", "--models", str(file), "--no-code"]) == 0
    said = capsys.readouterr().out
    assert "then V := V - v_drop." in said and "dL/dv_drop = sum of lambda_V*tau_mem" in said
    assert tools(["show", "mime"]) == 1
    assert "'mine'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"v_rest": P', '"V_THRESH": P'), "parameters v_thresh and V_THRESH have one key, V_THRESH"),
        (("V - v_thresh", "V - v_tresh"), "threshold: 'V - v_tresh' has 'v_tresh'.*did you mean v_thresh"),
        (("-Isyn / tau_syn", "-Isyn / tau_syn)"), "dynamics of Isyn: .* is no expression"),
        (("-Isyn / tau_syn", "print(Isyn)"), r"has print\(\); there are exp"),
        (('"V": "V - v_drop"', '"U": "V - v_drop"'), "reset has U, which state has not"),
        (('"V": "v_rest", "Isyn": "0"', '"V": "v_rest"'), "dynamics has Isyn, which state has not|input must be"),
        (("Parameter(0.9,", "Parameter(-0.9,"), "default of parameter v_drop must be above 0"),
        (("NEURONS[", "THERE["), "THERE"),
        (("import NEURONS", "import NEURON"), "NEURON"),
    ],
)
def test_a_wrong_file_is_one_line(
    change: tuple[str, str], said: str, file: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the file, the neuron, the field and what would be right, and nothing is written."""
    file.write_text(FILE.replace(*change))
    assert train("--models", str(file), "HIDDEN_NEURON_TYPE=mine", data=small_data) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and error.startswith("train_SHD.py: error: my_neurons.py: ")
    assert re.search(said, error), error
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["V_REST=2"], "threshold 'V - v_thresh' is reached at the start of a trial, where it is 1"),
        (["V_DROP=0.0"], "V_DROP must be above 0"),
        (["V_DROPP=1"], "unknown key 'V_DROPP'; did you mean V_DROP?"),
        (
            ['TRAIN_PARAMETERS={"hidden1": ["v_drop"]}'],
            "has 'hidden1'; there are hidden0, hidden, output",
        ),
        (
            ['TRAIN_PARAMETERS={"hidden": ["v_dropp"]}'],
            "have no parameter 'v_dropp'; did you mean v_drop",
        ),
        (['HETEROGENEOUS={"hidden": {"v_drop": ["norml", 1]}}'], "must be drawn from one of gamma, normal, uniform"),
        (['HETEROGENEOUS={"hidden": {"v_rest": ["gamma", 3]}}'], "gamma is of what is above 0"),
        (['PARAMETER_BOUNDS={"v_drop": [1, 2]}'], "V_DROP=0.9 is not within PARAMETER_BOUNDS [1, 2]"),
        (["SPIKE_TIMING=exact"], 'SPIKE_TIMING="exact" is not for mine neurons; "substep" is'),
    ],
)
def test_wrong_settings_of_it(
    words: list[str], said: str, file: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--models", str(file), "HIDDEN_NEURON_TYPE=mine", *words, data=small_data) == 1
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_in_a_script(small_data: Path) -> None:
    """Parameters drawn for each neuron lie within their bounds, and differ; others are shared."""
    models.NEURONS["soft"] = models.Neuron(
        "any", models.LIF.parameters, models.LIF.state, models.LIF.dynamics, "V - v_thresh", {"V": "V - v_thresh"}
    )
    p = SHD_model.defaults() | {"DATA_DIR": str(small_data), "HIDDEN_NEURON_TYPE": "soft", "NUM_HIDDEN": 40}
    p |= {"HETEROGENEOUS": {"hidden": {"v_thresh": ["normal", 0.2]}}, "PARAMETER_BOUNDS": {"v_thresh": [0.8, 1.3]}}
    mn = SHD_model(p | {"N_TRAIN": 20, "N_VALIDATE": 10, "MODEL_SEED": 3})
    thresholds = mn.time_constants()["hidden0"]["v_thresh"]
    assert thresholds.min() >= np.float32(0.8) and thresholds.max() <= np.float32(1.3) and len(set(thresholds)) > 20
    assert set(mn.time_constants()["hidden0"]) == {"tau_mem", "tau_syn", "v_thresh"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alpha", "neuron first: parameter alpha would have the key ALPHA, which is something else: Strength of"),
        ("eta", "neuron first: parameter eta would have the key ETA, which is something else: Learning rate"),
        ("dt_ms", "neuron first: parameter dt_ms would have the key DT_MS, which is something else: Time step"),
        ("leak", "neuron second: parameter leak has another default or other bounds than that of neuron first, and"),
    ],
)
def test_a_parameter_with_the_name_of_another_key(name: str, said: str) -> None:
    """Fails if it silently takes the other's value: that of the loss, of training, or of another neuron."""
    for who, default in (("first", 0.5), ("second", 0.7)):
        models.NEURONS[who] = models.Neuron(
            who,
            {**models.LIF.parameters, name: models.Parameter(default)},
            models.LIF.state,
            {**models.LIF.dynamics, "V": f"(Isyn - {name} * V) / tau_mem"},
            models.LIF.threshold,
            models.LIF.reset,
        )
    with pytest.raises(ValueError, match=said):
        resolve_shd({"HIDDEN_NEURON_TYPE": ["first", "second"], "N_HID_LAYER": 2})


def test_what_is_on_board_stays() -> None:
    """Fails if another "LIF" or "sum" trains, of which no file of a run would say anything."""
    for there, name in ((models.NEURONS, "LIF"), (models.LOSSES, "sum")):
        before = there[name]
        with pytest.raises(ValueError, match=rf"S\['{name}'\] is on board and stays as it is; another name would be"):
            there[name] = before
        with pytest.raises(ValueError, match=r"S\['x'\] must be a (Neuron|Loss), got 3"):
            there["x"] = 3
        assert there[name] is before and "x" not in there
