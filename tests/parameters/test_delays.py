"""Keys of delays: every setting that cannot be is one error, which names the key."""

from __future__ import annotations

from typing import Any

import pytest

from eventprop.parameters.delays import PROJECTIONS
from eventprop.parameters.shd import resolve_shd
from eventprop.simulators.records import network_of

GOOD: dict[str, Any] = {"TRIAL_MS": 400.0, "DT_MS": 5.0, "RECURRENT": True, "N_HID_LAYER": 2}
GOOD |= {f"{name}_DELAY_MAX": 50.0 for name in PROJECTIONS} | {"TRAIN_DELAYS": ["INPUT_HIDDEN", "HIDDEN_OUTPUT"]}

BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"INPUT_HIDDEN_DELAY_MAX": 0.0},
        "TRAIN_DELAYS has 'INPUT_HIDDEN', whose delays have no room: INPUT_HIDDEN_DELAY_",
    ),
    (
        {"INPUT_HIDDEN_DELAY_MAX": 400.0},
        "INPUT_HIDDEN_DELAY_MAX=400 must be below TRIAL_MS=400: what comes later never",
    ),
    ({"HIDDEN_OUTPUT_DELAY_MAX": -1.0}, "HIDDEN_OUTPUT_DELAY_MAX must be at least 0, got -1"),
    ({"HIDDEN_OUTPUT_DELAY_MAX": float("inf")}, "HIDDEN_OUTPUT_DELAY_MAX must be finite, got inf"),
    (
        {"HIDDEN_OUTPUT_DELAY_MAX": 4.0},
        "HIDDEN_OUTPUT_DELAY_MAX=4 is below DT_MS=5, so delays would hardly differ from",
    ),
    ({"HIDDEN_OUTPUT_DELAY_MAX": [1.0]}, "HIDDEN_OUTPUT_DELAY_MAX must be a number, got [1.0]"),
    ({"HIDDEN_HIDDEN_DELAY_MEAN": -1.0}, "HIDDEN_HIDDEN_DELAY_MEAN must be at least 0, got -1"),
    ({"HIDDEN_HIDDEN_DELAY_MEAN": 51.0}, "HIDDEN_HIDDEN_DELAY_MEAN=51.0 is above HIDDEN_HIDDEN_DELAY_MAX=50"),
    ({"HIDDEN_HIDDEN_DELAY_STD": -1.0}, "HIDDEN_HIDDEN_DELAY_STD must be at least 0, got -1"),
    (
        {"HIDDEN_HIDDEN_DELAY_STD": 1.0, "HIDDEN_HIDDEN_DELAY_MAX": 0.0},
        "HIDDEN_HIDDEN_DELAY_STD=1 needs HIDDEN_HIDDEN_DELAY_MAX above 0",
    ),
    ({"HIDDEN_HIDDENFWD_DELAY_UNIFORM": 3.0}, "HIDDEN_HIDDENFWD_DELAY_UNIFORM must be a list of two numbers"),
    ({"HIDDEN_HIDDENFWD_DELAY_UNIFORM": [3.0]}, "must be a list of two numbers, [least, most], got [3.0]"),
    ({"HIDDEN_HIDDENFWD_DELAY_UNIFORM": [3.0, 2.0]}, "must be a list of two numbers, [least, most], got [3.0, 2.0]"),
    ({"HIDDEN_HIDDENFWD_DELAY_UNIFORM": [-1.0, 2.0]}, "HIDDEN_HIDDENFWD_DELAY_UNIFORM must be at least 0, got -1"),
    ({"HIDDEN_HIDDENFWD_DELAY_UNIFORM": [0.0, float("nan")]}, "each entry of HIDDEN_HIDDENFWD_DELAY_UNIFORM must be f"),
    ({"HIDDEN_HIDDENFWD_DELAY_UNIFORM": [0.0, 51.0]}, "UNIFORM=[0.0, 51.0] is above HIDDEN_HIDDENFWD_DELAY_MAX=50"),
    (
        {"INPUT_HIDDEN_DELAY_UNIFORM": [0.0, 50.0], "INPUT_HIDDEN_DELAY_MEAN": 5.0},
        "INPUT_HIDDEN_DELAY_UNIFORM=[0.0, 50.0] and INPUT_HIDDEN_DELAY_MEAN or INPUT_HIDDEN_DELAY_STD both say",
    ),
    ({"RECURRENT": False}, "HIDDEN_HIDDEN_DELAY_MAX=50 is of synapses that are not there; they need RECURRENT=True"),
    (
        {"N_HID_LAYER": 1},
        "HIDDEN_HIDDENFWD_DELAY_MAX=50 is of synapses that are not there; they need N_HID_LAYER above 1",
    ),
    (
        {"TRAIN_DELAYS": ["HIDDEN"]},
        "TRAIN_DELAYS has 'HIDDEN'; there are INPUT_HIDDEN, HIDDEN_HIDDEN, HIDDEN_HIDDENFWD,",
    ),
    ({"TRAIN_DELAYS": "INPUT_HIDDEN"}, "TRAIN_DELAYS must be a list of names, got 'INPUT_HIDDEN'"),
    ({"TRAIN_DELAYS": True}, "TRAIN_DELAYS must be a list of names, got True"),
    ({"ETA_DELAY": -0.1}, "ETA_DELAY must be at least 0, got -0.1"),
    ({"ETA": 0.0}, "TRAIN_DELAYS needs ETA above 0, whose schedule ETA_DELAY follows"),
    ({"DELAY_PER": "axon"}, "DELAY_PER='axon' is not one of 'synapse', 'source', 'target'"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(c) for c, _ in BAD])
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    """Fails if one is taken, or is told by more than one line."""
    with pytest.raises(ValueError) as error:
        resolve_shd({**GOOD, **change})
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_what_the_keys_make() -> None:
    """Fails if a projection has the delays of another, or a default of some."""
    network = network_of(resolve_shd({**GOOD, "HIDDEN_HIDDENFWD_DELAY_MAX": 40.0, "NUM_HIDDEN": 4}), 3, 2)
    made = {name: (delay.most, delay.trained, delay.per) for name, (_, delay) in network.delays.items()}
    assert made == {
        "in_to_hid.delay": (50.0, True, "synapse"),
        "hid_to_hid0.delay": (50.0, False, "synapse"),
        "hid_to_hid1.delay": (50.0, False, "synapse"),
        "hid_to_hidfwd0.delay": (40.0, False, "synapse"),
        "hid_to_out.delay": (50.0, True, "synapse"),
    }
    plain = resolve_shd({"NUM_HIDDEN": 4})
    assert not network_of(plain, 3, 2).delays
