"""Where the pixels of one grid lie on another: the same pixels, a shift by whole pixels, or the nearest ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize, Plane
from tiling.smooth import few
from tiling.window import Window

Indices = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns that broadcast to (h, w); what lies outside the other grid is negative or beyond its shape."""
Floats = NDArray[np.float64]
WHOLE = 1e-3
"""Grids of one pixel size whose pixels are off by less than this share of one, everywhere, are the same grid."""
TIE = 1e-6
"""Share of a pixel; without it rounding would decide where a centre on an edge belongs."""
EDGE_POINTS = 21
"""Points along each side of an image whose extent is asked in another CRS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A plane and where it lies."""

    uri: str
    """The image, for messages."""
    shape_px: tuple[int, int]
    """(height, width) of the plane, px."""
    pixel_size: PixelSize
    """On the ground or on glass."""
    transform: Affine | None
    """Pixel edges (x, y) of the plane to CRS coordinates; None where there is no CRS."""
    crs: str | None
    """As WKT."""

    @property
    def extent(self) -> str:
        """For messages: the box in its own CRS and in degrees, or its size where there is no CRS."""
        if self.crs is None:
            return f"{self.shape_px[0]:,} x {self.shape_px[1]:,} px of {self.pixel_size.text}"
        x0, y0, x1, y1 = self._box(None)
        west, south, east, north = self._box("OGC:CRS84")
        name = CRS.from_user_input(self.crs).name
        return (
            f"x {x0:.10g} to {x1:.10g}, y {y0:.10g} to {y1:.10g} in {name} "
            f"(longitude {west:.5f} to {east:.5f}, latitude {south:.5f} to {north:.5f})"
        )

    def _box(self, crs: str | None) -> tuple[float, float, float, float]:
        """(x low, y low, x high, y high) of the edge, in another CRS when one is given; NaN where it has no place there."""
        assert self.transform is not None
        height, width = self.shape_px
        along = np.linspace(0, 1, EDGE_POINTS)
        far = np.ones(EDGE_POINTS)
        cols = np.concatenate([along, along, 0 * far, far]) * width
        rows = np.concatenate([0 * far, far, along, along]) * height
        x, y = _apply(self.transform, cols, rows)
        if crs is not None:
            x, y = Transformer.from_crs(self.crs, crs, always_xy=True).transform(x, y)
        x, y = np.where(np.isfinite(x), x, np.nan), np.where(np.isfinite(y), y, np.nan)
        return float(np.nanmin(x)), float(np.nanmin(y)), float(np.nanmax(x)), float(np.nanmax(y))


def place(info: ImageInfo, plane: Plane) -> Placement:
    """Where a plane of an image lies."""
    scale_y, scale_x = plane.scale
    return Placement(
        uri=info.uri,
        shape_px=plane.shape_px,
        pixel_size=info.pixel_size.times(plane.scale),
        transform=None if info.transform is None else info.transform @ Affine.scale(scale_x, scale_y),
        crs=info.crs,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Match:
    """Which pixel of another grid lies under the centre of each pixel of this one: its nearest neighbour."""

    shift_px: tuple[int, int] | None
    """(rows, columns) to add where pixels correspond one to one; None where the other grid is resampled."""
    accuracy_m: float | None
    """What PROJ says of the change of CRS; None without one, or when PROJ does not know."""
    find: Callable[[Floats, Floats], tuple[Floats, Floats]]
    """Centres (rows, columns; px) here -> places there; not finite where there is none."""

    def indices(self, window: Window) -> Indices:
        """window: of this grid. A centre that falls on an edge belongs to the pixel behind it."""
        rows, cols = np.arange(window.y, window.y_stop)[:, None], np.arange(window.x, window.x_stop)[None, :]
        if self.shift_px is not None:
            return rows + self.shift_px[0], cols + self.shift_px[1]
        there = self.find(rows.astype(np.float64) + 0.5, cols.astype(np.float64) + 0.5)
        y, x = (np.floor(np.where(np.isfinite(at), at, -1) + TIE).clip(-1, 2**62).astype(np.intp) for at in there)
        return y, x


def match(grid: Placement, other: Placement) -> Match:
    """How to look up `other` from `grid`.

    Raises BadInput where the two share no system: a slide and a map, or slides of another shape or pixel size.
    """
    if grid.crs is None or other.crs is None or grid.transform is None or other.transform is None:
        require_one_frame(grid, other)
        return Match(shift_px=(0, 0), accuracy_m=None, find=_same)
    here, there = CRS.from_user_input(grid.crs), CRS.from_user_input(other.crs)
    if not here.equals(there, ignore_axis_order=True):
        transformer = Transformer.from_crs(here, there, always_xy=True)
        accuracy = transformer.accuracy
        find = _through(grid.transform, transformer, other, _turn(there))
        return Match(shift_px=None, accuracy_m=accuracy if accuracy >= 0 else None, find=find)
    affine = ~other.transform @ _turned(grid, other, _turn(there))
    return Match(
        shift_px=_shift(affine, grid.shape_px),
        accuracy_m=None,
        find=lambda rows, cols: _apply(affine, cols, rows)[::-1],
    )


def require_one_frame(grid: Placement, other: Placement) -> None:
    """Raise BadInput unless two images without CRS have the same shape and pixel size, to a millionth."""
    sizes = [(each.pixel_size.y, each.pixel_size.x) for each in (grid, other)]
    alike = grid.pixel_size.unit == other.pixel_size.unit and np.allclose(sizes[0], sizes[1], rtol=1e-6, atol=0)
    if grid.crs is None and other.crs is None and grid.shape_px == other.shape_px and alike:
        return
    raise BadInput(
        f"{grid.uri} and {other.uri} cannot be laid on one another: {_frame(grid)} against {_frame(other)}. Without a "
        "coordinate system only images of the same shape and pixel size are compared; register them first."
    )


def _frame(place: Placement) -> str:
    named = "no CRS" if place.crs is None else CRS.from_user_input(place.crs).name
    return f"{place.shape_px[0]:,} x {place.shape_px[1]:,} px of {place.pixel_size.text} ({named})"


def _same(rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
    return rows, cols


def _apply(affine: Affine, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """(x, y); an axis that does not depend on the other keeps its shape."""
    x = cols * affine.a + affine.c + (rows * affine.b if affine.b else 0)
    y = rows * affine.e + affine.f + (cols * affine.d if affine.d else 0)
    return x, y


def _through(
    transform: Affine, transformer: Transformer, other: Placement, turn: float
) -> Callable[[Floats, Floats], tuple[Floats, Floats]]:
    assert other.transform is not None
    inverse, middle = ~other.transform, _middle(other)

    def find(rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
        x, y = np.broadcast_arrays(*_apply(transform, cols, rows))
        x, y = transformer.transform(x, y)
        x, y = np.where(np.isfinite(x), x, np.nan), np.where(np.isfinite(y), y, np.nan)
        if turn:
            x = middle + np.mod(x - middle + turn / 2, turn) - turn / 2
        return _apply(inverse, x, y)[::-1]

    return partial(few, find)


def _turn(crs: CRS) -> float:
    """A whole turn of longitude in the CRS's unit; 0 where x is no longitude."""
    return 2 * math.pi / float(crs.axis_info[0].unit_conversion_factor) if crs.is_geographic else 0.0


def _turned(grid: Placement, other: Placement, turn: float) -> Affine:
    """The transform of `grid` moved by whole turns of longitude to the side of the antimeridian where `other` lies."""
    assert grid.transform is not None
    turns = round((_middle(other) - _middle(grid)) / turn) if turn else 0
    return Affine.translation(turns * turn, 0) @ grid.transform if turns else grid.transform


def _middle(place: Placement) -> float:
    """X of the centre."""
    assert place.transform is not None
    x, _ = place.transform @ (place.shape_px[1] / 2, place.shape_px[0] / 2)
    return float(x)


def _shift(affine: Affine, shape_px: tuple[int, int]) -> tuple[int, int] | None:
    """(rows, columns) when the affine moves every pixel of the grid by whole pixels, to WHOLE of one."""
    height, width = shape_px
    shift = round(affine.f), round(affine.c)
    corners = [(x, y) for x in (0, width) for y in (0, height)]
    moved = [affine @ corner for corner in corners]
    off = max(
        abs(there[i] - here[i] - shift[1 - i]) for here, there in zip(corners, moved, strict=True) for i in (0, 1)
    )
    return shift if off < WHOLE else None
