"""The picture of the rooms: ``python docs/rooms.py`` writes ``docs/rooms.svg``.

Floors from top to bottom; imports point down. The numbers are the sentences of ``docs/inside.md``: the path of a batch.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FLOORS: tuple[tuple[tuple[str, tuple[str, ...], str, tuple[int, ...]], ...], ...] = (
    (
        ("train_*.py", ("eventprop/cli.py", "eventprop/__main__.py"), "the command line", ()),
        ("eventprop/scans/", (), "many runs from one file", ()),
        ("recipes/", (), "named settings", ()),
    ),
    (("simulator_*.py", (), "one benchmark each: its data, its splits", ()),),
    (("eventprop/simulators/", (), "the object that users hold; registry, recipes", ()),),
    (
        ("eventprop/training/", (), "epochs, rate, checkpoints, locks", (5, 11, 12)),
        ("eventprop/reports/", (), "tables, pictures, recording", (12,)),
    ),
    (("eventprop/parameters/", (), "keys: each declared once, checked, resolved", ()),),
    (
        ("eventprop/backends/cpu/", (), "C++ made from the models", (6, 7, 8, 9, 10)),
        ("eventprop/backends/genn/", (), "the same models on GeNN", ()),
    ),
    (
        ("eventprop/data/", (), "files, spikes, splits, augmentation", (1, 2, 3, 4)),
        ("eventprop/network.py", (), "what a network consists of", ()),
    ),
    (
        ("models.py", (), "neurons, losses, optimiser, declared", ()),
        ("eventprop/files.py", ("eventprop/streams.py",), "whole files; random streams", ()),
    ),
)
"""Rooms by floor: name, what else belongs to it, its job, and sentences of the path of a batch."""

WIDTH, HEIGHT, GAP, LEFT, TOP = 900, 62, 12, 40, 14
_FILLS = ("#e8eaf6", "#e3f2fd", "#e0f2f1", "#e8f5e9", "#f9fbe7", "#fff8e1", "#fff3e0", "#fbe9e7")


def svg() -> str:
    """The picture."""
    height = TOP + len(FLOORS) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' font-family="DejaVu Sans, Verdana, sans-serif">',
        "<title>The rooms of the program, floor by floor, and where the twelve steps of a batch happen</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<path d="M20 {TOP + 8} V{height - GAP - 16} m-6 -10 l6 12 l6 -12" fill="none" stroke="#5c6bc0" '
        'stroke-width="2"/>',
        f'<text transform="translate(14 {height / 2:.0f}) rotate(-90)" text-anchor="middle" font-size="12" '
        'fill="#3f51b5">imports point down</text>',
    ]
    for number, floor in enumerate(FLOORS):
        width = (WIDTH - LEFT - GAP * len(floor)) / len(floor)
        for place, (name, also, job, steps) in enumerate(floor):
            x, y = LEFT + place * (width + GAP), TOP + number * (HEIGHT + GAP)
            parts.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="6" fill="{_FILLS[number]}" '
                'stroke="#9fa8da"/>'
            )
            title = ", ".join((name, *(other.removeprefix("eventprop/") for other in also)))
            parts.append(
                f'<text x="{x + 12:.0f}" y="{y + 25}" font-size="14" font-weight="bold" fill="#1a237e">'
                f"{escape(title)}</text>"
            )
            parts.append(f'<text x="{x + 12:.0f}" y="{y + 47}" font-size="12.5" fill="#37474f">{escape(job)}</text>')
            for position, step in enumerate(reversed(steps)):
                cx = x + width - 20 - 28 * position
                parts.append(f'<circle cx="{cx:.0f}" cy="{y + 20}" r="12" fill="#3f51b5"/>')
                parts.append(
                    f'<text x="{cx:.0f}" y="{y + 24}" font-size="12" text-anchor="middle" fill="#ffffff">{step}</text>'
                )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(svg(), encoding="utf-8")
