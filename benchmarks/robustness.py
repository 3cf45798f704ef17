"""What damaged files, kills and sanitizers make of this project: tables, and exit status 1 where anything is wrong.

    python benchmarks/robustness.py [--files 500] [--kinds WORD ...] [--kills 100] [--sanitizers quick|full|none]
                                    [--jobs 2] [--out FILE.md]

Everything is drawn from fixed seeds. ``make robust`` runs it, and writes what it found into the documentation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from robust import files, kills, sanitizers
from robust.worker import KINDS

from eventprop.backends.cpu.engine import available_threads

ABOUT = {
    "Damaged files": """
Mutants of each kind of file that is read: bits, bytes and blocks change, are lost, move or are there twice, ends are
cut off, texts are edited. Each must give what the whole file gives (*same*), or one line that names the file and says
what is wrong, and leaves all other files alone (*clear error*). Other values (*read*) are right only where the format
has nothing to tell them by: a grey value in a file without a checksum, a setting that somebody might have meant.
Tracebacks, crashes, hangs and losses are faults.""",
    "Kills": """
Runs that are ended by SIGKILL, SIGTERM or SIGINT at drawn moments, go on with `LOAD_LAST=true`, and are killed again,
three times at most. What they leave in the end, weights, results, recordings and pictures, must be that of a run that
nobody killed, to the byte; no trained checkpoint may be lost, its own or an earlier run's, nothing may be left over, no
compiler may go on.""",
    "Sanitizers": """
The CPU engine is built under AddressSanitizer with UBSan, and under ThreadSanitizer, and trains and tests small
networks: every neuron, loss and timing with layers, batches and trials around the sizes of vectors; delay lines, noise
and recordings in turn; several threads, and several engines at once.""",
}
"""What each part does, for the page of the documentation."""


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
    print("\n" + "\n".join(f"{title}\n\n{table}\n" for title, table in parts))
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"{len(faults)} faults")
    if options.out:
        _write(options.out, parts, len(faults))
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


def _write(path: Path, parts: Sequence[tuple[str, str]], faults: int) -> None:
    """The page of the documentation."""
    text = "\n".join(f"\n## {title}\n{ABOUT[title]}\n\n{table}" for title, table in parts)
    command = "```sh\nmake robust\n```"
    path.write_text(
        f"# Robustness\n\nWhat damaged files, kills and sanitizers make of this project: **{faults} faults**. All is "
        f"drawn from fixed seeds;\nit takes about half an hour on two cores:\n\n{command}\n{text}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
