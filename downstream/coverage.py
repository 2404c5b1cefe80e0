"""The share of every pixel that lies within a polygon, exact to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.grid import Tile, TileGrid
from tiling.window import Window

Edges = NDArray[np.float64]
"""(n, 5): x0, y0, x1, y1 in px with y0 < y1, and +1 where the ring runs up the rows there, -1 where it runs down."""

ROUNDING = 1e-10
"""Share of a pixel below which a difference from 0 or 1 is taken for rounding."""

LEVEL_PX = 1e-12
"""An edge that rises by less is level."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """The borders of polygons on a plane of pixels."""

    edges: Edges
    """All that are not level: a level edge holds no area to its right."""

    def within(self, y: float, y_stop: float, x_stop: float) -> Outline:
        """What can matter to pixels in rows [y, y_stop) left of x_stop; far cheaper to ask again than the whole."""
        e = self.edges
        near = (e[:, 3] > y) & (e[:, 1] < y_stop) & (np.minimum(e[:, 0], e[:, 2]) < x_stop)
        return Outline(edges=e[near])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """A tile that holds some of a polygon."""

    tile: Tile
    """Which one."""
    share: NDArray[np.float64] | None
    """(h, w) of its core, in [0, 1]; None where the polygon holds all of it."""


def outline_of(shape: Any, scale: tuple[float, float] = (1.0, 1.0)) -> Outline:
    """The borders of a valid Polygon or MultiPolygon.

    shape: (x, y) in px of the image; scale: image px per px of the outline's plane, (y, x).
    Every edge is held the same way round whichever polygon it is of, so that the two sides of a shared border round
    alike and their shares sum to one.
    """
    import shapely

    rings = shapely.get_rings(shapely.get_parts(shapely.orient_polygons(shape, exterior_cw=False)))
    ends, of = shapely.get_coordinates(rings, return_index=True)
    ends = ends / (scale[1], scale[0])
    pairs = np.hstack([ends[:-1], ends[1:]])[of[1:] == of[:-1]]
    pairs = pairs[np.abs(pairs[:, 1] - pairs[:, 3]) > LEVEL_PX]
    down = pairs[:, 1] > pairs[:, 3]
    pairs[down] = pairs[down][:, [2, 3, 0, 1]]
    # counterclockwise in (x, y): what is inside lies to the right of an edge of falling y
    return Outline(edges=np.column_stack([pairs, np.where(down, 1.0, -1.0)]))


def pixel_shares(outline: Outline, window: Window) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """((h, w) share of every pixel of the window within the polygons, (h, w) True where a border runs).

    Green's theorem, edge by edge: what an edge adds to its own pixel is the trapezoid to its right, and to all pixels
    right of that the rows it spans, which a sum along the row carries on. That is how FreeType and font-rs (Levien
    2016) draw letters. Pixels without a border are exactly 0 or 1; the others are right to about 1e-12.
    """
    height, width = window.shape_px
    summed, border = np.zeros((height, width + 1)), np.zeros((height, width), bool)
    row, x, rise = _pieces(outline, window)
    col = np.clip(np.floor(x), 0, width - 1).astype(np.intp)
    np.add.at(summed, (row, col), rise * (col + 1 - x))
    np.add.at(summed, (row, col + 1), rise * (x - col))
    border[row[x > 0], col[x > 0]] = True
    shares = np.clip(np.cumsum(summed[:, :width], axis=1), 0, 1)
    border |= np.abs(shares - np.rint(shares)) > ROUNDING  # level edges leave no other trace
    return np.where(border, shares, np.rint(shares)), border


def _pieces(outline: Outline, window: Window) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """(row, mean x, signed height) of the edges cut at every pixel's border, px of the window.

    What lies left of the window stands on its left border, for it has the whole window to its right.
    """
    e = outline.within(window.y, window.y_stop, window.x_stop).edges
    start, stop = _clipped(e, window)
    kept = stop > start
    e, start, stop = e[kept], start[kept], stop[kept]
    t, of = _cuts(e, start, stop, window)
    same = of[1:] == of[:-1]
    t0, t1, of = t[:-1][same], t[1:][same], of[1:][same]
    x = _at(e[of, 0], e[of, 2], (t0 + t1) / 2) - window.x
    y0, y1 = _at(e[of, 1], e[of, 3], t0) - window.y, _at(e[of, 1], e[of, 3], t1) - window.y
    row = np.clip(np.floor((y0 + y1) / 2), 0, window.height - 1).astype(np.intp)
    seen = x < window.width
    return row[seen], np.maximum(x, 0.0)[seen], ((y1 - y0) * e[of, 4])[seen]


def _clipped(e: Edges, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far along each edge, in [0, 1], the window's rows begin and end."""
    rise = e[:, 3] - e[:, 1]
    return np.clip((window.y - e[:, 1]) / rise, 0, 1), np.clip((window.y_stop - e[:, 1]) / rise, 0, 1)


def _cuts(
    e: Edges, start: NDArray[np.float64], stop: NDArray[np.float64], window: Window
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """(place along its edge in [0, 1], which edge) of every cut between two pixels, sorted by edge and place."""
    ends = np.arange(len(e))
    places, of = [start, stop], [ends, ends]
    for axis, low, high in ((1, window.y, window.y_stop), (0, window.x, window.x_stop)):
        a, b = e[:, axis], e[:, axis + 2]
        first, last = (np.clip(_at(a, b, t), low, high) for t in (start, stop))
        lowest, highest = np.floor(np.minimum(first, last)), np.ceil(np.maximum(first, last))
        counts = (highest - lowest + 1).astype(np.intp)
        edge = np.repeat(ends, counts)
        lines = lowest[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        run = (b - a)[edge]
        upright = run == 0
        t = (lines - a[edge]) / np.where(upright, 1.0, run)
        inside = ~upright & (t > start[edge]) & (t < stop[edge])
        places.append(t[inside])
        of.append(edge[inside])
    t, which = np.concatenate(places), np.concatenate(of)
    order = np.lexsort((t, which))
    return t[order], which[order]


def _at(a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    return a + t * (b - a)


def window_shares(outline: Outline, window: Window) -> NDArray[np.float64]:
    """Share of every pixel of a window: (1, 1) of 0 or 1 where no border runs through it, else (h, w)."""
    near = outline.within(window.y, window.y_stop, window.x_stop)
    corner, side = np.array([window.x, window.y] * 2), np.array([window.width, window.height] * 2)
    as_one = Outline(edges=np.column_stack([(near.edges[:, :4] - corner) / side, near.edges[:, 4]]))
    share, border = pixel_shares(as_one, Window(y=0, x=0, height=1, width=1))
    return pixel_shares(near, window)[0] if border.any() else share


def tile_shares(outline: Outline, grid: TileGrid) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """((rows, columns) share of every tile's full square, (rows, columns) True where a border runs)."""
    rows, cols = grid.shape_tiles
    coarse = Outline(edges=outline.edges / (*[grid.tile_px] * 4, 1.0))
    return pixel_shares(coarse, Window(y=0, x=0, height=rows, width=cols))


def parts_of(outline: Outline, grid: TileGrid) -> Iterator[Part]:
    """The tiles of a grid that hold some of the polygons, in grid order; pixels are looked at where a border runs."""
    shares, border = tile_shares(outline, grid)
    for row in np.flatnonzero((shares > 0).any(1) | border.any(1)).tolist():
        near = outline.within(row * grid.tile_px, (row + 1) * grid.tile_px, np.inf)
        for col in np.flatnonzero((shares[row] > 0) | border[row]).tolist():
            tile = grid.tile(row, col)
            share = pixel_shares(near, tile.core)[0] if border[row, col] else None
            if share is None or (share > 0).any():
                yield Part(tile=tile, share=None if share is None or (share == 1).all() else share)
