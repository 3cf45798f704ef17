"""Progress on the terminal: a bar with loss, accuracy and time left; plain lines where the output is a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

from eventprop.reports.measures import measure_of

__all__ = ["Progress"]


class Progress:
    """One bar over all batches of a run, and a line per epoch that stays.

    Args:
        epochs: epochs of the run.
        done: epochs completed before (a resumed run).
        batches: batches in an epoch.
        evaluated: what the evaluation samples are called, e.g. "validation".
        verbose: as ``VERBOSE``; the bar is for 2.
    """

    def __init__(self, epochs: int, done: int, batches: int, evaluated: str, verbose: int = 2) -> None:
        self.epochs = epochs
        self.evaluated = evaluated
        self._bar = tqdm(
            total=epochs * batches,
            initial=done * batches,
            unit="batch",
            leave=False,
            dynamic_ncols=True,
            disable=verbose < 2 or not sys.stderr.isatty(),
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def batches(self, epoch: int, phase: str, items: Iterable[Any]) -> Iterator[Any]:
        """Pass ``items`` on, a step of the bar for each."""
        self._bar.set_description(f"epoch {epoch + 1}/{self.epochs} {phase}", refresh=False)
        for item in items:
            yield item
            self._bar.update()

    def running(self, measured: str, loss: float) -> None:
        """What is measured, and the mean loss, of the epoch so far."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{measured}, loss {loss:.3f}", refresh=False)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """The line that stays."""
        number = str(record["epoch"] + 1).rjust(len(str(self.epochs)))
        parts, measure = [f"epoch {number}/{self.epochs}"], measure_of(record)
        for phase, label in (("train", "training"), ("eval", self.evaluated)):
            if record[f"{phase}_loss"] == record[f"{phase}_loss"]:
                value, loss = measure.of(record, phase), record[f"{phase}_loss"]
                words = f"{measure.words} {value:#.4g}" if measure.falls else f"{value:6.1%}"
                parts.append(f"{label} {words} (loss {loss:.3f})")
        parts.append(f"{record['silent_neurons']} silent neurons{', rewired' if record.get('rewired') else ''}")
        parts.append(f"{record['seconds']:.1f} s")
        self.tell("  ".join(parts))

    def tell(self, line: str) -> None:
        """A line that stays."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
