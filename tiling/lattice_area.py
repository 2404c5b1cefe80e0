"""Areas of pixels that differ from pixel to pixel, from few samples: cubics on cells fixed to the image, each checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from tiling.cubic_area import PLACES, Cubic, Each, cubic, cubic_through, over_pixels, plain
from tiling.ellipsoid import Floats
from tiling.line_area import Lines, plane_lines
from tiling.map_scale import Density
from tiling.window import Window

TOLERANCE = 1e-9
"""Relative error of a cubic at its check points, above which its cell is cut."""
NOISE, NOISE_M = 1e-7, 2000.0
"""Error that is taken, and side of the cell below which it is: there it is the noise of PROJ, not the projection."""
WIDEST_M = 6e6
"""Side of the largest cell, m: 24 points do not speak for half the Earth."""
VOID_M = 2.5e5
"""Side of the largest cell that may be called off the Earth, m, because none of its samples is on it."""
EXACT_PX = 16
"""Side of a cell that is not cut again, px: its pixels are sampled one by one."""
BITS = 32
"""Areas are multiples of 2^-32 of the pixel's size on the map: sums of 2^20 of them are exact in any order."""
STEEP = 100
"""A cell is cut along one side only where the cubic bends this many times less along the other."""
POINT_M = 1e4
"""A pixel sampled alone has the area at its centre up to this side, m (error 1e-7); a larger one takes four samples."""
GAUSS = np.array([(y, x) for y in (-1, 1) for x in (-1, 1)]) / math.sqrt(12)
"""Two by two Gauss points of a pixel, px from its centre."""
MANY = 16
"""Parts of a window above which they are joined pixel by pixel before anything is summed."""

Parts = list[tuple[Window, Lines]]
"""What lies in which part of a window, px from its corner."""


class LatticeAreas:
    """Pixels of a projected CRS, or of rotated degrees, on the ellipsoid.

    The image is cut into cells, in halves, until a cubic through 4 x 4 samples of a cell meets its checks to 1e-9. The
    cells are fixed to the image, so the area of a pixel is the same bits whatever window is asked for.
    """

    unit: Literal["m2", "um2"] = "m2"
    method: Literal["ellipsoidal"] = "ellipsoidal"

    def __init__(self, shape_px: tuple[int, int], transform: Affine, density: Density, unit_m: float) -> None:
        """shape_px: of the plane. transform: its pixel edges (x, y) to the CRS. unit_m: metres in a unit of the CRS."""
        self._image = Window(y=0, x=0, height=shape_px[0], width=shape_px[1])
        self._transform, self._density = transform, density
        t = transform
        self._pixel_m = (math.hypot(t.b, t.e) * unit_m, math.hypot(t.a, t.d) * unit_m)
        self._size = abs(t.determinant)
        self._grain = 2.0 ** (math.floor(math.log2(self._size * unit_m**2)) - BITS)
        self._pieces: dict[Window, Cubic | Each | list[Window]] = {}
        self._last: tuple[Window, Parts] | None = None

    def of(self, window: Window) -> Floats:
        """(1, 1), (height, 1) or (height, width). Pixels off the map, and outside the image, have no area."""
        areas = joined(self._lines(window), window)
        areas.flags.writeable = False  # it may be a view of what is kept
        return areas

    def sum(self, window: Window, chosen: NDArray[np.bool_]) -> float:
        """See PixelAreas."""
        every = bool(chosen.all())
        parts = self._lines(window)
        sums = (lines.whole() if every else lines.sums(chosen[part.slices]) for part, lines in parts)
        return math.fsum(chain.from_iterable(some.tolist() for some in sums))

    def _lines(self, window: Window) -> Parts:
        last = self._last  # classes and valid pixels of a tile are counted one after the other
        if last is None or last[0] != window:
            self._last = last = window, self._fresh(window)
        return last[1]

    def _fresh(self, window: Window) -> Parts:
        parts = [(part.relative_to(window), piece.lines(part)) for piece, part in self._parts(window)]
        if len(parts) <= MANY:
            return parts
        return [(window.relative_to(window), plane_lines(joined(parts, window)))]

    def total(self, window: Window) -> float:
        """Sum over a window, without looking at its pixels."""
        return math.fsum(piece.total(part) for piece, part in self._parts(window))

    def most(self, window: Window) -> float:
        """An area that no pixel of the window exceeds: the largest, or little more."""
        return max((piece.most() for piece, _ in self._parts(window)), default=0.0)

    def _parts(self, window: Window) -> Iterator[tuple[Cubic | Each, Window]]:
        """The pieces under a window, each with the part of the window that it covers."""
        waiting = [[self._image]]
        while waiting:
            cells = waiting.pop()
            under = [(cell, part) for cell in cells if (part := cell.intersection(window)) is not None]
            if under and under[0][0] not in self._pieces:
                self._pieces |= self._found(cells)
            for cell, part in under:
                piece = self._pieces[cell]
                if isinstance(piece, list):
                    waiting.append(piece)
                else:
                    yield piece, part

    def _found(self, cells: list[Window]) -> dict[Window, Cubic | Each | list[Window]]:
        """What holds in the parts of a cell, or the cells they are cut into.

        All parts are sampled at once, whichever are asked for: few calls of PROJ, and the same bits in any order.
        """
        wide = {cell: self._cut_if_wide(cell) for cell in cells}
        fit = [cell for cell in cells if not wide[cell]]
        if not fit:
            return dict(wide)
        places = [(cell.y, cell.x) + np.array(cell.shape_px) / 2 * (1 + PLACES) for cell in fit]
        pieces = dict(zip(fit, map(self._piece, fit, self._sample(np.stack(places))), strict=True))
        alone = [cell for cell, piece in pieces.items() if piece is None]
        each = dict(zip(alone, self._each(alone), strict=True)) if alone else {}
        return wide | {cell: piece or each[cell] for cell, piece in pieces.items()}

    def _cut_if_wide(self, cell: Window) -> list[Window]:
        """The parts of a cell that is too large to be sampled; none of any other."""
        wide = [side > WIDEST_M for side in self._sides_m(cell)]
        return halves(cell, *wide) if any(wide) and max(cell.shape_px) > EXACT_PX else []

    def _sides_m(self, cell: Window) -> tuple[float, float]:
        return cell.height * self._pixel_m[0], cell.width * self._pixel_m[1]

    def _piece(self, cell: Window, values: Floats) -> Cubic | list[Window] | None:
        """What holds in a cell, or the cells it is cut into; None where its pixels are to be sampled one by one."""
        sides = self._sides_m(cell)
        side_m, small = max(sides), max(cell.shape_px) <= EXACT_PX
        on_map = np.isfinite(values)
        if on_map.all():
            terms, error = cubic_through(values)
            if error <= (TOLERANCE if side_m > NOISE_M else NOISE):
                return cubic(cell, plain(over_pixels(terms, cell), self._grain), self._grain)
            down, along = (np.abs(last).max() for last in (terms[3], terms[:, 3]))
            return None if small else halves(cell, down * STEEP > along, along * STEEP > down)
        if side_m <= VOID_M and not on_map.any():
            return cubic(cell, np.zeros((1, 1)), self._grain)
        return None if small else halves(cell, True, True)

    def _each(self, cells: list[Window]) -> list[Each]:
        places = [np.mgrid[c.y : c.y_stop, c.x : c.x_stop].reshape(2, -1).T + 0.5 for c in cells]
        offsets = GAUSS if max(self._pixel_m) > POINT_M else np.zeros((1, 2))
        sampled = [np.nan_to_num(self._sample(np.concatenate(places) + offset)) for offset in offsets]
        areas = np.rint(np.mean(sampled, axis=0) / self._grain) * self._grain
        each = np.split(areas, np.cumsum([len(some) for some in places])[:-1])
        return [Each(cell=c, areas=some.reshape(c.shape_px)) for c, some in zip(cells, each, strict=True)]

    def _sample(self, places: Floats) -> Floats:
        """m2 per pixel at places (…, 2) (y, x), px. NaN off the map."""
        y, x, t = places[..., 0], places[..., 1], self._transform
        return self._size * self._density(t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f)


def joined(parts: Parts, window: Window) -> Floats:
    """Areas of a window's pixels, 0 where none of its parts is."""
    if len(parts) == 1 and parts[0][0].shape_px == window.shape_px:
        return parts[0][1].of()
    areas = np.zeros(window.shape_px)
    for part, lines in parts:
        areas[part.slices] = lines.of()
    return areas


def halves(cell: Window, down: bool, along: bool) -> list[Window]:
    """The cell cut in two down its rows, along them, or both ways; a side of 1 px cannot be, so then the other is."""
    down, along = (down or cell.width == 1) and cell.height > 1, (along or cell.height == 1) and cell.width > 1
    middle_y, middle_x = cell.y + cell.height // 2, cell.x + cell.width // 2
    ys = [cell.y, *([middle_y] if down else []), cell.y_stop]
    xs = [cell.x, *([middle_x] if along else []), cell.x_stop]
    return [
        Window(y=y, x=x, height=y_stop - y, width=x_stop - x)
        for y, y_stop in pairwise(ys)
        for x, x_stop in pairwise(xs)
    ]
