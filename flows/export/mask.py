"""The mask of a run as exports see it: background, classes, and what nobody observed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from downstream.pieces import UNSEEN
from flows.export.job import ExportJob
from storage.layout import MASK
from tiling.errors import BadData, BadInput
from tiling.grid import Tile
from tiling.identity import content_digests, image_identity
from tiling.open import open_source
from tiling.pixel_area import window_area
from tiling.record import TileRecord
from tiling.source import LostSource, Source
from tiling.state import State

log = logging.getLogger("tilegate")

LOOKED_AT = (State.SEGMENTED, State.AUDITED)
"""States of tiles that the segmenter labelled."""
HOLES = (State.PLANNED, State.POSITIVE, State.UNREADABLE, State.FAILED, State.OUTSIDE)
"""States of tiles that nobody observed."""


class TileLabels:
    """Labels tile by tile: 0 background, 1 … classes, 255 not observed. Use open_labels."""

    def __init__(self, job: ExportJob, source: Source) -> None:
        """source: the image; only asked which pixels of a tile hold data, where not all of them do."""
        self._job, self._source = job, source
        self._mask = job.run.array(MASK)
        self._records = {(tile.row, tile.col): tile for tile in job.tiles}
        self._unknown = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be told of the tiles asked for until now."""
        if not self._unknown:
            return ()
        return (
            f"{self._unknown} tiles hold pixels without data that are background here: the image cannot be read any "
            "more, or is another one",
        )

    def of(self, tile: Tile, *, unsegmented: int = 0) -> NDArray[np.uint8]:
        """(h, w) of the tile's core. unsegmented: label of tiles that were observed but that the segmenter never saw."""
        record = self._records[tile.row, tile.col]
        if record.state in HOLES or (record.state is State.EMPTY and record.valid_area == 0):
            return np.full(tile.core.shape_px, UNSEEN, np.uint8)
        if record.state not in LOOKED_AT:
            if unsegmented == UNSEEN:
                return np.full(tile.core.shape_px, UNSEEN, np.uint8)
            labels = np.full(tile.core.shape_px, unsegmented, np.uint8)
        elif any(record.pixels):
            labels = np.asarray(self._mask[tile.core.slices], np.uint8).copy()
        else:
            labels = np.zeros(tile.core.shape_px, np.uint8)
        if not self._is_full(tile, record):
            labels[~self._valid(tile) & (labels == 0)] = UNSEEN
        return labels

    def _is_full(self, tile: Tile, record: TileRecord) -> bool:
        """Whether every pixel holds data, as far as the area tells: areas of one tile agree to far below a pixel."""
        whole = window_area(self._job.areas, tile.core)
        return record.valid_area >= whole * (1 - 0.5 / (tile.core.height * tile.core.width))

    def _valid(self, tile: Tile) -> NDArray[np.bool_]:
        try:
            return np.asarray(self._source.read(tile.core, self._job.plan.fine).valid, bool)
        except (BadData, BadInput) as error:
            self._unknown += 1
            log.debug("which pixels of tile %s hold data is unknown: %s", tile.id, error)
            return np.ones(tile.core.shape_px, bool)


@contextmanager
def open_labels(job: ExportJob) -> Iterator[TileLabels]:
    """The labels of a run; its image is opened when there are tiles of which not all pixels hold data."""
    source = _image(job) if _has_gaps(job) else LostSource(job.plan.image, "not asked for")
    try:
        yield TileLabels(job, source)
    finally:
        source.close()


def _has_gaps(job: ExportJob) -> bool:
    area = job.summary["area"]
    return bool(area["observed"] + area["not_observed"] < area["image"] * (1 - 1e-12))


def _image(job: ExportJob) -> Source:
    """The image of the run, if it still is the same one."""
    spec, image = job.plan.source, job.plan.image
    try:
        if image_identity(spec, content_digests(spec)) != job.plan.identity:
            return LostSource(image, f"{image.uri} is another image than the one of the run")
        return open_source(spec)
    except (BadData, BadInput, OSError) as error:
        return LostSource(image, str(error))
