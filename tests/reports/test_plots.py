"""Pictures: what is on which axis, and that nothing that is drawn is left out of a legend."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventprop import cli
from eventprop.reports import drawing, plots
from tests.shell.test_cli import SMALL

NAMES = ("yin", "yang", "dot")
T, IDS = np.array([1.0, 25.0, 9.0]), np.array([0, 3, 4])


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def sample(label: int, prediction: int, last: float = 25.0) -> dict[str, Any]:
    layers = [(T, IDS), (np.array([last]), np.array([1]))]
    return {"input": (T, IDS), "hidden": layers, "scores": np.arange(3.0), "label": label, "prediction": prediction}


def test_a_raster_has_an_axis_for_each_layer_and_one_for_time() -> None:
    """Class names everywhere; the same time in all panels, whatever each sample's last spike is."""
    figure = plots.raster([sample(0, 2), sample(1, -1, last=40.0), sample(2, 2)], 50.0, 5, (10, 20), names=NAMES)
    grid = np.array(figure.axes).reshape(4, 3)
    assert [ax.get_ylabel() for ax in grid[:, 0]] == [
        "input channel",
        "neuron of hidden0",
        "neuron of hidden1",
        "score",
    ]
    assert {ax.get_xlim() for ax in grid[:3].flat} == {(0.0, 42.0)}
    assert [ax.get_ylim()[1] for ax in grid[:3, 1]] == [4.5, 9.5, 19.5]
    assert [ax.get_title() for ax in grid[0]] == ["yin\ntaken for dot", "yang\nnot recognised", "dot"]
    assert [text.get_text() for text in grid[3, 0].get_xticklabels()] == list(NAMES)
    assert legend(figure) == ["true class", "taken for, wrongly", "other classes"]
    right = plots.raster([{**sample(1, 1), "hidden": (T, IDS)}], 50.0, 5, 10)  # as it was called before
    assert right.axes[0].get_title() == "class 1" and legend(right) == ["true class", "other classes"]


def test_true_classes_are_rows_of_the_confusion_picture() -> None:
    matrix = np.array([[8, 0, 1], [2, 5, 0], [0, 0, 9]])  # [predicted, true]
    ax = plots.confusion(matrix, NAMES).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("taken for", "true class")
    np.testing.assert_allclose(ax.images[0].get_array()[0], [0.8, 0.2, 0.0])  # of "yin"
    assert {text.get_position(): text.get_text() for text in ax.texts}[1, 0] == "2"


def test_curves_carry_no_text() -> None:
    """The last accuracy is in the legend, and no marker is cut off."""
    history = [
        {"epoch": i, "train_accuracy": 0.5, "train_loss": 3.0 - i, "eval_accuracy": 0.25, "eval_loss": 4.0 - i}
        for i in range(2)
    ]
    figure = plots.learning_curves(history, evaluated="validation")
    assert not any(ax.texts for ax in figure.axes) and figure.axes[1].get_ylim()[1] > 4.1
    assert legend(figure) == ["training (50.0% in the last epoch)", "validation (25.0% in the last epoch)"]


def test_legends_of_maps_are_complete() -> None:
    """The grey of no class and the red of what is wrong, where there is some of it."""
    xy, labels = np.random.default_rng(0).random((4, 2)), np.array([0, 1, 2, 0])
    assert legend(plots.points_by_class(xy, np.array([0, 1, -1, 1]), labels, NAMES)) == [
        *NAMES,
        "no class",
        "wrong (50.0%)",
    ]
    assert legend(plots.points_by_class(xy, labels, labels, NAMES)) == list(NAMES)
    assert legend(plots.decision_map(np.zeros((2, 2), int), NAMES)) == list(NAMES)
    assert legend(plots.decision_map(np.full((2, 2), -1), NAMES))[3].startswith("no class")
    times = np.array([[1.0, np.nan, 2.0]] * 4)
    shown = legend(plots.first_spikes(xy, times, labels, NAMES))
    assert shown == ["taken for this class", "taken for another", "output does not spike"]


def test_potentials_adjoints_delays_and_time_constants() -> None:
    times, v = np.arange(1.0, 31.0), np.linspace(0.0, 0.9, 30)
    figure = plots.potential(times, v, np.array([4.0, 9.0]), 1.0)
    assert legend(figure) == ["potential", "threshold", "spikes (2)"]
    assert figure.axes[0].lines[1].get_ydata().tolist() == [1.0] * 30
    assert legend(plots.potential(times, v, np.array([]))) == ["potential"]
    figure = plots.voltages(times, {"V": np.ones((30, 2))}, {"lambda_V": np.ones((30, 3))})
    assert [ax.get_ylabel() for ax in figure.axes] == ["$V$", r"$\lambda_V$ (adjoint)"]
    assert legend(figure) == ["neuron 0", "neuron 1", "neuron 2"]
    rng = np.random.default_rng(0)
    before, after = rng.random((5, 6)), rng.random((5, 6))
    figure = plots.delays({"in_to_hid": after}, {"in_to_hid": before})
    assert figure.axes[0].get_xlabel() == "delay (ms)" and legend(figure) == ["after training", "before"]
    assert sum(bar.get_height() for bar in figure.axes[0].patches[:30]) == 30
    figure = plots.time_constants({"hidden0": {"tau_mem": np.full(4, 20.0), "tau_syn": after[0]}})
    assert [ax.get_title() for ax in figure.axes[:2]] == [
        r"hidden0: $\tau_\mathrm{mem}$",
        r"hidden0: $\tau_\mathrm{syn}$",
    ]
    assert not figure.legends


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_files_of_each_kind_repeat(kind: str, start: bytes) -> None:
    made = [drawing.as_bytes(plots.confusion(np.eye(3), NAMES), kind) for _ in range(2)]
    assert made[0] == made[1] and made[0].startswith(start)
    plots.save(plots.confusion(np.eye(3)), Path(f"x.{kind}"))
    assert Path(f"x.{kind}").read_bytes().startswith(start)


def test_vector_files_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """All pictures of a run, and each is told; letters stay letters."""
    more = ["PICTURE_FORMAT=svg", "TRAINING_PLOT=true", "FANCY_PLOTS=true", "N_VALIDATE=9", "HIDDEN_NEURON_TYPE=hetLIF"]
    more += ["INPUT_HIDDEN_DELAY_MAX=4", "INPUT_HIDDEN_DELAY_MEAN=2", "INPUT_HIDDEN_DELAY_STD=1", "MIN_TAU_M=4"]
    assert cli.main("yinyang", [*SMALL, *more, "NAME=k", "MIN_TAU_SYN=2"]) == 0
    said = capsys.readouterr().out
    pictures = {path.name for path in Path("out").glob("*.svg")}
    parts = ("learning", "raster", "confusion", "delays", "time_constants", "epoch1_classes", "epoch1_first_spikes")
    assert pictures == {f"k_{part}.svg" for part in parts} and not list(Path("out").glob("*.png"))
    for name in pictures:
        (line,) = [line for line in said.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.split()) > 2
    text = io.StringIO(Path("out/k_confusion.svg").read_text()).read()
    assert "true class" in text and "yang" in text
