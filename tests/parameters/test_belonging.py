"""Each key belongs to a record, and each record is made of keys: what is declared is where a value goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from eventprop.parameters import belonging
from eventprop.parameters.declaration import Key
from eventprop.simulators.records import RECORDS, Records
from eventprop.simulators.registry import BENCHMARKS

READ_BY_SIMULATORS = {"data", "simulator"}
"""What is no record: these keys are read where ``p`` is a dict."""

MADE = {"network": {"values"}, "loop": {"rate", "adam"}, "recording": {"prefix", "names"}, "files": {"saved"}}
"""Fields that hold other records, or what is made of several keys."""

# Fields of the backends' settings under the names of their keys.
KEY_OF = {"batch": "N_BATCH", "max_spikes": "N_MAX_SPIKE", "record_steps": "SPK_REC_STEPS"}
KEY_OF |= {"first_device": "CUDA_VISIBLE_DEVICES"}

KEYS = {(name, key.name): key for name, benchmark in BENCHMARKS.items() for key in benchmark.keys}


def found_in(records: Records) -> dict[str, Any]:
    """All records by the names that declarations have for them."""
    nested = {"rate": records.loop.rate, "adam": records.loop.adam}
    return {name: nested[name] if name in nested else getattr(records, name) for name in RECORDS}


def values_of(record: Any) -> dict[str, Any]:
    """A record's values by the keys that they come from."""
    values = {KEY_OF.get(f.name, f.name.upper()): getattr(record, f.name) for f in fields(record)}
    return values | {name.upper(): value for name, value in values.pop("VALUES", {}).items()}


def misplaced(key: Key, p: Mapping[str, Any]) -> str:
    """What is wrong with the record that a key is declared to belong to; "" if its value gets there."""
    if key.record in READ_BY_SIMULATORS:
        return ""
    if key.record not in RECORDS:
        return f"{key.name} belongs to no record ({key.record!r})"
    value = 12345 if isinstance(p[key.name], int | float) else object()
    there = values_of(found_in(Records.of({**p, key.name: value}))[key.record])
    return "" if there.get(key.name) is value else f"{key.name} does not get into the record {key.record}"


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_each_key_gets_into_its_record(benchmark: str) -> None:
    """Fails if a key is declared to belong to a record that has no field for it, or to none."""
    p = BENCHMARKS[benchmark].resolve({})
    assert [text for key in BENCHMARKS[benchmark].keys if (text := misplaced(key, p))] == []


def test_a_key_that_belongs_nowhere_is_found() -> None:
    key, p = KEYS["SHD", "ETA"], BENCHMARKS["SHD"].resolve({})
    for record in ("", "training"):
        assert misplaced(replace(key, record=record), p) == f"ETA belongs to no record ({record!r})"
    assert misplaced(replace(key, record="samples"), p) == "ETA does not get into the record samples"
    assert misplaced(replace(key, name="NEW"), {**p, "NEW": 1.0}) == "NEW does not get into the record rate"


@pytest.mark.parametrize("record", RECORDS)
def test_each_field_comes_from_a_key(record: str) -> None:
    """Fails if a record has a field that no benchmark has a key for, so that it is always at its default."""
    names = {KEY_OF.get(f.name, f.name.upper()) for f in fields(RECORDS[record]) if f.name not in MADE.get(record, ())}
    assert names <= {name for _, name in KEYS}


def test_records_are_those_of_the_run() -> None:
    """Fails if a record is made that no declaration can name, or the other way round."""
    assert {f.name for f in fields(Records)} == set(RECORDS) - {"rate", "adam"}
    records = found_in(Records.of(BENCHMARKS["SHD"].resolve({})))
    assert {name: type(record) for name, record in records.items()} == RECORDS
    declared = {kind.keywords["record"] for name, kind in vars(belonging).items() if name.startswith("of_")}
    assert declared == set(RECORDS) | READ_BY_SIMULATORS


def test_each_key_says_what_it_changes() -> None:
    """Warnings about checkpoints, and what is fixed once data are loaded, follow from it."""
    kinds = {"network", "spikes", "samples", "training", "files"}
    assert {at: key.changes for at, key in KEYS.items() if key.changes not in kinds} == {}
    loaded = {at: key.changes for at, key in KEYS.items() if key.loaded}
    assert set(loaded.values()) == {"spikes", "samples", "files"}
