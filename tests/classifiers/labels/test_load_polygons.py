"""Polygons over scenes and slides: areas against shapely, masks against rasterio."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
import shapely.geometry
from affine import Affine
from pyproj import Transformer
from rasterio.features import rasterize

from classifiers.labels.load import load_tiles
from classifiers.labels.sample import UNLABELLED, LabelledTiles
from classifiers.training.settings import DataSettings
from tiling.errors import BadInput

MakeRaster = Callable[..., Path]
MakeSlide = Callable[..., Path]

UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
ZONE = "EPSG:32633"
LAKE = shapely.Polygon([(10, 10), (90, 20), (80, 70), (30, 60)])
WOOD = shapely.Polygon([(50, 80), (120, 75), (125, 95), (60, 99)])
CENTRES = shapely.points(*(np.mgrid[:100, :128][::-1] + 0.5))
CLEAR = shapely.distance(shapely.union(LAKE.boundary, WOOD.boundary), CENTRES) > 0.01
"""Pixels whose centre is on no edge: there, rounding decides."""
SETTINGS = DataSettings(tile_px=32)
RNG = np.random.default_rng(5)


def scene(tiny_raster: MakeRaster, name: str = "scene.tif") -> Path:
    return tiny_raster(RNG.integers(0, 256, (3, 100, 128), dtype=np.uint8), name)


def on_map(shape: Any) -> Any:
    """From pixels to the scene's coordinates."""
    return shapely.affinity.affine_transform(shape, [10, 0, 0, -10, 500_000, 5_000_000])


def in_degrees(shape: Any) -> Any:
    """Where a shape in pixels of the scene is on Earth."""
    to_degrees = Transformer.from_crs(ZONE, "EPSG:4326", always_xy=True)
    return shapely.transform(on_map(shape), lambda xy: np.column_stack(to_degrees.transform(*xy.T)))


def write(
    path: Path, shapes: list[Any], classes: list[str | None], crs: str | None = ZONE, column: str = "Class"
) -> Path:
    pyogrio = pytest.importorskip("pyogrio")
    pyogrio.raw.write(
        str(path),
        geometry=np.array([shapely.to_wkb(shape) for shape in shapes], object),
        field_data=[np.array(classes, object)],
        fields=[column],
        geometry_type="Polygon",
        crs=crs,
    )
    return path


def qupath(shape: Any, name: str | None) -> dict[str, Any]:
    """A feature as QuPath writes it."""
    properties: dict[str, Any] = {"objectType": "annotation"}
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {"type": "Feature", "id": "b7", "geometry": shapely.geometry.mapping(shape), "properties": properties}


def canvas(tiles: LabelledTiles, shape: tuple[int, int]) -> np.ndarray:
    """The cores of the masks put together; 99 where there is no tile."""
    assert tiles.masks is not None
    whole = np.full((shape[0] + 32, shape[1] + 32), 99, np.uint8)
    for sample, mask in zip(tiles.samples, tiles.masks, strict=True):
        y, x = int(sample.name[-9:-5]) * 32, int(sample.name[-4:]) * 32
        whole[y : y + 32, x : x + 32] = mask
    return whole[: shape[0], : shape[1]]


def burned(*shapes: tuple[Any, int], fill: int = UNLABELLED) -> np.ndarray:
    return np.asarray(rasterize(shapes, out_shape=(100, 128), fill=fill, dtype="uint8"))


@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".geojson", ".fgb"])
def test_polygons_of_another_crs_become_masks(tiny_raster: MakeRaster, tmp_path: Path, ending: str) -> None:
    scene(tiny_raster)
    shapes = [in_degrees(LAKE), in_degrees(WOOD)]
    write(tmp_path / f"scene{ending}", shapes, ["lake", "wood"], "EPSG:4326")
    tiles = load_tiles(str(tmp_path), SETTINGS, "segmenter")
    assert tiles.classes == ("lake", "wood")
    found = canvas(tiles, (100, 128))
    theirs = burned((LAKE, 1), (WOOD, 2))
    np.testing.assert_array_equal(np.where(found == 99, UNLABELLED, found)[CLEAR], theirs[CLEAR])
    assert 99 in found
    assert tiles.masks is not None
    assert (tiles.masks != UNLABELLED).any((1, 2)).all()


def test_shares_are_of_what_was_drawn(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    path = scene(tiny_raster)
    drawn = write(tmp_path / "labels.gpkg", [on_map(LAKE), on_map(WOOD)], ["lake", "wood"])
    settings = replace(SETTINGS, images=(str(path),), tile_px=128)
    sparse = load_tiles(str(drawn), settings, "gate")
    total = LAKE.area + WOOD.area
    np.testing.assert_allclose(sparse.fractions[0], [LAKE.area / total, WOOD.area / total], rtol=0.01)
    assert any("outside of all polygons is unlabelled" in note for note in sparse.notes)
    whole = replace(settings, classes={"lake": (), "wood": (), "background": ("*",)})
    full = load_tiles(str(drawn), whole, "gate")
    np.testing.assert_allclose(full.fractions[0], [LAKE.area / 12_800, WOOD.area / 12_800], rtol=0.01)


def test_qupaths_file_over_a_slide(tiny_slide: MakeSlide, tmp_path: Path) -> None:
    tiny_slide(RNG.integers(0, 256, (100, 128, 3), dtype=np.uint8))
    inner = shapely.box(40, 30, 60, 50)
    features = [
        qupath(inner, "Stroma"),
        qupath(LAKE, "Tumor"),
        qupath(WOOD, "Region*"),
        qupath(shapely.box(100, 0, 120, 20), "Ignore*"),
        qupath(shapely.box(0, 90, 9, 99), None),
        qupath(shapely.Point(3, 3), "Tumor"),
    ]
    for name, document in [("slide.tif", features), ("drawn", {"type": "FeatureCollection", "features": features})]:
        for old in tmp_path.glob("*.geojson"):
            old.unlink()
        (tmp_path / f"{name}.geojson").write_text(json.dumps(document))
        tiles = load_tiles(str(tmp_path), SETTINGS, "segmenter")
        assert tiles.classes == ("Stroma", "Tumor")
        assert (tiles.pixel_size.unit, tiles.pixel_size.x) == ("um", 0.5)
        found = canvas(tiles, (100, 128))
        theirs = burned((LAKE, 2), (WOOD, 0), (inner, 1))
        np.testing.assert_array_equal(np.where(found == 99, UNLABELLED, found), theirs)
        told = " ".join(tiles.notes)
        assert "1 polygons without a class" in told
        assert f"1 shapes of {name}.geojson are no polygons" in told


def test_polygons_that_nobody_named_are_of_the_only_class(tiny_slide: MakeSlide, tmp_path: Path) -> None:
    tiny_slide(RNG.integers(0, 256, (100, 128, 3), dtype=np.uint8))
    (tmp_path / "slide.geojson").write_text(json.dumps([qupath(LAKE, None), qupath(WOOD, None)]))
    with pytest.raises(BadInput, match="no polygon has a class"):
        load_tiles(str(tmp_path), SETTINGS, "segmenter")
    wanted = replace(SETTINGS, classes={"nucleus": (), "background": ("*",)})
    tiles = load_tiles(str(tmp_path), wanted, "segmenter")
    np.testing.assert_array_equal(canvas(tiles, (100, 128)), burned((LAKE, 1), (WOOD, 1), fill=0))
    with pytest.raises(BadInput, match=r"nothing shows what is not.*background"):
        load_tiles(str(tmp_path), replace(SETTINGS, classes={"nucleus": ()}), "segmenter")


def test_geojson_without_a_crs_is_in_degrees(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    scene(tiny_raster)
    shape = in_degrees(LAKE)
    feature = {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": {"label": "lake"}}
    (tmp_path / "scene.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    settings = replace(SETTINGS, classes={"lake": (), "background": ("*",)})
    found = canvas(load_tiles(str(tmp_path), settings, "segmenter"), (100, 128))
    np.testing.assert_array_equal(found[CLEAR], burned((LAKE, 1), fill=0)[CLEAR])
    feature["geometry"] = shapely.geometry.mapping(on_map(LAKE))
    named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (tmp_path / "scene.geojson").write_text(json.dumps({"crs": named, "features": [feature]}))
    np.testing.assert_array_equal(
        canvas(load_tiles(str(tmp_path), settings, "segmenter"), (100, 128)), burned((LAKE, 1), fill=0)
    )


def test_a_pixel_size_of_ones_own_does_not_move_polygons(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    scene(tiny_raster)
    write(tmp_path / "scene.gpkg", [on_map(LAKE), on_map(WOOD)], ["lake", "wood"], column="CLASSNAME")
    tiles = load_tiles(str(tmp_path), replace(SETTINGS, pixel_size=9), "segmenter")
    found = canvas(tiles, (100, 128))
    np.testing.assert_array_equal(np.where(found == 99, UNLABELLED, found), burned((LAKE, 1), (WOOD, 2)))
    assert tiles.pixel_size.x == 9


def test_polygons_of_elsewhere_are_refused(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    path = scene(tiny_raster)
    settings = replace(SETTINGS, images=(str(path),))
    away = shapely.affinity.translate(on_map(LAKE), 1e5)
    drawn = write(tmp_path / "away.gpkg", [away], ["lake"])
    with pytest.raises(BadInput, match=r"none of the 1 polygons"):
        load_tiles(str(drawn), settings, "gate")
    (tmp_path / "torn.geojson").write_text('{"features": [')
    with pytest.raises(BadInput, match="cannot be read as polygons"):
        load_tiles(str(tmp_path / "torn.geojson"), settings, "gate")
    with pytest.raises(BadInput, match=r"give it as data\.images|Give it as data\.images"):
        load_tiles(str(drawn), SETTINGS, "gate")


def test_one_band_per_file_and_the_smaller_polygon_on_top(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    bands = RNG.integers(0, 256, (2, 100, 128), dtype=np.uint8)
    paths = tuple(str(tiny_raster(band, f"B0{i}.tif")) for i, band in enumerate(bands, start=3))
    island = shapely.box(45, 35, 55, 45)
    drawn = write(tmp_path / "shapes.gpkg", [on_map(island), on_map(LAKE)], ["land", "lake"])
    settings = replace(SETTINGS, images=paths, bands=(("green", 1), ("nir", "B04")), tile_px=128)
    tiles = load_tiles(str(drawn), settings, "segmenter")
    assert tiles.bands == ("green", "nir")
    np.testing.assert_array_equal(tiles.pixels[0][:, :100], bands)
    assert tiles.masks is not None
    np.testing.assert_array_equal(tiles.masks[0][:100], burned((LAKE, 1), (island, 2)))


def test_a_coordinate_system_that_is_none_is_told(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    settings = replace(SETTINGS, images=(str(scene(tiny_raster)),))
    feature = {"type": "Feature", "properties": {"class": "lake"}, "geometry": shapely.geometry.mapping(LAKE)}
    named = {"type": "name", "properties": {"name": "EPSG:lake"}}
    document = {"type": "FeatureCollection", "crs": named, "features": [feature]}
    (tmp_path / "lake.geojson").write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"lake\.geojson names 'EPSG:lake' as its coordinate system"):
        load_tiles(str(tmp_path / "lake.geojson"), settings, "gate")


@pytest.mark.parametrize("left", [0, 5000])
def test_a_geopackage_that_was_cut_off_is_told(tiny_raster: MakeRaster, tmp_path: Path, left: int) -> None:
    settings = replace(SETTINGS, images=(str(scene(tiny_raster)),))
    drawn = write(tmp_path / "lake.gpkg", [on_map(LAKE)], ["lake"])
    drawn.write_bytes(drawn.read_bytes()[:left])
    with pytest.raises(BadInput, match=r"lake\.gpkg cannot be read as polygons or a table"):
        load_tiles(str(drawn), settings, "gate")


def test_a_shapefile_without_a_prj_lies_where_its_image_does(tiny_raster: MakeRaster, tmp_path: Path) -> None:
    settings = replace(SETTINGS, images=(str(scene(tiny_raster)),))
    drawn = write(tmp_path / "shapes.shp", [on_map(LAKE), on_map(WOOD)], ["lake", "wood"])
    named = load_tiles(str(drawn), settings, "segmenter")
    (tmp_path / "shapes.prj").unlink()
    tiles = load_tiles(str(drawn), settings, "segmenter")
    np.testing.assert_array_equal(tiles.masks, named.masks)
    assert "shapes.shp names no coordinate system: that of its image was assumed." in tiles.notes
    assert not any("coordinate system" in note for note in named.notes)
