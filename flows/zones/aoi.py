"""The area of interest of a plan: read once when the plan is made, and kept in it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from downstream.zones_aoi import Aoi, load_aoi, packed, unpacked
from downstream.zones_count import shape_area
from flows.plan_areas import plan_areas
from flows.recipe import Recipe
from storage.plan import RunPlan
from tiling.grid import Tile, TileGrid
from tiling.info import ImageInfo
from tiling.pixel_area import PixelAreas
from tiling.record import TileRecord
from tiling.state import State

log = logging.getLogger("tilegate")


def planned_aoi(recipe: Recipe, info: ImageInfo) -> str | None:
    """The area of interest of a recipe as a plan keeps it; None = the whole image. Raises BadInput."""
    if recipe.area.aoi is None:
        return None
    shape, notes = load_aoi(Path(recipe.area.aoi), info)
    for note in notes:
        log.warning("area.aoi: %s", note)
    return packed(shape)


def aoi_of(plan: RunPlan) -> Aoi | None:
    """The area of interest of a plan, None = the whole image."""
    return None if plan.aoi is None else _aoi(plan.aoi, plan.grid, plan.fine.scale)


@lru_cache(4)
def _aoi(text: str, grid: TileGrid, scale: tuple[float, float]) -> Aoi:
    """One of each plan per process: which tiles its border cuts is found once."""
    return Aoi(unpacked(text), grid, scale)


def areas_of_interest(plan: RunPlan) -> PixelAreas:
    """Areas of the fine plane's pixels, as far as they are of interest."""
    whole, aoi = plan_areas(plan), aoi_of(plan)
    return whole if aoi is None else aoi.areas(whole)


def aoi_block(plan: RunPlan) -> dict[str, Any]:
    """What the summary says of it, for `area.aoi`; nothing where the whole image is of interest."""
    aoi = aoi_of(plan)
    if aoi is None:
        return {}
    area = shape_area(aoi.shape, plan.grid, plan.fine.scale, plan_areas(plan))
    sha256 = hashlib.sha256(str(plan.aoi).encode()).hexdigest()
    return {"aoi": {"path": plan.recipe["area"]["aoi"], "sha256": sha256, "area": area}}


def split(aoi: Aoi | None, tiles: Sequence[Tile]) -> tuple[tuple[Tile, ...], tuple[TileRecord, ...]]:
    """(tiles that hold some of the area of interest, the fate of the others)."""
    if aoi is None:
        return tuple(tiles), ()
    inside = tuple(tile for tile in tiles if aoi.inside[tile.row, tile.col])
    outside = (tile for tile in tiles if not aoi.inside[tile.row, tile.col])
    return inside, tuple(TileRecord(row=tile.row, col=tile.col, state=State.OUTSIDE) for tile in outside)
