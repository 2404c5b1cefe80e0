"""Areas per zone: whole tiles from their records, tiles that a border crosses pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from downstream.coverage import Part, outline_of, parts_of
from downstream.summary import UNSEEN
from tiling.grid import Tile, TileGrid
from tiling.pixel_area import PixelAreas, window_area
from tiling.record import TileRecord
from tiling.state import State

Look = Callable[[Tile], NDArray[Any]]
"""(h, w) of a tile's core."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counted:
    """What there is to count from: a run that is over."""

    grid: TileGrid
    """Tiles on the fine plane."""
    scale: tuple[float, float]
    """Image px per px of the fine plane, (y, x)."""
    areas: PixelAreas
    """Of the fine plane, all of it."""
    observable: PixelAreas
    """Of the fine plane, without what lies outside of an area of interest; the same as `areas` where there is none."""
    records: Mapping[tuple[int, int], TileRecord]
    """The fate of every tile."""
    classes: int
    """How many there are."""
    labels: Look
    """uint8 of the stored mask."""
    valid: Look
    """bool, True = data; asked of tiles that hold data in part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneArea:
    """One zone, m2 or um2; sums are exact, so any order of tiles gives the same bits."""

    inside: float
    """Its area on the image (and in the area of interest)."""
    observed: float
    """Area of valid pixels that some step looked at."""
    not_observed: float
    """Area in tiles that could not be read, failed or are not done."""
    pixels: tuple[float, ...]
    """Pixels per class, those at the border by their share."""
    mapped: tuple[float, ...]
    """Area per class."""


class _Piece(NamedTuple):
    """What one tile gives to a zone."""

    inside: float
    observed: float
    not_observed: float
    pixels: tuple[float, ...]
    mapped: tuple[float, ...]


def zone_area(shape: Any, counted: Counted) -> ZoneArea:
    """Count one zone. shape: (x, y) px of the image, not beyond it."""
    pieces = list(_pieces(shape, counted))
    return ZoneArea(
        inside=math.fsum(piece.inside for piece in pieces),
        observed=math.fsum(piece.observed for piece in pieces),
        not_observed=math.fsum(piece.not_observed for piece in pieces),
        pixels=tuple(math.fsum(piece.pixels[i] for piece in pieces) for i in range(counted.classes)),
        mapped=tuple(math.fsum(piece.mapped[i] for piece in pieces) for i in range(counted.classes)),
    )


def shape_area(shape: Any, grid: TileGrid, scale: tuple[float, float], areas: PixelAreas) -> float:
    """Area of a polygon on the image, m2 or um2. shape: (x, y) px of the image."""
    if shape.is_empty:
        return 0.0
    return math.fsum(_area_of(part, areas) for part in parts_of(outline_of(shape, scale), grid))


def _pieces(shape: Any, counted: Counted) -> Iterable[_Piece]:
    if shape.is_empty:
        return ()
    parts = parts_of(outline_of(shape, counted.scale), counted.grid)
    return (_piece(part, counted.records[part.tile.row, part.tile.col], counted) for part in parts)


def _piece(part: Part, record: TileRecord, counted: Counted) -> _Piece:
    """Of a tile as a whole its record, to the bit; of one that a border crosses its pixels."""
    inside, nothing = _area_of(part, counted.areas), (0.0,) * counted.classes
    if record.state in UNSEEN:
        return _Piece(inside, 0.0, inside, nothing, nothing)
    if part.share is None:
        found = (tuple(map(float, record.pixels)), record.area) if record.pixels else (nothing, nothing)
        return _Piece(inside, record.valid_area, 0.0, *found)
    observed = _observed(part, record, counted)
    if not any(record.pixels):
        return _Piece(inside, observed, 0.0, nothing, nothing)
    labels, pixel_area = counted.labels(part.tile), counted.areas.of(part.tile.core)
    each = [weigh(labels == label, part.share, pixel_area) for label in range(1, counted.classes + 1)]
    return _Piece(inside, observed, 0.0, tuple(pixels for pixels, _ in each), tuple(area for _, area in each))


def _observed(part: Part, record: TileRecord, counted: Counted) -> float:
    """The zone's share of the tile's observed area: of its valid pixels, which are looked at where not all are valid."""
    assert part.share is not None
    core = part.tile.core
    most = window_area(counted.observable, core)
    if record.valid_area == 0 or record.state is State.OUTSIDE:
        return 0.0
    inside = weigh(np.ones(core.shape_px, bool), part.share, counted.areas.of(core))[1]
    if math.isclose(record.valid_area, most, rel_tol=1e-12):
        return inside
    valid = np.asarray(counted.valid(part.tile), bool)
    whole = np.broadcast_to(counted.observable.of(core), core.shape_px)
    seen = math.fsum(whole[valid])
    return record.valid_area * weigh(valid, part.share, counted.areas.of(core))[1] / seen if seen else 0.0


def _area_of(part: Part, areas: PixelAreas) -> float:
    core = part.tile.core
    if part.share is None:
        return window_area(areas, core)
    return weigh(np.ones(core.shape_px, bool), part.share, areas.of(core))[1]


def weigh(
    chosen: NDArray[np.bool_], share: NDArray[np.float64], pixel_area: NDArray[np.float64]
) -> tuple[float, float]:
    """(pixels, area) of the chosen ones, each by its share: whole pixels are counted row by row, the border one by one.

    chosen, share: (h, w). pixel_area: (1, 1), (h, 1) or (h, w).
    """
    whole, part = chosen & (share == 1), chosen & (share > 0) & (share < 1)
    runs = whole.sum(1)
    at_border = np.broadcast_to(pixel_area, chosen.shape)[part]
    if pixel_area.shape[1] == 1:
        inner = (runs * np.broadcast_to(pixel_area[:, 0], runs.shape)).tolist()
    else:
        inner = pixel_area[whole].tolist()
    return int(runs.sum()) + math.fsum(share[part]), math.fsum(chain(inner, (share[part] * at_border).tolist()))
