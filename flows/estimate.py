"""What a run would do and cost, measured on a few tiles of the image itself. Writes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from downstream.audit import promised, tiles_for
from flows.gate_stage import read_of_interest
from flows.job import Job, open_job
from flows.objective import image_block, objective_warning
from flows.planning import draft_plan
from flows.radiometry import radiometry_block, radiometry_text
from flows.reading import read_tiles
from flows.recipe import Recipe
from flows.scoring import gate_tiles
from flows.segment_stage import require_labels
from flows.span import GATE_TILES_PER_SPAN, SEGMENT_TILES_PER_SPAN, cut_spans
from flows.zones.aoi import split
from storage.plan import RunPlan
from tiling.record import TileRecord
from tiling.source import SourceSpec
from tiling.state import State

SAMPLE_BATCHES, SAMPLE_TILES = 3, 4


def estimate(spec: SourceSpec, recipe: Recipe) -> dict[str, Any]:
    """Tiles, spans, bytes and minutes of a run; the share of positives is a guess from a few batches."""
    plan = draft_plan(spec, recipe)
    with open_job(plan) as job:
        gated, gate_s = _try_gate(job)
        segment_s = segment_seconds(job, gated)
        tiles = len(plan.grid) if job.aoi is None else int(job.aoi.inside.sum())
    workers = os.cpu_count() or 1
    share = sum(t.state is State.POSITIVE for t in gated) / len(gated)
    audited = min(plan.recipe["audit"]["tiles"], tiles - round(share * tiles))
    expensive = min(tiles, round(share * tiles) + audited)
    batches = int(np.prod(plan.grid.shape_batches))
    per_batch = len(plan.grid) // batches
    rejected = tiles - round(share * tiles)
    return {
        "image": {"uri": plan.image.uri, "shape_px": list(plan.image.shape_px), "bands": list(plan.image.bands)}
        | radiometry_block(plan),
        "tiles": tiles,
        "outside_aoi": len(plan.grid) - tiles,
        "batches": batches,
        "spans": {
            "gate": len(cut_spans([per_batch] * batches, GATE_TILES_PER_SPAN, workers)),
            "segment": len(cut_spans([max(1, expensive // batches)] * batches, SEGMENT_TILES_PER_SPAN, workers)),
        },
        "positive_share": {"estimate": share, "sampled_tiles": len(gated)},
        "segmented_tiles": expensive,
        "audit": audit_cost(audited, rejected, segment_s / workers),
        "bytes": bytes_per_task(plan),
        "seconds": {"gate_per_tile": gate_s, "segment_per_tile": segment_s, "workers": workers},
        "minutes": (tiles * gate_s + expensive * segment_s) / workers / 60,
        "gate_threshold": plan.recipe["gate"]["threshold"],
        "warnings": [warning for warning in (objective_warning(image_block(plan.image)),) if warning],
        "approve_above": plan.recipe["segment"]["approve_above"],
    }


AUDITS = (100, 300, 1000, 3000)
"""Rows of the table of what an audit costs."""


def audit_cost(audited: int, rejected: int, tile_s: float) -> dict[str, Any]:
    """What audits of several sizes promise when they find nothing, and cost. tile_s: seconds to segment one tile."""
    sizes = sorted({min(size, rejected) for size in AUDITS})
    rows = [{"tiles": size, "bound": promise(size, rejected), "minutes": size * tile_s / 60} for size in sizes if size]
    return {
        "tiles": audited,
        "of_rejected": rejected,
        "bound_if_nothing_found": promise(audited, rejected),
        "table": rows,
        "tiles_for_1_percent": min(tiles_for(0.01), rejected),
    }


def promise(audited: int, rejected: int) -> float | None:
    """Share of the rejected area that is missed at most, at 95 %; None without an audit."""
    return 0.0 if audited == rejected else promised(audited) if audited else None


def bytes_per_task(plan: RunPlan) -> dict[str, int]:
    """Memory a task holds for one batch of pixels and labels, before compression."""
    bands, itemsize = len(plan.image.bands), np.dtype(plan.image.dtype).itemsize
    gate, fine = plan.gate_grid.batch_px**2, plan.grid.batch_px**2
    return {"gate_batch": gate * bands * itemsize, "segment_batch": fine * (bands * itemsize + 1)}


def _try_gate(job: Job) -> tuple[list[TileRecord], float]:
    """Gate a few batches spread over the image: (records, seconds per tile)."""
    rows, cols = job.plan.grid.shape_batches
    keys = [(row, col) for row in range(rows) for col in range(cols)]
    if job.aoi is not None:
        keys = [key for key in keys if split(job.aoi, job.plan.grid.batch(*key).tiles)[0]]
    chosen = keys[:: max(1, len(keys) // SAMPLE_BATCHES)][:SAMPLE_BATCHES]
    assert job.gate is not None  # loaded before the clock starts
    started, records = time.perf_counter(), list[TileRecord]()
    for key in chosen:
        records += gate_tiles(job, read_of_interest(job, job.plan.gate_grid.batch(*key)))
    seen = [record for record in records if record.state is not State.OUTSIDE]
    return seen, (time.perf_counter() - started) / len(seen)


def segment_seconds(job: Job, gated: Sequence[TileRecord]) -> float:
    """Segment a few tiles, positives first: seconds per tile; 0 when none can be read. Raises what the model raises."""
    likely = sorted((t for t in gated if t.state in (State.POSITIVE, State.NEGATIVE)), key=lambda t: -(t.score or 0))
    tiles = [job.plan.grid.tile(t.row, t.col) for t in likely[:SAMPLE_TILES]]
    assert job.segmenter is not None  # loaded before the clock starts
    started = time.perf_counter()
    stack = read_tiles(job.source, tiles, job.plan.fine).stack
    for i in range(len(stack) if stack else 0):
        assert stack is not None
        require_labels(job, stack.pick([i], range(stack.pixels.shape[1])))
    return (time.perf_counter() - started) / max(len(tiles), 1)


def estimate_lines(found: dict[str, Any]) -> list[str]:
    """For a person."""
    share, megabytes = found["positive_share"], 2**20
    seen, agreed = radiometry_text(found["image"]), found["approve_above"]
    outside = f" (and {found['outside_aoi']:,} outside of the area of interest)" if found["outside_aoi"] else ""
    return [
        f"{found['tiles']:,} tiles{outside} in {found['batches']:,} batches, read from {', '.join(found['image']['bands'])}",
        *([f"rules see reflectance: {seen}"] if seen else []),
        f"gate: {found['spans']['gate']:,} spans, {1e3 * found['seconds']['gate_per_tile']:.2f} ms per tile, "
        f"{found['bytes']['gate_batch'] / megabytes:.1f} MB per batch",
        f"segment: about {found['segmented_tiles']:,} tiles in {found['spans']['segment']:,} spans, "
        f"{1e3 * found['seconds']['segment_per_tile']:.1f} ms per tile, "
        f"{found['bytes']['segment_batch'] / megabytes:.1f} MB per batch",
        f"about {100 * share['estimate']:.0f} % pass the gate at {found['gate_threshold']:g} "
        f"(seen on {share['sampled_tiles']:,} tiles); {audit_promise(found['audit'])}",
        *audit_table(found["audit"]),
        f"expected: {found['minutes']:.2g} minutes on {found['seconds']['workers']} workers",
        *(f"WARNING: {warning}" for warning in found["warnings"]),
        *(
            [f"the run will wait for approval if more than {agreed:,} tiles are to be segmented"]
            if agreed is not None
            else []
        ),
    ]


def audit_promise(audit: dict[str, Any]) -> str:
    """What the audit can say at best."""
    if audit["of_rejected"] == 0:
        return "nothing is rejected"
    if audit["tiles"] == audit["of_rejected"]:
        return "every rejected tile is audited"
    if audit["tiles"] == 0:
        return "no audit: what the gate rejects stays unknown"
    share = 100 * audit["bound_if_nothing_found"]
    return f"if the audit of {audit['tiles']:,} finds nothing, at most {share:.2g} % of the rejected area was missed (95 %)"


def audit_table(audit: dict[str, Any]) -> list[str]:
    """One line: what audits of other sizes would promise and cost."""
    told = [f"{row['tiles']:,} tiles {100 * row['bound']:.2g} % ({row['minutes']:.2g} min)" for row in audit["table"]]
    return [
        f"audits that find nothing promise at most: {', '.join(told)}; 1 % takes {audit['tiles_for_1_percent']:,}"
    ] * bool(told)
