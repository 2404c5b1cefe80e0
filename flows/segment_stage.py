"""Stage 2: segment the tiles that were let through or drawn; each batch ends with its commit record."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from downstream.area import count_classes, count_pixels
from flows.job import Job, open_job
from flows.overlap import ahead, models
from flows.reading import Readings, failed, kind_of, read_tiles
from flows.span import SegmentBatch, SpanReport, report_span
from flows.stopping import checkpoint
from storage.attempts import Attempts
from storage.ledger import BatchRecord
from storage.plan import RunPlan
from storage.run import Run
from tiling.grid import Tile
from tiling.record import TileRecord
from tiling.stack import MaskStack, TileStack, crop_to_core
from tiling.state import State

log = logging.getLogger("tilegate")

TILES_AHEAD = 4
"""Tiles read before a model is free for them, and tiles labelled before their turn comes."""


def segment_span(run_path: str, batches: list[SegmentBatch]) -> SpanReport:
    """Segment the chosen tiles of some batches of a run: reading, labelling and writing overlap."""
    started = time.monotonic()
    run = Run.open(run_path)
    with (
        open_job(run.plan) as job,
        run.attempts("segment") as attempts,
        ThreadPoolExecutor(1) as reader,
    ):
        assert job.segmenter is not None  # a model that cannot be loaded ends the run, not each of its tiles
        readings = ahead(reader, partial(read, job), ask(run, batches, attempts), TILES_AHEAD)
        labelled = ahead(models(), partial(label, job), readings, TILES_AHEAD)
        packed = map(partial(pack, run), labelled)
        records = [write(run, attempts, batch) for batch in gather(batches, packed)]
    return report_span(records, time.monotonic() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A tile on its way to the model."""

    tile: Tile
    """Which one."""
    state: State
    """What it will be: segmented or audited."""
    readings: Readings | None = None
    """Its pixels, halo still on, once they are read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """A tile that the model is done with."""

    record: TileRecord
    """Its row of the ledger."""
    labels: NDArray[np.uint8] | None = None
    """(h, w) of its core; None when it could not be read or labelled."""
    pixels: NDArray[np.generic] | None = None
    """(band, h, w) of its core, 0 where there is no data; None when they are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A tile as its batch will be written: small, so that a batch may wait for its last tile."""

    record: TileRecord
    """Its row of the ledger."""
    labels: bytes
    """Of its core, encoded; b"" when there are none."""
    pixels: bytes
    """Likewise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finished:
    """A batch whose tiles are all labelled."""

    batch: SegmentBatch
    """Which one."""
    tiles: tuple[Packed, ...]
    """All that were chosen of it, in grid order."""
    seconds: float
    """Since the batch before it was finished."""


def ask(run: Run, batches: Iterable[SegmentBatch], attempts: Attempts) -> Iterator[Asked]:
    """The chosen tiles, batch by batch; a batch is marked as attempted when its first tile is drawn."""
    for batch in batches:
        attempts.begin(batch.row, batch.col)
        audited = set(batch.audited)
        for key in batch.tiles:
            state = State.AUDITED if key in audited else State.SEGMENTED
            yield Asked(tile=run.plan.grid.tile(*key), state=state)


def read(job: Job, asked: Asked) -> Asked:
    """The tile with its pixels."""
    checkpoint()
    return replace(asked, readings=read_tiles(job.source, [asked.tile], job.plan.fine))


def label(job: Job, asked: Asked) -> Labelled:
    """Label a tile and count it. What fails is counted as what it is."""
    checkpoint()
    tile, readings = asked.tile, asked.readings
    assert readings is not None
    if readings.stack is None:
        return Labelled(record=readings.holes[0])
    labels = try_labels(job, readings.stack)
    if not isinstance(labels, np.ndarray):  # a machine may stumble once; what fails twice has failed
        labels = try_labels(job, readings.stack)
    if not isinstance(labels, np.ndarray):
        return Labelled(record=failed(tile, "segmenter", labels))
    valid = np.asarray(crop_to_core(readings.stack.valid[0], tile), bool)
    if job.aoi is not None:
        valid = valid & (job.areas.of(tile.core) > 0)
    core_labels = np.where(valid, crop_to_core(labels, tile), np.uint8(0))
    counts = count_classes(core_labels, len(job.plan.classes), job.areas, tile.core)
    record = TileRecord(
        row=tile.row,
        col=tile.col,
        state=asked.state,
        valid_area=count_pixels(valid, job.areas, tile.core).area,
        pixels=tuple(count.pixels for count in counts),
        area=tuple(count.area for count in counts),
    )
    return Labelled(record=record, labels=core_labels, pixels=kept_pixels(job, readings.stack, tile))


def pack(run: Run, labelled: Labelled) -> Packed:
    """The tile encoded, while models are busy with the next ones."""
    labels, pixels = labelled.labels, labelled.pixels
    return Packed(
        record=labelled.record,
        labels=b"" if labels is None else run.pack_labels(labels),
        pixels=b"" if pixels is None else run.pack_pixels(pixels),
    )


def gather(batches: Iterable[SegmentBatch], packed: Iterator[Packed]) -> Iterator[Finished]:
    """The tiles of each batch together."""
    for batch in batches:
        started = time.monotonic()
        tiles = tuple(islice(packed, len(batch.tiles)))
        yield Finished(batch=batch, tiles=tiles, seconds=time.monotonic() - started)


def write(run: Run, attempts: Attempts, finished: Finished) -> BatchRecord:
    """Write the shards of a batch, each whole and once, then its commit record."""
    where = run.plan.grid.batch(finished.batch.row, finished.batch.col)
    shards = run.write_mask(where, {(t.record.row, t.record.col): t.labels for t in finished.tiles})
    if keeps_fine_pixels(run.plan):
        shards |= run.write_fine_pixels(where, {(t.record.row, t.record.col): t.pixels for t in finished.tiles})
    record = BatchRecord(
        stage="segment",
        row=where.row,
        col=where.col,
        tiles=tuple(tile.record for tile in finished.tiles),
        shards=shards,
        seconds=finished.seconds,
    )
    run.commit(record)
    attempts.end(where.row, where.col)
    return record


def keeps_fine_pixels(plan: RunPlan) -> bool:
    """Where gate and segmenter share a plane its pixels were written when they were gated."""
    return bool(plan.recipe["store"]["pixels"]) and not plan.one_plane


def kept_pixels(job: Job, stack: TileStack, tile: Tile) -> NDArray[np.generic] | None:
    """(band, h, w) of the core of a stack's one tile, to be stored."""
    if not keeps_fine_pixels(job.plan):
        return None
    valid = crop_to_core(stack.valid[0], tile)
    pixels = crop_to_core(stack.pixels[0], tile)
    return pixels if valid.all() else np.where(valid, pixels, 0)


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
    mask: object = job.segmenter.segment(job.shown(job.segmenter, stack, [0]))
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
