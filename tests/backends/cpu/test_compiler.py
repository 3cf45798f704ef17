"""The cache of compiled engines: what is loaded is whole, whatever was killed, cut off, named oddly or is missing."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from eventprop.backends import building, cache
from eventprop.backends.cpu import compiler
from eventprop.backends.cpu.compiler import CompilerError, load_library

# Needs C++'s own library, as the engine does.
SOURCE = """
extern "C" __attribute__((visibility("default")))
int answer() { try { throw 42; } catch (int n) { return n; } }
"""
CHILD = f"""
import signal, sys; sys.path[:] = {sys.path!r}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
from eventprop.backends.cpu.compiler import load_library
print(load_library({SOURCE!r}).answer())
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and a compiler that does not take long."""
    monkeypatch.setenv("EVENTPROP_CACHE", "cache")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiler, "_FLAGS", [flag.replace("-O3", "-O0") for flag in compiler._FLAGS])


def answer(source: str = SOURCE) -> int:
    return int(load_library(source).answer())


def names(folder: str | Path = "cache") -> list[str]:
    return sorted(os.listdir(folder))


def wrapper(name: str, text: str) -> str:
    """An executable script that stands for a compiler."""
    path = Path(name).absolute()
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def real() -> str:
    return compiler.find_compiler()[0]


def test_a_library_is_built_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Fails if a second start compiles again, or anything but the library stays."""
    assert answer() == 42
    assert "Building the CPU engine" in capfd.readouterr().err
    (name,) = names()
    assert name.startswith("engine_") and name.endswith(".so")
    assert answer() == 42
    assert not capfd.readouterr().err and names() == [name]


@pytest.mark.parametrize("damage", ["empty", "short", "half", "one bit", "a bit of its end", "longer", "text"])
def test_a_damaged_library_is_built_again(
    damage: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Fails if it is loaded, which ends Python with SIGBUS or SIGSEGV, or computes something else."""
    assert answer() == 42
    (name,) = names()
    whole = Path("cache", name).read_bytes()  # this file stays as it is: this process runs its code
    changed = bytearray(whole)
    changed[{"one bit": len(whole) // 3, "a bit of its end": -1}.get(damage, 0)] ^= 1
    contents = {"empty": b"", "short": whole[:100], "half": whole[: len(whole) // 2], "longer": whole + b"\0"}
    Path("other").mkdir()
    Path("other", name).write_bytes(contents.get(damage, b"text" if damage == "text" else bytes(changed)))
    monkeypatch.setenv("EVENTPROP_CACHE", "other")
    capfd.readouterr()
    assert answer() == 42
    shown = capfd.readouterr().err
    assert f"{name} in {Path('other').absolute()} is damaged and is not used\n" in shown and "Building" in shown
    (again,) = names("other")
    assert Path("other", again).read_bytes() != contents.get(damage, bytes(changed))


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the cache needs none, not even the one that CXX names; what is not there does."""
    answer()
    monkeypatch.setenv("PATH", "")
    assert answer() == 42
    monkeypatch.setenv("CXX", "nonsense++")
    assert answer() == 42
    with pytest.raises(CompilerError, match="named by CXX, 'nonsense"):
        load_library(SOURCE + "// another")
    monkeypatch.setenv("CXX", wrapper("broken", "").replace("broken", "."))  # a folder
    assert answer() == 42


def test_another_compiler_builds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if CXX has no effect where another compiler was used before."""
    answer()
    monkeypatch.setenv("CXX", f"{real()} -DANOTHER")
    assert answer() == 42
    assert len(names()) == 2


@pytest.mark.parametrize(
    "cxx",
    [
        "{real} -O1",
        "'{folder}/my tools/c++'",
        "{folder}/my tools/c++",
        "'{folder}/my tools/c++' -O1",
        "{folder}/ccache {real}",
        "./relative",
        "{folder}/talks",
        "{folder}/asks",
        "  ",
        "gcc",
        "{folder}/ccache gcc -O1",
    ],
)
def test_names_of_compilers(cxx: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrappers and options, spaces in paths, compilers that print or read, and one for C, which leaves C++'s library
    out."""
    if "gcc" in cxx and shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    wrapper("my tools/c++", f'exec {real()} "$@"')
    wrapper("ccache", 'exec "$@"')
    wrapper("relative", f'exec {real()} "$@"')
    wrapper("talks", f'echo "warning: something" >&2; echo more; exec {real()} "$@"')
    wrapper("asks", f'read -r line; exec {real()} "$@"')
    monkeypatch.setenv("CXX", cxx.format(real=real(), folder=Path.cwd()))
    assert answer() == 42
    assert len(names()) == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "ended without an error, but wrote nothing to engine.o"),
        (
            'while [ $# -gt 0 ]; do [ "$1" = -o ] && : > "$2"; shift; done',
            r"built cannot be loaded: .*CXX must name a compiler for C\+\+",
        ),
        (r"printf 'bad \377 \200' >&2; exit 1", r"(?s)could not build the CPU engine:.*bad"),
        ("echo x; echo 'a.cpp: error: first'; yes more | head -n 2000; exit 1", "engine:\na.cpp: error: first\nmore\n"),
        ("kill -KILL $$", "could not build the CPU engine"),
    ],
)
def test_compilers_that_do_not_compile(script: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says what happened, and nothing in the cache."""
    monkeypatch.setenv("CXX", wrapper("bad", f'[ "$1" = --version ] && exit 0\n{script}'))
    with pytest.raises(CompilerError, match=message):
        load_library(SOURCE)
    assert names() == []


def test_a_quote_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", '"g++')
    with pytest.raises(CompilerError, match="named by CXX, '\"g"):
        load_library(SOURCE)


@pytest.mark.parametrize("name", [".", "a b", "q'uo\"te", "ünï", "[x]*?", "-I x", "#@x", "a:b;$c", "~", "~/c"])
def test_names_of_the_cache(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fails if a name is read as an option, a pattern or a command, or "~" is taken for a folder's name."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVENTPROP_CACHE", name)
    assert answer() == 42
    folder = cache.cache_folder()
    assert folder.is_absolute() and len(list(folder.glob("engine_*.so"))) == 1
    assert folder == Path(os.path.abspath(name.replace("~", str(tmp_path / "home"))))
    monkeypatch.setenv("PATH", "")
    assert answer() == 42


def test_a_cache_that_may_not_hold_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is compiled: on a drive mounted noexec, and where the loader reads a name in another way."""
    assert hasattr(os, "statvfs")
    if hasattr(os, "ST_NOEXEC"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_NOEXEC | os.ST_NOSUID))
            with pytest.raises(CompilerError, match=r"cache could not be run .*noexec.*EVENTPROP_CACHE"):
                load_library(SOURCE)
    monkeypatch.setenv("EVENTPROP_CACHE", "$LIB/x")
    with pytest.raises(CompilerError, match=r"\$LIB in .*EVENTPROP_CACHE"):
        load_library(SOURCE)
    assert names() == []


def test_a_library_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says why, and what to do."""
    answer()

    def refuse(_: str) -> ctypes.CDLL:
        raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(CompilerError, match=r"failed to map segment.*EVENTPROP_CACHE; else remove .*engine_"):
        load_library(SOURCE)


def test_a_cache_that_is_only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a library that is there is not used without writing to its folder."""
    answer()
    monkeypatch.setattr(compiler, "check_cache", lambda _: pytest.fail("the cache was written"))
    monkeypatch.setattr(compiler, "alone_with", lambda _: pytest.fail("the cache was written"))
    assert answer() == 42


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Fails if the error does not say where there is no space, or something is left."""

    def write(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for owner, name in ((Path, "write_text"), (os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, write)
            with pytest.raises(CompilerError, match=r"built in .*cache: No space left.*EVENTPROP_CACHE"):
                load_library(SOURCE)
        assert names() == [] and "failed" in capfd.readouterr().err
    assert answer() == 42


def test_the_compiler_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a limit allows no more processes."""

    def start(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(compiler.subprocess, "run", start)
        with pytest.raises(CompilerError, match=r"the compiler .* cannot be run: .*unavailable"):
            load_library(SOURCE)
    monkeypatch.setattr(compiler, "run", start)
    with pytest.raises(CompilerError, match="cannot be run: Resource temporarily unavailable"):
        load_library(SOURCE)


def test_two_processes_build_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if both compile, or one damages what the other loads."""
    log = Path("log").absolute()
    monkeypatch.setenv("CXX", wrapper("counts", f'case " $* " in *" -c "*) echo x >> {log};; esac; exec {real()} "$@"'))
    started = [subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[0] for process in started] == [b"42\n"] * 3
    assert log.read_text() == "x\n" and len(names()) == 1


def _next(pipe: int) -> bytes:
    """What comes next from a named pipe; nothing where all who wrote to it have ended."""
    assert select.select([pipe], [], [], 60)[0]
    return os.read(pipe, 2)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_build(how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the compiler goes on, or the next build does not remove what is left."""
    os.mkfifo("alive")  # a compiler, and a process that it started, hold it open as long as they live
    script = f'[ "$1" = --version ] && exit 0\nexec 8>{Path("alive").absolute()}\nsleep 1000 &\necho x >&8\nwait'
    monkeypatch.setenv("CXX", wrapper("endless", script))
    child = subprocess.Popen([sys.executable, "-c", CHILD], stderr=subprocess.DEVNULL)
    alive = os.open("alive", os.O_RDONLY | os.O_NONBLOCK)
    assert _next(alive) == b"x\n"
    child.send_signal(how)
    child.wait()
    assert _next(alive) == b""
    os.close(alive)
    assert [name for name in names() if name.endswith(".so")] == []
    monkeypatch.delenv("CXX")
    load_library(SOURCE + "// another")
    assert len(names()) == 1 and names()[0].endswith(".so")


def test_leftovers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What dead processes left goes with the next build; what live ones work on, and what is not ours, stays."""
    Path("cache").mkdir()
    dead, alive, kept = "engine_" + 24 * "1", "engine_" + 24 * "2", "genn_" + 24 * "3"
    for folder in (f"{dead}.x.building", f"{alive}.x.building", "genn_" + 24 * "4", kept, "engine_data", "photos"):
        Path("cache", folder).mkdir()
        Path("cache", folder, "file").write_text("")
    Path("cache", kept, building.FINISHED).write_text("{}")
    for name in (dead, alive, kept, "genn_" + 24 * "4", "photos", "engine_data"):
        Path("cache", f"{name}.lock").write_text("")
    with FileLock(f"cache/{alive}.lock"):
        load_library(SOURCE)
        assert {name for name in names() if not name.endswith(".so")} == {
            *(f"{alive}.x.building", f"{alive}.lock", kept, "engine_data", "engine_data.lock", "photos", "photos.lock")
        }
    load_library(SOURCE + "// another")
    assert f"{alive}.x.building" not in names() and Path("cache", kept, "file").exists()


def test_a_drive_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if nothing can be built where locks are not known, or what others may be building is removed there."""
    Path("cache", "engine_" + 24 * "1" + ".x.building").mkdir(parents=True)

    def acquire(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    assert answer() == 42
    assert len(names()) == 2


def test_the_compiler_of_ziglang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no other, the package's is used, by its own command; CXX wins, and what names nothing is told."""
    Path("packages/ziglang").mkdir(parents=True)
    wrapper("packages/zig", f'[ "$1" = c++ ] || exit 1; shift; exec {real()} "$@"')
    run_it = f"import os, sys\nos.execv({str(Path('packages/zig').absolute())!r}, ['zig', *sys.argv[1:]])\n"
    Path("packages/ziglang/__main__.py").write_text(run_it)
    Path("packages/ziglang/__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(Path("packages").absolute()), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(Path("packages").absolute()))
    assert compiler.find_compiler() != [sys.executable, "-m", "ziglang", "c++"]
    path = os.environ["PATH"]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert compiler.find_compiler() == [sys.executable, "-m", "ziglang", "c++"]
    monkeypatch.setenv("PATH", path)
    assert answer() == 42 and len(names()) == 1
    monkeypatch.setenv("CXX", "nonsense++")
    with pytest.raises(CompilerError, match="named by CXX, 'nonsense"):
        compiler.find_compiler()
