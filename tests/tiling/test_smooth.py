"""Many pixels from few: as good as asking each, and each is asked where it would not be."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer

from tiling.smooth import TOLERANCE_PX, few


class Asked:
    """A map that counts the pixels it was asked for."""

    def __init__(self, find):
        self.find, self.pixels = find, 0

    def __call__(self, rows, cols):
        y, x = self.find(rows, cols)
        self.pixels += y.size
        return y, x


def grid(height, width, y=0, x=0):
    return np.arange(y, y + height)[:, None] + 0.5, np.arange(x, x + width)[None, :] + 0.5


@pytest.mark.parametrize("shape", [(200, 300), (17, 16), (33, 2), (2, 2), (1, 40), (16, 1)])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632", "EPSG:6933"])
def test_another_crs_is_smooth_enough(shape, crs):
    transformer = Transformer.from_crs("EPSG:32633", crs, always_xy=True)
    px = 1e-4 if crs == "EPSG:4326" else 10.0

    def find(rows, cols):
        x, y = transformer.transform(*np.broadcast_arrays(500_000 + 10 * cols, 5_000_000 - 10 * rows))
        return np.asarray(y) / px, np.asarray(x) / px

    asked = Asked(find)
    rows, cols = grid(*shape, y=1000, x=2000)
    for ours, truth in zip(few(asked, rows, cols), find(rows, cols), strict=True):
        assert ours.shape == shape
        assert np.abs(ours - truth).max() <= TOLERANCE_PX
    if shape == (200, 300):
        assert asked.pixels < 0.02 * 200 * 300


@pytest.mark.parametrize(
    "find",
    [
        lambda rows, cols: (rows + 0 * cols, cols + 3 * (rows > 70.0)),  # a jump, as at the antimeridian
        lambda rows, cols: (rows + 0 * cols, cols + rows**2 / 1000),
        lambda rows, cols: (np.where(rows + cols < 40, np.nan, rows), rows + cols),
    ],
)
def test_what_is_not_smooth_is_asked_pixel_by_pixel(find):
    asked = Asked(find)
    rows, cols = grid(100, 90)
    for ours, truth in zip(few(asked, rows, cols), find(rows, cols), strict=True):
        assert np.array_equal(ours, truth, equal_nan=True)
    assert asked.pixels > 100 * 90
