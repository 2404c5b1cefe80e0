"""What a person sees while a model learns: a bar on a terminal, lines in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from flows.console import note
from flows.training.display import epoch_line

if TYPE_CHECKING:
    from classifiers.training.lesson import EpochReport


class PatientWatcher(Protocol):
    """A Watcher that has to let go in the end."""

    def epoch(self, report: EpochReport) -> None:
        """See Watcher."""

    def close(self) -> None:
        """The training is over, however it ended."""


class LineWatcher:
    """A line per epoch."""

    def epoch(self, report: EpochReport) -> None:
        """See Watcher."""
        note(epoch_line(report))

    def close(self) -> None:
        """See PatientWatcher."""


class SilentWatcher:
    """Says nothing."""

    def epoch(self, report: EpochReport) -> None:
        """See Watcher."""

    def close(self) -> None:
        """See PatientWatcher."""


class BarWatcher:
    """A bar on a terminal that moves with every epoch, and a line that stays for each."""

    def __init__(self) -> None:
        """The bar appears with the first epoch: loading what draws it takes a moment."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._task = self._bars.add_task("epoch", total=None)

    def epoch(self, report: EpochReport) -> None:
        """See Watcher."""
        self._bars.start()
        self._bars.console.print(epoch_line(report), markup=False, highlight=False)
        self._bars.update(self._task, completed=report.epoch, total=report.epochs)
        if report.epoch == report.epochs:
            self._bars.stop()

    def close(self) -> None:
        """See PatientWatcher."""
        self._bars.stop()


def watcher_for_people() -> PatientWatcher:
    """Bars on a terminal, lines in a pipe."""
    return BarWatcher() if sys.stderr.isatty() else LineWatcher()


_: tuple[type[PatientWatcher], ...] = (LineWatcher, SilentWatcher, BarWatcher)
