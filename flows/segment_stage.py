"""Stage 2: segment the tiles that were let through or drawn; each batch ends with its commit record."""

from __future__ import annotations

import logging
import time

import numpy as np
from numpy.typing import NDArray

from downstream.area import count_classes, count_pixels
from flows.job import Job, open_job
from flows.reading import failed, kind_of, read_tiles
from flows.span import SegmentBatch, SpanReport, report_span
from flows.stopping import checkpoint
from storage.ledger import BatchRecord
from storage.run import Run
from tiling.grid import Batch, Tile
from tiling.record import TileRecord
from tiling.stack import MaskStack, TileStack, crop_to_core
from tiling.state import State

log = logging.getLogger("tilegate")


def segment_span(run_path: str, batches: list[SegmentBatch]) -> SpanReport:
    """Segment the chosen tiles of some batches of a run, one batch after the other."""
    started = time.monotonic()
    run, records = Run.open(run_path), []
    with open_job(run.plan) as job:
        assert job.segmenter is not None  # a model that cannot be loaded ends the run, not each of its tiles
        for chosen in batches:
            checkpoint()
            with run.attempt("segment", chosen.row, chosen.col):
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
    checkpoint()
    readings = read_tiles(job.source, [tile], job.plan.fine)
    if readings.stack is None:
        return readings.holes[0]
    labels = try_labels(job, readings.stack)
    if not isinstance(labels, np.ndarray):  # a machine may stumble once; what fails twice has failed
        labels = try_labels(job, readings.stack)
    if not isinstance(labels, np.ndarray):
        return failed(tile, "segmenter", labels)
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


def try_labels(job: Job, stack: TileStack) -> NDArray[np.uint8] | Exception:
    """(h, w) labels of the one tile of a stack, or why there are none; what the failed try held is free again then."""
    try:
        return require_labels(job, stack)
    except Exception as error:  # a model may fail in any way; the tile is counted, nothing is swallowed
        log.debug("where it failed", exc_info=True)
        return error.with_traceback(None)


def require_labels(job: Job, stack: TileStack) -> NDArray[np.uint8]:
    """(h, w) labels of the one tile of a stack. Raises TypeError or ValueError on anything that is no mask of it."""
    name, classes = job.segmenter.model.name, job.plan.classes
    mask: object = job.segmenter.segment(stack.pick([0], job.bands_of(job.segmenter)))
    if not isinstance(mask, MaskStack):
        raise TypeError(f"{name} gave {kind_of(mask)} where a MaskStack was due")
    labels: object = mask.labels
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        raise TypeError(f"{name} gave {kind_of(labels)} where labels in whole numbers were due")
    if labels.shape != stack.valid.shape:
        raise ValueError(f"{name} gave labels {labels.shape} for tiles {stack.valid.shape}")
    lowest, highest = int(labels.min(initial=0)), int(labels.max(initial=0))
    if lowest < 0 or highest > len(classes):
        raise ValueError(f"{name} gave labels {lowest} to {highest} where there are {len(classes)} classes")
    if tuple(mask.classes) != classes:
        raise ValueError(f"{name} gave a mask of {mask.classes} where {classes} was due")
    return np.asarray(labels[0], np.uint8)
