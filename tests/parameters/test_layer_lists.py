"""Keys that take a list with a value for each hidden layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eventprop.parameters.shd import KEYS, resolve_shd
from eventprop.parameters.typed import parse_settings
from eventprop.simulators.records import network_of

LISTS = {
    "NUM_HIDDEN": [128, 64],
    "HIDDEN_NEURON_TYPE": ["LIF", "ALIF"],
    "RECURRENT": [True, False],
    "PDROP_HIDDEN": [0.0, 0.1],
    "HIDDEN_NOISE": [0.1, 0.0],
    **{key: [1.0, 2.0] for key in ("LBD_UPPER", "LBD_LOWER", "NU_UPPER", "RHO_UPPER", "GLB_UPPER")},
}
"""All of these keys, with lists that are no other value than their entries."""


def test_they_are_all_that_say_so() -> None:
    assert set(LISTS) == {key.name for key in KEYS if key.per_layer}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_checked_entry_by_entry(name: str) -> None:
    """Fails if a list is taken with a wrong entry, or of another length than there are layers, or changes underway."""
    (key,) = (key for key in KEYS if key.name == name)
    values = LISTS[name]
    assert resolve_shd({name: values, "N_HID_LAYER": 2})[name] == values
    assert resolve_shd({name: np.array(values), "N_HID_LAYER": 2})[name] == values
    assert resolve_shd({name: [values[0]] * 3, "N_HID_LAYER": 3})[name] == values[0]
    for wrong, message in (
        ([values[0], None], f"^{name} must not be None"),
        ([values[0], values], f"^{name} must be "),
        ([], rf"^{name}=\[\] must have an entry for each hidden layer, and N_HID_LAYER=2; 2 entries would be right$"),
        (values[:1], rf"^{name}=.* hidden layer, and N_HID_LAYER=2; N_HID_LAYER=1 or 2 entries would be right$"),
    ):
        with pytest.raises(ValueError, match=message):
            resolve_shd({name: wrong, "N_HID_LAYER": 2})
    words = ",".join(map(str, values))
    for text in (f"[{words}]", f"[{words}]".lower() if key.kind == "bool" else str(values), f" [ {words} ] "):
        assert resolve_shd(parse_settings([f"{name}={text}", "N_HID_LAYER=2"], KEYS))[name] == values
    assert key.allowed().endswith(", or a list, one for each hidden layer")


def test_one_line_for_each_list_of_a_wrong_length() -> None:
    """Fails if other checks stumble over a list that is too short, or if lists are blamed for a wrong number."""
    with pytest.raises(ValueError) as error:
        resolve_shd({**LISTS, "N_HID_LAYER": 3})
    assert [line.split("=")[0] for line in str(error.value).splitlines()] == [k.name for k in KEYS if k.name in LISTS]
    with pytest.raises(ValueError, match=r"^N_HID_LAYER must be at least 1, got 0$"):
        resolve_shd({**LISTS, "N_HID_LAYER": 0})


CHECKED: list[tuple[dict[str, Any], str]] = [
    ({"HIDDEN_NEURON_TYPE": ["LIF", "ALIFF"]}, "'ALIFF' is not one of .*; did you mean 'ALIF'?"),
    ({"HIDDEN_NOISE": [0.0, 0.1], "SPIKE_TIMING": "exact"}, r"HIDDEN_NOISE=\[0.0, 0.1\] must be 0"),
    ({"HIDDEN_NEURON_TYPE": ["LIF", "QIF"], "SPIKE_TIMING": "exact"}, "is not for QIF neurons"),
    ({"HIDDEN_NEURON_TYPE": ["LIF", "QIF"], "TRAIN_TAU_B": True}, r'TRAIN_TAU_B needs .*, got \["LIF", "QIF"\]'),
    ({"HIDDEN_NEURON_TYPE": ["LIF", "hetLIF"], "TAU_MEM": 1.0, "MIN_TAU_M": 3.0}, "TAU_MEM=1 is below its lower bound"),
    ({"HIDDEN_NEURON_TYPE": ["LIF", "ALIF"], "B_INIT": -1.5}, "B_INIT=-1.5 must be above"),
    (
        {"HIDDEN_NEURON_TYPE": ["ALIF", "LIF"], "TRAIN_PARAMETERS": {"hidden": ["tau_b"]}},
        "ALIF and LIF neurons of hidden have no parameter 'tau_b'",
    ),
    (
        {"HIDDEN_NEURON_TYPE": ["ALIF", "LIF"], "TRAIN_PARAMETERS": {"hidden1": ["tau_b"]}},
        "LIF neurons of hidden1 have no parameter 'tau_b'",
    ),
]


@pytest.mark.parametrize(("change", "message"), CHECKED, ids=[str(c) for c, _ in CHECKED])
def test_every_layer_takes_part_in_checks(change: dict[str, Any], message: str) -> None:
    """Fails if only the first layer is looked at."""
    with pytest.raises(ValueError, match=message):
        resolve_shd({**change, "N_HID_LAYER": 2})


def test_the_network_is_as_the_lists_say() -> None:
    """Sizes, types, what is trained and drawn, recurrence and regularisation of each layer."""
    p = {**LISTS, "N_HID_LAYER": 2, "TRAIN_TAU_B": True, "REG_TYPE": "Thomas1", "MODEL_SEED": 1}
    p |= {"HETEROGENEOUS": {"hidden1": ["tau_b"]}, "TRAIN_PARAMETERS": {"hidden0": ["v_thresh"]}}
    network = network_of(resolve_shd(p), 30, 5)
    assert [(q.size, q.model.name, q.trained) for q in network.hidden] == [
        (128, "LIF", ("v_thresh",)),
        (64, "ALIF", ("tau_b",)),
    ]
    assert {s.name: s.shape for s in network.projections} == {
        "in_to_hid": (30, 128),
        "hid_to_hid0": (128, 128),
        "hid_to_hidfwd0": (128, 64),
        "hid_to_out": (64, 5),
    }
    assert [own["nu_upper"] for own in network.regularisation] == [1.0, 2.0]
    assert np.ptp(network.hidden[1].parameters["tau_b"]) > 0
