"""Zones from files, as they come to lie on an image."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer
from shapely.geometry import mapping

from downstream.zones import load_zones, overlaps
from downstream.zones_place import TOLERANCE_PX, bend, ground_area
from tiling.errors import BadInput
from tiling.info import ImageInfo, PixelSize

Write = Callable[..., str]


def image(crs: str | None, transform: Affine | None, shape: tuple[int, int] = (300, 400)) -> ImageInfo:
    return ImageInfo(
        uri="scene.tif",
        kind="slide" if crs is None else "raster",
        shape_px=shape,
        bands=("a",),
        dtype="uint8",
        nodata=None,
        pixel_size=PixelSize(y=0.5, x=0.25, unit="um") if crs is None else PixelSize(y=10, x=10, unit="m"),
        transform=transform,
        crs=None if crs is None else CRS.from_user_input(crs).to_wkt(),
    )


UTM = image("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000))
SLIDE = image(None, None)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(shapes: list[Any], names: list[str], crs: str | None, name: str = "zones.gpkg") -> str:
        path = tmp_path / name
        column = np.array(names, object)
        geometry = np.array([shapely.to_wkb(shape) for shape in shapes], object)
        pyogrio.raw.write(path, geometry, [column], ["name"], geometry_type="Unknown", crs=crs)
        return str(path)

    return make


def square(x: float, y: float, side: float) -> Any:
    return shapely.box(x, y, x + side, y + side)


@pytest.mark.parametrize("name", ["zones.gpkg", "zones.shp", "zones.fgb"])
def test_any_vector_file_in_the_image_s_own_crs(write: Write, name: str) -> None:
    ring = square(500_100, 4_998_000, 1_000).difference(square(500_300, 4_998_300, 200))
    both = shapely.union(ring, square(502_000, 4_998_005, 50))
    zones = load_zones(write([both], ["west"], "EPSG:32633", name), None, UTM)
    (zone,) = zones.zones
    assert (zone.name, zone.number, zone.outside, zones.tolerance_px) == ("west", 1, 0.0, 0.0)
    assert zone.shape.area * 100 == pytest.approx(both.area, rel=1e-12)
    assert zone.shape.bounds == pytest.approx((10, 100, 205, 200))


def test_reprojected_borders_follow_the_map(write: Write) -> None:
    """A box of degrees over a UTM scene: every point of its true border, seen by pyproj, lies on ours."""
    degrees = shapely.box(15.1, 44.97, 16.1, 45.12)
    wide = image("EPSG:32633", UTM.transform, (2_000, 10_000))
    zones = load_zones(write([degrees], ["box"], "EPSG:4326"), None, wide)
    ends = np.array(degrees.exterior.coords)
    dense = np.concatenate([np.linspace(a, b, 997) for a, b in pairwise(ends)])
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(dense[:, 0], dense[:, 1])
    points = shapely.points((x - 500_000) / 10, (5_000_000 - y) / 10)
    on_image = [point for point in points if 0 < point.x < 10_000 and 0 < point.y < 2_000]
    assert zones.tolerance_px == TOLERANCE_PX
    assert len(on_image) > 1_000
    assert max(shapely.distance(zones.zones[0].shape.exterior, on_image)) < TOLERANCE_PX
    straight = shapely.Polygon([(point.x, point.y) for point in points[[0, 996, 1993, 2990]]])
    assert max(shapely.distance(straight.exterior, on_image)) > 10  # what four corners alone would be wrong by, px


def test_neighbours_bend_their_shared_border_alike() -> None:
    line = np.array([[0.0, 0.0], [3.0, 1.0], [10.0, 40.0]])

    def curve(xy: np.ndarray) -> np.ndarray:
        return np.column_stack([xy[:, 0] * 100, xy[:, 1] ** 2])

    there, back = bend(line, curve), bend(line[::-1], curve)
    assert len(there) > 20
    np.testing.assert_array_equal(there, back[::-1])


def test_what_lies_outside_of_the_image_is_measured_on_the_ellipsoid(write: Write) -> None:
    inside = shapely.box(500_000, 4_997_000, 504_000, 5_000_000)  # the whole frame
    zone = shapely.union(inside, shapely.box(504_000, 4_997_000, 600_000, 5_000_000))
    (found,) = load_zones(write([zone], ["z"], "EPSG:32633"), None, UTM).zones
    rest = shapely.segmentize(shapely.box(504_000, 4_997_000, 600_000, 5_000_000), 500)
    ground = np.column_stack(
        Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(*np.array(rest.exterior.coords).T)
    )
    truth = abs(Geod(ellps="WGS84").polygon_area_perimeter(*ground.T)[0])
    assert found.outside == pytest.approx(truth, rel=1e-5)
    assert found.shape.area == 300 * 400


def test_a_box_of_degrees_has_its_area() -> None:
    """At 16 degrees south, 0.2 by 0.1 degrees, across the antimeridian: 236,943,386 m2."""
    box = shapely.box(179.9, -16, 180.1, -15.9)
    assert ground_area(box, CRS.from_epsg(4326)) == pytest.approx(236_943_386, rel=2e-5)


def test_a_country_far_larger_than_a_scene_does_not_fold_over_it(write: Write) -> None:
    """Half the world in degrees over a UTM scene: transverse Mercator means nothing there."""
    world = shapely.box(-170, -80, 15.02, 80)
    (found,) = load_zones(write([world], ["world"], "EPSG:4326"), None, UTM).zones
    edge, _ = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(15.02, 45.14)
    assert found.shape.bounds == pytest.approx((0, 0, (edge - 500_000) / 10, 300), abs=0.1)


@pytest.mark.parametrize("west", [-180.0, 180.0])
def test_zones_beyond_the_antimeridian(write: Write, west: float) -> None:
    """An image from 179 to 181 degrees; the file calls the eastern half -180 to -179 or 180 to 181."""
    info = image("EPSG:4326", Affine(0.01, 0, 179, 0, -0.01, 1), (200, 200))
    zones = load_zones(write([shapely.box(west, -1, west + 1, 1)], ["east"], "EPSG:4326"), None, info)
    assert zones.zones[0].shape.bounds == pytest.approx((100, 0, 200, 200))


def test_qupath_draws_in_pixels_of_the_slide(tmp_path: Path) -> None:
    annotations = [
        {"type": "Feature", "id": "a-1", "geometry": mapping(square(10, 20, 30)), "properties": {"classification": {"name": "Tumor", "color": [200, 0, 0]}}},
        {"type": "Feature", "id": "a-2", "geometry": mapping(square(390, 0, 20)), "properties": {"name": "edge", "classification": {"names": ["Stroma"]}}},
        {"type": "Feature", "id": "a-3", "geometry": mapping(shapely.Point(5, 5)), "properties": {}},
    ]  # fmt: skip
    path = tmp_path / "slide.geojson"
    path.write_text(json.dumps(annotations))
    zones = load_zones(str(path), "classification", SLIDE)
    assert [zone.name for zone in zones.zones] == ["Tumor", "Stroma"]
    assert [zone.shape.area for zone in zones.zones] == [900, 200]
    assert [zone.outside for zone in zones.zones] == [0.0, 200 * 0.5 * 0.25]
    assert zones.notes == ("feature 3 of slide.geojson is no polygon and was left out.",)
    assert [zone.name for zone in load_zones(str(path), None, SLIDE).zones] == ["1", "edge"]  # a column called name


def test_a_ring_that_crosses_itself_is_mended_and_named(write: Write) -> None:
    bowtie = shapely.Polygon([(500_100, 4_999_000), (500_200, 4_999_100), (500_200, 4_999_000), (500_100, 4_999_100)])
    zones = load_zones(write([square(500_500, 4_999_000, 100), bowtie], ["a", "b"], "EPSG:32633"), None, UTM)
    assert zones.zones[1].shape.area == pytest.approx(50)  # two triangles of 100 m by 50 m, pixels of 100 m2
    assert len(zones.notes) == 1
    assert zones.notes[0].startswith("feature 2 of zones.gpkg was mended: Self-intersection")


def test_zones_that_overlap_are_told_and_neighbours_are_not(write: Write) -> None:
    here = [shapely.box(14.999, 44.9, 15.02, 45.2), shapely.box(15.02, 44.9, 15.03, 45.2)]
    shapes = [*here, shapely.box(15.025, 45.13, 15.05, 45.2)]
    zones = load_zones(write(shapes, ["a", "b", "c"], "EPSG:4326"), None, UTM)
    (found,) = overlaps(zones.zones, zones.tolerance_px)
    assert (found.first.name, found.second.name) == ("b", "c")
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    shared = shapely.segmentize(shapely.box(15.025, 45.13, 15.03, 45.2), 1e-4)
    on_map = shapely.transform(shared, lambda xy: np.column_stack(to_utm.transform(*xy.T)))
    truth = shapely.intersection(on_map, shapely.box(500_000, 4_997_000, 504_000, 5_000_000)).area / 100
    assert found.shape.area == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_text("{"), "cannot be read as polygons"),
        (lambda path: path.write_text('{"type": "FeatureCollection", "features": []}'), "no polygon"),
        (lambda path: path.write_text(path.read_text().replace("500200", "NaN")), "feature 1 of .* no numbers"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    path = tmp_path / "zones.geojson"
    ring = [[500100, 4999000], [500200, 4999000], [500200, 4999100], [500100, 4999000]]
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    assert load_zones(str(path), None, UTM).zones[0].shape.area == 50
    spoil(path)
    with pytest.raises(BadInput, match=says):
        load_zones(str(path), None, UTM)


def test_metres_taken_for_degrees_are_refused_with_the_feature(tmp_path: Path) -> None:
    path = tmp_path / "zones.geojson"
    feature = {"type": "Feature", "properties": {"name": "A"}, "geometry": mapping(square(500_100, 4_999_000, 100))}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(BadInput, match=r"feature 1 \(A\) of .* is no latitude"):
        load_zones(str(path), None, UTM)


def test_a_name_that_is_no_column_is_refused(write: Write) -> None:
    path = write([square(500_100, 4_999_000, 100)], ["a"], "EPSG:32633")
    with pytest.raises(BadInput, match="no column district to name its zones by; it has: name"):
        load_zones(path, "district", UTM)
