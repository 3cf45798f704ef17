"""What damaged files, kills and sanitizers make of this project: tables, and exit status 1 where anything is wrong.

    python benchmarks/robustness.py [--files 500] [--kinds WORD ...] [--kills 100] [--sanitizers quick|full|none]
                                    [--jobs 2] [--out FILE.md]

Files: so many mutants of each kind of file that is read. Bits, bytes and blocks of it change, are lost, move or are
there twice; texts are edited. Each must give what the whole file gives, or one clear line that names the file and
leaves all other files alone; other values only where the format has nothing to tell them by. Kills: runs that are
ended by SIGKILL, SIGTERM or SIGINT at drawn moments, a third of them while the engine is compiled, a third while files
are written, a third anywhere, and go on with LOAD_LAST=true until they are done: weights, results, recordings and
pictures must be those of an unbroken run to the byte, no trained checkpoint may be lost, no compiler may go on.
Sanitizers: the engine under AddressSanitizer with UBSan and under ThreadSanitizer, on small networks of every kind.
Everything is drawn from fixed seeds. ``make robust`` runs it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from robust import files, kills, sanitizers
from robust.worker import KINDS

from eventprop.backends.cpu.engine import available_threads


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    kinds = [kind for kind in KINDS if not options.kinds or any(word.lower() in kind.lower() for word in options.kinds)]
    parts, faults = [], []
    if options.files and kinds:
        found = files.try_all(options.files, kinds, options.jobs, _tell)
        parts.append(("Damaged files", files.table(found)))
        faults += [f"{o.kind}, mutant {o.number} ({o.how}): {o.result}: {o.text}" for o in files.faults(found)]
    with tempfile.TemporaryDirectory(prefix="robust_") as name:
        folder = Path(name).resolve()
        if options.kills:
            done = kills.kill_all(
                options.kills, folder, {"EVENTPROP_CACHE": str(folder / "cache")}, options.jobs, _tell
            )
            parts.append(("Kills", kills.table(done)))
            faults += [f"{s.scenario.name} killed {s.third}, number {s.number}: {f}" for s in done for f in s.faults]
        if options.sanitizers != "none":
            watched = sanitizers.watch_all(options.sanitizers, folder, options.jobs, _tell)
            parts.append(("Sanitizers", sanitizers.table(watched)))
            faults += [f"{w.sanitizer}: {report}" for w in watched for report in w.reports]
    page = "\n".join(f"## {title}\n\n{table}\n" for title, table in parts)
    print(f"\n{page}")
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"{len(faults)} faults")
    if options.out:
        _write(options.out, page, len(faults))
    return int(bool(faults))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=500, metavar="N", help="mutants of each kind; default: 500")
    parser.add_argument(
        "--kinds", nargs="+", metavar="WORD", help="only of kinds with one of these words in their name"
    )
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--sanitizers", choices=list(sanitizers.EXTENTS), default="full", help="default: full")
    parser.add_argument("--jobs", type=int, default=available_threads(), help="at once; default: one for each core")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="where the tables are written, too")
    return parser


def _tell(line: str) -> None:
    print(line, flush=True)


def _write(path: Path, page: str, faults: int) -> None:
    """The page of the documentation."""
    about = "\n\n".join(part.replace("\n", " ") for part in (__doc__ or "").strip().split("\n\n")[2:])
    path.write_text(
        f"# Robustness\n\nMade by `make robust` on {available_threads()} cores of {_processor()}: {faults} faults.\n\n"
        f"{about.replace('``', '`')}\n\n{page}"
    )


def _processor() -> str:
    """The make of this machine's processor."""
    if not os.path.exists("/proc/cpuinfo"):
        return "this machine"
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return f"an {' '.join(names[0].split()[:2]).split('-')[0]}" if names else "this machine"


if __name__ == "__main__":
    sys.exit(main())
