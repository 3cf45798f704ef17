"""The picture of the rooms: ``python docs/rooms.py`` writes ``docs/rooms.svg``.

Made from the imports that there are: a room lies one floor above the highest of those that it imports from, and an
arrow is an import. The numbers are the sentences of ``docs/inside.md``, each in the room of the file it names first.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Room:
    """A box of the picture.

    Attributes:
        title: its name.
        job: what it does, in a few words.
        files: patterns of the modules in it, relative to the project.
        left, right: edges, from 0 to 1. Arrows go straight down, so a box must overlap with those it imports from.
    """

    title: str
    job: str
    files: tuple[str, ...]
    left: float = 0.0
    right: float = 1.0

    def holds(self, path: str) -> bool:
        """Whether a file of the project, of whatever kind, is in this room."""
        return any(Path(path).match(pattern) for pattern in self.files)


ROOMS = (
    Room(
        "train_*.py, python -m eventprop",
        "the command line · certificate/: whether a neuron's gradients are right, by an independent integrator",
        (
            *("train_*.py", "eventprop/certificate/*"),
            *(f"eventprop/{name}.py" for name in ("__main__", "cli", "ending", "info", "runs")),
        ),
    ),
    Room("simulator_*.py", "one benchmark each: its data, its splits", ("simulator_*.py",), 0.0, 0.5),
    Room(
        "eventprop/scans/, reproduce/",
        "many runs from one file; published numbers again",
        ("eventprop/scans/*", "eventprop/reproduce/*"),
        0.5,
        1.0,
    ),
    Room(
        "eventprop/simulators/",
        "the object that users hold; recipes; the list of benchmarks, each imported when it is asked for",
        ("eventprop/simulators/*",),
    ),
    Room("eventprop/training/", "epochs, learning rate, checkpoints, locks", ("eventprop/training/*",), 0.0, 0.5),
    Room("eventprop/reports/", "tables, pictures, recording", ("eventprop/reports/*",), 0.0, 0.34),
    Room("eventprop/parameters/", "keys: each declared once, checked", ("eventprop/parameters/*",), 0.34, 0.68),
    Room("eventprop/exchange/", "NIR graphs, from and to", ("eventprop/exchange/*",), 0.68, 1.0),
    Room(
        "eventprop/backends/",
        "cpu/: C++ made from the models · genn/: the same models on GeNN",
        ("eventprop/backends/*", "eventprop/backends/*/*"),
    ),
    Room("eventprop/data/", "files, spikes, splits, augmentation", ("eventprop/data/*",), 0.0, 0.5),
    Room(
        "eventprop/network.py, description.py",
        "what a network consists of",
        ("eventprop/network.py", "eventprop/description.py", "eventprop/heterogeneity.py", "eventprop/masks.py"),
        0.5,
        1.0,
    ),
    Room(
        "eventprop/files.py, streams.py, …",
        "whole files; random streams; texts",
        tuple(
            f"eventprop/{name}.py"
            for name in ("__init__", "choice", "files", "ranks", "snippets", "streams", "terminal", "texts")
        ),
    ),
    Room(
        "models.py",
        "neurons, losses, optimiser as declared",
        ("models.py", "eventprop/models.py", "eventprop/own_*.py"),
        0.5,
        1.0,
    ),
    Room(
        "eventprop/derivation/, declarations.py",
        "step, adjoints, jump from equations",
        ("eventprop/derivation/*", "eventprop/declarations.py", "eventprop/losses.py", "eventprop/grammar.py"),
        0.5,
        1.0,
    ),
)

WIDTH, HEIGHT, GAP, LEFT, TOP = 900, 56, 26, 14, 14
FILLS = ("#fbe9e7", "#fff3e0", "#fff8e1", "#f9fbe7", "#e8f5e9", "#e0f2f1", "#e3f2fd", "#e8eaf6")


def modules() -> dict[str, str]:
    """Path, relative to the project, of each module by its name."""
    places = ("train_*.py", "simulator_*.py", "models.py", "eventprop/**/*.py")
    own = [path.relative_to(ROOT) for place in places for path in ROOT.glob(place)]
    return {path.with_suffix("").as_posix().removesuffix("/__init__").replace("/", "."): str(path) for path in own}


def room_of(path: str) -> Room:
    """Raises ValueError where a file is in no room."""
    for room in ROOMS:
        if room.holds(path):
            return room
    raise ValueError(f"{path} is in no room of docs/rooms.py")


def imports() -> dict[Room, set[Room]]:
    """The other rooms that each one imports from, also within functions and for types."""
    known = modules()
    found: dict[Room, set[Room]] = {room: set() for room in ROOMS}
    for path in known.values():
        names: set[str] = set()
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in known else str(node.module) for name in inside}
        found[room_of(path)] |= {room_of(known[name]) for name in names & set(known)}
    return {room: others - {room} for room, others in found.items()}


def floors(needs: dict[Room, set[Room]]) -> dict[Room, int]:
    """Floor of each room, from 0 for those that import from none. Raises ValueError where imports go round."""
    found: dict[Room, int] = {}
    while len(found) < len(needs):
        ready = [room for room, others in needs.items() if room not in found and others <= set(found)]
        if not ready:
            raise ValueError(f"imports go round: {', '.join(room.title for room in needs if room not in found)}")
        found |= {room: 1 + max((found[other] for other in needs[room]), default=-1) for room in ready}
    return found


def arrows(needs: dict[Room, set[Room]]) -> list[tuple[Room, Room]]:
    """Imports, less those of a room that others lead to as well."""

    def below(room: Room) -> set[Room]:
        return needs[room].union(*(below(other) for other in needs[room]))

    return [(a, b) for a in ROOMS for b in ROOMS if b in needs[a] and not any(b in below(c) for c in needs[a])]


def sentences(page: str) -> list[str]:
    """The numbered ones of the path of a batch."""
    path = page.split("## The path of a batch")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. (.*?)(?=^\d+\. |\Z)", path, re.M | re.DOTALL)


def first_file(sentence: str) -> str:
    """The first file that a sentence names."""
    found = re.search(r"`([\w/]+\.(?:py|hpp))`", sentence)
    if found is None:
        raise ValueError(f"no file is named in: {sentence}")
    return found[1]


def svg() -> str:
    """The picture."""
    needs = imports()
    floor = floors(needs)
    top = {room: TOP + (max(floor.values()) - number) * (HEIGHT + GAP) for room, number in floor.items()}
    steps: dict[Room, list[int]] = {room: [] for room in ROOMS}
    for number, sentence in enumerate(sentences((ROOT / "docs/inside.md").read_text(encoding="utf-8")), 1):
        steps[room_of(first_file(sentence))].append(number)
    height = max(top.values()) + HEIGHT + TOP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' font-family="DejaVu Sans, Verdana, sans-serif">',
            "<title>The rooms of the program, floor by floor, and where the twelve steps of a batch happen</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *(_arrow(above, below, top) for above, below in arrows(needs)),
            *(part for room in ROOMS for part in _box(room, top[room], FILLS[floor[room] % len(FILLS)], steps[room])),
            "</svg>\n",
        ]
    )


def _edges(room: Room) -> tuple[float, float]:
    """Left and right, in the units of the picture."""
    width = WIDTH - 2 * LEFT
    return LEFT + room.left * width + 6 * (room.left > 0), LEFT + room.right * width - 6 * (room.right < 1)


def _arrow(above: Room, below: Room, top: dict[Room, int]) -> str:
    left, right = max(above.left, below.left), min(above.right, below.right)
    if left >= right:
        raise ValueError(f"no straight way from {above.title} to {below.title}")
    x = LEFT + (left + right) / 2 * (WIDTH - 2 * LEFT)
    start, end = top[above] + HEIGHT, top[below] - 2
    for room, y in top.items():
        if start < y < end and room.left < (left + right) / 2 < room.right:
            raise ValueError(f"the way from {above.title} to {below.title} leads through {room.title}")
    return f'<path d="M{x:.0f} {start} V{end} m-5 -9 l5 9 l5 -9" fill="none" stroke="#5c6bc0" stroke-width="1.6"/>'


def _box(room: Room, y: int, fill: str, steps: list[int]) -> list[str]:
    left, right = _edges(room)
    parts = [
        f'<rect x="{left:.0f}" y="{y}" width="{right - left:.0f}" height="{HEIGHT}" rx="6" fill="{fill}" '
        'stroke="#9fa8da"/>',
        f'<text x="{left + 12:.0f}" y="{y + 23}" font-size="14" font-weight="bold" fill="#1a237e">'
        f"{escape(room.title)}</text>",
        f'<text x="{left + 12:.0f}" y="{y + 43}" font-size="12.5" fill="#37474f">{escape(room.job)}</text>',
    ]
    for position, step in enumerate(reversed(steps)):
        x = right - 20 - 28 * position
        parts.append(f'<circle cx="{x:.0f}" cy="{y + 19}" r="12" fill="#3f51b5"/>')
        parts.append(f'<text x="{x:.0f}" y="{y + 23}" font-size="12" text-anchor="middle" fill="#ffffff">{step}</text>')
    return parts


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(svg(), encoding="utf-8")
