"""An area of interest: outside of it nothing is read, counted or observed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import zarr
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from shapely.geometry import mapping

import flows.job
from tiling.open import open_source
from tiling.window import Window

PLANAR = "area.method=planar"
"""Truths by pencil are in map metres."""

LEFT, TOP, RIGHT, BOTTOM = 500_000, 5_000_000, 502_600, 4_997_000
"""Of make_scene: 260 x 300 px of 10 m."""
LAKE = shapely.Point(500_703, 4_999_396).buffer(371).difference(shapely.box(500_650, 4_999_300, 500_700, 4_999_455))
"""Most of a lake, and a hole in it."""


def write(path: Path, shape, crs="EPSG:32633", **extra) -> str:
    named = {"type": "name", "properties": {"name": crs}}
    feature = {"type": "Feature", "properties": extra, "geometry": mapping(shape)}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": named, "features": [feature]}))
    return str(path)


@pytest.fixture
def aoi(tmp_path):
    return write(tmp_path / "aoi.geojson", LAKE)


def shares_of(shape) -> np.ndarray:
    """(300, 260): what exactextract says of every pixel."""
    raster = NumPyRasterSource(np.ones((300, 260)), xmin=LEFT, ymin=BOTTOM, xmax=RIGHT, ymax=TOP)
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(shape)}
    (found,) = exact_extract(raster, [feature], ["coverage", "cell_id"])
    shares = np.zeros(300 * 260)
    shares[found["properties"]["cell_id"]] = found["properties"]["coverage"]
    return shares.reshape(300, 260)


class Noting:
    """A source that notes where fine pixels were read."""

    def __init__(self, source, reads):
        self._source, self._reads = source, reads
        self.info = source.info

    def read(self, window, plane):
        self._reads.append((window, plane.scale))
        return self._source.read(window, plane)

    def close(self):
        self._source.close()


def test_tiles_outside_are_never_read(make_scene, measure, monkeypatch, aoi, tmp_path):
    reads: list[tuple[Window, tuple[float, float]]] = []
    monkeypatch.setattr(flows.job, "open_source", lambda spec: Noting(open_source(spec), reads))
    summary = measure(make_scene(), f"area.aoi={aoi}", "gate.threshold=0.3", "audit.tiles=3")
    shares = shares_of(LAKE)
    holding = {(r, c) for r in range(10) for c in range(9) if shares[r * 32 : r * 32 + 32, c * 32 : c * 32 + 32].any()}
    tiles = pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()
    assert {(t["row"], t["col"]) for t in tiles if t["state"] != "outside"} == holding
    assert 0 < len(holding) < len(tiles)
    seen = set()
    for window, scale in reads:
        side = 32 / scale[0]
        rows = range(int(window.y // side), math.ceil(window.y_stop / side))
        seen |= {(row, col) for row in rows for col in range(int(window.x // side), math.ceil(window.x_stop / side))}
    assert seen == holding
    assert len(reads) <= len(holding) + summary["tiles"]["positive"] + summary["tiles"]["audited"]
    counts = summary["tiles"]
    assert sum(counts[s] for s in ("empty", "negative", "positive", "unreadable", "failed")) == counts["total"] == 90
    assert counts["outside_aoi"] == 90 - len(holding) == counts["empty"]
    assert summary["status"] == "complete"


def test_areas_are_of_the_area_of_interest_only(make_scene, measure, aoi, tmp_path):
    """Pixels at its border count by their share, against exactextract's shares and shapely's area."""
    scene = make_scene()
    summary = measure(scene, f"area.aoi={aoi}", "gate.threshold=0", "audit.tiles=0", PLANAR)
    shares, area = shares_of(LAKE), summary["area"]
    (water,) = area["classes"]
    assert area["observed"] == pytest.approx(LAKE.area, rel=1e-9)
    assert area["aoi"]["area"] == pytest.approx(LAKE.area, rel=1e-9)
    assert area["aoi"]["path"] == aoi
    assert area["image"] == 260 * 300 * 100
    assert water["mapped"] == pytest.approx(100 * (shares * scene.water).sum(), rel=1e-6)  # theirs are float32
    assert water["pixels"] == (scene.water & (shares > 0)).sum()
    assert ((shares > 0) & (shares < 1) & scene.water).sum() > 0
    mask = zarr.open_array(tmp_path / "run/run.zarr/mask/0", mode="r")[...]
    assert np.array_equal(mask, scene.water & (shares > 0))


def test_rejected_and_audited_tiles_are_of_the_area_of_interest(make_scene, measure, tmp_path):
    """Nodata, tiles the gate rejects and an audit: what is observed is what of the area of interest holds data."""
    scene = make_scene(nodata=0)
    with rasterio.open(scene.path, "r+") as file:
        pixels = file.read()
        pixels[:, 171:, 180:] = 0
        file.write(pixels)
    shape = shapely.Polygon([(500_105, 4_997_203), (502_411, 4_997_504), (501_222, 4_999_801)])
    path = write(tmp_path / "aoi.geojson", shape)
    summary = measure(scene, f"area.aoi={path}", "gate.threshold=0.9", "audit.tiles=6", "gate.ring=0", PLANAR)
    assert summary["tiles"]["negative"] > summary["tiles"]["audited"] == 6
    assert summary["area"]["observed"] == pytest.approx(100 * (shares_of(shape) * (pixels[0] != 0)).sum(), rel=1e-6)
    tiles = pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()
    assert all(t["valid_area"] == 0 for t in tiles if t["state"] == "outside")


def test_what_is_lost_is_told_of_the_area_of_interest(make_scene, measure, aoi, monkeypatch):
    import flows.segment_stage as stage

    def fails(job, stack):
        raise ValueError("boom")

    monkeypatch.setattr(stage, "require_labels", fails)
    summary = measure(make_scene(), f"area.aoi={aoi}", "gate.threshold=0", "audit.tiles=0", PLANAR)
    assert summary["status"] == "partial"
    assert summary["area"]["observed"] == 0
    assert summary["area"]["not_observed"] == pytest.approx(LAKE.area, rel=1e-9)


def test_it_is_part_of_the_plan_by_what_it_holds(make_scene, measure, tilegate, tmp_path, aoi):
    """The path does not matter and the file may go away; another shape is another run."""
    scene = make_scene()
    first = measure(scene, f"area.aoi={aoi}")
    moved = write(tmp_path / "moved.geojson", LAKE, note="the same shape")
    assert (
        measure(scene, f"area.aoi={moved}")["fingerprint"]
        == first["fingerprint"]
        != measure(scene, out="all")["fingerprint"]
    )
    Path(aoi).unlink()
    Path(moved).unlink()
    found = tilegate("resume", tmp_path / "run", "--json")
    assert (found.code, found.json["area"]) == (0, first["area"] | {"aoi": found.json["area"]["aoi"]})
    assert tilegate("report", tmp_path / "run", "--json").code == 0
    other = write(tmp_path / "other.geojson", LAKE.buffer(20))
    grid = ("--set", "tile.size_px=32", "--set", "tile.batch=2", "--set", "gate.downsample=4")
    found = tilegate("run", scene.path, "-r", "water", *grid, "--set", f"area.aoi={other}", "--out", tmp_path / "run")
    assert found.code == 2
    assert "aoi:" in found.err


def test_an_area_of_interest_elsewhere_is_refused(make_scene, tilegate, tmp_path):
    path = write(tmp_path / "far.geojson", shapely.box(0, 0, 1, 1), "EPSG:4326")
    found = tilegate("run", make_scene().path, "-r", "water", "--set", f"area.aoi={path}", "--out", tmp_path / "run")
    assert found.code == 2
    assert "far.geojson" in found.err
    assert "is it of this image?" in " ".join(found.err.split())
    assert not (tmp_path / "run").exists()


def test_the_whole_image_of_interest_changes_nothing(make_scene, measure, tmp_path):
    scene = make_scene()
    everything = write(tmp_path / "all.geojson", shapely.box(LEFT - 50, BOTTOM - 50, RIGHT + 50, TOP + 50))
    area = measure(scene, "gate.threshold=0.3", "audit.tiles=0")["area"]
    inside = measure(scene, f"area.aoi={everything}", "gate.threshold=0.3", "audit.tiles=0", out="aoi")["area"]
    assert inside.pop("aoi")["area"] == pytest.approx(area["image"], rel=1e-9)
    assert inside == area


def test_any_order_of_work_gives_the_same_bits(make_scene, measure, tmp_path, aoi):
    scene = make_scene()
    for name, workers in (("one", 1), ("four", 4)):
        measure(scene, f"area.aoi={aoi}", "gate.threshold=0.2", "audit.tiles=5", out=name, workers=workers)
    one, four = (pq.read_table(tmp_path / name / "tiles.parquet") for name in ("one", "four"))
    assert one.equals(four)
    assert (tmp_path / "one/areas.csv").read_bytes() == (tmp_path / "four/areas.csv").read_bytes()


def test_zones_within_an_area_of_interest_sum_to_it(make_scene, measure, tmp_path, aoi):
    """A border between zones and the border of interest through the same pixels."""
    cut = [shapely.box(LEFT, BOTTOM, 500_699.3, TOP), shapely.box(500_699.3, BOTTOM, RIGHT, TOP)]
    features = [{"type": "Feature", "properties": {"name": str(i)}, "geometry": mapping(s)} for i, s in enumerate(cut)]
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    summary = measure(
        make_scene(), f"area.aoi={aoi}", f"area.zones={path}", "gate.threshold=0.3", "audit.tiles=2", PLANAR
    )
    rows, area = summary["zones"]["rows"], summary["area"]
    assert math.fsum(r["observed"] for r in rows) == pytest.approx(area["observed"], rel=1e-9)
    assert math.fsum(r["inside"] for r in rows) == pytest.approx(area["aoi"]["area"], rel=1e-9)
    assert math.fsum(r["classes"][0]["mapped"] for r in rows) == pytest.approx(area["classes"][0]["mapped"], rel=1e-9)
    assert rows[0]["inside"] == pytest.approx(LAKE.intersection(cut[0]).area, rel=1e-9)
    assert rows[0]["outside_aoi"] == pytest.approx(cut[0].area - rows[0]["inside"], rel=1e-9)


def test_degrees_have_their_ground_area_in_it(make_scene, measure, tmp_path):
    """An area of interest along pixel borders has the ellipsoidal area of its pixels."""
    from rasterio.transform import from_origin

    scene = make_scene(transform=from_origin(12.0, 47.0, 1e-4, 1e-4), crs="EPSG:4326")
    path = write(tmp_path / "aoi.geojson", shapely.box(12.0040, 46.9800, 12.0200, 46.9950), "EPSG:4326")
    summary = measure(scene, f"area.aoi={path}", "gate.threshold=0", "audit.tiles=0")
    dense = shapely.segmentize(shapely.box(12.0040, 46.9800, 12.0200, 46.9950), 1e-4)
    from pyproj import Geod

    truth = abs(Geod(ellps="WGS84").geometry_area_perimeter(dense)[0])
    assert summary["area"]["observed"] == pytest.approx(truth, rel=1e-6)
    assert summary["area"]["classes"][0]["pixels"] == scene.water[50:200, 40:200].sum()


def test_a_plan_counts_what_is_of_interest(make_scene, tilegate, tmp_path, aoi):
    grid = ("--set", "tile.size_px=32", "--set", "tile.batch=2", "--set", "gate.downsample=4")
    found = tilegate("plan", make_scene().path, "-r", "water", *grid, "--set", f"area.aoi={aoi}", "--json")
    shares = shares_of(LAKE)
    holding = sum(shares[r : r + 32, c : c + 32].any() for r in range(0, 300, 32) for c in range(0, 260, 32))
    assert (found.json["tiles"], found.json["outside_aoi"]) == (holding, 90 - holding)
    assert found.json["positive_share"]["sampled_tiles"] <= holding
