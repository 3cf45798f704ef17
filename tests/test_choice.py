"""A value that was added to those that are allowed, and nowhere else, is an error: it never stands for another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import models
import simulator_SHD
from eventprop.backends import Settings, build
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.choice import meaning
from eventprop.data.smnist import Code
from eventprop.description import HIDDEN_NEURONS, OUTPUT_NEURONS
from eventprop.parameters import dvs as dvs_parameters
from eventprop.parameters import shd as shd_parameters
from eventprop.parameters.shd import KEYS, resolve_shd
from eventprop.simulators.records import network_of
from simulator_SHD import SHD_model
from tests.support.small import random_case

# Keys of the network's description, and values that exist.
DESCRIBED = ["HIDDEN_NEURON_TYPE", "OUTPUT_NEURON_TYPE", "LOSS_TYPE", "REG_TYPE", "LOSS_SCALE", "SPIKE_TIMING"]
ANYWHERE = [*DESCRIBED, "BACKEND", "DATA_SET", "EVALUATION", "EMA_WHICH", "CHECKPOINT_BEST"]


@pytest.mark.parametrize("key", DESCRIBED)
def test_a_network_of_something_unknown(key: str) -> None:
    """Fails if QIF neurons are LIF neurons, and the like."""
    with pytest.raises(ValueError) as error:
        network_of({**resolve_shd({}), key: "QIF"}, 700, 20)
    assert str(error.value).startswith(f"{key}='QIF' stands for nothing here; there are: '")


@pytest.mark.parametrize("key", ANYWHERE)
def test_a_value_that_is_only_allowed(key: str, monkeypatch: pytest.MonkeyPatch, small_data: Path) -> None:
    """The whole way, from ``p`` to the end of training: nobody takes it for another one."""

    def allowed(own: Any) -> Any:
        return replace(own, choices=(*own.choices, "QIF")) if own.name == key else own

    monkeypatch.setattr(shd_parameters, "KEYS", tuple(map(allowed, KEYS)))
    p: dict[str, Any] = {**simulator_SHD.p, "DATA_DIR": str(small_data), "N_TRAIN": 60, "N_VALIDATE": 20, "N_EPOCH": 1}
    p |= {"NUM_HIDDEN": 5, "BACKEND": "cpu", "NUM_THREADS": 1, "WRITE_TO_DISK": False, "TIMING": False, key: "QIF"}
    with pytest.raises(ValueError, match=f"{key}=.QIF. .*; there are: "):
        SHD_model(p).train(p)


def test_outputs_that_do_not_go_with_the_loss() -> None:
    """Fails if outputs that should not spike do, or the other way round, where nobody has checked before."""
    for outputs, loss in (("hetLI", "first_spike"), ("LIF", "sum")):
        with pytest.raises(
            ValueError, match=f"OUTPUT_NEURON_TYPE='{outputs}' stands for nothing here; there are: 'LI'"
        ):
            network_of({**resolve_shd({}), "OUTPUT_NEURON_TYPE": outputs, "LOSS_TYPE": loss}, 700, 20)


def test_what_is_allowed_is_what_there_is() -> None:
    """Fails if a key allows a value without a meaning, or a model has none that stands for it."""
    choices, seeded = {key.name: key.choices for key in KEYS}, {**resolve_shd({}), "MODEL_SEED": 1}
    assert choices["HIDDEN_NEURON_TYPE"] == tuple(HIDDEN_NEURONS)
    assert choices["OUTPUT_NEURON_TYPE"] == tuple(OUTPUT_NEURONS)
    for name, (model, drawn) in HIDDEN_NEURONS.items():
        q = network_of({**seeded, "HIDDEN_NEURON_TYPE": name}, 700, 20).hidden[0]
        assert q.model == model and bool(q.per_neuron) == drawn
    for name, own in OUTPUT_NEURONS.items():
        for spiking, (model, drawn) in own.items():
            loss = {True: "first_spike", False: "max"}[spiking]
            q = network_of({**seeded, "OUTPUT_NEURON_TYPE": name, "LOSS_TYPE": loss}, 700, 20).output
            assert q.model == model and bool(q.per_neuron) == drawn
            assert bool(model.threshold) == spiking == models.LOSSES[loss].spiking


def test_engines_of_something_unknown() -> None:
    network = random_case().network()
    with pytest.raises(ValueError, match=r"BACKEND='QIF' is not there; there are: 'auto', 'cpu', 'cuda'"):
        build(network, Settings(backend="QIF"))
    with pytest.raises(ValueError, match="SPIKE_TIMING='QIF' stands for nothing here"):
        replace(network, spike_timing="QIF")
    with pytest.raises(ValueError, match="real='half' stands for nothing here; there are: 'float', 'double'"):
        CpuEngine(network, real="half")


def test_meaning() -> None:
    assert meaning("KEY", "a", {"a": 1, "b": None}) == 1 and meaning("KEY", "b", {"a": 1, "b": None}) is None
    with pytest.raises(ValueError, match=r"KEY=3 stands for nothing here; there are: 'a'"):
        meaning("KEY", 3, {"a": 1})


def test_images_in_an_unknown_code() -> None:
    with pytest.raises(ValueError, match="ENCODING='QIF' stands for nothing here; there are: 'thresholds', 'rows'"):
        Code("QIF", 99, True, 2.0)


def test_an_unknown_set_of_recordings() -> None:
    with pytest.raises(ValueError, match=r"DATA_SET='QIF' stands for nothing here; there are: .*'NMNIST', 'DEMO'"):
        dvs_parameters.source("QIF")
