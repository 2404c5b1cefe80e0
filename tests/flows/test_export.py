"""What a run exports, opened by other readers: rasterio, pyogrio, pyarrow, shapely, json, tifffile."""

from __future__ import annotations

import json
import math
from uuid import UUID

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import shapely
import tifffile
from openslide import OpenSlide
from pyproj import CRS, Transformer
from rasterio.features import rasterize, shapes
from rasterio.transform import Affine, from_origin

from flows.engine import LocalEngine
from flows.export.command import export_run
from flows.export.registry import FORMATS
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from storage.run import Run
from tiling.errors import BadInput, TilegateError
from tiling.source import SourceSpec

ROTATED = Affine(20, 5, 500_000, -5, -20, 5_000_000)
PLANE = Affine.identity()
BIG = "tile.size_px=100"
EVERYTHING = ("gate.threshold=0", "audit.tiles=0")
PLANAR = "area.method=planar"


def vector(path):
    """(shapely polygons, {field: values}, crs) as pyogrio reads them."""
    meta, _, wkb, values = pyogrio.raw.read(path)
    return shapely.from_wkb(wkb), dict(zip(meta["fields"], values, strict=True)), meta["crs"]


def by_gdal(mask, transform=PLANE):
    """Outlines of the whole mask, as a set."""
    found = shapes(mask.astype(np.uint8), mask=mask, connectivity=4, transform=transform)
    return sorted(shapely.normalize(shapely.geometry.shape(shape)).wkb for shape, _ in found)


def as_set(outlines):
    return sorted(shapely.normalize(outline).wkb for outline in outlines)


@pytest.fixture
def lakes(make_scene, measure, tmp_path):
    """A run whose every pixel was segmented: (scene, folder, summary)."""
    scene = make_scene()
    return scene, tmp_path / "run", measure(scene, *EVERYTHING, PLANAR, "tile.size_px=40")


def test_objects_of_every_vector_format_are_those_of_the_whole_mask(lakes):
    scene, run, summary = lakes
    (mapped,) = summary["area"]["classes"]
    with rasterio.open(scene.path) as image:
        truth = by_gdal(scene.water, image.transform)
    tables = {to: vector(export_run(str(run), to).path) for to in ("gpkg", "geojson")}
    table = pq.read_table(export_run(str(run), "geoparquet").path)
    outlines = shapely.from_wkb(table["geometry"].to_pylist())
    assert as_set(outlines) == as_set(tables["gpkg"][0]) == truth
    assert CRS(tables["gpkg"][2]) == CRS(32633)
    for values in (
        {name: table[name].to_numpy() for name in table.column_names},
        tables["gpkg"][1],
        tables["geojson"][1],
    ):
        assert set(values["class"]) == {"water"}
        assert math.fsum(values["area_m2"]) == pytest.approx(mapped["mapped"], rel=1e-12)
        assert values["pixels"].sum() == mapped["pixels"] == scene.water.sum()
        assert len({UUID(text) for text in values["id"]}) == len(truth)
    assert shapely.area(outlines) == pytest.approx(table["area_m2"].to_numpy(), rel=1e-12)


def test_geoparquet_says_what_its_standard_asks_for(lakes):
    _, run, _ = lakes
    geo = json.loads(pq.read_schema(export_run(str(run), "geoparquet").path).metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    assert CRS.from_json_dict(column["crs"]) == CRS(32633)


def test_geojson_is_longitude_and_latitude_as_rfc_7946_wants_it(lakes):
    scene, run, _ = lakes
    report = export_run(str(run), "geojson")
    features = json.loads(report.path.read_text())["features"]
    outlines = np.array([shapely.geometry.shape(feature["geometry"]) for feature in features])
    assert shapely.is_valid(outlines).all()
    assert all(outline.exterior.is_ccw for outline in outlines)
    to_map = Transformer.from_crs(4326, 32633, always_xy=True)
    back = shapely.transform(outlines, lambda xy: np.stack(to_map.transform(xy[:, 0], xy[:, 1]), axis=1))
    with rasterio.open(scene.path) as image:
        painted = rasterize(back, image.shape, transform=image.transform)
    np.testing.assert_array_equal(painted.astype(bool), scene.water)
    assert {feature["id"] for feature in features} == set(vector(export_run(str(run), "gpkg").path)[1]["id"])


def test_geojson_splits_at_the_antimeridian(make_scene, measure, tmp_path):
    summary = measure(make_scene(transform=from_origin(179.95, -16, 0.001, 0.001), crs="EPSG:4326"), *EVERYTHING, BIG)
    outlines = vector(export_run(str(tmp_path / "run"), "geojson").path)[0]
    split = [outline for outline in outlines if outline.geom_type == "MultiPolygon"]
    assert split
    assert shapely.is_valid(outlines).all()
    assert (abs(shapely.get_coordinates(outlines)[:, 0]) <= 180).all()
    degrees = summary["area"]["classes"][0]["pixels"] * 1e-6
    assert sum(shapely.area(outlines)) == pytest.approx(degrees, rel=1e-6)


@pytest.mark.parametrize("transform", [None, ROTATED])
def test_a_cog_holds_the_mask_where_the_image_lies(make_scene, measure, tmp_path, transform):
    scene = make_scene((700, 600), **({} if transform is None else {"transform": transform}))
    summary = measure(scene, *EVERYTHING, "tile.size_px=160")
    report = export_run(str(tmp_path / "run"), "cog")
    with rasterio.open(report.path) as cog, rasterio.open(scene.path) as image:
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (cog.block_shapes, cog.overviews(1), cog.dtypes, cog.nodata) == ([(512, 512)], [2], ("uint8",), 255)
        assert (cog.transform, cog.crs) == (image.transform, image.crs)
        np.testing.assert_array_equal(cog.read(1), scene.water)
        assert cog.dataset_mask().all()  # background is no nodata
        assert cog.colormap(1)[1][:3] == (20, 110, 235)
        assert cog.tags(1)["label_1"] == "water"
        assert cog.tags()["TILEGATE_FINGERPRINT"] == summary["fingerprint"]
    (mapped,) = summary["area"]["classes"]
    assert (report.area["water"].pixels, report.area["water"].area) == (mapped["pixels"], mapped["mapped"])


def test_a_rotated_image_has_rotated_polygons(make_scene, measure, tmp_path):
    scene = make_scene(transform=ROTATED)
    summary = measure(scene, *EVERYTHING)
    outlines, values, _ = vector(export_run(str(tmp_path / "run"), "gpkg").path)
    assert as_set(outlines) == by_gdal(scene.water, ROTATED)
    assert shapely.is_valid(outlines).all()
    assert math.fsum(values["area_m2"]) == pytest.approx(summary["area"]["classes"][0]["mapped"], rel=1e-12)


def test_nodata_and_unreadable_tiles_are_not_background(make_scene, tilegate, tmp_path):
    scene = make_scene(compress="deflate", interleave="pixel", nodata=0)
    with rasterio.open(scene.path, "r+") as image:
        pixels = image.read()
        pixels[:, :, 60:75] = 0
        pixels[:, 200:, 230:] = 0
        image.write(pixels)
    with rasterio.open(scene.path) as image:
        offset, size = (int(image.get_tag_item(f"BLOCK_{what}_2_1", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    raw = bytearray(scene.path.read_bytes())
    raw[offset : offset + size] = b"\x55" * size  # rows 64-128, columns 128-192
    scene.path.write_bytes(bytes(raw))
    sets = [part for change in ("tile.size_px=32", "tile.batch=2", *EVERYTHING, PLANAR) for part in ("--set", change)]
    assert tilegate("run", scene.path, "-r", "water", "--out", tmp_path / "run", "--engine", "local", *sets).code == 3
    unseen = (pixels == 0).all(0)
    unseen[64:128, 128:192] = True
    seen = tilegate("export", tmp_path / "run", "--to", "cog")
    assert seen.code == 3  # some area was not observed
    assert "PARTIAL: 40.96 ha were not observed" in seen.out
    with rasterio.open(tmp_path / "run" / "exports" / "run.tif") as cog:
        np.testing.assert_array_equal(cog.read(1), np.where(unseen, 255, scene.water))
        np.testing.assert_array_equal(cog.dataset_mask() > 0, ~unseen)
    outlines, values, _ = vector(export_run(str(tmp_path / "run"), "gpkg").path)
    assert as_set(outlines) == by_gdal(scene.water & ~unseen, cog.transform)
    beside = shapely.union_all([shapely.geometry.shape(s) for s, _ in shapes(
        np.pad(unseen, 1, constant_values=True).astype(np.uint8), mask=np.pad(unseen, 1, constant_values=True),
        transform=cog.transform @ Affine.translation(-1, -1),
    )])  # fmt: skip
    cut = [shapely.intersection(outline.boundary, beside.boundary).length > 0 for outline in outlines]
    assert cut == values["cut"].astype(bool).tolist()
    scene.path.unlink()
    told = tilegate("export", tmp_path / "run", "--to", "cog", "--json").json
    assert "background here: the image cannot be read" in told["notes"][0]


def test_what_the_gate_kept_out_is_background_and_cuts_objects(make_scene, measure, tmp_path):
    scene = make_scene()
    summary = measure(scene, "gate.threshold=0.9", "gate.ring=0", "audit.tiles=0")
    assert summary["tiles"]["negative"] > 0
    with rasterio.open(export_run(str(tmp_path / "run"), "cog").path) as cog:
        found = cog.read(1)
    assert (found != 255).all()
    assert (found == 1).sum() == summary["area"]["classes"][0]["pixels"] < scene.water.sum()
    _, values, _ = vector(export_run(str(tmp_path / "run"), "gpkg").path)
    largest = values["pixels"].argmax()  # the lake goes on in tiles it covers by less than 90 %
    assert values["cut"][largest]


def test_the_smallest_area_acts_on_whole_objects_and_tells_what_it_leaves_out(lakes, tilegate):
    scene, run, _ = lakes
    whole = vector(export_run(str(run), "gpkg").path)[1]["area_m2"]
    told = tilegate("export", run, "--to", "gpkg", "--min-area", 20, "--json").json  # ha, as the recipe says
    left = vector(told["path"])[1]["area_m2"]
    assert sorted(left) == sorted(whole[whole >= 200_000])
    assert 40 * 40 * 100 < 200_000  # no tile holds as much: they were joined before
    assert told["features"] == len(left)
    assert told["dropped_features"] == len(whole) - len(left) > 0
    assert told["dropped"]["water"]["area"] == pytest.approx(math.fsum(whole[whole < 200_000]), rel=1e-12)
    assert told["classes"]["water"]["pixels"] + told["dropped"]["water"]["pixels"] == scene.water.sum()
    people = tilegate("export", run, "--to", "gpkg", "--min-area", 20).out
    assert f"{told['dropped_features']:,} objects below the smallest area left out: water" in people


@pytest.mark.parametrize("to", ["cog", "geoparquet", "gpkg", "geojson"])
def test_the_same_bytes_twice_and_whatever_the_tiles_and_workers(make_scene, measure, tmp_path, to):
    scene = make_scene()
    runs = {"a": ("tile.size_px=64", 1), "b": ("tile.size_px=100", 2)}
    for out, (size, workers) in runs.items():
        measure(scene, *EVERYTHING, size, "tile.batch=3", out=out, workers=workers)
    first, again, _ = (
        export_run(str(tmp_path / name), to, str(tmp_path / f"{file}/x{FORMATS[to].suffix}")).path.read_bytes()
        for name, file in (("a", "1"), ("a", "2"), ("b", "3"))
    )
    assert first == again
    places = [tmp_path / f"{file}/x{FORMATS[to].suffix}" for file in "13"]
    if to == "cog":  # but for the fingerprint, which names the tiles
        one, two = (rasterio.open(place).read() for place in places)
        np.testing.assert_array_equal(one, two)
    else:
        one, two = (sorted(zip(as_wkb(place), objects_of(place)[1]["id"], strict=True)) for place in places)
        assert one == two


def as_wkb(path):
    return [outline.wkb for outline in objects_of(path)[0]]


def objects_of(path):
    """As vector, of GeoParquet too."""
    if path.read_bytes()[:4] != b"PAR1":
        return vector(path)
    table = pq.read_table(path)
    return shapely.from_wkb(table["geometry"].to_pylist()), {"id": table["id"].to_pylist()}, None


@pytest.fixture
def slide(tiny_slide, monkeypatch, tmp_path):
    """A run of `tissue` over the scanned part of a slide: (folder, summary, mask of the run). Only scanners state bounds,
    so they are added to a real slide's properties."""
    rng = np.random.default_rng(3)
    rgb = np.full((512, 768, 3), 240, np.uint8)
    y, x = np.mgrid[:512, :768]
    ring = (abs(np.hypot(y - 200, x - 300) - 70) < 25) | (np.hypot(y - 250, x - 420) < 6)
    rgb[ring] = (170, 60, 120)
    rgb = (rgb.astype(int) + rng.integers(-8, 9, rgb.shape)).astype(np.uint8)
    path = tiny_slide(rgb, mpp=(0.5, 0.4))
    stated = {"y": 64, "x": 130, "height": 300, "width": 400}
    with OpenSlide(path) as opened:
        properties = dict(opened.properties) | {f"openslide.bounds-{key}": str(v) for key, v in stated.items()}
    monkeypatch.setattr(OpenSlide, "properties", properties)
    changes = (*EVERYTHING, "tile.size_px=64", "tile.batch=2")
    run = tmp_path / "run"
    summary = execute(
        make_plan(SourceSpec(uris=(str(path),)), load_recipe("tissue", changes)), run, LocalEngine(1), Silent()
    )
    return run, summary, np.asarray(Run.open(run).array("mask/0")[...])


@pytest.mark.parametrize(("origin", "corner"), [("bounds", (0, 0)), ("slide", (64, 130))])
def test_qupath_finds_the_objects_where_they_are(slide, origin, corner):
    run, summary, mask = slide
    features = json.loads(export_run(str(run), "qupath", origin=origin).path.read_text())["features"]
    outlines = np.array([shapely.geometry.shape(feature["geometry"]) for feature in features])
    assert as_set(outlines) == by_gdal(mask == 1, Affine.translation(corner[1], corner[0]))
    assert shapely.is_valid(outlines).all()
    assert sum(shapely.get_num_interior_rings(outlines)) >= 1
    whole = max(features, key=lambda feature: feature["properties"]["measurements"]["tilegate: pixels"])
    assert whole["type"] == "Feature"
    assert whole["properties"]["objectType"] == "annotation"
    assert whole["properties"]["classification"] == {"name": "tissue", "color": [20, 110, 235]}
    assert whole["geometry"]["coordinates"][0][0] == whole["geometry"]["coordinates"][0][-1]
    sizes = [feature["properties"]["measurements"]["tilegate: area um^2"] for feature in features]
    assert math.fsum(sizes) == pytest.approx(summary["area"]["classes"][0]["mapped"], rel=1e-12)
    assert sizes == [pytest.approx(outline.area * 0.2) for outline in outlines]
    assert len({UUID(feature["id"]) for feature in features}) == len(features)


def test_a_slide_on_a_coarser_plane_is_exported_in_pixels_of_level_0(tiny_slide, tmp_path):
    rgb = np.full((256, 384, 3), 240, np.uint8)
    rgb[64:160, 40:200] = (170, 60, 120)
    spec = SourceSpec(uris=(str(tiny_slide(rgb, mpp=(0.5, 0.5))),))
    recipe = load_recipe("tissue", (*EVERYTHING, "tile.size_px=32", "tile.pixel_size=1.0"))
    execute(make_plan(spec, recipe), tmp_path / "run", LocalEngine(1), Silent())
    (feature,) = json.loads(export_run(str(tmp_path / "run"), "qupath").path.read_text())["features"]
    assert shapely.geometry.shape(feature["geometry"]).equals(shapely.box(40, 64, 200, 160))
    with tifffile.TiffFile(export_run(str(tmp_path / "run"), "cog").path) as file:
        assert file.pages.first.shape == (128, 192)
        assert np.divide(*file.pages.first.tags["XResolution"].value) == pytest.approx(10_000)  # 1 um


def test_the_cog_of_a_slide_states_its_pixel_size(slide):
    run, _, mask = slide
    with tifffile.TiffFile(export_run(str(run), "cog").path) as file:
        page = file.pages.first
        per_cm = [np.divide(*page.tags[name].value) for name in ("YResolution", "XResolution")]
        assert per_cm == pytest.approx([10_000 / 0.5, 10_000 / 0.4])
        assert page.tags["ResolutionUnit"].value == 3
    with rasterio.open(export_run(str(run), "cog").path) as cog:
        np.testing.assert_array_equal(cog.read(1), mask)


def test_vector_files_of_a_slide_are_pixels_and_geojson_is_refused(slide):
    run, _, mask = slide
    for to in ("gpkg", "geoparquet"):
        path = export_run(str(run), to).path
        outlines = vector(path)[0] if to == "gpkg" else shapely.from_wkb(pq.read_table(path)["geometry"].to_pylist())
        assert as_set(outlines) == by_gdal(mask == 1)
    with pytest.raises(BadInput, match="--to qupath"):
        export_run(str(run), "geojson")


def test_what_cannot_be_exported_is_said(lakes, tilegate, tmp_path):
    _, run, _ = lakes
    (tmp_path / "folder").mkdir()
    for arguments, said in (
        (("--to", "shapefile"), "geoparquet   objects as GeoParquet"),
        (("--to", "qupath"), "--to geojson"),
        (("--to", "cog", "--min-area", 1), "a COG is pixels"),
        (("--to", "gpkg", "--min-area", "nan"), "a number of at least 0"),
        (("--to", "gpkg", "--out", tmp_path / "folder"), "is a folder"),
        (("--to", "gpkg", "--out", "s3://bucket/x.gpkg"), "written to a disk"),
    ):
        seen = tilegate("export", run, *arguments)
        assert seen.code == 2
        assert said in seen.err
    assert tilegate("export", tmp_path / "folder", "--to", "cog").code == 2
    (run / "summary.json").unlink()
    unfinished = tilegate("export", run, "--to", "cog")
    assert unfinished.code == 2
    assert "tilegate resume" in unfinished.err
    assert not list(run.glob("exports/.tilegate-*"))


@pytest.mark.parametrize("to", ["cog", "gpkg"])
def test_a_mask_that_lost_a_shard_is_an_error(lakes, to):
    _, run, _ = lakes
    max((run / "run.zarr/mask/0/c").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size).unlink()
    with pytest.raises(TilegateError, match="shards of its mask are lost or damaged"):
        export_run(str(run), to)


def test_a_run_that_found_nothing_exports_nothing(make_scene, measure, tmp_path):
    scene = make_scene()
    with rasterio.open(scene.path, "r+") as image:
        image.write(np.stack([np.full(image.shape, 50, np.uint8), np.full(image.shape, 200, np.uint8)]))
    measure(scene, *EVERYTHING, BIG)
    for to in ("geoparquet", "gpkg", "geojson", "cog"):
        report = export_run(str(tmp_path / "run"), to)
        assert report.area["water"].pixels == 0
        assert not report.features
    assert pyogrio.read_info(tmp_path / "run/exports/run.gpkg")["features"] == 0
    assert json.loads((tmp_path / "run/exports/run.geojson").read_text())["features"] == []


def test_every_format_says_what_it_is():
    assert all(found.about and found.suffix.startswith(".") for found in FORMATS.values())
