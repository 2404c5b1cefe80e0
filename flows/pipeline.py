"""The path of a run: create, gate, one wait, segment, summarise. Any engine, no way back."""

from __future__ import annotations

import time
from itertools import chain
from pathlib import Path
from typing import Any

from downstream.zones import Zones
from flows.alone import gate_alone, segment_alone
from flows.approval import Approve, ask_at_the_desk, require_approval
from flows.domain import heed, judge_run, require_domain
from flows.engine import Engine
from flows.objective import warn_of_objective
from flows.progress import Progress
from flows.recipe import planned_recipe
from flows.results import finished, publish, with_zones
from flows.selection import has_holes, select, still_to_segment
from flows.span import GATE_TILES_PER_SPAN, SEGMENT_TILES_PER_SPAN, BatchKey, SegmentBatch, cut_spans
from flows.zones.areas import planned_zones
from flows.zones.kept import keep_zones
from storage.ledger import tiles_of
from storage.plan import RunPlan
from storage.run import Run
from tiling.record import TileRecord


def execute(
    plan: RunPlan,
    out: str | Path,
    engine: Engine,
    progress: Progress,
    *,
    zones: Zones | None = None,
    approve: Approve = ask_at_the_desk,
) -> dict[str, Any]:
    """Do the plan, or what is left of it, and return the summary (see summary.json); a finished run is only checked.

    zones: as the run keeps them, so that a resume does not need their file; else they are read as the recipe says.
    approve: asked when more is to be segmented than the recipe agrees to.
    """
    started = time.monotonic()
    recipe = planned_recipe(plan.recipe)
    require_domain(plan, recipe)
    zones = zones or planned_zones(plan)  # refuses now, not after the work, a file that cannot be used
    with Run.begin(out, plan) as run:
        keep_zones(run, zones)
        run.drop_damaged()
        summary = finished(run)
        if summary is not None:
            return with_zones(run, summary)
        warn_of_objective(plan, progress)
        gated = gate_stage(run, engine, progress)
        gate_s = time.monotonic() - started
        found = judge_run(plan, recipe, gated)
        heed(found, plan, recipe, progress)
        chosen = select(plan, recipe, gated)
        require_approval(run, recipe, gated, chosen, engine.workers, approve)
        segmented = segment_stage(run, chosen, engine, progress)
        seconds = {"gate": gate_s, "segment": time.monotonic() - started - gate_s}
        return publish(run, recipe, gated, segmented, found, seconds)


def gate_stage(run: Run, engine: Engine, progress: Progress) -> list[TileRecord]:
    """Stage 1 over the batches not yet committed; every tile of the grid after it."""
    pending = pending_gate(run)
    suspected = run.suspects("gate", set(pending))
    left = [key for key in pending if key not in suspected]
    weights = [len(run.plan.grid.batch(*key).tiles) for key in left]
    progress.start("gate", sum(len(run.plan.grid.batch(*key).tiles) for key in pending))
    spans = [left[cut] for cut in cut_spans(weights, GATE_TILES_PER_SPAN, engine.workers)]
    for report in chain(engine.gate(run.uri, spans), (gate_alone(run.uri, key) for key in sorted(suspected))):
        progress.advance(report)
    return tiles_of(run.committed("gate"))


def pending_gate(run: Run) -> list[BatchKey]:
    """Batches without a clean commit record, in grid order."""
    done = {(record.row, record.col) for record in run.committed("gate") if not has_holes(record)}
    rows, cols = run.plan.grid.shape_batches
    return [(row, col) for row in range(rows) for col in range(cols) if (row, col) not in done]


def segment_stage(run: Run, chosen: list[SegmentBatch], engine: Engine, progress: Progress) -> list[TileRecord]:
    """Stage 2 over what is not yet committed; every segmented tile after it."""
    pending = still_to_segment(chosen, run.committed("segment"))
    suspected = run.suspects("segment", {(batch.row, batch.col) for batch in pending})
    left = [batch for batch in pending if (batch.row, batch.col) not in suspected]
    weights = [max(1, len(batch.tiles)) for batch in left]
    progress.start("segment", sum(len(batch.tiles) for batch in pending))
    spans = [left[cut] for cut in cut_spans(weights, SEGMENT_TILES_PER_SPAN, engine.workers)]
    alone = (segment_alone(run.uri, batch) for batch in pending if (batch.row, batch.col) in suspected)
    for report in chain(engine.segment(run.uri, spans), alone):
        progress.advance(report)
    return tiles_of(run.committed("segment"))
