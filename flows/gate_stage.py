"""Stage 1: screen and score every tile on the gate plane; each batch ends with its commit record."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.gate import gate_scores, let_through
from classifiers.rules import RULES
from downstream.area import count_pixels
from flows.job import Job, open_job
from flows.reading import Readings, read_batch
from flows.span import BatchKey, SpanReport, report_span
from storage.ledger import BatchRecord
from storage.run import Run
from tiling.errors import BadData
from tiling.grid import Batch, Tile
from tiling.pixel_area import window_area
from tiling.record import TileRecord
from tiling.stack import TileStack, crop_to_core
from tiling.state import State

log = logging.getLogger("tilegate")


def gate_span(run_path: str, batches: list[BatchKey]) -> SpanReport:
    """Gate some batches of a run, one after the other."""
    started = time.monotonic()
    run, records = Run.open(Path(run_path)), []
    with open_job(run.plan) as job:
        for row, col in batches:
            record = gate_batch(job, run, row, col)
            run.commit(record)
            records.append(record)
    return report_span(records, time.monotonic() - started)


def gate_batch(job: Job, run: Run, row: int, col: int) -> BatchRecord:
    """Read a batch on the gate plane, keep its pixels, score its tiles. The caller commits the record."""
    started = time.monotonic()
    batch = job.plan.gate_grid.batch(row, col)
    readings = read_batch(job.source, batch, job.plan.gate_plane)
    records = gate_tiles(job, readings)
    shards = run.write_gate_pixels(batch, paint(job, batch, readings)) if job.recipe.store.pixels else {}
    return BatchRecord(stage="gate", row=row, col=col, tiles=records, shards=shards, seconds=time.monotonic() - started)


def gate_tiles(job: Job, readings: Readings) -> tuple[TileRecord, ...]:
    """The fate of every tile of a batch, in grid order."""
    records = {
        (tile.row, tile.col): TileRecord(row=tile.row, col=tile.col, state=State.UNREADABLE, reason=reason)
        for tile, reason in readings.unreadable
    }
    if readings.stack is not None:
        records |= {(record.row, record.col): record for record in screen_and_score(job, readings.stack)}
    return tuple(records[key] for key in sorted(records))


def screen_and_score(job: Job, stack: TileStack) -> list[TileRecord]:
    """Tiles with too little data and bare glass are found without the model; the rest is scored."""
    share = np.array([crop_to_core(v, t).mean() for v, t in zip(stack.valid, stack.tiles, strict=True)])
    thin = 1 - share >= job.recipe.screen.max_nodata
    bare = ~thin & lacks_tissue(job, stack)
    records = [_thin(job, stack.tiles[i], float(share[i])) for i in np.flatnonzero(thin)]
    records += [_record(job, stack.tiles[i], State.EMPTY, float(share[i])) for i in np.flatnonzero(bare)]
    chosen = np.flatnonzero(~(thin | bare)).tolist()
    if chosen:
        records += score_tiles(job, stack.pick(chosen, job.bands_of(job.gate)), share[chosen])
    return records


def score_tiles(job: Job, stack: TileStack, share: NDArray[np.float64]) -> list[TileRecord]:
    """Score a stack; when that fails, each tile alone, so that one bad tile fails alone."""
    try:
        scores = require_scores(job, stack)
    except Exception as error:  # a model may fail in any way; the tile is counted, nothing is swallowed
        if len(stack) > 1:
            alone = (stack.pick([i], range(stack.pixels.shape[1])) for i in range(len(stack)))
            return [record for i, one in enumerate(alone) for record in score_tiles(job, one, share[i : i + 1])]
        reason = f"gate: {type(error).__name__}: {error}"
        log.warning("tile %s of %s failed at the %s", stack.tiles[0].id, job.plan.image.uri, reason)
        log.debug("where it failed", exc_info=True)
        return [TileRecord(row=stack.tiles[0].row, col=stack.tiles[0].col, state=State.FAILED, reason=reason)]
    passes = [let_through(float(score), job.threshold) for score in scores]
    return [
        _record(job, tile, State.POSITIVE if through else State.NEGATIVE, float(part), float(score))
        for tile, through, part, score in zip(stack.tiles, passes, share, scores, strict=True)
    ]


def require_scores(job: Job, stack: TileStack) -> NDArray[np.float32]:
    """(n,) scores. Raises ValueError when the model gives the wrong shape or values that are no probability."""
    probability = job.gate.score(stack)
    wanted = (len(stack), len(job.gate.classes))
    if probability.shape != wanted:
        raise ValueError(f"gate {job.gate.model.name} gave scores {probability.shape} where {wanted} were due")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError(f"gate {job.gate.model.name} gave scores outside 0 to 1, or no numbers")
    return gate_scores(probability, job.columns)


def lacks_tissue(job: Job, stack: TileStack) -> NDArray[np.bool_]:
    """(n,), True where a slide's tile holds less tissue than the recipe wants to see."""
    cut = job.recipe.screen.tissue_cut
    if job.recipe.screen.min_tissue == 0 or cut is None:
        return np.zeros(len(stack), bool)
    tissue = (RULES["tissue"].amount(stack.pixels[:, :3]) > cut) & stack.valid
    return np.asarray(tissue.mean((1, 2)) < job.recipe.screen.min_tissue)


def paint(job: Job, batch: Batch, readings: Readings) -> NDArray[np.generic]:
    """(band, h, w) of the batch's core; 0 where a tile could not be read or holds no data."""
    canvas = np.zeros((len(job.plan.image.bands), *batch.core.shape_px), job.plan.image.dtype)
    if readings.stack is None:
        return canvas
    for tile, pixels, valid in zip(readings.stack.tiles, readings.stack.pixels, readings.stack.valid, strict=True):
        rows, cols = tile.core.relative_to(batch.core).slices
        canvas[:, rows, cols] = np.where(crop_to_core(valid, tile), crop_to_core(pixels, tile), 0)
    return canvas


def _thin(job: Job, tile: Tile, share: float) -> TileRecord:
    """Empty, and what little data there is counts as not observed: nobody looks at it.

    A tile without any data on the gate plane passes if the fine plane holds a sliver that coarse pixels lost.
    """
    if share == 0 and job.plan.image.may_hide_data:
        try:
            if _fine_valid(job, tile).any():
                return TileRecord(row=tile.row, col=tile.col, state=State.POSITIVE)
        except BadData as error:
            return TileRecord(row=tile.row, col=tile.col, state=State.UNREADABLE, reason=str(error))
    return TileRecord(row=tile.row, col=tile.col, state=State.EMPTY)


def _record(job: Job, tile: Tile, state: State, share: float, score: float | None = None) -> TileRecord:
    """share: of the tile that holds data, seen on the gate plane; counted on the fine plane where it is not all."""
    core = job.plan.grid.tile(tile.row, tile.col).core
    area = window_area(job.areas, core) * share
    if share < 1 and state is not State.POSITIVE and job.plan.image.may_hide_data:
        try:
            area = count_pixels(_fine_valid(job, tile), job.areas, core).area
        except BadData as error:
            return TileRecord(row=tile.row, col=tile.col, state=State.UNREADABLE, reason=str(error))
    return TileRecord(row=tile.row, col=tile.col, state=state, score=score, valid_area=area)


def _fine_valid(job: Job, tile: Tile) -> NDArray[np.bool_]:
    """(h, w) of the tile's core on the fine plane."""
    return job.source.read(job.plan.grid.tile(tile.row, tile.col).core, job.plan.fine).valid
