"""A run that may be killed: ``python -m robust.victim BENCHMARK WORDS``, as ``python train_BENCHMARK.py WORDS``.

``ROBUST_KILL``, a JSON object ``{"at": 17, "signal": 9, "delay": 0.0}``, sends a signal to the process itself at that
one of its file operations in the current folder, before it is done, or a moment later. ``ROBUST_COUNT`` names a file
for their number.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from eventprop import cli, demo, shd

__all__ = ["BEGUN", "main"]

BEGUN = "begun"
"""What it prints first; before that Python reads modules, and tells where an interrupt finds it."""

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR


class Watch:
    """An audit hook that counts operations which change the current folder.

    Args:
        kill: as ``ROBUST_KILL``.
    """

    def __init__(self, kill: dict[str, Any]) -> None:
        self.here, self.kill = os.getcwd(), kill
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in _CHANGES:
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if event == "open" and not (set(arguments[1] or "") & set("wax+") or arguments[2] & _WRITING):
            return
        if os.path.abspath(os.fsdecode(path)).startswith(self.here):
            self.count += 1
            if self.count - 1 == self.kill.get("at"):
                self.strike()

    def strike(self) -> None:
        """Send the signal now; or in a moment SIGALRM, which ends a process that does not expect it as SIGKILL does."""
        if self.kill["delay"]:
            signal.setitimer(signal.ITIMER_REAL, self.kill["delay"])
        else:
            os.kill(os.getpid(), self.kill["signal"])


def main() -> int:
    demo.SIZES.update(train=40, test=20)
    shd._WORTH_KEEPING = 0
    print(BEGUN, flush=True)
    watch = Watch(json.loads(os.environ.get("ROBUST_KILL", "{}")))
    sys.addaudithook(watch)
    status = cli.main(sys.argv[1], sys.argv[2:])
    count = watch.count
    if told := os.environ.get("ROBUST_COUNT"):
        Path(told).write_text(str(count))
    return status


if __name__ == "__main__":
    sys.exit(main())
