"""Shares of pixels against shapely's clipped boxes and exactextract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from downstream.coverage import outline_of, parts_of, pixel_shares, window_shares
from tiling.grid import TileGrid
from tiling.window import Window

SIDE = 24
PLACE = st.one_of(st.integers(-6, SIDE + 6).map(float), st.floats(-6, SIDE + 6))
"""Corners on the borders of pixels, where most goes wrong, and anywhere."""
NODE = st.integers(0, 64 * SIDE).map(lambda n: n / 64)
CORNERS = st.lists(st.tuples(PLACE, PLACE), min_size=3, max_size=9)


def clipped(shape: Any, window: Window) -> NDArray[np.float64]:
    """The same by brute force: one intersection per pixel."""
    y, x = np.mgrid[window.y : window.y_stop, window.x : window.x_stop]
    return np.asarray(shapely.area(shapely.intersection(shapely.box(x, y, x + 1, y + 1), shape)))


def polygon(corners: list[tuple[float, float]]) -> Any:
    """Any valid area: a ring that crosses itself becomes several, with holes."""
    parts = shapely.get_parts(shapely.make_valid(shapely.Polygon(corners)))
    return shapely.union_all([part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")])


@settings(max_examples=60, deadline=None)
@given(CORNERS, CORNERS, st.integers(-8, 8), st.integers(-8, 8))
def test_every_share_is_the_area_of_the_clipped_pixel(
    corners: list[tuple[float, float]], cut: list[tuple[float, float]], y: int, x: int
) -> None:
    shape = shapely.difference(polygon(corners), polygon(cut))
    window = Window(y=y, x=x, height=11, width=13)
    if shape.geom_type not in ("Polygon", "MultiPolygon") or not shape.is_valid:
        return
    shares, border = pixel_shares(outline_of(shape), window)
    np.testing.assert_allclose(shares, clipped(shape, window), rtol=0, atol=1e-9)
    assert np.isin(shares[~border], (0, 1)).all()
    np.testing.assert_array_equal(np.broadcast_to(window_shares(outline_of(shape), window), window.shape_px), shares)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NODE, NODE), min_size=2, max_size=12, unique=True))
def test_shares_of_a_partition_sum_to_one(places: list[tuple[float, float]]) -> None:
    frame = shapely.box(0, 0, SIDE, SIDE)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(places), extend_to=frame))
    shapes = [part for part in shapely.intersection(cells, frame) if part.geom_type == "Polygon"]
    if not shapes or abs(sum(shape.area for shape in shapes) - SIDE**2) > 1e-9:
        return  # cells too thin for GEOS
    window = Window(y=0, x=0, height=SIDE, width=SIDE)
    total = sum(pixel_shares(outline_of(shape), window)[0] for shape in shapes)
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-9)


def test_exactextract_says_the_same() -> None:
    ring = shapely.Point(11.3, 12.7).buffer(9.1).difference(shapely.Point(10.2, 14.9).buffer(3.3))
    island = shapely.union(ring, shapely.box(0.25, 0.5, 1.75, 23.9))
    flipped = shapely.transform(island, lambda xy: np.column_stack([xy[:, 0], SIDE - xy[:, 1]]))
    raster = NumPyRasterSource(np.ones((SIDE, SIDE)), xmin=0, ymin=0, xmax=SIDE, ymax=SIDE)
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(flipped)}
    (found,) = exact_extract(raster, [feature], ["coverage", "cell_id"], include_geom=False)
    theirs = np.zeros(SIDE * SIDE)
    theirs[found["properties"]["cell_id"]] = found["properties"]["coverage"]
    ours, _ = pixel_shares(outline_of(island), Window(y=0, x=0, height=SIDE, width=SIDE))
    np.testing.assert_allclose(ours, theirs.reshape(SIDE, SIDE), rtol=0, atol=1e-6)  # theirs are float32


@settings(max_examples=40, deadline=None)
@given(CORNERS, st.integers(3, 11))
def test_tiles_give_what_the_whole_gives(corners: list[tuple[float, float]], tile_px: int) -> None:
    shape = shapely.intersection(polygon(corners), shapely.box(0, 0, SIDE, SIDE - 5))
    if shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
        return
    grid = TileGrid(shape_px=(SIDE - 5, SIDE), tile_px=tile_px)
    drawn = np.zeros(grid.shape_px)
    for part in parts_of(outline_of(shape), grid):
        assert not drawn[part.tile.core.slices].any()
        drawn[part.tile.core.slices] = 1 if part.share is None else part.share
    np.testing.assert_allclose(drawn, clipped(shape, Window(y=0, x=0, height=SIDE - 5, width=SIDE)), rtol=0, atol=1e-9)


def test_a_coarser_plane_has_larger_pixels() -> None:
    shape = shapely.box(3, 4, 9, 10)  # image px; pixels of 2 x 4 image px
    shares, _ = pixel_shares(outline_of(shape, (2.0, 4.0)), Window(y=0, x=0, height=6, width=4))
    assert shares[:, :3].tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [0.25, 1, 0.25],
        [0.25, 1, 0.25],
        [0.25, 1, 0.25],
        [0, 0, 0],
    ]
    assert shares.sum() * 8 == shape.area


def test_inner_tiles_are_never_drawn_pixel_by_pixel() -> None:
    """40,000 tiles under a square whose border runs through 796 of them: only those have an array of shares."""
    grid = TileGrid(shape_px=(800, 800), tile_px=4)
    parts = list(parts_of(outline_of(shapely.box(2, 2, 798, 798)), grid))
    assert len(parts) == 200 * 200
    assert sum(part.share is not None for part in parts) == 4 * 199


@pytest.mark.parametrize("start", [0, 7_000_000])
def test_shares_far_from_the_corner_are_as_exact(start: int) -> None:
    shape = shapely.Polygon([(start + 1.25, 0.5), (start + 6.75, 1.5), (start + 3.5, 6.25)])
    window = Window(y=0, x=start, height=7, width=8)
    np.testing.assert_allclose(pixel_shares(outline_of(shape), window)[0], clipped(shape, window), rtol=0, atol=1e-8)
