"""Areas of the pixels of a window as straight lines along its rows: summed by counts and moments, not pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tiling.ellipsoid import Floats

STRIP_PX = 2**15
"""Pixels worked on at once: they stay in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines:
    """Every row is cut into runs of pixels; along a run areas are a mean and a slope, both whole grains.

    So the area of chosen pixels is mean * how many + slope * the sum of their places, and both sums are exact.
    """

    terms: Floats
    """(height or 1, runs, 1 or 2): mean, and slope per half pixel; without slopes each pixel has the mean. m2."""
    run_px: int
    """Pixels in a run."""
    before_px: int
    """Pixels of the first run that lie before the window."""
    shape_px: tuple[int, int]
    """(height, width) of the window."""

    def of(self) -> Floats:
        """Areas, (1, 1), (height, 1) or (height, width). Sums of whole grains: exact, so the same in any window."""
        if self.terms.shape[2] == 1:
            return self.terms[:, :, 0]
        areas = self.terms[..., 1:] * places(self.run_px)[:, 1].astype(np.float64)
        areas += self.terms[..., :1]
        return areas.reshape(len(areas), -1)[:, self._inside]

    def whole(self) -> Floats:
        """(height,) sums of all pixels of each row."""
        return np.broadcast_to(self._weighed(self._moments(np.ones((1, self.shape_px[1]), bool))), self.shape_px[0])

    def sums(self, chosen: NDArray[np.bool_]) -> Floats:
        """(height,) or (1,) sums of the chosen pixels of each row, exact for 2^20 px. chosen: (height, width)."""
        if self.terms.size == 1:
            return np.array([self.terms.item() * np.count_nonzero(chosen)])
        if self.run_px == 1:
            return np.asarray(np.einsum("yx,yx->y", chosen, self.terms[..., 0]))
        return self._weighed(self._moments(chosen))

    def _weighed(self, moments: NDArray[np.float32]) -> Floats:
        return np.asarray(np.einsum("ynk,ynk->y", moments, self.terms))

    def _moments(self, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(rows, runs, 1 or 2): how many of a run are chosen, and the sum of their places.

        Whole numbers below 2^24: exact in float32, however BLAS adds them up.
        """
        runs, sums = self.terms.shape[1:]
        found = np.empty((len(chosen) * runs, sums), np.float32)
        step = min(len(chosen), max(1, STRIP_PX // (runs * self.run_px)))
        strip = np.zeros((step, runs * self.run_px), np.float32)
        for y in range(0, len(chosen), step):
            some = chosen[y : y + step]
            strip[: len(some), self._inside] = some
            part = found[y * runs : (y + step) * runs]
            np.matmul(strip.reshape(-1, self.run_px)[: len(part)], places(self.run_px)[:, :sums], out=part)
        return found.reshape(len(chosen), runs, sums)

    @property
    def _inside(self) -> slice:
        return slice(self.before_px, self.before_px + self.shape_px[1])


@lru_cache(maxsize=64)
def places(run_px: int) -> NDArray[np.float32]:
    """(run_px, 2): one, and the distance from the middle of the run in half pixels."""
    return np.stack([np.ones(run_px, np.float32), np.arange(1 - run_px, run_px, 2, dtype=np.float32)], -1)


def row_lines(areas: Floats, shape_px: tuple[int, int]) -> Lines:
    """Pixels alike along rows. areas: (height or 1, 1)."""
    return Lines(terms=areas[:, :, None], run_px=shape_px[1], before_px=0, shape_px=shape_px)


def plane_lines(areas: Floats) -> Lines:
    """Runs of one pixel. areas: (height, width)."""
    return Lines(terms=areas[:, :, None], run_px=1, before_px=0, shape_px=(areas.shape[0], areas.shape[1]))
