"""``eventprop reproduce``."""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eventprop import files
from eventprop.backends.cpu.engine import available_threads
from eventprop.ranks import started
from eventprop.reports.provenance import processor
from eventprop.reproduce import adding, data_sets, work
from eventprop.reproduce.compare import difference
from eventprop.scans import points, pool
from eventprop.scans.run import FAILED, FINISHED, log_path, status
from eventprop.simulators import measured, recipes
from eventprop.simulators.measured import Entry, Table
from eventprop.terminal import stoppable

__all__ = ["main"]


@dataclass(frozen=True)
class Task:
    """An entry, and the folders of its runs."""

    entry: Entry
    folders: list[Path]


def main(options: argparse.Namespace) -> int:
    """Run numbers of the table again and compare; the exit status: 0 if none has moved, 1 if one has, if a run has
    failed or nothing could be compared, 2 where the command or the table is wrong, 130 where it was stopped."""
    return stoppable("reproduce", lambda: _reproduce(options), wrong=2)


def _reproduce(options: argparse.Namespace) -> int:
    if started() > 1:
        raise ValueError(f"a launcher of MPI has started {started()} processes, but this command is one")
    if options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}")
    path = options.results or recipes.results_file()
    table = Table({}) if options.add and options.results and not path.exists() else measured.read(path)
    for entry in table.entries.values():
        if entry.data not in data_sets.DATA_SETS:
            known = ", ".join(data_sets.DATA_SETS)
            raise ValueError(f"{path}: [result.{entry.name}]: data={entry.data!r} is not one of {known}")
    if options.add:
        table, name = adding.added(table, options)
        options.only, options.seeds, options.update = [name], None, True
        scan = work.scan_of(table.entries[name], path, Path("data"), Path())
        points.expand(scan)  # what is wrong with its settings
        if options.found:
            return _write(path, table, [name])
    elif wrong := [f"--{name}" for name in adding.OPTIONS if getattr(options, name) is not None]:
        raise ValueError(f"{', '.join(wrong)} go with --add")
    entries = [_seeded(entry, options.seeds) for entry in chosen(table, options.only)]
    folders = options.data or [Path("data")]
    if options.list:
        return _list(entries, table, folders)
    tasks = list(_tasks(entries, path, folders, options.out or work.default_folder(), quiet=options.table))
    if not options.table:
        _run(tasks, options.workers)
    found = {task.entry.name: work.numbers_of(task.entry, task.folders) for task in tasks}
    status = report(tasks, found)
    if options.update:
        whole = {task.entry.name for task in tasks if all(map(_finished, task.folders))}
        cores = max(1, available_threads() // options.workers)
        now = [replace(e, cores=cores, machine=processor()) for name, e in found.items() if e and name in whole]
        _write(path, replace(table, entries={**table.entries, **{e.name: e for e in now}}), [e.name for e in now])
    return status


def chosen(table: Table, patterns: Sequence[str] | None) -> list[Entry]:
    """The entries of these names, or all.

    Raises:
        ValueError: there is none of a name; names the nearest.
    """
    names = list(table.entries)
    for pattern in patterns or ():
        if not fnmatch.filter(names, pattern):
            near = difflib.get_close_matches(pattern, names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"there is no number {pattern!r}; there are: {', '.join(names)}{hint}")
    return [e for e in table.entries.values() if not patterns or any(fnmatch.fnmatch(e.name, x) for x in patterns)]


def _seeded(entry: Entry, seeds: Sequence[int] | None) -> Entry:
    if seeds is None:
        return entry
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"--seeds must be different whole numbers from 0, got {' '.join(map(str, seeds))}")
    return replace(entry, seeds=tuple(seeds))


def _list(entries: Sequence[Entry], table: Table, folders: Sequence[Path]) -> int:
    """A line for each number."""
    total = 0.0
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        seconds, known = estimate(entry, table)
        total += seconds * entry.runs
        there = entry.data == "none" or data_sets.find(entry.data, folders)[0] is not None
        needs = "" if entry.data == "none" else f"  needs {entry.data}" + ("" if there else ", which is not there")
        took = f"{'' if known else '~'}{seconds * entry.runs / 60:.0f} min" if seconds else "?"
        print(f"{entry.name:<{width}}  {entry.runs:>3} run{'s' if entry.runs > 1 else ' '}  {took:>8}{needs}".rstrip())
    runs = sum(e.runs for e in entries)
    print(f"{runs} runs, about {total / 3600:.1f} hours (~: as long as others of its task; ?: nobody knows)")
    return 0


def estimate(entry: Entry, table: Table) -> tuple[float, bool]:
    """Seconds of a run, and whether they were measured; else as long as other runs of its task, or of its simulator,
    on the same data take in the mean, and 0 where there are none."""
    if entry.seconds is not None:
        return entry.seconds, True
    known = [e for e in table.entries.values() if e.seconds and (e.simulator, e.data) == (entry.simulator, entry.data)]
    near = [e.seconds for e in known if e.task == entry.task] or [e.seconds for e in known]
    return (sum(s or 0.0 for s in near) / len(near) if near else 0.0), False


def _tasks(entries: Sequence[Entry], table: Path, folders: Sequence[Path], out: Path, *, quiet: bool) -> Iterator[Task]:
    """Entries whose data are there, with folders that are ready; a line for each of the others.

    Those whose data the program makes find them in ``out``.
    """
    files.check_folder(out)
    for entry in entries:
        place, lack = data_sets.find(entry.data, folders)
        if place is None:
            if not quiet:
                print(f"skipped {entry.name}: needs {data_sets.DATA_SETS[entry.data].about}; {lack}", flush=True)
            continue
        data_dir = out / "data" if entry.data == "none" else place
        yield Task(entry, work.folders_of(work.scan_of(entry, table, data_dir, out)))


def _finished(folder: Path) -> bool:
    return bool(status(folder)["state"] == FINISHED)


def _run(tasks: Sequence[Task], workers: int) -> None:
    """Do all runs that are not finished."""
    todo = [(task.entry, folder) for task in tasks for folder in task.folders if not _finished(folder)]
    runs, threads = sum(len(task.folders) for task in tasks), max(1, available_threads() // workers)
    done = runs - len(todo)
    before = f", {done} finished before" if done else ""
    print(f"{runs} runs of {len(tasks)} numbers{before}; {workers} at once, each with {threads} cores", flush=True)

    def ended(number: int) -> None:
        nonlocal done
        done += 1
        entry, folder = todo[number]
        now = status(folder)
        head = f"[{done:>{len(str(runs))}}/{runs}] {entry.name}, {folder.name.partition('-')[0]}: "
        if now["state"] == FINISHED:
            one = work.numbers_of(entry, [folder])
            assert one is not None
            print(head + ", ".join(f"{n} {value.mean:.2f} %" for n, value in one.numbers.items()), flush=True)
        else:
            message = str(now["message"]).split("\n")[0]
            print(f"{head}{now['state'].upper()}: {message} (log: {log_path(folder)})", flush=True)

    pool.do_all([folder for _, folder in todo], workers, threads, ended)


def report(tasks: Sequence[Task], found: dict[str, Entry | None]) -> int:
    """Print the comparison; 1 if a number has moved, a run has failed or nothing could be compared."""
    head = ["number", "of", "table", "now", "runs", "difference", "allowed", ""]
    rows, wrong = [head], False
    for task in tasks:
        failed = sum(status(folder)["state"] == FAILED for folder in task.folders)
        wrong |= failed > 0
        now = found[task.entry.name]
        for name, number in now.numbers.items() if now else ():
            row = [task.entry.name, name, "", str(number), f"{number.n} of {len(task.folders)}", "", "", "new"]
            if before := task.entry.numbers.get(name):
                change = difference(before, number)
                wrong |= change.moved
                row[2], row[5], row[6] = str(before), f"{change.change:+.2f}", f"{change.allowed:.2f}"
                row[7] = "MOVED" if change.moved else "as before"
            rows.append(row)
        if failed:
            rows.append([task.entry.name, "", "", "", f"{failed} of {len(task.folders)}", "", "", "FAILED"])
    if len(rows) == 1:
        print("nothing has been measured, and nothing is compared", file=sys.stderr)
        return 1
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{n}}" for cell, n in zip(row, widths, strict=True)).rstrip())
    moved = sum(row[-1] == "MOVED" for row in rows)
    compared = sum(bool(row[2]) for row in rows[1:])
    print(f"{moved} of {compared} numbers have moved by more than the spread of the runs explains")
    return int(wrong)


def _write(path: Path, table: Table, names: Sequence[str]) -> int:
    """Write the table; what else is to be done then."""
    if names:
        measured.write(path, table)
        print(f"{path} has the new numbers of {', '.join(names)}; python docs/results.py puts them into the pages")
    else:
        print("no number has all of its runs finished: the table stays as it is")
    return 0
