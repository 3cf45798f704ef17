"""What each room gets of ``p``: small frozen records, made here and nowhere else from the resolved parameters.

A key says in its declaration to which record it belongs; a record names its keys in small letters. A test holds both
against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from eventprop import masks
from eventprop.backends import Settings
from eventprop.data.presentation import SampleSettings
from eventprop.description import NetworkSettings, describe
from eventprop.masks import Masks
from eventprop.network import Network
from eventprop.reports.recording import RecordingSettings, given_names
from eventprop.reports.timing import TimingSettings
from eventprop.training.fluctuation import StartSettings
from eventprop.training.optimiser import AdamSettings
from eventprop.training.outputs import FileSettings
from eventprop.training.potential import key_of
from eventprop.training.schedule import RateSettings
from eventprop.training.trainer import LoopSettings

__all__ = ["RECORDS", "Records", "network_of", "with_masks_of"]

_Record = TypeVar("_Record")

RECORDS: dict[str, type] = {
    "network": NetworkSettings,
    "start": StartSettings,
    "samples": SampleSettings,
    "loop": LoopSettings,
    "rate": RateSettings,
    "adam": AdamSettings,
    "backend": Settings,
    "recording": RecordingSettings,
    "files": FileSettings,
    "timing": TimingSettings,
}
"""By the name that a key's declaration has for it, what a record is."""

# Fields of the backends' settings that have other names than their keys.
_BACKEND = {
    "batch": "N_BATCH",
    "max_spikes": "N_MAX_SPIKE",
    "record_steps": "SPK_REC_STEPS",
    "first_device": "CUDA_VISIBLE_DEVICES",
}


@dataclass(frozen=True)
class Records:
    """All of a run's records; each is documented where it is read."""

    network: NetworkSettings
    start: StartSettings
    samples: SampleSettings
    loop: LoopSettings
    backend: Settings
    recording: RecordingSettings
    files: FileSettings
    timing: TimingSettings

    @classmethod
    def of(cls, p: Mapping[str, Any], given: Mapping[str, Any] | None = None, name: str = "") -> Records:
        """The records of resolved parameters.

        Args:
            given: ``p`` as the user gave it, with other names of populations.
            name: what the run's files are called; ``NAME`` by default.
        """
        return cls(
            network=_network(p),
            start=_of(StartSettings, p),
            samples=_of(SampleSettings, p),
            loop=_of(LoopSettings, p, rate=_of(RateSettings, p), adam=_of(AdamSettings, p)),
            backend=Settings(**{f.name: p[_BACKEND.get(f.name, f.name.upper())] for f in fields(Settings)}),
            recording=_of(RecordingSettings, p, prefix=name or p["NAME"], names=given_names(given or {})),
            files=_of(FileSettings, p, saved=p),
            timing=_of(TimingSettings, p),
        )


def network_of(p: Mapping[str, Any], num_input: int, num_output: int, *, plain: bool = False) -> Network:
    """The network that resolved parameters ask for; see :func:`eventprop.description.describe`."""
    return describe(_network(p), num_input, num_output, plain=plain)


def with_masks_of(p: Mapping[str, Any], network: Network, given: Masks) -> Network:
    """The network with the masks of the file ``MASKS`` and those that are ``given``, in the place of drawn ones.

    Raises:
        ValueError: a projection has no synapse at all, or a mask does not fit.
    """
    for q in network.projections:
        if q.name in network.masks and not network.masks[q.name].any():
            share = f"{key_of(q)}_P={p[f'{key_of(q)}_P']:g}"
            raise ValueError(f"{share} leaves none of the {q.shape[0] * q.shape[1]} synapses of {q.name}")
    of_file = masks.read(Path(p["MASKS"]), network.weight_shapes()) if p["MASKS"] else {}
    return network.with_masks({**network.masks, **of_file, **given})


def _of(record: type[_Record], p: Mapping[str, Any], **more: Any) -> _Record:
    """A record of those of its keys that ``p`` has, and of ``more``."""
    names = [f.name for f in fields(record)]  # type: ignore[arg-type]
    return record(**{name: p[name.upper()] for name in names if name.upper() in p}, **more)


def _is_numeric(value: Any) -> bool:
    return all(isinstance(v, int | float) for v in (value if isinstance(value, list) else [value]))


def _network(p: Mapping[str, Any]) -> NetworkSettings:
    """Every number that has no field of its own is among the values, and so are lists of numbers."""
    own = {f.name for f in fields(NetworkSettings)}
    numbers = {key.lower(): value for key, value in p.items() if _is_numeric(value)}
    return _of(NetworkSettings, p, values={name: value for name, value in numbers.items() if name not in own})
