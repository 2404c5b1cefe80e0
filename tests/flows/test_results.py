"""What a run leaves behind: the contract, the picture, the page, the tables."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image

from flows.pages.picture import COLOURS, HEAD_PX, MARGIN_PX
from flows.pages.thumbnail import small_mask
from flows.recipe import bundled_recipes, load_recipe
from flows.results import ledger_tiles
from storage.run import Run
from tiling.errors import BadInput
from tiling.state import State


@pytest.fixture
def done(make_scene, measure, tmp_path):
    """(scene, summary, folder) of a gated run with an audit."""
    scene = make_scene()
    return scene, measure(scene, "gate.threshold=0.3", "gate.ring=0", "audit.tiles=5"), tmp_path / "run"


def test_summary_keeps_its_contract(done):
    _, summary, folder = done
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["schema"] == 1
    assert set(summary["image"]) >= {"uri", "kind", "shape_px", "pixel_size", "unit", "crs"}
    states = {"total", "empty", "negative", "positive", "audited", "unreadable", "failed"}
    assert set(summary["tiles"]) >= states
    assert set(summary["area"]) >= {"unit", "method", "image", "observed", "classes"}
    wanted = {"name", "mapped", "pixels", "missed_estimate", "missed_low", "missed_high"}
    assert set(summary["area"]["classes"][0]) >= wanted
    assert set(summary["gate"]) >= {"model", "sha256", "threshold", "target_recall", "confidence"}
    assert set(summary["segmenter"]) >= {"model", "sha256"}
    assert {"seconds", "fingerprint", "versions"} <= set(summary)
    assert summary["image"]["crs"] == "EPSG:32633"
    assert summary["image"]["pixel_size"] == [10.0, 10.0]


def test_the_gate_map_shows_each_tile_in_its_state(done):
    _, _, folder = done
    with Image.open(folder / "overview.png") as picture:
        page = np.asarray(picture.convert("RGB"))
    panel = (page.shape[1] - 4 * MARGIN_PX) // 3
    left, scale = 2 * MARGIN_PX + panel, panel / 260
    for tile in pq.read_table(folder / "tiles.parquet").to_pylist():
        y = HEAD_PX + int((min(tile["row"] * 32 + 16, 297)) * scale)
        x = left + int((min(tile["col"] * 32 + 16, 258)) * scale)
        assert tuple(page[y, x]) == COLOURS[State(tile["state"])], tile


def test_areas_csv_is_the_summary_in_hectares(done):
    _, summary, folder = done
    (row,) = csv.DictReader((folder / "areas.csv").open())
    assert float(row["mapped"]) == summary["area"]["classes"][0]["mapped"] / 1e4
    assert (row["class"], row["unit"], row["method"]) == ("water", "ha", "ellipsoidal")


def test_the_page_needs_nothing_else(done):
    _, _, folder = done
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


def test_the_store_holds_what_was_seen(done):
    """Segmented tiles keep their own pixels; the gate plane holds all; rejected tiles cost no fine pixels."""
    scene, _, folder = done
    fine = zarr.open_array(folder / "run.zarr/pixels/fine", mode="r")[...]
    mask = zarr.open_array(folder / "run.zarr/mask/0", mode="r")[...]
    gate = zarr.open_array(folder / "run.zarr/pixels/gate", mode="r")[...]
    image = np.stack([scene.green, scene.nir])
    for tile in pq.read_table(folder / "tiles.parquet").to_pylist():
        rows, cols = slice(tile["row"] * 32, tile["row"] * 32 + 32), slice(tile["col"] * 32, tile["col"] * 32 + 32)
        if tile["state"] in ("segmented", "audited"):
            assert np.array_equal(fine[:, rows, cols], image[:, rows, cols])
            assert np.array_equal(mask[rows, cols], scene.water[rows, cols])
        else:
            assert not fine[:, rows, cols].any()
            assert not mask[rows, cols].any()
    means = image[:, :296, :260].reshape(2, 74, 4, 65, 4).mean((2, 4))
    assert np.abs(gate[:, :74, :65] - means).max() <= 0.5  # rounded to whole numbers


def test_bundled_recipes_are_valid():
    assert set(bundled_recipes()) >= {"water", "vegetation", "snow", "tissue", "dab"}
    for name in bundled_recipes():
        assert load_recipe(name).name == name


def test_a_change_of_a_recipe_is_typed():
    recipe = load_recipe("water", ("gate.threshold=0.25", "tile.size_px=128", "area.unit=km2"))
    assert (recipe.gate.threshold, recipe.tile.size_px, recipe.area.unit) == (0.25, 128, "km2")
    with pytest.raises(BadInput, match=r"tile\.size_px"):
        load_recipe("water", ("tile.size_px=big",))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_thumbnail_of_the_mask_is_its_block_mean(done, factor):
    _, _, folder = done
    run = Run.open(folder)
    mask = run.array("mask/0")[...]
    shape = (300 // factor, 260 // factor)
    blocks = mask.reshape(shape[0], factor, shape[1], factor).mean((1, 3))
    marked = [tile for tile in ledger_tiles(run) if any(tile.pixels)]
    assert 0 < len(marked) < len(run.plan.grid)
    assert np.array_equal(small_mask(run, marked, shape)[0], blocks)
