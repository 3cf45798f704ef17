"""Neurons of one's own: registered in a script, by a file (``--models``), or by the settings of a run (``NEURONS``).

Such a file may declare losses as well (:mod:`eventprop.own_losses`).
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from eventprop import models
from eventprop.declarations import Neuron
from eventprop.own_declarations import parameters_of, plain_parameters, take_over
from eventprop.texts import read_text

__all__ = ["load_file", "plain", "register", "used"]


def load_file(path: str | Path) -> list[str]:
    """Run a Python file that declares neurons or losses, ``models.NEURONS["mine"] = Neuron(...)``; the names of these.

    Raises:
        ValueError: it cannot be run, declares none, or declares one wrongly; names the file.
        OSError: it cannot be read.
    """
    path = Path(path)
    read_text(path)  # the usual errors of a file that is not there or is no text
    before: dict[str, dict[str, Any]] = {"NEURONS": dict(models.NEURONS), "LOSSES": dict(models.LOSSES)}
    try:
        runpy.run_path(str(path), run_name="models_of_ones_own")
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__ if not str(error) else error}{_line(error, path)}") from None
    there: dict[str, dict[str, Any]] = {"NEURONS": models.NEURONS, "LOSSES": models.LOSSES}
    added = [name for of, now in there.items() for name, new in now.items() if before[of].get(name) is not new]
    if not added:
        raise ValueError(
            f'{path} declares no neuron and no loss; models.NEURONS["name"] = Neuron(...) and models.LOSSES["name"] = '
            "Loss(...) do"
        )
    return added


def _line(error: Exception, path: Path) -> str:
    """Where in the file it went wrong."""
    at, line = error.__traceback__, 0
    while at is not None:
        if Path(at.tb_frame.f_code.co_filename) == path:
            line = at.tb_lineno
        at = at.tb_next
    return f" (line {line})" if line else ""


def plain(neuron: Neuron) -> dict[str, Any]:
    """A declaration as JSON has it, without what is as it is by default."""
    default = {f.name: f.default for f in fields(Neuron)}
    found = {name: value for name, value in asdict(neuron).items() if name != "name" and value != default.get(name)}
    found["parameters"] = plain_parameters(neuron.parameters)
    found["input"] = list(neuron.input) if isinstance(neuron.input, tuple) else neuron.input
    return {name: value for name, value in found.items() if value != {}}


def register(declared: Any) -> None:
    """Take over declarations as :func:`plain` makes them, by name.

    Raises:
        ValueError: one is wrong, or another neuron has its name.
    """
    take_over(declared, models.NEURONS, _neuron, lambda old, new: plain(old) == plain(new))


def _neuron(name: str, given: Any) -> Neuron:
    names = [f.name for f in fields(Neuron) if f.name != "name"]
    if not isinstance(given, Mapping) or not set(given) <= set(names):
        raise ValueError(f"NEURONS: {name} must be a dictionary with {', '.join(names)}, got {given!r}")
    values = dict(given)
    parameters = values.pop("parameters", {})
    if not isinstance(parameters, Mapping):
        raise ValueError(f"NEURONS: parameters of {name} must be a dictionary, got {parameters!r}")
    if isinstance(values.get("input"), list):
        values["input"] = tuple(values["input"])
    values["adjoints"] = {x: tuple(how) for x, how in values.get("adjoints", {}).items()}
    try:
        return Neuron(name=name, parameters=parameters_of("NEURONS", name, parameters), **values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"NEURONS: {name}: {error}") from None


def used(kind: str) -> dict[str, Any]:
    """The declaration of ``HIDDEN_NEURON_TYPE`` where it is a neuron of one's own, as ``NEURONS`` has it."""
    neuron = models.NEURONS.get(kind)
    return {kind: plain(neuron)} if neuron is not None and kind not in models.ON_BOARD else {}
