"""An area of interest: what lies outside of it is not read, not counted and not observed."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.labels.features import read_features
from downstream.coverage import Outline, outline_of, parts_of, window_shares
from downstream.zones_place import place, polygons_of, route
from tiling.errors import BadInput
from tiling.grid import TileGrid
from tiling.info import ImageInfo
from tiling.pixel_area import Method, PixelAreas
from tiling.window import Window


def load_aoi(path: Path, info: ImageInfo) -> tuple[Any, tuple[str, ...]]:
    """(all polygons of a file as one, (x, y) px of the image and clipped to it; notes). Raises BadInput.

    info: of the image as it says itself.
    """
    import shapely

    features = read_features(path)
    way = route(features, info)
    try:
        shapes = [place(shape, way, info).shape for shape in features.shapes]
    except BadInput as error:
        raise BadInput(f"{path}: {error}. Is its coordinate system named right?") from error
    shape = polygons_of(shapely.union_all([shape for shape in shapes if not shape.is_empty]))
    if shape.is_empty:
        bounds = ", ".join(f"{value:.6g}" for value in shapely.total_bounds(features.shapes))
        raise BadInput(
            f"area.aoi: nothing of {path} (x, y {bounds}; {features.crs or 'no CRS'}) lies on {info.uri}: is it of "
            "this image?"
        )
    return shapely.normalize(shape), features.notes


def packed(shape: Any) -> str:
    """A shape as text that keeps every bit: WKB (OGC 06-103r4) in base64."""
    import shapely

    return b64encode(shapely.to_wkb(shape, byte_order=1)).decode()


def unpacked(text: str) -> Any:
    """The shape again."""
    import shapely

    return shapely.from_wkb(b64decode(text))


class AoiAreas:
    """Areas of pixels as far as they lie in an area of interest. See PixelAreas."""

    def __init__(self, areas: PixelAreas, outline: Outline) -> None:
        """areas: of the whole plane; outline: of the area of interest, px of the same plane."""
        self._areas, self._outline = areas, outline
        self.method: Method = areas.method
        self.unit: Literal["m2", "um2"] = areas.unit

    def of(self, window: Window) -> NDArray[np.float64]:
        """As of the whole plane where the window lies inside, (height, width) or 0 where some of it does not."""
        shares = window_shares(self._outline, window)
        whole = self._areas.of(window)
        return whole if (shares == 1).all() else whole * shares

    def sum(self, window: Window, chosen: NDArray[np.bool_]) -> float:
        """Of the chosen pixels as far as they lie inside."""
        shares = window_shares(self._outline, window)
        if (shares == 1).all():
            return self._areas.sum(window, chosen)
        return math.fsum(np.einsum("yx,yx->y", chosen, self._areas.of(window) * shares))

    def total(self, window: Window) -> float:
        """Of the window as far as it lies inside; to the bit what count_pixels makes of all its pixels."""
        shares = window_shares(self._outline, window)
        if (shares == 1).all():
            return self._areas.total(window)
        if not shares.any():
            return 0.0
        return math.fsum(np.einsum("yx,yx->y", np.ones(window.shape_px, bool), self._areas.of(window) * shares))

    def most(self, window: Window) -> float:
        """As of the whole plane: a pixel inside is as large."""
        return self._areas.most(window)


class Aoi:
    """An area of interest on a grid of tiles."""

    def __init__(self, shape: Any, grid: TileGrid, scale: tuple[float, float]) -> None:
        """shape: (x, y) px of the image; grid: on the fine plane; scale: image px per px of it, (y, x)."""
        self.shape = shape
        self._outline, self._grid = outline_of(shape, scale), grid
        self._known = dict[tuple[int, int, Method], float]()

    @cached_property
    def _parts(self) -> NDArray[np.uint8]:
        """(rows, columns) of tiles: 0 holds none of it, 1 is cut by its border, 2 lies inside."""
        found = np.zeros(self._grid.shape_tiles, np.uint8)
        for part in parts_of(self._outline, self._grid):
            found[part.tile.row, part.tile.col] = 2 if part.share is None else 1
        return found

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(rows, columns) of tiles, True where a tile holds some of it."""
        return np.asarray(self._parts > 0)

    @property
    def cut(self) -> NDArray[np.bool_]:
        """(rows, columns) of tiles, True where a tile holds some of it and some of what is not of interest."""
        return np.asarray(self._parts == 1)

    def areas(self, whole: PixelAreas) -> PixelAreas:
        """Areas of the fine plane's pixels as far as they lie in it."""
        return AoiAreas(whole, self._outline)

    def tile_area(self, row: int, col: int, whole: PixelAreas) -> float:
        """Of a tile's core as far as it lies inside, summed once. whole: of the fine plane, by one method or the other."""
        key = (row, col, whole.method)
        if key not in self._known:
            self._known[key] = self.areas(whole).total(self._grid.tile(row, col).core)
        return self._known[key]


_: type[PixelAreas] = AoiAreas
