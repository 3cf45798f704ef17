"""What is told of a network that does not learn: what was measured, and a factor that was tried."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from eventprop.data.demo_spikes import demo
from eventprop.training.diagnosis import diagnose, warn_of_chance
from simulator_spikes import p, spikes_model
from tests.training.test_fluctuation import potentials

NUMBERS = np.arange(32)


def model(**change: Any) -> spikes_model:
    settings = {"NUM_HIDDEN": 64, "MODEL_SEED": 3, "WRITE_TO_DISK": False, "TIMING": False, "N_EPOCH": 1}
    return spikes_model({**p, **settings, **change}, train=demo("train", 150)[:2])


def told(mn: spikes_model) -> str:
    """The diagnosis; the engine's weights are the same afterwards."""
    engine = mn._ready(mn.p)
    before = engine.weights()
    line = diagnose(engine, mn.data.train.spikes, NUMBERS)
    assert all((w == before[name]).all() for name, w in engine.weights().items())
    return line


def silent_share(mn: spikes_model) -> float:
    counts = mn._ready(mn.p).run(mn.data.train.spikes, NUMBERS, None).spike_counts
    return float((counts.sum(axis=0) == 0).mean())


def test_a_silent_layer() -> None:
    """The potential is the one that is reached, and the factor wakes half of the neurons, where less does not."""
    mean, sd = p["INPUT_HIDDEN_MEAN"], p["INPUT_HIDDEN_STD"]
    mn = model()
    found = re.fullmatch(
        r"hidden0: 64 of 64 neurons never spiked in 32 samples; their potential reached ([0-9.]+) of the threshold; "
        r"multiply INPUT_HIDDEN_MEAN and _STD by about ([0-9.]+)",
        told(mn),
    )
    assert found is not None
    assert float(found[1]) == pytest.approx(potentials(mn)[NUMBERS].max(), rel=0.05)
    factor = float(found[2])
    for scale, awake in ((1.05 * factor, True), (0.85 * factor, False)):
        share = silent_share(model(INPUT_HIDDEN_MEAN=mean * scale, INPUT_HIDDEN_STD=sd * scale))
        assert (share <= 0.5) is awake


def test_the_layer_that_is_silent_first() -> None:
    """Those above it have no input, and nothing is said of them."""
    mn = model(N_HID_LAYER=2, INPUT_HIDDEN_MEAN=0.0, INPUT_HIDDEN_STD=2.6)
    assert told(mn).startswith("hidden1: 64 of 64 neurons never spiked")
    assert "multiply HIDDEN_HIDDENFWD_MEAN and _STD by about" in told(mn)


def test_outputs_that_never_spike() -> None:
    """Where first spikes decide, outputs are a layer, too: the factor gives half of the samples an answer."""
    spiking = {"LOSS_TYPE": "first_spike", "INPUT_HIDDEN_MEAN": 0.0, "INPUT_HIDDEN_STD": 2.6, "HIDDEN_OUTPUT_STD": 0.02}
    found = re.fullmatch(
        r"output: none of its neurons spiked in 32 of 32 samples; their potential reached 0\.[0-9]+ of the threshold; "
        r"multiply HIDDEN_OUTPUT_MEAN and _STD by about ([0-9.]+)",
        told(model(**spiking, HIDDEN_OUTPUT_MEAN=0.02)),
    )
    assert found is not None
    for scale, enough in ((1.05, True), (0.85, False)):
        weights = {key: 0.02 * scale * float(found[1]) for key in ("HIDDEN_OUTPUT_MEAN", "HIDDEN_OUTPUT_STD")}
        mn = model(**{**spiking, **weights})
        predictions = mn._ready(mn.p).run(mn.data.train.spikes, NUMBERS, None).predictions
        assert bool((predictions >= 0).mean() >= 0.5) is enough


def test_a_layer_that_only_inhibition_reaches() -> None:
    assert told(model(INPUT_HIDDEN_MEAN=-1.0, INPUT_HIDDEN_STD=0.1)).endswith(
        "nothing excites them: a larger INPUT_HIDDEN_MEAN, or input, is missing"
    )


def test_a_layer_that_never_rests() -> None:
    mean, sd = 300.0, 50.0
    line = told(model(INPUT_HIDDEN_MEAN=mean, INPUT_HIDDEN_STD=sd, TRIAL_MS=60.0))
    found = re.fullmatch(
        r"hidden0: 64 of 64 neurons spiked in more than a quarter of all steps \([0-9.]+ spikes in a trial of 60 "
        r"steps\); divide INPUT_HIDDEN_MEAN and _STD by about ([0-9.e+]+)",
        line,
    )
    assert found is not None
    calm = 1.0 / (1.05 * float(found[1]))
    assert told(model(INPUT_HIDDEN_MEAN=mean * calm, INPUT_HIDDEN_STD=sd * calm, TRIAL_MS=60.0)) == ""


def test_a_network_that_is_awake_is_not_spoken_of() -> None:
    assert told(model(WEIGHT_INIT="fluctuation")) == ""


def test_it_is_told_before_the_first_epoch_and_after_each(capsys: pytest.CaptureFixture[str]) -> None:
    mn = model(N_EPOCH=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        mn.train(mn.p)
    lines = capsys.readouterr().out.splitlines()
    which = [line.split()[0] for line in lines if line.startswith(("hidden0:", "epoch"))]
    assert which == ["hidden0:", "hidden0:", "epoch", "hidden0:", "epoch"]
    silence = [str(w.message) for w in said if "none of the 64 neurons of hidden0 spiked" in str(w.message)]
    assert silence and "multiply INPUT_HIDDEN_MEAN and _STD by about" in silence[0]


@pytest.mark.parametrize(
    ("accuracy", "sizes", "spoken"),
    [
        (0.5, (50, 50), True),
        (0.59, (50, 50), True),  # within two standard deviations of 5 %
        (0.62, (50, 50), False),
        (0.7, (70, 30), True),  # always the same answer
        (0.3, (50, 50), True),
        (0.2, (20,) * 20, False),
        (0.06, (20,) * 20, True),
        (0.5, (8, 8), False),  # nothing can be told of so few
        (1.0, (100,), False),  # of one class
        (float("nan"), (50, 50), False),
    ],
)
def test_a_run_at_chance(accuracy: float, sizes: tuple[int, ...], spoken: bool) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warn_of_chance(None, accuracy, labels, "validation")
    assert [str(w.message) for w in said if "no better than chance" in str(w.message)] == [str(w.message) for w in said]
    assert bool(said) is spoken
