"""Recipes with weights, and screening: what a model was not made for is refused before anything runs."""

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import from_origin


@pytest.fixture
def rgb(tmp_path):
    """Make an RGB raster of some pixel size and type."""

    def make(pixel_m=10.0, dtype="uint8", shape=(300, 300)):
        path = tmp_path / f"rgb-{pixel_m}-{dtype}.tif"
        transform = from_origin(500_000, 5_000_000, pixel_m, pixel_m)
        profile = {"count": 3, "dtype": dtype, "crs": "EPSG:32633", "transform": transform, "photometric": "RGB"}
        with rasterio.open(path, "w", driver="GTiff", height=shape[0], width=shape[1], **profile) as file:
            file.write(np.broadcast_to(np.array([28, 40, 42])[:, None, None], (3, *shape)).astype(dtype))
        return path

    return make


def run(tilegate, image, out, recipe, *options):
    return tilegate("run", image, "--recipe", recipe, "--out", out, "--engine", "local", "--json", *options)


def test_the_forest_pair_runs_on_its_pixel_size(rgb, tilegate, tmp_path):
    seen = run(tilegate, rgb(), tmp_path / "run", "forest")
    assert seen.code == 0, seen.err
    assert seen.json["gate"]["threshold"] == 0.5  # the bundle's own
    assert seen.json["segmenter"]["model"] == "forest-unet"


def test_a_finer_image_is_brought_to_the_model(rgb, tilegate, tmp_path):
    """2.5 m pixels are averaged to 10 m: 1,200 px become 300 px, four tiles of 256 px."""
    seen = run(tilegate, rgb(2.5, shape=(1200, 1200)), tmp_path / "run", "forest", "--set", "gate.threshold=0")
    assert seen.json["tiles"]["total"] == 4
    assert seen.json["area"]["observed"] == pytest.approx(1200 * 1200 * 2.5**2)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ((30.0, "uint8"), [], "valid for 0.8 to 1.25 times 10 x 10 m"),
        ((10.0, "uint16"), [], "holds uint16 values; forest-gate was trained on uint8"),
        ((10.0, "uint8"), ["--set", "gate.downsample=1"], "forest-gate would see pixels of 10 x 10 m"),
        ((10.0, "uint8"), ["--set", "tile.pixel_size=20"], "forest-unet would see pixels of 20 x 20 m"),
        ((10.0, "uint8"), ["--set", "gate.cut=1"], "is a bundle and has its own"),
        ((10.0, "uint8"), ["--set", "gate.model=./nowhere"], "nowhere does not exist"),
        ((10.0, "uint8"), ["--set", "gate.model=../secret/model"], "does not exist"),
    ],
)
def test_what_a_model_was_not_made_for_is_refused(rgb, tilegate, tmp_path, image, options, message):
    seen = run(tilegate, rgb(*image), tmp_path / "run", "forest", *options)
    assert seen.code == 2
    assert message in seen.err
    assert not (tmp_path / "run").exists()


def test_glass_is_screened_out_before_the_gate(tilegate, tmp_path):
    """Tiles with less than a tenth of tissue are empty, whatever the gate would say."""
    slide = np.full((512, 512, 3), 245, "uint8")
    slide[:256, :256] = (200, 90, 150)  # a quarter is tissue, exactly four of the sixteen tiles
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, slide, tile=(128, 128), photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3)
    options = ["--set", "screen.min_tissue=0.1", "--set", "tile.size_px=128", "--set", "gate.threshold=0"]
    seen = run(tilegate, path, tmp_path / "run", "dab", *options)
    assert seen.code == 0, seen.err
    assert (seen.json["tiles"]["empty"], seen.json["tiles"]["positive"]) == (12, 4)
    assert seen.json["area"]["observed"] == pytest.approx(512 * 512 * 0.25)  # glass was looked at, too
