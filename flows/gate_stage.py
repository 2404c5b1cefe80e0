"""Stage 1: screen and score every tile on the gate plane; each batch ends with its commit record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from flows.job import Job, open_job
from flows.overlap import ahead, models
from flows.reading import Readings, read_batch, read_tiles
from flows.scoring import gate_tiles
from flows.span import BatchKey, SpanReport, TileKey, report_span
from flows.stopping import checkpoint
from flows.zones.aoi import split
from storage.attempts import Attempts
from storage.ledger import BatchRecord
from storage.plan import RunPlan
from storage.run import Run
from tiling.grid import Batch
from tiling.record import TileRecord
from tiling.stack import crop_to_core

BYTES_AHEAD = 32 * 2**20
"""Batches are read before the gate is free for them as long as they are small: on coarse planes they are."""


def gate_span(run_path: str, batches: list[BatchKey]) -> SpanReport:
    """Gate some batches of a run: reading, scoring and writing overlap."""
    started = time.monotonic()
    run = Run.open(run_path)
    with (
        open_job(run.plan) as job,
        run.attempts("gate") as attempts,
        ThreadPoolExecutor(1) as reader,
    ):
        _ = job.gate, job.domain  # what cannot be loaded ends the run, not each of its tiles
        depth = batches_ahead(run.plan)
        readings = ahead(reader, partial(read, job), ask(run, batches, attempts), depth)
        scored = ahead(models(), partial(score, job), readings, depth)
        records = [write(run, attempts, batch) for batch in timed(scored)]
    return report_span(records, time.monotonic() - started)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A batch on its way through the gate."""

    batch: Batch
    """Which one, on the gate plane."""
    readings: Readings
    """Its pixels."""
    tiles: tuple[TileRecord, ...] = ()
    """The fate of every tile in grid order, once they are scored."""
    seconds: float = 0.0
    """Since the batch before it was scored."""


def batches_ahead(plan: RunPlan) -> int:
    """How many batches may wait between two steps."""
    pixels = plan.gate_grid.batch_px**2 * len(plan.image.bands)
    return min(2, BYTES_AHEAD // (pixels * np.dtype(plan.image.dtype).itemsize))


def ask(run: Run, batches: Iterable[BatchKey], attempts: Attempts) -> Iterator[Batch]:
    """The batches; each is marked as attempted when it is drawn."""
    for row, col in batches:
        attempts.begin(row, col)
        yield run.plan.gate_grid.batch(row, col)


def read(job: Job, batch: Batch) -> Scored:
    """A batch with its pixels; what lies outside of the area of interest is not read."""
    checkpoint()
    return Scored(batch=batch, readings=read_of_interest(job, batch))


def read_of_interest(job: Job, batch: Batch) -> Readings:
    """A batch in one read; one on the border of the area of interest tile by tile."""
    inside, outside = split(job.aoi, batch.tiles)
    if not outside:
        return read_batch(job.source, batch, job.plan.gate_plane)
    readings = read_tiles(job.source, inside, job.plan.gate_plane)
    return replace(readings, holes=(*readings.holes, *outside))


def score(job: Job, asked: Scored) -> Scored:
    """A batch with the fate of its tiles."""
    return replace(asked, tiles=gate_tiles(job, asked.readings))


def timed(scored: Iterable[Scored]) -> Iterator[Scored]:
    """The same, with the time each took."""
    started = time.monotonic()
    for batch in scored:
        yield replace(batch, seconds=time.monotonic() - started)
        started = time.monotonic()


def write(run: Run, attempts: Attempts, scored: Scored) -> BatchRecord:
    """Write the shard of a batch, whole and once, then its commit record."""
    where = scored.batch
    kept = run.plan.recipe["store"]["pixels"]
    shards = run.write_gate_pixels(where, core_pixels(scored.readings)) if kept else {}
    record = BatchRecord(
        stage="gate", row=where.row, col=where.col, tiles=scored.tiles, shards=shards, seconds=scored.seconds
    )
    run.commit(record)
    attempts.end(where.row, where.col)
    return record


def core_pixels(readings: Readings) -> dict[TileKey, NDArray[np.generic]]:
    """(band, h, w) of each tile's core that could be read; 0 where it holds no data."""
    if readings.stack is None:
        return {}
    return {
        (tile.row, tile.col): np.where(crop_to_core(valid, tile), crop_to_core(pixels, tile), 0)
        for tile, pixels, valid in zip(readings.stack.tiles, readings.stack.pixels, readings.stack.valid, strict=True)
    }
