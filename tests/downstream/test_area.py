"""Counted areas: right by hand, the same bits in any order."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from downstream.area import PER_UNIT, AreaCount, count_classes, count_pixels, sum_counts
from tiling.grid import TileGrid
from tiling.lattice_area import LatticeAreas
from tiling.map_scale import degree_density, map_density
from tiling.pixel_area import ConstantAreas, ParallelAreas, PixelAreas
from tiling.window import Window

WGS84 = CRS.from_epsg(4326)
LANDS: dict[str, PixelAreas] = {
    "metres": ConstantAreas(100.0, "m2", "planar"),
    "degrees": ParallelAreas(Affine(0.01, 0, 10, 0, -0.01, 60), WGS84),
    "rotated degrees": LatticeAreas(
        (500, 500), Affine(0.01, 0.003, 10, 0.002, -0.01, 60), degree_density(WGS84), 111_320
    ),
    "map": LatticeAreas((500, 500), Affine(900, 0, 7e5, 0, -900, 6e6), map_density(CRS.from_epsg(32633)), 1),
}
floats = st.floats(0, 1e15, allow_subnormal=True)


@given(st.lists(floats, max_size=30), st.randoms(use_true_random=False))
def test_any_order_and_grouping_gives_the_same_bits(areas: list[float], shuffler: random.Random) -> None:
    counts = [AreaCount.of(i, area, "m2") for i, area in enumerate(areas)]
    straight = sum_counts(counts, "m2")
    shuffler.shuffle(counts)
    cut = shuffler.randint(0, len(counts))
    grouped = sum_counts(counts[:cut], "m2") + sum_counts(counts[cut:], "m2")
    assert grouped == straight
    assert straight.area == math.fsum(areas)
    assert straight.pixels == sum(range(len(areas)))


def test_a_sum_that_floats_get_wrong() -> None:
    counts = [AreaCount.of(1, area, "m2") for area in (1e16, 1.0, 1.0, -1e16, *[0.1] * 10)]
    assert sum_counts(counts, "m2").exact == 2 + 10 * Fraction(0.1)
    assert sum(count.area for count in counts) != sum_counts(counts, "m2").area


def test_units_do_not_mix() -> None:
    with pytest.raises(ValueError, match="cannot add m2 and um2"):
        AreaCount.zero("m2") + AreaCount.zero("um2")
    assert sum_counts([], "um2") == AreaCount.zero("um2")


@pytest.mark.parametrize("land", LANDS)
def test_a_mask_is_counted_as_pixel_by_pixel(land: str) -> None:
    areas, core = LANDS[land], Window(y=30, x=200, height=13, width=17)
    labels = np.random.default_rng(1).integers(0, 4, core.shape_px, dtype=np.uint8)
    counts = count_classes(labels, 3, areas, core)
    for label, count in enumerate(counts, start=1):
        places = np.argwhere(labels == label)
        each = [areas.of(Window(y=30 + y, x=200 + x, height=1, width=1)).item() for y, x in places]
        assert count.pixels == len(places)
        assert count.area == pytest.approx(math.fsum(each), rel=1e-13)
        assert count.unit == "m2"


@pytest.mark.parametrize("land", LANDS)
def test_tiles_sum_to_the_whole_mask_whatever_the_grid(land: str) -> None:
    chosen = np.random.default_rng(2).random((60, 50)) > 0.6
    whole = count_pixels(chosen, LANDS[land], Window(y=0, x=0, height=60, width=50))
    for tile_px in (7, 16, 50, 64):
        grid = TileGrid(shape_px=(60, 50), tile_px=tile_px)
        cores = [tile.core for batch in grid.batches() for tile in batch.tiles]
        total = sum_counts((count_pixels(chosen[core.slices], LANDS[land], core) for core in cores), "m2")
        assert total.pixels == whole.pixels == chosen.sum()
        assert total.area == pytest.approx(whole.area, rel=1e-13)


def test_one_pixel_and_one_column_are_shapes_like_any_other() -> None:
    areas = LANDS["degrees"]
    column = Window(y=5, x=5, height=9, width=1)
    assert count_pixels(np.ones((9, 1), bool), areas, column).area == pytest.approx(areas.of(column).sum())
    assert count_pixels(np.ones((1, 1), bool), LANDS["metres"], Window(y=0, x=0, height=1, width=1)).area == 100


def test_a_class_nobody_found_is_zero_and_255_classes_fit() -> None:
    labels = np.array([[0, 255], [2, 2]], np.uint8)
    counts = count_classes(labels, 255, LANDS["metres"], Window(y=0, x=0, height=2, width=2))
    assert len(counts) == 255
    assert {label: count.area for label, count in enumerate(counts, 1) if count.pixels} == {2: 200.0, 255: 100.0}


def test_units_by_hand() -> None:
    assert {unit: 5e6 / per for unit, per in PER_UNIT.items()} == {
        "m2": 5e6,
        "ha": 500.0,
        "km2": 5.0,
        "um2": 5e6,
        "mm2": 5.0,
    }
