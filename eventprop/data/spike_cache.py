"""Binned spikes of files in SHD's layout, kept on disk, so that a large file is binned once: see ``kept_arrays.py``.

With them are the names of the classes, and how far the recordings reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eventprop import files
from eventprop.data.dataset import Part
from eventprop.data.extent import Extent
from eventprop.data.kept_arrays import ArrayCache, Source, write_streams
from eventprop.data.shd_files import Contents, Grid, Recordings, read_file

__all__ = ["SpikeCache"]

_LAYOUT = 2  # of the folder, and of the rule by which spikes are binned; another number for another one
_NOT_NUMBERS = ("true_times", "alignment", "num_channels", "clock")  # of a grid: in a key only where they say something


class SpikeCache:
    """Binned spikes of files under one prefix.

    Args:
        prefix: folder, which is made if it is missing, and beginning of the name of each file's own folder.
    """

    def __init__(self, prefix: Path) -> None:
        self._kept = ArrayCache(prefix)

    def read(self, path: Path, grid: Grid, speakers: bool = True) -> Contents:
        """All samples of a file: as they are kept, else binned now and kept.

        Where they cannot be kept, a line says so, and they are in memory. The file itself is not opened if it has the
        name, size and time of change that it had when its spikes were kept.

        Args:
            speakers: whether speakers are read, where the file names them.

        Raises:
            ValueError: names file, sample and what is wrong in it.
        """

        def write(folder: Path) -> Mapping[str, Any]:
            return _write(folder, path, grid, speakers)

        source = Source(path.name, path.stem, _key(path, grid, speakers))
        found = self._kept.find(source) or self._kept.make(source, write, path.stat().st_size)
        if found is None:
            return read_file(path, grid, speakers)
        arrays, about = found
        part = Part(grid.set_of(arrays["offsets"], arrays), arrays["labels"], arrays.get("speakers"))
        return Contents(part, tuple(about["classes"]), Extent(**about["extent"]))


def _key(path: Path, grid: Grid, speakers: bool) -> dict[str, Any]:
    """Everything that enters the arrays."""
    status = path.stat()
    return {
        "layout": _LAYOUT,
        "file": path.name,
        "size": status.st_size,
        "changed": status.st_mtime_ns,
        **{name: float(value) for name, value in asdict(grid).items() if name not in _NOT_NUMBERS},
        **({"true_times": True} if grid.true_times else {}),
        **({"alignment": asdict(grid.alignment)} if grid.alignment else {}),
        **({"clock": grid.clock} if grid.clock else {}),
        "channels": grid.num_channels,
        "speakers": speakers,
    }


def _write(folder: Path, path: Path, grid: Grid, speakers: bool) -> dict[str, Any]:
    """Stream the file's binned spikes into arrays of ``folder``; what else is to be known of them."""
    with Recordings(path, speakers) as file:
        extent = write_streams(folder, grid.arrays, lambda streams: file.write_spikes(grid, streams))
        files.write_array(folder / "labels.npy", file.labels)
        if file.speakers is not None:
            files.write_array(folder / "speakers.npy", file.speakers)
    return {"classes": list(file.class_names), "extent": asdict(extent)}
