"""A run as small arrays: a few samples under each pixel of a thumbnail, one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.span import BatchKey
from storage.layout import FINE, GATE, MASK
from storage.run import Run
from tiling.errors import BadData, BadInput
from tiling.grid import TileGrid
from tiling.info import Plane
from tiling.open import open_source
from tiling.source import Pixels
from tiling.window import Window

Floats = NDArray[np.float64]
SAMPLES = 4
"""Stored pixels looked at under one thumbnail pixel, along each side: a picture needs no more."""


def thumbnail_shape(run: Run, longest_px: int) -> tuple[int, int]:
    """(height, width) in the image's proportions, at most its own size."""
    height, width = run.plan.grid.shape_px
    scale = max(1.0, max(height, width) / longest_px)
    return max(1, round(height / scale)), max(1, round(width / scale))


def small_pixels(run: Run, shape: tuple[int, int]) -> Pixels:
    """From the stored gate plane where that is fine enough or the image cannot be read, else from the image."""
    kept = run.plan.recipe["store"]["pixels"]
    if kept and max(run.plan.gate_grid.shape_px) >= max(shape):
        return stored_pixels(run, shape)
    try:
        return image_pixels(run, shape)
    except (BadData, BadInput):  # the tiles it hits are counted as unreadable; a coarse picture is better than none
        nothing = Pixels(np.zeros((len(run.plan.image.bands), *shape)), np.zeros(shape, bool))
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
    rows, cols = gate.shape_batches
    everywhere = [(row, col) for row in range(rows) for col in range(cols)]
    small = min(shape[0], gate.shape_px[0]), min(shape[1], gate.shape_px[1])
    stored = shrink(run.array(FINE if run.plan.one_plane else GATE), gate, everywhere, small)
    y, x = (np.arange(side) * few // side for side, few in zip(shape, small, strict=True))
    grown = stored[:, y[:, None], x[None, :]]
    return Pixels(grown, (grown != 0).any(0))


def small_mask(run: Run, batches: Iterable[BatchKey], shape: tuple[int, int]) -> Floats:
    """(class, h, w): share of each class under every pixel; only `batches` are read, elsewhere nothing was found."""
    array, wanted = run.array(MASK), list(batches)
    labels = range(1, len(run.plan.classes) + 1)
    return np.concatenate([shrink(array, run.plan.grid, wanted, shape, label) for label in labels])


def shrink(
    array: Any, grid: TileGrid, batches: Iterable[BatchKey], shape: tuple[int, int], label: int | None = None
) -> Floats:
    """(band, h, w) means of an array (…, y, x) that lies on `grid`; of one label's share when `label` is given."""
    bands = 1 if array.ndim == 2 else array.shape[0]
    total, count = np.zeros((bands, *shape)), np.zeros(shape)
    steps = [max(1, int(side / small / SAMPLES)) for side, small in zip(grid.shape_px, shape, strict=True)]
    for key in batches:
        core = grid.batch(*key).core
        rows, cols = core.slices
        block = np.asarray(array[..., rows, cols])[..., :: steps[0], :: steps[1]]
        block = (block if label is None else block == label).reshape(bands, *block.shape[-2:])
        y = _places(core.y, core.y_stop, steps[0], grid.shape_px[0], shape[0])
        x = _places(core.x, core.x_stop, steps[1], grid.shape_px[1], shape[1])
        part = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
        total[:, part[0], part[1]] += _sum_alike(_sum_alike(block, x, -1), y, -2)
        count[part] += np.outer(np.bincount(y - y[0]), np.bincount(x - x[0]))
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _places(start: int, stop: int, step: int, side_px: int, small_px: int) -> NDArray[np.intp]:
    """Index of the thumbnail pixel each sample falls in, ascending."""
    return ((np.arange(start, stop, step) + 0.5) * (small_px / side_px)).astype(np.intp).clip(max=small_px - 1)


def _sum_alike(values: NDArray[Any], places: NDArray[np.intp], axis: int) -> Floats:
    """Sums of runs of equal places along an axis."""
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return np.asarray(np.add.reduceat(values, starts, axis=axis, dtype=np.float64))
