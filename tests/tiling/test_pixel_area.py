"""Areas of pixels against published figures, EPSG:6933, geodesics and a pencil."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize, Plane, native_plane
from tiling.open import open_source
from tiling.pixel_area import ConstantAreas, PixelAreas, pixel_areas, plane_area, window_area
from tiling.source import SourceSpec
from tiling.window import Window

MakeRaster = Callable[..., Path]


@pytest.fixture
def info_of(tiny_raster: MakeRaster) -> Callable[..., ImageInfo]:
    """The header of a raster with this georeference."""

    def make(transform: Affine, crs: str = "EPSG:4326", shape: tuple[int, int] = (8, 6)) -> ImageInfo:
        path = tiny_raster(np.zeros(shape, np.uint8), transform=transform, crs=crs)
        source = open_source(SourceSpec(uris=(str(path),)))
        source.close()
        return source.info

    return make


def areas_of(info: ImageInfo) -> PixelAreas:
    return pixel_areas(info, native_plane(info))


def planar_of(info: ImageInfo) -> PixelAreas:
    return pixel_areas(info, native_plane(info), "planar")


def pixel(areas: PixelAreas, y: int = 0, x: int = 0) -> float:
    """Area of one pixel."""
    return float(areas.of(Window(y=y, x=x, height=1, width=1)).item())


def shoelace(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Area of a polygon in the plane."""
    x, y = x - x[0], y - y[0]
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2))


@pytest.mark.parametrize(
    ("latitude", "m2"), [(0, 123.0907), (30, 106.9574), (45, 87.6238), (60, 62.1680), (80, 21.6547), (-45, 87.6238)]
)
def test_a_ten_thousandth_of_a_degree(info_of: Callable[..., ImageInfo], latitude: float, m2: float) -> None:
    d = 1e-4
    info = info_of(Affine(d, 0, 15, 0, math.copysign(d, latitude), latitude), shape=(1, 1))
    assert pixel(areas_of(info)) == pytest.approx(m2, abs=6e-5)
    assert areas_of(info).method == "ellipsoidal"


@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize("latitude", [0.0, 52.3, -71.8])
def test_degrees_equal_the_equal_area_projection(
    info_of: Callable[..., ImageInfo], latitude: float, south_up: bool
) -> None:
    dy = 0.02 if south_up else -0.02
    info = info_of(Affine(0.03, 0, 10, 0, dy, latitude))
    project = Transformer.from_crs(4326, 6933, always_xy=True).transform
    for row in range(8):
        west, south = project(10, latitude + dy * row)
        east, north = project(10.03, latitude + dy * (row + 1))
        assert pixel(areas_of(info), row) == pytest.approx(abs((east - west) * (north - south)), rel=1e-8)


def test_south_up_sums_to_the_same_as_north_up(info_of: Callable[..., ImageInfo]) -> None:
    north = areas_of(info_of(Affine(0.5, 0, 10, 0, -0.5, 60)))
    south = areas_of(info_of(Affine(0.5, 0, 10, 0, 0.5, 56)))
    np.testing.assert_allclose(
        [pixel(north, row) for row in range(8)], [pixel(south, 7 - row) for row in range(8)], rtol=1e-12
    )
    assert plane_area(south, (8, 6)) == pytest.approx(plane_area(north, (8, 6)), rel=1e-12)


def test_a_box_over_the_antimeridian(info_of: Callable[..., ImageInfo]) -> None:
    info = info_of(Affine(0.05, 0, 179.9, 0, -0.05, -15.9), shape=(2, 4))
    assert plane_area(areas_of(info), (2, 4)) == pytest.approx(236_943_386, abs=0.5)


def test_the_whole_earth(info_of: Callable[..., ImageInfo]) -> None:
    info = info_of(Affine(1, 0, -180, 0, -1, 90), shape=(180, 360))
    assert plane_area(areas_of(info), (180, 360)) == pytest.approx(510_065_621_724_089, rel=1e-10)  # WGS 84, m2


def test_rotated_degrees_equal_densified_geodesics(info_of: Callable[..., ImageInfo]) -> None:
    transform = Affine(0.004, 0.001, 10, 0.0015, -0.003, 55)
    info = info_of(transform)
    along = np.linspace(0, 1, 50, endpoint=False)
    ring = np.concatenate([np.c_[along, 0 * along], np.c_[1 + 0 * along, along]])
    ring = np.concatenate([ring, 1 - ring])
    areas = areas_of(info)
    for y, x in ((0, 0), (7, 5), (3, 0)):
        lon, lat = transform @ (ring[:, 0] + x, ring[:, 1] + y)
        true, _ = Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)
        assert pixel(areas, y, x) == pytest.approx(abs(true), rel=1e-6)
    whole = Window(y=0, x=0, height=8, width=6)
    assert window_area(areas, whole) == pytest.approx(sum(pixel(areas, y, x) for y in range(8) for x in range(6)))


def test_a_rotated_projected_pixel_by_hand(info_of: Callable[..., ImageInfo]) -> None:
    info = info_of(Affine(20, 5, 500_000, -5, -20, 5_000_000), "EPSG:32633")
    assert pixel(planar_of(info)) == 20 * 20 - 5 * 5 == 375
    assert planar_of(info).method == "planar"
    assert pixel(areas_of(info)) == pytest.approx(375 / 0.9996**2, rel=1e-9)  # UTM's scale on its meridian


def test_rotated_metres_keep_the_shoelace_area(info_of: Callable[..., ImageInfo]) -> None:
    transform = Affine(11, 3, 500_000, -2, -17, 5_000_000)
    x, y = transform @ (np.array([0, 6, 6, 0]), np.array([0, 0, 8, 8]))
    assert plane_area(planar_of(info_of(transform, "EPSG:32633")), (8, 6)) == pytest.approx(shoelace(x, y))


def test_feet_become_metres(info_of: Callable[..., ImageInfo]) -> None:
    info = info_of(Affine(10, 0, 1e6, 0, -10, 2e5), "EPSG:2263")
    assert pixel(planar_of(info)) == pytest.approx(100 * (1200 / 3937) ** 2, rel=1e-12)
    assert pixel(planar_of(info)) == pytest.approx(9.2903, abs=1e-4)
    assert info.pixel_size.x == pytest.approx(3.048006, abs=1e-6)


MERCATORS = [
    "EPSG:3857",
    "EPSG:3395",
    "EPSG:3857+5773",  # with heights
    "+proj=merc +ellps=krass +towgs84=23.92,-141.27,-80.9,0,0,0,0 +type=crs",  # bound to another datum
]


@pytest.mark.parametrize("crs", MERCATORS)
def test_mercator_metres_are_refused_with_advice(info_of: Callable[..., ImageInfo], crs: str) -> None:
    with pytest.raises(BadInput, match=r"inflates areas.*gdalwarp -t_srs EPSG:6933"):
        planar_of(info_of(Affine(10, 0, 0, 0, -10, 6e6), crs))


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [("EPSG:32633", 5e5, 6e6), ("EPSG:32633+5773", 5e5, 6e6), ("EPSG:2056", 2.6e6, 1.2e6), ("EPSG:3035", 4e6, 3e6)],
)
def test_other_projections_are_not(info_of: Callable[..., ImageInfo], crs: str, x: float, y: float) -> None:
    """UTM is a transverse Mercator, the Swiss grid an oblique one: both keep areas to a thousandth where they apply."""
    assert pixel(planar_of(info_of(Affine(10, 0, x, 0, -10, y), crs))) == pytest.approx(100, rel=1e-12)


@pytest.mark.parametrize(
    ("crs", "x", "y", "times"),
    [
        ("EPSG:4087", 1e6, 6.6e6, "1.9"),  # plate carree: 1 / cos(59.3 degrees) = 1.96
        ("EPSG:32633", 500_000 + 15 * 111_320, 0, "1.07"),  # 15 degrees off the meridian: +7.15 %
    ],
)
def test_planar_areas_that_are_far_off_are_refused(
    info_of: Callable[..., ImageInfo], crs: str, x: float, y: float, times: str
) -> None:
    with pytest.raises(BadInput, match=rf"are {times}\d* times the true ones.*gdalwarp"):
        planar_of(info_of(Affine(10, 0, x, 0, -10, y), crs))


def test_degrees_have_no_planar_area(info_of: Callable[..., ImageInfo]) -> None:
    with pytest.raises(BadInput, match=r"degrees \(WGS 84\) have no planar area; leave out area.method"):
        planar_of(info_of(Affine(0.1, 0, 10, 0, -0.1, 60)))


def test_an_error_of_the_projection_below_five_percent_is_published(info_of: Callable[..., ImageInfo]) -> None:
    """6 degrees off the meridian a UTM pixel is 1 % too large: stated as planar, not refused."""
    assert planar_of(info_of(Affine(10, 0, 500_000 + 6 * 111_320, 0, -10, 0), "EPSG:32633")).method == "planar"


def test_a_local_grid_without_a_projection_needs_a_pixel_size(info_of: Callable[..., ImageInfo]) -> None:
    with pytest.raises(BadInput, match="neither projected nor geographic"):
        info_of(Affine(10, 0, 0, 0, -10, 6e6), 'LOCAL_CS["site grid",UNIT["metre",1]]')


def test_another_ellipsoid_is_the_crss_own(info_of: Callable[..., ImageInfo]) -> None:
    info = info_of(Affine(1e-4, 0, 15, 0, -1e-4, 5e-5), "EPSG:4047", shape=(1, 1))  # a sphere of 6 371 007 m
    radius = CRS.from_epsg(4047).ellipsoid.semi_major_metre
    assert pixel(areas_of(info)) == pytest.approx((radius * np.radians(1e-4)) ** 2, rel=1e-9)


def test_a_slides_pixel_is_the_product_of_both_mpps(tiny_slide: Callable[..., Path]) -> None:
    path = tiny_slide(np.zeros((70, 90, 3), np.uint8), (0.25, 0.3))
    info = open_source(SourceSpec(uris=(str(path),))).info
    areas = pixel_areas(info, Plane(shape_px=(35, 30), scale=(2.0, 3.0)))
    assert (areas.unit, areas.method) == ("um2", "slide-mpp")
    assert pixel(areas) == pytest.approx(0.25 * 2 * 0.3 * 3, rel=1e-4)
    assert pixel(areas_of(info)) == pytest.approx(info.pixel_size.y * info.pixel_size.x, rel=1e-15)


def test_a_pixel_size_by_hand_is_planar(tiny_raster: MakeRaster) -> None:
    path = tiny_raster(np.zeros((8, 6), np.uint8), crs="EPSG:3857")  # a size by hand is taken for the ground's
    size = PixelSize(y=2, x=3, unit="m")
    areas = areas_of(open_source(SourceSpec(uris=(str(path),), pixel_size=size)).info)
    assert (pixel(areas), areas.unit, areas.method) == (6, "m2", "planar")


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633"),
        (Affine(0.1, 0, 10, 0, -0.1, 60), "EPSG:4326"),
        (Affine(0.1, 0.02, 10, 0.03, -0.1, 60), "EPSG:4326"),
    ],
    ids=["metres", "degrees", "rotated degrees"],
)
def test_every_plane_has_the_area_of_the_image(info_of: Callable[..., ImageInfo], transform: Affine, crs: str) -> None:
    info = info_of(transform, crs, shape=(300, 40))
    whole = plane_area(areas_of(info), (300, 40))
    coarse = Plane(shape_px=(120, 16), scale=(2.5, 2.5))
    assert plane_area(pixel_areas(info, coarse), (120, 16)) == pytest.approx(whole, rel=1e-5)
    parts = [Window(y=y, x=x, height=100, width=20) for y in (0, 100, 200) for x in (0, 20)]
    assert sum(window_area(areas_of(info), part) for part in parts) == pytest.approx(whole, rel=1e-12)


def test_ground_size_of_degrees_is_that_at_the_centre(info_of: Callable[..., ImageInfo]) -> None:
    size = info_of(Affine(0.001, 0, 10, 0, -0.002, 50.008)).pixel_size
    geod = Geod(ellps="WGS84")
    assert size.x == pytest.approx(geod.line_length([10, 10.001], [50, 50]), rel=1e-6)
    assert size.y == pytest.approx(geod.line_length([10, 10], [49.999, 50.001]), rel=1e-6)


def test_a_constant_area_has_one_value_whatever_the_window() -> None:
    areas = ConstantAreas(2.5, "m2", "planar")
    assert areas.of(Window(y=5, x=5, height=7, width=9)).shape == (1, 1)
    assert window_area(areas, Window(y=5, x=5, height=7, width=9)) == 2.5 * 63
