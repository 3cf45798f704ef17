"""Keys of synapses' delays, and what must hold between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eventprop.network import DELAY_SHARED
from eventprop.parameters.belonging import of_learning, of_network
from eventprop.parameters.declaration import Key

__all__ = ["DELAYS", "PROJECTIONS", "absent", "check_delays"]

PROJECTIONS = {
    "INPUT_HIDDEN": "from input to hidden neurons",
    "HIDDEN_HIDDEN": "of recurrent connections",
    "HIDDEN_HIDDENFWD": "from one hidden layer to the next",
    "HIDDEN_OUTPUT": "from hidden to output neurons",
}
"""By what the keys of a projection begin with, which it is."""


def _keys(prefix: str, which: str) -> tuple[Key, ...]:
    return (
        of_network(
            f"{prefix}_DELAY_MAX",
            "Delays",
            "float",
            0.0,
            f"Upper bound of delays {which}; 0 for none.",
            "ms",
            least=0.0,
        ),
        of_learning(
            f"{prefix}_DELAY_MEAN", "Delays", "float", 0.0, f"Mean of initial delays {which}.", "ms", least=0.0
        ),
        of_learning(
            f"{prefix}_DELAY_STD",
            "Delays",
            "float",
            0.0,
            f"Standard deviation of initial delays {which}, which are cut at 0 and the bound.",
            "ms",
            least=0.0,
        ),
        of_learning(
            f"{prefix}_DELAY_UNIFORM",
            "Delays",
            "range",
            None,
            f"[least, most] between which initial delays {which} are uniform, in place of mean and s.d.",
            "ms",
            optional=True,
            least=0.0,
        ),
    )


DELAYS = (
    *(key for prefix, which in PROJECTIONS.items() for key in _keys(prefix, which)),
    of_network(
        "DELAY_PER",
        "Delays",
        "str",
        "synapse",
        "What has a delay of its own: each synapse, or all from a source neuron, or all onto a target neuron.",
        choices=DELAY_SHARED,
    ),
    of_learning(
        "TRAIN_DELAYS",
        "Delays",
        "names",
        [],
        f"Projections whose delays are trained: {', '.join(PROJECTIONS)}.",
    ),
)


def absent(p: Mapping[str, Any]) -> dict[str, str]:
    """Projections that are not there, and which key makes them be."""
    needed = {}
    if not p.get("RECURRENT", True):
        needed["HIDDEN_HIDDEN"] = "RECURRENT=True"
    if p.get("N_HID_LAYER", 2) == 1:
        needed["HIDDEN_HIDDENFWD"] = "N_HID_LAYER above 1"
    return needed


def check_delays(p: Mapping[str, Any]) -> list[str]:
    """A line for each thing that is wrong, given keys that are right by themselves."""
    if not {"RECURRENT", "N_HID_LAYER", "TRIAL_MS", "DT_MS", "TRAIN_DELAYS"} <= p.keys():
        return []
    needed = absent(p)
    problems = [line for prefix in PROJECTIONS for line in _of_projection(p, prefix, needed.get(prefix, ""))]
    for name in p["TRAIN_DELAYS"]:
        if name not in PROJECTIONS:
            problems.append(f"TRAIN_DELAYS has {name!r}; there are {', '.join(PROJECTIONS)}")
        elif p.get(f"{name}_DELAY_MAX") == 0.0:
            problems.append(f"TRAIN_DELAYS has {name!r}, whose delays have no room: {name}_DELAY_MAX=0 must be above 0")
    if p["TRAIN_DELAYS"] and p.get("ETA") == 0.0 and p.get("ETA_DELAY", 0.0) > 0.0:
        problems.append(
            "TRAIN_DELAYS needs ETA above 0, whose schedule ETA_DELAY follows; TRAIN_W=False keeps weights as they are"
        )
    return problems


def _of_projection(p: Mapping[str, Any], prefix: str, needs: str) -> Iterator[str]:
    keys = [f"{prefix}_DELAY_{what}" for what in ("MAX", "MEAN", "STD", "UNIFORM")]
    if not set(keys) <= p.keys():
        return
    most, mean, sd, uniform = (p[key] for key in keys)
    if most > 0.0 and needs:
        yield f"{keys[0]}={most:g} is of synapses that are not there; they need {needs}"
    if most >= p["TRIAL_MS"]:
        yield f"{keys[0]}={most:g} must be below TRIAL_MS={p['TRIAL_MS']:g}: what comes later never arrives"
    if 0.0 < most < p["DT_MS"] and p.get("SPIKE_TIMING") != "exact":
        yield f"{keys[0]}={most:g} is below DT_MS={p['DT_MS']:g}, so delays would hardly differ from 0"
    for key, value in ((keys[1], mean), *(((keys[3], max(uniform)),) if uniform else ())):
        if value > most:
            yield f"{key}={p[key]} is above {keys[0]}={most:g}, to which delays are bounded (0 means none)"
    if sd > 0.0 and most == 0.0:
        yield f"{keys[2]}={sd:g} needs {keys[0]} above 0"
    if uniform and (mean > 0.0 or sd > 0.0):
        yield f"{keys[3]}={uniform} and {keys[1]} or {keys[2]} both say how delays begin; give one"
