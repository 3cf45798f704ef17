"""The pages of ``docs/`` and the README: what they say runs, or exists.

Python runs page by page, in one namespace, in an empty folder, with fewer synthetic samples than there are; blocks with
a title say what they need, and are only compiled. Commands are read by the programs that they name, without running
them. Commands of the README run as they are printed: ``test_first_contact.py``.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from eventprop import cli, reproduce, runs, scans
from eventprop.__main__ import main as tools
from eventprop.certificate import command as certificate
from eventprop.parameters.declaration import parse_settings
from eventprop.parameters.shared import ALIASES
from eventprop.reproduce import adding
from eventprop.reproduce import command as reproducing
from eventprop.simulators import measured, recipes, registry

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
TEXTS = {**PAGES, **{name: (ROOT / f"{name}.md").read_text(encoding="utf-8") for name in ("README", "CONTRIBUTING")}}
FENCE = re.compile(r'^```([a-z]*)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.M)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OWNER = {name: benchmark for benchmark in registry.BENCHMARKS.values() for name in [f"train_{benchmark.name}.py"]}
# Upper-case words that are no keys: values, and names of the environment and the code.
WORDS = {
    "ALIF",
    "BENCHMARKS",
    "COBA",
    "EIF",
    "QIF",
    "RF",
    "CXX",
    "CXXFLAGS",
    "DATA_DIR/SHD/",
    "DEMO",
    "EVENTPROP_CACHE",
    "KEY",
    "LI",
    "LIF",
}
WORDS |= {"EVENTPROP_TEST_CACHE", "CUDA_PATH", "PATH", "EVENTPROP_MPI", "PMI_SIZE", "PMIX_RANK"}
WORDS |= {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"}
WORDS |= {"COBA", "EIF", "MPLBACKEND", "QIF", "RF", "OF_OTHERS", "TESTS", "SHD", "SSC"}


def blocks(text: str, language: str) -> list[tuple[str, str]]:
    """Title and content of a text's blocks in a language."""
    return [(title, code) for found, title, code in FENCE.findall(text) if found == language]


def inline(text: str) -> list[str]:
    return INLINE.findall(FENCE.sub("", text))


def commands(text: str) -> list[str]:
    """Those of blocks, without comments, and those within a line; one for each part of ``a && b``."""
    lines = [line for _, code in blocks(text, "sh") for line in code.replace("\\\n", "").splitlines()]
    lines += [code for code in inline(text) if re.match(r"(python|pip|make) (?!\[)", code)]
    return [part.strip() for line in lines for part in re.sub(r"\s+#.*", "", line).split(" && ") if part]


def loaded(name: str) -> ModuleType:
    """A Python file of ``docs/``."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names in annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", TEXTS)
def test_every_block_says_what_it_is(name: str) -> None:
    """A block of no known kind would be tried by no test."""
    assert TEXTS[name].count("\n```") == 2 * len(FENCE.findall(TEXTS[name]))
    assert {language for language, _, _ in FENCE.findall(TEXTS[name])} <= {"python", "sh", "text", "toml"}


@pytest.mark.parametrize("name", TEXTS)
def test_code_is_as_wide_as_a_page(name: str) -> None:
    """Beyond that it is cut off on the site until one scrolls; what programs print is as it is."""
    code = [
        line for language, _, block in FENCE.findall(TEXTS[name]) if language != "text" for line in block.split("\n")
    ]
    assert [line for line in code if len(line) > 96] == []


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if blocks(text, "python")])
def test_python_of_a_page(page: str, small_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's ``p`` is that of a new process at the start of each page."""
    Path("data").symlink_to(small_demo)
    for benchmark in registry.BENCHMARKS.values():
        benchmark.load()
        module = sys.modules[benchmark.module]
        monkeypatch.setattr(module, "p", benchmark.load().defaults())
    names: dict[str, Any] = {"__name__": "page"}
    for number, (title, code) in enumerate(blocks(PAGES[page], "python")):
        assert not title or title.startswith("needs ")
        compiled = compile(code, f"docs/{page}.md, block {number}", "exec")
        if not title:
            exec(compiled, names)


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR with a quarter of the synthetic spoken digits."""
    from eventprop.data import demo_digits
    from simulator_SHD import SHD_model

    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_digits, "SIZES", {"train": 500, "test": 100})
        SHD_model(SHD_model.defaults() | {"DATA_SET": "DEMO", "DATA_DIR": str(folder)})
        yield folder  # type: ignore[misc]


class Reached(Exception):
    """A command line was read to the end."""


@pytest.mark.parametrize("command", sorted({c for text in TEXTS.values() for c in commands(text)}))
def test_a_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    if words[0] == "mpirun":
        words = words[words.index("python") :]
    if "my_neurons.py" in words:  # the first block of the page that names it
        Path("my_neurons.py").write_text(blocks(PAGES["own_neuron"], "python")[0][1])
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        wanted = re.findall(r"^\.\[(.*)\]$", words[2])
        assert all(extra in extras for extra in wanted) and (wanted or words[2] in ("tonic", "jupyterlab"))
    elif words[0] == "python" and words[1] in OWNER:
        read_by_the_script(OWNER[words[1]], words[2:], monkeypatch)
    elif words[0] == "eventprop" and words[1] in ("train", "test"):
        read_by_the_script(registry.find(words[2]), words[3:], monkeypatch)
    elif words[:3] == ["python", "-m", "eventprop"] or words[0] == "eventprop":
        read_by_the_tools(words[1:] if words[0] == "eventprop" else words[3:])
    elif words[:3] == ["python", "-m", "pytest"]:
        assert (ROOT / words[3]).exists()
    elif words[0] == "python":
        assert words[1].startswith(("benchmarks/", "docs/"))
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in words if word.startswith("--"))
    else:
        assert words[0] in ("git", "cd", ".", "export"), "a command that no test knows"


def read_by_the_script(benchmark: registry.Benchmark, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are resolved, and nothing is trained."""

    class Stub:
        def __init__(self, p: dict[str, Any]) -> None:
            benchmark.resolve(p)
            raise Reached

    for method in benchmark.methods.values():
        setattr(Stub, method, None)
    monkeypatch.setattr(registry.Benchmark, "load", lambda self: Stub)
    for place, word in enumerate(words):
        if word == "--params":
            path = Path(words[place + 1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    with pytest.raises(SystemExit if "--help" in words else Reached) if "--list-recipes" not in words else _nothing():
        assert cli.main(benchmark.name, words) == 0


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def read_by_the_tools(words: list[str]) -> None:
    if words[0] == "scan":
        parser = argparse.ArgumentParser()
        scans.add_arguments(parser)
        file = parser.parse_args(words[1:]).file
        assert file.name == "SCAN.toml" or tools(["scan", str(ROOT / file), "--list"]) == 0
    elif words[0] == "check":  # it takes minutes
        parser = argparse.ArgumentParser()
        certificate.add_arguments(parser)
        file = parser.parse_args(words[1:]).models
        assert file is None or Path(file).exists()
    elif words[0] == "reproduce":
        parser = argparse.ArgumentParser()
        reproduce.add_arguments(parser)
        options = parser.parse_args(words[1:])
        table = measured.read(recipes.results_file())
        assert adding.added(table, options)[1] if options.add else reproducing.chosen(table, options.only)
    elif words[0] == "runs":
        parser = argparse.ArgumentParser()
        runs.add_arguments(parser)
        assert parser.parse_args(words[1:]).folder
    elif words[0] == "export":
        assert tools(words) == 1  # of a checkpoint that is not there
    else:
        assert tools(words) == 0


def test_scan_files_of_the_page() -> None:
    """Those that are whole are read by the program."""
    whole = 0
    for number, (_, text) in enumerate(blocks(PAGES["scans"], "toml")):
        if "simulator" in tomllib.loads(text):
            Path(f"{number}.toml").write_text(text, encoding="utf-8")
            assert tools(["scan", f"{number}.toml", "--list"]) == 0
            whole += 1
    assert whole == 2


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_named_exist(name: str) -> None:
    for code in inline(TEXTS[name]):
        if re.match(r"(eventprop|tests|benchmarks|recipes|scans|notebooks|docs)/|(simulator|train)_\w+\.py$", code):
            place = code.removesuffix("/").replace("<name>", "*")
            assert list(ROOT.glob(place)), f"{name} names {code}"


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "keys"])
def test_keys_that_are_named_exist(name: str) -> None:
    """With the values that stand behind them, which one of the benchmarks takes."""
    for code in inline(TEXTS[name]):
        settings = re.fullmatch(r"([A-Z][A-Z0-9_]+=\S+ ?)+", code) and not code.endswith("/")  # a scan's folder
        words = shlex.split(code) if settings else []
        if re.fullmatch(r"[A-Z][A-Z0-9_]+", code) and code not in WORDS:
            words = [code]
        for word in words:
            key = word.partition("=")[0]
            owners = [b for b in registry.BENCHMARKS.values() if key in {k.name for k in b.keys} | set(ALIASES)]
            assert owners or key in WORDS, f"{name} names {key}"
            assert "=" not in word or key in WORDS or any(takes(b, word) for b in owners), f"{name} says {word}"


def takes(benchmark: registry.Benchmark, word: str) -> bool:
    try:
        for name, value in parse_settings([word], benchmark.keys).items():
            next(key for key in benchmark.keys if key.name == name).check(value)
    except (ValueError, UserWarning):  # the warning is that another benchmark has this value
        return False
    return True


def test_every_recipe_is_on_a_page() -> None:
    named = set(inline(PAGES["benchmarks"] + PAGES["paper"]))
    for simulator in registry.BENCHMARKS:
        assert set(recipes.list_recipes(simulator)) - named == set()


def test_messages_that_are_explained_are_the_programs() -> None:
    sources = [ROOT / "Makefile", *(ROOT / "eventprop").rglob("*.py")]
    said = "".join(path.read_text(encoding="utf-8") for path in sources)
    said = re.sub(r'"\s*f?"', "", said) + "ModuleNotFoundError shd_train.h5"
    first = re.findall(r"^\| (`.*?`) \|", PAGES["troubleshooting"], re.M)
    messages = [message for cell in first for message in inline(cell)]
    learning = PAGES["troubleshooting"].split("## It does not learn")[1]
    messages += [message for message in inline(learning) if re.match("[a-z]+ [a-z]+ ", message)]
    assert len(messages) >= 12
    assert [message for message in messages if message not in said] == []


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README"].splitlines()) <= 150


def test_accuracies_are_those_of_the_table() -> None:
    """The pages' tables are made of ``recipes/results.toml``; if this fails: ``python docs/results.py``."""
    results = loaded("results")
    table = measured.read(recipes.results_file())
    pages = {page: page.read_text(encoding="utf-8") for page in results.PAGES}
    assert sum(text.count("<!-- docs/results.py: ") for text in pages.values()) == len(results.BLOCKS)
    assert [page.name for page, text in pages.items() if results.renewed(text, table) != text] == []
    assert all(f"`{name}`" in pages[ROOT / "docs" / "results.md"] for name in table.entries)


def test_the_picture_of_the_rooms() -> None:
    """Made of the imports and the page as they are; if this fails: ``python docs/rooms.py``."""
    rooms = loaded("rooms")
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == rooms.svg()
    path = PAGES["inside"].split("## The path of a batch")[1].split("\n## ")[0]
    assert [int(number) for number in re.findall(r"^(\d+)\. ", path, re.M)] == list(range(1, 13))
    assert all((ROOT / rooms.first_file(sentence)).is_file() for sentence in rooms.sentences(PAGES["inside"]))


def test_the_picture_follows_the_imports() -> None:
    """An import that goes round, or that no straight arrow can show, is an error, and so is a module in no room."""
    rooms = loaded("rooms")
    top, middle, ground = (rooms.Room(name, "", (f"{name}/*",)) for name in ("top", "middle", "ground"))
    needs = {top: {middle, ground}, middle: {ground}, ground: set()}
    assert rooms.floors(needs) == {ground: 0, middle: 1, top: 2}
    rooms.ROOMS = (top, middle, ground)
    assert rooms.arrows(needs) == [(top, middle), (middle, ground)]
    with pytest.raises(ValueError, match="imports go round: top, middle, ground"):
        rooms.floors({**needs, ground: {top}})
    with pytest.raises(ValueError, match=r"cellar/a\.py is in no room"):
        rooms.room_of("cellar/a.py")


def test_a_notebook_becomes_a_page() -> None:
    """As it was saved: nothing is run while the site is built."""
    hooks = loaded("hooks")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        text, figures = hooks.page_of(notebook)
        assert text.startswith("# ") and len(figures) == text.count("![") == 3
        assert all(image.startswith(b"\x89PNG") and f"]({name})" in text for name, image in figures.items())
        assert len(FENCE.findall(text)) == text.count("\n```") / 2


def test_keys_are_links_to_their_rows() -> None:
    hooks = loaded("hooks")
    names = hooks.key_names(PAGES["keys"])
    assert names == {key.name for benchmark in registry.BENCHMARKS.values() for key in benchmark.keys}


def test_a_page_that_loads_from_the_network_is_an_error() -> None:
    """So that the site can be read without, and tells nobody who reads it. Links to elsewhere are none of it."""
    hooks = loaded("hooks")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="start.md"))
    link = '<a href="https://example.org">elsewhere</a><img src="raster.png"><script src="../assets/x.js"></script>'
    assert hooks.on_post_page(link, page, None) == link
    for tag in ('<script src="https://example.org/x.js">', "<link rel=stylesheet href=//example.org/x.css>"):
        with pytest.raises(SystemExit, match=r"start.md would load <.*example.org"):
            hooks.on_post_page(link + tag, page, None)
