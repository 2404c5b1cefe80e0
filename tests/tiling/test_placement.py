"""One grid on another: truth by rasterio.warp and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform

from tiling.errors import BadInput
from tiling.info import PixelSize
from tiling.placement import Placement, match
from tiling.window import Window

UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def placed(transform: Affine | None, shape=(40, 50), crs: str | None = "EPSG:32633", size=10.0, unit="m") -> Placement:
    wkt = None if crs is None else CRS.from_user_input(crs).to_wkt()
    pixel = PixelSize(y=size, x=size, unit=unit)
    return Placement(uri="scene.tif", shape_px=shape, pixel_size=pixel, transform=transform, crs=wkt)


def whole(place: Placement) -> Window:
    return Window(y=0, x=0, height=place.shape_px[0], width=place.shape_px[1])


def looked_up(grid: Placement, other: Placement, values, outside=255):
    y, x = np.broadcast_arrays(*match(grid, other).indices(whole(grid)))
    inside = (y >= 0) & (y < other.shape_px[0]) & (x >= 0) & (x < other.shape_px[1])
    found = np.full(grid.shape_px, outside, values.dtype)
    found[inside] = values[y[inside], x[inside]]
    return found


def warped(grid: Placement, other: Placement, values, outside=255):
    """GDAL's answer, with the exact transformation of every pixel."""
    out = np.full(grid.shape_px, outside, values.dtype)
    reproject(
        values,
        out,
        src_transform=other.transform,
        src_crs=other.crs,
        dst_transform=grid.transform,
        dst_crs=grid.crs,
        resampling=Resampling.nearest,
        init_dest_nodata=False,
        tolerance=0,
    )
    return out


@pytest.mark.parametrize("moved", [(0, 0), (3, -2), (-40, 7)])
def test_whole_pixels_are_a_shift(moved):
    grid, other = placed(UTM), placed(UTM @ Affine.translation(-moved[1], -moved[0]))
    found = match(grid, other)
    assert found.shift_px == moved
    y, x = found.indices(Window(y=5, x=6, height=2, width=3))
    assert y.ravel().tolist() == [5 + moved[0], 6 + moved[0]]
    assert x.ravel().tolist() == [6 + moved[1], 7 + moved[1], 8 + moved[1]]


@pytest.mark.parametrize(
    "other",
    [
        UTM @ Affine.translation(0.4, 0.3),
        UTM @ Affine.scale(2, 3),
        UTM @ Affine.rotation(17) @ Affine.scale(1.3),
        Affine(10, 0, 500_100, 0, 10, 4_999_700),  # south-up
        Affine(10, 2, 500_000, 1, -11, 5_000_000),  # sheared
    ],
)
def test_the_nearest_pixel_is_the_one_gdal_takes(other):
    grid, there = placed(UTM), placed(other, (33, 41))
    values = np.random.default_rng(1).integers(0, 250, (33, 41), dtype=np.uint8)
    assert match(grid, there).shift_px is None
    assert np.array_equal(looked_up(grid, there, values), warped(grid, there, values))


@pytest.mark.parametrize(
    ("crs", "step"), [("EPSG:4326", 1e-4), ("EPSG:32632", 9.0), ("EPSG:6933", 11.0), ("EPSG:2263", 30.0)]
)
def test_another_crs_is_what_gdal_makes_of_it(crs, step):
    here = "EPSG:32618" if crs == "EPSG:2263" else "EPSG:32633"
    grid = placed(UTM, crs=here)
    (x,), (y,) = transform(here, crs, [500_050.0], [4_999_950.0])
    there = placed(Affine(step, 0, x - 20 * step, 0, -step, y + 20 * step), (45, 47), crs)
    values = np.random.default_rng(2).integers(0, 250, (45, 47), dtype=np.uint8)
    ours, theirs = looked_up(grid, there, values), warped(grid, there, values)
    assert (ours != 255).mean() > 0.4
    assert (ours != theirs).mean() < 0.002  # a centre within rounding of an edge


@settings(max_examples=40)
@given(
    dx=st.floats(-30, 30),
    dy=st.floats(-30, 30),
    scale=st.floats(0.4, 3),
    angle=st.floats(0, 360),
)
def test_every_centre_lies_in_the_pixel_that_is_named(dx, dy, scale, angle):
    grid, other = placed(UTM), placed(UTM @ Affine.translation(dx, dy) @ Affine.rotation(angle) @ Affine.scale(scale))
    assert other.transform is not None
    y, x = np.broadcast_arrays(*match(grid, other).indices(whole(grid)))
    for row, col in ((0, 0), (39, 49), (17, 31)):
        at_x, at_y = ~other.transform @ (UTM @ (col + 0.5, row + 0.5))
        if at_x < 0 or at_y < 0:
            continue  # outside, told by any negative number
        assert x[row, col] - 1e-5 <= at_x <= x[row, col] + 1 + 1e-5
        assert y[row, col] - 1e-5 <= at_y <= y[row, col] + 1 + 1e-5


def test_a_centre_on_an_edge_belongs_to_the_pixel_behind_it():
    """Half a pixel off, every centre is on an edge; rounding must not scatter them."""
    y, x = match(placed(UTM), placed(UTM @ Affine.translation(0.5, 0.5))).indices(Window(y=0, x=0, height=40, width=50))
    assert y.ravel().tolist() == list(range(40))
    assert x.ravel().tolist() == list(range(50))


def test_both_sides_of_the_antimeridian_are_one_place():
    east = placed(Affine(0.01, 0, 179.8, 0, -0.01, -16), (10, 40), "EPSG:4326")
    west = placed(Affine(0.01, 0, -180.2, 0, -0.01, -16), (10, 40), "EPSG:4326")
    assert match(east, west).shift_px == (0, 0)
    (x,), (y,) = transform("EPSG:4326", "EPSG:3832", [-179.945], [-16.045])  # Mercator around 150 E
    fiji = placed(Affine(1000, 0, x - 500, 0, -1000, y + 500), (1, 1), "EPSG:3832")
    rows, cols = match(fiji, east).indices(Window(y=0, x=0, height=1, width=1))
    assert (rows.item(), cols.item()) == (4, 25)


def test_a_place_that_the_other_crs_does_not_know_is_outside():
    ortho = placed(Affine(100_000, 0, -7_000_000, 0, -100_000, 7_000_000), (140, 140), "+proj=ortho +lat_0=0 +lon_0=0")
    world = placed(Affine(1, 0, -180, 0, -1, 90), (180, 360), "EPSG:4326")
    y, x = match(ortho, world).indices(whole(ortho))
    assert (y[0, 0], x[0, 0]) == (-1, -1)  # behind the horizon
    assert (y[70, 70], x[70, 70]) == (90, 180)


def test_slides_need_one_shape_and_one_pixel_size():
    slide = placed(None, crs=None, size=0.5, unit="um")
    assert match(slide, slide).shift_px == (0, 0)
    with pytest.raises(BadInput, match=r"40 x 50 px of 0.5 x 0.5 um .* against 40 x 51 px of 0.5 x 0.5 um"):
        match(slide, placed(None, (40, 51), None, 0.5, "um"))
    with pytest.raises(BadInput, match=r"of 0.5 x 0.5 um .* against 40 x 50 px of 0.25 x 0.25 um"):
        match(slide, placed(None, crs=None, size=0.25, unit="um"))
    with pytest.raises(BadInput, match=r"no CRS.* against .*UTM zone 33N"):
        match(placed(None, crs=None), placed(UTM))


def test_an_extent_is_told_in_its_own_crs_and_in_degrees():
    (west, east), (north, south) = transform("EPSG:32633", "EPSG:4326", [500_000, 500_500], [5_000_000, 4_999_600])
    told = placed(UTM).extent
    assert "x 500000 to 500500, y 4999600 to 5000000 in WGS 84 / UTM zone 33N" in told
    assert f"longitude {west:.5f} to {east:.5f}, latitude {south:.5f} to {north:.5f}" in told
