"""What numbers in a NIR graph mean: seconds, volts, and what a spike is.

NIR's neuron with a current (CubaLIF, CubaLI) is

    tau_syn dI/dt = -I + w_in S,    tau_mem dv/dt = (v_leak - v) + r I.

``"delta"``: S is a sum of Dirac pulses of area 1, so that a spike raises I by w_in / tau_syn, whatever the step of who
reads the graph. ``"steps"``: a spike is 1 for a step of ``dt`` and 0 else, as programs have it that know steps alone;
its area is dt, and it raises I by w_in dt / tau_syn. LIF and LI without a current take S itself as a current.
"""

from __future__ import annotations

from types import ModuleType

from eventprop.choice import meaning

__all__ = ["MS", "SPIKES", "area", "library"]

MS = 1e-3
"""Seconds in a millisecond."""

SPIKES = ("delta", "steps")


def area(spikes: str, dt_ms: float) -> float:
    """Of one spike (s, or 1 for a Dirac pulse)."""
    return meaning("spikes", spikes, {"delta": 1.0, "steps": dt_ms * MS})


def library() -> ModuleType:
    """The package ``nir``.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import nir
    except ImportError:
        raise ValueError("NIR needs the package nir: pip install 'genn-eventprop[nir]', or pip install nir") from None
    return nir
