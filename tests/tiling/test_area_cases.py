"""Areas in every kind of CRS, against pyproj's geodesics, EPSG:6933, PROJ's own factors and printed figures."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Geod, Proj, Transformer

from tiling.info import ImageInfo, PixelSize, Plane, native_plane
from tiling.lattice_area import LatticeAreas, halves
from tiling.map_scale import map_density
from tiling.pixel_area import PixelAreas, pixel_areas, plane_area, window_area
from tiling.planar_area import ground_pixel_size, planar_times
from tiling.window import Window

DEGREE_M = 111_319.49


def image(crs: str, transform: Affine, shape: tuple[int, int] = (8, 6)) -> ImageInfo:
    size = PixelSize(y=1, x=1, unit="m")  # not looked at where there is a CRS
    return ImageInfo(
        uri="x.tif", kind="raster", shape_px=shape, bands=("grey",), dtype="uint8", nodata=None, pixel_size=size,
        transform=transform, crs=CRS.from_user_input(crs).to_wkt(),
    )  # fmt: skip


def areas_of(crs: str, transform: Affine, shape: tuple[int, int] = (8, 6)) -> PixelAreas:
    info = image(crs, transform, shape)
    return pixel_areas(info, native_plane(info))


def pixel(areas: PixelAreas, y: int = 0, x: int = 0) -> float:
    return float(areas.of(Window(y=y, x=x, height=1, width=1)).item())


def geodesic(crs: str, transform: Affine, y: float = 0, x: float = 0, height: float = 1, width: float = 1) -> float:
    """m2 of a block of pixels by pyproj.Geod on the CRS's ellipsoid, each side densified to 200 pieces."""
    along, still = np.linspace(0, 1, 200, endpoint=False), np.zeros(200)
    ring = np.concatenate([np.c_[along, still], np.c_[still + 1, along]])
    ring = np.concatenate([ring, 1 - ring]) * (width, height) + (x, y)
    place = CRS.from_user_input(crs)
    east, north = transform @ (ring[:, 0], ring[:, 1])
    assert place.geodetic_crs is not None
    to_globe = Transformer.from_crs(place, place.geodetic_crs, always_xy=True)
    degrees = math.degrees(place.geodetic_crs.axis_info[0].unit_conversion_factor)
    longitude, latitude = np.multiply(to_globe.transform(east, north), degrees)
    ellipsoid = place.ellipsoid
    assert ellipsoid is not None
    globe = Geod(a=ellipsoid.semi_major_metre, b=ellipsoid.semi_minor_metre)
    area, _ = globe.polygon_area_perimeter(longitude, latitude)
    whole = 4 * math.pi * 6.4e6**2
    return min(abs(area), abs(whole - abs(area)))


PLACES = {
    "UTM on its meridian": ("EPSG:32633", Affine(500, 0, 5e5, 0, -500, 5e6)),
    "UTM, 15 degrees off": ("EPSG:32633", Affine(500, 0, 5e5 + 15 * DEGREE_M, 0, -500, 2e5)),
    "UTM south, 10 degrees off": ("EPSG:32733", Affine(500, 0, 5e5 - 10 * DEGREE_M, 0, -500, 9e6)),
    "Web Mercator at 60": ("EPSG:3857", Affine(500, 0, 1e6, 0, -500, 8.4e6)),
    "Web Mercator over the antimeridian": ("EPSG:3857", Affine(500, 0, 20037508.342789244 - 1500, 0, -500, -1.8e6)),
    "Mercator on another ellipsoid": ("+proj=merc +ellps=krass +type=crs", Affine(500, 0, 1e6, 0, -500, 6e6)),
    "US survey feet": ("EPSG:2263", Affine(1500, 0, 1e6, 0, -1500, 2e5)),
    "US survey feet, far away": ("EPSG:2263", Affine(1500, 0, 4e6, 0, -1500, 2e6)),
    "rotated": ("EPSG:32633", Affine(400, 100, 7e5, -100, -400, 5e6)),
    "sheared": ("EPSG:32633", Affine(400, 250, 7e5, 0, -400, 5e6)),
    "south-up": ("EPSG:32633", Affine(500, 0, 7e5, 0, 500, 5e6)),
    "mirrored": ("EPSG:32633", Affine(-500, 0, 7e5, 0, -500, 5e6)),
    "Greenland, polar": ("EPSG:3413", Affine(500, 0, -2e5, 0, -500, -2e6)),
    "Antarctica": ("EPSG:3031", Affine(500, 0, 5e5, 0, -500, 9e5)),
    "Swiss": ("EPSG:2056", Affine(500, 0, 2.6e6, 0, -500, 1.2e6)),
    "Gauss-Krueger, Bessel": ("EPSG:31467", Affine(500, 0, 3.5e6, 0, -500, 5.5e6)),
    "France, grads from Paris": ("EPSG:27572", Affine(500, 0, 6e5, 0, -500, 2.2e6)),
    "plate carree": ("EPSG:4087", Affine(500, 0, 1e6, 0, -500, 6.6e6)),
    "sinusoidal, a sphere": ("+proj=sinu +R=6371007.181 +type=crs", Affine(463, 0, 1e6, 0, -463, 6e6)),
    "with heights": ("EPSG:32633+5773", Affine(500, 0, 7e5, 0, -500, 5e6)),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_projection_equals_densified_geodesics(place: str) -> None:
    """Blocks of 3 x 2 km: a geodesic polygon has itself 1e-9 there."""
    crs, transform = PLACES[place]
    areas = areas_of(crs, transform)
    block = Window(y=1, x=1, height=4, width=5)
    flat = crs.split("+5773")[0]
    truth = geodesic(flat, transform, 1, 1, 4, 5)
    assert window_area(areas, block) == pytest.approx(truth, rel=1e-6)
    assert np.broadcast_to(areas.of(block), block.shape_px).sum() == pytest.approx(truth, rel=1e-6)
    assert pixel(areas, 2, 3) == pytest.approx(geodesic(flat, transform, 2, 3), rel=1e-6)
    assert (areas.method, areas.unit) == ("ellipsoidal", "m2")


@pytest.mark.parametrize(
    ("latitude", "times"), [(0, 1.0067), (30, 1.338), (45, 2.000), (52, 2.634), (60, 3.987), (70, 8.505)]
)
def test_web_mercator_is_measured_with_its_true_area(latitude: float, times: float) -> None:
    """Printed figures; and PROJ's factors of +proj=webmerc are of a sphere, so the ellipsoid has to come from the CRS."""
    y = Transformer.from_crs(4326, 3857, always_xy=True).transform(0, latitude)[1]
    transform = Affine(10, 0, 1e6, 0, -10, y + 40)
    assert 100 / pixel(areas_of("EPSG:3857", transform), 4) == pytest.approx(times, rel=4e-4)
    assert planar_times(CRS(3857), transform, (8, 6)) == pytest.approx(times, rel=4e-4)


@pytest.mark.parametrize(("offset", "percent"), [(0, -0.08), (3, 0.20), (6, 1.03), (10, 3.05), (15, 7.15)])
def test_utm_off_its_meridian(offset: float, percent: float) -> None:
    """Printed errors of planar areas at the equator, in percent."""
    x, y = Transformer.from_crs(4326, 32633, always_xy=True).transform(15 + offset, 0)
    area = pixel(areas_of("EPSG:32633", Affine(10, 0, x, 0, -10, y)))
    assert 100 * (100 / area - 1) == pytest.approx(percent, abs=0.006)


def test_a_survey_foot_is_not_a_metre() -> None:
    """Square feet are 0.092903 m2; taken for metres an area is 10.764 times too big."""
    area = pixel(areas_of("EPSG:2263", Affine(10, 0, 984_250, 0, -10, 2e5)))
    assert area / 100 == pytest.approx(0.092903, rel=2e-5)
    assert 100 / area == pytest.approx(10.764, rel=1e-4)


def test_a_rotated_pixel_is_its_determinant() -> None:
    """Printed: 375 m2, where |a * e| gives 400 and the product of the sides 425."""
    area = pixel(areas_of("EPSG:3035", Affine(20, 5, 4e6, -5, -20, 3e6)))
    assert area == pytest.approx(375, rel=1e-9)


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:6933", "EPSG:6931", "EPSG:3577"])
def test_where_the_map_keeps_areas_they_are_the_maps(crs: str) -> None:
    x, y = {"EPSG:3035": (4e6, 3e6), "EPSG:6933": (1e6, 5e6), "EPSG:6931": (-2e5, 3e5), "EPSG:3577": (0, -3e6)}[crs]
    areas = areas_of(crs, Affine(30, 0, x, 0, -30, y), (5000, 4000))
    assert plane_area(areas, (5000, 4000)) == pytest.approx(900 * 5000 * 4000, rel=2e-9)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4258", "EPSG:4267", "EPSG:4314", "EPSG:4047", "EPSG:4807"])
@pytest.mark.parametrize("side", [0.02, 1e-4, 1e-6])
def test_rows_of_degrees_equal_an_equal_area_map(crs: str, side: float) -> None:
    """EPSG:6933's own formula (cylindrical equal area) on the ellipsoid of each CRS; pixels down to a decimetre."""
    place = CRS.from_user_input(crs)
    ellipsoid, unit = place.ellipsoid, math.degrees(place.axis_info[0].unit_conversion_factor)
    assert ellipsoid is not None
    flat = Proj(proj="cea", lat_ts=30, a=ellipsoid.semi_major_metre, b=ellipsoid.semi_minor_metre)
    areas = areas_of(crs, Affine(side, 0, 10, 0, -side, 52.3), (900, 6))
    rows = areas.of(Window(y=0, x=0, height=900, width=6))[:, 0]
    groups = range(0, 901, 100)  # a metre on the map has 1e-9 m of noise, so many rows of small pixels go together
    for start, stop in pairwise(groups):
        north, south = ((52.3 - side * row) * unit for row in (start, stop))
        width = 1000 * side * unit
        (west, top), (east, bottom) = flat(0, north), flat(width, south)
        truth = abs((east - west) * (top - bottom)) / 1000
        noise = 1e-9 + 4e-15 / (100 * math.radians(side))
        assert math.fsum(rows[start:stop]) == pytest.approx(truth, rel=noise)


def test_printed_rows_of_a_ten_thousandth_of_a_degree() -> None:
    for latitude, m2 in ((0, 123.0907), (30, 106.9574), (45, 87.6238), (60, 62.1680), (80, 21.6547)):
        assert pixel(areas_of("EPSG:4326", Affine(1e-4, 0, 15, 0, 1e-4, latitude))) == pytest.approx(m2, abs=6e-5)


@pytest.mark.parametrize("west", [179.9, -180.1])
def test_the_antimeridian_box(west: float) -> None:
    """Printed: 236 943 386 m2 from 179.9 to -179.9 at 16 degrees south (Geod: 236 943 573)."""
    areas = areas_of("EPSG:4326", Affine(0.02, 0, west, 0, -0.02, -15.9), (5, 10))
    assert plane_area(areas, (5, 10)) == pytest.approx(236_943_386, abs=0.5)
    assert geodesic("EPSG:4326", Affine(0.2, 0, 179.9, 0, -0.1, -15.9)) == pytest.approx(236_943_386, rel=1e-6)


def test_a_scene_over_the_antimeridian_in_metres_equals_its_halves() -> None:
    edge = 20037508.342789244
    areas = areas_of("EPSG:3857", Affine(100, 0, edge - 3000, 0, -100, -1.8e6), (50, 60))
    west, east = (window_area(areas, Window(y=0, x=x, height=50, width=30)) for x in (0, 30))
    assert west == pytest.approx(east, rel=1e-12)
    assert west + east == pytest.approx(plane_area(areas, (50, 60)), rel=1e-15)


def test_a_grid_whose_centres_are_on_the_poles_is_the_earth() -> None:
    """Centres from 90 to -90 by a quarter of a degree: half of the first and of the last row is beyond a pole."""
    areas = areas_of("EPSG:4326", Affine(0.25, 0, -0.125, 0, -0.25, 90.125), (721, 1440))
    rows = areas.of(Window(y=0, x=0, height=721, width=1))
    assert plane_area(areas, (721, 1440)) == pytest.approx(510_065_621_724_089, rel=1e-12)
    assert rows[0] == rows[-1]
    assert 0 < rows[0] < rows[1] / 7  # half as high, and a triangle: an eighth of the next
    beyond = areas_of("EPSG:4326", Affine(0.25, 0, 0, 0, -0.25, 91), (8, 4))
    assert (beyond.of(Window(y=0, x=0, height=8, width=4))[:4] == 0).all()


def test_the_pole_inside_a_polar_map() -> None:
    """A square around the pole, and the cap that its inscribed circle is: the pole is a place like any other."""
    transform = Affine(1000, 0, -2e5, 0, -1000, 2e5)
    for crs in ("EPSG:3413", "EPSG:3031"):
        areas = areas_of(crs, transform, (400, 400))
        values = areas.of(Window(y=0, x=0, height=400, width=400))
        assert values.shape == (400, 400)
        assert np.isfinite(values).all()
        for y, x in ((199, 199), (200, 200), (0, 0), (17, 390)):
            assert values[y, x] == pytest.approx(geodesic(crs, transform, y, x), rel=1e-6)
        assert window_area(areas, Window(y=0, x=0, height=400, width=400)) == pytest.approx(values.sum(), rel=1e-10)


def test_rotated_degrees_over_the_pole_have_no_ground_beyond_it() -> None:
    transform = Affine(0.01, 0.002, 20, 0.002, -0.01, 90.5)
    areas = areas_of("EPSG:4326", transform, (100, 100))
    rows, cols = np.mgrid[:100, :100] + 0.5
    latitude = transform.f + transform.d * cols + transform.e * rows
    assert (areas.of(Window(y=0, x=0, height=100, width=100)) > 0).tolist() == (latitude < 90).tolist()


def test_the_disk_of_a_satellite_is_the_earth_it_sees() -> None:
    """Off the disk there is no ground; on it as much as PROJ's factors say, pixel by pixel."""
    crs, side = "+proj=geos +h=35785831 +lon_0=0 +type=crs", 120_000
    transform = Affine(side, 0, -46 * side, 0, -side, 46 * side)
    areas = areas_of(crs, transform, (92, 92))
    values = areas.of(Window(y=0, x=0, height=92, width=92))
    rows, cols = np.mgrid[:92, :92] + 0.5
    projection = Proj(crs)
    longitude, latitude = projection(*(transform @ (cols.ravel(), rows.ravel())), inverse=True)
    seen = np.isfinite(longitude).reshape(values.shape)
    corners = np.mgrid[:93, :93]
    far, _ = projection(*(transform @ (corners[1].ravel(), corners[0].ravel())), inverse=True)
    near = np.isfinite(far).reshape(93, 93)
    touched = near[1:, 1:] | near[1:, :-1] | near[:-1, 1:] | near[:-1, :-1] | seen
    assert not values[~touched].any()
    inner = np.hypot(rows - 46, cols - 46) < 25  # near the limb a pixel of 120 km is not what its centre says
    scale = np.ones(values.size)
    scale[inner.ravel()] = projection.get_factors(longitude[inner.ravel()], latitude[inner.ravel()]).areal_scale
    np.testing.assert_allclose(values[inner], (side**2 / scale).reshape(values.shape)[inner], rtol=1e-3)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_pixel_has_the_same_bits_in_any_window(data: st.DataObject) -> None:
    areas = data.draw(st.sampled_from(list(WIDE.values())))
    y, x = data.draw(st.integers(0, 79)), data.draw(st.integers(0, 59))
    top, left = data.draw(st.integers(0, y)), data.draw(st.integers(0, x))
    height, width = data.draw(st.integers(y - top + 1, 80 - top)), data.draw(st.integers(x - left + 1, 60 - left))
    window = Window(y=top, x=left, height=height, width=width)
    values = np.broadcast_to(areas.of(window), window.shape_px)
    assert values[y - top, x - left] == pixel(areas, y, x)
    assert values.max() <= areas.most(window)
    assert areas.total(window) == pytest.approx(math.fsum(values.flat), rel=1e-9)


WIDE = {
    "many cells": areas_of("EPSG:32633", Affine(1e5, 0, -2e6, 0, -1e5, 8e6), (80, 60)),
    "rows": areas_of("EPSG:3857", Affine(1.5e5, 0, -4e6, 0, -1.5e5, 6e6), (80, 60)),
    "a disk": areas_of("+proj=ortho +lat_0=40 +type=crs", Affine(2e5, 0, -6e6, 0, -2e5, 8e6), (80, 60)),
    "degrees": areas_of("EPSG:4326", Affine(0.01, 0, 10, 0, -0.01, 60), (80, 60)),
    "rotated degrees": areas_of("EPSG:4326", Affine(0.05, 0.015, 10, 0.01, -0.05, 60), (80, 60)),
}


def test_sums_over_tiles_are_the_same_bits_for_any_tiles_and_order() -> None:
    """Areas are whole grains, so sums of doubles are exact."""
    areas = areas_of("EPSG:32633", Affine(10, 0, 7e5, 0, -10, 6e6), (700, 900))
    chosen = np.random.default_rng(3).random((700, 900)) < 0.4
    totals = set()
    for side in (700, 256, 99, 64):
        sums = [
            (areas.of(w) * chosen[w.slices]).sum()
            for y in range(0, 700, side)
            for x in range(0, 900, side)
            for w in [Window(y=y, x=x, height=min(side, 700 - y), width=min(side, 900 - x))]
        ]
        totals |= {math.fsum(sums), math.fsum(sums[::-1]), float(np.sum(sums))}
    assert len(totals) == 1


@pytest.mark.parametrize(
    ("crs", "transform", "most"),
    [
        ("EPSG:32633", Affine(10, 0, 399_960, 0, -10, 5_000_040), 30),
        ("EPSG:32633", Affine(0.5, 0, 5e5, 0, -0.5, 5e6), 30),
        ("EPSG:3857", Affine(10, 0, 1e6, 0, -10, 8e6), 60),
        ("EPSG:3413", Affine(30, 0, -2e5, 0, -30, -1e6), 600),
    ],
)
def test_few_samples_serve_a_whole_scene(crs: str, transform: Affine, most: int) -> None:
    """120 million pixels, some hundred samples at most: the cost of true areas, counted."""
    asked: list[int] = []
    true = map_density(CRS(crs))

    def counted(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        asked.append(x.size)
        return true(x, y)

    areas = LatticeAreas((10_980, 10_980), transform, counted, 1)
    whole = Window(y=0, x=0, height=10_980, width=10_980)
    total = areas.total(whole)
    assert sum(asked) <= most
    for y in range(0, 10_980, 2745):
        areas.of(Window(y=y, x=y, height=512, width=512))
    assert sum(asked) <= most
    assert total == pytest.approx(geodesic(crs, transform, 0, 0, 10_980, 10_980), rel=1e-6)


def test_every_plane_has_the_area_of_the_image() -> None:
    """Pixels of 10 m, and of 500 km, of one map: the mean over a pixel, not the value at its centre."""
    info = image("EPSG:3857", Affine(10_000, 0, 0, 0, -10_000, 9e6), (600, 300))
    whole = plane_area(pixel_areas(info, native_plane(info)), (600, 300))
    for factor in (2, 10, 50):
        coarse = Plane(shape_px=(600 // factor, 300 // factor), scale=(factor, factor))
        assert plane_area(pixel_areas(info, coarse), coarse.shape_px) == pytest.approx(whole, rel=1e-6)


def test_the_ground_under_a_pixel_of_web_mercator_is_half_at_60_degrees() -> None:
    y = Transformer.from_crs(4326, 3857, always_xy=True).transform(0, 60)[1]
    size = ground_pixel_size(Affine(10, 0, 0, 0, -10, y + 40), CRS(3857), (8, 6), "x.tif")
    assert (size.y, size.x) == pytest.approx((5.008, 5.008), rel=1e-3)
    assert ground_pixel_size(Affine(10, 0, 7e5, 0, -10, 5e6), CRS(32633), (8, 6), "x.tif").x == 10


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.booleans())
def test_halves_of_a_cell_are_the_cell(height: int, width: int, down: bool, along: bool) -> None:
    cell = Window(y=3, x=5, height=height, width=width)
    parts = halves(cell, down or not along, along)
    seen = np.zeros((50, 50), int)
    for part in parts:
        seen[part.slices] += 1
    assert seen.sum() == seen[cell.slices].sum() == height * width
    assert len(parts) > 1 or height == width == 1
