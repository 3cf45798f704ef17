"""What must hold between keys: what is refused together, what is a warning, and what goes together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
from eventprop.parameters.shd import resolve_shd

ALIF = {"HIDDEN_NEURON_TYPE": "ALIF"}
EXACT = {"SPIKE_TIMING": "exact"}
TOGETHER: list[tuple[dict[str, Any], str]] = [
    (
        {"LOSS_TYPE": "first_spike", "OUTPUT_NEURON_TYPE": "hetLI"},
        'OUTPUT_NEURON_TYPE="hetLI" never spikes, and LOSS_TYPE="first_spike" needs spikes; "LIF", or "LI"',
    ),
    (
        {"LOSS_TYPE": "max", "OUTPUT_NEURON_TYPE": "LIF"},
        'OUTPUT_NEURON_TYPE="LIF" spikes, and LOSS_TYPE="max" reads voltages; "LI" or "hetLI", or LOSS_TYPE '
        '"first_spike" or "first_spike_exp", would be right',
    ),
    ({"LOSS_TYPE": "first_spike_exp", "TAU_1": 1.0}, "TAU_1=1 makes the penalty exp(TRIAL_MS / TAU_1) too large"),
    ({"TAU_SYN": 0.019}, "TAU_SYN=0.019 is far below DT_MS=1; it must be at least 0.02"),
    ({"TAU_MEM": 1e-9}, "TAU_MEM=1e-09 is far below DT_MS=1"),
    ({"TAU_MEM": 1e-300}, "TAU_MEM must be at least 1e-09, got 1e-300"),
    ({**ALIF, "TAU_B": 0.01}, "TAU_B=0.01 is far below DT_MS=1"),
    ({"TRAIN_TAU": True, "MIN_TAU_SYN": 1e-9}, "MIN_TAU_SYN=1e-09 is far below DT_MS=1"),
    ({"HIDDEN_NEURON_TYPE": "hetLIF", "MIN_TAU_M": 20.5}, "TAU_MEM=20 is below its lower bound MIN_TAU_M=20.5"),
    ({"OUTPUT_NEURON_TYPE": "hetLI", "MIN_TAU_SYN": 6.0}, "TAU_SYN=5 is below its lower bound MIN_TAU_SYN=6"),
    ({"TRAIN_TAU": True, "TAU_MEM": 2.0}, "TAU_MEM=2 is below its lower bound MIN_TAU_M=3"),
    ({"TRAIN_TAU_OUTPUT": True, "MIN_TAU_SYN": 6.0}, "TAU_SYN=5 is below its lower bound MIN_TAU_SYN=6"),
    ({**ALIF, "TRAIN_TAU_B": True, "MIN_TAU_B": 101.0}, "TAU_B=100 is below its lower bound MIN_TAU_B=101"),
    (
        {"HIDDEN_HIDDEN_P": 0.5, "RECURRENT": [False, False], "N_HID_LAYER": 2},
        "HIDDEN_HIDDEN_P=0.5 is of synapses that are not there; they need RECURRENT=True",
    ),
    ({"HIDDEN_HIDDENFWD_P": 0.5}, "HIDDEN_HIDDENFWD_P=0.5 is of synapses that are not there; they need N_HID_LAYER"),
    ({"TRAIN_TAU_B": True}, 'TRAIN_TAU_B needs HIDDEN_NEURON_TYPE="ALIF", got "LIF"'),
    ({"N_INPUT_DELAY": 1, "INPUT_DELAY": 2.5}, "INPUT_DELAY=2.5 is no whole multiple of DT_MS=1; 2 would be"),
    ({"N_INPUT_DELAY": 1, "INPUT_DELAY": 0.2}, "INPUT_DELAY=0.2 is no whole multiple of DT_MS=1; 1 would be"),
    (
        {"N_INPUT_DELAY": 28},
        "N_INPUT_DELAY=28 times INPUT_DELAY=50 is 1400 ms, so the last copy would come after the trial; it must be "
        "below TRIAL_MS=1400",
    ),
    (
        {"N_INPUT_DELAY": 93, "INPUT_DELAY": 1.0},
        "N_INPUT_DELAY=93 makes 65800 input channels; 65535 are possible, N_INPUT_DELAY at most 92",
    ),
    ({**ALIF, "B_INIT": -1.0}, "B_INIT=-1 must be above V_RESET - V_THRESH = -1"),
    ({**EXACT, "HIDDEN_NOISE": 0.1}, 'SPIKE_TIMING="exact": HIDDEN_NOISE=0.1 must be 0'),
    ({**EXACT, "LOSS_TYPE": "max"}, 'SPIKE_TIMING="exact": LOSS_TYPE="max" has no closed form'),
    ({**EXACT, "LOSS_TYPE": "avg_xentropy"}, 'SPIKE_TIMING="exact": LOSS_TYPE="avg_xentropy" has no closed form'),
    ({**EXACT, **ALIF, "B_INCR": -0.1}, 'SPIKE_TIMING="exact": B_INCR=-0.1 must not be negative'),
    ({**EXACT, **ALIF, "B_INIT": -0.1}, 'SPIKE_TIMING="exact": B_INIT=-0.1 must not be negative'),
]


@pytest.mark.parametrize(("change", "message"), TOGETHER, ids=[str(c) for c, _ in TOGETHER])
def test_what_does_not_go_together_is_refused(change: dict[str, Any], message: str) -> None:
    """One line that names the keys, what is wrong and what would be right."""
    with pytest.raises(ValueError) as error:
        resolve_shd(change)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


GOES_TOGETHER: list[dict[str, Any]] = [
    *(
        {"LOSS_TYPE": loss, "OUTPUT_NEURON_TYPE": n}
        for loss in ("first_spike", "first_spike_exp")
        for n in ("LI", "LIF")
    ),
    {"DT_MS": 5.0},
    {"TAU_B": 0.5},
    {"MIN_TAU_M": 30.0, "MIN_TAU_SYN": 0.1, "MIN_TAU_B": 0.1},
    {"INPUT_DELAY": 2.5},
    {"N_INPUT_DELAY": 92, "INPUT_DELAY": 15.0},
    {"N_INPUT_DELAY": 10, "INPUT_DELAY": 0.3, "DT_MS": 0.1},
    {"B_INIT": -2.0},
    {**ALIF, "B_INIT": -0.5, "B_INCR": -0.1, "TRAIN_TAU": True, "TRAIN_TAU_B": True},
    {**EXACT, "B_INCR": -0.1, "LOSS_TYPE": "first_spike", "TRAIN_TAU_OUTPUT": True, "PDROP_HIDDEN": 0.5},
    {"AVG_SNSUM": True},
]


@pytest.mark.parametrize("change", GOES_TOGETHER, ids=map(str, GOES_TOGETHER))
def test_what_goes_together_is_accepted(change: dict[str, Any]) -> None:
    """Fails if a check refuses more than it should, e.g. for a key that takes no part."""
    assert {k: resolve_shd(change)[k] for k in change} == change


def test_a_check_of_several_keys_waits_for_each() -> None:
    """A key that is wrong by itself must bring no further complaint, and no crash."""
    for key in ("TAU_SYN", "MIN_TAU_M", "INPUT_DELAY", "B_INIT", "HIDDEN_NOISE", "TAU_1", "TRIAL_MS", "DT_MS"):
        p = {**ALIF, **EXACT, "TRAIN_TAU": True, "N_INPUT_DELAY": 3, "LOSS_TYPE": "first_spike_exp"}
        with pytest.raises(ValueError) as error:
            resolve_shd({**p, key: "x"})
        assert str(error.value) == f"{key} must be a number, got 'x'"
    for key in ("HIDDEN_NEURON_TYPE", "OUTPUT_NEURON_TYPE", "LOSS_TYPE", "SPIKE_TIMING", "ETA_SCHEDULE"):
        with pytest.raises(ValueError, match=f"^{key}='x' is not one of [^\n]*$"):
            resolve_shd({"TRAIN_TAU_B": True, **ALIF, "LABEL_SMOOTHING": 0.1, "LOSS_WINDOW": [0.0, 50.0], key: "x"})


@pytest.mark.parametrize(
    "change", [{"DT_MS": 10.0}, {"DT_MS": 20.0}, {"TAU_MEM": 0.5}, {**ALIF, "TAU_B": 0.5}], ids=str
)
def test_a_time_constant_below_the_step_is_a_warning(change: dict[str, Any]) -> None:
    """Propagators are exact at any step; that a spike's effect is gone by its end is said."""
    with pytest.warns(
        UserWarning, match=r"TAU_(SYN|MEM|B)=.* is below DT_MS=.*: a spike's effect decays within a step"
    ):
        assert {k: resolve_shd(change)[k] for k in change} == change


@pytest.mark.filterwarnings("ignore:TAU_SYN=5 is below DT_MS")
@pytest.mark.parametrize("neurons", ["LIF", "hetLIF", "ALIF"])
def test_steps_longer_than_time_constants(neurons: str, small_data: Path) -> None:
    """With exact spike times the gradient is the same at steps of 1, 10 and 20 ms; on the grid it is finite."""
    rng = np.random.default_rng(1)
    X = [{"x": rng.integers(0, 700, 900), "t": 20.0 * rng.integers(0, 8, 900)} for _ in range(4)]
    p = {**simulator_SHD.p, "DATA_DIR": str(small_data), "TRIAL_MS": 800.0, "NUM_HIDDEN": 30, "MODEL_SEED": 3}
    p |= {"LOSS_TYPE": "sum", "INPUT_HIDDEN_MEAN": 0.1, "INPUT_HIDDEN_STD": 0.08, "RECURRENT": True}
    p |= {"HIDDEN_HIDDEN_MEAN": 0.0, "HIDDEN_HIDDEN_STD": 0.02, "HIDDEN_NEURON_TYPE": neurons, "TRAIN_TAU": True}

    def gradient(timing: str, dt_ms: float) -> np.ndarray:
        q = {**p, "SPIKE_TIMING": timing, "DT_MS": dt_ms}
        found = simulator_SHD.SHD_model(q).gradients(q, X, [0, 1, 2, 3])
        assert found.grads["in_to_hid"].any()
        arrays = [*found.grads.values(), *(a for own in found.time_constants.values() for a in own.values())]
        return np.concatenate([array.ravel() for array in arrays])

    expected = gradient("exact", 1.0)
    for dt_ms in (10.0, 20.0):
        assert np.linalg.norm(gradient("exact", dt_ms) - expected) < 1e-4 * np.linalg.norm(expected)
        assert np.isfinite(gradient("grid", dt_ms)).all()
