"""The whole image, small; what cannot be read of it is not valid."""

from __future__ import annotations

import logging

import numpy as np

from tiling.errors import BadData
from tiling.grid import TileGrid
from tiling.info import ImageInfo, Plane, plane_at
from tiling.source import Pixels, Source

log = logging.getLogger("tilegate")

COARSE_TILE_PX = 256
"""Side of what is read of it at once, px: a hole in the file costs no more than that."""


def read_coarse(source: Source, longest_px: int) -> Pixels:
    """The whole image on a plane of at most `longest_px` a side; what cannot be read is not valid."""
    plane = coarse_plane(source.info, longest_px)
    data = np.zeros((len(source.info.bands), *plane.shape_px), source.info.dtype)
    valid = np.zeros(plane.shape_px, bool)
    grid = TileGrid(shape_px=plane.shape_px, tile_px=COARSE_TILE_PX)
    for core in (tile.core for batch in grid.batches() for tile in batch.tiles):
        try:
            part = source.read(core, plane)
        except BadData as error:  # its tiles will be counted as unreadable, and nothing else is lost
            log.warning("a coarse look at the image goes without a part of it: %s", error)
            continue
        rows, cols = core.slices
        data[:, rows, cols], valid[rows, cols] = part
    return Pixels(data, valid)


def coarse_plane(info: ImageInfo, longest_px: int) -> Plane:
    """The plane `read_coarse` reads."""
    return plane_at(info, max(1.0, max(info.shape_px) / longest_px))
