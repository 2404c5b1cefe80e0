"""`tilegate accuracy`: reference samples in any CRS against a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
import tifffile
from pyogrio import raw
from pyproj import Transformer

OFF = ("gate.threshold=0", "audit.tiles=0", "area.method=planar")


def write(path, shapes, words, crs="EPSG:32633", column="class"):
    raw.write(
        str(path),
        geometry=np.array(shapely.to_wkb(shapes), object),
        field_data=[np.array(words, object)],
        fields=np.array([column], object),
        geometry_type="Unknown",
        crs=crs,
        driver="GPKG",
    )
    return path


def places(seed, count, scene):
    """Random pixels of the scene: (rows, columns, map coordinates of their centres)."""
    rng = np.random.default_rng(seed)
    rows, cols = (rng.integers(0, size, count) for size in scene.water.shape)
    return rows, cols, np.stack([500_000 + 10 * cols + 5, 5_000_000 - 10 * rows - 5], axis=1)


def test_areas_are_adjusted_by_what_the_reference_says(make_scene, measure, tilegate, tmp_path):
    """A reference that calls every tenth place otherwise; areas and errors by numpy from its own confusion matrix."""
    scene = make_scene()
    measure(scene, *OFF)
    rows, cols, xy = places(1, 400, scene)
    truth = scene.water[rows, cols]
    said = truth ^ (np.arange(400) % 10 == 3)
    path = write(tmp_path / "ref.gpkg", shapely.points(xy), np.where(said, "Water", "meadow"))
    found = tilegate("accuracy", tmp_path / "run", path, "--json").json
    n = np.array([[(truth & said).sum(), (truth & ~said).sum()], [(~truth & said).sum(), (~truth & ~said).sum()]])
    assert found["counts"]["map_by_reference"] == n.tolist()
    mapped = np.array([scene.water.sum(), (~scene.water).sum()]) * 100.0
    p = n / n.sum(axis=1, keepdims=True)
    assert found["classes"][0]["area"] == pytest.approx((mapped * p[:, 0]).sum())
    error = np.sqrt((mapped**2 * p[:, 0] * (1 - p[:, 0]) / (n.sum(axis=1) - 1)).sum())
    assert found["classes"][0]["area_standard_error"] == pytest.approx(error)
    assert found["classes"][0]["mapped"] == mapped[0]
    assert found["overall_accuracy"]["value"] == pytest.approx((mapped * np.diag(p)).sum() / mapped.sum())
    assert found["counted_as_background"] == ["meadow"]
    page = tilegate("accuracy", tmp_path / "run", path).out
    assert "background: meadow" in page
    assert "±" in page


def test_degrees_and_small_polygons_land_on_the_same_pixels(make_scene, measure, tilegate, tmp_path):
    scene = make_scene()
    measure(scene, *OFF)
    rows, cols, xy = places(2, 120, scene)
    words = np.where(scene.water[rows, cols], "water", "land")
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(*xy.T)
    files = [
        write(tmp_path / "metres.gpkg", shapely.points(xy), words),
        write(tmp_path / "degrees.gpkg", shapely.points(lon, lat), words, "EPSG:4326"),
        write(tmp_path / "squares.gpkg", shapely.buffer(shapely.points(xy), 4, cap_style="square"), words),
    ]
    features = [
        {"type": "Feature", "properties": {"label": word}, "geometry": {"type": "Point", "coordinates": [x, y]}}
        for x, y, word in zip(lon.tolist(), lat.tolist(), words.tolist(), strict=True)
    ]
    (tmp_path / "ref.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    told = [tilegate("accuracy", tmp_path / "run", path, "--json").json for path in (*files, tmp_path / "ref.geojson")]
    assert all(each == told[0] for each in told)
    assert told[0]["overall_accuracy"] == {"value": 1, "standard_error": 0}
    assert told[0]["samples"] == 120


def test_a_large_polygon_is_one_sample_of_its_commonest_class(make_scene, measure, tilegate, tmp_path):
    """The first lake has its centre at pixel (60, 70) and a radius of 45: a square there is water."""
    scene = make_scene()
    measure(scene, *OFF)
    wet = [shapely.box(500_000 + x, 5_000_000 - 700, 500_000 + x + 150, 5_000_000 - 500) for x in (600, 700)]
    dry = [shapely.box(501_500 + x, 4_999_000, 501_600 + x, 4_999_100) for x in (0, 200)]
    path = write(tmp_path / "ref.gpkg", [*wet, *dry], ["water", "water", "land", "water"])
    found = tilegate("accuracy", tmp_path / "run", path, "--json").json
    assert found["counts"]["map_by_reference"] == [[2, 0], [1, 1]]


def test_what_nobody_segmented_is_background_and_what_nobody_saw_is_left_out(make_scene, measure, tilegate, tmp_path):
    """A gate that rejects all but the lake's heart: water outside it counts as missed. Samples elsewhere are told."""
    scene = make_scene()
    summary = measure(scene, "gate.threshold=0.9", "audit.tiles=0", "area.method=planar")
    rows, cols, xy = places(3, 300, scene)
    words = np.where(scene.water[rows, cols], "water", "land").astype(object)
    words[:7] = ""
    far = shapely.points([[400_000.0, 5_000_000.0]] * 5)
    path = write(tmp_path / "ref.gpkg", [*shapely.points(xy), *far], [*words, *["water"] * 5])
    found = tilegate("accuracy", tmp_path / "run", path, "--json").json
    assert found["dropped"] == {"outside the image": 5, "without a class": 7}
    (seen, wrong), (missed, _) = found["counts"]["map_by_reference"]
    assert wrong == 0
    assert seen + missed == scene.water[rows, cols][7:].sum()
    assert missed > 0
    truth, water = scene.water.sum() * 100.0, found["classes"][0]
    assert abs(water["area"] - truth) < 4 * water["area_standard_error"]
    assert summary["area"]["classes"][0]["mapped"] < truth


def test_what_does_not_fit_is_refused(make_scene, measure, tilegate, tmp_path):
    scene = make_scene()
    measure(scene, *OFF)
    _, _, xy = places(4, 10, scene)
    alien = write(tmp_path / "alien.gpkg", shapely.points(xy), ["lac"] * 10)
    told = tilegate("accuracy", tmp_path / "run", alien)
    assert (told.code, "lac; the map has water, background" in told.err) == (2, True)
    lines = write(tmp_path / "lines.gpkg", [shapely.LineString(xy)], ["water"])
    assert "LineString: a sample is a point or a polygon" in tilegate("accuracy", tmp_path / "run", lines).err
    one = write(tmp_path / "one.gpkg", shapely.points(xy[:1]), ["water"])
    assert "at least two per mapped class" in tilegate("accuracy", tmp_path / "run", one).err
    assert tilegate("accuracy", tmp_path / "run", tmp_path / "none.gpkg").code == 2


def test_glass_that_was_screened_out_is_background(tilegate, tmp_path):
    """A slide, a quarter of it tissue and brown; samples on glass agree with a map that says nothing there."""
    slide = np.full((256, 256, 3), 245, "uint8")
    slide[:128, :128] = (110, 70, 40)
    tifffile.imwrite(
        tmp_path / "slide.tif", slide, tile=(64, 64), photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3
    )
    options = ("--set", "screen.min_tissue=0.5", "--set", "tile.size_px=64", "--set", "gate.threshold=0")
    done = tilegate("run", tmp_path / "slide.tif", "--recipe", "dab", "--out", tmp_path / "run", "--json", *options)
    assert done.json["tiles"]["empty"] == 12, done.err
    places = {"dab": [(10, 10), (90, 40)], "glass": [(200, 30), (40, 200), (220, 220)]}
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": place},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, many in places.items()
        for place in many
    ]
    (tmp_path / "ref.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = tilegate("accuracy", tmp_path / "run", tmp_path / "ref.geojson", "--json").json
    assert (found["samples"], found["dropped"]) == (5, {})
    assert found["counts"]["map_by_reference"] == [[2, 0], [0, 3]]


AOI = shapely.Point(500_703, 4_999_396).buffer(620).difference(shapely.box(500_500, 4_999_300, 500_803, 4_999_455))
"""Some meadow around a lake, and a hole in it."""


def within_aoi(measure, scene, tmp_path, *changes):
    path = write(tmp_path / "aoi.gpkg", [AOI], ["all"])
    measure(scene, f"area.aoi={path}", *OFF, *changes)


def test_samples_outside_the_area_of_interest_are_left_out(make_scene, measure, tilegate, tmp_path):
    """Those in tiles that its border cuts, too: shapely says which points are inside."""
    scene = make_scene()
    within_aoi(measure, scene, tmp_path)
    rows, cols, xy = places(9, 500, scene)
    truth, inside = scene.water[rows, cols], shapely.contains_xy(AOI, *xy.T)
    assert 50 < inside.sum() < 450
    path = write(tmp_path / "ref.gpkg", shapely.points(xy), np.where(truth, "water", "land"))
    found = tilegate("accuracy", tmp_path / "run", path, "--json").json
    wet, dry = int((truth & inside).sum()), int((~truth & inside).sum())
    assert found["counts"]["map_by_reference"] == [[wet, 0], [0, dry]]
    assert found["dropped"] == {"outside the area of interest": int((~inside).sum())}
    assert found["samples"] == inside.sum()
    told = tilegate("accuracy", tmp_path / "run", path).out
    assert f"left out: {(~inside).sum():,} samples outside the area of interest" in told


def test_points_count_by_where_they_are_and_polygons_by_their_larger_part(make_scene, measure, tilegate, tmp_path):
    """The same lake cut at x = 500 703.2, within a pixel and a tile; squares of 5 x 5 pixels, 12 or 13 of them inside."""
    scene = make_scene()
    edge = 500_703.2
    path = write(tmp_path / "aoi.gpkg", [shapely.box(500_000, 4_997_000, edge, 5_000_000)], ["all"])
    measure(scene, f"area.aoi={path}", *OFF)
    y = 4_999_405  # centre of row 59, in the lake
    points = [shapely.Point(edge - 0.1, y), shapely.Point(edge + 0.1, y)]
    squares = [shapely.box(left, y - 25, left + 50, y + 25) for left in (500_670, 500_680, 500_690)]
    shapes = [*points, *squares, shapely.Point(500_005, 4_999_995), shapely.Point(500_015, 4_999_995)]
    path = write(tmp_path / "ref.gpkg", shapes, ["water"] * 5 + ["land"] * 2)
    found = tilegate("accuracy", tmp_path / "run", path, "--json").json
    assert found["counts"]["map_by_reference"] == [
        [2, 0],
        [0, 2],
    ]  # of the first, columns 67 to 69 of 67 to 71 have their centres inside
    assert found["dropped"] == {"outside the area of interest": 3}


def test_samples_on_a_coarser_plane_are_found_inside(make_scene, measure, tilegate, tmp_path):
    """The area of interest is kept in pixels of the image, samples are in those of the segmenter's plane."""
    scene = make_scene()
    within_aoi(measure, scene, tmp_path, "tile.pixel_size=20")
    rows, cols, xy = places(4, 300, scene)
    inside = shapely.contains_xy(AOI, *xy.T)
    path = write(tmp_path / "ref.gpkg", shapely.points(xy), np.where(scene.water[rows, cols], "water", "land"))
    found = tilegate("accuracy", tmp_path / "run", path, "--json").json
    assert found["samples"] == inside.sum()
    assert found["dropped"] == {"outside the area of interest": int((~inside).sum())}
