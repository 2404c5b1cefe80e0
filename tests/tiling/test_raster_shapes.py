"""Burned polygons against their areas, and window against window."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tiling.info import Plane
from tiling.raster_shapes import burn
from tiling.window import Window

SIDE = 60
NATIVE = Plane(shape_px=(SIDE, SIDE), scale=(1.0, 1.0))
WHOLE = Window(y=0, x=0, height=SIDE, width=SIDE)
PLACE = st.integers(0, 64 * SIDE).map(lambda n: n / 64)
CORNERS = st.lists(st.tuples(PLACE, PLACE), min_size=3, max_size=8)


@given(CORNERS)
def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre(corners: list[tuple[float, float]]) -> None:
    shape = shapely.MultiPoint(corners).convex_hull
    mask = burn([(shape, 7)], WHOLE, NATIVE, 0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    centres = shapely.points(x, y)
    far = shapely.distance(shapely.boundary(shape), centres) > 1e-6  # on the line itself either is right
    inside = shapely.contains(shape, centres) if shape.geom_type == "Polygon" else np.zeros(x.shape, bool)
    checked = far if shape.geom_type == "Polygon" else np.zeros(x.shape, bool)
    np.testing.assert_array_equal(mask[checked], np.where(inside, 7, 0)[checked])


@given(st.integers(-20, SIDE), st.integers(-20, SIDE), st.integers(1, 40), st.integers(1, 40))
def test_a_window_is_a_part_of_the_whole(y: int, x: int, height: int, width: int) -> None:
    shapes = [(shapely.Point(30, 25).buffer(17), 3), (shapely.box(20.2, 20.2, 40.7, 33.3), 5)]
    around = np.pad(burn(shapes, WHOLE, NATIVE, 255), 60, constant_values=255)
    window = Window(y=y, x=x, height=height, width=width)
    np.testing.assert_array_equal(
        burn(shapes, window, NATIVE, 255), around[y + 60 : y + 60 + height, x + 60 : x + 60 + width]
    )


def test_areas_are_those_of_the_polygons_at_any_scale() -> None:
    shape = shapely.Polygon([(3, 5), (55, 9), (50, 57), (28, 30), (8, 48)], [[(30, 15), (40, 15), (40, 25)]])
    for scale in (1 / 8, 1.0, 2.0, 1.5):
        side = round(SIDE / scale)
        plane = Plane(shape_px=(side, side), scale=(SIDE / side, SIDE / side))
        mask = burn([(shape, 1)], Window(y=0, x=0, height=side, width=side), plane, 0)
        assert abs(mask.sum() * plane.scale[0] ** 2 - shape.area) < 0.5 * shape.length * scale**0.5


def test_the_last_shape_counts_and_nothing_burns_nothing() -> None:
    box = shapely.box(0, 0, 10, 10)
    assert set(np.unique(burn([(box, 1), (box, 2)], WHOLE, NATIVE, 9))) == {2, 9}
    assert (burn([], WHOLE, NATIVE, 9) == 9).all()
    assert (burn([(shapely.Polygon(), 1)], WHOLE, NATIVE, 9) == 9).all()
