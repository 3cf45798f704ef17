"""``python -m eventprop scan FILE.toml``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from eventprop import files
from eventprop.backends.cpu.engine import available_threads
from eventprop.scans import points, pool, reader, run, table
from eventprop.scans.points import Run
from eventprop.scans.spec import Scan

__all__ = ["main"]


def main(options: argparse.Namespace) -> int:
    """Run a scan; the exit status: 1 where a run has failed or the file is wrong, 130 where it was stopped."""
    try:
        return _scan(options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        for line in str(error).split("\n"):
            print(f"scan: error: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nscan: stopped; the same command goes on", file=sys.stderr)
        return 130


def _scan(options: argparse.Namespace) -> int:
    scan = reader.read(options.file)
    workers = scan.workers if options.workers is None else options.workers
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    if options.wait and not options.cluster:
        raise ValueError("--wait goes with --cluster")
    if scan.study is not None:
        raise ValueError("studies are not there yet")
    runs = points.expand(scan)
    if options.list:
        print("\n".join(one.id for one in runs))
        return 0
    if options.table:
        return report(scan, runs)
    folders = begin(scan, runs)
    _here(scan, runs, folders, workers)
    return report(scan, runs)


def begin(scan: Scan, runs: Sequence[Run]) -> list[Path]:
    """Make the scan's folder and the runs' in it.

    Raises:
        ValueError: the folder is there and not a scan's.
    """
    marker = scan.out / "scan.toml"
    if scan.out.is_dir() and any(scan.out.iterdir()) and not marker.exists():
        raise ValueError(f"{scan.path}: out={str(scan.out)!r} is there and is not a scan's folder; choose another")
    files.check_folder(scan.out)
    content = scan.path.read_bytes()
    with FileLock(scan.out / ".lock"):
        if marker.exists() and marker.read_bytes() != content:
            number = 1 + len(list(scan.out.glob("scan_previous*.toml")))
            marker.replace(scan.out / f"scan_previous{number}.toml")
        files.write_bytes(marker, content)
        return [points.prepare(scan, one) for one in runs]


class Reporter:
    """Prints a line for each run that ends."""

    def __init__(self, scan: Scan, runs: Sequence[Run], folders: Sequence[Path], done: int) -> None:
        self.scan, self.runs, self.folders = scan, runs, folders
        self.total, self.done = len(runs) + done, done

    def __call__(self, number: int) -> None:
        self.done += 1
        one, folder = self.runs[number], self.folders[number]
        now, row = run.status(folder), table.rows(self.scan, [self.runs[number]])[0]
        head = f"[{self.done:>{len(str(self.total))}}/{self.total}] {one.digest}  {one.label}: "
        if now["state"] == run.FINISHED:
            parts = [f"training {row.last['train_accuracy']:.1%}"] if "train_accuracy" in row.last else []
            if "eval_accuracy" in row.last:
                parts.insert(0, f"{self.scan.evaluated} {row.last['eval_accuracy']:.1%}")
            print(f"{head}{', '.join(parts)}  {now['seconds']:.1f} s", flush=True)
        else:
            message = str(now["message"]).split("\n")[0]
            print(f"{head}{now['state'].upper()}: {message} (log: {run.log_path(folder)})", flush=True)


def _here(scan: Scan, runs: Sequence[Run], folders: Sequence[Path], workers: int) -> None:
    states = [run.status(folder)["state"] for folder in folders]
    todo = [i for i, state in enumerate(states) if state != run.FINISHED]
    again = states.count(run.FAILED)
    threads = max(1, available_threads() // workers)
    notes = [f"{len(runs) - len(todo)} finished before"] if len(todo) < len(runs) else []
    notes += [f"{again} that failed are tried again"] if again else []
    print(f"{len(runs)} runs in {scan.out}" + "".join(f", {note}" for note in notes), flush=True)
    if todo:
        print(f"{min(workers, len(todo))} at once, {threads} threads each", flush=True)
    ended = Reporter(scan, [runs[i] for i in todo], [folders[i] for i in todo], len(runs) - len(todo))
    start = time.perf_counter()
    pool.do_all([folders[i] for i in todo], workers, threads, ended)
    if todo:
        print(f"{time.perf_counter() - start:.0f} s in all", flush=True)


def report(scan: Scan, runs: Sequence[Run]) -> int:
    """Write table and picture, print the summary; 1 if a run has failed."""
    rows = table.rows(scan, runs)
    print("\n" + table.summary_text(scan, rows))
    if scan.out.is_dir():
        with FileLock(scan.out / ".lock"):
            files.write_text(scan.out / "table.csv", table.to_csv(scan, rows))
            drawn = _draw(scan, rows)
        print(f"\nIn {scan.out}: table.csv" + (", scan.png" if drawn else ""))
    return int(any(row.status == run.FAILED for row in rows))


def _draw(scan: Scan, rows: Sequence[table.Row]) -> bool:
    """Write the picture of the runs that are finished, if there are any."""
    import numpy as np

    from eventprop import plots
    from eventprop.scans import figures

    column = table.measured(rows)
    finished = [row for row in rows if column in row.last]
    if not finished:
        return False
    accuracy = np.array([row.last[column] for row in finished])
    values = [[row.run.point[key] for key in scan.scanned] for row in finished]
    what = scan.evaluated if column == "eval_accuracy" else "training"
    plots.save(figures.picture(scan.scanned, values, accuracy, what), scan.out / "scan.png")
    return True
