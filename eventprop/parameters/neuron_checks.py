"""Checks of a network's neurons: parameters that are trained, drawn and bounded; equations at their start."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from eventprop import description, models
from eventprop.choice import meaning
from eventprop.derivation.values import evaluate
from eventprop.heterogeneity import DISTRIBUTIONS, draws_of
from eventprop.parameters.layers import each_layer

__all__ = ["check_neurons"]

Problems = list[str]


def check_neurons(p: Mapping[str, Any]) -> Problems:
    """A line for each thing that is wrong, given keys that are right by themselves."""
    if not {"HIDDEN_NEURON_TYPE", "LOSS_TYPE", "OUTPUT_NEURON_TYPE", "N_HID_LAYER"} <= p.keys():
        return []
    known = description.hidden_neurons()
    kinds = each_layer(p["HIDDEN_NEURON_TYPE"], p["N_HID_LAYER"])
    hidden = [meaning("HIDDEN_NEURON_TYPE", kind, known)[0] for kind in kinds]
    try:
        output = description.output_neuron(p["OUTPUT_NEURON_TYPE"], models.LOSSES[p["LOSS_TYPE"]])[0]
    except ValueError:
        return []  # told elsewhere
    neurons = {f"hidden{i}": _Named.of(neuron) for i, neuron in enumerate(hidden)}
    neurons |= {"hidden": _Named.of(*hidden), "output": _Named.of(output)}
    problems = [line for key in ("TRAIN_PARAMETERS", "HETEROGENEOUS") for line in _named(p, key, neurons)]
    problems += _drawn(p, neurons)
    problems += _bounded(p, neurons)
    different = {neuron.name: neuron for neuron in hidden}.values()
    return problems or [line for neuron in different for line in (*_at_start(p, neuron), *_exact(p, neuron))]


class _Named(NamedTuple):
    """What neurons are called, and the parameters that all of them have."""

    name: str
    parameters: dict[str, models.Parameter]

    @classmethod
    def of(cls, *neurons: models.Neuron) -> _Named:
        common = {n: of for n, of in neurons[0].parameters.items() if all(n in other.parameters for other in neurons)}
        return cls(" and ".join(dict.fromkeys(neuron.name for neuron in neurons)), common)


def _named(p: Mapping[str, Any], key: str, neurons: Mapping[str, _Named]) -> Iterator[str]:
    """Populations and their parameters are there."""
    for population, given in p.get(key, {}).items():
        if population not in neurons:
            yield f"{key} has {population!r}; there are {', '.join(neurons)}"
            continue
        if not isinstance(given, list | tuple) and not (key == "HETEROGENEOUS" and isinstance(given, Mapping)):
            yield f"{key}: {population} must have a list of parameters, got {given!r}"
            continue
        there = list(neurons[population].parameters)
        for name in given:
            if name not in there:
                near = difflib.get_close_matches(str(name).lower(), there, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(there)}"
                yield f"{key}: {neurons[population].name} neurons of {population} have no parameter {name!r}{hint}"


def _drawn(p: Mapping[str, Any], neurons: Mapping[str, _Named]) -> Problems:
    problems = []
    for population, given in p.get("HETEROGENEOUS", {}).items():
        if population not in neurons or not isinstance(given, list | tuple | Mapping):
            continue
        for name, how in draws_of(given).items():
            problems += _distribution(f"HETEROGENEOUS: {name} of {population}", how, p.get(str(name).upper()))
    return problems


def _distribution(what: str, how: Any, nominal: Any) -> Problems:
    if not how or how[0] not in DISTRIBUTIONS:
        return [f"{what} must be drawn from one of {', '.join(DISTRIBUTIONS)}, got {list(how)!r}"]
    kind, *numbers = how
    count = DISTRIBUTIONS[kind][0]
    if len(numbers) != count or not all(_is_number(n) for n in numbers):
        return [f"{what}: {kind} takes {count} number{'s' if count > 1 else ''}, got {numbers!r}"]
    if kind == "uniform" and numbers[0] > numbers[1]:
        return [f"{what}: uniform must have its least value first, got {numbers!r}"]
    if kind != "uniform" and numbers[0] <= 0:
        return [f"{what}: {kind} must have a number above 0, got {numbers[0]!r}"]
    if kind == "gamma" and _is_number(nominal) and nominal <= 0:
        return [f'{what} is {nominal:g}, and gamma is of what is above 0; ["normal", s.d.] would do']
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _bounded(p: Mapping[str, Any], neurons: Mapping[str, _Named]) -> Problems:
    """Bounds are pairs; what is trained or drawn starts within them."""
    problems = []
    there = {name: of for neuron in neurons.values() for name, of in neuron.parameters.items()}
    for name, pair in p.get("PARAMETER_BOUNDS", {}).items():
        if name not in there:
            problems.append(f"PARAMETER_BOUNDS has {name!r}; there are {', '.join(there)}")
        elif (
            not isinstance(pair, list | tuple) or len(pair) != 2 or not all(map(_is_number, pair)) or pair[0] >= pair[1]
        ):
            problems.append(f"PARAMETER_BOUNDS: {name} must have [least, most], got {pair!r}")
        elif _is_number(value := p.get(name.upper())) and not pair[0] <= value <= pair[1]:
            problems.append(f"{name.upper()}={value:g} is not within PARAMETER_BOUNDS {list(pair)!r}")
        else:
            problems += _within(f"PARAMETER_BOUNDS: {name}", there[name], pair[0])
    return problems


def _within(what: str, parameter: models.Parameter, value: float) -> Problems:
    try:
        parameter.check(value, what)
    except ValueError as error:
        return [str(error)]
    return []


def _at_start(p: Mapping[str, Any], neuron: models.Neuron) -> Problems:
    """Equations are finite at the start of a trial, where the neuron is below its threshold, as it is after a spike."""
    if not all(name.upper() in p for name in neuron.parameters):
        return []
    values = {name: float(p[name.upper()]) for name in neuron.parameters}
    who = f"HIDDEN_NEURON_TYPE={neuron.name!r}"
    with np.errstate(all="ignore"):
        state = {x: _value(text, values) for x, text in neuron.state.items()}
        for x, text in neuron.dynamics.items():
            if not np.isfinite(_value(text, {**values, **state})):
                return [f"{who}: dynamics of {x}, {text!r}, is not finite at the start of a trial"]
        if neuron.name in ("LIF", "ALIF"):
            return []  # said by their own keys
        start = _value(neuron.threshold, {**values, **state})
        if not start < 0.0:
            return [f"{who}: threshold {neuron.threshold!r} is reached at the start of a trial, where it is {start:g}"]
        after = _after_reset(neuron, values, state, start)
    if not after < 0.0:
        return [f"{who}: reset leaves the neuron above its threshold {neuron.threshold!r}, which is {after:g} then"]
    return _refractory(p, neuron)


def _after_reset(neuron: models.Neuron, values: Mapping[str, float], state: Mapping[str, float], start: float) -> float:
    """The threshold's expression after a spike of a neuron whose V alone has risen until then."""
    at: dict[str, float] = {**values, **state}

    def level(v: float) -> float:
        return float(_value(neuron.threshold, {**at, "V": v}))

    v, step = state["V"], -start
    for _ in range(60):
        if level(v + step) >= 0.0:
            break
        step *= 2.0
    at["V"] = _root(level, v, v + step)
    reset = {x: float(_value(text, at)) for x, text in neuron.reset.items()}
    return float(_value(neuron.threshold, {**at, **reset}))


def _root(of: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if of(middle) >= 0.0 else (middle, high)
    return high


def _value(text: Any, values: Mapping[str, float]) -> float:
    try:
        return float(evaluate(str(text), values))
    except (ArithmeticError, ValueError):
        return float("nan")


def _refractory(p: Mapping[str, Any], neuron: models.Neuron) -> Problems:
    if not neuron.refractory or "DT_MS" not in p:
        return []
    key = neuron.refractory.upper()
    if p[key] < p["DT_MS"]:
        return [
            f"{key}={p[key]:g} must be at least DT_MS={p['DT_MS']:g}, or a neuron without a refractory period be taken"
        ]
    steps = p[key] / p["DT_MS"]
    if abs(steps - round(steps)) > 1e-6:
        warnings.warn(f"{key}={p[key]:g} is taken for {round(steps) * p['DT_MS']:g}: whole steps", stacklevel=6)
    return []


def _exact(p: Mapping[str, Any], neuron: models.Neuron) -> Problems:
    timing = p.get("SPIKE_TIMING")
    if timing == "exact" and not description.has_exact_times(neuron):
        other = "grid" if neuron.refractory else "substep"
        return [f'SPIKE_TIMING="exact" is not for {neuron.name} neurons; "{other}" is']
    if timing == "substep" and neuron.refractory:
        return [f'SPIKE_TIMING="substep" is not for {neuron.name} neurons, which have a refractory period; "grid" is']
    return []
