"""Stage 2: segment the tiles that were let through or drawn; each batch ends with its commit record."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from downstream.area import count_classes, count_pixels
from flows.job import Job, open_job
from flows.reading import read_tiles
from flows.span import SegmentBatch, SpanReport, report_span
from storage.ledger import BatchRecord
from storage.run import Run
from tiling.grid import Batch, Tile
from tiling.record import TileRecord
from tiling.stack import TileStack, crop_to_core
from tiling.state import State

log = logging.getLogger("tilegate")


def segment_span(run_path: str, batches: list[SegmentBatch]) -> SpanReport:
    """Segment the chosen tiles of some batches of a run, one batch after the other."""
    started = time.monotonic()
    run, records = Run.open(Path(run_path)), []
    with open_job(run.plan) as job:
        for chosen in batches:
            record = segment_batch(job, run, chosen)
            run.commit(record)
            records.append(record)
    return report_span(records, time.monotonic() - started)


def segment_batch(job: Job, run: Run, chosen: SegmentBatch) -> BatchRecord:
    """Segment, count and write one batch; its shards are written whole and once."""
    started = time.monotonic()
    batch = job.plan.grid.batch(chosen.row, chosen.col)
    canvas = Canvas(job, batch)
    audited = set(chosen.audited)
    records = [
        segment_tile(job, job.plan.grid.tile(*key), State.AUDITED if key in audited else State.SEGMENTED, canvas)
        for key in chosen.tiles
    ]
    return BatchRecord(
        stage="segment",
        row=chosen.row,
        col=chosen.col,
        tiles=tuple(records),
        shards=canvas.write(run),
        seconds=time.monotonic() - started,
    )


class Canvas:
    """The shards of one batch in memory, filled tile by tile."""

    def __init__(self, job: Job, batch: Batch) -> None:
        """All background, no pixels."""
        self._batch = batch
        self._labels = np.zeros(batch.core.shape_px, np.uint8)
        keep = job.recipe.store.pixels and not job.plan.one_plane
        shape = (len(job.plan.image.bands), *batch.core.shape_px)
        self._pixels = np.zeros(shape, job.plan.image.dtype) if keep else None

    def add(self, tile: Tile, labels: NDArray[np.uint8], pixels: NDArray[np.generic]) -> None:
        """Labels (h, w) and pixels (band, h, w) of the tile's core."""
        rows, cols = tile.core.relative_to(self._batch.core).slices
        self._labels[rows, cols] = labels
        if self._pixels is not None:
            self._pixels[:, rows, cols] = pixels

    def write(self, run: Run) -> dict[str, str]:
        """Write both shards. Returns {array: sha256}."""
        shards = run.write_mask(self._batch, self._labels)
        if self._pixels is not None:
            shards |= run.write_fine_pixels(self._batch, self._pixels)
        return shards


def segment_tile(job: Job, tile: Tile, state: State, canvas: Canvas) -> TileRecord:
    """Read one tile with its halo, label it, count it. What fails is counted as what it is."""
    readings = read_tiles(job.source, [tile], job.plan.fine)
    if readings.stack is None:
        return TileRecord(row=tile.row, col=tile.col, state=State.UNREADABLE, reason=readings.unreadable[0][1])
    try:
        labels = label_with_one_retry(job, readings.stack)
    except Exception as error:  # a model may fail in any way; the tile is counted, nothing is swallowed
        reason = f"segmenter: {type(error).__name__}: {error}"
        log.warning("tile %s of %s failed in the %s", tile.id, job.plan.image.uri, reason)
        log.debug("where it failed", exc_info=True)
        return TileRecord(row=tile.row, col=tile.col, state=State.FAILED, reason=reason)
    valid = crop_to_core(readings.stack.valid[0], tile)
    core_labels = np.where(valid, crop_to_core(labels, tile), 0).astype(np.uint8)
    core_pixels = np.where(valid, crop_to_core(readings.stack.pixels[0], tile), 0)
    canvas.add(tile, core_labels, core_pixels)
    counts = count_classes(core_labels, len(job.plan.classes), job.areas, tile.core)
    return TileRecord(
        row=tile.row,
        col=tile.col,
        state=state,
        valid_area=count_pixels(valid.astype(bool), job.areas, tile.core).area,
        pixels=tuple(count.pixels for count in counts),
        area=tuple(count.area for count in counts),
    )


def label_with_one_retry(job: Job, stack: TileStack) -> NDArray[np.uint8]:
    """A machine may stumble once; what fails twice has failed."""
    try:
        return require_labels(job, stack)
    except Exception:
        log.debug("first try failed", exc_info=True)
        return require_labels(job, stack)


def require_labels(job: Job, stack: TileStack) -> NDArray[np.uint8]:
    """(h, w) labels of the one tile of a stack. Raises ValueError on a wrong shape or an unknown class."""
    segmenter = job.segmenter
    mask = segmenter.segment(stack.pick([0], job.bands_of(segmenter)))
    highest = int(mask.labels.max(initial=0))
    if mask.labels.shape != stack.valid.shape or highest > len(job.plan.classes):
        raise ValueError(
            f"{segmenter.model.name} gave labels {mask.labels.shape} up to {highest} for tiles {stack.valid.shape} "
            f"and {len(job.plan.classes)} classes"
        )
    return np.asarray(mask.labels[0])
