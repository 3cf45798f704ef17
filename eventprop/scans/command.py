"""``python -m eventprop scan FILE.toml``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from eventprop import files
from eventprop.backends.cpu.engine import available_threads
from eventprop.ranks import started
from eventprop.reports.pictures import attempt
from eventprop.scans import points, pool, reader, run, table
from eventprop.scans.points import Run
from eventprop.scans.spec import Scan
from eventprop.terminal import stoppable

__all__ = ["main"]

_MARKER = "scan.toml"  # makes a folder a scan's


def main(options: argparse.Namespace) -> int:
    """Run a scan; the exit status: 1 where a run has failed or the file is wrong, 130 where it was stopped."""
    return stoppable("scan", lambda: _scan(options), wrong=1)


def _scan(options: argparse.Namespace) -> int:
    scan = reader.read(options.file)
    if started() > 1:
        raise ValueError(
            f"a launcher of MPI has started {started()} processes, but a scan is one, which starts its runs itself: "
            'launcher = "mpirun -n ..." in its file has each run done by several'
        )
    workers = scan.workers if options.workers is None else options.workers
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    if options.wait and not options.cluster:
        raise ValueError("--wait goes with --cluster")
    if scan.study is not None:
        return _study(scan, options, workers)
    runs = points.expand(scan)
    if options.list:
        print("\n".join(one.id for one in runs))
        return 0
    if options.table:
        return report(scan, runs)
    if options.cluster:
        return _on_cluster(scan, runs, options)
    return _here(scan, runs, workers)


def _study(scan: Scan, options: argparse.Namespace, workers: int) -> int:
    from eventprop.scans import study

    if options.cluster:
        raise ValueError("a study runs where the command runs: give the command several times, or in jobs of your own")
    study.check(scan)
    if options.list:
        assert scan.study is not None
        repeated = len(scan.seeds) * len(scan.folds or (0,))
        print(f"{scan.study.trials} trials of {repeated} runs each over {', '.join(scan.scanned)}")
        return 0
    study.require()
    failed = 0
    if not options.table:
        begin(scan, [])
        ended = Reporter(scan, 0)
        failed = study.work(scan, workers, max(1, available_threads() // workers), ended)
    report(scan, study.runs_so_far(scan))
    return int(failed > 0)


def begin(scan: Scan, runs: Sequence[Run]) -> list[Path]:
    """Make the scan's folder and the runs' in it.

    Raises:
        ValueError: the folder is there and not a scan's.
    """
    marker = scan.out / _MARKER
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
    """Prints a line for each run that ends.

    Args:
        total: runs of the scan; 0 where nobody knows.
        done: of them, those that had ended before.
    """

    def __init__(self, scan: Scan, total: int, done: int = 0) -> None:
        self.scan, self.total, self.done = scan, total, done

    def __call__(self, one: Run) -> None:
        self.done += 1
        folder = points.folder_of(self.scan.out, one)
        now, row = run.status(folder), table.rows(self.scan, [one])[0]
        counted = f"[{self.done:>{len(str(self.total))}}/{self.total}] " if self.total else ""
        head = f"{counted}{one.digest}  {one.label}: "
        if now["state"] == run.FINISHED:
            parts = [f"training {row.last['train_accuracy']:.1%}"] if "train_accuracy" in row.last else []
            if "eval_accuracy" in row.last:
                parts.insert(0, f"{self.scan.evaluated} {row.last['eval_accuracy']:.1%}")
            print(f"{head}{', '.join(parts)}  {now['seconds']:.1f} s", flush=True)
        else:
            message = str(now["message"]).split("\n")[0]
            print(f"{head}{now['state'].upper()}: {message} (log: {run.log_path(folder)})", flush=True)


def _unfinished(scan: Scan, runs: Sequence[Run], folders: Sequence[Path]) -> list[int]:
    """Numbers of the runs that are still to be done; says how many of each there are."""
    states = [run.status(folder)["state"] for folder in folders]
    again = states.count(run.FAILED)
    todo = [i for i, state in enumerate(states) if state != run.FINISHED]
    notes = [f"{len(runs) - len(todo)} finished before"] if len(todo) < len(runs) else []
    notes += [f"{again} that failed are tried again"] if again else []
    print(f"{len(runs)} runs in {scan.out}" + "".join(f", {note}" for note in notes), flush=True)
    return todo


def _here(scan: Scan, runs: Sequence[Run], workers: int) -> int:
    folders = begin(scan, runs)
    todo = _unfinished(scan, runs, folders)
    threads = max(1, available_threads() // workers)
    if todo:
        print(f"{min(workers, len(todo))} at once, each with {threads} of the {available_threads()} cores", flush=True)
    ended = Reporter(scan, len(runs), len(runs) - len(todo))
    start = time.perf_counter()
    pool.do_all([folders[i] for i in todo], workers, threads, lambda i: ended(runs[todo[i]]))
    if todo:
        print(f"{time.perf_counter() - start:.0f} s in all", flush=True)
    return report(scan, runs)


def _on_cluster(scan: Scan, runs: Sequence[Run], options: argparse.Namespace) -> int:
    from eventprop.scans import cluster

    cluster.check(scan, options.cluster)
    folders = begin(scan, runs)
    todo = _unfinished(scan, runs, folders)
    jobs = cluster.submit(scan, [folders[i] for i in todo], options.cluster) if todo else []
    print(f"{len(jobs)} jobs submitted; their own files are in {scan.out / 'jobs'}", flush=True)
    if not options.wait:
        print("what is there so far: the same command with --table instead of --cluster")
        return 0
    ended = Reporter(scan, len(runs), len(runs) - len(todo))
    cluster.wait(jobs, [folders[i] for i in todo], lambda i: ended(runs[todo[i]]))
    return report(scan, runs)


def report(scan: Scan, runs: Sequence[Run]) -> int:
    """Write table and picture, print the summary; 1 if a run has failed."""
    rows = table.rows(scan, runs)
    print("\n" + table.summary_text(scan, rows))
    if (scan.out / _MARKER).exists():
        with FileLock(scan.out / ".lock"):
            files.write_text(scan.out / "table.csv", table.to_csv(scan, rows))
            drawn = _draw(scan, rows)
        print(f"\nIn {scan.out}: table.csv" + (", scan.png" if drawn else ""))
    return int(any(row.status == run.FAILED for row in rows))


def _draw(scan: Scan, rows: Sequence[table.Row]) -> bool:
    """Write the picture of the runs that are finished, if there are any."""
    import numpy as np

    column = table.measured(rows)
    finished = [row for row in rows if column in row.last]
    if not finished:
        return False
    accuracy = np.array([row.last[column] for row in finished])
    values = [[row.run.point[key] for key in scan.scanned] for row in finished]
    what = scan.evaluated if column == "eval_accuracy" else "training"
    path = scan.out / "scan.png"
    with attempt(path):
        from eventprop.reports import plots
        from eventprop.scans import figures

        plots.save(figures.picture(scan.scanned, values, accuracy, what), path)
        return True
    return False
