"""Counting areas, the same bits in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiling.pixel_area import PixelAreas
from tiling.window import Window

AreaUnit = Literal["m2", "um2"]
PER_UNIT = {"m2": 1.0, "ha": 1e4, "km2": 1e6, "um2": 1.0, "mm2": 1e6}
"""Base units (m2 or um2) in one unit of a recipe's `area.unit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaCount:
    """Pixels of one class and their area; sums are exact, so any order gives the same total."""

    pixels: int
    """Number of pixels."""
    exact: Fraction
    """Area as an exact sum of the floats that went in, in `unit`."""
    unit: AreaUnit
    """m2 or um2."""

    @classmethod
    def of(cls, pixels: int, area: float, unit: AreaUnit) -> AreaCount:
        """One term of a sum."""
        return cls(pixels=pixels, exact=Fraction(area), unit=unit)

    @classmethod
    def zero(cls, unit: AreaUnit) -> AreaCount:
        """Nothing."""
        return cls(pixels=0, exact=Fraction(0), unit=unit)

    def __add__(self, other: AreaCount) -> AreaCount:
        if self.unit != other.unit:
            raise ValueError(f"cannot add {self.unit} and {other.unit}")
        return AreaCount(pixels=self.pixels + other.pixels, exact=self.exact + other.exact, unit=self.unit)

    @property
    def area(self) -> float:
        """The area, rounded once."""
        return float(self.exact)


def sum_counts(counts: Iterable[AreaCount], unit: AreaUnit) -> AreaCount:
    """The total; zero for none."""
    return sum(counts, AreaCount.zero(unit))


def count_classes(labels: NDArray[np.uint8], classes: int, areas: PixelAreas, core: Window) -> tuple[AreaCount, ...]:
    """One count per class of a cropped mask. labels: (h, w) of `core`, 0 = background, 1 … classes."""
    return tuple(count_pixels(labels == label, areas, core) for label in range(1, classes + 1))


def count_pixels(chosen: NDArray[np.bool_], areas: PixelAreas, core: Window) -> AreaCount:
    """Pixels chosen in `core` (h, w) and their area."""
    pixels = int(np.count_nonzero(chosen))
    return AreaCount.of(pixels, areas.sum(core, chosen), areas.unit) if pixels else AreaCount.zero(areas.unit)
