"""No key is ignored: what a few runs read of ``p`` and of the records made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

import simulator_SHD
from eventprop.description import hidden_neurons
from eventprop.parameters import shd as shd_parameters
from eventprop.parameters.delays import PROJECTIONS
from eventprop.parameters.shd import KEYS, resolve_shd
from eventprop.simulators.records import RECORDS
from tests.parameters.test_belonging import KEY_OF


class Watched(dict[str, Any]):
    """A dict that remembers which keys were read."""

    read: ClassVar[set[str]] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


def watch_records(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is read of any record from now on, under the names of the keys."""
    read: set[str] = set()

    def noting(self: Any, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name == "values":
            return Values(value)
        read.add(KEY_OF.get(name, name.upper()))
        return value

    class Values(dict[str, float]):
        def __getitem__(self, name: str) -> float:
            read.add(name.upper())
            return super().__getitem__(name)

    for record in RECORDS.values():
        monkeypatch.setattr(record, "__getattribute__", noting, raising=False)
    return read


# Read by the GeNN backend or the command line alone, or made for data that has them; the sentence of each says so.
WITHOUT_EFFECT_HERE = {"BUILD", "N_MAX_SPIKE", "SPK_REC_STEPS", "CUDA_VISIBLE_DEVICES", "PIPELINE"}


def test_every_key_is_read(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key may be ignored: a few runs must read each of them, of its record or, where there is none, of ``p``."""
    monkeypatch.setattr(Watched, "read", set())
    of_records = watch_records(monkeypatch)
    monkeypatch.setattr(shd_parameters, "resolve_shd", lambda p: Watched(resolve_shd(p)))
    p = {
        **simulator_SHD.p,
        "DATA_DIR": str(small_data),
        "NUM_HIDDEN": 8,
        "DT_MS": 10.0,
        "TAU_SYN": 10.0,
        "TRIAL_MS": 700.0,
        "N_EPOCH": 1,
    }
    p |= {"N_TRAIN": 90, "N_VALIDATE": 20, "REG_TYPE": "simple", "RECURRENT": True}
    p |= {"MIN_EPOCH_ETA_FIXED": 0, "EMA_ALPHA1": 0.95, "EMA_ALPHA2": 0.5}
    mn = simulator_SHD.SHD_model(p)
    mn.train(p)
    mn.train({**p, "LOAD_LAST": True, "N_EPOCH": 2})
    blends = {"NORMALISE_SPIKE_NUMBER": True, "blend": [0.5, 0.5]}
    mn.train({**p, "EVALUATION": "speaker", "NAME": "speaker", "AUGMENTATION": blends})
    bounds = {"MIN_TAU_M": 10.0, "MIN_TAU_SYN": 10.0, "MIN_TAU_B": 10.0}
    others: list[dict[str, Any]] = [
        {"HIDDEN_NEURON_TYPE": "ALIF", "TRAIN_TAU_B": True, "LOSS_TYPE": "first_spike_exp", "REG_TYPE": "Thomas1"},
        {"HIDDEN_NEURON_TYPE": "hetLIF", "N_INPUT_DELAY": 1, "LOSS_TYPE": "sum_weigh_input", "N_HID_LAYER": 2},
    ]
    others += [{f"{name}_DELAY_MAX": 50.0 for name in PROJECTIONS} | {"N_HID_LAYER": 2}]
    others += [{"HIDDEN_NEURON_TYPE": name, "T_REF": 10.0} for name, _ in hidden_neurons().items()]
    for other in others:
        mn.network(mn._for_run({**p, **bounds, **other}))
    weights = mn.weights()
    weights["in_to_hid"][:, 3] = -1.0
    mn.set_weights(weights)
    seen = set(of_records)
    mn._start(mn._for_run({**p, "WEIGHT_INIT": "fluctuation"}))
    of_records -= WITHOUT_EFFECT_HERE - seen  # it copies the backend's settings, which reads them all
    mn.train({**p, "REWIRE_SILENT": True, "REWIRE_LIFT": 0.1, "NAME": "lifted", "ETA_SCHEDULE": "cosine"})
    unread = {key.name for key in KEYS if key.name not in (of_records if key.record in RECORDS else Watched.read)}
    assert unread == WITHOUT_EFFECT_HERE
    for name in WITHOUT_EFFECT_HERE:
        assert re.search("GeNN|test file|command line", next(k.sentence for k in KEYS if k.name == name))
