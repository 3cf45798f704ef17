"""Derivations are kept, so that sympy is only imported where something new is derived."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from eventprop.declarations import Neuron
from eventprop.derivation.model import NeuronModel, Propagator
from eventprop.files import cache_folder, write_bytes

__all__ = ["derived"]

_HELD: dict[str, NeuronModel] = {}


def derived(neuron: Neuron) -> NeuronModel:
    """Everything that follows from the declaration, derived once and kept in the cache folder.

    Raises:
        ValueError: the declaration is wrong; names the neuron, the field and what is wrong.
    """
    key = _key(neuron)
    if key not in _HELD:
        path = cache_folder() / "derived" / f"{_word(neuron.name)}_{key}.json"
        found = _read(path)
        if found is None:
            from eventprop.derivation.derive import derive

            found = derive(neuron)
            _keep(path, found)
        _HELD[key] = found
    return _HELD[key]


def _key(neuron: Neuron) -> str:
    """A digest of what a neuron does, not of what people are told about it, and of the code that derives."""
    told = ("sentence", "source", "hard")
    fields = {name: value for name, value in asdict(neuron).items() if name not in told}
    fields["parameters"] = list(neuron.parameters)
    text = json.dumps([_sources(), fields])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _sources() -> str:
    """A digest of the derivation's own code, and of what it reads and writes expressions with."""
    found, folder = hashlib.sha256(), Path(__file__).parent
    for path in (*sorted(folder.glob("*.py")), folder.parent / "grammar.py", folder.parent / "snippets.py"):
        found.update(path.read_bytes())
    return found.hexdigest()


def _word(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)[:40]


def _read(path: Path) -> NeuronModel | None:
    """What is kept; None where nothing is, or what is there is damaged."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return _model(fields) if fields.pop("digest") == _digest(fields) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _model(fields: Mapping[str, Any]) -> NeuronModel:
    whole = {name: _tuples(value) for name, value in fields.items()}
    if whole["propagator"] is not None:
        whole["propagator"] = Propagator(**{name: _tuples(value) for name, value in whole["propagator"].items()})
    return NeuronModel(**whole)


def _tuples(value: Any) -> Any:
    """Lists, of lists, as tuples; JSON has none."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {name: _tuples(v) for name, v in value.items()}
    return value


def _digest(fields: Any) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _keep(path: Path, model: NeuronModel) -> None:
    """Not being able to is no fault: it is derived again then."""
    fields = asdict(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(fields | {"digest": _digest(fields)}).encode())
    except OSError:
        return
