"""Areas at the edges of maps and at the poles: whole Earths, maps that keep areas, and maps that repeat."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Geod, Transformer

from tiling.lattice_area import LatticeAreas
from tiling.map_scale import map_density
from tiling.pixel_area import plane_area
from tiling.window import Window

EARTH_KM2 = 510_065_621.724
"""WGS84 and GRS80 to this digit but the last."""
MOLLWEIDE = "+proj=moll +R=6371007.181 +type=crs"
"""Of a sphere: PROJ draws ESRI:54009 from latitudes of the ellipsoid as if they were of one, so it keeps no areas."""
SATELLITE = "+proj=geos +h=35785831 +R=6371000 +type=crs"


def lattice(crs: str, transform: Affine, shape: tuple[int, int]) -> LatticeAreas:
    return LatticeAreas(shape, transform, map_density(CRS.from_user_input(crs)), 1)


def around(crs: str, x: float, y: float, half: tuple[float, float], side: float) -> LatticeAreas:
    """Pixels around a place of the map, to `half` (height, width) and, where `side` does not divide it, beyond."""
    ny, nx = (2 * math.ceil(some / side) for some in half)
    return lattice(crs, Affine(side, 0, x - nx * side / 2, 0, -side, y + ny * side / 2), (ny, nx))


def km2(areas: LatticeAreas) -> float:
    return plane_area(areas, areas._image.shape_px) / 1e6


def place(crs: str, longitude: float, latitude: float) -> tuple[float, float]:
    flat = CRS.from_user_input(crs)
    x, y = Transformer.from_crs(flat.geodetic_crs, flat, always_xy=True).transform(longitude, latitude)
    return float(x), float(y)


WORLDS = {
    "sinusoidal": ("ESRI:54008", (1.1e7, 2.1e7), 60_000),
    "sinusoidal, east of Fiji": ("+proj=sinu +lon_0=178 +ellps=WGS84 +type=crs", (1.1e7, 2.1e7), 60_000),
    "sinusoidal, one point a pixel": ("ESRI:54008", (1.1e7, 2.1e7), 9000),
    "Mollweide": ("ESRI:54009", (1e7, 1.9e7), 60_000),
    "Equal Earth": ("EPSG:8857", (9e6, 1.8e7), 8_392_927.6 / 140),
    "Goode's homolosine": ("+proj=igh +ellps=WGS84 +type=crs", (9e6, 2.1e7), 60_000),
    "Lambert azimuthal, polar": ("EPSG:6931", (1.3e7, 1.3e7), 60_000),
    "Lambert azimuthal, oblique": ("+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +type=crs", (1.3e7, 1.3e7), 60_000),
    "plate carree": ("EPSG:4087", (1.1e7, 2.003e7), 20_037_508.342789244 / 400),
}


@pytest.mark.parametrize("world", WORLDS)
def test_a_map_of_the_world_is_one_earth(world: str) -> None:
    """However far the image goes beyond it. Pixels on the edge have the share of four points, or of one."""
    crs, half, side = WORLDS[world]
    assert km2(around(crs, 0, 0, half, side)) == pytest.approx(EARTH_KM2, rel=1e-3)


@pytest.mark.parametrize("height", [50, 293])
def test_the_whole_of_ease_is_the_earth_to_seven_digits(height: int) -> None:
    """EPSG:6933 is a rectangle, so no pixel is cut: its own width and height over whole numbers of pixels."""
    east, north = place("EPSG:6933", 180, 0)[0], place("EPSG:6933", 0, 90)[1]
    areas = lattice("EPSG:6933", Affine(east / 300, 0, -east, 0, -2 * north / height, north), (height, 600))
    assert km2(areas) == pytest.approx(EARTH_KM2, rel=1e-7)


def test_a_satellite_sees_its_cap() -> None:
    """Of a sphere: 2 pi R^2 (1 - R / (R + h)). Ground is dense at the limb, so its pixels are good to 1 % only."""
    radius, height = 6371.0, 35785.831
    truth = 2 * math.pi * radius**2 * (1 - radius / (radius + height))
    assert km2(around(SATELLITE, 0, 0, (6e6, 6e6), 40_000)) == pytest.approx(truth, rel=0.01)


@pytest.mark.parametrize("half", [3e6, 8e6])
def test_a_band_of_transverse_mercator_is_that_of_a_sphere(half: float) -> None:
    """Between -x and x, over a whole turn north: 4 pi R^2 tanh(x / R) (Snyder 1987, eq. 8-1)."""
    radius = 6371.0
    areas = around("+proj=tmerc +R=6371000 +type=crs", 0, 0, (math.pi * radius * 1000, half), half / 100)
    truth = 4 * math.pi * radius**2 * math.tanh(half / 1000 / radius)
    assert km2(areas) == pytest.approx(truth, rel=1e-3)


def test_a_large_map_of_stereographic_lies_between_its_circles() -> None:
    """Within r there is the share r^2 / (r^2 + 4 R^2) of a sphere; of the square, that of a circle in it and around."""
    radius, half = 6371.0, 6e4
    found = km2(around("+proj=stere +lat_0=90 +R=6371000 +type=crs", 0, 0, (half * 1000, half * 1000), 500_000))
    inner, outer = (r**2 / (r**2 + 4 * radius**2) for r in (half, half * math.sqrt(2)))
    assert inner < found / (4 * math.pi * radius**2) < outer


FLAT = {
    "EASE, the north": ("EPSG:6933", (20, 90), (0, 0)),
    "EASE, the corner": ("EPSG:6933", (180, 90), (0, -6)),
    "EASE, in the south": ("EPSG:6933", (-60, -90), (-40, 0)),
    "Equal Earth, the north": ("EPSG:8857", (0, 90), (0, 0)),
    "Equal Earth, the east": ("EPSG:8857", (180, 0), (-20, -8)),
    "Mollweide, the north": (MOLLWEIDE, (0, 90), (1, -3)),
    "Mollweide, the east": (MOLLWEIDE, (180, 0), (-20, -8)),
    "sinusoidal, the north": ("ESRI:54008", (0, 90), (1, -1)),
    "sinusoidal, the north of a sphere": ("+proj=sinu +R=6371007.181 +type=crs", (0, 90), (1, -1)),
    "sinusoidal, the south": ("ESRI:54008", (0, -90), (-41, -3)),
    "sinusoidal, the east": ("ESRI:54008", (180, 0), (-20, -50)),
    "Lambert azimuthal, the pole": ("EPSG:6931", (0, 90), (-20, -3)),
    "Lambert azimuthal, far away": ("+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +type=crs", (170, -52), (-20, 4)),
    "Europe": ("EPSG:3035", (25, 71), (0, 0)),
}


@pytest.mark.parametrize("side", [10, 30, 1000, 25_000])
@pytest.mark.parametrize("corner", FLAT)
def test_where_the_map_keeps_areas_they_are_the_maps_to_its_edge(corner: str, side: float) -> None:
    """40 x 6 pixels, the first so many (down, right) from a place on the edge; planar pixels are the truth."""
    crs, at, (down, right) = FLAT[corner]
    x, y = place(crs, *at)
    if "far away" in corner:
        x, y = (0.9 * some for some in (x, y))
    areas = lattice(crs, Affine(side, 0, x + right * side, 0, -side, y - down * side), (40, 6))
    values = np.broadcast_to(areas.of(Window(y=0, x=0, height=40, width=6)), (40, 6))
    inside = values[:, :2] if "sinusoidal, the north" in corner else values
    np.testing.assert_allclose(inside, side**2, rtol=1e-6)


def test_plate_carree_at_its_pole_is_the_closed_form() -> None:
    """Rows of a kilometre by EPSG:6933 on the same ellipsoid, down to the pole."""
    east, north = place("EPSG:4087", 180, 90)
    areas = lattice("EPSG:4087", Affine(1000, 0, 0, 0, -1000, north), (60, 3))
    rows = np.broadcast_to(areas.of(Window(y=0, x=0, height=60, width=3)), (60, 3))[:, 0]
    tops = [place("EPSG:6933", 0, 90 - 90 * 1000 * row / north)[1] for row in range(61)]
    width = place("EPSG:6933", 180 * 1000 / east, 0)[0]
    np.testing.assert_allclose(rows, -np.diff(tops) * width, rtol=3e-6)


BESIDE = {
    "sinusoidal": ("ESRI:54008", 1.5e7, 8e6),
    "Equal Earth, beyond its pole": ("EPSG:8857", 1e6, 8.6e6),
    "Equal Earth, east of it": ("EPSG:8857", 1.6e7, 6e6),
    "Goode's homolosine, between its lobes": ("+proj=igh +ellps=WGS84 +type=crs", -4e6, 7e6),
    "Lambert conic, behind its cut": ("EPSG:3034", 4e6, 1.9e7),
    "plate carree, beyond its pole": ("EPSG:4087", 1e6, 1.1e7),
    "EASE, beyond its pole": ("EPSG:6933", 1e6, 7.4e6),
    "satellite": (SATELLITE, 5.6e6, 1e6),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_beside_the_map_there_is_no_ground(beside: str) -> None:
    crs, x, y = BESIDE[beside]
    assert km2(around(crs, x, y, (20_000, 20_000), 1000)) == 0


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:6933", "EPSG:4087", "EPSG:3395", "+proj=mill +R=6371000 +type=crs"])
@pytest.mark.parametrize("turns", [-1.5, -0.5, 0.5, 1.0, 2.5])
def test_a_map_that_repeats_has_its_ground_again(crs: str, turns: float) -> None:
    """Scenes over the antimeridian, and whole turns away: areas depend on latitude alone."""
    x, y = place(crs, 180, 60)
    home, away = (around(crs, middle, y, (1e5, 1.5e5), 1000) for middle in (0, 2 * x * turns))
    assert km2(away) == pytest.approx(km2(home), rel=1e-11)
    assert km2(home) > 0


@pytest.mark.parametrize(
    ("crs", "longitude", "latitude"),
    [
        ("EPSG:3338", 180, 52),  # Alaska Albers: the antimeridian lies within
        ("EPSG:32601", 180, 64),
        ("EPSG:3034", -60, 60),  # conic, 70 degrees west of its meridian
        ("EPSG:3413", 135, 88),
        ("EPSG:8857", 179, 70),
        ("ESRI:54008", -179, 75),
        ("ESRI:54009", 120, -85),
        ("+proj=igh +ellps=WGS84 +type=crs", 20, -3),
        (SATELLITE, 60, 30),
        ("+proj=robin +ellps=WGS84 +type=crs", 100, 83),
    ],
)
def test_tiles_equal_densified_geodesics(crs: str, longitude: float, latitude: float) -> None:
    """Blocks of 3 x 3 pixels of 600 m around a place, by pyproj.Geod on the CRS's ellipsoid."""
    x, y = place(crs, longitude, latitude)
    along, still = np.linspace(0, 1, 300, endpoint=False), np.zeros(300)
    ring = np.concatenate([np.c_[along, still], np.c_[still + 1, along]])
    ring = (np.concatenate([ring, 1 - ring]) - 0.5) * 1800 + (x, y)
    flat = CRS.from_user_input(crs)
    to_globe = Transformer.from_crs(flat, flat.geodetic_crs, always_xy=True)
    ellipsoid = flat.ellipsoid
    assert ellipsoid is not None
    globe = Geod(a=ellipsoid.semi_major_metre, b=ellipsoid.semi_minor_metre)
    truth, _ = globe.polygon_area_perimeter(*to_globe.transform(*ring.T))
    areas = lattice(crs, Affine(600, 0, x - 900, 0, -600, y + 900), (3, 3))
    assert plane_area(areas, (3, 3)) == pytest.approx(abs(truth), rel=1e-6)


def test_ground_off_the_map_costs_next_to_nothing() -> None:
    """World-wide pixels of 4 km, half of them off the map: samples lie along the edge, not over the garbage."""
    asked: list[int] = []
    true = map_density(CRS("ESRI:54008"))

    def counted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        asked.append(x.size)
        return true(x, y)

    areas = LatticeAreas((5010, 10_020), Affine(4000, 0, -2.004e7, 0, -4000, 1.002e7), counted, 1)
    assert km2(areas) == pytest.approx(EARTH_KM2, rel=1e-4)
    assert sum(asked) < 0.06 * 5010 * 10_020
