"""Areas of the pixels of one cell of an image: a cubic, or one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tiling.ellipsoid import Floats
from tiling.line_area import Lines, plane_lines, row_lines
from tiling.window import Window

STRIP_PX = 2**14
"""Pixels worked on at once: they stay in the cache."""
STRAIGHT = 2e-8
"""Relative error of a straight line where it is largest, at the ends of its run; over the run as a whole it is none."""
RUNS_PX = (8, 128)
"""Shortest run that pays, and longest: there a slope in whole grains is wrong by 1.5e-8 of a pixel, at most. A run is
also an eighth of its cell or less, so that the last one, which the cell cuts, does not count."""
FEW = 2**9
"""Runs up to which a total is the sum of all of them; more are summed by powers, to 1e-9."""
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
    run_px: int
    """Pixels of a run along which the area is as good as straight; 1 where there are none."""
    along: Floats
    """(j, k, 2, 1), see `along_runs`; of cubics (4, 4) only."""

    def lines(self, part: Window) -> Lines:
        """Areas in a part of the cell. Runs are those of the cell, so that a pixel gets the same bits in any part.

        Element by element and rounded at the end, for the same reason.
        """
        v = _places(part.y - self.cell.y, part.height, self.cell.height)
        if self.terms.shape[1] == 1:
            rows = _horner(self.terms[:, None], v[:, None])
            return row_lines(_to_grains(np.array(rows), self.grain), part.shape_px)
        run_px, x = self.run_px, part.x - self.cell.x
        if run_px == 1:
            return plane_lines(self._plane(part))
        first, last = x // run_px, (x + part.width - 1) // run_px
        middle = _places(first, last + 1 - first, self.cell.width / run_px)
        rows = _horner(self.along, v)
        terms = np.ascontiguousarray(_to_grains(_horner(rows[:, :, None], middle[:, None]), self.grain).T)
        return Lines(terms=terms, run_px=run_px, before_px=x % run_px, shape_px=part.shape_px)

    def _plane(self, part: Window) -> Floats:
        """(height, width): the cubic itself."""
        v, u = self._local(part)
        rows = _horner(self.terms[..., None], v).T
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
        """Sum over a part of the cell."""
        if self.terms.shape[1] == 1 or part.height * part.width <= FEW * self.run_px:
            return math.fsum(self.lines(part).whole())
        down = power_sums(part.y - self.cell.y, part.height, self.cell.height)
        along = power_sums(part.x - self.cell.x, part.width, self.cell.width)
        rows = zip(down, self.terms.tolist(), strict=True)
        return math.fsum(term * y * x for y, row in rows for x, term in zip(along, row, strict=True))

    def most(self) -> float:
        """An upper bound of all pixels of the cell."""
        if self.terms.size == 1:
            return float(self.terms.item())
        return float(np.abs(self.terms).sum()) * (1 + STRAIGHT) + self.grain * (1 + RUNS_PX[1])

    def _local(self, part: Window) -> tuple[Floats, Floats]:
        cell = self.cell
        v = _places(part.y - cell.y, part.height, cell.height)
        return v, _places(part.x - cell.x, part.width, cell.width)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Each:
    """A small cell whose pixels were sampled one by one: an edge of the map runs through it."""

    cell: Window
    """Where it holds, px."""
    areas: Floats
    """(height, width), m2."""

    def lines(self, part: Window) -> Lines:
        """Areas in a part of the cell."""
        y, x = part.y - self.cell.y, part.x - self.cell.x
        return plane_lines(self.areas[y : y + part.height, x : x + part.width])

    def total(self, part: Window) -> float:
        """Sum over a part of the cell."""
        return math.fsum(self.lines(part).whole())

    def most(self) -> float:
        """The largest of the cell."""
        return float(self.areas.max())


def cubic(cell: Window, terms: Floats, grain: float) -> Cubic:
    """See Cubic."""
    run_px = straight_px(terms, cell.width)
    return Cubic(cell=cell, terms=terms, grain=grain, run_px=run_px, along=along_runs(terms, run_px, cell.width))


def cubic_through(values: Floats) -> tuple[Floats, float]:
    """Values at PLACES -> (terms (4, 4), largest relative error at the checks)."""
    terms = TO_CUBIC @ values[:16].reshape(4, 4) @ TO_CUBIC.T
    powers = CHECKS[:, :, None] ** np.arange(4)
    guess = np.einsum("nj,jk,nk->n", powers[:, 0], terms, powers[:, 1])
    largest = np.abs(values).max()
    return terms, float(np.abs(guess - values[16:]).max() / largest) if largest > 0 else 0.0


def power_sums(start_px: int, count: int, side_px: int) -> tuple[float, float, float, float]:
    """Sums of the powers 0 to 3 of the places, in [-1, 1], of `count` pixels in a row (Faulhaber, from their middle)."""
    middle = (2 * start_px + count) / side_px - 1
    spread = count * (count**2 - 1) / (3 * side_px**2)
    return count, count * middle, count * middle**2 + spread, count * middle**3 + 3 * middle * spread


def over_pixels(terms: Floats, cell: Window) -> Floats:
    """The cubic whose value at a pixel's centre is the mean of `terms` over the pixel, exactly."""
    down = _over(terms.T, 1 / (3 * cell.height**2)).T
    return _over(down, 1 / (3 * cell.width**2))


def straight_px(terms: Floats, width: int) -> int:
    """Pixels along which the area is as good as straight, a power of two; 1 where they are too few to pay.

    width: of the cell, px.
    """
    if terms.shape[1] == 1:
        return 1
    second, third = np.abs(terms[:, 2:]).sum(0).tolist()
    bend, most = 2 * second + 9 * third, 3 * STRAIGHT * abs(float(terms[0, 0]))
    shortest, longest = RUNS_PX
    straight = width * math.sqrt(most / bend) if bend > 0 else math.inf
    run_px = 2 ** int(math.log2(max(1.0, min(straight, longest, width / 8))))
    return run_px if run_px >= shortest else 1


def along_runs(terms: Floats, run_px: int, width: int) -> Floats:
    """(j, k, 2, 1): the cubics of the mean over a run and of the slope per half pixel, by the middle of the run.

    width: of the cell, px.
    """
    slopes = np.zeros_like(terms)
    slopes[:, :-1] = terms[:, 1:] * np.arange(1, terms.shape[1]) / width
    means = _over(terms, (run_px**2 - 1) / (3 * width**2)) if run_px > 1 else terms
    return np.stack([means, slopes], -1)[..., None]


def _over(terms: Floats, variance: float) -> Floats:
    """The cubic in u of the mean around u. variance: of the places around it."""
    mean = np.array(terms, np.float64)
    mean[:, 0] += terms[:, 2] * variance
    mean[:, 1] += terms[:, 3] * 3 * variance
    return mean


def _places(first: int, count: int, whole: float) -> Floats:
    """(count,) middles of the pieces from `first` on, of a side of `whole` pieces that goes from -1 to 1."""
    return (np.arange(first + 0.5, first + count) * (2 / whole)) - 1


def _horner(terms: Floats, at: Floats) -> Floats:
    """Of polynomials. terms: (power, …) and `at` broadcastable to one of them."""
    value = np.asarray(terms[-1])
    for term in terms[-2::-1]:
        value = value * at + term
    return value


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
