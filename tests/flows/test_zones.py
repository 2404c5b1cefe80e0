"""Areas per zone of real runs: partitions sum to the total, and others count the same."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pyproj
import pytest
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from shapely.geometry import mapping

from downstream.zones import load_zones
from flows.recipe import load_recipe
from flows.results import ledger_tiles
from flows.zones.areas import zones_block
from storage.run import Run

PLANAR = "area.method=planar"
"""Truths by pencil are in map metres."""

LEFT, TOP, RIGHT, BOTTOM = 500_000, 5_000_000, 502_600, 4_997_000
"""Of make_scene: 260 x 300 px of 10 m."""
FRAME = shapely.box(LEFT, BOTTOM, RIGHT, TOP)


def write(path: Path, shapes: list[Any], names: list[str], crs: str = "EPSG:32633") -> str:
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": mapping(shape)}
        for name, shape in zip(names, shapes, strict=True)
    ]
    named = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": named, "features": features}))
    return str(path)


def cells(places: list[tuple[float, float]], frame: Any = FRAME) -> list[Any]:
    """Voronoi cells of a frame, with places in shares of it."""
    x, y, x_stop, y_stop = frame.bounds
    points = shapely.MultiPoint([(x + u * (x_stop - x), y + v * (y_stop - y)) for u, v in places])
    parts = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=frame))
    return [shape for shape in shapely.intersection(parts, frame) if shape.geom_type == "Polygon"]


def sums(block: dict[str, Any]) -> tuple[float, float, float, float]:
    rows = block["rows"]
    return (
        math.fsum(row["classes"][0]["mapped"] for row in rows),
        math.fsum(row["observed"] for row in rows),
        math.fsum(row["not_observed"] for row in rows),
        math.fsum(row["classes"][0]["pixels"] for row in rows),
    )


def block_of(folder: Path, path: str) -> dict[str, Any]:
    run = Run.open(folder)
    return zones_block(run, ledger_tiles(run), load_zones(path, None, run.plan.image))


PLACES = st.lists(st.tuples(*[st.integers(1, 255).map(lambda n: n / 256)] * 2), min_size=2, max_size=9, unique=True)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_zones_that_partition_the_image_sum_to_the_total(make_scene, measure, tmp_path, crs):
    """Metres and degrees, with nodata, a hole in the file's data and rejected tiles; any partition."""
    place = {"EPSG:32633": from_origin(LEFT, TOP, 10, 10), "EPSG:4326": from_origin(12, 47, 1e-4, 1e-4)}[crs]
    scene = make_scene(transform=place, crs=crs, nodata=0)
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, 150:222, 30:111] = 0
        file.write(pixels)
    area = measure(scene, "gate.threshold=0.2", "audit.tiles=7")["area"]
    frame = shapely.box(*rasterio.open(scene.path).bounds)
    whole = (area["classes"][0]["mapped"], area["observed"], area["not_observed"], area["classes"][0]["pixels"])

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(PLACES)
    def check(places):
        shapes = cells(places, frame)
        path = write(tmp_path / "zones.geojson", shapes, [str(i) for i in range(len(shapes))], crs)
        block = block_of(tmp_path / "run", path)
        assert sums(block) == pytest.approx(whole, rel=1e-9, abs=1e-6)
        assert block["overlaps"] == []

    check()


def test_exactextract_counts_the_same(make_scene, measure, tmp_path):
    """North-up, one CRS, pixels of equal area: the case exactextract is an oracle for."""
    scene = make_scene()
    measure(scene, "gate.threshold=0", "audit.tiles=0", PLANAR)
    ring = (
        shapely.Point(500_703.3, 4_999_396.1).buffer(431.7).difference(shapely.Point(500_650, 4_999_450).buffer(99.5))
    )
    sliver = shapely.Polygon([(501_000.3, 4_997_100), (502_500, 4_999_999), (501_003.1, 4_997_100)])
    shapes = [ring, sliver, shapely.union(shapely.box(500_011, 4_997_013, 500_499, 4_997_601), sliver)]
    block = block_of(tmp_path / "run", write(tmp_path / "zones.geojson", shapes, ["ring", "sliver", "both"]))
    raster = NumPyRasterSource(scene.water.astype(float), xmin=LEFT, ymin=BOTTOM, xmax=RIGHT, ymax=TOP)
    features = [{"type": "Feature", "properties": {}, "geometry": mapping(shape)} for shape in shapes]
    theirs = exact_extract(raster, features, ["water=sum(coverage_weight=fraction)"])
    for row, found, shape in zip(block["rows"], theirs, shapes, strict=True):
        water = found["properties"]["water"]
        assert row["classes"][0]["pixels"] == pytest.approx(water, rel=1e-6, abs=1e-6)
        assert row["classes"][0]["mapped"] == pytest.approx(water * 100, rel=1e-6, abs=1e-4)
        assert row["observed"] == pytest.approx(shape.area, rel=1e-9)
        assert row["inside"] == pytest.approx(shape.area, rel=1e-9)
    (pair,) = block["overlaps"]
    assert pair["names"] == ["sliver", "both"]
    assert pair["area"] == pytest.approx(sliver.area, rel=1e-9)


def test_what_a_zone_holds_of_nodata_is_not_observed(make_scene, measure, tmp_path):
    """Its border runs through tiles that hold data in part, and cuts pixels."""
    scene = make_scene(nodata=0)
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, :40, :50] = 0
        file.write(pixels)
    summary = measure(scene, "gate.threshold=0", "audit.tiles=0", PLANAR)
    zone = shapely.box(500_100.5, 4_999_500, 500_405, 4_999_900.25)  # columns 10.05 to 40.5, rows 9.975 to 50
    (row,) = block_of(tmp_path / "run", write(tmp_path / "z.geojson", [zone], ["z"]))["rows"]
    assert row["inside"] == pytest.approx(zone.area)
    assert row["observed"] == pytest.approx(30.45 * 10 * 100)  # below row 40 only
    assert summary["status"] == "complete"


def test_lost_tiles_are_the_zone_s_own(make_scene, measure, tmp_path, monkeypatch):
    scene = make_scene()
    import flows.segment_stage as stage

    real = stage.require_labels

    def fails(job, stack):
        if (stack.tiles[0].row, stack.tiles[0].col) == (2, 3):
            raise ValueError("boom")
        return real(job, stack)

    monkeypatch.setattr(stage, "require_labels", fails)
    summary = measure(scene, "gate.threshold=0", "audit.tiles=0", PLANAR)
    assert summary["status"] == "partial"
    half = shapely.box(LEFT, BOTTOM, LEFT + 1_120, TOP)  # columns 0 to 112: half of tile (2, 3), columns 96 to 128
    rest = shapely.box(LEFT + 1_120, BOTTOM, RIGHT, TOP)
    block = block_of(tmp_path / "run", write(tmp_path / "z.geojson", [half, rest], ["half", "rest"]))
    assert [row["not_observed"] for row in block["rows"]] == [16 * 32 * 100.0] * 2
    assert sum(row["not_observed"] for row in block["rows"]) == summary["area"]["not_observed"]


@pytest.fixture
def quarters(tmp_path):
    x, y = (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2
    shapes = [
        shapely.box(*b) for b in ((LEFT, BOTTOM, x, y), (x, BOTTOM, RIGHT, y), (LEFT, y, x, TOP), (x, y, RIGHT, TOP))
    ]
    return write(tmp_path / "quarters.geojson", shapes, ["SW", "SE", "NW", "NE"])


def test_a_run_with_zones_tells_them_everywhere(make_scene, measure, tmp_path, quarters):
    summary = measure(make_scene(), f"area.zones={quarters}", "area.unit=ha")
    folder = tmp_path / "run"
    block = json.loads((folder / "summary.json").read_text())["zones"]
    assert block == summary["zones"]
    assert (block["path"], block["name_column"], block["method"]) == (quarters, "name", summary["area"]["method"])
    assert [row["name"] for row in block["rows"]] == ["SW", "SE", "NW", "NE"]
    rows = list(csv.DictReader(io.StringIO((folder / "zones.csv").read_text())))
    assert next((row["zone"], row["name"], row["class"], row["unit"]) for row in rows) == ("1", "SW", "water", "ha")
    mapped = sum(float(row["mapped"]) for row in rows)
    assert mapped * 1e4 == pytest.approx(summary["area"]["classes"][0]["mapped"], rel=1e-12)
    page = (folder / "report.html").read_text()
    assert "<h2>Zones</h2>" in page
    assert "quarters.geojson" in page
    assert "the whole image only" in page
    assert page.count("<path ") == 4
    assert "http" not in page


def test_other_zones_do_not_hinder_a_resume(make_scene, measure, tmp_path, quarters):
    """Neither the fingerprint nor a shard changes; the tables do."""
    scene = make_scene()
    plain = measure(scene)
    ledger = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run/ledger").rglob("*.parquet")}
    with_zones = measure(scene, f"area.zones={quarters}")
    assert "zones" not in plain
    assert with_zones["fingerprint"] == plain["fingerprint"]
    assert [row["name"] for row in with_zones["zones"]["rows"]] == ["SW", "SE", "NW", "NE"]
    assert {key: with_zones[key] for key in plain} == plain
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run/ledger").rglob("*.parquet")} == ledger
    Path(quarters).write_text(Path(quarters).read_text().replace('"SW"', '"south west"'))
    again = measure(scene, f"area.zones={quarters}")
    assert again["zones"]["rows"][0]["name"] == "south west"
    assert again["zones"]["sha256"] != with_zones["zones"]["sha256"]
    assert "south west" in (tmp_path / "run/report.html").read_text()
    assert "zones" not in measure(scene)


def test_a_missing_file_of_zones_is_refused_before_the_work(make_scene, tilegate, tmp_path):
    scene = make_scene()
    found = tilegate(
        "run", scene.path, "--recipe", "water", "--set", "area.zones=nowhere.gpkg", "--out", tmp_path / "run"
    )
    assert found.code == 2
    assert "nowhere.gpkg does not exist" in found.err
    assert not (tmp_path / "run").exists()


def test_zones_of_a_finished_run(make_scene, measure, tilegate, tmp_path, quarters):
    """The command gives what the run itself would, and leaves the folder as it is."""
    scene = make_scene()
    inside = measure(scene, f"area.zones={quarters}", out="with")["zones"]
    measure(scene)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    found = tilegate("zones", tmp_path / "run", quarters, "--json", "--out", tmp_path / "table.csv")
    assert (found.code, found.json) == (0, inside)
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "with/zones.csv").read_bytes()
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
    text = tilegate("zones", tmp_path / "run", quarters).out
    assert [line.split()[0] for line in text.splitlines()[:5]] == ["zone", "SW", "SE", "NW", "NE"]
    assert tilegate("zones", tmp_path / "run", quarters, "--name", "district").code == 2
    assert tilegate("zones", tmp_path, quarters).code == 2


def test_an_image_that_went_away_costs_only_the_split_of_what_it_lacked(make_scene, measure, tmp_path, quarters):
    scene = make_scene(nodata=0)
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, 140:160, 120:140] = 0
        file.write(pixels)
    summary = measure(scene, "gate.threshold=0")
    scene.path.unlink()
    block = block_of(tmp_path / "run", quarters)
    assert block["tiles_taken_for_evenly_valid"] > 0
    assert sums(block)[:2] == pytest.approx(
        (summary["area"]["classes"][0]["mapped"], summary["area"]["observed"]), rel=1e-9
    )


def test_zones_in_another_crs_and_file(make_scene, measure, tmp_path):
    """A GeoPackage in degrees over a UTM scene, against pyproj's own reprojection of its dense border."""
    scene = make_scene()
    measure(scene, "gate.threshold=0", "segment.cut=-2", "audit.tiles=0")
    degrees = shapely.box(14.99, 45.13, 15.02, 45.15)
    path = tmp_path / "zones.gpkg"
    geometry = np.array([shapely.to_wkb(degrees)], object)
    pyogrio.raw.write(path, geometry, [np.array([7])], ["id"], geometry_type="Polygon", crs="EPSG:4326")
    (row,) = block_of(tmp_path / "run", str(path))["rows"]
    to_map = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    dense = shapely.transform(shapely.segmentize(degrees, 1e-5), lambda xy: np.column_stack(to_map.transform(*xy.T)))
    truth = shapely.intersection(dense, FRAME)
    assert row["name"] == "7"
    assert row["classes"][0]["pixels"] == pytest.approx(truth.area / 100, abs=0.01 * truth.length / 10)
    beyond = shapely.difference(dense, FRAME).area
    assert row["outside"] == pytest.approx(beyond, rel=1e-3)  # the scale of UTM, squared


def test_the_recipe_knows_zones():
    area = load_recipe("water", ("area.zones=districts.gpkg", "area.zones_name=label")).area
    assert (area.zones, area.zones_name, area.aoi) == ("districts.gpkg", "label", None)
