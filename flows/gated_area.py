"""The Prefect flow: the same path as on a laptop, with one task run per span, retries and artifacts."""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from prefect import Flow, flow, get_run_logger, task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task, exponential_backoff

from flows.display import area_text, bound_text, funnel_lines, rows
from flows.gate_stage import gate_span
from flows.pipeline import execute
from flows.planning import make_plan
from flows.recipe import Recipe
from flows.request import ImageRequest
from flows.segment_stage import segment_span
from flows.span import BatchKey, SegmentBatch, SpanReport
from tiling.errors import BadInput

WORKERS = os.cpu_count() or 1
PROGRESS_EVERY_S = 5.0
"""An artifact update costs the server more than a span's bookkeeping."""


def is_passing(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry what another try may cure (disk, network, a lost worker), never bad input."""
    try:
        state.result()
    except BadInput:
        return False
    except (OSError, MemoryError):
        return True
    except Exception:
        return False
    return False


def _span_name() -> str:
    from prefect.runtime import task_run

    batches = task_run.parameters["batches"]
    first = batches[0]
    row, col = (first.row, first.col) if isinstance(first, SegmentBatch) else first
    more = f" and {len(batches) - 1} more" if len(batches) > 1 else ""
    return f"{task_run.task_name} batch r{row:04d}c{col:04d}{more}"


RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_passing,
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "task_run_name": _span_name,
}
gate_task = task(name="gate", description="Screen and score tiles on the gate plane.", **RETRIES)(gate_span)
segment_task = task(name="segment", description="Segment, count and store tiles.", **RETRIES)(segment_span)


class PrefectEngine:
    """One task run per span, on whatever task runner the flow has."""

    def __init__(self, workers: int) -> None:
        """workers: how many spans run at once, so that each gets one."""
        self.workers = workers

    def gate(self, run_path: str, spans: Sequence[list[BatchKey]]) -> Iterator[SpanReport]:
        """See Engine."""
        return _finished([gate_task.submit(run_path, span) for span in spans])

    def segment(self, run_path: str, spans: Sequence[list[SegmentBatch]]) -> Iterator[SpanReport]:
        """See Engine."""
        return _finished([segment_task.submit(run_path, span) for span in spans])


def _finished(futures: list[PrefectFuture[SpanReport]]) -> Iterator[SpanReport]:
    for future in as_completed(futures):
        yield future.result()


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


RUNNER: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=WORKERS)


def _run_name() -> str:
    """Such as "water: scene.tif"."""
    parameters = flow_run.parameters
    image, recipe = parameters["image"], parameters["recipe"]
    uris = image["uris"] if isinstance(image, dict) else image.uris
    name = recipe["name"] if isinstance(recipe, dict) else recipe.name
    return f"{name}: {Path(uris[0]).name}{f' +{len(uris) - 1}' if len(uris) > 1 else ''}"


@flow(
    name="gated-area",
    description="Areas from one huge image: gate every tile, segment what passes, audit what does not.",
    flow_run_name=_run_name,
    task_runner=RUNNER,  # type: ignore[arg-type] (its futures are a subclass, invariantly typed)
    persist_result=False,
)
def gated_area(image: ImageRequest, recipe: Recipe, out: str) -> dict[str, Any]:
    """Run a recipe on an image into the folder `out`; finishes an unfinished run of the same plan there."""
    plan = make_plan(image.spec(), recipe)
    rows, cols = plan.grid.shape_batches
    get_run_logger().info("%s tiles in %s x %s batches", f"{len(plan.grid):,}", rows, cols)
    summary = execute(plan, Path(out), PrefectEngine(WORKERS), ArtifactProgress())
    publish_artifacts(summary, Path(out))
    return summary


def on_dask(scheduler: str) -> Flow[..., dict[str, Any]]:
    """The same flow with its spans on a Dask cluster: an address (tcp://…), or "local" for one made on the spot."""
    from prefect_dask import DaskTaskRunner

    if scheduler == "local":
        runner = DaskTaskRunner(
            cluster_kwargs={"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}
        )
    else:
        runner = DaskTaskRunner(address=scheduler)
    return gated_area.with_options(task_runner=runner)


def publish_artifacts(summary: dict[str, Any], out: Path) -> None:
    """One summary, one funnel, one picture: what an operator looks at."""
    create_markdown_artifact(summary_markdown(summary, out), key="summary", description="What was found")
    create_table_artifact(funnel_table(summary), key="funnel", description="Where every tile ended")
    picture = small_picture(out / "overview.png")
    create_image_artifact(f"data:image/jpeg;base64,{picture}", key="overview", description="Image, gate map and mask")


def small_picture(path: Path) -> str:
    """A picture as base64 JPEG, small: Prefect's server refuses events over 1.5 MB."""
    out = io.BytesIO()
    with Image.open(path) as picture:
        picture.thumbnail((1600, 1600))
        picture.convert("RGB").save(out, format="JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()


def summary_markdown(summary: dict[str, Any], out: Path) -> str:
    """The result on half a page."""
    tiles, area = summary["tiles"], summary["area"]
    lines = [
        f"# {summary['recipe']}: {Path(summary['image']['uri']).name}",
        *([f"**PARTIAL**: {area_text(area['not_observed'], summary)} not observed"] if area["not_observed"] else []),
        "| class | mapped | may be missed by the gate (95 %) |\n|---|---|---|\n"
        + "\n".join(
            f"| {row['name']} | {area_text(row['mapped'], summary)} | {bound_text(row, summary)} |"
            for row in rows(summary)
        ),
        f"{tiles['positive']:,} of {tiles['total']:,} tiles were segmented, {tiles['audited']:,} rejected ones audited. "
        f"{area_text(area['observed'], summary)} observed of {area_text(area['image'], summary)}, areas {area['method']}.",
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
