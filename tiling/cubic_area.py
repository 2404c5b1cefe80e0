"""Areas of the pixels of one cell of an image: a cubic, or one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tiling.ellipsoid import Floats
from tiling.window import Window

STRIP_PX = 2**14
"""Pixels worked on at once: they stay in the cache."""
KNOTS = np.cos(np.pi * (np.arange(4) + 0.5) / 4)
"""Chebyshev's on [-1, 1], through which a cubic's largest error is least."""
TO_CUBIC = np.linalg.inv(np.vander(KNOTS, increasing=True))
CHECKS = np.array([(0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0.7, 0), (0, 0.7), (-0.7, 0.7)])
"""Places (y, x) in a cell at which that error is largest, or nearly so."""
PLACES = np.concatenate([np.stack(np.meshgrid(KNOTS, KNOTS, indexing="ij"), -1).reshape(-1, 2), CHECKS])
"""Where a cell is sampled: 16 knots, then the checks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cubic:
    """Area of every pixel of one cell."""

    cell: Window
    """Where it holds, px."""
    terms: Floats
    """(j, k): factor of v^j u^k with v, u the pixel's centre in the cell, in [-1, 1]. (4, 4), (4, 1) where the area is
    the same along rows, (1, 1) where it is the same all over."""
    grain: float
    """Areas are whole multiples of this power of two, m2."""

    def of(self, part: Window) -> Floats:
        """Areas in a part of the cell: (1, 1), (height, 1) or (height, width).

        Element by element and rounded at the end, so that a pixel gets the same bits in any part.
        """
        v, u = self._local(part)
        rows = np.broadcast_to(self.terms[-1], (len(v) if len(self.terms) > 1 else 1, self.terms.shape[1])).copy()
        for term in self.terms[-2::-1]:
            rows *= v[:, None]
            rows += term
        if self.terms.shape[1] == 1:
            return _to_grains(rows, self.grain)
        areas = np.empty(part.shape_px)
        step = max(1, STRIP_PX // part.width)
        for y in range(0, part.height, step):
            strip, some = areas[y : y + step], rows[y : y + step]
            np.multiply(some[:, 3:], u, out=strip)
            for k in (2, 1):
                strip += some[:, k : k + 1]
                strip *= u
            strip += some[:, :1]
            _to_grains(strip, self.grain)
        return areas

    def total(self, part: Window) -> float:
        """Sum over a part of the cell, from sums of powers."""
        down, along = (
            [float((place**n).sum()) for n in range(count)]
            for place, count in zip(self._local(part), self.terms.shape, strict=True)
        )
        return math.fsum(float(term) * down[j] * along[k] for (j, k), term in np.ndenumerate(self.terms))

    def most(self) -> float:
        """An upper bound of all pixels of the cell."""
        return float(np.abs(self.terms).sum()) + self.grain * (self.terms.size > 1)

    def _local(self, part: Window) -> tuple[Floats, Floats]:
        cell = self.cell
        v = (np.arange(part.y - cell.y, part.y_stop - cell.y) + 0.5) * (2 / cell.height) - 1
        u = (np.arange(part.x - cell.x, part.x_stop - cell.x) + 0.5) * (2 / cell.width) - 1
        return np.asarray(v, np.float64), np.asarray(u, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Each:
    """A small cell whose pixels were sampled one by one: an edge of the map runs through it."""

    cell: Window
    """Where it holds, px."""
    areas: Floats
    """(height, width), m2."""

    def of(self, part: Window) -> Floats:
        """(height, width) of a part of the cell."""
        y, x = part.y - self.cell.y, part.x - self.cell.x
        return self.areas[y : y + part.height, x : x + part.width].copy()

    def total(self, part: Window) -> float:
        """Sum over a part of the cell."""
        return math.fsum(self.of(part).flat)

    def most(self) -> float:
        """The largest of the cell."""
        return float(self.areas.max())


def cubic_through(values: Floats) -> tuple[Floats, float]:
    """Values at PLACES -> (terms (4, 4), largest relative error at the checks)."""
    terms = TO_CUBIC @ values[:16].reshape(4, 4) @ TO_CUBIC.T
    powers = CHECKS[:, :, None] ** np.arange(4)
    guess = np.einsum("nj,jk,nk->n", powers[:, 0], terms, powers[:, 1])
    largest = np.abs(values).max()
    return terms, float(np.abs(guess - values[16:]).max() / largest) if largest > 0 else 0.0


def over_pixels(terms: Floats, cell: Window) -> Floats:
    """The cubic whose value at a pixel's centre is the mean of `terms` over the pixel, exactly."""
    mean = np.asarray(terms, np.float64).copy()
    for lines, side in ((mean, cell.height), (mean.T, cell.width)):
        lines[0] += lines[2] / (3 * side**2)
        lines[1] += lines[3] / side**2
    return mean


def plain(terms: Floats, grain: float) -> Floats:
    """Without what is less than half a grain: the same along rows, or all over."""
    if np.abs(terms[:, 1:]).sum() > grain / 2:
        return terms
    if np.abs(terms[1:, 0]).sum() > grain / 2:
        return terms[:, :1]
    return _to_grains(terms[:1, :1].copy(), grain)


def _to_grains(areas: Floats, grain: float) -> Floats:
    """Rounded in place: a double of 2^52 grains has no room for less than one."""
    areas += 1.5 * 2**52 * grain
    areas -= 1.5 * 2**52 * grain
    return areas
