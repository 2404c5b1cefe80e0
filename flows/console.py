"""What a person sees: bars on a terminal (flows/bars.py), plain lines in a pipe."""

from __future__ import annotations

import sys
from typing import Any

from flows.display import area_text, class_lines, domain_text, funnel_lines, glass_text, is_foreign, observed_text
from flows.objective import objective_warning
from flows.progress import Progress
from flows.span import SpanReport
from flows.zones.page import zone_lines


class LineProgress:
    """A line per stage where nobody watches."""

    def start(self, stage: str, tiles: int) -> None:
        """See Progress."""
        note(f"{stage}: {tiles:,} tiles to do")

    def advance(self, report: SpanReport) -> None:
        """See Progress."""

    def warn(self, text: str) -> None:
        """See Progress."""
        note(f"WARNING: {text}")

    def close(self) -> None:
        """See Progress."""


def progress_for_people() -> Progress:
    """Bars on a terminal; loading them takes longer than some runs, so a pipe gets lines."""
    if not sys.stderr.isatty():
        return LineProgress()
    from flows.bars import BarProgress

    return BarProgress()


def note(text: str) -> None:
    """A line for the person, not for the pipe."""
    print(text, file=sys.stderr, flush=True)


def summary_text(summary: dict[str, Any], out: str, holes: list[str]) -> str:
    """The result as a person reads it."""
    area, tiles = summary["area"], summary["tiles"]
    lines = [
        *class_lines(summary),
        observed_text(summary),
        "",
        *(f"{count:>12,}  {name:10} {text}" for name, count, text in funnel_lines(summary) if count),
        f"{tiles['total']:>12,}  tiles      ({tiles['audited']:,} of the negatives audited)",
    ]
    if objective := objective_warning(summary["image"]):
        lines += ["", f"WARNING: {objective}"]
    if summary.get("domain", {}).get("tiles"):
        lines += ["", f"{'WARNING: ' if is_foreign(summary) else ''}the image is {domain_text(summary)}"]
    if glass_text(summary):
        lines += ["", f"WARNING: {glass_text(summary)}."]
    if "zones" in summary:
        lines += ["", *zone_lines(summary["zones"], summary)]
    if tiles["empty"] == tiles["total"]:
        lines += ["", "WARNING: every tile is empty: without data, or screened out (screen.min_tissue, max_nodata)."]
    if summary["status"] == "partial":
        lost = area_text(area["not_observed"], summary)
        lines += ["", f"PARTIAL: {lost} were not observed; the areas above say nothing about them.", *holes]
        lines.append(f"Try those tiles again: tilegate resume {out}")
    return "\n".join([*lines, "", f"{out}/overview.png, report.html, summary.json, tiles.parquet"])
