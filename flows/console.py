"""What a person sees in a terminal: bars there, plain lines in a pipe."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from flows.display import area_text, class_lines, funnel_lines
from flows.span import SpanReport


class BarProgress:
    """A bar per stage on a terminal, a line per stage elsewhere; on stderr, so that results can be piped."""

    def __init__(self) -> None:
        """Nothing begun."""
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=self._console)
        self._stage: TaskID | None = None

    def start(self, stage: str, tiles: int) -> None:
        """See Progress."""
        if not self._console.is_terminal:
            note(f"{stage}: {tiles:,} tiles to do")
            return
        if self._stage is not None:
            self._bars.stop()
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

    def close(self) -> None:
        """Give the terminal back, its cursor too, however the run ended."""
        if self._stage is not None:
            self._bars.stop()


def note(text: str) -> None:
    """A line for the person, not for the pipe."""
    print(text, file=sys.stderr, flush=True)


def summary_text(summary: dict[str, Any], out: str, holes: list[str]) -> str:
    """The result as a person reads it."""
    area, tiles = summary["area"], summary["tiles"]
    lines = [
        *class_lines(summary),
        f"observed {area_text(area['observed'], summary)} of {area_text(area['image'], summary)}; areas {area['method']}",
        "",
        *(f"{count:>12,}  {name:10} {text}" for name, count, text in funnel_lines(summary) if count),
        f"{tiles['total']:>12,}  tiles      ({tiles['audited']:,} of the negatives audited)",
    ]
    if summary["status"] == "partial":
        lost = area_text(area["not_observed"], summary)
        lines += ["", f"PARTIAL: {lost} were not observed; the areas above say nothing about them.", *holes]
        lines.append(f"Try those tiles again: tilegate resume {out}")
    return "\n".join([*lines, "", f"{out}/overview.png, report.html, summary.json, tiles.parquet"])
