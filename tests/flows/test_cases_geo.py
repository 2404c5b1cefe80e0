"""Cases that rasters get wrong elsewhere: offsets of radiometry, moved grids, context beside rejected tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import zarr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from flows.engine import LocalEngine
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.source import SourceSpec

EVERYTHING = ("gate.threshold=0", "audit.tiles=0", "area.method=planar")


def mask_of(folder: Path) -> NDArray[np.uint8]:
    return np.asarray(zarr.open_array(folder / "run.zarr" / "mask/0", mode="r")[...])


@pytest.mark.parametrize("offset", [0, 1000])
def test_the_sign_of_ndwi_bears_gain_and_offset(make_scene: Any, measure: Any, tmp_path: Path, offset: int) -> None:
    """Reflectance as DN = 10000 r + offset, as Sentinel-2 has it from baseline 04.00 on: the same water."""
    scene = make_scene()
    numbers = np.stack([scene.green, scene.nir]).astype(np.uint16) * 30 + offset
    with rasterio.open(scene.path) as file:
        profile = file.profile | {"dtype": "uint16"}
    with rasterio.open(tmp_path / "dn.tif", "w", **profile) as file:
        file.write(numbers)
        file.descriptions = ("green", "nir")
    scene.path = tmp_path / "dn.tif"
    assert measure(scene, *EVERYTHING)["area"]["classes"][0]["pixels"] == scene.water.sum()


@pytest.mark.parametrize(("down", "right"), [(1, 0), (5, 13), (31, 32)])
def test_a_rule_maps_the_same_whatever_corner_the_grid_starts_at(
    make_scene: Any, measure: Any, tmp_path: Path, down: int, right: int
) -> None:
    """The scene without its first rows and columns: to the pixel."""
    scene = make_scene()
    measure(scene, *EVERYTHING)
    with rasterio.open(scene.path) as file:
        profile, pixels = file.profile, file.read()[:, down:, right:]
        place = file.transform @ rasterio.Affine.translation(right, down)
    profile |= {"height": pixels.shape[1], "width": pixels.shape[2], "transform": place}
    with rasterio.open(tmp_path / "moved.tif", "w", **profile) as file:
        file.write(pixels)
        file.descriptions = ("green", "nir")
    scene.path = tmp_path / "moved.tif"
    summary = measure(scene, *EVERYTHING, out="moved")
    assert summary["area"]["classes"][0]["mapped"] == scene.water[down:, right:].sum() * 100.0
    np.testing.assert_array_equal(mask_of(tmp_path / "moved"), mask_of(tmp_path / "run")[down:, right:])


def woods(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """(3, h, w): dark green and bright brown patches, smooth at their borders."""
    rng = np.random.default_rng(8)
    share = np.clip(gaussian_filter(rng.normal(size=shape), 12) * 60 + 0.5, 0, 1)
    colours = np.array([(24, 36, 38), (120, 100, 80)], float)
    mixed = colours[0][:, None, None] * share + colours[1][:, None, None] * (1 - share)
    return np.clip(mixed + rng.normal(0, 2, (3, *shape)), 1, 255).astype(np.uint8)


def forest(path: Path, out: Path, *changes: str) -> Any:
    recipe = load_recipe("forest", ("tile.size_px=128", "tile.batch=2", "audit.tiles=0", *changes))
    return execute(make_plan(SourceSpec(uris=(str(path),)), recipe), out, LocalEngine(1), Silent())


def test_a_network_maps_nearly_the_same_whatever_corner_the_grid_starts_at(make_rgb: Any, tmp_path: Path) -> None:
    """In the part both have, its areas agree to 1 %, and 99 of 100 pixels are of the same class."""
    pixels = woods((420, 420))
    forest(make_rgb(pixels), tmp_path / "a", "gate.threshold=0")
    forest(make_rgb(pixels[:, 37:, 21:], "moved.tif"), tmp_path / "b", "gate.threshold=0")
    whole, moved = (mask_of(tmp_path / name).astype(bool) for name in "ab")
    part = whole[37:, 21:]
    assert 0.2 < part.mean() < 0.8
    assert moved.sum() == pytest.approx(part.sum(), rel=0.01)
    assert (moved == part).mean() > 0.99


def test_a_tile_has_the_same_mask_whether_its_neighbours_were_rejected(make_rgb: Any, tmp_path: Path) -> None:
    """Its halo is read from the image, not from what its neighbours left behind."""
    path = make_rgb(woods((420, 420)))
    forest(path, tmp_path / "all", "gate.threshold=0")
    scores = [row["score"] for row in pq.read_table(tmp_path / "all/tiles.parquet").to_pylist()]
    gated = forest(path, tmp_path / "gated", f"gate.threshold={np.median(scores)}", "gate.ring=0")
    assert gated["tiles"]["negative"] >= 4
    masks = [mask_of(tmp_path / name) for name in ("all", "gated")]
    for row in pq.read_table(tmp_path / "gated/tiles.parquet").to_pylist():
        y, x = row["row"] * 128, row["col"] * 128
        whole, alone = (mask[y : y + 128, x : x + 128] for mask in masks)
        np.testing.assert_array_equal(alone, whole if row["state"] == "segmented" else 0)


@pytest.mark.parametrize(
    "turn", [(10, 0, 0, 10), (-10, 0, 0, -10), (8, 6, 6, -8)], ids=["south-up", "mirrored", "turned"]
)
def test_zones_find_their_pixels_however_the_image_lies(
    make_scene: Any, measure: Any, tilegate: Any, tmp_path: Path, turn: tuple[int, int, int, int]
) -> None:
    """A zone drawn around columns 31 to 115 of rows 20 to 200, in metres of the map."""
    a, b, d, e = turn
    place = rasterio.Affine(a, b, 500_000, d, e, 5_000_000)
    scene = make_scene(transform=place)
    measure(scene, *EVERYTHING)
    ring = [place @ corner for corner in ((31, 20), (115, 20), (115, 200), (31, 200), (31, 20))]
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    zone = {"type": "Feature", "properties": {"name": "z"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "z.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [zone]}))
    told = tilegate("zones", tmp_path / "run", tmp_path / "z.geojson", "--json")
    assert told.code == 0, told.err
    (row,) = told.json["rows"]
    assert row["classes"][0]["pixels"] == pytest.approx(scene.water[20:200, 31:115].sum(), rel=1e-9)
    assert row["observed"] == pytest.approx(180 * 84 * 100.0, rel=1e-9)
