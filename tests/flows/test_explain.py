"""What a gate looks at: pictures of the right place, named after tile and class."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from classifiers.rules import RULES
from flows.explain import heat_of
from flows.models import find_bundle, open_gate
from tiling.grid import TileGrid
from tiling.stack import TileStack


@pytest.fixture
def pictures(tmp_path):
    """Two tiles of the side that the forest gate was trained on."""
    side = find_bundle("forest", "gate").input_px
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(len(name)).integers(20, 90, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "tile.png")
    return [tmp_path / "one/tile.png", tmp_path / "two/tile.png"]


def test_a_network_is_explained_by_its_gradient(pictures, tilegate, tmp_path):
    seen = tilegate("explain", "forest", *pictures, "--out", tmp_path / "seen", "--json")
    assert seen.code == 0, seen.err
    first, second = seen.json["tiles"]
    assert first["picture"] != second["picture"]
    assert (first["class"], first["method"]) == ("forest", "gradcam")
    pixels = np.asarray(Image.open(pictures[0]))
    tile = TileGrid(shape_px=pixels.shape[:2], tile_px=len(pixels)).tile(0, 0)
    stack = TileStack(
        tiles=(tile,), pixels=pixels.transpose(2, 0, 1)[None], valid=np.ones((1, *pixels.shape[:2]), bool)
    )
    assert first["score"] == pytest.approx(float(open_gate("forest", None, "auto").score(stack)[0, 0]))
    with Image.open(first["picture"]) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_any_gate_is_explained_by_covering(pictures, tilegate, tmp_path):
    seen = tilegate("explain", "forest", pictures[0], "--out", tmp_path / "seen", "--method", "occlusion")
    assert seen.code == 0, seen.err
    path, words = seen.out.split("  ")
    assert words.startswith("forest 0.")
    assert words.strip().endswith("(occlusion)")
    assert Image.open(path).width > 300


def test_the_heat_of_a_rule_is_where_its_water_is():
    green, nir = np.full((2, 60, 60), 50, np.uint8)
    green[:12, :12] = 200
    tile = TileGrid(shape_px=(60, 60), tile_px=60).tile(0, 0)
    stack = TileStack(tiles=(tile,), pixels=np.stack([green, nir])[None], valid=np.ones((1, 60, 60), bool))
    used, heat, legend = heat_of(stack, open_gate("ndwi", None, None), None, 0, "auto")
    assert used == "occlusion"
    assert heat[:12, :12].min() > 0.4
    assert heat[:12, :12].max() == heat.max() == 1
    assert heat[30:, 30:].max() == 0
    assert RULES["ndwi"].positive(np.stack([green, nir])).mean() == pytest.approx(0.04)
    assert "0.04" in legend


def test_a_tile_of_a_run_has_the_score_it_had_there(make_scene, measure, tilegate, tmp_path):
    measure(make_scene(), "audit.tiles=0")
    rows = pq.read_table(tmp_path / "run/tiles.parquet").to_pylist()
    row = max(rows, key=lambda each: each["score"] if 0 < (each["score"] or 0) < 1 else 0)
    name = f"{tmp_path}/run#r{row['row']:04d}c{row['col']:04d}"
    seen = tilegate("explain", "ndwi", name, "--out", tmp_path / "seen", "--json")
    assert seen.code == 0, seen.err
    assert seen.json["tiles"][0]["score"] == pytest.approx(row["score"])
    seen = tilegate("explain", "ndwi", f"{tmp_path}/run#r0099c0000", "--out", tmp_path / "seen")
    assert (seen.code, "none is r0099c0000" in seen.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("forest", "TILE", "--class", "lava"), "forest-gate knows forest"),
        (("ndwi", "TILE", "--method", "gradcam"), "not a network"),
        (("forest", "nowhere.png"), "nowhere.png"),
        (("forest", "nowhere#r0000c0000"), "nowhere"),
        (("forest-unet", "TILE"), "Shipped bundles"),
        (("ndwi", "TILE", "--set", "data.pixel_size=10"), "needs band nir"),
        (("ndwi", "TILE"), "needs band nir"),
        (("forest", "TILE", "--set", "data.pixel_size=100"), "pixels of 100 x 100 m; forest-gate is valid for"),
    ],
)
def test_bad_input_writes_nothing(pictures, tilegate, tmp_path, arguments, message):
    words = (pictures[0] if word == "TILE" else word for word in arguments)
    seen = tilegate("explain", *words, "--out", tmp_path / "seen")
    assert seen.code == 2
    assert message in seen.err
    assert "Traceback" not in seen.err
    assert not (tmp_path / "seen").exists()


def test_a_scene_is_no_tile(tilegate, tmp_path):
    Image.new("RGB", (4200, 64)).save(tmp_path / "long.png")
    seen = tilegate("explain", "forest", tmp_path / "long.png", "--out", tmp_path / "seen")
    assert (seen.code, "that is a scene" in seen.err) == (2, True)


def test_a_raster_of_other_pixels_is_refused(pictures, tilegate, tmp_path):
    """What the file says is believed; a file that says nothing is taken as of the bundle's pixels (see above)."""
    pixels = np.asarray(Image.open(pictures[0])).transpose(2, 0, 1)
    size = find_bundle("forest", "gate").pixel_size.y
    for factor, code in ((1, 0), (10, 2)):
        path = tmp_path / f"{factor}.tif"
        profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32633", "photometric": "RGB"}
        place = from_origin(500_000, 5_000_000, size * factor, size * factor)
        with rasterio.open(
            path, "w", height=pixels.shape[1], width=pixels.shape[2], transform=place, **profile
        ) as file:
            file.write(pixels)
        seen = tilegate("explain", "forest", path, "--out", tmp_path / "seen")
        assert seen.code == code, seen.err
        assert ("is valid for" in seen.err) == (code == 2)


def test_a_tile_without_data_is_refused(pictures, tilegate, tmp_path):
    with Image.open(pictures[0]) as image:
        image.putalpha(0)
        image.save(tmp_path / "clear.png")
    seen = tilegate("explain", "forest", tmp_path / "clear.png", "--out", tmp_path / "seen")
    assert (seen.code, "no pixel of it holds data" in seen.err) == (2, True), seen.err


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_file_that_is_cut_off_is_the_callers_fault(pictures, tilegate, tmp_path, ending):
    cut = tmp_path / f"cut.{ending}"
    with Image.open(pictures[0]) as image:
        image.save(cut)
    cut.write_bytes(cut.read_bytes()[: len(cut.read_bytes()) // 2])
    seen = tilegate("explain", "forest", cut, "--out", tmp_path / "seen")
    assert (seen.code, cut.name in seen.err) == (2, True), seen.err
    assert "resume" not in seen.err
    assert "What is done" not in seen.err


def test_a_rule_takes_any_pixel_size(tilegate, tmp_path):
    Image.new("RGB", (64, 64), (40, 200, 60)).save(tmp_path / "tile.png")
    bands = 'data.bands=[["green", 2], ["nir", 1]]'
    seen = tilegate("explain", "ndwi", tmp_path / "tile.png", "--out", tmp_path / "seen", "--json", "--set", bands)
    assert seen.code == 0, seen.err
    assert seen.json["tiles"][0]["score"] == 1


def test_a_rule_without_a_cut_of_its_own_gets_that_of_the_tile(tilegate, tmp_path):
    """Half white, half pink: Otsu parts them, so half of the tile is tissue."""
    picture = Image.new("RGB", (64, 64), (255, 255, 255))
    picture.paste((220, 90, 150), (0, 0, 64, 32))
    picture.save(tmp_path / "tile.png")
    seen = tilegate("explain", "tissue", tmp_path / "tile.png", "--out", tmp_path / "seen", "--json")
    assert seen.code == 0, seen.err
    assert seen.json["tiles"][0]["score"] == pytest.approx(0.5)
