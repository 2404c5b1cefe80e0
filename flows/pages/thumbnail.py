"""A run as small arrays: a few samples under each pixel of a thumbnail, one batch in memory at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.span import BatchKey
from storage.layout import FINE, GATE
from storage.run import Run
from tiling.errors import BadData, BadInput
from tiling.grid import Tile
from tiling.info import Plane
from tiling.open import open_source
from tiling.record import TileRecord
from tiling.source import Pixels
from tiling.window import Window

Floats = NDArray[np.float64]
Block = tuple[Window, NDArray[np.generic]]
"""A part of an array, and where it lies."""
SAMPLES, MASK_SAMPLES = 2, 4
"""Stored pixels looked at under one thumbnail pixel, along each side: a picture needs no more, what is rare does."""


def thumbnail_shape(run: Run, longest_px: int) -> tuple[int, int]:
    """(height, width) in the image's proportions, at most its own size."""
    height, width = run.plan.grid.shape_px
    scale = max(1.0, max(height, width) / longest_px)
    return max(1, round(height / scale)), max(1, round(width / scale))


def small_pixels(run: Run, shape: tuple[int, int]) -> Pixels:
    """From the stored gate plane where that is fine enough or the image cannot be read, else from the image.

    Of an image with an area of interest only from what is stored: the rest of it is nobody's business.
    """
    kept, partly = run.plan.recipe["store"]["pixels"], run.plan.aoi is not None
    if kept and (partly or max(run.plan.gate_grid.shape_px) >= max(shape)):
        return stored_pixels(run, shape)
    nothing = Pixels(np.zeros((len(run.plan.image.bands), *shape)), np.zeros(shape, bool))
    try:
        return nothing if partly else image_pixels(run, shape)
    except (BadData, BadInput):  # the tiles it hits are counted as unreadable; a coarse picture is better than none
        return stored_pixels(run, shape) if kept else nothing


def image_pixels(run: Run, shape: tuple[int, int]) -> Pixels:
    """The whole image. Raises BadData or BadInput when it cannot be read."""
    source = open_source(run.plan.source)
    try:
        full = run.plan.image.shape_px
        plane = Plane(shape_px=shape, scale=(full[0] / shape[0], full[1] / shape[1]))
        return source.read(Window(y=0, x=0, height=shape[0], width=shape[1]), plane)
    finally:
        source.close()


def stored_pixels(run: Run, shape: tuple[int, int]) -> Pixels:
    """The gate plane as the run keeps it, repeated where it is coarser than `shape`; 0 means no data there."""
    gate = run.plan.gate_grid
    small = min(shape[0], gate.shape_px[0]), min(shape[1], gate.shape_px[1])
    array = run.array(FINE if run.plan.one_plane else GATE)
    blocks = ((batch.core, np.asarray(array[:, *batch.core.slices])) for batch in gate.batches())
    stored = shrink(blocks, array.shape, small)
    y, x = (np.arange(side) * few // side for side, few in zip(shape, small, strict=True))
    grown = stored[:, y[:, None], x[None, :]]
    return Pixels(grown, (grown != 0).any(0))


def small_mask(run: Run, tiles: Iterable[TileRecord], shape: tuple[int, int]) -> Floats:
    """(class, h, w): share of each class under every pixel. tiles: those with something; only they are read."""
    labels = np.arange(1, len(run.plan.classes) + 1, dtype=np.uint8)[:, None, None]
    return shrink(labels_of(run, tiles), (len(labels), *run.plan.grid.shape_px), shape, labels)


def labels_of(run: Run, tiles: Iterable[TileRecord]) -> Iterator[Block]:
    """The mask of some tiles, batch by batch."""
    grid, batches = run.plan.grid, defaultdict[BatchKey, list[Tile]](list)
    for tile in tiles:
        batches[grid.batch_of(tile.row, tile.col)].append(grid.tile(tile.row, tile.col))
    for key, held in sorted(batches.items()):
        yield from zip((tile.core for tile in held), run.labels(grid.batch(*key), held), strict=True)


def shrink(
    blocks: Iterable[Block], full: tuple[int, ...], shape: tuple[int, int], labels: NDArray[np.uint8] | None = None
) -> Floats:
    """(band, h, w) means of blocks of an array, or the share of each label; outside of them it holds nothing but 0.

    full: (band, y, x) of the array. labels: (label, 1, 1).
    """
    many = SAMPLES if labels is None else MASK_SAMPLES
    rows, cols = (_samples(side, small, many) for side, small in zip(full[-2:], shape, strict=True))
    total = np.zeros((full[0], *shape))
    for window, block in blocks:
        y, x = rows.within(window.y, window.y_stop), cols.within(window.x, window.x_stop)
        if y.size and x.size:
            seen = block[
                ..., y[0] * rows.step_px - window.y :: rows.step_px, x[0] * cols.step_px - window.x :: cols.step_px
            ]
            seen = seen if labels is None else seen == labels
            places = rows.places[y], cols.places[x]
            into = tuple(slice(along[0], along[-1] + 1) for along in places)
            total[:, into[0], into[1]] += _sum_alike(_sum_alike(seen, places[1], -1), places[0], -2)
    return total / np.outer(np.bincount(rows.places), np.bincount(cols.places))


class _Samples(NamedTuple):
    """Where an array is looked at along one side."""

    step_px: int
    """From one sample to the next."""
    places: NDArray[np.intp]
    """The thumbnail pixel that each sample falls in, ascending."""

    def within(self, start_px: int, stop_px: int) -> NDArray[np.intp]:
        """Numbers of the samples in a part of the side."""
        return np.arange(-(-start_px // self.step_px), -(-stop_px // self.step_px))


def _samples(side_px: int, small_px: int, many: int) -> _Samples:
    step = max(1, round(side_px / small_px / many))
    middles = np.arange(0, side_px, step) + 0.5
    return _Samples(step, (middles * (small_px / side_px)).astype(np.intp).clip(max=small_px - 1))


def _sum_alike(values: NDArray[Any], places: NDArray[np.intp], axis: int) -> Floats:
    """Sums of runs of equal places along an axis."""
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return np.asarray(np.add.reduceat(values, starts, axis=axis, dtype=np.float64))
