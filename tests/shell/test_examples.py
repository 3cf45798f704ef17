"""What is printed as an example works, and so does the command line from start to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simulator_SHD
from simulator_SHD import SHD_model
from tests.support.places import ROOT


def test_contributings_own_benchmark_works_and_learns() -> None:
    code = (ROOT / "CONTRIBUTING.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"__name__": "own"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    assert names["mn"].history[-1]["eval_accuracy"] > 0.85
    assert Path("test_state_last.npz").exists()


def test_the_seeds_example_works_as_printed(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The misspelt TRAIL_MS of the example that users were given must shorten the trial."""
    p = {
        **simulator_SHD.p,
        "DATA_DIR": str(small_data),
        "NUM_HIDDEN": 10,
        "N_TRAIN": 80,
        "N_VALIDATE": 20,
        "N_EPOCH": 1,
    }
    p["TRAIL_MS"] = 100
    with pytest.warns(UserWarning, match="TRAIL_MS is taken for TRIAL_MS"):
        mn = SHD_model(p)
        mn.train(p)
    assert mn.data.train.spikes.num_steps == 100


def test_the_command_line_with_layers_and_output_spikes(small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file that is left is described, and the picture copes with samples that no output spiked for."""
    from eventprop import cli

    settings = [f"DATA_DIR={small_data}", "NUM_HIDDEN=10", "DT_MS=5", "TRIAL_MS=700", "N_EPOCH=1", "OUT_DIR=out"]
    settings += ["N_HID_LAYER=2", "LOSS_TYPE=first_spike", "TRAIN_TAU=true", "MIN_TAU_M=5", "MIN_TAU_SYN=5"]
    settings += ["N_TRAIN=80", "N_VALIDATE=30", "HIDDEN_NEURON_TYPE=ALIF", "TRAIN_TAU_B=true", "MIN_TAU_B=5"]
    settings += ["N_INPUT_DELAY=2", "HIDDEN_OUTPUT_MEAN=0.001", "RECURRENT=true"]
    settings += ["INPUT_HIDDEN_DELAY_MAX=20", "HIDDEN_HIDDEN_DELAY_MAX=20"]
    assert cli.main("SHD", settings) == 0
    listed = capsys.readouterr().out.split("In out:\n")[1].splitlines()
    assert all(len(line.split(None, 1)) == 2 for line in listed), listed
    for name in ("w_hidden0_hidden1", "taum_hidden0", "tausyn_hidden1", "taub_hidden1"):
        assert any(f"test_{name}_last.npy" in line for line in listed)
    for name in ("delay_input_hidden", "delay_hidden1_hidden1"):
        (line,) = [line for line in listed if f"test_{name}_last.npy" in line]
        assert line.endswith("delays (ms), flat: element pre * n_post + post")
    assert Path("out/test_raster.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_line_from_start_to_end(small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """train_test prints accuracy and where everything lies, and leaves both pictures."""
    from eventprop import cli

    settings = [f"DATA_DIR={small_data}", "NUM_HIDDEN=10", "DT_MS=5", "TRIAL_MS=700", "N_EPOCH=1", "OUT_DIR=out"]
    assert cli.main("SHD", ["train_test", "--recipe", "digits", *settings]) == 0
    printed = capsys.readouterr().out
    assert "test accuracy" in printed and "digits_learning.png" in printed
    assert (
        Path("out/digits_learning.png").read_bytes()[:4] == Path("out/digits_raster.png").read_bytes()[:4] == b"\x89PNG"
    )
    folds = ["cross_validate", *settings, "SPEAKER_LEFT=[0,1]", "NAME=cv"]
    assert cli.main("SHD", folds) == 0
    assert "mean over 2 folds" in capsys.readouterr().out
    assert cli.main("SHD", ["--list-recipes"]) == 0
    assert "demo\n" in capsys.readouterr().out
