"""What operators look at in the Prefect UI: progress, one summary, one funnel, one picture."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

from PIL import Image
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.states import Completed

from flows.display import area_text, bound_text, domain_text, funnel_lines, glass_text, is_foreign, observed_text, rows
from flows.holes import hole_rows, holes_of
from flows.objective import objective_warning
from flows.progress import Progress
from flows.results import ledger_tiles
from flows.span import SpanReport
from storage.run import Run

PROGRESS_EVERY_S = 5.0
"""An artifact update costs the server more than a span's bookkeeping."""


class ArtifactProgress:
    """A progress bar per stage in the Prefect UI, and a log line per span."""

    def __init__(self) -> None:
        """Nothing begun."""
        self._log = get_run_logger()

    def start(self, stage: str, tiles: int) -> None:
        """See Progress."""
        self._stage, self._tiles, self._done, self._told_s = stage, tiles, 0, time.monotonic()
        self._bar: Any = create_progress_artifact(
            100.0 if tiles == 0 else 0.0, key=f"progress-{stage}", description=f"{stage}: {tiles:,} tiles"
        )
        self._log.info("%s: %s tiles to do", stage, f"{tiles:,}")

    def advance(self, report: SpanReport) -> None:
        """See Progress."""
        self._done += report.tiles
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(report.states.items()))
        self._log.info("%s: %s of %s tiles (%s)", self._stage, f"{self._done:,}", f"{self._tiles:,}", states)
        now = time.monotonic()
        if now - self._told_s > PROGRESS_EVERY_S or self._done >= self._tiles:
            update_progress_artifact(self._bar, min(100.0, 100.0 * self._done / max(self._tiles, 1)))
            self._told_s = now

    def warn(self, text: str) -> None:
        """See Progress."""
        self._log.warning(text)

    def close(self) -> None:
        """See Progress."""


_: type[Progress] = ArtifactProgress


def publish_artifacts(summary: dict[str, Any], out: str) -> None:
    """One summary, one funnel, one picture, and what was not observed: what an operator looks at."""
    create_markdown_artifact(summary_markdown(summary, out), key="summary", description="What was found")
    create_table_artifact(funnel_table(summary), key="funnel", description="Where every tile ended")
    picture = small_picture(Run.open(out).read("overview.png") or b"")
    if summary["status"] == "partial":
        create_table_artifact(holes_table(summary, out), key="holes", description="What was not observed, and why")
    create_image_artifact(f"data:image/jpeg;base64,{picture}", key="overview", description="Image, gate map and mask")


def holes_table(summary: dict[str, Any], out: str) -> list[dict[str, Any]]:
    """One row per reason, of bounded length: Prefect's server refuses events over 1.5 MB."""
    run = Run.open(out)
    return hole_rows(holes_of(run.plan, ledger_tiles(run)), summary)


def ended(summary: dict[str, Any]) -> Any:
    """What the flow returns: the summary, in a state named Partial where it has holes. Callers get the summary."""
    if summary["status"] == "complete":
        return summary
    tiles = summary["tiles"]["total"] - sum(summary["tiles"][state] for state in ("empty", "negative", "positive"))
    lost = area_text(summary["area"]["not_observed"], summary)
    message = f"Completed with holes: {tiles:,} of {summary['tiles']['total']:,} tiles ({lost}) not observed"
    get_run_logger().warning(message)
    return Completed(name="Partial", message=message, data=summary)


def small_picture(png: bytes) -> str:
    """A picture as base64 JPEG, small: Prefect's server refuses events over 1.5 MB."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.thumbnail((1600, 1600))
        picture.convert("RGB").save(out, format="JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()


def summary_markdown(summary: dict[str, Any], out: str) -> str:
    """The result on half a page."""
    tiles, area = summary["tiles"], summary["area"]
    lines = [
        f"# {summary['recipe']}: {Path(summary['image']['uri']).name}",
        *([f"**PARTIAL**: {area_text(area['not_observed'], summary)} not observed"] if area["not_observed"] else []),
        *([f"**Two pixel sizes**: {told}"] if (told := objective_warning(summary["image"])) else []),
        *([f"**A strange image**: it is {domain_text(summary)}"] if is_foreign(summary) else []),
        *([f"**More than there is tissue**: {glass_text(summary)}"] if glass_text(summary) else []),
        "| class | mapped | may be missed by the gate (95 %) |\n|---|---|---|\n"
        + "\n".join(
            f"| {row['name']} | {area_text(row['mapped'], summary)} | {bound_text(row, summary)} |"
            for row in rows(summary)
        ),
        f"{tiles['positive']:,} of {tiles['total']:,} tiles were segmented, {tiles['audited']:,} rejected ones audited. "
        f"{observed_text(summary)}.",
        f"Results: `{out}`",
    ]
    return "\n\n".join(lines)


def funnel_table(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per fate; they sum to the grid."""
    total = max(summary["tiles"]["total"], 1)
    return [
        {"state": state, "tiles": f"{count:,}", "share": f"{100 * count / total:.1f} %", "meaning": meaning}
        for state, count, meaning in funnel_lines(summary)
    ]
