"""Real images, where they are at hand: ../shared/data beside the checkout. Truth by numpy and pyproj."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import openslide
import pytest
import rasterio
import zarr
from numpy.typing import NDArray
from PIL import Image
from pyproj import Proj

from flows.engine import LocalEngine
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.source import SourceSpec

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="no shared data beside the checkout")


def run(tmp_path, recipe, *uris, **spec):
    plan = make_plan(
        SourceSpec(uris=tuple(map(str, uris)), **spec), load_recipe(recipe, ("gate.threshold=0", "tile.size_px=256"))
    )
    return execute(plan, tmp_path / "run", LocalEngine(), Silent())


def ellipsoid_rows(file: rasterio.DatasetReader) -> NDArray[np.float64]:
    """m2 of a pixel in each row, WGS 84: a^2/2 * dlon * |q(lat2) - q(lat1)| (Snyder 1987, eq. 3-12)."""
    f = 1 / 298.257223563
    e2 = f * (2 - f)
    e = math.sqrt(e2)
    s = np.sin(np.radians(file.transform.f + file.transform.e * np.arange(file.height + 1)))
    q = (1 - e2) * (s / (1 - e2 * s * s) - np.log((1 - e * s) / (1 + e * s)) / (2 * e))
    return 6378137.0**2 / 2 * math.radians(file.transform.a) * np.abs(np.diff(q))


def areal_scale(file: rasterio.DatasetReader, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Map area over true area at the centre of some pixels, by PROJ's own derivatives; 1 elsewhere."""
    scale = np.ones(where.shape)
    rows, cols = np.nonzero(where)
    projection = Proj(file.crs)
    longitude, latitude = projection(*(file.transform @ (cols + 0.5, rows + 0.5)), inverse=True)
    scale[where] = projection.get_factors(longitude, latitude).areal_scale
    return scale


def ndwi_positive(green, nir):
    green, nir = green.astype(float), nir.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (green - nir) / (green + nir) > 0


def test_boadella(tmp_path):
    path = DATA / "rasters/s2_boadella/Boadella_2020-01-13.tif"
    summary = run(tmp_path, "water", path, bands=(("green", 3), ("nir", 8)))
    with rasterio.open(path) as file:
        water = ndwi_positive(file.read(3), file.read(8))
        truth = (water.sum(1) * ellipsoid_rows(file)).sum()
    assert summary["area"]["classes"][0]["pixels"] == water.sum()
    assert summary["area"]["classes"][0]["mapped"] == pytest.approx(truth, rel=1e-9)


def test_four_band_files_with_an_undeclared_nodata(tmp_path):
    folder = DATA / "rasters/s2_nc_20181013"
    paths = [folder / f"{band}.tiff" for band in ("B02", "B03", "B04", "B08")]
    summary = run(tmp_path, "water", *paths, bands=(("green", "b03"), ("nir", "b08")), nodata=255.0)
    with rasterio.open(paths[1]) as green_file, rasterio.open(paths[3]) as nir_file:
        green, nir = green_file.read(1), nir_file.read(1)
        valid = (green != 255) & (nir != 255)
        rows = ellipsoid_rows(green_file)
    water = ndwi_positive(green, nir) & valid
    assert summary["area"]["classes"][0]["pixels"] == water.sum()
    assert summary["area"]["classes"][0]["mapped"] == pytest.approx((water.sum(1) * rows).sum(), rel=1e-9)
    assert summary["area"]["observed"] == pytest.approx((valid.sum(1) * rows).sum(), rel=1e-9)


@pytest.mark.parametrize("date", ["20090818", "20120731", "20150926"])
def test_naip(tmp_path, date):
    path = DATA / f"rasters/naip_nd/m_4709963_se_14_1_{date}.tif"
    summary = run(tmp_path, "water", path, bands=(("green", 2), ("nir", 4)))
    with rasterio.open(path) as file:
        water = ndwi_positive(file.read(2), file.read(4)) & (file.dataset_mask() > 0)
        times = areal_scale(file, water)
    assert summary["area"]["classes"][0]["mapped"] == pytest.approx((water * 25.0 / times).sum(), rel=1e-8)
    assert summary["area"]["method"] == "ellipsoidal"


@pytest.mark.parametrize(("name", "mpp"), [("CMU-1-Small-Region.svs", 0.499), ("idc_14082_mosaic.tif", 4.0)])
def test_tissue(tmp_path, name, mpp):
    summary = run(tmp_path, "tissue", DATA / "slides" / name)
    slide = openslide.OpenSlide(DATA / "slides" / name)
    rgb = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")).astype(float)
    high, low = rgb.max(2), rgb.min(2)
    tissue = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0) > summary["segmenter"]["cut"]
    assert summary["area"]["classes"][0]["pixels"] == tissue.sum()
    assert summary["area"]["classes"][0]["mapped"] == pytest.approx(tissue.sum() * mpp * mpp, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "f1", "area_error"), [("Amazon_819.tiff_11", 0.98, 0.04), ("Amazon_1154.tiff_40", 0.97, 0.05)]
)
def test_forest_on_scenes_it_was_not_trained_on(tmp_path, name, f1, area_error):
    summary = run(tmp_path, "forest", DATA / "amazon_forest/images" / f"{name}.tiff")
    forest = np.asarray(Image.open(DATA / "amazon_forest/masks" / f"{name}.png")) == 1
    mapped = zarr.open_array(tmp_path / "run/run.zarr/mask/0", mode="r")[...] == 1
    assert 2 * (mapped & forest).sum() / (mapped.sum() + forest.sum()) > f1
    assert abs(mapped.sum() / forest.sum() - 1) < area_error
    assert summary["area"]["classes"][0]["pixels"] == mapped.sum()
    assert summary["gate"]["model"] == "forest-gate"
