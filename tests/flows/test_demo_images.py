"""The demo's pictures are what they claim to be, and so is their truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import rasterio
from numpy.typing import NDArray

from flows.demo.images import DAB_CUT_OD, SCENE_BANDS, SceneTruth, SlideTruth, make_scene, make_slide

SIDE = 1024


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, SceneTruth]:
    """(the COG, its mask, what the maker says of them)."""
    folder = tmp_path_factory.mktemp("scene")
    path, truth_path = folder / "scene.tif", folder / "truth.tif"
    return path, truth_path, make_scene(path, truth_path, SIDE)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SlideTruth:
    """A small slide."""
    return make_slide(tmp_path_factory.mktemp("slide") / "slide.tif", SIDE)


def read_scene(path: Path) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """DN (4, y, x) and valid (y, x)."""
    with rasterio.open(path) as file:
        return file.read().astype(np.int64), file.dataset_mask() > 0


def test_scene_is_a_cog_with_named_bands(scene: tuple[Path, Path, SceneTruth]) -> None:
    with rasterio.open(scene[0]) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2]
        assert file.block_shapes == [(512, 512)] * 4
        assert file.descriptions == SCENE_BANDS
        assert (file.crs.to_epsg(), file.res, file.nodata) == (3035, (10.0, 10.0), 0)
    assert [p.name for p in sorted(scene[0].parent.iterdir())] == ["scene.tif", "truth.tif"]


def test_overview_is_an_average(scene: tuple[Path, Path, SceneTruth]) -> None:
    dn, valid = read_scene(scene[0])
    with rasterio.open(scene[0], overview_level=0) as file:
        overview = file.read().astype(np.float64)
    whole = valid.reshape(SIDE // 2, 2, SIDE // 2, 2).all(axis=(1, 3))
    mean = dn.reshape(4, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    assert np.abs(overview - mean)[:, whole].max() <= 0.5


def test_mask_is_the_sign_of_ndwi_to_the_pixel(scene: tuple[Path, Path, SceneTruth]) -> None:
    path, truth_path, truth = scene
    (_, green, _, nir), valid = read_scene(path)
    with rasterio.open(truth_path) as file:
        mask = file.read(1)
        assert file.transform == rasterio.open(path).transform
    ndwi = np.divide(green - nir, green + nir, out=np.zeros(valid.shape), where=valid)
    assert np.array_equal(mask, (ndwi > 0) & valid)
    assert (ndwi[valid] != 0).all()
    assert (truth.water_px, truth.valid_px) == (mask.sum(), valid.sum())
    assert truth.water_area_m2 == truth.water_px * 100.0


def test_water_is_sparse_and_the_swath_has_an_edge(scene: tuple[Path, Path, SceneTruth]) -> None:
    _, valid = read_scene(scene[0])
    with rasterio.open(scene[1]) as file:
        mask = file.read(1)
    tiles = mask.reshape(SIDE // 256, 256, SIDE // 256, 256).sum(axis=(1, 3))
    assert 0.01 < mask.mean() < 0.15
    assert (tiles == 0).mean() >= 0.5
    assert 0.02 < 1 - valid.mean() < 0.08
    assert valid[-1].all()
    assert not valid[0].all()


def test_scene_is_the_same_every_time_and_another_with_another_seed(tmp_path: Path) -> None:
    images = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_scene(tmp_path / f"{name}.tif", tmp_path / f"{name}-truth.tif", 300, seed)
        images.append(read_scene(tmp_path / f"{name}.tif")[0])
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_slide_opens_in_openslide(slide: SlideTruth) -> None:
    with openslide.OpenSlide(slide.path) as file:
        assert file.properties["openslide.vendor"] == "generic-tiff"
        assert (
            float(file.properties["openslide.mpp-x"]) == float(file.properties["openslide.mpp-y"]) == slide.mpp == 0.5
        )
        assert file.level_dimensions == ((SIDE, SIDE), (SIDE // 2, SIDE // 2))
        assert file.properties["openslide.level[0].tile-width"] == "256"


def test_slide_is_tissue_on_white_glass(slide: SlideTruth) -> None:
    with openslide.OpenSlide(slide.path) as file:
        rgb = np.asarray(file.read_region((0, 0), 0, (SIDE, SIDE)))[..., :3]
    corner = rgb[-64:, -64:]
    assert corner.min() > 235
    assert 0.2 < (rgb.min(axis=-1) < 225).mean() < 0.35


def test_dab_is_counted_as_the_rule_defines_it(slide: SlideTruth) -> None:
    with openslide.OpenSlide(slide.path) as file:
        rgb = np.asarray(file.read_region((0, 0), 0, (SIDE, SIDE)))[..., :3]
    stains = np.array([[0.650, 0.704, 0.286], [0.268, 0.570, 0.776], [0, 0, 0]])
    stains[2] = np.cross(stains[0], stains[1])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    amount = (-np.log10(np.maximum(rgb, 1) / 255) @ np.linalg.inv(stains))[..., 1]
    assert slide.dab_px == (amount > DAB_CUT_OD).sum()
    assert 0.05 < slide.dab_px / SIDE**2 < 0.3
