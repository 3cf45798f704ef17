"""The house: imports point down from room to room, modules and functions stay short, no simulator repeats another."""

from __future__ import annotations

import ast
import contextlib
import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator_yinyang import yinyang
from tests.support.places import ROOT

ROOMS: dict[str, tuple[str, ...]] = {
    "what users name": ("train_*.py", "simulator_*.py"),
    "the shell": (
        *("eventprop/__main__.py", "eventprop/cli.py", "eventprop/ending.py", "eventprop/info.py"),
        "eventprop/runs.py",
        *("eventprop/scans/*", "eventprop/reproduce/*"),
    ),
    "the certificate": ("eventprop/certificate/*",),
    "simulators": ("eventprop/simulators/*",),
    "training": ("eventprop/training/*",),
    "reports": ("eventprop/reports/*",),
    "parameters": ("eventprop/parameters/*",),
    "exchange": ("eventprop/exchange/*",),
    "backends": ("eventprop/backends/*", "eventprop/backends/cpu/*", "eventprop/backends/genn/*"),
    "networks and data": (
        *("eventprop/network.py", "eventprop/description.py", "eventprop/heterogeneity.py", "eventprop/masks.py"),
        "eventprop/data/*",
    ),
    "models": ("models.py", "eventprop/models.py", "eventprop/own_*.py"),
    "derivation": ("eventprop/derivation/*",),
    "the ground": (
        *("eventprop/__init__.py", "eventprop/choice.py", "eventprop/files.py", "eventprop/streams.py"),
        *("eventprop/terminal.py", "eventprop/texts.py", "eventprop/declarations.py", "eventprop/grammar.py"),
        *("eventprop/snippets.py", "eventprop/ranks.py", "eventprop/losses.py"),
    ),
}
"""From the top down. A module may import from its own room and from those below it."""

LONGEST_MODULE, LONGEST_FUNCTION, MOST_EQUAL_LINES = 400, 60, 5


def modules() -> dict[str, Path]:
    """All of the package, by name, relative to the project."""
    paths = [*ROOT.glob("train_*.py"), *ROOT.glob("simulator_*.py"), ROOT / "models.py"]
    own = (path.relative_to(ROOT) for path in (*paths, *(ROOT / "eventprop").rglob("*.py")))
    return {path.with_suffix("").as_posix().removesuffix("/__init__").replace("/", "."): path for path in sorted(own)}


MODULES = modules()


def rooms_of(path: Path) -> list[int]:
    """Numbers of the rooms, from the top, that a module is in."""
    return [n for n, places in enumerate(ROOMS.values()) if any(path.match(place) for place in places)]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each module of the package that a module imports, within functions and for type checkers too."""
    yield from imports_below(path, ast.parse((ROOT / path).read_text(encoding="utf-8")))


def imports_below(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            inside = (f"{node.module}.{alias.name}" for alias in node.names)
            names = [name if name in MODULES else str(node.module) for name in inside]
        yield from ((node.lineno, name) for name in dict.fromkeys(names) if name in MODULES)


def needed(path: Path) -> set[str]:
    """Modules that a module imports for more than types; a package's own are no matter of the package's ``__init__``,
    which loads one of them when it is asked to."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]
    found = {name for _, name in imports_below(path, tree)}
    return {name for name in found if path.name != "__init__.py" or MODULES[name].parent.parent != path.parent}


def test_each_module_is_in_a_room() -> None:
    """One that is new gets its place in the list, and each place holds something."""
    assert dict.fromkeys(MODULES, 1) == {name: len(rooms_of(path)) for name, path in MODULES.items()}
    for places in ROOMS.values():
        assert all(any(path.match(place) for path in MODULES.values()) for place in places), places


def test_imports_point_down() -> None:
    names = list(ROOMS)
    up = []
    for path in MODULES.values():
        (own,) = rooms_of(path)
        for line, name in imports(path):
            (other,) = rooms_of(MODULES[name])
            if other < own:
                up.append(f"{path}:{line}: {names[own]} -> {names[other]} ({name})")
    assert not up, "\n".join(["imports that point up:", *up])


def test_no_modules_need_each_other() -> None:
    """Fails if imports go round in a circle, however long, those that wait in functions included."""
    left = {name: needed(path) - {name} for name, path in MODULES.items()}
    reached = {name: set(others) for name, others in left.items()}
    for middle, (name, others) in itertools.product(left, reached.items()):
        if middle in others:
            reached[name] |= reached[middle]
    circle = [
        f"{MODULES[name]} needs itself, by {', '.join(sorted(left[name]))}" for name in left if name in reached[name]
    ]
    assert not circle, "\n".join(circle)


def sources() -> list[Path]:
    """The package, its tests and its benchmarks, relative to the project."""
    more = (path.relative_to(ROOT) for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
    return [*MODULES.values(), *sorted(more)]


def test_modules_are_short() -> None:
    lengths = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in sources()}
    long = [f"{path}: {n} lines" for path, n in lengths.items() if n > LONGEST_MODULE]
    assert not long, "\n".join(long)


def test_functions_are_short() -> None:
    """From ``def`` to the last line, with what a function's docstring says."""
    long = []
    for path in sources():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    assert not long, "\n".join(long)


def code_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of a module's lines of code, without imports, blanks, comments and how deep they are indented."""
    text = path.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = ((n, " ".join(line.split())) for n, line in enumerate(text.splitlines(), 1) if n not in skipped)
    return [(n, line) for n, line in lines if line and not line.startswith("#")]


PAIRS = list(itertools.combinations(sorted(ROOT.glob("simulator_*.py")), 2))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: " ".join(path.stem for path in pair))
def test_no_simulator_repeats_another(pair: tuple[Path, Path]) -> None:
    """What two simulators have in common belongs into what they share."""
    ours, theirs = map(code_lines, pair)
    size = MOST_EQUAL_LINES + 1
    there = {tuple(line for _, line in theirs[i : i + size]): theirs[i][0] for i in range(len(theirs) - size + 1)}
    for i in range(len(ours) - size + 1):
        run = tuple(line for _, line in ours[i : i + size])
        assert run not in there, f"{pair[0].name}:{ours[i][0]} and {pair[1].name}:{there[run]} have {size} equal lines"


def test_what_is_profiled_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a function that ``benchmarks/around.py`` watches has another name by now."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    around = importlib.import_module("around")
    with contextlib.ExitStack() as stack:
        around.watched(around.Watch(), yinyang, stack)


def test_names_of_modules_that_python_does_not_know_have_no_two_underscores() -> None:
    """Fails if ``__all__`` is misspelt, which hides nothing and says nothing."""
    known = {"__all__", "__version__"}
    for path in sources():
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = {target.id for target in targets if isinstance(target, ast.Name) and target.id.startswith("__")}
            assert names <= known, f"{path}: {', '.join(names - known)}"
