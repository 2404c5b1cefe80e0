"""Progress bars on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from flows.progress import Progress
from flows.span import SpanReport


class BarProgress:
    """A bar per stage, on stderr, so that results can be piped."""

    def __init__(self) -> None:
        """Nothing begun."""
        columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=Console(stderr=True))
        self._stage: TaskID | None = None

    def start(self, stage: str, tiles: int) -> None:
        """See Progress."""
        self.close()
        self._stage = self._bars.add_task(stage, total=tiles)
        self._bars.start()
        if tiles == 0:
            self._bars.stop()

    def advance(self, report: SpanReport) -> None:
        """See Progress."""
        if self._stage is None:
            return
        self._bars.advance(self._stage, report.tiles)
        if self._bars.finished:
            self._bars.stop()

    def warn(self, text: str) -> None:
        """See Progress."""
        self._bars.console.print(f"WARNING: {text}", markup=False, highlight=False)

    def close(self) -> None:
        """Give the terminal back, its cursor too, however the run ended."""
        if self._stage is not None:
            self._bars.stop()


_: type[Progress] = BarProgress
